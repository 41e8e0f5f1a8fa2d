"""What a torch model computes, step by step.  Twin: tf_track/ports/trace.py.

Hooks catch the modules; a mode catches the functions that a user's `forward` calls
between them.  What happens inside a module that is a step is not caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from common.port.target import users_line
from common.port.told import GIVEN, IN_PLACE, UNKNOWN, Step, Trace, held
from pt_track.ports.functions import told
from pt_track.ports.kinds import WHOLE, described, forms

Array = NDArray[Any]


def tensors(value: Any) -> list[Tensor]:
    """All tensors in a nest of lists, tuples and dictionaries, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for v in value.values() for t in tensors(v)]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors(v)]
    return []


def array(value: Tensor) -> Array:
    """A copy as NumPy, C-contiguous."""
    return np.array(value.detach().cpu().numpy(), order="C")


def odd(value: Any) -> dict[str, str]:
    """What a model returned that is no tensor: name or number -> its type."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    if isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    return {str(k): type(v).__name__ for k, v in pairs if not tensors(v)}


def named(value: Any) -> dict[str, Array]:
    """What a model returned: by name, by number, or as "0"."""
    if isinstance(value, Mapping):
        return {str(k): array(t) for k, v in value.items() for t in tensors(v)[:1]}
    return {str(i): array(t) for i, t in enumerate(tensors(value))}


class Recorder(TorchFunctionMode):
    """Records the steps of one call of a model.

    Args:
        model: Whose modules are steps.
        lines: Where modules were made, by their id.
    """

    def __init__(self, model: nn.Module, lines: Mapping[int, str]) -> None:
        super().__init__()
        self.model = model
        self.lines = lines
        self.steps: list[Step] = []
        self.outputs: list[Array] = []
        self.inputs: list[tuple[Array, ...]] = []
        self.origin: dict[int, int] = {}
        self.same: dict[tuple[object, ...], int] = {}
        self.kept: list[Tensor] = []  # else an id would name another tensor later
        self.inside = 0
        self.path: list[str] = []
        self.last = ""  # the module that was entered last

    def given(self, values: Any) -> None:
        """Mark what goes into the model."""
        for value in tensors(values):
            self._mark(value, GIVEN, array(value))

    def _mark(self, value: Tensor, at: int, content: Array) -> None:
        self.origin[id(value)] = at
        self.same[held(content)] = at
        self.kept.append(value)

    def before(self, values: Any) -> list[tuple[int, Array]]:
        """Step and content of each tensor that goes into a step."""
        with self._unseen():
            return [self._from(t, array(t)) for t in tensors(values)]

    def _from(self, value: Tensor, content: Array) -> tuple[int, Array]:
        """Where a tensor comes from: what made it, or else what holds the same."""
        known = self.origin.get(id(value))
        return (
            self.same.get(held(content), UNKNOWN) if known is None else known
        ), content

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """While open, nothing is recorded: our own copies are no steps."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def after(self, given: list[tuple[int, Array]], value: Any, **about: Any) -> None:
        """Record a step with its first output, and the others as parts of it."""
        for i, out in enumerate(tensors(value)):
            at = len(self.steps)
            if i:
                words = {"kind": "part", "config": {"part": i}, "unit": ""}
                about = about | words
                given = [(self.steps[-i].at, self.outputs[-i])]
            step = Step(at=at, inputs=tuple(one for one, _ in given), **about)
            step = self._turned(step, given)
            self.steps.append(step)
            self.inputs.append(tuple(content for _, content in given))
            with self._unseen():
                self.outputs.append(array(out))
            self._mark(out, at, self.outputs[-1])

    def _turned(self, step: Step, given: list[tuple[int, Array]]) -> Step:
        """The step with `first` where maps of that order only pass through it."""
        if step.first or step.kind not in IN_PLACE:
            return step
        maps = [
            self.steps[one].first if one >= 0 else one == GIVEN
            for one, content in given
            if content.ndim > 3
        ]
        return replace(step, first=bool(maps) and maps[0])

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Record a function that is called between modules."""
        kwargs = kwargs or {}
        if self.inside:
            return func(*args, **kwargs)
        name = str(getattr(func, "__name__", func))
        given = self.before((args, kwargs)) if name not in UNSEEN else []
        value = func(*args, **kwargs)
        if given and tensors(value):
            self.function(func, name, args, kwargs, given, value)
        return value

    def function(
        self, func: Any, name: str, args: Any, kwargs: Any, given: Any, value: Any
    ) -> None:
        """Record one function: kind and what it computes with, by its name."""
        kind, config, first = told(name, args, kwargs)
        self.after(
            given,
            value,
            kind=kind,
            name=self.path[-1] if self.path else "",
            cls=(resolve_name(func) or name).removeprefix("torch."),
            where=users_line(2),
            config=config,
            first=first,
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While open, every module of the model is watched."""
        handles = []
        for path, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks: what is scripted is one step, or none
            whole = isinstance(module, WHOLE) or not list(module.children())
            before, after = self._hooks(path, whole and module is not self.model)
            handles.append(
                module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
            )
            handles.append(
                module.register_forward_hook(after, with_kwargs=True, always_call=True)
            )
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, path: str, is_step: bool) -> tuple[Callable[..., None], ...]:
        held: list[list[tuple[int, Array]]] = []

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.path.append(path)
            self.last = path
            if is_step:
                held.append(self.before((args, kwargs)))
                self.inside += 1

        def after(module: nn.Module, args: Any, kwargs: Any, value: Any) -> None:
            self.path.pop()
            if not is_step:
                return
            self.inside -= 1
            given = held.pop()
            if self.inside == 0 and value is not None:
                self.module(path, module, kwargs, given, value)

        return before, after

    def module(
        self, path: str, module: nn.Module, kwargs: Any, given: Any, value: Any
    ) -> None:
        """Record one module."""
        kind, config, first = described(module)
        if kind == "attention":
            config = config | {"masked": kwargs.get("attn_mask") is not None}
            given = given[:3]
        units = [path if not part else f"{path}.{part}" for part in forms(module)]
        self.after(
            given,
            value,
            kind=kind,
            name=path,
            cls=type(module).__name__,
            where=self.lines.get(id(module), ""),
            config=config,
            unit=units[-1] if units else "",
            first=first,
        )

    def inside_of(self) -> str:
        """Where it was when it raised, in words."""
        return f" (in {self.last})" if self.last else ""

    def trace(self, value: Any) -> Trace:
        """All that was recorded; `value` is what the model returned."""
        return Trace(
            tuple(self.steps), tuple(self.outputs), tuple(self.inputs), named(value)
        )


# Functions that only look at a tensor, or make one that holds no result.
UNSEEN = frozenset(
    "__get__ size dim numel stride is_contiguous is_floating_point data_ptr __len__ "
    "detach requires_grad_ ones_like zeros_like new_zeros new_ones full_like __bool__ "
    "item tolist __repr__ __hash__ type_as get_device is_complex".split()
)

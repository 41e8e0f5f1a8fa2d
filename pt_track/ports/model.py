"""A user's torch model: told, given weights, run.  Twin: tf_track/ports/model.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.errors import Refused
from common.port.target import Target, made, told, users_line
from common.port.told import Trace, Unit
from pt_track.ports.kinds import described, forms, tensor
from pt_track.ports.trace import Recorder, odd

Array = NDArray[Any]


@contextmanager
def _noting(lines: dict[int, str], kept: list[nn.Module]) -> Iterator[None]:
    """While open, where each module is made is noted."""
    init = nn.Module.__init__

    def noted(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        lines[id(module)] = users_line(2)
        kept.append(module)
        init(module, *args, **kwargs)

    nn.Module.__init__ = noted
    try:
        yield
    finally:
        nn.Module.__init__ = init


def opened(target: Target, *, dtype: str, seed: int, threads: int) -> Opened:
    """The model that a target names, ready to be run at inference.

    Args:
        target: What the user named.
        dtype: "float64" or "float32", of all that it computes.
        seed: Of torch's generator, before the model is made and before each call.
        threads: Of torch.

    Raises:
        Refused: It is no `torch.nn.Module`, or its factory raises.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))
    # Fused kernels of whole blocks would leave nothing to look at.
    torch.backends.mha.set_fastpath_enabled(False)
    lines: dict[int, str] = {}
    kept: list[nn.Module] = []
    with _noting(lines, kept):
        model = made(target, nn.Module, "a torch.nn.Module")
    return Opened(model, lines, dtype=dtype, seed=seed)


class Opened:
    """One user's model in its framework.

    Args:
        model: The module.
        lines: Where its modules were made, by their id.
        dtype: Of all that it computes.
        seed: Of torch's generator before each call.
    """

    def __init__(
        self, model: nn.Module, lines: Mapping[int, str], *, dtype: str, seed: int
    ) -> None:
        self.model = model.to(getattr(torch, dtype)).eval()
        self.lines = lines
        self.dtype = dtype
        self.seed = seed
        self.odd: dict[str, str] = {}  # what it returned last that is no tensor

    @property
    def bytes(self) -> int:
        """Of its tensors, as they are now."""
        return sum(
            t.numel() * t.element_size()
            for t in (*self.model.parameters(), *self.model.buffers())
            if not isinstance(t, nn.parameter.UninitializedTensorMixin)
        )

    def described(self) -> dict[str, Any]:
        """What is told before anything runs."""
        lazy = [
            name
            for name, value in self.model.named_parameters()
            if isinstance(value, nn.parameter.UninitializedParameter)
        ]
        return {
            "class": type(self.model).__name__,
            "inputs": None,
            "lazy": lazy,
            "bytes": self.bytes,
            "tokens": self._tokens(),
            "tied": self._tied(),
        }

    def _tied(self) -> list[str]:
        """Tensors that several modules share: "a = b"."""
        first: dict[int, str] = {}
        found = []
        for name, value in self.model.named_parameters(remove_duplicate=False):
            if id(value) in first:
                found.append(f"{first[id(value)]} = {name}")
            first.setdefault(id(value), name)
        return found

    def _tokens(self) -> int | None:
        """How many tokens it knows, where it begins with an embedding."""
        found = [m for m in self.model.modules() if isinstance(m, nn.Embedding)]
        return min(m.num_embeddings for m in found) if found else None

    def _units(self) -> Iterator[tuple[str, nn.Module, str]]:
        """Path, module and part of each unit; tied modules once."""
        for path, module in self.model.named_modules():
            inside = path.rpartition(".")[0]
            if isinstance(self._at(inside), nn.MultiheadAttention) and inside != path:
                continue
            for part in forms(module):
                yield path, module, part

    def _at(self, path: str) -> nn.Module | None:
        return self.model.get_submodule(path) if path else None

    def units(self) -> list[Unit]:
        """What has weights, in the order in which it was made."""
        found = []
        for path, module, part in self._units():
            form = forms(module)[part]
            name = f"{path}.{part}".strip(".") if part else path
            arrays = self._read(module, part)
            kind, config, _ = described(module)
            found.append(
                Unit(
                    name=name,
                    kind=kind,
                    shapes={n: a.shape for n, a in arrays.items()},
                    tensors={
                        n: " + ".join(f"{path}.{t}".strip(".") for t in f.names)
                        for n, f in form.items()
                    },
                    where=self.lines.get(id(module), ""),
                    config=config,
                )
            )
        return found

    def _read(self, module: nn.Module, part: str) -> dict[str, Array]:
        return {
            name: form.get(*(tensor(module, t).detach().numpy() for t in form.names))
            for name, form in forms(module)[part].items()
        }

    def weights(self) -> dict[str, Array]:
        """Copies of canonical arrays, by "unit/tensor"."""
        found = {}
        for path, module, part in self._units():
            name = f"{path}.{part}".strip(".") if part else path
            for ours, array in self._read(module, part).items():
                found[f"{name}/{ours}"] = np.array(array, order="C")
        return found

    def assign(self, given: Mapping[str, Array]) -> None:
        """Set tensors, "unit/tensor" -> canonical array."""
        for path, module, part in self._units():
            name = f"{path}.{part}".strip(".") if part else path
            for ours, form in forms(module)[part].items():
                array = given.get(f"{name}/{ours}")
                if array is None:
                    continue
                with torch.no_grad():
                    for t, value in zip(form.names, form.put(array), strict=True):
                        solid = np.array(value, order="C")
                        tensor(module, t).copy_(torch.from_numpy(solid))

    def takes(self, arrays: Sequence[Array], names: Sequence[str]) -> Any:
        """Arrays as the model is called with them."""
        values = [torch.from_numpy(np.array(a, order="C")) for a in arrays]
        values = [
            v.to(getattr(torch, self.dtype)) if v.is_floating_point() else v.long()
            for v in values
        ]
        return dict(zip(names, values, strict=True)) if names else values

    def run(
        self,
        arrays: Sequence[Array],
        names: Sequence[str] = (),
        seed: int | None = None,
    ) -> Trace:
        """One call at inference, step by step.

        Args:
            arrays: What goes in, in the framework's own layout.
            names: Of keyword arguments; "*" for one dictionary of all.
            seed: Of all draws; its own unless given.

        Raises:
            Refused: The model raised; the line is the user's.
        """
        torch.manual_seed(self.seed if seed is None else seed)
        recorder = Recorder(self.model, self.lines)
        given = self.takes(arrays, names if names != ["*"] else ())
        recorder.given(given)
        try:
            with torch.no_grad(), recorder.watching():
                if isinstance(given, dict):
                    value = self.model(**given)
                else:
                    value = self.model(*given)
        except Exception as error:
            shapes = ", ".join(str(tuple(a.shape)) for a in arrays)
            raise Refused(
                f"the torch model must take {shapes}, it raised {told(error)}"
                f"{recorder.inside_of()}; give --input as it takes it"
            ) from error
        self.odd = odd(value)
        return recorder.trace(value)

    def save(self, path: Path) -> None:
        """Its tensors as `torch.save` writes a state_dict, read back to check."""
        torch.save(self.model.state_dict(), path)
        back = torch.load(path, weights_only=True)
        for name, value in self.model.state_dict().items():
            if not torch.equal(back[name], value):
                raise Refused(f"{path} must hold {name} as it is; write it again")

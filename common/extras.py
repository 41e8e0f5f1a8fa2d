"""What a track may lack, as interfaces, and the one way to get it.

A command asks `check_extra` before anything runs and calls `load_extra` in the child.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from common.data import Dataset
from common.errors import Refused
from common.evaluate import Predict
from common.plan import Plan
from common.port.target import Target
from common.precision import PRECISIONS
from common.recipe import Recipe
from common.spec import Spec
from common.track import (
    History,
    Model,
    OnEpoch,
    OnProgress,
    State,
    check_track,
    imported,
    located,
    module_of,
    tracks,
)
from common.weights import Weights


class Native(Protocol):
    """The framework used as its own users use it, for `--mode native`."""

    def build_native(self, spec: Spec, *, seed: int, device: str = "cpu") -> Model:
        """The same architecture with the framework's own defaults and draws."""

    def train_native(
        self,
        model: Model,
        data: Dataset,
        recipe: Recipe,
        plan: Plan,
        *,
        state: State | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> History:
        """Train a native model in the framework's own idiom, with its own draws."""


class Official(Protocol):
    """The library's own Inception v3 and its files."""

    def download(self) -> Path:
        """The framework's own ImageNet file of Inception v3, checked by its hash.

        Raises:
            Refused: Without a network; the line says where to put the file by hand.
        """

    def write_native(self, path: Path, spec: Any, weights: Weights) -> list[str]:
        """Write a file that the framework's own builder loads; what was lost.

        Its suffix says which of the framework's files it is.

        Raises:
            Refused: The suffix promises none of them, or the disk does not take it.
        """

    def official(self, path: Path, side: int, *, device: str = "cpu") -> Predict:
        """The framework's own Inception v3 with a native file, called as most call it.

        A function from uint8 images (n, side, side, 3) to float32 logits (n, classes).
        """


class ClassNames(Protocol):
    """ImageNet's class names.

    torchvision brings them along.  Keras would download them, so the tensorflow track,
    which has all of `Official`, has none.
    """

    def imagenet_names(self) -> tuple[str, ...]:
        """Name of each of ImageNet's 1,000 classes, in the usual order."""


class Datasets(Protocol):
    """Public data through the framework's own library."""

    def load_dataset(self, name: str, root: Path) -> Any:
        """A public data set, downloaded and checked by the framework, canonical.

        Args:
            name: "mnist" or "cifar10".
            root: Folder of what is downloaded.

        Raises:
            Refused: It cannot be downloaded, or it is not what it should be.
        """


Loop = Callable[[int], float]  # updates to make -> seconds they took
Laps = Callable[[Callable[[], None]], list[float]]


class Yardsticks(Protocol):
    """What speed is measured against: loops and products without twintrack.

    They are in the module `speed` of the track's package, which no run imports.
    """

    def bare(
        self,
        model: Model,
        recipe: Recipe,
        images: NDArray[np.uint8],
        labels: NDArray[Any],
    ) -> Loop:
        """A loop with nothing in it but the framework's own update.

        Args:
            model: From `Track.build`.
            recipe: Batch size and optimizer.
            images: (batches, batch, h, w, c).
            labels: (batches, batch).
        """

    def naive(
        self,
        model: Model,
        recipe: Recipe,
        images: NDArray[np.uint8],
        labels: NDArray[Any],
    ) -> Loop:
        """What most people write.

        Args:
            model: From `Native.build_native`.
            recipe: Batch size and optimizer.
            images: (n, h, w, c).
            labels: (n,).
        """

    def tutorial(
        self,
        path: Path,
        recipe: Recipe,
        head: tuple[NDArray[Any], NDArray[Any]],
        train: tuple[NDArray[np.uint8], NDArray[Any]],
        valid: tuple[NDArray[np.uint8], NDArray[Any]],
        *,
        device: str,
    ) -> tuple[Laps, Predict]:
        """The transfer tutorial's loop, and the network's predictor.

        The loop takes what is to be done after each epoch, off the clock, and returns
        the seconds of each.

        Args:
            path: From `Official.write_native`.
            recipe: Its epochs, batch, SGD and schedule.
            head: Kernel (features, classes) and bias that the new layer starts from.
            train: Images (n, h, w, c) and labels (n,) to learn from.
            valid: The same, looked at after every epoch.
            device: "cpu" or "gpu".
        """

    def product(self, dtype: str, side: int, device: str) -> Callable[[], float]:
        """A function that multiplies two (side, side) matrices once: its seconds."""


class Defaults(Protocol):
    """The framework's own defaults, for the ledger; in the track's `defaults`."""

    def probe(self, what: str) -> object:
        """What a name of `common.ledger.PROBES` stands for, found by doing it."""


class Probe(Protocol):
    """A look at what a network really computes in, whatever it was asked for.

    It is in the module `probe` of the track's package, which no run's numbers use.
    """

    def arithmetic(
        self, model: Model, images: NDArray[np.uint8]
    ) -> dict[str, list[str]]:
        """Types of "products" (of values by weights) and of all "values".

        Args:
            model: From `Track.build`; its numbers and its mode's are left as they are.
            images: (n, h, w, c).

        Returns:
            Names as NumPy and `ml_dtypes` spell them: "float32", "bfloat16".
        """


class Ports(Protocol):
    """Users' own models opened, for `twintrack port`; in the track's `ports`."""

    def opened(self, target: Target, *, dtype: str, seed: int, threads: int) -> Any:
        """The model that a user named: described, run step by step, given weights.

        Raises:
            Refused: It is no model of this framework, or its factory raises.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """How an extra is spoken of, and where it is.

    Attributes:
        use: What needs it.
        instead: What can be done without it, or "".
        module: Of the track's package; "" for the package itself.
    """

    use: str
    instead: str = ""
    module: str = ""


EXTRAS: dict[type, Extra] = {
    Native: Extra(use="native mode", instead="use --mode aligned"),
    Official: Extra(use="a library's own Inception v3"),
    ClassNames: Extra(use="naming ImageNet's classes"),
    Datasets: Extra(use="downloading public data"),
    Yardsticks: Extra(use="speed", module="speed"),
    Defaults: Extra(use="the ledger", module="defaults"),
    Ports: Extra(use="port", module="ports"),
    Probe: Extra(use="a look at what a network computes in", module="probe"),
}
P = TypeVar("P")


def load_extra(name: str, extra: type[P]) -> P:
    """Import what `extra`, a key of `EXTRAS`, says of the track called `name`.

    Raises:
        Refused: There is no such track, or it lacks some of it.
    """
    check_extra(name, extra)
    home = imported(name, _home(name, extra))
    if absent := [member for member in members(extra) if not hasattr(home, member)]:
        raise _lacking(name, extra, absent)
    return cast(P, home)


def check_extra(name: str, extra: type) -> None:
    """Refuse a track that lacks some of `extra`, by its source; imports nothing.

    Raises:
        Refused: As in `load_extra`, where the source tells.
    """
    check_track(name)
    if absent := missing(name, extra):
        raise _lacking(name, extra, absent)


def missing(name: str, extra: type) -> list[str]:
    """Functions of `extra` that the track's source does not define; imports nothing.

    None is missing where the source does not tell: it is compiled, or it imports *.
    """
    home = located(_home(name, extra))
    defined = set[str]() if home is None else _defined(home)
    return [m for m in members(extra) if defined is not None and m not in defined]


def precisions_of(name: str) -> tuple[str, ...]:
    """What a track computes in, by its source; imports nothing.

    A track that has not all of `common.precision.PRECISIONS` says so in a constant of
    its package, `PRECISIONS = ("float32", "float64")`.
    """
    home = located(module_of(name))
    if home is not None and (home.origin or "").endswith(".py"):
        for line in ast.parse(Path(cast(str, home.origin)).read_bytes()).body:
            match line:
                case ast.Assign(targets=[ast.Name(id="PRECISIONS")], value=value):
                    return tuple(ast.literal_eval(value))
    return PRECISIONS


def members(protocol: type) -> list[str]:
    """Names of the functions of a protocol, in its order."""
    return [name for name in vars(protocol) if not name.startswith("_")]


def _home(name: str, extra: type) -> str:
    """The dotted module that has the functions of `extra`."""
    inside = EXTRAS[extra].module
    return f"{module_of(name)}.{inside}" if inside else module_of(name)


def _defined(home: ModuleSpec) -> set[str] | None:
    """Names that the source of a module defines or imports; none if it cannot tell."""
    if not (home.origin or "").endswith(".py"):
        return set() if home.origin is None else None
    found = set(_names(ast.parse(Path(cast(str, home.origin)).read_bytes())))
    return None if found & {"*", "__getattr__"} else found


def _names(tree: ast.Module) -> Iterator[str]:
    """Every name that is bound anywhere but inside a function or class."""
    todo: list[ast.AST] = [*tree.body]
    while todo:
        match todo.pop():
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name for alias in aliases)
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case node:
                todo += ast.iter_child_nodes(node)


def _lacking(name: str, extra: type, absent: list[str]) -> Refused:
    about, wanted = EXTRAS[extra], members(extra)
    has = f"no {' and no '.join(absent)}"
    if len(absent) == len(wanted):
        has = {1: "none", 2: "neither"}.get(len(wanted), "none of them")
    able = [other for other in tracks() if other != name and _has(other, extra)]
    cures = [f"choose from {', '.join(able)}"] if able else []
    cures += [about.instead] if about.instead else []
    return Refused(
        f"{about.use} needs {_listed(wanted)}, the track {name} has {has}; "
        f"{' or '.join(cures) or 'write them as common/extras.py says'}"
    )


def _has(name: str, extra: type) -> bool:
    return located(module_of(name)) is not None and not missing(name, extra)


def _listed(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last

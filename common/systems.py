"""The registry: every system by name, ours and those that users bring."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from common import codec
from common.draws import Draw, Starts
from common.errors import Refused
from common.heads import base_for
from common.inception import InceptionSpec
from common.overrides import applied
from common.plan import check_changes
from common.recipe import Recipe
from common.spec import CNNSpec, Image, Norm, Spec
from common.start import check_enough
from common.zoo import (
    CHANNELS_LAST,
    CIFAR,
    DIGITS,
    FLOAT32,
    IMAGENET,
    MNIST,
    ROUNDING,
    ROWS,
    Ladder,
    Published,
    System,
)

__all__ = [
    "BUILDERS",
    "CHANNELS_LAST",
    "CIFAR",
    "DIGITS",
    "FLOAT32",
    "IMAGENET",
    "MNIST",
    "ROUNDING",
    "SYSTEMS",
    "Ladder",
    "Published",
    "Resolved",
    "System",
    "builder",
    "check_fits",
    "check_judged_and_changed",
    "check_repeats",
    "find",
    "normalises_vectors",
    "register",
    "resolve",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A system for given data, with the user's changes made."""

    system: System
    spec: Spec
    recipe: Recipe
    overrides: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """What commands call the system."""
        return self.system.name

    @property
    def published(self) -> Published | None:
        """What was published for the system."""
        return self.system.published

    @property
    def module(self) -> str | None:
        """The module that registers the system, for a user's own."""
        return self.system.module


LONGEST_NAME = 100  # of a module without a package
SYSTEMS: dict[str, System] = {}
BUILDERS: dict[type, Mapping[str, str]] = {}


def register(system: System, builders: Mapping[str, str] | None = None) -> None:
    """Add a system.

    Args:
        system: The row.  A user's own gives `module=__name__`.
        builders: For a spec type of one's own: track name -> "package.module:name"
            of a function (spec, dtype) -> model.

    Raises:
        Refused: The name is taken by another system.
    """
    taken = SYSTEMS.get(system.name)
    if taken and taken.module != system.module:
        raise Refused(
            f"a system's name must be new, got {system.name!r}; choose another"
        )
    SYSTEMS[system.name] = system
    codec.learn(codec.types_of([system.recipe]))
    if system.module:
        codec.learn(_records_in(system.module))
    if builders:
        spec = system.spec(system.image, 10)
        codec.learn(codec.types_of([spec]))
        BUILDERS[type(spec)] = builders


def _records_in(module: str) -> Iterator[type]:
    """The dataclasses that a user's module has names for: its specs may hold them."""
    for kind in list(vars(sys.modules.get(module, codec)).values()):
        if isinstance(kind, type) and is_dataclass(kind):
            yield kind


def builder(spec: Spec, track: str) -> Callable[[Spec, str], Any]:
    """The user's function that builds a model of `spec` in `track`.

    Raises:
        TypeError: Nobody registered one.
    """
    paths = BUILDERS.get(type(spec), {})
    if track not in paths:
        raise TypeError(
            f"a spec must have a registered builder in each track, got "
            f"{type(spec).__name__} for {track}; pass builders= to register()"
        )
    module, _, name = paths[track].partition(":")
    found: Callable[[Spec, str], Any] = getattr(import_module(module), name)
    return found


def find(name: str) -> System:
    """The system called `name`, or the one that the module `name` registers.

    Raises:
        Refused: There is no such system.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]
    if "." in name or _is_here(name):
        return _from_module(name)
    near = get_close_matches(name[:80], SYSTEMS, n=1, cutoff=0.0)[0]
    raise Refused(
        f"a system must be in `twintrack list`, got {name[:80]!r}; the nearest is "
        f"{near}"
    )


def _is_here(name: str) -> bool:
    """Whether a name without dots is a module of the current folder."""
    places = (Path(f"{name}.py"), Path(name) / "__init__.py")
    if not name.isidentifier() or len(name) > LONGEST_NAME:
        return False
    return any(place.is_file() for place in places)


def _from_module(module: str) -> System:
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look where it is run
        sys.path.append(here)  # last: a project may have packages of our names
    try:
        import_module(module)
    except Refused:
        raise
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        said = " ".join(str(error).split())
        raise Refused(
            f"a system's module must be importable, got {module[:80]!r} ({said}); "
            "run where it can be found or install it"
        ) from error
    mine = [system for system in SYSTEMS.values() if system.module == module]
    if len(mine) != 1:
        raise Refused(
            f"a module must register one system, {module!r} registered {len(mine)}; "
            "call common.systems.register(System(..., module=__name__), builders)"
        )
    return mine[0]


def resolve(
    name: str,
    *,
    image: Image,
    classes: int,
    overrides: tuple[str, ...] = (),
    epochs: int | None = None,
    base: Spec | None = None,
) -> Resolved:
    """The system `name` for pictures of shape `image` in `classes` classes.

    Args:
        name: Of a system, or the module that registers one.
        image: (height, width, channels).
        classes: Number of labels.
        overrides: "spec.field=value" or "recipe.field=value".
        epochs: Replaces the recipe's number.
        base: The spec of weights to start from, in place of the system's.

    Raises:
        Refused: No such system or field, or a value that does not fit.
    """
    system = find(name)
    try:
        bare = base_for(base, image, classes) if base else system.spec(image, classes)
        spec, recipe = applied(bare, system.recipe, overrides)
        if epochs is not None:
            recipe = replace(recipe, epochs=epochs)
        recipe.check(spec.weights)
    except Refused:
        raise
    except (ValueError, TypeError) as error:
        raise Refused(f"{name}: {error}") from error
    drawn = getattr(spec, "draws", None)
    if drawn is None or not all(isinstance(d, Draw) for d in drawn.values()):
        raise Refused(
            "a spec says in `draws` what its network is given besides pictures, that "
            f"of {name} does not: layer -> Mask(shape, rate), as "
            "docs/adding-a-system.md says"
        )
    if (spec.image, spec.classes) != (image, classes):
        raise Refused(
            f"a spec must fit its data, {name} was set to {spec.image} and "
            f"{spec.classes} classes for {image} and {classes}; leave out --set "
            "spec.image and spec.classes"
        )
    return Resolved(system=system, spec=spec, recipe=recipe, overrides=overrides)


def check_judged_and_changed(resolved: Resolved) -> None:
    """Refuse repeats that say the same, and changes that pictures cannot have.

    Raises:
        Refused: In one line.
    """
    check_repeats(resolved.name, resolved.spec, resolved.recipe.repeats)
    try:
        check_changes(resolved.spec, resolved.recipe.augment)
    except ValueError as error:
        raise Refused(f"{resolved.name}: {error}") from error


def check_repeats(name: str, spec: Spec, repeats: int) -> None:
    """Refuse to judge again what would say the same.

    Raises:
        Refused: The network draws no regions.
    """
    if repeats > 1 and not any(isinstance(d, Starts) for d in spec.draws.values()):
        raise Refused(
            "repeats judge pictures again with regions drawn anew, "
            f"{name} draws none and would say the same each time; judge once"
        )


def check_fits(resolved: Resolved, n: int) -> None:
    """Refuse a recipe that does not fit its spec or `n` training pictures.

    Raises:
        Refused: Its changes cannot be made to the pictures, a batch, or a draw from
            pictures, takes more than there are, the last batch is a single picture that
            batch normalisation has nothing to compare with, or the class weights are
            not one per class.
    """
    weights = resolved.recipe.class_weights
    if weights and len(weights) != resolved.spec.classes:
        raise Refused(
            f"class weights must be one for each of {resolved.spec.classes} classes, "
            f"got {len(weights)}; give them all in --set recipe.class_weights"
        )
    check_enough(resolved.spec, n)
    check_judged_and_changed(resolved)
    clean, epochs = resolved.recipe.augment.clean, resolved.recipe.epochs
    if clean >= epochs and clean:
        raise Refused(
            f"the last {clean} epochs of {resolved.name} see pictures as they are, got "
            f"{epochs} in all; use more epochs or --set recipe.augment.clean=0"
        )
    batch = resolved.recipe.batch
    if batch > n:
        raise Refused(
            f"a batch must fit the training data, {resolved.name} takes {batch} of "
            f"{n} pictures; use more data or --set recipe.batch={n}"
        )
    alone = batch == 1 or (n % batch == 1 and not resolved.recipe.drop_last)
    moving = resolved.recipe.statistics == "moving"
    if alone and moving and normalises_vectors(resolved.spec):
        cure = "recipe.batch=2" if batch == 1 else "recipe.drop_last=True"
        raise Refused(
            f"batch norm needs two pictures or more, {resolved.name} has a batch of 1 "
            f"from {n} pictures in batches of {batch}; use --set {cure}"
        )


def normalises_vectors(spec: Spec) -> bool:
    """Whether batch norm meets values that have one number per picture and channel."""
    if isinstance(spec, InceptionSpec):
        return spec.aux or any(prod(s[:-1]) == 1 for s in spec.maps.values())
    if isinstance(spec, CNNSpec):
        pairs = zip(spec.layers, spec.shapes[:-1], strict=True)
        return any(isinstance(x, Norm) and prod(s[:-1]) == 1 for x, s in pairs)
    return getattr(spec, "norm", None) is not None


for _row in ROWS:
    register(_row)

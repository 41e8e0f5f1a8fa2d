"""A network in one file: weights, spec, and what its logits and pixels mean.

safetensors with a header of strings.  Either track opens it with `load`; commands read
it here, without a framework.
"""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import codec
from common.errors import Refused
from common.library_files.recognise import kind_of
from common.spec import Spec
from common.weights import Weights, check_names, read, write


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a file says of its network beside spec and weights.

    Attributes:
        classes: Name of each logit, the first first; empty where unknown.
        source: Where the weights come from, in words.
        preprocessing: How a photo becomes the network's pixels, in words.
        facts: What else was measured or done, by name.
    """

    classes: tuple[str, ...] = ()
    source: str = ""
    preprocessing: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def save(path: str | Path, spec: Spec, weights: Weights, about: About) -> None:
    """Write the file, whole or not at all.

    Raises:
        Refused: The disk does not take it.
    """
    header = {
        "spec": codec.dumps(spec),
        "classes": json.dumps(about.classes),
        "source": about.source,
        "preprocessing": about.preprocessing,
        "facts": json.dumps(about.facts, allow_nan=False),
    }
    write(path, weights, header)


def load(path: str | Path) -> tuple[Any, Weights, About]:
    """Spec, weights and the rest of what `save`, or a track's `save`, wrote.

    Raises:
        Refused: The file is damaged, or its parts do not fit each other.
    """
    weights, header = opened(Path(path))
    spec, about = said(Path(path), weights, header)
    return spec, weights, about


def opened(path: Path) -> tuple[Weights, dict[str, str]]:
    """Weights and header of a file that `save` wrote.

    Raises:
        Refused: It is damaged or somebody else's; if it is a library's file of
            Inception v3, the line is the command that imports it.
    """
    if kind_of(path) != "safetensors":
        raise foreign(path)
    weights, header = read(path)
    if "spec" not in header:
        raise foreign(path)
    return weights, header


def foreign(path: Path) -> Refused:
    """The refusal of a library's file."""
    # Imported late: what a file of ours never needs.
    from common.library_files.names import located

    try:
        library = located(path).library
    except Refused as refusal:
        return Refused(
            f"a weights file must say what network it is of, {path} does not, and "
            f"Inception v3's alone can be imported: {refusal}"
        )
    name = path.name
    for suffix in (".weights.h5", *path.suffixes[-1:]):
        name = name.removesuffix(suffix)
    given = shlex.quote(str(path))
    output = shlex.quote(str(path.with_name(f"{name}.twintrack.safetensors")))
    return Refused(
        f"a weights file must say what network it is of, {path} is {library}'s; import "
        f"it: twintrack weights import inception-v3 --from {given} --output "
        f"{output}"
    )


def said(path: Path, weights: Weights, header: dict[str, str]) -> tuple[Any, About]:
    """The spec and the rest of a file's header, which has a spec.

    Raises:
        Refused: Header and weights do not fit each other, or nobody registered the
            kind of network.
    """
    if (kind := _kind_of(header["spec"])) and kind not in codec.KNOWN:
        raise Refused(
            f"a weights file's kind of network must be known, {path} is of {kind}; "
            "name the module that registers it: --system MODULE"
        )
    try:
        spec = codec.loads(header["spec"])
    except Refused as refusal:
        raise Refused(f"{path}: {refusal}") from refusal
    try:
        check_names({n: r.shape for n, r in spec.weights.items()}, weights)
        classes = tuple(json.loads(header.get("classes", "[]")))
        facts = json.loads(header.get("facts", "{}"))
        if classes and len(classes) != spec.classes:
            raise ValueError(f"{len(classes)} names for {spec.classes} classes")
        if not all(isinstance(name, str) for name in classes):
            raise ValueError("a class has a name that is no text")
        if not isinstance(facts, dict):
            raise ValueError(f"its facts are a {type(facts).__name__}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{path} is damaged or of another network: {error}") from error
    about = About(
        classes=classes,
        source=header.get("source", ""),
        preprocessing=header.get("preprocessing", ""),
        facts=facts,
    )
    return spec, about


def _kind_of(spec: str) -> str | None:
    """The type that a spec's text names, where it is a user's own by all signs."""
    with suppress(ValueError, RecursionError):
        said = json.loads(spec)
        kind = said.get("is") if isinstance(said, dict) else None
        return kind if isinstance(kind, str) and kind.isidentifier() else None
    return None

"""A network in one file: weights, spec, and what its logits and pixels mean.

safetensors with a header of strings.  Either track opens it with `load`; commands read
it here, without a framework.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import codec
from common.errors import Refused
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
    weights, header = read(path)
    if "spec" not in header:
        raise Refused(
            f"a weights file must say what network it is of, {path} does not; import "
            "it with twintrack weights import"
        )
    spec, about = said(Path(path), weights, header)
    return spec, weights, about


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
    spec = codec.loads(header["spec"])
    try:
        check_names({n: r.shape for n, r in spec.weights.items()}, weights)
        classes = tuple(json.loads(header.get("classes", "[]")))
        facts = json.loads(header.get("facts", "{}"))
        if classes and len(classes) != spec.classes:
            raise ValueError(f"{len(classes)} names for {spec.classes} classes")
    except (ValueError, TypeError, AttributeError) as error:
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

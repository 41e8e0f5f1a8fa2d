"""Inception v3's weights: from either library's file to one for both, and back.

    twintrack weights import inception-v3 --from torchvision
    twintrack weights import inception-v3 --from inception_v3_weights.h5
    twintrack weights export FILE --to keras --output weights.h5

The file in between is safetensors with spec (the pools' border, batch norm, scaling),
preprocessing and class names in its header; either track opens it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from benchmarks import options, outcome
from benchmarks.engine.call import call
from benchmarks.engine.chosen import PREPROCESSING, check_system, default_path
from benchmarks.engine.process import Tell, Values
from benchmarks.request import check_choice
from common import model_file
from common.errors import Refused
from common.extras import ClassNames, Official, load_extra
from common.inception import InceptionSpec
from common.model_file import About
from common.weights import digest

app = typer.Typer(add_completion=False, rich_markup_mode=None)
# Where weights come from -> the track that reads them, the border its pools have.
TRACK = {"torchvision": "torch", "keras": "tensorflow"}
BORDER = {"torchvision": "include", "keras": "exclude"}
ZIP, PICKLE, HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n"
BACKGROUND = 1001  # classes of TensorFlow's 2016 graph: every name is off by one


@options.command
def import_weights(
    system: Annotated[str, options.argument(str, "inception-v3.")],
    *,
    source: Annotated[
        str | Path,
        options.option(str, "torchvision, keras, or a file of either.", "--from"),
    ],
    output: options.MaybeOutput = None,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Turn a library's weights into one file that both tracks open.

    Returns:
        What --json writes: {"output", "source", "classes", "border", ...}.

    Raises:
        Refused: There is no such file, or it is not one of Inception v3.
    """
    out = options.filled(options.Told, rest)
    outcome.check_told(out)
    check_system(system)
    named = str(source)
    kind = named if named in TRACK else kind_of(Path(named))
    path = Path(output) if output else default_path(kind)
    values = {"kind": kind, "output": str(path), "named": output is not None}
    values["file"] = None if named in TRACK else named
    if kind == "keras":  # it would download ImageNet's names, torchvision has them
        values |= call(f"{__name__}:names", {}, threads=1, device="cpu")
    found = call(f"{__name__}:convert", values, threads=1, device="cpu")
    print(
        f"{path}: {system} from {found['source']}, {found['classes']:,} classes, pools "
        f"{found['border']} their padding"
    )
    outcome.written(found, out)
    return found


@options.command
def export_weights(
    file: Annotated[str | Path, options.argument(Path, "A file of Inception v3.")],
    *,
    to: Annotated[str, options.option(str, "torchvision or keras.")],
    output: options.Output,
    other_border: Annotated[
        bool,
        options.option(bool, "Even if the pools will differ.", "--other-border"),
    ] = False,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Write weights as a library's own builder loads them.

    Returns:
        What --json writes: {"output", "said"}.

    Raises:
        Refused: The file is not one of Inception v3, or the library's pools differ.
    """
    out = options.filled(options.Told, rest)
    outcome.check_told(out)
    check_choice("to", to, list(TRACK))
    spec, _, _ = model_file.load(Path(file))
    if not isinstance(spec, InceptionSpec):
        raise Refused(
            f"weights to export must be Inception v3's, {file} has those of a "
            f"{type(spec).__name__}; both tracks open it with load()"
        )
    if spec.border != BORDER[to] and not other_border:
        raise Refused(
            f"{to}'s pools {BORDER[to]} their padding and those of {file} "
            f"{spec.border} it: its logits would be others (twintrack official shows "
            "how far); add --other-border if that is what you want"
        )
    values = {"file": str(file), "to": to, "output": str(output)}
    found = call(f"{__name__}:write", values, threads=1, device="cpu")
    print("; ".join([f"{output}: for {to}", *found["said"]]))
    outcome.written(found, out)
    return found


app.command("import")(options.spread(import_weights))
app.command("export")(options.spread(export_weights))


def kind_of(path: Path) -> str:
    """Whose file it is, by its first bytes.

    Raises:
        Refused: There is no such file, or it is neither's.
    """
    if not path.is_file():
        raise Refused(
            f"--from must be torchvision, keras or a file, got {path}; check the path"
        )
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith((ZIP, PICKLE)):
        return "torchvision"
    if start == HDF5:
        return "keras"
    raise Refused(
        f"a weights file must be torch's or Keras's .h5, {path} begins as neither; use "
        "one that torch.save or Keras wrote"
    )


# --- in a child -------------------------------------------------------------------


def names(values: Values, tell: Tell) -> Values:
    """ImageNet's names, from the library that brings them along."""
    return {"names": load_extra("torch", ClassNames).imagenet_names()}


def convert(values: Values, tell: Tell) -> Values:
    """Read a native file, downloaded if none is given; write ours."""
    kind = values["kind"]
    track = load_extra(TRACK[kind], Official)
    path = Path(values["file"]) if values["file"] else track.download()
    spec, weights = track.read_native(path)
    if spec.classes == BACKGROUND:
        raise Refused(
            f"ImageNet's weights must have 1,000 classes, {path} has 1,001: its first "
            "is a background, which would shift every name by one; use weights "
            "without it"
        )
    known = tuple(values.get("names") or names({}, tell)["names"])
    if spec.classes != len(known) and not values["named"]:
        raise Refused(
            f"what is imported without --output stands for ImageNet's {len(known):,} "
            f"classes, {path} has {spec.classes:,}; name a file with --output"
        )
    about = About(
        classes=known if len(known) == spec.classes else (),
        source=f"{kind}, {path.name}",
        preprocessing=PREPROCESSING,
        facts={"digest": digest(weights)},
    )
    model_file.save(Path(values["output"]), spec, weights, about)
    return {
        "output": values["output"],
        "source": about.source,
        "classes": spec.classes,
        "border": spec.border,
        "weights_sha256": digest(weights),
    }


def write(values: Values, tell: Tell) -> Values:
    """Write a native file from ours."""
    spec, weights, _ = model_file.load(Path(values["file"]))
    track = load_extra(TRACK[values["to"]], Official)
    said = track.write_native(Path(values["output"]), spec, weights)
    return {"output": values["output"], "said": said}


if __name__ == "__main__":
    from benchmarks.shell import script

    script(app)

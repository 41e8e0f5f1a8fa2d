"""Weights: Inception v3's from either library's file to one for both, and back.

    twintrack weights import inception-v3 --from torchvision
    twintrack weights import inception-v3 --from checkpoint.pth --output own.safetensors
    twintrack weights export FILE --to keras --output inception.weights.h5
    twintrack weights export FILE --to onnx --output network.onnx    # any network

The file in between is safetensors with spec (the pools' border, batch norm, scaling),
preprocessing and class names in its header; either track opens it.  An ONNX graph is
written from the spec (`common.witness`), of every network of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from benchmarks import options, outcome
from benchmarks.engine.call import call
from benchmarks.engine.chosen import SHOWN, check_system, default_path
from benchmarks.engine.process import Tell, Values
from benchmarks.measures.rungs import relative
from benchmarks.request import check_choice
from benchmarks.shell import bare
from common import library_files, model_file, witness
from common.data import pictures
from common.errors import Failed, Refused
from common.extras import ClassNames, Official, load_extra
from common.files import check_writable, write_atomic
from common.inception import InceptionSpec
from common.library_files import BASE, PIXELS, Understood
from common.library_files.forms import FORMS, form_of
from common.library_files.recognise import LIBRARY, kind_of
from common.model_file import About
from common.track import DEFAULT, load_track
from common.weights import digest

app = bare()
# Where weights come from -> the track that has them, the border its pools have.
TRACK = {"torchvision": "torch", "keras": "tensorflow"}
BORDER = {"torchvision": "include", "keras": "exclude"}
IMAGENET = 1000  # classes
GRAPH = "onnx"  # which no library's builder loads: it is the network, not its weights
# Pictures on which a graph is compared with a track before it is written.
COMPARED = 4
# Float32 of two libraries: the systems' graphs measured 1e-6 at random weights, a
# trained Inception v3 of either is 3e-5 from its own float64.  Faults are above 5e-4.
GRAPH_AGREES = 1e-4


@options.command
def import_weights(
    system: Annotated[str, options.argument(str, "inception-v3.")],
    *,
    source: Annotated[
        str | Path,
        options.option(
            str, "torchvision, keras, or a file of torch, timm or Keras.", "--from"
        ),
    ],
    output: options.MaybeOutput = None,
    pixels: Annotated[
        str,
        options.option(
            str, "What the network was shown: half (-1 to 1) or imagenet (.485/.229)."
        ),
    ] = "half",
    json: options.Json = None,
) -> dict[str, Any]:
    """Turn a library's weights into one file that both tracks open.

    Returns:
        What --json writes: {"output", "source", "classes", "border", "pixels", "base",
        "said", ...}.

    Raises:
        Refused: There is no such file, or it is not one of Inception v3.
    """
    out = options.filled(options.Told, {"json": json})
    outcome.check_told(out)
    check_system(system)
    check_choice("pixels", pixels, list(PIXELS))
    file = None if str(source) in TRACK else Path(source)
    library = library_of(file) if file else str(source)
    path = Path(output) if output else default_path(library)
    check_writable(path, "--output")
    values = {"library": library, "output": str(path), "named": output is not None}
    values |= {"file": str(file) if file else None, "pixels": pixels}
    if library == "keras" and not file:  # its names, torchvision has them
        values |= call(f"{__name__}:names", {}, threads=1, device="cpu")
    found = call(f"{__name__}:convert", values, threads=1, device="cpu")
    named = "no last layer" if found["base"] else f"{found['classes']:,} classes"
    print(
        f"{path}: {system} from {found['source']}, {named}, pools {found['border']} "
        "their padding"
    )
    for line in found["said"]:
        print(f"  {line}")
    outcome.written(found, out)
    return found


@options.command
def export_weights(
    file: Annotated[
        str | Path,
        options.argument(Path, "A file of Inception v3; for onnx of any network."),
    ],
    *,
    to: Annotated[str, options.option(str, "torchvision, keras or onnx.")],
    output: Annotated[
        str | Path,
        options.option(
            Path, "The file: .pth, .pt, .safetensors; .h5, .weights.h5, .keras; .onnx."
        ),
    ],
    other_border: Annotated[
        bool,
        options.option(bool, "Even if the pools will differ.", "--other-border"),
    ] = False,
    json: options.Json = None,
) -> dict[str, Any]:
    """Write weights as a library's own builder loads them, or as an ONNX graph.

    Returns:
        What --json writes: {"output", "said"}; of a graph "difference" and "tolerance"
        too: its float32 logits beside a track's.

    Raises:
        Refused: The file is not one of Inception v3, the library's pools differ, or the
            suffix promises none of the library's files; or there is no such graph.
        Failed: The graph does not compute what the track computes.
    """
    out = options.filled(options.Told, {"json": json})
    outcome.check_told(out)
    check_choice("to", to, [*TRACK, GRAPH])
    form = form_of(to, Path(output))
    check_writable(Path(output), "--output")
    if to == GRAPH:
        return export_graph(Path(file), Path(output), out, other_border=other_border)
    spec, _, about = model_file.load(Path(file))
    base = bool(about.facts.get("base"))
    if not isinstance(spec, InceptionSpec):
        raise Refused(
            f"weights to export must be Inception v3's, {file} has those of a "
            f"{type(spec).__name__}; both tracks open it with load()"
        )
    if base and form == ".keras":
        raise Refused(
            f"a whole Keras model ends in probabilities, {file} has {BASE} and so no "
            "classes; name a .weights.h5 or an .h5"
        )
    if spec.border != BORDER[to] and not other_border:
        raise Refused(
            f"{to}'s pools {BORDER[to]} their padding and those of {file} "
            f"{spec.border} it: its logits would be others (twintrack official shows "
            "how far); add --other-border if that is what you want"
        )
    values = {"file": str(file), "to": to, "output": str(output)}
    found = call(f"{__name__}:write", values, threads=1, device="cpu")
    print(f"{output}: for {to}, by {FORMS[to][form]}")
    for line in found["said"]:
        print(f"  {line}")
    outcome.written(found, out)
    return found


def export_graph(
    file: Path, output: Path, out: options.Told, *, other_border: bool
) -> dict[str, Any]:
    """Write a network as an ONNX graph, once it computes what a track computes.

    Raises:
        Refused: There is no such graph, or an option is of another format.
        Failed: It computes something else; nothing is written.
    """
    if other_border:
        raise Refused(
            f"--other-border is of libraries whose pools may differ, got --to {GRAPH}, "
            "whose graph has the file's own; leave it out"
        )
    spec, _, _ = model_file.load(file)
    if why := witness.why_not(spec):
        raise Refused(f"--to {GRAPH} writes a graph from the spec: {why}")
    values = {"file": str(file), "output": str(output)}
    found = call(f"{__name__}:write_graph", values, threads=1, device="cpu")
    if found["difference"] is None or found["difference"] > GRAPH_AGREES:
        raise Failed(
            f"an ONNX graph must compute what the {DEFAULT[0]} track does, its logits "
            f"are {found['difference'] or 'not a number'} off (allowed "
            f"{GRAPH_AGREES:.0e}); {output} was not written"
        )
    print(
        f"{output}: for ONNX Runtime and others, by {FORMS[GRAPH]['.onnx']}; logits "
        f"within {found['difference']:.1e} of the {DEFAULT[0]} track's (allowed "
        f"{GRAPH_AGREES:.0e})"
    )
    for line in found["said"]:
        print(f"  {line}")
    outcome.written(found, out)
    return found


app.command("import")(options.spread(import_weights))
app.command("export")(options.spread(export_weights))


def library_of(path: Path) -> str:
    """Whose file it is, by its first bytes.

    Raises:
        Refused: There is no such file, or it is something else.
    """
    try:
        return LIBRARY[kind_of(path)]
    except Refused as refusal:
        if path.exists() or "must exist" not in str(refusal):
            raise
        raise Refused(
            f"--from must be torchvision, keras or a file, got {path}; check the path"
        ) from refusal


# --- in a child -------------------------------------------------------------------


def names(values: Values, tell: Tell) -> Values:
    """ImageNet's names, from the library that brings them along."""
    return {"names": load_extra("torch", ClassNames).imagenet_names()}


def convert(values: Values, tell: Tell) -> Values:
    """Read a library's file, downloaded if none is given; write ours."""
    given = values["file"]
    track = None if given else load_extra(TRACK[values["library"]], Official)
    path = track.download() if track else Path(given)
    found = library_files.read(path, pixels=values["pixels"])
    if not values["named"] and (found.base or found.spec.classes != IMAGENET):
        has = "no last layer" if found.base else f"{found.spec.classes:,}"
        raise Refused(
            f"what is imported without --output stands for ImageNet's {IMAGENET:,} "
            f"classes, {path} has {has}; name a file with --output"
        )
    known: Sequence[str] = ()
    if found.spec.classes == IMAGENET:
        known = values.get("names") or names({}, tell)["names"]
    about = About(
        classes=tuple(known),
        source=f"{found.library}, {path.name}",
        preprocessing=SHOWN[values["pixels"]],
        facts={"digest": digest(found.weights), "base": found.base},
    )
    model_file.save(Path(values["output"]), found.spec, found.weights, about)
    return {
        "output": values["output"],
        "source": about.source,
        "classes": found.spec.classes,
        "border": found.spec.border,
        "pixels": values["pixels"],
        "base": found.base,
        "weights_sha256": digest(found.weights),
        "said": [*found.said, *assumed(found, values["pixels"], given=bool(given))],
    }


def assumed(found: Understood, pixels: str, *, given: bool) -> list[str]:
    """What a file of the user's does not say, and what was taken for it."""
    words = []
    if given and found.spec.classes == IMAGENET:
        words.append("1,000 classes: taken for ImageNet's, in the usual order")
    if given and found.library == "torchvision" and pixels == "half":
        words.append(
            "pixels go in as -1 to 1; one trained on ImageNet's mean and deviation "
            "(timm's gluon_in1k) needs --pixels imagenet"
        )
    if pixels == "imagenet":
        words.append("pixels go in by ImageNet's mean and deviation")
    return words


def write(values: Values, tell: Tell) -> Values:
    """Write a native file from ours."""
    spec, weights, about = model_file.load(Path(values["file"]))
    track = load_extra(TRACK[values["to"]], Official)
    said = track.write_native(Path(values["output"]), spec, weights)
    if about.facts.get("base"):
        said.append(
            f"{BASE}: the identity stands for it; build with {spec.classes:,} classes "
            "(in Keras with classifier_activation=None), answers are the features"
        )
    return {"output": values["output"], "said": said}


def write_graph(values: Values, tell: Tell) -> Values:
    """Write an ONNX graph if its logits are a track's; how far they are from them."""
    file, output = Path(values["file"]), Path(values["output"])
    spec, weights, about = model_file.load(file)
    content = witness.exported(spec, weights, about)
    images = pictures(spec.image, 2, 4 * COMPARED, seed=0).test.take(slice(COMPARED))
    track = load_track(DEFAULT[0])
    track.configure(threads=1, device="cpu", mode="aligned")
    expected = track.predictor(track.load(file))(images)
    difference = relative(witness.answers(content, spec, images), expected)
    if difference <= GRAPH_AGREES:
        write_atomic(output, content)
    said = witness.about(spec)
    if about.facts.get("base"):
        said.append(f"{BASE}: its logits are the {spec.classes:,} features")
    return {
        "output": str(output),
        "said": said,
        "difference": difference if np.isfinite(difference) else None,
        "tolerance": GRAPH_AGREES,
    }


if __name__ == "__main__":
    from benchmarks.shell import script

    script(app)

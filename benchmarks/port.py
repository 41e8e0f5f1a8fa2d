"""Find where a PyTorch model and its Keras port part, and why.

    twintrack port model.py:Net model_keras.py:build
    twintrack port torchvision:resnet50 keras:ResNet50 --fix-and-go-on
    twintrack port net.py:Net port.py:build --train 20 --optimizer "adam(lr=1e-3)"
    twintrack port mine:Net port:build --input 3x64x48 --all --write carried.safetensors

Each model runs in a process of its own, in float64, on the same input with the same
weights (`benchmarks.measures.sides`); what they compute is followed step by step until
they part (`benchmarks.measures.porting`).  Exits with 1 where they do.
"""

from __future__ import annotations

import json as json_text
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.measures.handed import handed_over
from benchmarks.measures.learning import BATCH, Asked, learnt, refuse_too_few
from benchmarks.measures.porting import (
    Ported,
    Porting,
    band,
    both_run,
    drawn,
    keras_shapes,
    sized,
    turned_to,
)
from benchmarks.measures.sides import SHOWN, Side
from benchmarks.request import check_choice, check_positive, check_seed
from common import files, weights
from common.errors import Failed, Refused
from common.photos.decode import framing_for, read
from common.port.alike import AGREE, Array
from common.port.carry import Carried, guessed, matched
from common.port.chosen import LOSSES, OPTIMIZERS, named
from common.port.follow import GLUE
from common.port.graph import same_places
from common.port.target import Target, parsed
from common.port.told import Step, Trace, Unit
from common.report.ported import happened

SOURCES = ("torch", "keras", "own")
MODEL = (
    "A model: package.module:factory, path/file.py:factory, factory(arg=1), "
    "torchvision:NAME or keras:NAME."
)
# Memory that a model takes beside its weights is said from here on.
LARGE = 2**30  # bytes
# Its weights, those carried, copies on their way; activations come on top.
COPIES = 6


@options.command
def port(
    torch: Annotated[
        str | None, options.argument(str, f"{MODEL}  [in PyTorch]")
    ] = None,
    keras: Annotated[str | None, options.argument(str, f"{MODEL}  [in Keras]")] = None,
    *,
    input: Annotated[
        options.Paths | None,
        options.option(
            list[str] | None,
            "What goes in: a shape without the batch (3x224x224), a .npy file or a "
            "photo; once for each input.  [as the Keras model says]",
        ),
    ] = None,
    weights: Annotated[
        str | Path,
        options.option(
            Path,
            "Whose weights both get: torch, keras, a file of --write; own: each keeps "
            "what it brings.",
        ),
    ] = "torch",
    mapping: Annotated[
        str | Path | None,
        options.option(
            Path | None,
            "Which layer is which, where it cannot be told: a file that this command "
            "wrote, and you edited.",
        ),
    ] = None,
    all: Annotated[
        bool, options.option(bool, "Show every layer that agrees too.", "--all")
    ] = False,
    fix_and_go_on: Annotated[
        bool,
        options.option(
            bool,
            "Mend what is found in memory, and look for the next.",
            "--fix-and-go-on",
        ),
    ] = False,
    write: Annotated[
        str | Path | None,
        options.option(
            Path | None, "Write the carried weights as safetensors, with both names."
        ),
    ] = None,
    to: Annotated[
        tuple[str, str | Path] | None,
        options.option(
            tuple[str, str] | None,
            "Write one side's weights as its library does: keras FILE.weights.h5, or "
            "torch FILE.pt.",
            "--to",
        ),
    ] = None,
    train: Annotated[
        int | None,
        options.option(
            int | None,
            "Then train both for so many steps: the first step and tensor that part.",
        ),
    ] = None,
    optimizer: Annotated[
        options.Names | None,
        options.option(
            list[str] | None,
            "With --train: adam(lr=1e-3) and the like, or module:factory; twice for "
            "one each, PyTorch's first.  [adam]",
        ),
    ] = None,
    loss: Annotated[
        options.Names | None,
        options.option(
            list[str] | None,
            "With --train: cross_entropy, bce or mse, a factory, or compile; twice for "
            "one each.  [cross_entropy]",
        ),
    ] = None,
    step: Annotated[
        options.Names | None,
        options.option(
            list[str] | None,
            "With --train: a training step of yours, module:function(model, optimizer, "
            "loss, x, y); twice for one each.",
        ),
    ] = None,
    batch: Annotated[
        int, options.option(int, "With --train: examples of a step.")
    ] = BATCH,
    seed: options.Seed = 0,
    threads: options.TrackThreads = 1,
    time_limit: Annotated[
        float, options.option(float, "Seconds that a model may take to answer.")
    ] = 300.0,
    torch_model: Annotated[Any, options.from_python()] = None,
    keras_model: Annotated[Any, options.from_python()] = None,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Find where a PyTorch model and its Keras port part, and why.

    From Python, `torch_model` and `keras_model` take the objects themselves.

    Returns:
        What --json writes: {"torch", "keras", "agree", "mended", "ends", "parts",
        "layers", "units", "notes", "training"}.

    Raises:
        Refused: The request cannot be met.
        Failed: The two part.
    """
    out = options.filled(options.Told, rest)
    check_positive(threads=threads, time_limit=time_limit)
    machine.check_threads(threads)
    check_seed(seed)
    outcome.check_told(out)
    check_written(write, to)
    asked = asked_of(train, optimizer, loss, step, batch=batch, seed=seed)
    check_inputs(_several(input))
    source, file = source_of(weights)
    said = mapping_of(mapping)
    with ExitStack() as stack:
        targets = targets_of(torch, keras, torch_model, keras_model, stack)
        sides = [
            stack.enter_context(
                Side(name, seed=seed, threads=threads, time_limit=time_limit)
            )
            for name in ("torch", "keras")
        ]
        found = judged(
            sides,
            targets,
            inputs=_several(input),
            source=source,
            file=file,
            mapping=said,
            go_on=fix_and_go_on,
            seed=seed,
            train=asked,
        )
        result = found | {"all": all}
        if write:
            write_carried(Path(write), sides, found["pairs"])
        if to:
            save_as(to, sides)
    result.pop("pairs")
    subject = f"{result['torch']} and {result['keras']}"
    outcome.told("port", result, out, subject=subject, tracks=["torch", "tensorflow"])
    if not (result["agree"] and (asked is None or result["training"]["agree"])):
        raise Failed(happened(result))
    return result


def asked_of(
    train: int | None,
    optimizer: options.Names | None,
    loss: options.Names | None,
    step: options.Names | None,
    *,
    batch: int,
    seed: int,
) -> Asked | None:
    """What is asked of a training, or none.

    Raises:
        Refused: Too few steps, or what belongs to a training without one.
    """
    if train is None:
        for name, value in (("optimizer", optimizer), ("loss", loss), ("step", step)):
            if value is not None:
                raise Refused(
                    f"--{name} is of a training, got none; add --train 20, or leave "
                    f"--{name} out"
                )
        return None
    refuse_too_few(train)
    check_positive(batch=batch)
    asked = Asked(
        steps=train,
        optimizer=_each("optimizer", optimizer, "adam"),
        loss=_each("loss", loss, "cross_entropy"),
        step=_each("step", step, ""),
        batch=batch,
        seed=seed,
    )
    one, other = asked.optimizer
    named(one, "an optimizer", OPTIMIZERS)
    named(other or one, "an optimizer", OPTIMIZERS)  # "": the one of `compile`
    for text in asked.loss:
        named("mse" if text == "compile" else text, "a loss", LOSSES)
    for text in asked.step:
        if text or (step and not any(asked.step)):  # one side may have none
            named(text, "a training step")
    return asked


def check_inputs(inputs: Sequence[str]) -> None:
    """Refuse, before anything runs, an input that is neither a shape nor a file.

    Raises:
        Refused: In one line.
    """
    for one in inputs:
        if not Path(one).suffix:
            sized(one)
        elif not Path(one).is_file():
            raise Refused(f"a file of --input must exist, got {one}; check the path")


def _each(name: str, given: options.Names | None, usual: str) -> tuple[str, str]:
    """What is meant for PyTorch and for Keras: one for both, or one each."""
    words = [given] if isinstance(given, str) else [*(given or [usual])]
    if len(words) > 2:
        raise Refused(
            f"--{name} is given once for both sides or twice, got {len(words)} times; "
            "PyTorch's comes first"
        )
    return words[0], words[-1]


def _several(input: options.Paths | None) -> list[str]:
    if input is None:
        return []
    return (
        [str(input)] if isinstance(input, str | Path) else [str(one) for one in input]
    )


def targets_of(
    torch: str | None,
    keras: str | None,
    torch_model: Any,
    keras_model: Any,
    stack: ExitStack,
) -> list[Target]:
    """What each side opens: what is named, or the object, written to a file.

    Raises:
        Refused: A side is named twice or not at all.
    """
    found = []
    for side, text, model in (
        ("torch", torch, torch_model),
        ("keras", keras, keras_model),
    ):
        if (text is None) == (model is None):
            raise Refused(
                f"port compares two models, the one in {SHOWN[side]} must be given "
                f"once, got {'none' if text is None else 'a name and an object'}; "
                f"name it, or pass {side}_model="
            )
        if text is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            text = handed_over(side, model, Path(folder))
        found.append(parsed(text))
    return found


def source_of(weights: str | Path) -> tuple[str, Path | None]:
    """Whose weights are carried, and a file that they come from.

    Raises:
        Refused: It is neither a side nor a file.
    """
    if str(weights) in SOURCES:
        return str(weights), None
    path = Path(weights)
    if not path.is_file():
        raise Refused(
            f"--weights is {', '.join(SOURCES)} or a file that --write wrote, got "
            f"'{weights}'; check the path"
        )
    return "torch", path


def mapping_of(path: str | Path | None) -> dict[str, str]:
    """Layer of torch -> layer of Keras, from a file as `ask_for_mapping` writes it.

    Raises:
        Refused: It is none.
    """
    if path is None:
        return {}
    try:
        found = json_text.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise Refused(
            f"--mapping is a file that this command wrote, got {path} ({error}); run "
            "without it, and edit what is written"
        ) from None
    if not isinstance(found, dict) or not all(
        isinstance(v, str) for v in found.values()
    ):
        raise Refused(
            f'a mapping is {{"layer in PyTorch": "layer in Keras"}}, got {path}; "" '
            "says that a layer has no partner"
        )
    return found


def check_written(write: str | Path | None, to: tuple[str, str | Path] | None) -> None:
    """Refuse, before anything runs, files that could not be written.

    Raises:
        Refused: A suffix promises another form, or the place takes nothing.
    """
    if write:
        files.check_writable(Path(write), "--write")
    if not to:
        return
    side, path = to
    check_choice("to", side, ("keras", "torch"))
    suffixes = {"keras": (".weights.h5",), "torch": (".pt", ".pth")}[side]
    if not str(path).endswith(suffixes):
        raise Refused(
            f"--to {side} writes {' or '.join(suffixes)}, got {path}; name it so"
        )
    files.check_writable(Path(path), "--to")


# --- the work -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Both models after their first call.

    Attributes:
        given: What went into each.
        traces: What each computed.
        told: What each says of itself.
        dtype: What they compute in.
        bar: Relative difference up to which two arrays hold the same.
        notes: What is to be said of it.
    """

    given: tuple[list[Array], list[Array]]
    traces: tuple[Trace, Trace]
    told: list[dict[str, Any]]
    dtype: str
    bar: float
    notes: list[str]


def met(
    sides: Sequence[Side], targets: Sequence[Target], inputs: Sequence[str], seed: int
) -> Met:
    """Both models, opened and called once: in float64, or float32 where that cannot be.

    Raises:
        Refused: A model cannot be opened or run, or nobody knows what goes in.
    """
    notes: list[str] = []
    for dtype in ("float64", "float32"):
        for side, target in zip(sides, targets, strict=True):
            side.open(target, dtype)
        told = [side.answer()[0] for side in sides]
        if dtype == "float64":
            say_size(told)
        given = given_to(inputs, told, seed, dtype)
        try:
            here, other, there, said = both_run(sides[0], sides[1], given)
            break
        except Refused as error:
            if dtype == "float32" or not NO_FLOAT64 & set(str(error).split()):
                raise
            notes.append(
                f"in float32, as a layer has no float64 ({str(error)[:200]}): what is "
                "smaller than a start one ulp away makes is not seen"
            )
    return Met(
        given=(there, list(given)),
        traces=(here, other),
        told=told,
        dtype=dtype,
        bar=AGREE if dtype == "float64" else band(sides[0], there, here),
        notes=[*notes, said],
    )


def judged(
    sides: Sequence[Side],
    targets: Sequence[Target],
    *,
    inputs: Sequence[str],
    source: str,
    file: Path | None,
    mapping: Mapping[str, str],
    go_on: bool,
    seed: int,
    train: Asked | None = None,
) -> dict[str, Any]:
    """What is found of a pair.

    Raises:
        Refused: A model cannot be opened or run, or layers cannot be matched.
    """
    pair = met(sides, targets, inputs, seed)
    torch, keras = sides
    carried = partners(torch, keras, mapping, pair.traces)
    work = Porting(
        torch,
        keras,
        pair.given,
        carried,
        source,
        read_carried(file) if file else None,
        seed,
        go_on=go_on,
        bar=pair.bar,
    )
    found = work.found()
    found.notes[:0] = [*pair.notes, *unlike(carried), *said_of(pair.told)]
    found.notes += said_after(sides, found)
    result = as_result(found, targets, pair.told, dtype=pair.dtype, source=source)
    if train is not None and not result["agree"]:
        found.notes.append(
            "trained although they part before: what parts there shows in the loss"
        )
    training = train and trained(work, pair, train)
    return result | {"mended": found.agree if go_on else None, "training": training}


def trained(work: Porting, pair: Met, asked: Asked) -> dict[str, Any]:
    """What comes of the two trainings, as JSON takes it."""
    one, other = (told["tokens"] for told in pair.told)
    asked = replace(asked, tokens=one or other)
    sides = (work.torch, work.keras)
    return learnt(*sides, work.carried, pair.given, asked, dtype=pair.dtype).wire()


def said_of(told: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of what the models are."""
    notes = []
    for model, words in zip(SHOWN.values(), told, strict=True):
        if words["lazy"]:
            notes.append(f"the {model} model was built by its first call")
        if words.get("narrow"):
            notes.append(
                f"{', '.join(words['narrow'])} of {model} say a type of their own; "
                "they are judged in float64 all the same"
            )
        if words["tied"]:
            notes.append(
                f"tied in {model}: {', '.join(words['tied'])}; carried to each place"
            )
    return notes


def said_after(sides: Sequence[Side], found: Ported) -> list[str]:
    """What is to be said of what the models return."""
    notes = [
        f"{SHOWN[side.name]} returns {name}, a {kind}, which is no tensor and left out"
        for side in sides
        for name, kind in side.odd.items()
    ]
    if found.first.paired:
        pairs = ", ".join(f"{a} = {b}" for a, b in found.first.paired)
        notes.append(f"outputs with other names, by what they hold: {pairs}")
    return notes


# Words of an error that says that there is no float64: TensorFlow's, and torch's.
NO_FLOAT64 = {"double", "'Double'", "DT_DOUBLE"}


def say_size(told: Sequence[Mapping[str, Any]]) -> None:
    """Say beforehand how much memory large models take."""
    size = sum(words["bytes"] for words in told)
    if size >= LARGE:
        print(
            f"the two models have {size / 2**30:.1f} GiB of weights in float64; this "
            f"takes about {COPIES * size / 2**30:.0f} GiB of memory, and activations",
            file=sys.stderr,
            flush=True,
        )


def given_to(
    inputs: Sequence[str], told: Sequence[Mapping[str, Any]], seed: int, dtype: str
) -> list[Array]:
    """What goes into the models, as Keras takes it.

    Raises:
        Refused: A file cannot be read, or nobody knows the shape.
    """
    wanted = told[1]["inputs"]
    tokens = told[0]["tokens"] or told[1]["tokens"]
    files_given = [one for one in inputs if Path(one).suffix]
    if not files_given:
        shapes = keras_shapes(wanted, [sized(one) for one in inputs])
        arrays = drawn(shapes, wanted, tokens, seed)
    else:
        arrays = [
            of_file(Path(one), wanted[i]["shape"][1:] if wanted else None)
            for i, one in enumerate(inputs)
        ]
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def of_file(path: Path, wanted: Sequence[int | None] | None) -> Array:
    """The array of a .npy file, with its batch; or a photo, as float pixels 0 to 255.

    Raises:
        Refused: It is none.
    """
    if path.suffix != ".npy":
        h, w, c = wanted if wanted and len(wanted) == 3 else (224, 224, 3)
        framing = framing_for((h or 224, w or 224, c or 3), "fit", "bicubic", "white")
        picture = read(path, framing)
        return picture.pixels[None].astype(np.float64)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Refused(
            f"--input takes an array that numpy.save wrote, got {path} ({error}); "
            "check the file"
        ) from None
    whole = array.dtype.kind in "iu" and array.ndim == 2
    array = array if whole else array.astype(np.float64)
    return turned_to(array, wanted)


def partners(
    torch: Side, keras: Side, mapping: Mapping[str, str], traces: tuple[Trace, Trace]
) -> Carried:
    """Which layer is which.

    Raises:
        Refused: Both sides have layers left that fit nowhere; a file asks for them.
    """
    check_mapping(mapping, torch.units, keras.units)
    here, there = traces
    places = same_places(torch.units, here, keras.units, there)
    found = matched(torch.units, keras.units, {**places, **mapping})
    alone = {a for a, b in mapping.items() if not b}
    left = [unit for unit in found.torch if unit.name not in alone]
    if left and found.keras:
        raise ask_for_mapping(found)
    return found


def check_mapping(
    mapping: Mapping[str, str], torch: Sequence[Unit], keras: Sequence[Unit]
) -> None:
    """Refuse names that no layer has."""
    for names, units, side in (
        (mapping, torch, "PyTorch"),
        ([b for b in mapping.values() if b], keras, "Keras"),
    ):
        known = {unit.name for unit in units}
        if strangers := [name for name in names if name not in known]:
            raise Refused(
                f"a mapping names layers that have weights, {side} has no "
                f"'{strangers[0]}'; choose from {', '.join(sorted(known))}"
            )


MAPPING = Path("port-mapping.json")


def ask_for_mapping(found: Carried) -> Refused:
    """What to say where layers cannot be matched, with the best guess in a file."""
    rows = {a.name: b.name for a, b in found.pairs} | dict(guessed(found))
    files.write_atomic(MAPPING, files.readable(rows))
    sides = (("PyTorch", found.torch), ("Keras", found.keras))
    lists = "; ".join(
        f"{side}: {', '.join(_shaped(unit) for unit in units)}" for side, units in sides
    )
    return Refused(
        "every layer with weights needs a partner with the same shapes, these have "
        f"none: {lists}; edit {MAPPING}, which has the best guess, and give it with "
        "--mapping"
    )


def _shaped(unit: Unit) -> str:
    shapes = ", ".join("x".join(map(str, s)) for s in unit.shapes.values())
    return f"{unit.name} ({unit.kind} {shapes})"


def unlike(carried: Carried) -> list[str]:
    """What is to be said of tensors and layers that one side alone has."""
    notes = []
    for side, units in (("PyTorch", carried.torch), ("Keras", carried.keras)):
        if units:
            notes.append(
                f"{side} alone has {', '.join(_shaped(unit) for unit in units)}"
            )
    counted: dict[tuple[str, str, str], list[str]] = {}
    for a, b in carried.pairs:
        for side, one, other in (("PyTorch", a, b), ("Keras", b, a)):
            for name in one.shapes.keys() - other.shapes.keys():
                if "custom" not in (one.kind, other.kind):
                    counted.setdefault((side, one.kind, name), []).append(one.name)
    for (side, kind, name), layers in counted.items():
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        notes.append(
            f"{side} alone has a {name} in {len(layers)} {kind}: "
            f"{', '.join(layers[:3])}{more}"
        )
    kinds = [a.name for a, b in carried.pairs if "custom" in (a.kind, b.kind)]
    if kinds:
        notes.append(
            f"of a kind that is not known here, carried as their tensors match: "
            f"{', '.join(kinds)}"
        )
    return notes


# --- as a result ----------------------------------------------------------------------


def as_result(
    found: Ported,
    targets: Sequence[Target],
    told: Sequence[Mapping[str, Any]],
    *,
    dtype: str,
    source: str,
) -> dict[str, Any]:
    """What --json writes."""
    return {
        "torch": targets[0].text,
        "keras": targets[1].text,
        "classes": [words["class"] for words in told],
        "dtype": dtype,
        "bar": found.first.bar,
        "weights": source,
        "agree": found.agree and not any(_faulty(part) for part in found.parts),
        "ends": [
            {
                "name": name,
                "difference": finite(value),
                "after": finite(found.after.get(name, np.inf)),
            }
            for name, value in found.ends.items()
        ],
        "parts": [
            {
                "torch": step_of(part.torch),
                "keras": step_of(part.keras),
                "difference": finite(part.size),
                "shapes": [list(shape) for shape in part.shapes],
                "cause": part.cause.name if part.cause else None,
                "text": part.cause.text if part.cause else "",
                "after": part.cause.after if part.cause else None,
                "fault": part.cause.fault if part.cause else True,
                "also": list(part.also),
            }
            for part in found.parts
        ],
        "layers": layers_of(found),
        "units": {
            "carried": len(found.carried.pairs),
            "torch": [unit.name for unit in found.carried.torch],
            "keras": [unit.name for unit in found.carried.keras],
        },
        "notes": found.notes,
        "pairs": found.carried.pairs,
    }


def _faulty(part: Any) -> bool:
    return part.cause is None or part.cause.fault


def finite(value: float) -> float | None:
    """A number, or none where it is none."""
    return float(value) if np.isfinite(value) else None


def step_of(step: Step | None) -> dict[str, Any] | None:
    """Where a step is, for a reader."""
    if step is None:
        return None
    return {"name": step.name, "class": step.cls, "where": step.where}


def layers_of(found: Ported) -> list[dict[str, Any]]:
    """Every step of torch that agrees with one of Keras before they part."""
    first = found.first
    until = min(first.parted(0), default=len(first.torch.steps))
    rows = []
    for at, met in first.met.items():
        step = first.torch.steps[at]
        if at < until and (step.unit or step.kind not in GLUE):
            rows.append(
                {
                    "torch": step_of(step),
                    "keras": step_of(first.keras.steps[met.other]),
                    "difference": met.difference,
                }
            )
    return rows


# --- files --------------------------------------------------------------------------


def write_carried(
    path: Path, sides: Sequence[Side], pairs: Sequence[tuple[Unit, Unit]]
) -> None:
    """The weights that torch has, canonical, with the names of both sides."""
    names = {
        f"{a.name}/{tensor}": json_text.dumps(
            {"torch": a.tensors[tensor], "keras": b.tensors.get(tensor, "")}
        )
        for a, b in pairs
        for tensor in a.shapes
    }
    held = sides[0].weights()
    weights.write(path, {name: held[name] for name in names}, names)


def read_carried(path: Path) -> dict[str, Array]:
    """What `write_carried` wrote.

    Raises:
        Refused: It is no such file.
    """
    return dict(weights.read(path)[0])


def save_as(to: tuple[str, str | Path], sides: Sequence[Side]) -> None:
    """One side's weights as its library writes them, checked by loading."""
    side, path = to
    with tempfile.TemporaryDirectory(dir=Path(path).absolute().parent) as folder:
        whole = Path(folder) / Path(path).name
        sides[0 if side == "torch" else 1].ask("save", {}, path=str(whole))
        whole.replace(path)


if __name__ == "__main__":
    from benchmarks.shell import script

    script(port)

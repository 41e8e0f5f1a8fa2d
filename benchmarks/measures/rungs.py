"""What is judged of two tracks for `twintrack parity`: the rungs, from what both wrote.

A difference is relative to the second track, which counts as the one that is right;
a fault is planted in the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures.ladder import Climb, kept_steps
from benchmarks.measures.testimony import read_answers
from common import codec
from common.spec import Spec
from common.weights import Weights, read

# The same arrays: copied, not computed.
EQUAL = 0.0
# A tensor that moves the logits by less than so many tolerances was not seen by the
# comparison.
SEEN = 1e6
# Float32 of another library's convolutions, at random weights: the plain graphs of all
# systems are 1.1e-6 off at most, a batch norm's epsilon of 1e-5 for 1e-3 is 5e-4.
PLAIN = 2e-5
# A rung that is told even where the one that it is judged beside has failed: of two
# that differ the witness says which one is off.
BESIDE = {"witness": "logits"}
# Gradients below this share of the global norm are zero but for rounding (a bias
# before batch norm); such a tensor is judged against the norm of its layer.
NO_GRADIENT = 1e-12

Found = list[tuple[float, str, int]]  # difference, tensor, step


@dataclass(frozen=True, slots=True)
class Rung:
    """One comparison: the largest difference, what is allowed, where it appears."""

    name: str
    dtype: str | None
    difference: float
    tolerance: float
    where: str

    @property
    def passed(self) -> bool:
        """Whether it held; a difference that is not a number does not."""
        return bool(self.difference <= self.tolerance)


def compare_stage(
    stage: str, climbs: Mapping[str, Climb], witness: Climb | None = None
) -> Iterator[Rung]:
    """The rungs of one stage, from what both tracks wrote, and the witness if any.

    Args:
        stage: One of `benchmarks.measures.ladder.STAGES`.
        climbs: Of the first track and of the second, in this order.
        witness: What `benchmarks.measures.testimony` wrote for, or none.
    """
    one, other = climbs.values()
    first, second = (read(Path(climb.folder) / stage)[0] for climb in (one, other))
    match stage:
        case "build":
            yield from names_and_draw(first, second, codec.loads(other.spec))
        case "functions":
            answers = {one.track: first["logits"], other.track: second["logits"]}
            beside = witness_rungs(witness, answers, other.tolerance) if witness else ()
            yield from function_rungs(first, second, other.tolerance, beside)
        case "training":
            yield losses_rung(first["losses"], second["losses"], other.tolerance)
            yield from tensor_rungs(one, other)
            yield evaluation_rung(first, second, other.tolerance)
        case "float32":
            yield float32_rung(first, second, other)


def names_and_draw(first: Weights, second: Weights, spec: Spec) -> Iterator[Rung]:
    """Names, shapes and the spec's own draw."""
    expected = {name: record.shape for name, record in spec.weights.items()}
    strangers = sorted(
        (expected.keys() ^ first.keys()) | (expected.keys() ^ second.keys())
    )
    where = strangers[0] if strangers else f"{len(expected)} tensors"
    yield Rung("names", None, len(strangers), EQUAL, where)
    if strangers:
        return
    odd = [
        name
        for name, shape in expected.items()
        if not (first[name].shape == second[name].shape == shape)
    ]
    where = odd[0] if odd else f"{len(expected)} tensors"
    yield Rung("shapes", None, len(odd), EQUAL, where)
    if not odd:
        differences = [(relative(first[n], second[n]), n) for n in second]
        yield largest_rung("draw", differences, EQUAL)


def function_rungs(
    first: Weights, second: Weights, tolerance: float, beside: Iterable[Rung] = ()
) -> Iterator[Rung]:
    """Logits at random weights, rungs `beside` them, what moves nothing, gradients."""
    difference = relative(first["logits"], second["logits"])
    zeros = int((first["logits"] == 0).sum() + (second["logits"] == 0).sum())
    where = f"{second['logits'].shape} logits, {zeros} of them zero"
    yield Rung("logits", "float64", np.inf if zeros else difference, tolerance, where)
    yield from beside
    moves = part(first, "moves/"), part(second, "moves/")
    moved = {n: np.minimum(*both) for n, *both in pairs(*moves)}
    still = [name for name, least in moved.items() if not least >= SEEN * tolerance]
    where = still[0] if still else f"all {len(moved)} tensors"
    yield Rung("moves", None, len(still), EQUAL, where)
    gradients = part(first, "gradients/"), part(second, "gradients/")
    scale = global_norm(gradients[1])
    differences = [(relative(a, b, scale), n) for n, a, b in pairs(*gradients)]
    yield largest_rung("gradients", differences, tolerance)


def witness_rungs(
    witness: Climb, answers: Mapping[str, NDArray[Any]], tolerance: float
) -> Iterator[Rung]:
    """Both forms of the witness's graph beside both tracks' logits."""
    third = read_answers(witness)
    yield witness_rung(answers, third["logits"], tolerance)
    yield plain_rung(answers, third["plain"])


def witness_rung(
    answers: Mapping[str, NDArray[Any]], third: NDArray[Any], tolerance: float
) -> Rung:
    """The same logits beside the witness's: two votes to one, by name.

    Args:
        answers: Track -> its logits (n, classes), float64, of two tracks.
        third: The witness's.
        tolerance: Of all three.
    """
    gaps = {track: relative(logits, third) for track, logits in answers.items()}
    off = [track for track, gap in gaps.items() if not gap <= tolerance]
    told = " and ".join(f"{track} {gap:.1e}" for track, gap in gaps.items())
    where = f"{told} from a graph of the spec"
    if len(off) == 1:
        (right,) = answers.keys() - off
        where = f"{off[0]} is off: {right} and the witness agree to {gaps[right]:.1e}"
    elif off:
        first, second = answers.values()
        apart = relative(first, second)
        where = f"no two of {', '.join(answers)} and the witness agree: {told}"
        if apart <= tolerance:
            both = " and ".join(answers)
            where = f"the witness is off: {both} agree to {apart:.1e}"
    return Rung("witness", "float64", max(gaps.values()), tolerance, where)


def plain_rung(answers: Mapping[str, NDArray[Any]], third: NDArray[Any]) -> Rung:
    """The float32 logits of the graph that users get, beside both tracks' float64."""
    gaps = [relative(third.astype(np.float64), logits) for logits in answers.values()]
    where = "the graph that weights export writes, by ONNX Runtime"
    return Rung("plain", "float32", max(gaps), PLAIN, where)


def largest_rung(
    name: str, differences: Iterable[tuple[float, str]], tolerance: float
) -> Rung:
    """The largest of some tensors' differences; no tensor is not a passed rung."""
    difference, where = max(differences, default=(np.inf, "no tensor"))
    return Rung(name, "float64", difference, tolerance, where)


def losses_rung(first: NDArray[Any], second: NDArray[Any], tolerance: float) -> Rung:
    """|a - b| / max(1, |b|) at every step, and the first step past the tolerance."""
    differences = np.abs(first - second) / np.maximum(1, np.abs(second))
    differences = np.where(np.isnan(differences), np.inf, differences)
    over = np.flatnonzero(differences > tolerance)
    at = int(over[0]) if len(over) else int(differences.argmax())
    where = f"{'first at ' if len(over) else ''}step {at + 1} of {len(first)}"
    return Rung("losses", "float64", float(differences.max()), tolerance, where)


def tensor_rungs(one: Climb, other: Climb) -> Iterator[Rung]:
    """Weights, statistics and averages after some steps."""
    scales = no_gradient(part(read(Path(other.folder) / "functions")[0], "gradients/"))
    kinds: dict[str, Found] = {}
    for step in kept_steps(other):
        kept = (read(Path(c.folder) / f"step-{step}")[0] for c in (one, other))
        first, second = kept
        for name, a, b in pairs(first, second):
            bare = name.removeprefix("weights/").removeprefix("slots/average/")
            scale = second.get(name.replace(bare, scales.get(bare, bare)), b)
            row = (relative(a, b, float(np.linalg.norm(scale))), bare, step)
            kinds.setdefault(kind_of(name), []).append(row)
    for kind in ("weights", "statistics", "averages"):
        if kind in kinds:
            yield tensors_rung(kind, kinds[kind], other.tolerance)


def tensors_rung(kind: str, found: Found, tolerance: float) -> Rung:
    """The largest difference of these tensors, and the first past the tolerance."""
    over = [row for row in found if not row[0] <= tolerance]
    _, name, step = min(over, key=lambda row: row[2]) if over else max(found)
    where = f"{'first in ' if over else ''}{name}, step {step}"
    return Rung(kind, "float64", max(found)[0], tolerance, where)


def kind_of(name: str) -> str:
    """Which rung judges a tensor of the training stage."""
    if name.startswith("slots/average/"):
        return "averages"
    return "statistics" if name.endswith((".mean", ".var")) else "weights"


def evaluation_rung(first: Weights, second: Weights, tolerance: float) -> Rung:
    """Logits, loss and accuracy of the test pictures."""
    loss = abs(first["loss"] - second["loss"]) / np.maximum(1, abs(second["loss"]))
    accuracy = abs(first["accuracy"] - second["accuracy"])
    logits = relative(first["logits"], second["logits"])
    where = f"logits, loss and accuracy of {len(second['logits'])} pictures"
    difference = float(np.max([logits, loss, accuracy]))  # NaN, if one of them is
    return Rung("evaluation", "float64", difference, tolerance, where)


def float32_rung(first: Weights, second: Weights, climb: Climb) -> Rung:
    """The first steps in float32, beside the same start moved by one ulp."""
    a, b = first["losses"], second["losses"]
    gap = np.abs(a - b) / np.maximum(1, np.abs(b))
    controls = [
        np.abs(t["control"] - t["losses"]) / np.maximum(1, np.abs(t["losses"]))
        for t in (first, second)
    ]
    control = max(float(c[: climb.judged].max()) for c in controls)
    later = max(float(c.max()) for c in controls)
    where = (
        f"steps 1 to {climb.judged}, control {control:.1e}; "
        f"to {len(a)}: {gap.max():.1e}, control {later:.1e}"
    )
    difference = float(gap[: climb.judged].max())
    return Rung("float32", "float32", difference, climb.first, where)


# --- of tensors -------------------------------------------------------------------


def part(found: Weights, prefix: str) -> Weights:
    """What is filed under `prefix`, without it."""
    return {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}


def pairs(
    first: Weights, second: Weights
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Every name of either with both arrays; NaN for one that is missing."""
    nothing = np.array(np.nan)
    for name in second | first:
        yield name, first.get(name, nothing), second.get(name, nothing)


def relative(a: NDArray[Any], b: NDArray[Any], scale: float | None = None) -> float:
    """The norm of a - b over that of b, or over `scale`.

    Infinite where that is no number or the shapes differ: broadcasting hides faults.
    """
    if a.shape != b.shape:
        return np.inf
    above = float(np.linalg.norm(a - b))
    if above == 0:
        return 0.0
    below = float(np.linalg.norm(b)) if scale is None else scale
    found = above / below if below else np.inf
    return found if np.isfinite(found) else np.inf


def global_norm(gradients: Weights) -> float:
    """Norm of all gradients together."""
    return float(np.sqrt(sum(np.linalg.norm(v) ** 2 for v in gradients.values())))


def no_gradient(gradients: Weights) -> dict[str, str]:
    """Tensor whose true gradient is zero -> the kernel of its layer."""
    limit = NO_GRADIENT * global_norm(gradients)
    names = [n for n, value in gradients.items() if np.linalg.norm(value) < limit]
    return {name: f"{name.rpartition('.')[0]}.kernel" for name in names}


# --- in words and as JSON ---------------------------------------------------------


def line(rung: Rung) -> str:
    """One rung in words."""
    mark = "ok  " if rung.passed else "FAIL"
    figure = (
        f"{rung.difference:.0f}" if rung.dtype is None else f"{rung.difference:.1e}"
    )
    allowed = f"{rung.tolerance:.0e}" if rung.tolerance else "0"
    return f"  {mark} {rung.name:<11} {figure:>8}  allowed {allowed:<6} {rung.where}"


def result(
    system: str, tracks: Iterable[str], rungs: list[Rung], absent: str | None = None
) -> dict[str, Any]:
    """A system's row of `twintrack parity --json`; `absent`: why without a witness."""
    rows = [
        asdict(rung)
        | {
            "passed": rung.passed,
            "difference": rung.difference if np.isfinite(rung.difference) else None,
        }
        for rung in rungs
    ]
    passed = all(rung.passed for rung in rungs)
    return {
        "system": system,
        "tracks": list(tracks),
        "passed": passed,
        "rungs": rows,
        "not_climbed": [{"rung": "witness", "why": absent}] if absent else [],
    }

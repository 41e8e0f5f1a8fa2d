"""Prove that both tracks compute the same function, rung by rung, in float64.

    twintrack parity deep-cnn
    twintrack parity all --json parity.json
    twintrack parity --break padding      # a planted fault: must be caught, exits 1

Both tracks measure in processes of their own (`benchmarks.measures.ladder`); this one
compares what they wrote, and stops at the first rung that fails.
"""

from __future__ import annotations

import dataclasses
import json as jsonlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import options
from benchmarks.engine.process import environment
from benchmarks.measures.ladder import STAGES, Climb, kept_steps
from benchmarks.request import check_positive, opened, tracks_of
from common import codec, files
from common import systems as registry
from common.data import DataRequest
from common.errors import Failed
from common.faults import FAULTS, plant
from common.track import TRACKS
from common.weights import Weights, read

# The same arrays: copied, not computed.
EQUAL = 0.0
# A tensor that moves the logits by less than so many tolerances was not seen by the
# comparison.
SEEN = 1e6
# Gradients below this share of the global norm are zero but for rounding (a bias
# before batch norm); such a tensor is judged against the norm of its layer.
NO_GRADIENT = 1e-12


@dataclasses.dataclass(frozen=True, slots=True)
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


def parity(
    systems: Annotated[
        list[str] | None,
        typer.Argument(help="Systems, or all.  [default: small-cnn]"),
    ] = None,
    *,
    data: options.MaybeData = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Training steps.  [default: 200; the system's own if fewer]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, pictures and plan.")] = 0,
    fault: Annotated[
        str | None,
        typer.Option("--break", help="Plant a fault in torch: twintrack list --faults"),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each track.")] = 1,
    set: options.Set = None,
    system: options.System = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """Prove that both tracks compute the same function, in float64.

    Returns:
        What --json writes: {"systems": [{"system", "passed", "rungs"}]}.

    Raises:
        Refused: The request cannot be met.
        Failed: A rung did not hold.
    """
    check_positive(steps=steps, threads=threads)
    tracks_of(",".join(TRACKS))  # refuses a Keras on something else
    names = _names([*(systems or []), *(system or [])], fault)
    console = Console()
    results = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
            request = DataRequest(source=data) if data else None
            climbs = plan_climbs(
                name,
                request=request,
                steps=steps,
                seed=seed,
                threads=threads,
                overrides=tuple(set or ()),
                fault=fault,
                folder=Path(folder),
            )
            rungs = show(console, name, in_children(climbs, Path(folder)), fault)
        results.append(_result(name, rungs))
    found = {"systems": results}
    if json:
        files.write_atomic(json, jsonlib.dumps(found, indent=1).encode())
    if broken := [row["system"] for row in results if not row["passed"]]:
        raise Failed(f"parity did not hold in {', '.join(broken)}")
    return found


def _names(names: list[str], fault: str | None) -> list[str]:
    if names == ["all"]:
        return list(registry.SYSTEMS)
    if names:
        return names
    return [FAULTS[fault].system if fault in FAULTS else "small-cnn"]


def plan_climbs(
    name: str,
    *,
    request: DataRequest | None,
    steps: int | None,
    seed: int,
    threads: int,
    overrides: tuple[str, ...],
    fault: str | None,
    folder: Path,
) -> dict[str, Climb]:
    """What each track is to measure; a fault is planted in torch's alone."""
    system = registry.find(name)
    ladder = system.ladder
    image, classes = ladder.image or system.image, 10
    overrides = (*ladder.overrides, *overrides)
    if request:
        dataset = opened(request)
        image, classes = dataset.image, len(dataset.classes)
    resolved = registry.resolve(name, image=image, classes=classes, overrides=overrides)
    climbs = {}
    if request:
        registry.check_fits(resolved, len(dataset.train))
    for track in TRACKS:
        spec, recipe = resolved.spec, resolved.recipe
        if fault and track == "torch":
            spec, recipe = plant(fault, spec, recipe, name)
        climbs[track] = Climb(
            spec=codec.dumps(spec),
            recipe=codec.dumps(recipe),
            module=resolved.module,
            data=dataclasses.asdict(request) if request else None,
            steps=steps or ladder.steps,
            seed=seed,
            threads=threads,
            folder=str(folder),
            tensors=min(ladder.tensors or steps or ladder.steps, steps or ladder.steps),
            tolerance=ladder.tolerance,
            first=ladder.first,
            judged=ladder.judged,
        )
    return climbs


def in_children(climbs: dict[str, Climb], folder: Path) -> Iterator[list[Rung]]:
    """The rungs of each stage, as soon as both tracks have measured it."""
    with ExitStack() as stack:
        children = {}
        for track, climb in climbs.items():
            job = folder / f"{track}.json"
            job.write_text(jsonlib.dumps(dataclasses.asdict(climb)))
            log = stack.enter_context((folder / f"{track}.log").open("w+"))
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "benchmarks.measures.ladder",
                    str(job),
                    track,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(threads=climb.threads, device="cpu"),
            )
            stack.callback(child.kill)
            children[track] = child, log
        for stage in STAGES:
            for track, (child, log) in children.items():
                _await(stage, track, child, log)
            yield list(compare_stage(stage, folder, climbs["tensorflow"]))


def _await(stage: str, track: str, child: Any, log: Any) -> None:
    for line in child.stdout:
        if line.strip() == stage:
            return
    child.wait()
    log.seek(0)
    tail = " | ".join(log.read().strip().splitlines()[-3:])
    raise Failed(f"{track} ended before it measured {stage}: {tail}")


def compare_stage(stage: str, folder: Path, climb: Climb) -> Iterator[Rung]:
    """The rungs of one stage, from what both tracks wrote."""
    torch, tensorflow = (read(folder / track / stage)[0] for track in TRACKS)
    spec = codec.loads(climb.spec)
    match stage:
        case "build":
            yield from names_and_draw(torch, tensorflow, spec)
        case "functions":
            yield from function_rungs(torch, tensorflow, climb.tolerance)
        case "training":
            yield from training_rungs(torch, tensorflow, folder, climb)
        case "float32":
            yield float32_rung(torch, tensorflow, climb)


def names_and_draw(torch: Weights, tensorflow: Weights, spec: Any) -> Iterator[Rung]:
    """Names, shapes and the spec's own draw."""
    expected = {name: record.shape for name, record in spec.weights.items()}
    strangers = sorted(
        (expected.keys() ^ torch.keys()) | (expected.keys() ^ tensorflow.keys())
    )
    where = strangers[0] if strangers else f"{len(expected)} tensors"
    yield Rung("names", None, len(strangers), EQUAL, where)
    if strangers:
        return
    odd = [
        name
        for name, shape in expected.items()
        if not (torch[name].shape == tensorflow[name].shape == shape)
    ]
    where = odd[0] if odd else f"{len(expected)} tensors"
    yield Rung("shapes", None, len(odd), EQUAL, where)
    if not odd:
        difference, where = largest(torch, tensorflow)
        yield Rung("draw", "float64", difference, EQUAL, where)


def function_rungs(
    torch: Weights, tensorflow: Weights, tolerance: float
) -> Iterator[Rung]:
    """Logits at random weights, tensors that move nothing, gradients."""
    difference = relative(torch["logits"], tensorflow["logits"])
    zeros = int((tensorflow["logits"] == 0).sum() + (torch["logits"] == 0).sum())
    where = f"{tensorflow['logits'].shape} logits, {zeros} of them zero"
    yield Rung("logits", "float64", np.inf if zeros else difference, tolerance, where)
    moves = [name for name in tensorflow if name.startswith("moves/")]
    still = [n for n in moves if min(torch[n], tensorflow[n]) < SEEN * tolerance]
    where = still[0].removeprefix("moves/") if still else f"all {len(moves)} tensors"
    yield Rung("moves", None, len(still), EQUAL, where)
    names = [name for name in tensorflow if name.startswith("gradients/")]
    scale = global_norm(tensorflow)
    found = [
        (float(np.linalg.norm(torch[n] - tensorflow[n])) / scale, n) for n in names
    ]
    difference, where = max(found)
    where = where.removeprefix("gradients/")
    yield Rung("gradients", "float64", difference, tolerance, where)


def training_rungs(
    torch: Weights, tensorflow: Weights, folder: Path, climb: Climb
) -> Iterator[Rung]:
    """Losses at every step; weights, statistics, averages at some; evaluation."""
    yield losses_rung(torch["losses"], tensorflow["losses"], climb.tolerance)
    scales = no_gradient(read(folder / "tensorflow" / "functions")[0])
    kinds: dict[str, list[tuple[float, str, int]]] = {}
    for step in kept_steps(climb):
        a, b = (read(folder / track / f"step-{step}")[0] for track in TRACKS)
        for name in b:
            kind = kind_of(name)
            bare = name.removeprefix("weights/").removeprefix("slots/average/")
            against = b[name.replace(bare, scales.get(bare, bare))]
            difference = relative(a[name], b[name], against)
            kinds.setdefault(kind, []).append((difference, bare, step))
    for kind in ("weights", "statistics", "averages"):
        if kind in kinds:
            yield tensors_rung(kind, kinds[kind], climb.tolerance)
    difference = max(
        relative(torch["logits"], tensorflow["logits"]),
        float(
            abs(torch["loss"] - tensorflow["loss"]) / max(1, abs(tensorflow["loss"]))
        ),
        abs(float(torch["accuracy"]) - float(tensorflow["accuracy"])),
    )
    where = f"logits, loss and accuracy of {len(tensorflow['logits'])} pictures"
    yield Rung("evaluation", "float64", difference, climb.tolerance, where)


def losses_rung(
    torch: NDArray[Any], tensorflow: NDArray[Any], tolerance: float
) -> Rung:
    """|a - b| / max(1, |b|) at every step, and the first step past the tolerance."""
    differences = np.abs(torch - tensorflow) / np.maximum(1, np.abs(tensorflow))
    differences = np.where(np.isnan(differences), np.inf, differences)
    over = np.flatnonzero(differences > tolerance)
    at = int(over[0]) if len(over) else int(differences.argmax())
    where = f"{'first at ' if len(over) else ''}step {at + 1} of {len(torch)}"
    return Rung("losses", "float64", float(differences.max()), tolerance, where)


def tensors_rung(
    kind: str, found: list[tuple[float, str, int]], tolerance: float
) -> Rung:
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


def float32_rung(torch: Weights, tensorflow: Weights, climb: Climb) -> Rung:
    """The first steps in float32, beside the same start moved by one ulp."""
    a, b = torch["losses"], tensorflow["losses"]
    gap = np.abs(a - b) / np.maximum(1, np.abs(b))
    controls = [
        np.abs(t["control"] - t["losses"]) / np.maximum(1, np.abs(t["losses"]))
        for t in (torch, tensorflow)
    ]
    control = max(float(c[: climb.judged].max()) for c in controls)
    later = max(float(c.max()) for c in controls)
    where = (
        f"steps 1 to {climb.judged}, control {control:.1e}; "
        f"to {len(a)}: {gap.max():.1e}, control {later:.1e}"
    )
    difference = float(gap[: climb.judged].max())
    return Rung("float32", "float32", difference, climb.first, where)


def relative(
    a: NDArray[Any], b: NDArray[Any], scale: NDArray[Any] | None = None
) -> float:
    """The norm of a - b over the norm of b, or of `scale`; inf where not a number."""
    below = float(np.linalg.norm(b if scale is None else scale))
    above = float(np.linalg.norm(a - b))
    if above == 0:
        return 0.0
    found = above / below if below else np.inf
    return found if np.isfinite(found) else np.inf


def largest(torch: Weights, tensorflow: Weights) -> tuple[float, str]:
    """The largest relative difference of two sets of tensors, and its name."""
    return max((relative(torch[n], tensorflow[n]), n) for n in tensorflow)


def global_norm(found: Weights) -> float:
    """Norm of all gradients together."""
    parts = [v for name, v in found.items() if name.startswith("gradients/")]
    return float(np.sqrt(sum(np.linalg.norm(v) ** 2 for v in parts)))


def no_gradient(found: Weights) -> dict[str, str]:
    """Tensor whose true gradient is zero -> the kernel of its layer."""
    limit = NO_GRADIENT * global_norm(found)
    names = {
        name.removeprefix("gradients/")
        for name, value in found.items()
        if name.startswith("gradients/") and np.linalg.norm(value) < limit
    }
    return {name: f"{name.rpartition('.')[0]}.kernel" for name in names}


def show(
    console: Console, name: str, stages: Iterator[list[Rung]], fault: str | None
) -> list[Rung]:
    """Print the rungs of one system as they come; stop at the first that fails."""
    planted = f", with {fault} planted in torch" if fault else ""
    console.print(f"[bold]{name}[/]{planted}")
    rungs: list[Rung] = []
    for stage in stages:
        for rung in stage:
            rungs.append(rung)
            console.print(line(rung), highlight=False, soft_wrap=True)
            if not rung.passed:
                console.print(f"  stopped at the rung that failed: {rung.name}")
                return rungs
    return rungs


def line(rung: Rung) -> str:
    """One rung in words."""
    mark = "ok  " if rung.passed else "FAIL"
    figure = (
        f"{rung.difference:.0f}" if rung.dtype is None else f"{rung.difference:.1e}"
    )
    allowed = f"{rung.tolerance:.0e}" if rung.tolerance else "0"
    return f"  {mark} {rung.name:<11} {figure:>8}  allowed {allowed:<6} {rung.where}"


def _result(name: str, rungs: list[Rung]) -> dict[str, Any]:
    rows = [
        dataclasses.asdict(rung)
        | {
            "passed": rung.passed,
            "difference": rung.difference if np.isfinite(rung.difference) else None,
        }
        for rung in rungs
    ]
    return {"system": name, "passed": all(r.passed for r in rungs), "rungs": rows}


if __name__ == "__main__":
    from benchmarks.shell import script

    script(parity)

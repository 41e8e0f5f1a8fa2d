"""Speed beside a bare loop, what most people write, and the machine's peak.

    twintrack speed rosetta-cnn
    twintrack speed inception-v3 --data photos/ --classes ants,bees
    twintrack speed rasbt-mlp --tracks torch --rounds 20 --json speed.json

In a process per framework, one after the other, rounds of three loops take turns:
ours (what `train` runs: the plan, its prefetch thread, the track's updates), bare
(a hand-written loop of the same model in the same precision, layout and compile,
that slices arrays in memory) and naive (stock layers in float32; a DataLoader and an
eager loop, or `model.fit`).  Each is warmed up first, by `WARM_UP` updates and a
round.  Ratios are taken round by round, so that a slow moment of the machine counts
on both sides; figures are medians, and the range beside them is p10 to p90.  That the
quicker loop is as accurate is `compare`'s to show.

Inception v3 is used rather than trained: its answers and its transfer are measured, in
`benchmarks.measures.answers` and `benchmarks.measures.transfer_speed`.
"""

from __future__ import annotations

import json as jsonlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import options
from benchmarks.compare import check_output, check_positive, tracks_of
from benchmarks.data import ensure_prepared
from benchmarks.engine import machine
from benchmarks.engine.runner import ended, environment, tail
from benchmarks.measures import answers, transfer_speed
from benchmarks.pretrain import listed
from common import files, loop
from common import systems as registry
from common.data import DataRequest, Dataset, Part, open_data, pictures
from common.errors import Failed, Refused
from common.extras import Yardsticks, load_extra
from common.plan import Plan
from common.spec import Spec, macs
from common.systems import Resolved
from common.track import load_track

INCEPTION = "inception-v3"  # the system whose speed is that of its use
USES = ("predict", "transfer")
LOOPS = ("ours", "bare", "naive")
# Least share of the bare loop's speed.
BARE_BAR = 0.97
# Least multiple of the naive loop's, by system and by whether bfloat16 is native.
NAIVE_BARS = {"rosetta-cnn": {True: 1.5, False: 1.1}}
CLASSES, PICTURES = 10, 10_000  # of seeded data: as large as a processor's cache
WARM_UP = 12  # updates of each loop: graphs are traced, caches filled
ROUND = 2.0  # seconds of one loop's turn, where --steps is not given
FEWEST, MOST = 8, 1500  # updates of one turn
SIDES = {"cpu": 2048, "gpu": 8192}  # of the matrices whose product is the peak
# Forward, and backward for weights and for inputs; a multiplication and an addition.
FLOP_PER_MAC = 3 * 2

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one child measures, as it is sent to it."""

    system: str
    overrides: tuple[str, ...]
    data: dict[str, Any] | None
    precision: str
    device: str
    threads: int | None
    rounds: int
    steps: int | None
    track: str = ""


def speed(
    systems: options.Systems = None,
    *,
    data: options.MaybeData = None,
    tracks: options.Tracks = "torch,tensorflow",
    rounds: Annotated[int, typer.Option(help="Turns of each loop.")] = 10,
    steps: Annotated[
        int | None, typer.Option(help="Updates per turn; about 2 s unless given.")
    ] = None,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    what: Annotated[
        str, typer.Option(help="inception-v3: predict, transfer, or both with a comma.")
    ] = "predict,transfer",
    size: Annotated[
        int, typer.Option(help="inception-v3: pixels a side.")
    ] = answers.FULL_SIZE,
    batch: Annotated[int, typer.Option(help="inception-v3: pictures per call.")] = 16,
    weights: Annotated[
        Path | None, typer.Option(help="inception-v3: a file; random unless given.")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="inception-v3, transfer: classes, with commas between.")
    ] = "",
    epochs: Annotated[
        int, typer.Option(help="inception-v3, transfer: of both loops.")
    ] = transfer_speed.EPOCHS,
    limit: Annotated[
        int, typer.Option(help="inception-v3, transfer: training pictures.")
    ] = 100,
    test: Annotated[
        int, typer.Option(help="inception-v3, transfer: test pictures.")
    ] = 200,
    set: options.Set = None,
    system: options.System = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """Measure training, or Inception v3's answers and transfer, beside naive code.

    Returns:
        What --json writes: {"systems": [...]}.

    Raises:
        Refused: The request cannot be met.
        Failed: A bar was missed, or a measurement failed.
    """
    names = tracks_of(tracks)
    check_positive(rounds=rounds, steps=steps, threads=threads, size=size, batch=batch)
    check_positive(epochs=epochs, limit=limit, test=test)
    check_output(json)
    uses = listed(what)
    if not uses or any(use not in USES for use in uses):
        raise Refused(
            f"--what must be {', '.join(USES)} or both, got {what!r}; choose of them"
        )
    place, dtype = machine.settle(device, precision, mode="aligned", tracks=names)
    request = DataRequest(source=data) if data else None
    if request:
        ensure_prepared(request)
    asked = [*(systems or ()), *(system or ())] or ["rosetta-cnn"]
    if asked == ["all"]:
        asked = list(registry.SYSTEMS)
    plans = [
        Measurement(
            system=name,
            overrides=tuple(set or ()),
            data=asdict(request) if request else None,
            precision=dtype,
            device=place,
            threads=threads,
            rounds=rounds,
            steps=steps,
        )
        for name in dict.fromkeys(asked)
        if name != INCEPTION
    ]
    systems_for = [(plan, resolve(plan, data_at_hand(plan))) for plan in plans]
    rows = []
    if INCEPTION in asked:  # trained here it would say nothing of how it is used
        seen = None
        if request:
            seen = replace(request, side=size, classes=listed(classes)).to_dict()
        shared: dict[str, Any] = {
            "size": size,
            "rounds": rounds,
            "weights": str(weights) if weights else None,
            "data": seen,
            "precision": dtype,
            "device": place,
            "threads": threads or machine.available_cores(),
        }
        if "predict" in uses:
            asked_answers = answers.Asked(batch=batch, **shared)
            rows.append(answers.row(asked_answers, names))
            answers.show(rows[-1])
        if "transfer" in uses:
            transfer = transfer_speed.Asked(
                epochs=epochs, train=limit, test=test, **shared
            )
            rows.append(transfer_speed.row(transfer, names))
            transfer_speed.show(rows[-1])
    for plan, resolved in systems_for:
        rows.append(system_row(plan, resolved, names))
        show(rows[-1])
    if json:
        files.write_atomic(json, jsonlib.dumps({"systems": rows}, indent=1).encode())
    found = [bar for row in rows for bar in row["bars"]]
    if short := [bar["said"] for bar in found if not bar["holds"]]:
        raise Failed("; ".join(short))
    return {"systems": rows}


def system_row(plan: Measurement, resolved: Resolved, tracks: list[str]) -> Row:
    """What all tracks make of one system, and how that stands to the bars."""
    spec, recipe = resolved.spec, resolved.recipe
    plan = replace(plan, threads=plan.threads or machine.threads_for(spec, recipe))
    raw = {track: in_child(replace(plan, track=track)) for track in tracks}
    found = {track: summary(row, macs(spec)) for track, row in raw.items()}
    return {
        "system": resolved.name,
        "what": "train",
        "precision": plan.precision,
        "device": plan.device,
        "threads": plan.threads,
        "batch": recipe.batch,
        "rounds": plan.rounds,
        "warm_up": WARM_UP,
        "data": next(iter(raw.values()))["data"],
        "overrides": list(plan.overrides),
        "tracks": found,
        "bars": list(bars(resolved.name, plan.precision, found)),
    }


# --- in the child ---------------------------------------------------------------


def measure(m: Measurement) -> Row:
    """All rounds of one track: seconds of each loop and of the products."""
    track, machine = load_track(m.track), load_extra(m.track, Yardsticks)
    track.configure(threads=m.threads, device=m.device, mode="aligned")
    shape = registry.find(m.system).image
    data = data_at_hand(m) or pictures(shape, CLASSES, PICTURES, 0)
    resolved = resolve(m, data)
    loops = {"ours": ours(m, track, resolved, data.train)}
    loops |= others(m, track, machine, resolved, data.train)
    side = SIDES[m.device]
    products = {
        dtype: machine.product(dtype, side, m.device)
        for dtype in dict.fromkeys(("float32", m.precision))
    }
    for run in loops.values():
        run(WARM_UP)
    for once in products.values():
        once()
    steps = m.steps or fitting_steps(loops)
    for run in loops.values():
        run(steps)
    seconds: dict[str, list[float]] = {name: [] for name in (*loops, *products)}
    for k in range(m.rounds):
        order = list(loops)
        for name in order[k % len(order) :] + order[: k % len(order)]:
            seconds[name].append(loops[name](steps))
        for dtype, once in products.items():
            seconds[dtype].append(once())
    return {
        "seconds": seconds,
        "steps": steps,
        "images": steps * resolved.recipe.batch,
        "precision": m.precision,
        "product": 2 * side**3,
        "data": f"{data.name}: {data.note}" if data.note else data.name,
        "environment": track.describe(),
    }


def ours(
    m: Measurement, track: Any, resolved: Resolved, part: Part
) -> Callable[[int], float]:
    """The loop of `train`: a turn is one epoch of the plan on as many pictures."""
    spec, batch = resolved.spec, resolved.recipe.batch
    total = WARM_UP + (m.rounds + 2) * (m.steps or MOST)
    recipe = replace(resolved.recipe, drop_last=True)
    rates = recipe.lr * recipe.schedule.factors(total, max(1, len(part) // batch))
    model = track.build(spec, dtype=m.precision, device=m.device)
    trainer = track.Trainer(model, spec, recipe, rates)
    clock = loop.Clock(total, recipe, None)
    plan = Plan(seed=0, dtype="float64" if m.precision == "float64" else "float32")

    def run(steps: int) -> float:
        at = clock.step * batch + np.arange(steps * batch)
        turn = part.choose(at % len(part))
        start = perf_counter()
        loop.replay(trainer, turn, spec, recipe, plan, clock.step, clock)
        seconds = perf_counter() - start
        if clock.diverged_at():
            raise Refused(
                f"speed is measured while the loss is finite, it was not at step "
                f"{clock.step}; use --set recipe.lr={recipe.lr / 10:g}"
            )
        return seconds

    return run


def others(
    m: Measurement, track: Any, machine: Any, resolved: Resolved, part: Part
) -> dict[str, Callable[[int], float]]:
    """The bare loop, and the naive one where there is a native mode."""
    spec, recipe = resolved.spec, resolved.recipe
    batch, (h, w, c) = recipe.batch, spec.input
    whole = max(1, len(part) // batch) * batch
    rows = np.random.default_rng(0).permutation(max(whole, len(part)))[:whole]
    chosen = part.choose(rows % len(part))
    # Crops are the plan's work: the others get pictures that fit.
    images = np.ascontiguousarray(chosen.take(slice(None))[:, :h, :w])
    model = track.build(spec, dtype=m.precision, device=m.device)
    batches = images.reshape(-1, batch, h, w, c)
    found = {
        "bare": machine.bare(model, recipe, batches, chosen.labels.reshape(-1, batch))
    }
    try:
        model = track.build_native(cropped(spec), seed=0, device=m.device)
    except Refused:
        return found
    return found | {"naive": machine.naive(model, recipe, images, chosen.labels)}


def cropped(spec: Spec) -> Spec:
    """The spec of the same network for pictures that need no crop."""
    if getattr(spec, "crop", 0):
        return replace(spec, image=spec.input, crop=0)  # type: ignore[type-var]
    return spec


def fitting_steps(loops: dict[str, Callable[[int], float]]) -> int:
    """Updates that the quickest loop makes in about `ROUND` seconds."""
    update = min(run(FEWEST) for run in loops.values()) / FEWEST
    return int(min(max(ROUND / update, FEWEST), MOST))


def data_at_hand(m: Measurement) -> Dataset | None:
    """The data set that was asked for."""
    return open_data(DataRequest(**m.data)) if m.data else None


def resolve(m: Measurement, data: Dataset | None) -> Resolved:
    """The system for its data; without a data set, for its published shape."""
    shape = registry.find(m.system).image
    resolved = registry.resolve(
        m.system,
        image=data.image if data else shape,
        classes=len(data.classes) if data else CLASSES,
        overrides=m.overrides,
    )
    registry.check_fits(resolved, len(data.train) if data else PICTURES)
    return resolved


# --- in the parent --------------------------------------------------------------


def in_child(m: Measurement) -> Row:
    """Have it measured in a process of its own.

    Raises:
        Refused: The child refused; the line is the child's.
        Failed: It ended without a result.
    """
    print(f"{m.system} in {m.track}: {m.rounds} rounds", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
        job, log, out = (Path(folder) / name for name in ("job", "log", "result"))
        job.write_text(jsonlib.dumps(asdict(m)))
        with log.open("wb") as file:
            child = subprocess.run(
                [sys.executable, "-P", "-m", "benchmarks.speed", "--child", folder],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment(threads=m.threads, device=m.device),
            )
        result = jsonlib.loads(out.read_text()) if out.exists() else {}
        if "refused" in result:
            raise Refused(result["refused"])
        if not result:
            why = f"{ended(child.returncode)}\n{tail(log, 0)}"
            raise Failed(f"{m.system} in {m.track}: {why}")
    return result


def child(folder: Path) -> int:
    """The other end of `in_child`."""
    from benchmarks.engine.run import end_with

    end_with(os.getppid())
    fields = jsonlib.loads((folder / "job").read_text())
    fields["overrides"] = tuple(fields["overrides"])
    try:
        result = measure(Measurement(**fields))
    except Refused as error:
        result = {"refused": str(error)}
    (folder / "result").write_text(jsonlib.dumps(result))
    return 0


def summary(raw: Row, per_picture: int | None) -> Row:
    """Rates, ratios and shares from a child's seconds."""
    seconds = {name: np.array(values) for name, values in raw["seconds"].items()}
    rates = {name: raw["images"] / seconds[name] for name in LOOPS if name in seconds}
    flops = {
        name: raw["product"] / values
        for name, values in seconds.items()
        if name not in LOOPS
    }
    peak = flops[raw["precision"]]
    ratios = {
        f"ours_over_{name}": rates["ours"] / rates[name]
        for name in ("bare", "naive")
        if name in rates
    }
    if per_picture:
        shares = rates["ours"] * FLOP_PER_MAC * per_picture / peak
        ratios["share_of_peak"] = shares
    row: Row = {name: _median(rates.get(name)) for name in LOOPS}
    for name in ("ours_over_bare", "ours_over_naive", "share_of_peak"):
        row[name] = _median(ratios.get(name))
    return row | {
        "ranges": {name: _range(values) for name, values in (rates | ratios).items()},
        "peak_flops": {name: _median(values) for name, values in flops.items()},
        "flop_per_image": FLOP_PER_MAC * per_picture if per_picture else None,
        "steps": raw["steps"],
        "environment": raw["environment"],
    }


def _median(values: Any) -> float | None:
    return None if values is None else float(np.median(values))


def _range(values: Any) -> dict[str, float]:
    low, high = np.percentile(values, [10, 90])
    return {"low": float(low), "high": float(high)}


def bars(system: str, precision: str, tracks: dict[str, Row]) -> list[Row]:
    """Every bar that applies, whether it holds, and what to say of it."""
    found = []
    naive = NAIVE_BARS.get(system, {}).get(precision == "bfloat16")
    for track, row in tracks.items():
        for name, bar in (("bare", BARE_BAR), ("naive", naive)):
            key = f"ours_over_{name}"
            if bar is None or row[key] is None:
                continue
            spread = row["ranges"][key]
            holds = row[key] >= bar
            word = "holds" if holds else "falls short"
            said = (
                f"{system} in {track}: {row[key]:.2f} of the {name} loop "
                f"({spread['low']:.2f} to {spread['high']:.2f}), bar {bar}: {word}"
            )
            found.append(
                {"track": track, "name": key, "bar": bar, "holds": holds, "said": said}
            )
    return found


def show(row: Row) -> None:
    """Print one system."""
    from rich.console import Console
    from rich.table import Table

    title = (
        f"{row['system']}: training in {row['precision']}, batch {row['batch']}, "
        f"{row['device']}, threads: {row['threads']}, rounds: {row['rounds']}; "
        f"{row['data']}"
    )
    table = Table()
    table.add_column("images/s (p10 to p90)")
    for track in row["tracks"]:
        table.add_column(track, justify="right")
    for name in LOOPS:
        cells = (_cell(t, name, "{:,.0f}") for t in row["tracks"].values())
        table.add_row(name, *cells)
    for name, text in (
        ("ours_over_bare", "ours / bare"),
        ("ours_over_naive", "ours / naive"),
        ("share_of_peak", "ours / peak"),
    ):
        cells = (_cell(t, name, "{:.3f}") for t in row["tracks"].values())
        table.add_row(text, *cells)
    for dtype in next(iter(row["tracks"].values()))["peak_flops"]:
        cells = (t["peak_flops"][dtype] / 1e9 for t in row["tracks"].values())
        table.add_row(f"peak, {dtype}, GFLOP/s", *(f"{cell:,.0f}" for cell in cells))
    steps = (str(t["steps"]) for t in row["tracks"].values())
    table.add_row("updates per round", *steps)
    console = Console()
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)
    for bar in row["bars"]:
        console.print(bar["said"], highlight=False, soft_wrap=True)


def _cell(row: Row, name: str, form: str) -> str:
    if row[name] is None:
        return ""
    low, high = (form.format(row["ranges"][name][end]) for end in ("low", "high"))
    return f"{form.format(row[name])} ({low} to {high})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(Path(sys.argv[2])))
    from benchmarks.cli import script

    script(speed)

"""Training speed beside a bare loop, what most people write, and the machine's peak.

Rounds of three loops take turns: ours (what `train` runs: the plan, its prefetch
thread, the track's updates), bare (a hand-written loop of the same model in the same
precision, layout and compile, that slices arrays in memory) and naive (stock layers in
float32; a DataLoader and an eager loop, or `model.fit`).  Each is warmed up first, by
`WARM_UP` updates and a round.  That the quicker loop is as accurate is `compare`'s to
show.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import machine
from benchmarks.engine.call import call
from benchmarks.engine.process import Tell, Values
from benchmarks.measures import timing
from common import loop
from common import systems as registry
from common.data import DataRequest, Dataset, Part, open_data, pictures
from common.draws import Starts
from common.errors import Refused
from common.extras import Native, Yardsticks, load_extra
from common.plan import Plan
from common.spec import Spec, macs
from common.start import initial_weights, pictures_needed
from common.systems import Resolved
from common.track import load_track

# "own_pools" is the bare loop with the framework's own fractional pools.
LOOPS = ("ours", "bare", "naive", "own_pools")
# Least share of the bare loop's speed.
BARE_BAR = 0.97
# Least multiple of the naive loop's, by system and by whether bfloat16 is native.
NAIVE_BARS = {
    "rosetta-cnn": {True: 1.5, False: 1.1},
    "airbench94": {True: 1.5, False: 1.1},
}
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


def system_row(plan: Measurement, resolved: Resolved, tracks: list[str]) -> Row:
    """What all tracks make of one system, and how that stands to the bars."""
    spec, recipe = resolved.spec, resolved.recipe
    plan = replace(plan, threads=plan.threads or machine.threads_for(spec, recipe))
    raw = {track: _measured(replace(plan, track=track)) for track in tracks}
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


def _measured(m: Measurement) -> Row:
    """One track's rounds, in a process of its own."""
    print(f"{m.system} in {m.track}: {m.rounds} rounds", file=sys.stderr, flush=True)
    return call(
        f"{__name__}:measure_in_child",
        asdict(m),
        threads=m.threads or machine.available_cores(),
        device=m.device,
    )


def summary(raw: Row, per_picture: int | None) -> Row:
    """Rates, ratios and shares from a child's seconds."""
    seconds = {name: np.array(values) for name, values in raw["seconds"].items()}
    rates = {name: raw["images"] / seconds[name] for name in LOOPS if name in seconds}
    flops = {
        name: raw["product"] / values
        for name, values in seconds.items()
        if name not in LOOPS
    }
    ratios = {
        f"ours_over_{name}": rates["ours"] / rates[name]
        for name in LOOPS[1:]
        if name in rates
    }
    if per_picture:
        work = FLOP_PER_MAC * per_picture
        ratios["share_of_peak"] = rates["ours"] * work / flops[raw["precision"]]
    row: Row = {name: timing.median(rates.get(name)) for name in LOOPS}
    over = (f"ours_over_{name}" for name in LOOPS[1:])
    for name in (*over, "share_of_peak"):
        row[name] = timing.median(ratios.get(name))
    measured = rates | ratios
    return row | {
        "ranges": {name: timing.spread(values) for name, values in measured.items()},
        "peak_flops": {name: timing.median(values) for name, values in flops.items()},
        "flop_per_image": FLOP_PER_MAC * per_picture if per_picture else None,
        "steps": raw["steps"],
        "environment": raw["environment"],
    }


def bars(system: str, precision: str, tracks: dict[str, Row]) -> list[Row]:
    """Every bar that applies, whether it holds, and what to say of it."""
    found = []
    naive = NAIVE_BARS.get(system, {}).get(precision == "bfloat16")
    for track, row in tracks.items():
        for name, least in (("bare", BARE_BAR), ("naive", naive)):
            key = f"ours_over_{name}"
            if least is None or row[key] is None:
                continue
            ends = row["ranges"][key]
            said = (
                f"{system} in {track}: {row[key]:.2f} of the {name} loop "
                f"({ends['low']:.2f} to {ends['high']:.2f}), bar {least}"
            )
            holds = row[key] >= least
            found.append(timing.bar(track, key, least, holds=holds, said=said))
    return found


# --- in the child -----------------------------------------------------------------


def measure_in_child(values: Values, tell: Tell) -> Row:
    """In a child: all rounds of one track."""
    fields = values | {"overrides": tuple(values["overrides"])}
    return measure(Measurement(**fields))


def measure(m: Measurement) -> Row:
    """All rounds of one track: seconds of each loop and of the products."""
    track, yardsticks = load_track(m.track), load_extra(m.track, Yardsticks)
    threads = m.threads or machine.available_cores()
    track.configure(threads=threads, device=m.device, mode="aligned")
    shape = registry.find(m.system).image
    data = data_at_hand(m) or pictures(shape, CLASSES, PICTURES, 0)
    resolved = resolve(m, data)
    loops = {"ours": ours(m, track, resolved, data.train)}
    loops |= others(m, track, yardsticks, resolved, data.train)
    side = SIDES[m.device]
    products = {
        dtype: yardsticks.product(dtype, side, m.device)
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
    # A turn counts as an epoch, and none of them is one of the clean last ones.
    augment = replace(resolved.recipe.augment, clean=0)
    recipe = replace(resolved.recipe, drop_last=True, augment=augment)
    rates = recipe.lr * recipe.schedule.factors(total, max(1, len(part) // batch))
    model = built(m, track, spec, part)
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


def built(m: Measurement, track: Any, spec: Spec, part: Part) -> Any:
    """The network, drawn from the pictures where its spec says so."""
    weights = initial_weights(spec, 0, part) if pictures_needed(spec) else None
    return track.build(spec, weights=weights, dtype=m.precision, device=m.device)


def others(
    m: Measurement,
    track: Any,
    yardsticks: Yardsticks,
    resolved: Resolved,
    part: Part,
) -> dict[str, Callable[[int], float]]:
    """The bare loop, and the naive one where there is a native mode."""
    spec, recipe = resolved.spec, resolved.recipe
    batch, (h, w, c) = recipe.batch, spec.input
    whole = max(1, len(part) // batch) * batch
    rows = np.random.default_rng(0).permutation(max(whole, len(part)))[:whole]
    chosen = part.choose(rows % len(part))
    # Crops and canvases are the plan's work: the others get pictures that fit.
    images = fitting(chosen.take(slice(None)), spec)
    model = built(m, track, spec, part)
    batches = images.reshape(-1, batch, h, w, c)
    found = {
        "bare": yardsticks.bare(
            model, recipe, batches, chosen.labels.reshape(-1, batch)
        )
    }
    if hasattr(yardsticks, "own_pools") and any(
        isinstance(draw, Starts) for draw in spec.draws.values()
    ):
        model = yardsticks.own_pools(built(m, track, spec, part))
        labels = chosen.labels.reshape(-1, batch)
        found["own_pools"] = yardsticks.bare(model, recipe, batches, labels)
    try:
        native = load_extra(m.track, Native)
        model = native.build_native(cropped(spec), seed=0, device=m.device)
    except Refused:  # Inception v3, or a kind of the user's own: no naive twin
        return found
    return found | {"naive": yardsticks.naive(model, recipe, images, chosen.labels)}


def fitting(images: NDArray[np.uint8], spec: Spec) -> NDArray[np.uint8]:
    """Pictures of the size that the network sees: a corner, or laid on the canvas."""
    h, w, _ = spec.input
    if not getattr(spec, "canvas", 0):
        return np.ascontiguousarray(images[:, :h, :w])
    sides = zip((h, w), images.shape[1:3], strict=True)
    pads = (((side - own) // 2, side - own - (side - own) // 2) for side, own in sides)
    ground = int(spec.ground)  # type: ignore[attr-defined]
    return np.pad(images, ((0, 0), *pads, (0, 0)), constant_values=ground)


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

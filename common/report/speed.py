"""Speed as tables: training, answers and transfer beside what people write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from common.report.figures import NONE, megabytes
from common.report.table import Table, columns

LOOPS = {"ours": "ours", "bare": "bare", "naive": "naive"}
RATIOS = {
    "ours_over_bare": "ours / bare",
    "ours_over_naive": "ours / naive",
    "share_of_peak": "ours / peak",
}
# Where a network has fractional pools: the bare loop with the framework's own.
OWN_POOLS = ("own_pools", "ours_over_own_pools")
# What answers and does nothing else; keys of `benchmarks.measures.engines`.
ENGINES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "openvino_bfloat16": "OpenVINO in bfloat16",
}
Row = Mapping[str, Any]


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The result of `twintrack speed`, a table for each measurement."""
    kinds = {"train": _training, "predict": _answers, "transfer": _transfer}
    return [kinds[row["what"]](row) for row in result["systems"]]


def _training(row: Row) -> Table:
    tracks = row["tracks"]
    rates, ratios = dict(LOOPS), dict(RATIOS)
    if any(track.get(OWN_POOLS[0]) is not None for track in tracks.values()):
        rates[OWN_POOLS[0]] = "bare, its own pools"
        ratios[OWN_POOLS[1]] = "ours / its own pools"
    found: list[tuple[str, ...]] = []
    for names, form in ((rates, "{:,.0f}"), (ratios, "{:.3f}")):
        for name, text in names.items():
            cells = (_cell(track, name, form) for track in tracks.values())
            found.append((text, *cells))
    for dtype in next(iter(tracks.values()))["peak_flops"]:
        peaks = (_peak(track["peak_flops"].get(dtype)) for track in tracks.values())
        found.append((f"peak, {dtype}, GFLOP/s", *peaks))
    found.append(("updates per round", *(str(t["steps"]) for t in tracks.values())))
    return _table(
        f"{row['system']}: training in {row['precision']}, batch {row['batch']}, "
        f"{_machine(row)}; {row['data']}",
        "images/s (p10 to p90)",
        row,
        found,
    )


def _peak(flops: float | None) -> str:
    return NONE if flops is None else f"{flops / 1e9:,.0f}"


def _answers(row: Row) -> Table:
    tracks = row["tracks"].values()
    forms = {"ours": "{:.1f}", "naive": "{:.1f}", "ours_over_naive": "{:.2f}"}
    found = [
        (name.replace("_over_", " / "), *(_cell(track, name, form) for track in tracks))
        for name, form in forms.items()
    ]
    tops = (
        "{share:.1%} of {n} ({labels} labels)".format(**track["same_top1"])
        for track in tracks
    )
    found.append(("top-1 as float32", *tops))
    if all("latency" in track for track in tracks):
        found += _latencies(list(tracks))
    found += _engines([track.get("engines") or {} for track in tracks])
    absent = (
        f"{ENGINES.get(one['engine'], one['engine'])}: not measured, {one['why']}"
        for one in row.get("not_measured", ())
    )
    table = _table(
        f"inception-v3: prediction at {row['size']} px in {row['precision']}, batch "
        f"{row['batch']}, {_machine(row)}, weights: {row['weights']}",
        "images/s (p10 to p90)",
        row,
        found,
    )
    return replace(table, notes=(*table.notes, *absent))


def _engines(every: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Engines that only answer, beside ours in the same rounds."""
    for name in ("ours", *ENGINES):
        rows = [engines.get(name) for engines in every]
        if not any(rows):
            continue
        said = "ours beside engines" if name == "ours" else ENGINES[name]
        yield (f"{said}, images/s", *(_of(row, _rate) for row in rows))
        yield (f"{said}, CPU ms a picture", *(_of(row, _busy) for row in rows))
        if name != "ours":
            yield (f"ours / {said}", *(_of(row, _ratio) for row in rows))
            yield (f"{said}, logits off ours", *(_of(row, _far) for row in rows))


def _of(row: Row | None, form: Callable[[Row], str]) -> str:
    return form(row) if row else NONE


def _rate(row: Row) -> str:
    return f"{row['images_per_second']:.1f}"


def _busy(row: Row) -> str:
    return f"{1000 * row['cpu_seconds']:.1f}"


def _ratio(row: Row) -> str:
    low, high = row["range"]["low"], row["range"]["high"]
    return f"{row['ours_over']:.2f} ({low:.2f} to {high:.2f})"


def _far(row: Row) -> str:
    return "not a number" if row["difference"] is None else f"{row['difference']:.0e}"


def _latencies(tracks: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """What one waits for, and what it costs."""
    for key, said in (("alone", "one picture"), ("best", "the fastest batch")):
        calls = [track["latency"][key] for track in tracks]
        batches = (f" of {call['batch']}" if key == "best" else "" for call in calls)
        times = (
            "{p50:.1f} ({p95:.1f}, {p99:.1f})".format(
                **{p: 1000 * call[p] for p in ("p50", "p95", "p99")}
            )
            for call in calls
        )
        cells = (f"{time}{batch}" for time, batch in zip(times, batches, strict=True))
        yield (f"{said}, ms: p50 (p95, p99)", *cells)
    yield ("first answer, s", *(f"{track['first_answer']:.1f}" for track in tracks))
    yield ("peak memory", *(megabytes(track["peak_memory"]) for track in tracks))
    energies = [track["latency"]["best"]["joules"] for track in tracks]
    told = (NONE if joules is None else f"{joules:.2f}" for joules in energies)
    yield ("J a picture (- where the machine does not tell)", *told)


def _transfer(row: Row) -> Table:
    tracks = row["tracks"].values()
    total = row["epochs"] * row["train"]
    found = [
        (text, *(f"{total / track[name]:.1f}" for track in tracks))
        for name, text in (("ours", "ours"), ("naive", "the tutorials' loop"))
    ]
    peaks = (f"{track['peak_memory'] / 1e9:.1f} GB" for track in tracks)
    found.append(("ours, peak memory", *peaks))
    return _table(
        f"inception-v3: transfer at {row['size']} px in {row['precision']}, "
        f"{row['epochs']} epochs of {row['train']:,} pictures, {_machine(row)}, "
        f"weights: {row['weights']}",
        "seconds (medians)",
        row,
        found,
    )


def _machine(row: Row) -> str:
    return f"{row['device']}, threads: {row['threads']}, rounds: {row['rounds']}"


def _table(title: str, first: str, row: Row, found: list[tuple[str, ...]]) -> Table:
    return Table(
        title=title,
        columns=columns([first], list(row["tracks"])),
        rows=tuple(found),
        notes=tuple(bar["said"] for bar in row["bars"]),
    )


def _cell(track: Row, name: str, form: str) -> str:
    if track[name] is None:
        return NONE
    ends = track["ranges"].get(name)
    if not ends:
        return form.format(track[name])
    low, high = (form.format(ends[end]) for end in ("low", "high"))
    return f"{form.format(track[name])} ({low} to {high})"

"""Drawings of a report as SVG text: no library, colours by the page's own classes.

Every drawing has a title for those who cannot see it, and its figures stand in a table
of the page as well.  Sizes are in CSS pixels; classes: `t0`, `t1`, ... a track's line,
`b0`, ... its band, `axis`, `grid`, `margin`, `label`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROW = 26  # height of a line of a forest plot
SIDE = 250  # its room for names
WIDTH, HEIGHT = 620, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 30, 34
TICKS = 5
KEY = 120  # room of a track's name above a drawing


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels along one axis."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Round values from `low` to `high`, about `count` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = ceil(low / step - 1e-9)
    last = floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def picture(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """An SVG with a title for readers that speak."""
    body = "".join(parts)
    return (
        f'<svg role="img" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{body}</svg>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line of a class."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {ends}/>'


def text(
    x: float, y: float, said: str, anchor: str = "start", kind: str = "label"
) -> str:
    """A text whose signs are never markup."""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(said)}</text>"
    )


def rectangle(x: float, y: float, w: float, h: float, kind: str) -> str:
    """A filled rectangle of a class."""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(w, 0):.1f}" '
        f'height="{max(h, 0):.1f}"/>'
    )


def path(
    points: Iterable[tuple[float, float]], kind: str, *, closed: bool = False
) -> str:
    """A line through points, or the area that it goes round."""
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<{"polygon" if closed else "polyline"} class="{kind}" points="{drawn}"/>'


# --- drawings ---------------------------------------------------------------------


def forest(rows: Sequence[Mapping[str, Any]], *, margin: float, title: str) -> str:
    """Differences with their intervals beside each other, the margin as a band.

    Args:
        rows: Each with "name", "mean", "low" and "high", as fractions; "verdict".
        margin: The largest difference that does not matter, as a fraction.
        title: What it shows, for those who cannot see it.
    """
    ends = [100 * row[key] for row in rows for key in ("low", "high")]
    reach = max([*map(abs, ends), 100 * margin * 1.5])
    scale = Scale(-reach, reach, SIDE + 10, WIDTH + SIDE - 70)
    height = ROW * (len(rows) + 1) + 16
    low, high = scale.at(-100 * margin), scale.at(100 * margin)
    parts = [rectangle(low, 4, high - low, ROW * len(rows), "margin")]
    for value in ticks(-reach, reach):
        x = scale.at(value)
        parts.append(
            line(x, 4, x, ROW * len(rows) + 4, "zero" if value == 0 else "grid")
        )
        parts.append(text(x, ROW * len(rows) + 20, f"{value:g}", "middle"))
    parts.append(text(scale.end + 8, ROW * len(rows) + 20, "points"))
    for k, row in enumerate(rows):
        y = ROW * (k + 0.5) + 4
        at = [scale.at(100 * row[key]) for key in ("low", "mean", "high")]
        parts.append(text(SIDE, y + 4, shortened(row["name"], 36), "end"))
        parts.append(line(at[0], y, at[2], y, f"bar {row.get('verdict', '')}"))
        parts.append(
            f'<circle class="dot {escape(str(row.get("verdict", "")))}" '
            f'cx="{at[1]:.1f}" cy="{y:.1f}" r="4"/>'
        )
        parts.append(text(scale.end + 8, y + 4, f"{100 * row['mean']:+.2f}"))
    return picture(WIDTH + SIDE, height, title, parts)


def shortened(name: str, most: int) -> str:
    """A name that fits its room."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def curves(
    series: Mapping[str, NDArray[np.floating]],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
) -> str:
    """A line per track through the mean of its runs, with a band from least to most.

    Args:
        series: Track -> (runs, points); what is not finite is left out.
        title: What it shows.
        x: Name of the horizontal axis.
        y: Of the vertical one.
        log: Whether it is logarithmic.
    """
    known = {name: _finite(rows, log=log) for name, rows in series.items()}
    every = [v for rows in known.values() for v in rows[np.isfinite(rows)].tolist()]
    if not every:
        return ""
    most = max(rows.shape[1] for rows in known.values())
    down = Scale(min(every), max(every), HEIGHT - BOTTOM, TOP)
    along = Scale(1, max(most, 2), LEFT, WIDTH - RIGHT)
    parts = _axes(along, down, x, y, log=log)
    for k, rows in enumerate(known.values()):
        columns = [
            (along.at(i + 1), column[np.isfinite(column)])
            for i, column in enumerate(rows.T)
        ]
        drawn = [(at, column) for at, column in columns if len(column)]
        upper = [(at, down.at(float(c.max()))) for at, c in drawn]
        lower = [(at, down.at(float(c.min()))) for at, c in reversed(drawn)]
        parts.append(path([*upper, *lower], f"b{k % 4}", closed=True))
        parts.append(
            path([(at, down.at(float(c.mean()))) for at, c in drawn], f"t{k % 4}")
        )
    parts += _key(known)
    return picture(WIDTH, HEIGHT, title, parts)


def _finite(rows: NDArray[np.floating], *, log: bool) -> NDArray[np.float64]:
    found = np.asarray(rows, np.float64)
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log10(found)
    return np.where(np.isfinite(found), found, np.nan)


def _axes(along: Scale, down: Scale, x: str, y: str, *, log: bool = False) -> list[str]:
    parts = []
    for value in ticks(down.low, down.high):
        at = down.at(value)
        shown = f"{10**value:.3g}" if log else f"{value:g}"
        parts += [line(along.start, at, along.end, at, "grid")]
        parts += [text(along.start - 6, at + 4, shown, "end")]
    for value in ticks(along.low, along.high):
        if along.high > 1 and value != int(value):
            continue  # there is no half an epoch
        at = along.at(value)
        parts.append(text(at, down.start + 16, f"{value:g}", "middle"))
    parts.append(line(along.start, down.start, along.end, down.start, "axis"))
    parts.append(text(along.end, down.start + 30, x, "end"))
    parts.append(text(along.start, TOP - 12, y, kind="label strong"))
    return parts


def _key(names: Iterable[str]) -> list[str]:
    parts = []
    shown = list(names)
    for k, name in enumerate(shown):
        x = WIDTH - KEY * (len(shown) - k)
        parts.append(line(x, TOP - 16, x + 18, TOP - 16, f"t{k % 4}"))
        parts.append(text(x + 22, TOP - 12, shortened(name, 14)))
    return parts


def reliability(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str
) -> str:
    """How often answers of a confidence are right, per track."""
    along, down = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = _axes(along, down, "confidence", "right")
    parts.append(line(along.at(0), down.at(0), along.at(1), down.at(1), "zero"))
    for k, points in enumerate(series.values()):
        drawn = [(along.at(a), down.at(b)) for a, b in points]
        parts.append(path(drawn, f"t{k % 4}"))
        parts += [
            f'<circle class="d{k % 4}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
            for a, b in drawn
        ]
    parts += _key(series)
    return picture(WIDTH, HEIGHT, title, parts)


def waterfall(steps: Sequence[tuple[str, Mapping[str, float]]], *, title: str) -> str:
    """Prices one after the other, then their sum, the measured gap, what is left.

    Args:
        steps: Name and interval (fractions); the last three start from zero.
        title: What it shows.
    """
    prices, ends = steps[:-3], steps[-3:]
    tops, level = [], 0.0
    for _, price in prices:
        tops.append((level, level + price["mean"]))
        level += price["mean"]
    tops += [(0.0, end["mean"]) for _, end in ends]
    every = [
        *(value for pair in tops for value in pair),
        *(
            a + p[key]
            for (a, _), (_, p) in zip(tops, steps, strict=True)
            for key in LIMITS
        ),
    ]
    reach = [100 * v for v in every if isfinite(v)]
    scale = Scale(min([0, *reach]), max([0, *reach]), SIDE + 10, WIDTH + SIDE - 70)
    height = ROW * (len(steps) + 1) + 16
    zero = scale.at(0)
    parts = [line(zero, 4, zero, ROW * len(steps) + 4, "zero")]
    for value in ticks(scale.low, scale.high):
        parts.append(text(scale.at(value), height - 6, f"{value:g}", "middle"))
    for k, ((name, price), (a, b)) in enumerate(zip(steps, tops, strict=True)):
        y = ROW * k + 8
        left, right = sorted((scale.at(100 * a), scale.at(100 * b)))
        kind = "total" if k >= len(prices) else "gain" if b > a else "loss"
        parts.append(text(SIDE, y + 13, shortened(name, 36), "end"))
        parts.append(rectangle(left, y, max(right - left, 1.5), ROW - 10, kind))
        low, high = (scale.at(100 * (a + price[key])) for key in LIMITS)
        parts.append(line(low, y + 8, high, y + 8, "whisker"))
        parts.append(text(scale.end + 8, y + 13, f"{100 * price['mean']:+.2f}"))
    return picture(WIDTH + SIDE, height, title, parts)


LIMITS = ("low", "high")

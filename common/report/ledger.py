"""Prices of defaults: from a design's runs to figures, sentences and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import screening
from common.ledger import SIDES
from common.report import figures
from common.report.table import Table, columns
from common.results import Run
from common.screening import Price, Signs
from common.stats import Interval

Row = Mapping[str, Any]


@dataclass(slots=True)
class Ledger:
    """The runs of one system's design, and its native ones.

    Attributes:
        signs: The design, (points, defaults).
        runs: Point by point, seed by seed, track by track.
        native: Seed by seed, track by track.
        margin: The largest difference that does not matter, as a fraction.
    """

    signs: Signs
    runs: Sequence[Run]
    native: Sequence[Run]
    margin: float = field(kw_only=True)

    @property
    def diverged(self) -> list[str]:
        """Runs whose loss stopped being a number: there are no prices then."""
        return [run.id for run in (*self.runs, *self.native) if run.diverged]

    def prices(self) -> list[dict[str, Any]]:
        """Of each default: price, by track too, its change of loss and of seconds."""
        if self.diverged:
            return [_unpriced() for _ in range(self.signs.shape[1])]
        both = self._effects(slice(None))
        together = screening.prices(list(both), margin=self.margin)
        alone = {track: self._effects(slice(k, k + 1)) for k, track in enumerate(SIDES)}
        loss = self._scalar_effects(lambda r: r["history"][-1]["train_loss"])
        seconds = self._scalar_effects(lambda r: r["times"]["train"])
        return [
            {
                **_plain(price),
                "tracks": {
                    track: asdict(screening.interval(tables[k]))
                    for track, tables in alone.items()
                },
                "train_loss": _or_none(screening.of_seeds(loss[k])),
                "train_seconds": _or_none(screening.of_seeds(seconds[k])),
            }
            for k, price in enumerate(together)
        ]

    def rest(self, names: Sequence[str]) -> dict[str, Any]:
        """Interactions; the sum of the prices, the native gap, and what is left."""
        if self.diverged:
            nothing = {"sum": None, "gap": None, "left": None}
            return {"interactions": [], **nothing, "diverged": self.diverged}
        results = dict(enumerate(self._results().mean(axis=2)))
        told = [
            {
                "pairs": [[names[i], names[j]] for i, j in one.pairs],
                **asdict(one.difference),
            }
            for one in screening.interactions(results, self.signs)[:2]
        ]
        total = self._effects(slice(None)).sum(axis=0)
        sides = self._native()
        return {
            "interactions": told,
            "sum": asdict(screening.interval(total)),
            "gap": asdict(screening.interval(sides[0], -sides[1])),
            "left": asdict(screening.interval(sides[0], -sides[1], -total)),
            "native": {
                track: float(table.mean())
                for track, table in zip(SIDES, sides, strict=True)
            },
            "diverged": [],
        }

    def _results(self) -> NDArray[np.float64]:
        """(points, seeds, tracks, examples): 1 where the run is right."""
        right = np.stack([run.correct for run in self.runs]).astype(np.float64)
        return right.reshape(len(self.signs), -1, len(SIDES), right.shape[-1])

    def _effects(self, tracks: slice) -> NDArray[np.float64]:
        """(defaults, seeds, examples): what each default changes, tracks averaged."""
        results = self._results()[:, :, tracks].mean(axis=2)
        return screening.effects(results, self.signs)

    def _scalar_effects(
        self, figure: Callable[[Mapping[str, Any]], float | None]
    ) -> NDArray[np.float64]:
        """(defaults, seeds): the same of a figure that each run has one of."""
        values = [figure(run.record) for run in self.runs]
        known = np.array([np.nan if v is None else v for v in values], np.float64)
        shaped = known.reshape(len(self.signs), -1, len(SIDES)).mean(axis=2)
        return screening.effects(shaped, self.signs)

    def _native(self) -> list[NDArray[np.float64]]:
        right = np.stack([run.correct for run in self.native]).astype(np.float64)
        shaped = right.reshape(-1, len(SIDES), right.shape[-1])
        return [shaped[:, k] for k in range(len(SIDES))]


def _plain(price: Price) -> dict[str, Any]:
    return {
        "price": asdict(price.difference),
        "within": asdict(price.within),
        "p": price.p,
        "tost_p": price.tost_p,
        "look": price.look,
        "verdict": price.verdict,
    }


def _unpriced() -> dict[str, Any]:
    return {
        "price": None,
        "within": None,
        "p": None,
        "tost_p": None,
        "look": None,
        "verdict": "undecided",
        "tracks": dict.fromkeys(SIDES),
        "train_loss": None,
        "train_seconds": None,
    }


def _or_none(interval: Interval | None) -> dict[str, float] | None:
    return asdict(interval) if interval else None


def in_words(value: object) -> str:
    """A value as `--set` takes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- tables -----------------------------------------------------------------------


def ledger(result: Mapping[str, Any]) -> list[Table]:
    """The result of `twintrack ledger`, or of `twintrack ledger --list`."""
    if "defaults" in result:
        return [_listed(result["defaults"], result.get("without", ()))]
    return [table for row in result["systems"] for table in _system(row)]


def _listed(rows: Sequence[Row], without: Sequence[str]) -> Table:
    named = ("System", "Default", "PyTorch", "Keras", "Ours", "Acts in")
    return Table(
        columns=columns(named),
        rows=tuple(
            (
                row["system"],
                row["default"],
                row["torch"],
                row["keras"],
                ", ".join(row["ours"]),
                row["acts"],
            )
            for row in rows
        ),
        notes=(
            "Values as --set takes them, read from the installed libraries.",
            *(
                f"None was found in {name}: layers are looked at in MLPs and CNNs, the "
                "update rule in all."
                for name in without
            ),
        ),
    )


def _system(row: Row) -> list[Table]:
    head = f"{row['system']} on {row['data']}, {figures.count(row['epochs'], 'epoch')}"
    about = (
        f"aligned, {row['precision']}, {row['device']} with "
        f"{figures.count(row['threads'], 'thread')}; "
        f"{row['n_train']:,} training images, {row['n_test']:,} test images; "
        f"{figures.count(len(row['seeds']), 'seed')}; {row['design']}: "
        f"{figures.count(len(row['points']), 'kind')} of run in both tracks",
    )
    prices = Table(
        title=f"{head}: what PyTorch's default is worth over Keras's",
        about=about,
        columns=(
            *columns(("Default", "PyTorch", "Keras")),
            *columns((), ("Points [95 %]", "in torch", "in tensorflow")),
            *columns((), ("Training loss", "Seconds")),
            *columns(("Verdict",)),
        ),
        rows=tuple(_cells(one) for one in row["defaults"]),
        notes=tuple(_said(row)),
    )
    return [prices, *([_sum(row)] if row["sum"] else [])]


def _cells(one: Row) -> tuple[str, ...]:
    return (
        one["default"],
        one["torch"],
        one["keras"],
        _points(one["price"]),
        *(_points(one["tracks"][track]) for track in SIDES),
        _figure(one["train_loss"], ".4f"),
        _figure(one["train_seconds"], ".1f"),
        one["verdict"],
    )


def _points(found: Row | None) -> str:
    if found is None:
        return figures.NONE
    return f"{figures.points(found['mean'])} [{figures.points_range(found)}]"


def _figure(found: Row | None, form: str) -> str:
    if found is None:
        return figures.NONE
    digits = int(form[1:-1])
    mean, low, high = (  # + 0.0: there is no -0.0
        f"{round(found[key], digits) + 0.0:{form}}" for key in ("mean", "low", "high")
    )
    return f"{mean} [{low} to {high}]"


def _said(row: Row) -> list[str]:
    """In words: prices, interactions, runs that diverged, the command."""
    if row["diverged"]:
        which = ", ".join(row["diverged"])
        return [f"no prices: {which} diverged; try a lower recipe.lr"]
    said = [_sentence(one, row) for one in row["defaults"]]
    for pair in row["interactions"]:
        named = " or of ".join(f"{a} and {b}" for a, b in pair["pairs"])
        said.append(f"interaction of {named}: {_points(pair)} points")
    return [*said, row["command"]] if row["command"] else said


def _sentence(one: Row, row: Row) -> str:
    name = one["default"]
    margin = figures.margin_points(row["margin"])
    span = f"95 % interval {figures.points_range(one['price'])}"
    mean = one["price"]["mean"]
    match one["verdict"]:
        case "different":
            better, other = ("PyTorch's", "Keras's")[:: 1 if mean > 0 else -1]
            worth = figures.points(abs(mean))
            return f"{name}: {better} is worth {worth} points over {other} ({span})"
        case "equivalent":
            return f"{name}: free, inside the margin of {margin} points ({span})"
    return f"{name}: undecided, {figures.points(mean)} points ({span})"


def _sum(row: Row) -> Table:
    native = row.get("native", {})
    told = " and ".join(
        f"{track} {figures.percent(v)} %" for track, v in native.items()
    )
    return Table(
        title=f"{row['system']} on {row['data']}: does it add up?",
        columns=columns(("",), ("Points [95 %]",)),
        rows=(
            *((one["default"], _points(one["price"])) for one in row["defaults"]),
            ("sum of the prices", _points(row["sum"])),
            ("gap of native runs", _points(row["gap"])),
            ("left over", _points(row["left"])),
        ),
        notes=(f"native: {told}; gap: torch minus tensorflow",),
    )

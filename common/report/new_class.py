"""What adding a class changed: figures from logits, and the report in text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.imbalance import REMEDIES
from common.ood import SCORES, detection, percentile, probabilities, scores
from common.report.figures import NONE, count, listed, percent, points
from common.stats import Interval, components, mean_of, wilson

if TYPE_CHECKING:
    from rich.table import Table

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]

WIDTH = 116
SHOWN = 4  # labels of the photos that the text names; the others are in the JSON
# Among so few photos even all or none found leaves a wide interval.
FEW = 100


# --- before -----------------------------------------------------------------------


def before(
    photos: Logits, test: Logits, foreign: Mapping[str, Logits], classes: Sequence[str]
) -> dict[str, Any]:
    """What a network without the class makes of its photos.

    Args:
        photos: (n, classes), of the photos.
        test: (m, classes), of the network's own test pictures.
        foreign: What else is none of its classes -> logits.
        classes: Name of each label.
    """
    among, values = scores(test), scores(photos)
    ranks = {
        name: float(np.mean([percentile(name, v, among[name]) for v in values[name]]))
        for name in SCORES
    }
    sets = {"photos": photos} | dict(foreign)
    return {
        "called": _called(photos, classes),
        "max_probability": float(values["max_probability"].mean()),
        "percentiles": ranks,
        "detection": {
            what: {name: asdict(detection(name, test, found)) for name in SCORES}
            for what, found in sets.items()
        },
    }


def _called(logits: Logits, classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(logits.argmax(axis=1), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


# --- after ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fold:
    """What a network that was trained without these photos says.

    Attributes:
        old: (m, classes + 1), logits of the old classes' test pictures.
        new: (n, classes + 1), logits of the photos that were held out.
    """

    old: Logits
    new: Logits


def after(
    folds: Sequence[Fold],
    labels: Labels,
    old_correct: NDArray[np.bool_],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Judge the networks of all folds together.

    Every photo is judged once, by the network that did not see it; every old test
    picture once per fold.  Intervals of recall and precision are Wilson's; the change
    on the old classes is paired by picture and by seed, with the folds as runs.

    Args:
        folds: One per fold.
        labels: (m,), of the old test pictures.
        old_correct: (folds, m), which of them each fold's pair, a network from the same
            seed without the class, was right on.
        classes: Names, the new one last.
    """
    new = len(classes) - 1
    said = np.concatenate([fold.new for fold in folds])
    hits, n = int((said.argmax(axis=1) == new).sum()), len(said)
    answers = np.stack([fold.old.argmax(axis=1) for fold in folds])
    alarms = int((answers == new).sum())
    right = answers == labels
    recalls = [wilson(hits, n)]
    for label in range(new):
        mine = right[:, labels == label]
        recalls.append(wilson(round(float(mine.sum(axis=1).mean())), mine.shape[1]))
    change = components(right.astype(np.int8) - old_correct.astype(np.int8))
    low, high = change.interval()
    return {
        "recall": asdict(recalls[0]),
        "precision": asdict(wilson(hits, hits + alarms)) if hits + alarms else None,
        "balanced_accuracy": asdict(mean_of(recalls)),
        "old_classes_change": asdict(
            Interval(mean=float(change.mean), low=float(low), high=float(high))
        ),
        "hits": hits,
        "false_alarms": alarms,
        "called": _called(said, classes),
        "max_probability": float(probabilities(said).max(axis=1).mean()),
        "diverged": 0,
    }


def diverged(folds: int) -> dict[str, Any]:
    """What can be said of a remedy when networks of so many folds diverged."""
    keys = ("recall", "precision", "balanced_accuracy", "old_classes_change", "called")
    return dict.fromkeys(keys) | {"diverged": folds}


# --- the shortcut -----------------------------------------------------------------


def variant(
    folds: Sequence[Fold],
    barred: Sequence[Logits],
    plain: Sequence[Logits],
    turned: Sequence[Logits],
) -> dict[str, Any]:
    """How much networks rest on bars.

    Args:
        folds: As in `after`.
        barred: Per fold, logits of old test pictures that bars were put on.
        plain: Per fold, logits of the same pictures without bars.
        turned: Per fold, logits of its held-out photos the other way: without bars
            where it was trained on photos with them, and with where without.
    """
    new = folds[0].new.shape[1] - 1
    alarms = [_share(found, new) for found in (barred, plain)]
    return {
        "recall": _share([fold.new for fold in folds], new),
        "recall_other_framing": _share(turned, new),
        "bars_called_new": alarms[0],
        "plain_called_new": alarms[1],
    }


def _share(found: Sequence[Logits], label: int) -> dict[str, float]:
    answers = np.concatenate([logits.argmax(axis=1) for logits in found])
    return asdict(wilson(int((answers == label).sum()), len(answers)))


def learned(name: str, variants: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether a network learned the class or its bars, in a sentence."""
    padded, cut = variants["pad"], variants["fit"]
    with_bars, without = padded["bars_called_new"], padded["plain_called_new"]
    if padded["recall"]["mean"] == 0:
        return f"neither: trained on padded photos it finds no {name} at all"
    figures = (
        f"{_pc(with_bars)} of the other classes' pictures are called {name} once they "
        f"have bars, {_pc(without)} without; recall {_pc(padded['recall'])} with bars, "
        f"{_pc(padded['recall_other_framing'])} when the same photos are cut instead, "
        f"{_pc(variants['pad, bars on all']['recall'])} with bars on all classes"
    )
    if with_bars["low"] <= without["high"]:
        if cut["recall"]["mean"] == 0:
            return f"not enough to tell, it finds no {name} without bars: {figures}"
        return f"{name}, not bars: {figures}"
    if with_bars["low"] > padded["recall"]["high"] / 2:
        return f"bars, not {name}: {figures}"
    return f"bars as well as {name}: {figures}"


def _pc(share: Mapping[str, float]) -> str:
    return f"{share['mean']:.1%}"


# --- text -------------------------------------------------------------------------


def text(result: Mapping[str, Any]) -> str:
    """The report, for a terminal of 110 columns."""
    from rich.console import Console

    page = io.StringIO()
    console = Console(file=page, width=WIDTH, highlight=False, color_system=None)

    def say(line: str = "") -> None:
        console.print(line, markup=False)

    name = result["name"]
    say(f"{name} added to {result['data']}: {result['about']}")
    for line in result["notes"]:
        say(f"  {line}")
    say()
    say(f"Before: networks without {name}, asked about its {_photos(result)}")
    for track, found in result["before"].items():
        say(f"  {track:<12}{_before(found)}")
    say()
    say("Strange pictures against the network's own test pictures")
    console.print(_detection(result["before"]))
    say()
    say(f"After: {result['folds']} folds, each photo judged by a network without it")
    console.print(_remedies(result["remedies"]))
    for row in result["remedies"]:
        say(f"  {row['remedy']:<18}{REMEDIES[row['remedy']]}")
    if result["photos"] < FEW:
        say(
            f"{_photos(result)} are few: each is {100 / result['photos']:.1f} points "
            "of recall, and the intervals in brackets are what that leaves open"
        )
    if result["shortcut"]:
        say()
        say(f"{name} or its bars? Networks trained with {result['shortcut']['remedy']}")
        console.print(_shortcut(result["shortcut"]))
        for track, sentence in result["shortcut"]["sentences"].items():
            say(f"  {track} learned {sentence}")
    say()
    say(_closing(result))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def _photos(result: Mapping[str, Any]) -> str:
    return count(result["photos"], "photo")


def _before(found: Mapping[str, Any]) -> str:
    ranked = sorted(found["called"].items(), key=lambda item: -item[1])
    called = [f"{label} {n}" for label, n in ranked[:SHOWN] if n]
    rank = found["percentiles"]["energy"]
    return (
        f"{', '.join(called)}; mean top probability {found['max_probability']:.1%}; "
        f"by energy stranger than {rank:.0f} % of the test pictures, on average"
    )


def _table(headings: Sequence[str], first: int) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False, show_edge=False)
    for k, heading in enumerate(headings):
        justify: Any = "left" if k < first else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    return table


def _detection(tracks: Mapping[str, Any]) -> Table:
    table = _table(("pictures", "score", "track", "n", "AUROC", "FPR at 95 % TPR"), 3)
    for what in next(iter(tracks.values()))["detection"]:
        for name in SCORES:
            for track, found in tracks.items():
                row = found["detection"][what][name]
                table.add_row(
                    *(what, name, track, f"{row['foreign']:,}"),
                    _interval(row["auroc"], 3),
                    _percents(row["fpr95"]),
                )
    return table


def _remedies(rows: Sequence[Mapping[str, Any]]) -> Table:
    headings = ("remedy", "track", "recall %", "precision %", "balanced %", "old, pts")
    table = _table(headings, 2)
    for row in rows:
        for track, found in row["tracks"].items():
            if found["diverged"]:
                table.add_row(row["remedy"], track, f"diverged in {found['diverged']}")
                continue
            change = found["old_classes_change"]
            ends = f"{points(change['low'])} to {points(change['high'])}"
            table.add_row(
                *(row["remedy"], track, _percents(found["recall"], 0)),
                _percents(found["precision"]),
                _percents(found["balanced_accuracy"]),
                f"{points(change['mean'])} ({ends})",
            )
    return table


def _shortcut(shortcut: Mapping[str, Any]) -> Table:
    headings = ("trained with", "track", "recall %", "other framing %")
    table = _table((*headings, "bars called new %", "plain %"), 2)
    for name, tracks in shortcut["variants"].items():
        for track, found in tracks.items():
            table.add_row(
                *(name, track, _percents(found["recall"], 0)),
                _percents(found["recall_other_framing"], 0),
                _percents(found["bars_called_new"]),
                percent(found["plain_called_new"]["mean"]),
            )
    return table


def _percents(interval: Mapping[str, float] | None, digits: int = 1) -> str:
    if interval is None:
        return NONE
    mean, low, high = (
        f"{100 * interval[key]:.{digits}f}" for key in ("mean", "low", "high")
    )
    return f"{mean} ({low} to {high})"


def _interval(interval: Mapping[str, float], digits: int) -> str:
    mean, low, high = (f"{interval[key]:.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def best(rows: Sequence[Mapping[str, Any]], among: Sequence[str]) -> str:
    """The remedy of `among` with the highest balanced accuracy, tracks averaged."""

    def height(row: Mapping[str, Any]) -> float:
        found = row["tracks"].values()
        if any(track["diverged"] for track in found):
            return -1.0
        return float(np.mean([t["balanced_accuracy"]["mean"] for t in found]))

    return str(max((r for r in rows if r["remedy"] in among), key=height)["remedy"])


def _closing(result: Mapping[str, Any]) -> str:
    """Which networks now know the class."""
    tracks = listed(list(result["final"]["tracks"]))
    n = result["photos"] - result["kept_out"]
    return (
        f"{tracks} trained on {n} of {_photos(result)} with "
        f"{result['final']['remedy']} are in the store now; twintrack classify asks "
        "them"
    )

"""What adding a class changed: figures from logits, and the report in text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.remedies import REMEDIES
from common.report.figures import NONE, count, listed, percent, points
from common.report.table import Table, columns
from common.stats import Interval, components, mean_of, wilson
from common.strangeness import SCORES, detection, percentile, probabilities, scores

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]

# Among so few photos even all or none found leaves a wide interval.
FEW = 100
# Shares of the recall from which a sign of the shortcut counts, and is most of it.
COUNTS, MOST = 0.1, 0.5


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
    picture once per fold.  Precision is that of all photos among the old test pictures
    once: false alarms are the mean of the folds.  Intervals of recall and precision are
    Wilson's; the change on the old classes is paired by picture and by seed, with the
    folds as runs.

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
    alarms = round(float((answers == new).sum(axis=1).mean()))
    right = answers == labels
    recalls = [wilson(hits, n)]
    for label in np.unique(labels):
        mine = right[:, labels == label]
        recalls.append(wilson(round(float(mine.sum(axis=1).mean())), mine.shape[1]))
    named = hits + alarms
    return {
        "recall": asdict(recalls[0]),
        "precision": asdict(wilson(hits, named)) if named else None,
        "balanced_accuracy": asdict(mean_of(recalls)),
        "old_classes_change": _mean(right.astype(np.int8) - old_correct),
        "hits": hits,
        "false_alarms": alarms,
        "called": _called(said, classes),
        "max_probability": float(probabilities(said).max(axis=1).mean()),
        "diverged": 0,
    }


def _mean(table: NDArray[Any]) -> dict[str, float]:
    """Mean of a table of runs and examples, with its 95 % interval (`common.stats`)."""
    parts = components(table)
    low, high = parts.interval()
    return asdict(Interval(mean=float(parts.mean), low=float(low), high=float(high)))


def diverged(folds: int) -> dict[str, Any]:
    """What can be said of a remedy when networks of so many folds diverged."""
    keys = ("recall", "precision", "balanced_accuracy", "old_classes_change", "called")
    return dict.fromkeys(keys) | {"diverged": folds}


# --- the shortcut -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What the network of a fold says of pictures that were made for the purpose.

    Attributes:
        plain: (m, classes + 1), logits of old test pictures as they are.
        barred: (m, classes + 1), of the same pictures with bars put on.
        white: (m, classes + 1), of the same pictures shrunk onto white.
        turned: (n, classes + 1), of the fold's held-out photos the other way: without
            bars where it was trained on photos with them, and with where without.
    """

    plain: Logits
    barred: Logits
    white: Logits
    turned: Logits


def variant(folds: Sequence[Fold], asked: Sequence[Asked]) -> dict[str, Any]:
    """How much networks rest on what surrounds the new class in its photos.

    Shares of old test pictures that are called the new class are means over the folds;
    what bars and white change is paired by picture, what the framing of the photos
    changes by photo.
    """
    new = folds[0].new.shape[1] - 1

    def called(found: Sequence[Logits]) -> NDArray[np.int8]:
        return np.stack([x.argmax(axis=1) == new for x in found]).astype(np.int8)

    plain, barred, white = (
        called([getattr(one, what) for one in asked])
        for what in ("plain", "barred", "white")
    )
    own = np.concatenate([fold.new.argmax(axis=1) == new for fold in folds])
    other = np.concatenate([one.turned.argmax(axis=1) == new for one in asked])
    return {
        "recall": asdict(wilson(int(own.sum()), len(own))),
        "recall_other_framing": asdict(wilson(int(other.sum()), len(other))),
        "recall_lost": _mean((own.astype(np.int8) - other)[None]),
        "plain_called_new": float(plain.mean()),
        "bars_called_new": float(barred.mean()),
        "white_called_new": float(white.mean()),
        "bars_effect": _mean(barred - plain),
        "white_effect": _mean(white - plain),
    }


def learned(name: str, padded: Mapping[str, Any]) -> str:
    """Whether a network that was trained on padded photos learned them or their bars.

    Two signs: bars alone make other pictures the new class, and its own photos are no
    longer found once their bars are cut off.  Each counts where its interval excludes
    0 and it is no trifle, measured by the recall.
    """
    recall = padded["recall"]["mean"]
    if recall == 0:
        return f"neither: trained on padded photos it finds no {name} at all"
    signs = [padded["bars_effect"], padded["recall_lost"]]
    strong = [s["low"] > 0 and s["mean"] >= MOST * recall for s in signs]
    some = [s["low"] > 0 and s["mean"] >= COUNTS * recall for s in signs]
    excluded = [s["high"] < MOST * recall for s in signs]
    figures = (
        f"bars make {_pc(padded['bars_effect']['mean'])} of the other classes' "
        f"pictures {name}; of its own photos {_pc(recall)} are found with bars and "
        f"{_pc(padded['recall_other_framing']['mean'])} cut to shape"
    )
    if all(strong):
        return f"bars, not {name}: {figures}"
    if any(some):
        return f"bars as well as {name}: {figures}"
    if all(excluded):
        return f"{name}, not bars: {figures}"
    return f"too little to tell from so few photos: {figures}"


def on_white(name: str, cut: Mapping[str, Any]) -> str:
    """What white backgrounds do to a network trained on photos without bars."""
    effect = cut["white_effect"]
    change = f"{points(effect['mean'])} points ({points(effect['low'])} to "
    change += f"{points(effect['high'])})"
    return (
        f"shrunk onto white, {_pc(cut['white_called_new'])} of the other classes' "
        f"pictures are called {name}, {change} more than as they are"
    )


def _pc(share: float) -> str:
    return f"{share:.1%}"


# --- tables -----------------------------------------------------------------------


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The report of `twintrack new-class`."""
    name = result["name"]
    left = max(map(len, result["before"]))
    before = [f"  {t:<{left}}  {_before(f)}" for t, f in result["before"].items()]
    found = [
        Table(
            title=f"{name} added to {result['data']}: {result['about']}",
            about=tuple(f"  {line}" for line in result["notes"]),
            notes=(
                "",
                f"Before: networks without {name}, asked about its {_photos(result)}",
                *before,
            ),
        ),
        _detection(result["before"]),
        _remedies(result),
    ]
    if result["shortcut"]:
        found.append(_shortcut(name, result["shortcut"]))
    elif result["shortcut_asked"]:
        said = "the shortcut could not be measured: networks diverged"
        found.append(Table(about=(said,)))
    return [*found, Table(about=(_closing(result),))]


def _row(result: Mapping[str, Any]) -> Iterator[str]:
    """The photos' row of the confusion matrix, with the remedy that was best."""
    if result["final"] is None:
        return
    remedy = result["final"]["remedy"]
    rows = (row for row in result["remedies"] if row["remedy"] == remedy)
    for track, found in next(rows, {"tracks": {}})["tracks"].items():
        yield f"with {remedy}, {track} calls the photos {_ranked(found['called'])}"


def _ranked(called: Mapping[str, int] | None) -> str:
    """The labels that are used, the most frequent first."""
    if not called:
        return NONE
    ranked = sorted(called.items(), key=lambda item: -item[1])
    return ", ".join(f"{label} {n}" for label, n in ranked if n)


def _photos(result: Mapping[str, Any]) -> str:
    return count(result["photos"], "photo")


def _before(found: Mapping[str, Any]) -> str:
    rank = found["percentiles"]["energy"]
    sure = f"mean top probability {found['max_probability']:.1%}"
    return (
        f"{_ranked(found['called'])}; {sure}; by energy stranger than {rank:.0f} % of "
        "the test pictures, on average"
    )


def _detection(tracks: Mapping[str, Any]) -> Table:
    rows = []
    for what in next(iter(tracks.values()))["detection"]:
        for name in SCORES:
            for track, found in tracks.items():
                row = found["detection"][what][name]
                shares = (_interval(row["auroc"], 3), _percents(row["fpr95"]))
                rows.append((what, name, track, f"{row['foreign']:,}", *shares))
    return Table(
        title="Strange pictures against the network's own test pictures",
        columns=columns(
            ("pictures", "score", "track"), ("n", "AUROC", "FPR at 95 % TPR")
        ),
        rows=tuple(rows),
    )


def _remedies(result: Mapping[str, Any]) -> Table:
    figured = ("recall %", "precision %", "balanced %", "old, pts")
    notes = [f"  {r['remedy']:<18}{REMEDIES[r['remedy']]}" for r in result["remedies"]]
    notes += _row(result)
    if result["photos"] < FEW:
        notes.append(
            f"{_photos(result)} are few: each is {100 / result['photos']:.1f} points "
            "of recall, and the intervals in brackets are what that leaves open"
        )
    return Table(
        title=(
            f"After: {result['folds']} folds, each photo judged by a network without "
            f"it; precision of {_photos(result)} among {result['n_test']:,} other test "
            "pictures"
        ),
        columns=columns(("remedy", "track"), figured),
        rows=tuple(
            (row["remedy"], track, *_of_remedy(found))
            for row in result["remedies"]
            for track, found in row["tracks"].items()
        ),
        notes=tuple(notes),
    )


def _of_remedy(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if found["diverged"]:
        return (f"diverged in {found['diverged']}", NONE, NONE, NONE)
    change = found["old_classes_change"]
    ends = f"{points(change['low'])} to {points(change['high'])}"
    return (
        _percents(found["recall"], 0),
        _percents(found["precision"]),
        _percents(found["balanced_accuracy"]),
        f"{points(change['mean'])} ({ends})",
    )


def _shortcut(name: str, shortcut: Mapping[str, Any]) -> Table:
    shares = ("plain_called_new", "bars_called_new", "white_called_new")
    figured = ("recall %", "other framing %", "plain %", "with bars %", "on white %")
    learned = [f"  {t} learned {said}" for t, said in shortcut["sentences"].items()]
    white = [
        f"  {track}, trained on photos cut to shape: {said}"
        for track, said in shortcut["white"].items()
    ]
    return Table(
        title=f"{name} or its bars? Networks trained with {shortcut['remedy']}",
        columns=columns(("trained with", "track"), figured),
        rows=tuple(
            (
                *(variant, track, _percents(found["recall"], 0)),
                _percents(found["recall_other_framing"], 0),
                *(percent(found[share]) for share in shares),
            )
            for variant, tracks in shortcut["variants"].items()
            for track, found in tracks.items()
        ),
        notes=(*learned, *white),
    )


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


def best(rows: Sequence[Mapping[str, Any]], among: Sequence[str]) -> str | None:
    """The remedy of `among` with the highest balanced accuracy, tracks averaged.

    None if networks of all of them diverged.
    """
    heights = {
        str(row["remedy"]): float(
            np.mean([t["balanced_accuracy"]["mean"] for t in row["tracks"].values()])
        )
        for row in rows
        if row["remedy"] in among
        and not any(track["diverged"] for track in row["tracks"].values())
    }
    return max(heights, key=heights.__getitem__) if heights else None


def _closing(result: Mapping[str, Any]) -> str:
    """Which networks now know the class."""
    final = result["final"]
    if final is None:
        return "no last networks: with every remedy some diverged"
    n = result["photos"] - result["kept_out"]
    return (
        f"{listed(list(final['tracks']))} trained on {n} of {_photos(result)} with "
        f"{final['remedy']} know it: {', '.join(final['tracks'].values())}"
    )

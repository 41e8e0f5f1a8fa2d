"""What a run got wrong, from what its record and its small files hold.

Learning curves, the confusion matrix, each class's errors, the worst mistakes; of the
runs of two tracks also which pictures both get wrong, and on which they disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.report.figures import NONE, count, percent
from common.report.table import Table, columns
from common.results import LOGITS, Run
from common.strangeness import probabilities

Found = Mapping[str, Any]
EPOCHS = 10  # rows of a learning curve on a screen
SQUARE = 12  # classes whose confusion matrix is a table; of more, what is confused most
CONFUSED = 10  # pairs of classes that are named
SHORT = 16  # letters of a class's name in a heading


@dataclass(frozen=True, slots=True)
class Answers:
    """What one run calls each test picture.

    Attributes:
        predicted: (n,).
        labels: (n,).
        sure: (n,), the probability of what it says; none where logits were pruned.
    """

    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]
    sure: NDArray[np.floating] | None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which it gets wrong, (n,)."""
        return np.asarray(self.predicted != self.labels)


def answers(run: Run) -> Answers | None:
    """What a run says of its test pictures; none of one that diverged."""
    if run.diverged:
        return None
    sure = probabilities(run.logits()).max(axis=1) if run.has(LOGITS) else None
    return Answers(run.predicted, run.labels(), sure)


def found(runs: Mapping[str, Run], *, top: int) -> dict[str, Any]:
    """What there is to show of the runs of some tracks, which were trained alike.

    Args:
        runs: Track -> its run.
        top: How many mistakes of a kind are named.
    """
    about = next(iter(runs.values())).record
    said = {track: answers(run) for track, run in runs.items()}
    classes = _named(about["data"]["classes"], said.values())
    ended = {track: own for track, own in said.items() if own is not None}
    return {
        **{k: about[k] for k in ("system", "mode", "precision", "seed", "epochs")},
        **{k: about["data"][k] for k in ("fingerprint", "note")},
        "data": about["data"]["name"],
        "classes": classes,
        "overrides": about["overrides"],
        "tracks": {
            track: _of_track(run, said[track], classes, top)
            for track, run in runs.items()
        },
        "together": _together(ended, classes, top) if len(ended) > 1 else None,
    }


def _named(classes: Sequence[str], said: Iterable[Answers | None]) -> list[str]:
    """The names of all labels, one that a record does not have by its number."""
    ended = [one for one in said if one is not None]
    labels = [array for one in ended for array in (one.labels, one.predicted)]
    most = max((int(array.max(initial=0)) for array in labels), default=0)
    return [*classes, *(f"class {k}" for k in range(len(classes), most + 1))]


def _of_track(
    run: Run, said: Answers | None, classes: Sequence[str], top: int
) -> dict[str, Any]:
    record = run.record
    told = {
        "run": run.id,
        "accuracy": record["scores"]["accuracy"] if record["scores"] else None,
        "diverged_at": record["diverged_at"],
        "epochs": [
            {key: epoch.get(key) for key in ("epoch", "train_loss", "accuracy", "loss")}
            for epoch in record["history"]
        ],
    }
    if said is None:
        return told | {"confusion": None, "classes": [], "worst": []}
    matrix = _matrix(said, len(classes))
    return told | {
        "confusion": matrix.tolist(),
        "classes": list(_classes(matrix, classes)),
        "worst": [
            {
                "picture": int(k),
                "class": classes[int(said.labels[k])],
                "called": classes[int(said.predicted[k])],
                "sure": None if said.sure is None else float(said.sure[k]),
            }
            for k in _worst([said], said.wrong, top)
        ],
    }


def _matrix(said: Answers, n: int) -> NDArray[np.int64]:
    """Pictures of each class (rows) that are called each class (columns)."""
    flat = np.bincount(said.labels * n + said.predicted, minlength=n * n)
    return flat.reshape(n, n)


def _classes(
    matrix: NDArray[np.int64], classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    hits, given, called = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    missed = matrix - np.diag(hits)
    for k, name in enumerate(classes):
        most = int(missed[k].argmax())
        yield {
            "class": name,
            "n": int(given[k]),
            "wrong": int(given[k] - hits[k]),
            "false": int(called[k] - hits[k]),
            "recall": float(hits[k] / given[k]) if given[k] else None,
            "precision": float(hits[k] / called[k]) if called[k] else None,
            "confused": classes[most] if missed[k, most] else None,
            "confused_n": int(missed[k, most]),
        }


def _worst(
    said: Sequence[Answers], among: NDArray[np.bool_], top: int
) -> NDArray[np.int64]:
    """Pictures that they are surest of, the surest first; else as they are numbered."""
    rows = np.flatnonzero(among)
    known = [one.sure[rows] for one in said if one.sure is not None]
    if not known:
        return rows[:top]
    return rows[np.argsort(-np.mean(known, axis=0), kind="stable")][:top]


def _mistake(
    row: int, said: Mapping[str, Answers], classes: Sequence[str]
) -> dict[str, Any]:
    """A test picture, what it is, and what each calls it."""
    one = next(iter(said.values()))
    return {
        "picture": int(row),
        "class": classes[int(one.labels[row])],
        "called": {track: classes[int(a.predicted[row])] for track, a in said.items()},
        "sure": {
            track: None if a.sure is None else float(a.sure[row])
            for track, a in said.items()
        },
    }


def _together(
    said: Mapping[str, Answers], classes: Sequence[str], top: int
) -> dict[str, Any]:
    wrong = np.stack([one.wrong for one in said.values()])
    calls = np.stack([one.predicted for one in said.values()])
    shared = np.asarray(wrong.all(axis=0))
    apart = np.asarray((calls != calls[0]).any(axis=0))
    each = list(said.values())
    only = {
        track: int((wrong[k] & (wrong.sum(axis=0) == 1)).sum())
        for k, track in enumerate(said)
    }
    return {
        "n": int(wrong.shape[1]),
        "all_right": int((~wrong).all(axis=0).sum()),
        "all_wrong": int(shared.sum()),
        "wrong_only": only,
        "disagree": int(apart.sum()),
        "shared": [_mistake(k, said, classes) for k in _worst(each, shared, top)],
        "apart": [_mistake(k, said, classes) for k in _worst(each, apart, top)],
    }


# --- as text ------------------------------------------------------------------------


def tables(result: Found) -> list[Table]:
    """The result of `twintrack show`."""
    tracks = result["tracks"]
    ended = {name: own for name, own in tracks.items() if own["confusion"]}
    return [
        _head(result),
        *([_curves(tracks)] if any(own["epochs"] for own in tracks.values()) else []),
        *([_per_class(ended)] if ended else []),
        *(_confusion(name, own, result["classes"]) for name, own in ended.items()),
        *(_worst_of(name, own) for name, own in ended.items()),
        *(_of_both(result["together"], list(ended)) if result["together"] else ()),
        Table(notes=tuple(f"not shown: {line}" for line in result["missing"])),
    ]


def _head(result: Found) -> Table:
    note = f" ({result['note']})" if result["note"] else ""
    about = [f"seed {result['seed']}, {result['mode']}, {result['precision']}"]
    about[0] += f", {count(result['epochs'], 'epoch')}"
    about += [f"--set {override}" for override in result["overrides"]]
    return Table(
        title=f"{result['system']} on {result['data']}{note}",
        about=tuple(about),
        columns=columns(["track", "run"], ["accuracy %"]),
        rows=tuple(
            (name, own["run"], _ended(own)) for name, own in result["tracks"].items()
        ),
    )


def _ended(own: Found) -> str:
    if own["accuracy"] is None:
        return f"diverged at step {own['diverged_at']}"
    return percent(own["accuracy"])


def _curves(tracks: Found) -> Table:
    epochs = sorted({e["epoch"] for own in tracks.values() for e in own["epochs"]})
    of = {
        name: {epoch["epoch"]: epoch for epoch in own["epochs"]}
        for name, own in tracks.items()
    }
    names = [f"{name} {what}" for what in ("loss", "test %") for name in tracks]
    rows = [
        (str(epoch), *(cell for what in _CURVES for cell in _cells(of, epoch, what)))
        for epoch in _few(epochs)
    ]
    left = len(epochs) - len(rows)
    notes = [
        "loss: of the epoch's training pictures; test %: of the validation pictures, "
        "where the run held some out"
    ]
    if left:
        notes.append(f"{count(left, 'epoch')} between not shown; --json has all")
    return Table(
        title="learning curves",
        columns=columns([], ["epoch", *names]),
        rows=tuple(rows),
        notes=tuple(notes),
    )


_CURVES = ("train_loss", "accuracy")


def _cells(of: Found, epoch: int, what: str) -> Iterator[str]:
    for own in of.values():
        value = own.get(epoch, {}).get(what)
        if what == "accuracy":
            yield percent(value)
        else:
            yield NONE if value is None else f"{value:.3f}"


def _few(epochs: Sequence[int]) -> list[int]:
    """The first, the last, and some evenly between."""
    if len(epochs) <= EPOCHS:
        return list(epochs)
    at = np.linspace(0, len(epochs) - 1, EPOCHS).round().astype(int)
    return [epochs[k] for k in at]


def _per_class(ended: Found) -> Table:
    first = next(iter(ended.values()))["classes"]
    kinds = (("wrong", "missed"), ("false", "false"))
    names = [f"{name} {what}" for _, what in kinds for name in ended]
    of = [(own["classes"], key) for key, _ in kinds for own in ended.values()]
    return Table(
        title="each class",
        columns=columns(["class"], ["n", *names]),
        rows=tuple(
            (row["class"], f"{row['n']:,}", *(f"{own[k][key]:,}" for own, key in of))
            for k, row in enumerate(first)
        ),
        notes=(
            "missed: pictures of the class that are called something else; false: of "
            "others that are called so",
        ),
    )


def _confusion(name: str, own: Found, classes: Sequence[str]) -> Table:
    matrix = np.array(own["confusion"])
    if len(classes) > SQUARE:
        missed = matrix - np.diag(matrix.diagonal())
        order = np.argsort(-missed, axis=None, kind="stable")[:CONFUSED]
        pairs = [divmod(int(k), len(classes)) for k in order if missed.flat[k]]
        return Table(
            title=f"what {name} confuses most",
            columns=columns(["class", "called"], ["pictures"]),
            rows=tuple((classes[a], classes[b], f"{missed[a, b]:,}") for a, b in pairs),
        )
    return Table(
        title=f"confusions of {name}: rows are what it is, columns what it is called",
        columns=columns(["class"], [one[:SHORT] for one in classes]),
        rows=tuple(
            (classes[k], *(f"{n:,}" if n else "." for n in row))
            for k, row in enumerate(matrix)
        ),
    )


def _worst_of(name: str, own: Found) -> Table:
    return Table(
        title=f"worst mistakes of {name}",
        columns=columns(["test picture", "is", "called"]),
        rows=tuple(
            (f"{row['picture']:,}", row["class"], _call(row["called"], row["sure"]))
            for row in own["worst"]
        ),
        notes=() if own["worst"] else ("none",),
    )


def _call(label: str, sure: float | None) -> str:
    return label if sure is None else f"{label} {sure:.0%}"


def _calls(row: Found, tracks: Sequence[str]) -> Iterator[str]:
    yield from (_call(row["called"][t], row["sure"][t]) for t in tracks)


def _of_both(both: Found, tracks: Sequence[str]) -> Iterator[Table]:
    only = ", ".join(
        f"{n:,} by {track} alone" for track, n in both["wrong_only"].items()
    )
    said = (
        f"of {both['n']:,} test pictures {both['all_right']:,} are right in all "
        f"tracks, {both['all_wrong']:,} wrong in all; {only}; they disagree on "
        f"{both['disagree']:,}"
    )
    kinds = (("wrong in all tracks", "shared"), ("on which they disagree", "apart"))
    for title, key in kinds:
        yield Table(
            title=title,
            columns=columns(["test picture", "is", *tracks]) if both[key] else (),
            rows=tuple(
                (f"{row['picture']:,}", row["class"], *_calls(row, tracks))
                for row in both[key]
            ),
            notes=() if both[key] else ("none",),
        )
    yield Table(notes=(said,))

"""What networks say of a photo: as plain values, and as text side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.report.figures import NONE, count, listed
from common.report.table import Column, Table, columns, rendered
from common.stats import wilson
from common.strangeness import HEADLINE, SCORES, percentile, probabilities, scores

NAMES = {"max_probability": "max prob.", "entropy": "entropy", "energy": "energy"}

Logits = NDArray[np.floating]
Among = Mapping[str, NDArray[np.float64]]  # score -> its values for the test pictures


def answer(
    logits: Logits, classes: Sequence[str], among: Among | None, top: int
) -> dict[str, Any]:
    """What one network says of one photo.

    Args:
        logits: (classes,).
        classes: Name of each label; one that is not there has an empty name.
        among: Scores of the network's own test pictures, or none.
        top: How many labels, the likeliest first; ties in the order of the labels.
    """
    chances = probabilities(logits[None])[0]
    order = np.argsort(-chances, kind="stable")[:top]
    values = {name: float(found[0]) for name, found in scores(logits[None]).items()}
    ranks = None
    if among is not None:
        ranks = {n: percentile(n, values[n], among[n]) for n in SCORES}
    names = [classes[k] if k < len(classes) else "" for k in order]
    return {
        "top": [
            {"label": name, "probability": float(chances[k])}
            for name, k in zip(names, order, strict=True)
        ],
        **values,
        "percentiles": ranks,
        "strangeness": ranks[HEADLINE] if ranks else None,
    }


def together(
    file: str,
    size: tuple[int, int],
    notes: Sequence[str],
    answers: Mapping[str, Any],
    difference: float | None,
) -> dict[str, Any]:
    """One photo's entry in the JSON of `classify`."""
    firsts = {found["top"][0]["label"] for found in answers.values()}
    return {
        "file": file,
        "height": size[0],
        "width": size[1],
        "notes": list(notes),
        "tracks": dict(answers),
        "agree": len(firsts) == 1 if len(answers) > 1 else None,
        "largest_difference": difference,
    }


@dataclass(slots=True)
class Labelled:
    """Photos whose folder is named like a class: what they are is known.

    Attributes:
        classes: Name of each label.
        labels: Label of each such photo so far.
        right: Track -> whether it was right on each.
    """

    classes: Sequence[str]
    labels: list[int] = field(default_factory=list)
    right: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, folder: str, answers: Mapping[str, Any]) -> None:
        """Take in a photo and what was said of it, if `folder` names a class."""
        if folder not in self.classes:
            return
        self.labels.append(self.classes.index(folder))
        for track, found in answers.items():
            said = found["top"][0]["label"] == folder
            self.right.setdefault(track, []).append(said)

    def summary(
        self, test: Mapping[str, Logits], test_labels: NDArray[np.int64] | None
    ) -> dict[str, Any] | None:
        """Accuracy on these photos, and on test pictures of the same classes."""
        if not self.labels:
            return None
        mine = sorted(set(self.labels))
        tracks = {}
        for track, right in self.right.items():
            own = None
            known = test_labels is not None and np.isin(mine, test_labels).all()
            if test_labels is not None and known and track in test:
                same = np.isin(test_labels, mine)
                hits = test[track][same].argmax(axis=1) == test_labels[same]
                own = asdict(wilson(int(hits.sum()), len(hits)))
            shown = wilson(sum(right), len(right))
            tracks[track] = {"photos": asdict(shown), "test": own}
        return {
            "photos": len(self.labels),
            "classes": [self.classes[k] for k in mine],
            "tracks": tracks,
        }


def closing(summary: Mapping[str, Any]) -> str:
    """The summary of labelled photos, as text."""
    classes = listed(list(summary["classes"]))
    table = Table(
        title=f"{count(summary['photos'], 'photo')} in folders named {classes}:",
        columns=columns(["track", "right", "of its test pictures of these classes"]),
        rows=tuple(
            (
                track,
                _share(found["photos"]),
                _share(found["test"]) if found["test"] else NONE,
            )
            for track, found in summary["tracks"].items()
        ),
    )
    return _close(table)


def _close(table: Table) -> str:
    """A table as text without empty lines: there is one for every photo."""
    return "\n".join(filter(None, rendered([table], "text").split("\n")))


def _share(interval: Mapping[str, float]) -> str:
    low, high = (f"{100 * interval[end]:.1f}" for end in ("low", "high"))
    return f"{100 * interval['mean']:.1f} % ({low} to {high})"


def text(photo: Mapping[str, Any], *, scores: bool = False) -> str:
    """One photo's answers, tracks side by side.

    Args:
        photo: As `together` returns it.
        scores: Probabilities with five decimals, as TensorFlow's `classify_image`
            prints them, in place of percents.
    """
    about = [f"{photo['width']} x {photo['height']}", *photo["notes"]]
    answers = list(photo["tracks"].values())
    table = Table(
        title=f"{photo['file']}  ({', '.join(about)})",
        columns=(Column("", whole=True), *columns(list(photo["tracks"]))),
        rows=(
            *(
                (str(k + 1), *(_label(found["top"][k], scores) for found in answers))
                for k in range(len(answers[0]["top"]))
            ),
            *(
                (NAMES[name], *(_score(name, found) for found in answers))
                for name in SCORES
            ),
        ),
        notes=(_agreement(photo),),
    )
    return _close(table)


def _label(row: Mapping[str, Any], scores: bool) -> str:
    return f"{row['label']} {row['probability']:{'.5f' if scores else '.1%'}}"


def _score(name: str, found: Mapping[str, Any]) -> str:
    value = found[name]
    cell = f"{value:.3f}" if name == "max_probability" else f"{value:.2f}"
    if found["percentiles"]:
        cell += f", stranger than {found['percentiles'][name]:.0f} %"
    return cell


def _agreement(photo: Mapping[str, Any]) -> str:
    answers = photo["tracks"]
    firsts = {name: found["top"][0]["label"] for name, found in answers.items()}
    if photo["agree"] is None:
        said = f"{next(iter(firsts))} says {next(iter(firsts.values()))}"
    elif photo["agree"]:
        all_of_them = "both" if len(firsts) == 2 else "all"
        said = f"{all_of_them} say {next(iter(firsts.values()))}"
    else:
        said = "they disagree: " + ", ".join(f"{n} {v}" for n, v in firsts.items())
    if photo["largest_difference"] is not None:
        said += (
            f"; same weights: probabilities differ by at most "
            f"{photo['largest_difference']:.1e}"
        )
    return said

"""What networks say of a photo: as plain values, and as text side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.ood import HEADLINE, SCORES, percentile, probabilities, scores

NAMES = {"max_probability": "max prob.", "entropy": "entropy", "energy": "energy"}
WIDTH = 34  # columns of one track
LEFT = 12  # of the headings before them

Logits = NDArray[np.floating]
Among = Mapping[str, NDArray[np.float64]]  # score -> its values for the test pictures


def answer(
    logits: Logits, classes: Sequence[str], among: Among | None, top: int
) -> dict[str, Any]:
    """What one network says of one photo.

    Args:
        logits: (classes,).
        classes: Name of each label.
        among: Scores of the network's own test pictures, or none.
        top: How many labels, the likeliest first; ties in the order of the labels.
    """
    chances = probabilities(logits[None])[0]
    order = np.argsort(-chances, kind="stable")[:top]
    values = {name: float(found[0]) for name, found in scores(logits[None]).items()}
    ranks = None
    if among is not None:
        ranks = {n: percentile(n, values[n], among[n]) for n in SCORES}
    return {
        "top": [{"label": classes[k], "probability": float(chances[k])} for k in order],
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


def text(photo: Mapping[str, Any]) -> str:
    """One photo's answers, tracks side by side."""
    about = [f"{photo['width']} x {photo['height']}", *photo["notes"]]
    lines = [f"{photo['file']}  ({', '.join(about)})"]
    tracks = photo["tracks"]
    lines.append(" " * LEFT + "".join(f"{name:<{WIDTH}}" for name in tracks))
    answers = list(tracks.values())
    for k in range(len(answers[0]["top"])):
        cells = (_label(found["top"][k]) for found in answers)
        lines.append(f"{k + 1:>{LEFT - 2}}  " + "".join(cells))
    for name in SCORES:
        cells = (_score(name, found) for found in answers)
        lines.append(f"{NAMES[name]:>{LEFT - 2}}  " + "".join(cells))
    lines.append(" " * LEFT + _agreement(photo))
    return "\n".join(line.rstrip() for line in lines)


def _label(row: Mapping[str, Any]) -> str:
    name = row["label"][: WIDTH - 12]
    cell = f"{name} {row['probability']:.1%}"
    return f"{cell:<{WIDTH}}"


def _score(name: str, found: Mapping[str, Any]) -> str:
    value = found[name]
    cell = f"{value:.3f}" if name == "max_probability" else f"{value:.2f}"
    if found["percentiles"]:
        cell += f", stranger than {found['percentiles'][name]:.0f} %"
    return f"{cell:<{WIDTH}}"


def _agreement(photo: Mapping[str, Any]) -> str:
    answers = photo["tracks"]
    firsts = {name: found["top"][0]["label"] for name, found in answers.items()}
    if photo["agree"] is None:
        said = f"{next(iter(firsts))} says {next(iter(firsts.values()))}"
    elif photo["agree"]:
        said = f"both say {next(iter(firsts.values()))}"
    else:
        said = "they disagree: " + ", ".join(f"{n} {v}" for n, v in firsts.items())
    if photo["largest_difference"] is not None:
        said += (
            f"; same weights: probabilities differ by at most "
            f"{photo['largest_difference']:.1e}"
        )
    return said

"""The speed of Inception's answers and of a transfer: what is measured, and how.

At 75 px, with a few rounds: the figures mean nothing, their shape does.
"""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from benchmarks.inference import bars, summary
from benchmarks.speed import speed
from benchmarks.tutorial import transfer_speed
from common import checkpoint
from common.checkpoint import About
from common.errors import Failed
from common.inception import InceptionSpec
from common.weights import random_weights

SCHEMA = Path(__file__).parents[1] / "common/schema/speed.json"


def test_answers_are_measured_beside_the_libraries_own(tmp_path):
    output = tmp_path / "speed.json"
    found = speed(["inception-v3"], size=75, batch=4, rounds=3, threads=1, json=output)
    told = json.loads(output.read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(told)
    (row,) = found["systems"]
    assert row["what"] == "predict"
    assert row["bars"] == []  # they are for 299 px
    for track in ("torch", "tensorflow"):
        figures = row["tracks"][track]
        assert figures["ours_over_naive"] > 0
        assert figures["same_top1"]["n"] == 200


def test_ratios_are_medians_of_rounds():
    seconds = {"ours": [1.0, 1.0, 4.0], "naive": [2.0, 3.0, 4.0]}
    raw = {"seconds": seconds, "same_top1": {"share": 1.0, "n": 9}, "environment": {}}
    found = summary(raw, 8)
    assert found["ours_over_naive"] == 2.0
    assert (found["ours"], found["naive"]) == (8.0, pytest.approx(8 / 3))


def test_a_bar_that_is_missed_says_so():
    row = {
        "ours_over_naive": 1.3,
        "ranges": {"ours_over_naive": {"low": 1.2, "high": 1.4}},
        "same_top1": {"share": 0.985, "n": 200},
    }
    found = list(bars({"tensorflow": row}, 299))
    assert [bar["holds"] for bar in found] == [False, False]
    assert found[0]["said"].endswith(
        "1.30 of the naive call (1.20 to 1.40), bar 1.4: falls short"
    )


def test_a_transfer_is_timed_beside_the_tutorials_loop(tmp_path, monkeypatch):
    """Two epochs of few pictures: below the bar, which the command says."""
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path))
    from PIL import Image

    for name, red in (("a", 40), ("b", 220)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(15):
            Image.new("RGB", (8, 8), (red, 9 * i, 80)).save(folder / f"{i}.png")
    spec = InceptionSpec(image=(75, 75, 3), classes=10)
    weights = random_weights(spec.weights, 0)
    checkpoint.save(tmp_path / "base", spec, weights, About())
    with pytest.raises(Failed, match="bar 15: falls short"):
        transfer_speed(
            data=str(tmp_path / "photos"),
            weights=tmp_path / "base",
            size=75,
            epochs=2,
            threads=1,
            precision="float32",
            json=tmp_path / "found.json",
        )
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["train"], found["test"]) == (24, 6)
    for row in found["tracks"].values():
        assert row["ratio"] == pytest.approx(row["tutorial"] / row["ours"])
        assert set(row["accuracy"]) == {"ours", "tutorial"}

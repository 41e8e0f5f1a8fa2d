"""The speed of Inception's answers and of a transfer: what is measured, and how.

At 75 px, with a few rounds: the figures mean nothing, their shape does.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from benchmarks.measures import answers
from benchmarks.measures.answers import bars
from benchmarks.measures.engines import ENGINES, absent, beside
from benchmarks.measures.latency import best_batch, energy, latency, spent
from benchmarks.measures.official_networks import in_tracks
from benchmarks.measures.timing import beside_naive
from benchmarks.measures.transfer_speed import bars as tutorial_bars
from benchmarks.measures.transfer_speed import in_turns
from benchmarks.speed import speed
from benchmarks.weights import GRAPH_AGREES
from common import model_file, report
from common.errors import Failed, Refused
from common.inception import InceptionSpec
from common.model_file import About
from common.track import DEFAULT
from common.weights import random_weights

pytestmark = pytest.mark.heavy

SCHEMA = Path(__file__).parents[1] / "common/schema/speed.json"


def test_an_engine_that_is_missing_is_named(monkeypatch, tmp_path):
    """And nothing is written, or computed, where none is there."""
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    said = {one["engine"]: one["why"] for one in absent("cpu")}
    assert said == {
        "onnxruntime": "onnxruntime not installed; pip install 'twintrack[onnx]'",
        "openvino": "openvino not installed; pip install 'twintrack[openvino]'",
        "openvino_bfloat16": "openvino not installed; pip install "
        "'twintrack[openvino]'",
    }
    assert {one["engine"] for one in absent("gpu")} == set(ENGINES)
    rest = {"file": tmp_path / "a", "threads": 1, "rounds": 1, "device": "cpu"}
    assert beside(None, None, None, {}, None, **rest) == {}
    assert list(tmp_path.iterdir()) == []
    row = {"what": "predict", "size": 75, "precision": "float32", "batch": 1}
    row |= {"device": "cpu", "threads": 1, "rounds": 1, "weights": "random"}
    row |= {"tracks": {}, "bars": [], "not_measured": absent("cpu")}
    shown = report.shown("speed", {"systems": [row]}, "markdown")
    assert "OpenVINO: not measured, openvino not installed; pip install" in shown


def test_answers_are_measured_beside_the_libraries_own(tmp_path, monkeypatch):
    def in_children(task, values, tracks):
        assert task == "benchmarks.measures.answers:measure"
        return in_tracks("tests.small_batches:measure", values, tracks)

    monkeypatch.setattr(answers, "in_tracks", in_children)
    output = tmp_path / "speed.json"
    found = speed(
        ["inception-v3"],
        what="predict",
        size=75,
        batch=4,
        rounds=3,
        threads=1,
        json=output,
    )
    told = json.loads(output.read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(told)
    (row,) = found["systems"]
    assert row["what"] == "predict"
    assert row["bars"] == []  # they are for 299 px
    for track in ("torch", "tensorflow"):
        figures = row["tracks"][track]
        assert figures["ours_over_naive"] > 0
        assert figures["same_top1"]["n"] == 200
        for call in figures["latency"].values():
            assert 0 < call["p50"] <= call["p95"] <= call["p99"]
        assert figures["latency"]["alone"]["batch"] == 1
        assert figures["first_answer"] > figures["latency"]["alone"]["p50"]
        assert figures["peak_memory"] > 1e8
        engines = figures["engines"]
        lacking = {one["engine"] for one in row["not_measured"]}
        assert engines.keys() == {"ours", *ENGINES} - lacking
        assert "onnxruntime" in engines
        assert engines["ours"]["ours_over"] == 1
        assert all(one["cpu_seconds"] > 0 for one in engines.values())
        for name in engines.keys() & {"onnxruntime", "openvino"}:  # in float32
            assert 0 < engines[name]["difference"] < GRAPH_AGREES
    shown = " ".join(report.shown("speed", found, "markdown").split())
    assert "ONNX Runtime, CPU ms a picture" in shown


def test_ratios_are_medians_of_rounds():
    seconds = {"ours": [1.0, 1.0, 4.0], "naive": [2.0, 3.0, 4.0]}
    raw = {"seconds": seconds, "same_top1": {"share": 1.0, "n": 9}, "environment": {}}
    found = beside_naive(raw["seconds"], 8)
    assert found["ours_over_naive"] == 2.0
    assert (found["ours"], found["naive"]) == (8.0, pytest.approx(8 / 3))


def test_latencies_are_percentiles_of_calls_and_the_best_batch_is_the_fastest():
    def ask(images):
        time.sleep(0.001 if len(images) < 16 else 0.016)

    images = np.zeros((20, 1, 1, 1), np.uint8)
    assert best_batch(ask, images) == 4
    found = latency(ask, images[:4])
    assert found["batch"] == 4
    assert found["n"] >= 50
    assert 0.001 <= found["p50"] <= found["p95"] <= found["p99"]


def test_energy_is_what_the_machine_counts_or_none(tmp_path):
    assert spent(energy(tmp_path), energy(tmp_path)) is None
    for k, value in enumerate((5_000_000, 900)):
        package = tmp_path / f"intel-rapl:{k}"
        package.mkdir()
        (package / "energy_uj").write_text(f"{value}\n")
        (package / "max_energy_range_uj").write_text("1000\n" if k else "9000000\n")
    before = energy(tmp_path)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("7500000\n")
    (tmp_path / "intel-rapl:1/energy_uj").write_text("100\n")  # it began again
    assert spent(before, energy(tmp_path)) == pytest.approx(2.5 + 200e-6)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("secret")
    assert set(energy(tmp_path)) == {"intel-rapl:1"}


def test_a_bar_that_is_missed_says_so():
    row = {
        "ours_over_naive": 1.3,
        "ranges": {"ours_over_naive": {"low": 1.2, "high": 1.4}},
        "same_top1": {"share": 0.985, "n": 200, "labels": 8},
    }
    found = list(bars({"tensorflow": row}, 299))
    assert [bar["holds"] for bar in found] == [False, False]
    assert found[0]["said"].endswith(
        "1.30 of the naive call (1.20 to 1.40), bar 1.4: falls short"
    )


@pytest.fixture
def photos(tmp_path):
    """Two classes of flat pictures, fifteen each."""
    for name, red in (("a", 40), ("b", 220)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(15):
            Image.new("RGB", (8, 8), (red, 9 * i, 80)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_one_label_for_all_pictures_shows_no_agreement():
    row = {
        "ours_over_naive": 3.0,
        "ranges": {"ours_over_naive": {"low": 2.9, "high": 3.1}},
        "same_top1": {"share": 1.0, "n": 200, "labels": 1},
    }
    speed_, same = bars({"torch": row}, 299)
    assert speed_["holds"]
    assert not same["holds"]
    assert "gave them 1 different labels" in same["said"]
    row["same_top1"]["labels"] = 2
    assert all(bar["holds"] for bar in bars({"torch": row}, 299))


def test_a_transfer_is_timed_beside_the_tutorials_loop(photos, tmp_path, monkeypatch):
    """Three epochs of few pictures, in two turns."""
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path))
    spec = InceptionSpec(image=(75, 75, 3), classes=10)
    weights = random_weights(spec.weights, 0)
    model_file.save(tmp_path / "base", spec, weights, About())
    output = tmp_path / "found.json"
    with suppress(Failed):  # this is no place to measure: a bar may be missed
        speed(
            ["inception-v3"],
            what="transfer",
            data=str(photos),
            weights=tmp_path / "base",
            size=75,
            epochs=3,
            rounds=2,
            threads=1,
            precision="float32",
            json=output,
        )
    found = json.loads(output.read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    (row,) = found["systems"]
    assert (row["what"], row["train"], row["test"]) == ("transfer", 24, 6)
    assert row["tracks"].keys() == set(DEFAULT)
    for figures in row["tracks"].values():
        assert figures["ours_over_naive"] > 0
        assert set(figures["accuracy"]) == {"ours", "naive"}
        assert figures["guess"] == 0.5
    # The bar of 15 is for 25 epochs.
    assert {bar["name"] for bar in row["bars"]} == {"same_accuracy", "peak_memory"}


def test_turns_are_taken_between_epochs():
    """Ours after the second, the fourth and the last of five epochs."""
    order = []

    def ours():
        order.append("ours")
        return 1.0

    def theirs(between):
        for k in range(5):
            order.append(k)
            between()
        return [1.0, 3.0, 5.0, 5.0, 8.0]

    mine, naive = in_turns(ours, theirs, 3, 5)
    assert order == [0, 1, "ours", 2, 3, "ours", 4, "ours"]
    assert mine == [1.0, 1.0, 1.0]
    assert naive == [10.0, 25.0, 40.0]  # five epochs at each turn's pace


def test_the_bars_of_a_transfer_say_what_was_missed():
    row = {
        "ours_over_naive": 14.9,
        "ranges": {"ours_over_naive": {"low": 14.0, "high": 16.0}},
        "accuracy": {"ours": 0.7, "naive": 0.8},
        "guess": 0.5,
        "test": 500,
        "difference": {"mean": -0.1, "low": -0.15, "high": -0.05},
        "peak_memory": 2.6e9,
    }
    found = list(tutorial_bars({"torch": row}, 25))
    assert [bar["holds"] for bar in found] == [False, False, False]
    assert "14.9 of the tutorials' loop (14.0 to 16.0), bar 15" in found[0]["said"]
    assert "2.6 GB at most, bar 2.5 GB: falls short" in found[2]["said"]
    row["ours_over_naive"], row["difference"]["high"] = 15.0, 0.0
    row["peak_memory"] = 2.5e9
    assert all(bar["holds"] for bar in tutorial_bars({"torch": row}, 25))
    assert len(list(tutorial_bars({"torch": row}, 5))) == 2


def test_a_use_that_is_none_is_refused():
    with pytest.raises(Refused, match="--what must be predict, transfer or both"):
        speed(["inception-v3"], what="predict,train")

"""What `twintrack speed` measures, and what it makes of the seconds."""

import json
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from benchmarks import outcome
from benchmarks.engine import process
from benchmarks.measures import timing, training_speed
from benchmarks.speed import speed
from common import systems
from common.data import pictures
from common.errors import Failed, Refused
from common.evaluate import evaluate
from common.extras import Yardsticks, load_extra
from common.report.speed import _table
from common.spec import macs
from common.track import DEFAULT, load_track

# Four loops' worth of a child: 2 rounds of ours, bare and naive, 10 pictures each.
RAW = {
    "seconds": {
        "ours": [1.0, 2.0],
        "bare": [0.5, 4.0],
        "naive": [3.0, 3.0],
        "float32": [2.0, 2.0],
        "bfloat16": [1.0, 1.0],
    },
    "images": 10,
    "steps": 5,
    "precision": "bfloat16",
    "product": 6000,
    "environment": {},
}


def test_ratios_are_medians_over_rounds_and_not_ratios_of_medians():
    row = training_speed.summary(RAW, 10)
    assert row["ours_over_bare"] == pytest.approx((0.5 + 2.0) / 2)
    assert row["ours_over_naive"] == pytest.approx((3.0 + 1.5) / 2)
    assert row["ours"] == pytest.approx((10 + 5) / 2)
    assert row["ranges"]["ours_over_bare"] == pytest.approx({"low": 0.65, "high": 1.85})


def test_the_share_is_of_the_peak_in_the_precision_of_the_run():
    row = training_speed.summary(RAW, 10)
    assert row["peak_flops"] == {"float32": 3000, "bfloat16": 6000}
    assert row["share_of_peak"] == pytest.approx(7.5 * 3 * 2 * 10 / 6000)


def test_what_was_not_measured_is_none():
    seconds = {k: v for k, v in RAW["seconds"].items() if k != "naive"}
    row = training_speed.summary(RAW | {"seconds": seconds}, None)
    assert row["naive"] is row["ours_over_naive"] is row["share_of_peak"] is None


@pytest.mark.parametrize(
    ("precision", "naive", "holds"),
    [
        ("bfloat16", 1.5, [True, True]),
        ("bfloat16", 1.49, [True, False]),
        ("float32", 1.1, [True, True]),
        ("float32", 1.09, [True, False]),
    ],
)
def test_the_bar_against_what_people_write_depends_on_the_precision(
    precision, naive, holds
):
    row = {"ours_over_bare": 0.97, "ours_over_naive": naive}
    ranges = {key: {"low": 0.9, "high": 2.0} for key in row}
    found = list(
        training_speed.bars(
            "rosetta-cnn", precision, {"torch": row | {"ranges": ranges}}
        )
    )
    assert [bar["holds"] for bar in found] == holds
    said = found[1]["said"]
    assert said.endswith("holds" if holds[1] else "falls short")


def test_other_systems_have_the_bar_against_the_bare_loop_only():
    row = {"ours_over_bare": 0.96, "ours_over_naive": 0.5}
    ranges = {key: {"low": 0.9, "high": 1.0} for key in row}
    (bar,) = training_speed.bars(
        "rasbt-mlp", "float32", {"torch": row | {"ranges": ranges}}
    )
    assert (bar["name"], bar["bar"], bar["holds"]) == ("ours_over_bare", 0.97, False)


def test_a_training_step_of_rosetta_costs_three_forward_passes():
    spec = systems.resolve("rosetta-cnn", image=(32, 32, 3), classes=10).spec
    conv = 32 * 32 * 9 * (3 * 50 + 50 * 50) + 16 * 16 * 9 * (50 * 100 + 100 * 100)
    assert macs(spec) == conv + 6400 * 512 + 512 * 10
    assert training_speed.FLOP_PER_MAC == 6


@pytest.mark.parametrize("track", DEFAULT)
@pytest.mark.parametrize("name", ["bare", "naive"])
def test_the_loops_that_are_compared_with_really_train(track, name):
    module, machine = load_track(track), load_extra(track, Yardsticks)
    data = pictures((8, 8, 3), 4, 160, 0)
    job = systems.resolve(
        "small-cnn", image=data.image, classes=4, overrides=("recipe.batch=16",)
    )
    images, labels = data.train.take(slice(None)), data.train.labels
    if name == "bare":
        model = module.build(job.spec)
        images, labels = images.reshape(-1, 16, 8, 8, 3), labels.reshape(-1, 16)
    else:
        model = module.build_native(job.spec, seed=0)
    run = getattr(machine, name)(model, job.recipe, images, labels)
    before = module.get_weights(model)
    seconds = [run(30), run(30)]
    after = module.get_weights(model)
    assert min(seconds) > 0
    assert all(np.abs(after[key] - value).max() > 0 for key, value in before.items())
    if name == "bare":  # in Keras a native norm needs more steps than this
        assert evaluate(module.predictor(model), data.train).accuracy > 0.6


def test_our_loop_makes_as_many_updates_as_it_is_asked_for():
    track = load_track("torch")
    data = pictures((8, 8, 1), 4, 100, 0)
    job = systems.resolve("rasbt-mlp", image=data.image, classes=4)
    made = []

    class Counting(track.Trainer):
        def step(self, images, labels, draws):
            made.append(len(labels))
            return super().step(images, labels, draws)

    class Track:
        build, Trainer = staticmethod(track.build), Counting

    plan = training_speed.Measurement(
        system="rasbt-mlp",
        overrides=(),
        data=None,
        precision="float32",
        device="cpu",
        threads=1,
        rounds=2,
        steps=3,
    )
    run = training_speed.ours(plan, Track, job, data.train)
    run(7)
    assert made == [job.recipe.batch] * 7
    run(3)
    assert len(made) == 10


def test_the_command_measures_both_tracks_and_writes_what_the_schema_says(tmp_path):
    out = tmp_path / "speed.json"
    speed(["small-cnn"], rounds=2, steps=4, threads=1, json=out)
    written = json.loads(out.read_text())
    schema = json.loads((files("common") / "schema" / "speed.json").read_text())
    jsonschema.validate(written, schema)
    (row,) = written["systems"]
    assert row["tracks"].keys() == set(DEFAULT)
    for track in row["tracks"].values():
        assert all(track[name] > 0 for name in ("ours", "bare", "naive"))
        assert track["own_pools"] is track["ours_over_own_pools"] is None
        assert track["share_of_peak"] > 0
        assert track["steps"] == 4


def test_fractional_pools_stand_beside_the_frameworks_own(tmp_path):
    out = tmp_path / "speed.json"
    speed("fmp-small", rounds=2, steps=1, threads=1, set="recipe.batch=4", json=out)
    (row,) = json.loads(out.read_text())["systems"]
    for track in row["tracks"].values():
        assert track["own_pools"] > 0
        assert track["ours_over_own_pools"] > 0
        assert track["naive"] is None


def test_a_users_own_system_has_no_naive_loop(tmp_path):
    out = tmp_path / "speed.json"
    speed(
        system=["tests.own_twin"],
        tracks="torch",
        rounds=2,
        steps=4,
        threads=1,
        json=out,
    )
    (row,) = json.loads(out.read_text())["systems"]
    assert row["system"] == "two-towers"
    assert row["tracks"]["torch"]["naive"] is None
    assert row["tracks"]["torch"]["bare"] > 0


MISSED = {
    "holds": False,
    "said": "small-cnn in torch: 0.50 of the bare loop (0.40 to 0.60), bar 0.97",
}


def test_a_missed_bar_fails_only_where_bars_were_asked_for(monkeypatch):
    row = {"system": "small-cnn", "bars": [MISSED]}
    monkeypatch.setattr(training_speed, "system_row", lambda *_: row)
    monkeypatch.setattr(outcome, "told", lambda *_, **__: None)
    assert speed(["small-cnn"]) == {"systems": [row]}
    with pytest.raises(Failed, match=r"0\.50 of the bare loop"):
        speed(["small-cnn"], bars=True)


def test_a_table_says_which_bars_were_missed():
    bars = [
        timing.bar("torch", "bare", 0.97, holds=holds, said="0.96 of it, bar 0.97")
        for holds in (False, True)
    ]
    short, held = _table("measured", "images/s", {"tracks": {}, "bars": bars}, []).notes
    assert short == "0.96 of it, bar 0.97: falls short"
    assert held == "0.96 of it, bar 0.97: holds"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"systems": ["rasbt-mlp", "rosetta"]}, "the nearest is rosetta-cnn"),
        ({"rounds": 0}, "--rounds must be above 0, got 0"),
        ({"steps": -1}, "--steps must be above 0, got -1"),
        ({"set": ["recipe.leraning=1"]}, "recipe.leraning"),
        ({"set": ["recipe.batch=20000"]}, "20000"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_measured(
    asked, message, monkeypatch
):
    monkeypatch.setattr(process, "started", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(Refused, match=message):
        speed(**asked)


def test_a_child_that_refuses_has_its_line_shown():
    with pytest.raises(Refused, match=r"while the loss is finite.*recipe.lr=1e\+29"):
        speed(
            ["rasbt-mlp"],
            tracks="torch",
            rounds=2,
            steps=4,
            threads=1,
            set=["recipe.lr=1e30"],
        )

"""A user's own kind of network in every command, or refused before anything starts.

Its builder is for the NumPy track, so that no framework has to start.
"""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.classify import classify
from benchmarks.compare import compare
from benchmarks.engine import chosen
from benchmarks.engine.chosen import Wanted, from_file, from_store
from benchmarks.engine.networks import Networks
from benchmarks.new_class import new_class
from benchmarks.parity import plan_climbs
from benchmarks.pretrain import pretrain
from benchmarks.transfer import transfer
from common import codec, model_file
from common.data import DataRequest, open_data
from common.errors import Refused
from common.results import KEYS, WEIGHTS, Store

MINE, TRACK = "tests.own_numpy", "tests.numpy_track"
SHORT = {"tracks": TRACK, "threads": 1, "epochs": 1, "limit": 100, "data": "digits"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINTRACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run of the MLP of the registry, then one of the user's own, the newer."""
    place = tmp_path_factory.mktemp("runs")
    compare("rasbt-mlp", seeds="3-3", set="spec.hidden=(4,)", store=place, **SHORT)
    compare(system=MINE, seeds=1, store=place, **SHORT)
    return place


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def asked(store, **wanted):
    """What would be asked, without asking it."""
    return from_store(Store(store), Wanted(**wanted), [TRACK]).facts


# --- its runs are asked -------------------------------------------------------------


def test_classify_asks_the_newest_run_though_it_is_of_a_kind_of_the_users_own(
    store, photo, capsys
):
    found = classify([photo], tracks=TRACK, store=store)
    assert found["asked"]["system"] == "own-mlp"
    assert found["photos"][0]["tracks"][TRACK]["top"][0]["label"] in "0123456789"
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "asked:" in x)
    run = found["asked"]["tracks"][TRACK]["run"]
    for said in (
        "own-mlp trained on digits (100 of 1,000 training images)",
        "10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
        "seed 0",
        "1 epoch;",
        "aligned, float32",
        f"in {store}",
        "% right on its 797 test pictures",
        run,
    ):
        assert said in line


@pytest.mark.parametrize(
    ("wanted", "system"),
    [
        ({}, "own-mlp"),
        ({"system": MINE}, "own-mlp"),
        ({"system": "own-mlp"}, "own-mlp"),
        ({"system": "rasbt-mlp"}, "rasbt-mlp"),
        ({"seed": 3}, "rasbt-mlp"),
        ({"data": "digits"}, "own-mlp"),
        ({"data": "some/where/digits"}, "own-mlp"),
        ({"changes": ("spec.hidden=(4,)",)}, "rasbt-mlp"),
        ({"changes": ("recipe.batch=20",)}, "own-mlp"),  # as it came, not as it was set
        ({"changes": ("recipe.batch=64", "spec.dropout=0")}, "rasbt-mlp"),
        ({"run": "rasbt-mlp-"}, "rasbt-mlp"),
    ],
)
def test_a_run_is_chosen_by_what_it_is(store, wanted, system):
    assert asked(store, **wanted)["system"] == system


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"seed": 9}, r"none with --seed 9 in .*; it has .*seed 0, 3"),
        ({"data": "mnist"}, r"none with --data mnist in .*; it has .*data digits"),
        ({"system": "deep-cnn"}, "it has system own-mlp, rasbt-mlp"),
        ({"changes": ("recipe.lr=7",)}, "none with --set recipe.lr=7"),
        ({"run": "x"}, "--run must be of the store, got 'x'"),
        ({"run": ""}, "--run must be of the store"),
        ({"run": "rasbt", "seed": 3}, "names a run by itself, got --seed 3 too"),
    ],
)
def test_what_no_run_is_says_what_there_is(store, wanted, says):
    with pytest.raises(Refused, match=says):
        asked(store, **wanted)


def test_a_beginning_of_several_ids_names_them(store, tmp_path):
    for name in ("a-torch-0-1", "a-torch-0-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text("{}")
    with pytest.raises(Refused, match="'a-' is of a-torch-0-1, a-torch-0-2; write"):
        asked(tmp_path, run="a-")


def test_a_run_whose_module_is_gone_is_named_and_the_next_is_asked(store, monkeypatch):
    def gone(name):
        raise Refused(f"a system's module must be importable, got {name!r}")

    monkeypatch.setattr(chosen, "find", gone)
    found = from_store(Store(store), Wanted(), [TRACK])
    assert found.facts["system"] == "rasbt-mlp"
    (note,) = found.notes
    assert re.match(r"left out: own-mlp-\S+ cannot be read: .*importable", note)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"a": NaN}', "[" * 9000, json.dumps(dict.fromkeys(KEYS))],
)
def test_a_record_that_is_none_is_named_and_the_next_is_asked(store, tmp_path, content):
    place = tmp_path / "runs"
    shutil.copytree(store, place)
    (place / "odd").mkdir()
    (place / "odd" / "record.json").write_text(content)
    found = from_store(Store(place), Wanted(), [TRACK])
    assert found.facts["system"] in ("own-mlp", "rasbt-mlp")
    (note,) = found.notes
    assert note == f"left out: {place / 'odd' / 'record.json'} is not as it was written"


def test_a_weights_file_of_a_kind_of_ones_own_needs_its_module_alone(
    store, photo, tmp_path, monkeypatch
):
    run = next(r for r in Store(store).runs() if r.record["system"] == "own-mlp")
    file = tmp_path / "own.safetensors"
    file.write_bytes((run.path / WEIGHTS).read_bytes())
    with monkeypatch.context() as patch:
        patch.delitem(codec.KNOWN, "OwnMLP")
        with pytest.raises(Refused, match=r"is of OwnMLP; name the module .* --system"):
            from_file(file, Store(tmp_path / "none"), None, None, [TRACK])
        with pytest.raises(Refused, match=r"is of OwnMLP; name the module .* --system"):
            transfer(weights=file, classes="3,8", **SHORT | {"size": 8})
    options = {"tracks": TRACK, "store": tmp_path / "none", "weights": file}
    found = classify([photo], system=MINE, **options)
    assert found["photos"][0]["tracks"][TRACK]["top"][0]["label"].startswith("class")
    # A store that has its run knows its module.
    known = from_file(file, Store(store), None, None, [TRACK])
    assert known.networks[TRACK].module == MINE


def test_pictures_are_asked_in_the_views_that_the_run_was_judged_in(tmp_path):
    """Else what is said of a photo is not of the accuracy that is printed beside it."""
    views = "recipe.views=(View(flip=True), View(down=1, weight=0.5))"
    compare(MINE, seeds=1, set=views, store=tmp_path, **SHORT)
    found = from_store(Store(tmp_path), Wanted(), [TRACK])
    data = open_data(DataRequest(source="digits"))
    with Networks(found.networks) as networks:
        said = networks(data.test.take(slice(0, 50)))[TRACK]
    assert said == pytest.approx(found.test_logits[TRACK][:50], abs=1e-5)


# --- the other commands -------------------------------------------------------------


def test_new_class_takes_it_and_classify_asks_what_was_made(tmp_path, capsys):
    folder, place = tmp_path / "crosses", tmp_path / "runs"
    folder.mkdir()
    for k in range(4):
        pixels = np.random.default_rng(k).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    options = {"folds": 2, "remedy": "none", "shortcut": False, "store": place}
    found = new_class("cross", [folder], system=MINE, **options, **SHORT)
    assert found["system"] == "own-mlp"
    said = capsys.readouterr().err
    (run,) = re.findall(r"to ask it about a photo: twintrack .* --run (\S+)", said)
    told = classify([folder / "0.png"], run=run, tracks=TRACK, store=place)
    assert told["asked"]["data"] == "digits + cross"
    assert told["asked"]["classes"][-1] == "cross"
    # The networks of its folds are there too.
    fold = next((place / "new-class").iterdir()).name
    assert asked(place, run=fold)["store"] == str(place / "new-class")


def test_transfer_trains_it_whole_or_refuses_it_first(store, tmp_path):
    options = {"classes": "3,8", "system": MINE, "store": tmp_path / "runs", "seeds": 1}
    short = SHORT | {"size": 8}
    for method in ("features", "finetune"):
        with pytest.raises(Refused, match=r"last layer, .* a kind of yours; train"):
            transfer(method=method, **options, **short)
    run = next(r for r in Store(store).runs() if r.record["system"] == "own-mlp")
    with pytest.raises(Refused, match="got a OwnMLP, a kind of yours"):
        transfer(weights=run.path / WEIGHTS, **options, **short)
    assert not (tmp_path / "runs").exists()
    found = transfer(method="scratch", **options, **short)
    assert found["systems"][0]["system"] == "own-mlp"


def test_pretrain_makes_a_file_of_it(tmp_path):
    file = tmp_path / "base.safetensors"
    short = {name: v for name, v in SHORT.items() if name != "tracks"}
    pretrain(MINE, output=file, track=TRACK, store=tmp_path / "runs", **short)
    assert type(model_file.load(file)[0]).__name__ == "OwnMLP"


def test_parity_climbs_with_it(tmp_path):
    climbs = plan_climbs(
        MINE,
        (TRACK, TRACK),
        request=DataRequest(source="digits"),
        steps=2,
        seed=0,
        threads=1,
        overrides=("spec.wide=4",),
        fault=None,
        folder=tmp_path,
    )
    assert climbs[TRACK].module == MINE

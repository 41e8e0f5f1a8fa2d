"""Bases and what is learned from them, as commands; small networks stand for Inception.

The digits 3 and 8 are left out of the base and learned from it.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from benchmarks.classify import classify
from benchmarks.engine.chosen import Wanted, from_store
from benchmarks.pretrain import pretrain
from benchmarks.transfer import transfer
from common import model_file
from common.data import DataRequest, open_data
from common.errors import Refused
from common.results import WEIGHTS, Store
from common.strangeness import probabilities

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "common/schema/compare.json").read_text())
# Seconds after which a test gives up on a busy machine; nothing is measured by it.
PATIENCE = 600.0
# Relative, losses of some float64 steps: the same sums in another order.
ALIKE = 1e-11
# Probabilities, float32 features computed in other batches.
KEPT = 1e-4
ASKED = {"data": "digits", "classes": "3,8", "limit": 120, "threads": 1}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache of the data for all commands."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINTRACK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def base(tmp_path_factory, cache):
    """A small CNN that knows eight digits, from the torch track."""
    folder = tmp_path_factory.mktemp("base")
    pretrain(
        "small-cnn",
        data="digits",
        leave_out="3,8",
        output=folder / "base.safetensors",
        epochs=4,
        threads=1,
        precision="float32",
        store=folder,
    )
    return folder / "base.safetensors"


@pytest.fixture(scope="module")
def heads(base, tmp_path_factory):
    """What transfer finds with features, two seeds."""
    store = tmp_path_factory.mktemp("heads")
    output = store / "heads.json"
    found = transfer(
        **ASKED, weights=base, seeds=2, epochs=6, flip=True, store=store, json=output
    )
    return found, output, store


def test_a_base_says_what_it_learned_and_from_what(base):
    spec, weights, about = model_file.load(base)
    assert about.classes == ("0", "1", "2", "4", "5", "6", "7", "9")
    assert spec.classes == 8
    assert about.facts["track"] == "torch"
    assert about.facts["test"]["accuracy"] > 0.8
    assert weights["norm1.var"].min() > 0


def test_either_track_can_make_a_base(base, tmp_path):
    found = pretrain(
        "small-cnn",
        data="digits",
        leave_out="3,8",
        output=tmp_path / "base.safetensors",
        track="tensorflow",
        epochs=4,
        threads=1,
        precision="float32",
        store=tmp_path,
    )
    torch = model_file.load(base)[2].facts["test"]["accuracy"]
    assert found["accuracy"] == pytest.approx(torch, abs=0.02)


def test_heads_learn_from_features_in_both_tracks(heads):
    found, output, _ = heads
    assert json.loads(output.read_text()) == found
    Draft202012Validator(SCHEMA).validate(found)
    (row,) = found["systems"]
    assert row["seeds"] == [0, 1]
    assert row["difference"]["mean"] is not None
    for track in ("torch", "tensorflow"):
        assert row["tracks"][track]["accuracy"]["mean"] > 0.65  # of two
        assert set(found["recalls"][track]) == {"3", "8"}
        assert found["cache"]["tracks"][track]["hit"] is False
    assert (found["mode"], found["features"]) == ("features", 64)
    assert set(found["cache"]) == {"seconds", "bytes", "hit", "tracks"}


def test_the_recalls_are_those_of_the_kept_logits(heads):
    found, _, store = heads
    runs = [r for r in Store(store).runs() if r.record["track"] == "torch"]
    shares = [
        (run.logits().argmax(1) == run.labels())[run.labels() == 1].mean()
        for run in runs
    ]
    assert found["recalls"]["torch"]["8"]["mean"] == pytest.approx(np.mean(shares))


def test_classify_asks_a_head_together_with_the_base_below_it(heads, tmp_path, capsys):
    """The pictures of the test part, as photos: it says what the run's logits do."""
    _, _, store = heads
    data = open_data(DataRequest(source="digits", classes=("3", "8"), limit=120))
    pages, labels = data.test.take(slice(0, 40)), data.test.labels[:40]
    for k, (page, label) in enumerate(zip(pages, labels, strict=True)):
        folder = tmp_path / data.classes[label]
        folder.mkdir(exist_ok=True)
        Image.fromarray(page[..., 0]).save(folder / f"{k:02}.png")
    run = next(r for r in Store(store).runs() if r.record["seed"] == 0)
    said = classify([tmp_path], store=store, seed=0)
    assert said["asked"]["classes"] == ["3", "8"]
    assert "; on the features of " in capsys.readouterr().out
    order = [k for label in (0, 1) for k in range(40) if labels[k] == label]
    for track in ("torch", "tensorflow"):
        run = Store(store).find(said["asked"]["tracks"][track]["run"])
        shares = probabilities(run.logits()[:40])[order]
        told = [photo["tracks"][track]["top"] for photo in said["photos"]]
        best = [data.classes.index(top[0]["label"]) for top in told]
        assert best == shares.argmax(1).tolist()
        found = [top[0]["probability"] for top in told]
        assert found == pytest.approx(shares.max(1), abs=KEPT)


def test_a_head_whose_base_is_gone_or_another_is_not_asked(heads, base, monkeypatch):
    _, _, store = heads
    place = base.with_name("elsewhere.safetensors")
    base.rename(place)
    try:
        with pytest.raises(
            Refused, match=r"got none in .* is not what it was .*put it back"
        ):
            from_store(Store(store), Wanted(), ["torch"])
        base.write_bytes((Store(store).runs()[0].path / WEIGHTS).read_bytes())
        with pytest.raises(Refused, match="is another by now; put it back"):
            from_store(Store(store), Wanted(run="linear-torch-0"), ["torch"])
    finally:
        place.replace(base)
    assert from_store(Store(store), Wanted(seed=0), ["torch"]).facts["seed"] == 0


def test_the_features_are_computed_once_and_seeds_are_added(base, heads):
    before, _, store = heads
    found = transfer(**ASKED, weights=base, seeds=3, epochs=6, flip=True, store=store)
    assert found["cache"]["hit"] is True
    runs = found["systems"][0]["tracks"]["torch"]["runs"]
    assert runs[:2] == before["systems"][0]["tracks"]["torch"]["runs"]
    assert len(runs) == 3


def test_heads_on_the_same_features_end_alike(base, tmp_path, capsys):
    found = transfer(
        **ASKED,
        weights=base,
        seeds=1,
        epochs=3,
        share_features="tensorflow",
        keep_in="float16",
        store=tmp_path,
    )
    assert list(found["cache"]["tracks"]) == ["tensorflow"]
    (line,) = re.findall("to ask it about a photo: (.*)", capsys.readouterr().err)
    words = shlex.split(line)
    assert words[:4] == ["twintrack", "classify", "PHOTO", "--run"]
    assert words[4].startswith("linear-torch-0-")
    assert words[5:] == ["--store", str(tmp_path)]
    torch, tensorflow = (run.logits() for run in Store(tmp_path).runs())
    assert np.abs(torch - tensorflow).max() < 1e-4


@pytest.mark.parametrize("method", ["finetune", "scratch"])
def test_the_whole_network_learns_too(method, base, tmp_path):
    """In small float64 steps, so that both tracks' runs stay alike."""
    options = {"statistics": "moving", "base_rate": 0.5}
    found = transfer(
        **ASKED,
        method=method,
        weights=base,
        seeds=1,
        epochs=2,
        precision="float64",
        store=tmp_path,
        **(options if method == "finetune" else {}),
    )
    (row,) = found["systems"]
    assert row["system"] == "small-cnn"
    assert found["cache"] is None
    torch, tensorflow = (run.record["losses"] for run in Store(tmp_path).runs())
    assert len(torch) > 1
    assert np.allclose(torch, tensorflow, rtol=ALIKE, atol=0)
    starts = {run.record["identity"]["start"] for run in Store(tmp_path).runs()}
    assert (starts == {None}) == (method == "scratch")
    told = " ".join(Store(tmp_path).runs()[0].record["overrides"])
    assert ("recipe.multipliers=(('', 0.5)" in told) == (method == "finetune")


def test_killed_while_computing_features_the_command_goes_on(
    base, cache, heads, tmp_path, monkeypatch
):
    """Killed when the folder of features appears, it ends with those of `heads`."""
    command = [
        *(sys.executable, "-m", "benchmarks.transfer", "--data=digits", "--flip"),
        *("--classes=3,8", "--limit=120", f"--weights={base}", "--seeds=1"),
        *("--epochs=2", "--threads=1", f"--store={tmp_path}"),
    ]
    places = {"killed": tmp_path / "killed", "whole": cache}
    monkeypatch.setenv("TWINTRACK_CACHE", str(places["killed"]))
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    while not list(places["killed"].glob(".features/*/about.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end, "it never began"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    killed, whole = (
        {path.parent.name: path for path in place.glob(".features/*/features.bin")}
        for place in places.values()
    )
    assert len(killed) == 2
    assert killed.keys() <= whole.keys()
    for name, path in killed.items():
        assert path.read_bytes() == whole[name].read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": "3"}, "two or more different classes, got 3"),
        ({"classes": "3,cat"}, "a class must be one of digits's, got cat"),
        ({"method": "freeze"}, "--method must be one of features, finetune, scratch"),
        ({"keep_in": "int8"}, "--keep-in must be one of float16, float32"),
        ({"aux": True}, "--aux is for --method finetune, got --method feat"),
        ({"method": "scratch", "statistics": "moving"}, "--statistics is for"),
        (
            {"method": "finetune", "keep_in": "float16"},
            "--keep-in is for --method feat",
        ),
        ({"share_features": "torhc"}, "nearest: torch"),
        ({"method": "finetune", "size": 12}, "need .* for dense1.kernel.*--size 8"),
        ({"size": 12}, "must fit the pictures, 12x12 px need"),
        ({"method": "finetune", "aux": True}, "--aux needs weights with an aux"),
        ({"method": "finetune", "base_rate": -1.0}, "--base-rate must be 0 or more"),
        ({"size": 0}, "--size must be above 0"),
        ({"device": "gpu"}, "a GPU must be seen by every track"),
        ({"seeds": 0}, "--seeds must be above 0"),
    ],
)
def test_a_wrong_request_is_one_line(changed, message, base, tmp_path):
    with pytest.raises(Refused, match=message) as refusal:
        transfer(**ASKED | {"weights": base, "store": tmp_path} | changed)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "base.safetensors"):
        with pytest.raises(Refused, match=r"--output must be .*(add a|name an)"):
            pretrain("small-cnn", data="digits", output=output, store=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_weights_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(Refused, match="a weights file must exist"):
        transfer(**ASKED, weights=tmp_path / "none.safetensors", store=tmp_path)


def test_pictures_are_resized_when_they_are_taken():
    small = open_data(DataRequest(source="digits"))
    large = open_data(DataRequest(source="digits", side=20))
    assert large.image == (20, 20, 1)
    assert large.train.images is not None
    assert large.train.images.shape[1:] == (8, 8, 1)
    assert large.train.take(slice(0, 3)).shape == (3, 20, 20, 1)
    assert large.fingerprint != small.fingerprint
    assert large.note == "8x8 resized to 20x20"
    from PIL import Image

    first = Image.fromarray(small.train.take(slice(0, 1))[0, :, :, 0])
    expected = np.asarray(first.resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(large.train.take(slice(0, 1))[0, :, :, 0], expected)


def test_classes_are_chosen_or_left_out_by_name():
    two = open_data(DataRequest(source="digits", classes=("8", "3")))
    assert two.classes == ("8", "3")
    rest = open_data(DataRequest(source="digits", leave_out=("3", "8")))
    whole = open_data(DataRequest(source="digits"))
    assert len(two.train) + len(rest.train) == len(whole.train)
    again = DataRequest.from_dict(json.loads(json.dumps(two_request().to_dict())))
    assert again == two_request()


def two_request():
    return DataRequest(source="digits", classes=("8", "3"), side=20, features="x")


def test_photos_of_several_sizes_are_fitted_when_decoded(tmp_path):
    from PIL import Image

    for name, size in (("a", (40, 30)), ("b", (31, 50))):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(4):
            colour = (60 * i, 20, 90)
            Image.new("RGB", size, colour).save(folder / f"{i}.png")
    found = open_data(DataRequest(source=str(tmp_path / "photos"), side=24))
    assert found.image == (24, 24, 3)
    assert found.train.size is None

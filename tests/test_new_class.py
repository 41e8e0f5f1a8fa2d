"""A class from a few photos: duplicates, folds, remedies, bars, figures, command."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import common
from benchmarks.classify import classify
from benchmarks.data import data_list
from benchmarks.new_class import new_class
from common import remedies
from common.data import Addition, DataRequest, open_data
from common.data.addition import keep, on_white, with_bars
from common.errors import Failed, Refused
from common.photos import sort as photos
from common.photos.decode import Framing
from common.report import new_class as report
from common.stats import Interval, mean_of, wilson

SIZE = Framing(size=(8, 8), channels=1)
EXACT = 1e-12  # a handful of float64 operations
NUMPY = {"tracks": "tests.numpy_track", "threads": 1, "set": ["spec.hidden=(16,)"]}


def photo(seed, size=(40, 30)):
    """A picture with a bright cross, unlike any digit's strokes."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (size[1], size[0], 3)).astype(np.uint8)
    y, x = np.mgrid[: size[1], : size[0]]
    cross = np.abs(y * size[0] - x * size[1]) < 4 * size[0]
    pixels[cross | cross[:, ::-1]] = rng.integers(180, 255, 3)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "crosses"
    place.mkdir()
    for seed in range(6):
        photo(seed).save(place / f"{seed}.png")
    return place


def check_schema(found, name):
    path = Path(common.__file__).parent / "schema" / f"{name}.json"
    jsonschema.validate(found, json.loads(path.read_text()))


def loaded(folder):
    return [photos.load(path, SIZE) for path in sorted(folder.iterdir())]


# --- duplicates and folds ----------------------------------------------------------


def test_copies_are_left_out_and_named(folder):
    shutil.copy(folder / "3.png", folder / "copy.png")
    photo(4).save(folder / "resaved.png", compress_level=1)  # other bytes, same pixels
    found = photos.without_duplicates(loaded(folder))
    assert [p.path.name for p in found.kept] == [f"{k}.png" for k in range(6)]
    assert len(found.notes) == 2
    assert "copy.png is left out: the same picture as" in found.notes[0]
    assert found.notes[1].endswith("4.png")


def test_pictures_that_look_alike_share_a_fold(folder):
    photo(2).save(folder / "small.jpg", quality=95)
    found = photos.without_duplicates(loaded(folder))
    assert len(found.kept) == 7
    assert found.notes[0].endswith("2.png: kept in the same fold")
    for seed in range(20):
        fold = photos.deal(found.groups, 3, seed)
        assert fold[2] == fold[6]


def test_a_chain_of_likenesses_is_one_group(folder):
    for name, grey in (("x", 0), ("y", 9), ("z", 5)):
        Image.new("L", (20, 20), grey).save(folder / f"{name}.png")
    found = photos.without_duplicates(loaded(folder))
    assert found.groups[6] == found.groups[7] == found.groups[8]


def test_folds_are_equal_and_disjoint():
    fold = photos.deal(np.arange(38), 5, 0)
    assert sorted(np.bincount(fold)) == [7, 7, 8, 8, 8]
    assert not np.array_equal(fold, photos.deal(np.arange(38), 5, 1))


@pytest.mark.parametrize("folds", [1, 4])
def test_more_folds_than_photos_are_refused(folds):
    with pytest.raises(Refused, match=f"got {folds} folds for 3 different photos"):
        photos.deal(np.array([0, 1, 2, 2]), folds, 0)


# --- remedies -----------------------------------------------------------------------


def test_weights_are_inverse_frequencies_up_to_a_cap():
    text = remedies.overrides("weights", [5000, 1000, 10])
    assert text == ("recipe.class_weights=(1.0, 5.0, 10.0)",)


def test_adjusted_logits_undo_the_frequencies():
    chances = np.array([[0.7, 0.2, 0.1]])
    found = remedies.adjusted(np.log(chances), [70, 20, 10])
    assert found == pytest.approx(np.full((1, 3), found[0, 0]), rel=EXACT)


def test_augmentation_is_drawn_once_and_keeps_the_originals():
    masters = np.stack([np.asarray(photo(k, (16, 16))) for k in range(3)])
    found = remedies.augmented(masters, (8, 8))
    assert found.shape == (remedies.ENOUGH, 8, 8, 3)
    assert np.array_equal(found, remedies.augmented(masters, (8, 8)))
    small = Image.fromarray(masters[1]).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(found[1], np.asarray(small))
    assert len({picture.tobytes() for picture in found}) > 0.9 * remedies.ENOUGH


# --- the data -----------------------------------------------------------------------


def test_an_addition_is_the_last_class_and_can_be_repeated(tmp_path):
    train = np.full((3, 8, 8, 1), 7, np.uint8)
    test = np.full((2, 8, 8, 1), 9, np.uint8)
    path = keep(train, test, [1.0], (0, 0, 0), cache=tmp_path)
    base = open_data(DataRequest(source="digits"), cache=tmp_path)
    request = DataRequest(
        source="digits", addition=Addition(name="cross", path=path, times=4)
    )
    request = DataRequest.from_dict(json.loads(json.dumps(request.to_dict())))
    found = open_data(request, cache=tmp_path)
    assert found.classes == (*base.classes, "cross")
    assert found.name == "digits + cross"
    assert found.note == "3 training pictures of cross, each 4 times"
    assert (found.train.labels == 10).sum() == 12
    assert (found.test.labels == 10).sum() == 2
    assert found.fingerprint != base.fingerprint
    assert found.test.take(np.array([-1]))[0, 0, 0, 0] == 9


def test_a_changed_addition_is_refused(tmp_path):
    one = np.zeros((1, 8, 8, 1), np.uint8)
    path = keep(one, one, [1.0], (0, 0, 0), cache=tmp_path)
    with open(path, "r+b") as file:  # noqa: PTH123 (path is a str)
        file.seek(-1, 2)
        file.write(b"\1")
    request = DataRequest(source="digits", addition=Addition(name="x", path=path))
    with pytest.raises(Refused, match="has changed; remove it and repeat"):
        open_data(request, cache=tmp_path)


def test_bars_have_the_proportions_of_the_photos():
    images = np.full((5, 32, 32, 3), 200, np.uint8)
    back = np.array([1, 2, 3], np.uint8)
    lying = with_bars(images, np.array([4 / 3]), back)
    assert (lying[:, 4:28] == 200).all()
    assert (lying[:, :4] == back).all()
    assert (lying[:, 28:] == back).all()
    standing = with_bars(images, np.array([0.5]), back)
    assert (standing[:, :, 8:24] == 200).all()
    assert (standing[:, :, :8] == back).all()
    assert (with_bars(images, np.array([1.0]), back) == 200).all()


def test_bars_on_grey_pictures_are_as_light_as_padding(tmp_path):
    red = np.array([255, 0, 0], np.uint8)
    barred = with_bars(np.full((1, 8, 8, 1), 200, np.uint8), np.array([2.0]), red)
    Image.new("L", (16, 8), 200).save(tmp_path / "x.png")
    framing = Framing(size=(8, 8), how="pad", colour=(255, 0, 0), channels=1)
    assert np.array_equal(
        barred[0], photos.load(tmp_path / "x.png", framing).picture.pixels
    )


def test_a_studio_is_white_all_round():
    found = on_white(np.zeros((2, 32, 32, 3), np.uint8))
    assert (found[:, 6:25, 6:25] == 0).all()
    assert (found[:, :6] == 255).all()
    assert (found[:, :, 25:] == 255).all()


def test_the_cache_of_classes_is_no_data_set(folder):
    one = np.zeros((1, 8, 8, 1), np.uint8)
    keep(one, one, [1.0], (0, 0, 0))
    names = [row["name"] for row in data_list()["data"]]
    assert names == ["digits", "mnist", "cifar10"]


# --- figures by hand ----------------------------------------------------------------


def logits(answers, classes=3):
    return np.eye(classes)[np.array(answers)] * 5.0


def test_figures_of_all_folds_by_hand():
    labels = np.array([0, 0, 1, 1])
    folds = [
        report.Fold(logits([0, 2, 1, 1]), logits([2, 0])),
        report.Fold(logits([0, 0, 1, 0]), logits([2])),
    ]
    before = np.array([[True, True, True, False], [True, True, True, True]])
    found = report.after(folds, labels, before, ("a", "b", "new"))
    assert found["recall"]["mean"] == pytest.approx(2 / 3)
    assert (found["hits"], found["false_alarms"]) == (2, 0)  # half an alarm per fold
    assert found["precision"]["mean"] == 1
    assert found["called"] == {"a": 1, "b": 0, "new": 2}
    # Each network is right on three of four; their pairs on three and on four.
    assert found["old_classes_change"]["mean"] == -1 / 8
    assert found["balanced_accuracy"]["mean"] == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_precision_of_a_class_that_is_never_named_is_none():
    fold = report.Fold(logits([0, 1]), logits([0]))
    found = report.after([fold] * 2, np.array([0, 1]), np.ones((2, 2), bool), "abc")
    assert found["precision"] is None
    assert found["recall"]["mean"] == 0
    assert found["recall"]["high"] > 0.5  # two photos cannot show that none is found


def test_the_mean_of_shares_combines_their_intervals():
    one, two = wilson(8, 10), wilson(30, 40)
    found = mean_of([one, two])
    assert found.mean == pytest.approx((0.8 + 0.75) / 2)
    half = np.hypot(one.mean - one.low, two.mean - two.low) / 2
    assert found.mean - found.low == pytest.approx(half)
    assert mean_of([Interval(mean=0.5, low=0.4, high=0.7)]).high == pytest.approx(0.7)


def judged(own, turned, plain, barred, *, n=40, m=2000):
    """A variant from shares: photos found with bars and cut, pictures called new."""

    def called(share, size):
        return logits([2] * round(share * size) + [0] * (size - round(share * size)))

    folds = [report.Fold(called(plain, m), called(own, n))]
    old = [called(share, m) for share in (plain, barred, plain)]
    return report.variant(folds, [report.Asked(*old, called(turned, n))])


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ((0.8, 0.8, 0.01, 0.01), "apple, not bars"),
        ((0.9, 0.9, 0.005, 0.01), "apple, not bars"),  # a significant trifle
        ((0.9, 0.1, 0.01, 0.8), "bars, not apple"),
        ((0.9, 0.9, 0.001, 0.55), "bars as well as apple"),  # found without them too
        ((0.9, 0.0, 0.004, 0.005), "bars as well as apple"),  # only together
        ((0.9, 0.5, 0.01, 0.2), "bars as well as apple"),
        ((0.0, 0.0, 0.0, 0.0), "neither"),
        ((0.05, 0.025, 0.0, 0.0), "too little to tell"),
    ],
)
def test_the_sentence_says_what_was_learned(shares, says):
    assert report.learned("apple", judged(*shares)).startswith(says)


def test_what_surrounds_a_picture_is_measured_in_pairs():
    found = judged(0.5, 0.25, 0.1, 0.3, n=8, m=100)
    assert found["bars_effect"]["mean"] == pytest.approx(0.2)
    assert found["white_effect"]["mean"] == 0
    assert found["recall_lost"]["mean"] == 0.25
    assert found["bars_effect"]["low"] > 0.1  # paired: all that differ go one way


@pytest.mark.parametrize("folds", [2, 5, 19])
def test_precision_does_not_depend_on_the_number_of_folds(folds):
    per = 38 // folds
    old = logits([2] * 20 + [0] * 980)
    made = [report.Fold(old, logits([2] * per)) for _ in range(folds)]
    labels, before = np.zeros(1000, np.int64), np.ones((folds, 1000), bool)
    found = report.after(made, labels, before, ("a", "b", "new"))
    assert found["false_alarms"] == 20
    assert found["precision"]["mean"] == pytest.approx(per * folds / (per * folds + 20))


# --- the command --------------------------------------------------------------------


def test_the_command_measures_all_of_it(folder, tmp_path, capsys):
    shutil.copy(folder / "0.png", folder / "copy.png")
    options = {"system": "rasbt-mlp", "data": "digits", "epochs": 2, "folds": 2}
    options |= {"store": tmp_path / "runs", "save": tmp_path / "seen", **NUMPY}
    options |= {"keep_out": [folder / "5.png"], "json": tmp_path / "out.json"}
    found = new_class("cross", [folder], **options)
    assert json.loads((tmp_path / "out.json").read_bytes()) == found
    check_schema(found, "new-class")
    assert (found["photos"], found["folds"], found["kept_out"]) == (6, 2, 1)
    assert [row["remedy"] for row in found["remedies"]] == list(remedies.REMEDIES)
    track = "tests.numpy_track"
    for row in found["remedies"]:
        assert sum(row["tracks"][track]["called"].values()) == 6
    assert sum(found["before"][track]["called"].values()) == 6
    assert len(found["held_out"]) == 6
    for file in ("sheet-1.png", "confusion-row.png"):
        with Image.open(tmp_path / "seen" / file) as picture:
            picture.load()
    said = capsys.readouterr()
    assert "is left out: the same picture as" in said.err
    assert "numpy_track learned " in said.out
    # What is finished is not trained again, and says the same.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("record.json")}
    again = new_class("cross", [folder], **options)
    assert again == found
    assert before == {
        p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("record.json")
    }


def test_a_bad_photo_is_one_line_and_the_others_are_used(folder, tmp_path, capsys):
    (folder / "notes.png").write_text("no picture")
    options = {"system": "rasbt-mlp", "data": "digits", "epochs": 1, "folds": 2}
    options |= {"store": tmp_path / "runs", "remedy": ["oversample"], **NUMPY}
    options |= {"json": tmp_path / "out.json"}
    with pytest.raises(Failed, match="1 could not"):
        new_class("cross", [folder], shortcut=False, **options)
    said = capsys.readouterr().err.splitlines()
    (line,) = (line for line in said if "notes.png" in line)
    assert line.endswith("notes.png (not a picture); name a picture")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["photos"], found["refused"]) == (6, [line])
    (row,) = found["remedies"]
    assert sum(row["tracks"][NUMPY["tracks"]]["called"].values()) == 6


def test_one_remedy_that_needs_another_shows_both(folder, tmp_path):
    options = {"system": "rasbt-mlp", "data": "digits", "epochs": 1, "folds": 2}
    options |= {"store": tmp_path / "runs", "remedy": ["logit-adjust"], **NUMPY}
    found = new_class("cross", [folder], shortcut=False, **options)
    assert [row["remedy"] for row in found["remedies"]] == ["none", "logit-adjust"]
    assert found["final"]["remedy"] == "none"
    # The walk goes on: the folder is named like the new class, of which no picture
    # is in the test part.
    folder.rename(folder.parent / "cross")
    told = classify(
        [folder.parent / "cross"], tracks=NUMPY["tracks"], store=tmp_path / "runs"
    )
    assert told["labelled"]["tracks"]["tests.numpy_track"]["test"] is None


def test_networks_that_diverge_are_reported(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(remedies.REMEDIES, "none", "nothing")
    monkeypatch.setattr(
        remedies, "overrides", lambda remedy, counts: ("recipe.lr=1e300",)
    )
    options = {"system": "rasbt-mlp", "data": "digits", "epochs": 1, "folds": 2}
    options |= {"store": tmp_path / "runs", "remedy": ["oversample"], **NUMPY}
    found = new_class("cross", [folder], save=tmp_path / "seen", **options)
    assert found["remedies"][0]["tracks"]["tests.numpy_track"]["diverged"] == 2
    assert (found["final"], found["shortcut"], found["held_out"]) == (None, None, [])
    check_schema(found, "new-class")
    said = capsys.readouterr().out
    assert "diverged in 2" in said
    assert "the shortcut could not be measured" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "7"}, "'7' is already one of 0, 1"),
        ({"name": " "}, "a new class needs a name, got an empty one"),
        ({"folds": 7}, "got 7 folds for 6 different photos"),
        ({"remedy": ["magic"]}, "--remedy must be one of none, weights"),
        ({"how": "squeeze"}, "--how must be one of"),
        ({"colour": "mauvish"}, "a colour must have a name"),
        (
            {"keep_out": [Path("elsewhere.png")]},
            "--keep-out must name photos of the folder",
        ),
    ],
)
def test_requests_that_cannot_be_met_are_refused_at_once(folder, change, says):
    change = dict(change)
    name = change.pop("name", "cross")
    store = folder.parent / "runs"
    with pytest.raises(Refused, match=says):
        new_class(name, [folder], data="digits", store=store, **change)
    assert not store.exists()

"""A class from a few photos: duplicates, folds, remedies, bars, figures, command."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import common
from benchmarks.new_class import new_class
from common import imbalance, photos
from common.data import Addition, DataRequest, open_data
from common.data.addition import keep, with_bars
from common.errors import Failed, Refused
from common.images import Framing
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
    text = imbalance.overrides("weights", [5000, 1000, 10])
    assert text == ("recipe.class_weights=(1.0, 5.0, 10.0)",)


def test_adjusted_logits_undo_the_frequencies():
    chances = np.array([[0.7, 0.2, 0.1]])
    found = imbalance.adjusted(np.log(chances), [70, 20, 10])
    assert found == pytest.approx(np.full((1, 3), found[0, 0]), rel=EXACT)


def test_augmentation_is_drawn_once_and_keeps_the_originals():
    masters = np.stack([np.asarray(photo(k, (16, 16))) for k in range(3)])
    found = imbalance.augmented(masters, (8, 8))
    assert found.shape == (imbalance.ENOUGH, 8, 8, 3)
    assert np.array_equal(found, imbalance.augmented(masters, (8, 8)))
    small = Image.fromarray(masters[1]).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(found[1], np.asarray(small))
    assert len({picture.tobytes() for picture in found}) > 0.9 * imbalance.ENOUGH


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
    assert (found["hits"], found["false_alarms"]) == (2, 1)
    assert found["precision"]["mean"] == pytest.approx(2 / 3)
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


def shares(recall, other, bars, plain):
    return {
        "recall": vars_of(recall, 40),
        "recall_other_framing": vars_of(other, 40),
        "bars_called_new": vars_of(bars, 1000),
        "plain_called_new": vars_of(plain, 1000),
    }


def vars_of(share, n):
    found = wilson(round(share * n), n)
    return {"mean": found.mean, "low": found.low, "high": found.high}


@pytest.mark.parametrize(
    ("fit", "pad", "says"),
    [
        (0.7, (0.8, 0.8, 0.01, 0.01), "apple, not bars"),
        (0.7, (0.9, 0.1, 0.8, 0.01), "bars, not apple"),
        (0.7, (0.9, 0.5, 0.2, 0.01), "bars as well as apple"),
        (0.7, (0.0, 0.0, 0.0, 0.0), "neither"),
        (0.0, (0.1, 0.0, 0.01, 0.01), "not enough to tell"),
    ],
)
def test_the_sentence_says_what_was_learned(fit, pad, says):
    variants = {
        "fit": shares(fit, 0.5, 0, 0),
        "pad": shares(*pad),
        "pad, bars on all": shares(0.5, 0.5, 0, 0),
    }
    assert report.learned("apple", variants).startswith(says)


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
    assert [row["remedy"] for row in found["remedies"]] == list(imbalance.REMEDIES)
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
    with pytest.raises(Failed, match="1 could not"):
        new_class("cross", [folder], shortcut=False, **options)
    assert "notes.png (not a picture); name a picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "7"}, "'7' is already one of 0, 1"),
        ({"name": " "}, "a new class needs a new name"),
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
    with pytest.raises(Refused, match=says):
        new_class(name, [folder], data="digits", **change)

"""Data sets from a user's arrays, and files that are named by text."""

import re

import numpy as np
import pytest

from common import model_file
from common.data import Dataset
from common.errors import Refused
from common.model_file import About
from common.spec import MLPSpec
from common.weights import random_weights, read, write

CLASSES = ("dark", "bright")
N = 20
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(N) % 2


# --- arrays ---------------------------------------------------------------------------


def test_without_a_test_part_a_fifth_of_each_class_is_held_out():
    made = Dataset.from_arrays(IMAGES, LABELS, CLASSES)
    assert (len(made.train), len(made.valid), len(made.test)) == (16, 0, 4)
    assert np.bincount(made.test.labels).tolist() == [2, 2]
    assert sorted([*made.train.rows, *made.test.rows]) == list(range(N))
    assert made.note == "one in 5 of each class held out for testing"
    again = Dataset.from_arrays(IMAGES.copy(), LABELS.tolist(), list(CLASSES))
    assert again.fingerprint == made.fingerprint


def test_a_test_part_of_ones_own_is_taken_as_it_is():
    own = (IMAGES[::-1], LABELS[::-1])
    made = Dataset.from_arrays(IMAGES, LABELS, CLASSES, test=own, name="mine")
    assert (made.name, made.note, made.classes) == ("mine", "", CLASSES)
    for part, images, labels in ((made.train, IMAGES, LABELS), (made.test, *own)):
        assert np.array_equal(part.take(slice(None)), images)
        assert np.array_equal(part.labels, labels)
    assert made.train.labels.dtype == np.int64


def test_a_valid_part_is_neither_trained_on_nor_judged_on():
    chosen = (IMAGES[:4] ^ 1, LABELS[:4])
    made = Dataset.from_arrays(IMAGES, LABELS, CLASSES, valid=chosen)
    assert np.array_equal(made.valid.take(slice(None)), chosen[0])
    assert (len(made.train), len(made.test)) == (16, 4)


def test_each_part_tells_in_the_fingerprint():
    part = (IMAGES[:4], LABELS[:4])
    made = [
        Dataset.from_arrays(IMAGES, LABELS, CLASSES, **parts).fingerprint
        for parts in ({}, {"test": part}, {"valid": part})
    ]
    assert len(set(made)) == 3


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES / 255, LABELS, "must be uint8 (n, h, w, c), got float64 (20, 4, 5, 3)"),
        (IMAGES[..., 0], LABELS, "must be uint8 (n, h, w, c), got uint8 (20, 4, 5)"),
        (IMAGES, LABELS[1:], "got 20 images and 19 labels"),
        (IMAGES, LABELS / 1, "labels of mine must be whole numbers (n,), got float64"),
        (IMAGES, np.eye(2, dtype=int)[LABELS], "got int64 (20, 2)"),
        (IMAGES, LABELS + 1, "for 2 classes, got values from 1 to 2"),
        (IMAGES, LABELS - 1, "for 2 classes, got values from -1 to 0"),
    ],
    ids=["shares", "no channels", "too few", "float", "one-hot", "above", "below"],
)
@pytest.mark.parametrize("part", ["train", "test", "valid"])
def test_arrays_that_do_not_fit_are_refused_in_every_part(images, labels, says, part):
    good = (IMAGES, LABELS)
    train, others = ((images, labels), {})
    if part != "train":
        train, others = good, {part: (images, labels)}
    with pytest.raises(Refused, match=re.escape(says)) as refusal:
        Dataset.from_arrays(*train, CLASSES, name="mine", **others)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("part", ["test", "valid"])
def test_a_part_of_another_image_shape_is_refused(part):
    other = {part: (IMAGES[:, :3], LABELS)}
    with pytest.raises(Refused, match=rf"\(3, 5, 3\) in {part}"):
        Dataset.from_arrays(IMAGES, LABELS, CLASSES, **other)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"classes": "ab"}, "must be a list of names, got the text 'ab'"),
        ({"classes": ("dark",)}, "two or more classes, mine has 1"),
        ({"classes": ("dark", "dark")}, "got 'dark' twice"),
        ({"classes": (*CLASSES, "grey")}, "needs 2 or more examples, one to train on"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "dark of mine has 0"),
        ({"images": IMAGES[:3], "labels": LABELS[:3]}, "bright of mine has 1"),
        (
            {"images": IMAGES[:1], "labels": LABELS[:1], "test": (IMAGES, LABELS)},
            "needs 1 or more examples, to train on, bright of mine has 0",
        ),
        ({"test": (IMAGES[:0], LABELS[:0])}, "test part of mine must have an example"),
        ({"test": IMAGES}, "test must be images and labels, .* got ndarray"),
        ({"valid": (IMAGES, LABELS, 3)}, "valid must be .* got a tuple of 3"),
    ],
)
def test_classes_and_parts_that_cannot_be_learned_are_refused(changed, says):
    given = {"images": IMAGES, "labels": LABELS, "classes": CLASSES} | changed
    with pytest.raises(Refused, match=says) as refusal:
        Dataset.from_arrays(**given, name="mine")
    assert "\n" not in str(refusal.value)


def test_one_example_of_a_class_is_enough_where_a_test_part_is_given():
    made = Dataset.from_arrays(IMAGES[:2], LABELS[:2], CLASSES, test=(IMAGES, LABELS))
    assert (len(made.train), len(made.test)) == (2, N)


# --- files named by text --------------------------------------------------------------


@pytest.mark.parametrize("named", [str, lambda path: path], ids=["text", "path"])
def test_weights_may_be_named_by_text(tmp_path, named):
    path = named(tmp_path / "weights.safetensors")
    weights = {"head.kernel": np.float32([[1, 2]]), "head.bias": np.float32([3])}
    write(path, weights, {"who": "we"})
    found, header = read(path)
    assert header["who"] == "we"
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("named", [str, lambda path: path], ids=["text", "path"])
def test_a_model_file_may_be_named_by_text(tmp_path, named):
    path = named(tmp_path / "model.safetensors")
    spec = MLPSpec(image=(4, 5, 3), classes=2)
    weights = random_weights(spec.weights, 3)
    model_file.save(path, spec, weights, About(classes=CLASSES, source="drawn"))
    again, found, about = model_file.load(path)
    assert (again, about.classes, about.source) == (spec, CLASSES, "drawn")
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("load", [read, model_file.load])
def test_a_file_that_is_not_there_is_one_line(tmp_path, load):
    path = str(tmp_path / "none.safetensors")
    with pytest.raises(Refused, match="a weights file must exist, got") as refusal:
        load(path)
    assert path in str(refusal.value)
    assert "\n" not in str(refusal.value)

"""What can be made of a data set, and what its fingerprint says."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from common.data import (
    DataRequest,
    Dataset,
    extend,
    hold_out,
    limit,
    open_data,
    pictures,
    remap,
    subset,
)
from common.data.canonical import by_content
from common.data.dataset import whole
from common.data.fingerprint import fingerprint
from common.data.parts import assemble, coloured
from common.data.split import raw, stratified
from common.errors import Refused

# scikit-learn's digits under this library's scaling and split.  Were it to change,
# every published figure on digits would be of another data set.
DIGITS = "7236463836802f2afb556c325a38fe6a36a0ad780cd3ef9ca4e285abe6bdd675"


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return open_data(DataRequest(source="digits"), cache=cache)


@pytest.fixture
def toy() -> Dataset:
    return pictures((6, 5, 3), 4, 40, seed=1)


def test_the_digits_are_the_published_ones(digits):
    assert digits.fingerprint == DIGITS


def test_the_digits_have_1000_training_and_797_test_images(digits):
    assert (len(digits.train), len(digits.test), digits.image) == (1000, 797, (8, 8, 1))


def test_the_digits_use_the_whole_range_of_grey(digits):
    pixels = digits.train.take(slice(None))
    assert set(np.unique(pixels)) == {(255 * v + 8) // 16 for v in range(17)}


def test_no_digit_is_in_both_parts(digits):
    assert not set(digits.train.rows) & set(digits.test.rows)


def test_the_split_keeps_the_classes_in_proportion(digits):
    train, test = (np.bincount(p.labels) for p in (digits.train, digits.test))
    wanted = (train + test) * 1000 / 1797
    assert np.abs(train - wanted).max() <= 1


def test_random_words_are_those_of_philox_on_every_numpy():
    assert raw(0, 2).tolist() == [213000021201967259, 4455796210202625458]


def test_a_stratified_choice_has_every_class_as_soon_as_it_can():
    labels = np.repeat(np.arange(5), (1, 2, 3, 50, 400))
    assert len(set(labels[stratified(labels, 5, 0)])) == 5


def test_a_smaller_choice_is_part_of_a_larger_one():
    labels = np.repeat(np.arange(3), (10, 20, 30))
    small, large = stratified(labels, 12, 0), stratified(labels, 31, 0)
    assert set(small) < set(large)


def test_a_limit_says_what_it_left(digits):
    assert limit(digits, 200).note == "200 of 1,000 training images"


def test_a_limit_keeps_the_classes_in_proportion(digits):
    counts = np.bincount(limit(digits, 200).train.labels)
    wanted = np.bincount(digits.train.labels) / 5
    assert np.abs(counts - wanted).max() <= 1


def test_a_limit_leaves_the_test_part_alone(digits):
    assert limit(digits, 200).test is digits.test


def test_a_limit_above_the_size_changes_nothing(digits):
    assert limit(digits, 5000) is digits


def test_a_limit_below_the_number_of_classes_is_refused(digits):
    with pytest.raises(Refused, match="got 9 for 10 classes; choose 10 or more"):
        limit(digits, 9)


def test_held_out_images_leave_the_training_part(digits):
    cut = hold_out(digits, 100, seed=3)
    assert sorted([*cut.train.rows, *cut.valid.rows]) == sorted(digits.train.rows)
    assert (len(cut.train), len(cut.valid)) == (900, 100)


def test_another_seed_holds_out_other_images(digits):
    first, second = (hold_out(digits, 100, seed=s).valid.rows for s in (0, 1))
    assert set(first) != set(second)


def test_a_second_validation_part_is_refused(digits):
    with pytest.raises(Refused, match="has 100 images in it"):
        hold_out(hold_out(digits, 100, seed=0), 50, seed=0)


@pytest.mark.parametrize("n", [9, 991])
def test_a_validation_part_that_leaves_a_class_out_is_refused(digits, n):
    with pytest.raises(Refused, match="choose from 10 to 990"):
        hold_out(digits, n, seed=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: limit(d, 100),
        lambda d: hold_out(d, 100, seed=0),
        lambda d: subset(d, ["3", "8"]),
        lambda d: remap(d, {"9": "6"}),
    ],
    ids=["limit", "hold_out", "subset", "remap"],
)
def test_parts_share_the_pixels(digits, change):
    assert change(digits).train.images is digits.train.images


def test_a_subset_is_labelled_in_the_order_given(toy):
    two = subset(toy, ["3", "1"])
    kept = np.isin(toy.train.labels, (1, 3))
    np.testing.assert_array_equal(two.train.take(slice(None)), _images(toy)[kept])
    np.testing.assert_array_equal(two.train.labels, (toy.train.labels[kept] == 1))
    assert two.classes == ("3", "1")


def test_an_unknown_class_is_refused_with_the_nearest(toy):
    named = remap(toy, {"0": "cat", "1": "truck"})
    with pytest.raises(Refused, match=r"got trukc; did you mean truck\?"):
        subset(named, ["cat", "trukc"])


def test_a_subset_of_one_class_is_refused(toy):
    with pytest.raises(Refused, match="two or more different classes"):
        subset(toy, ["1"])


def test_the_channel_of_grey_pictures_is_repeated(digits):
    request = DataRequest(source="digits", colour=True)
    found = open_data(request)
    assert found.image == (8, 8, 3)
    assert found.fingerprint != digits.fingerprint
    assert "its channel three times" in found.note
    for grey, colour in ((digits.train, found.train), (digits.test, found.test)):
        every = slice(None)
        np.testing.assert_array_equal(
            colour.take(every), grey.take(every).repeat(3, axis=3)
        )
        np.testing.assert_array_equal(colour.labels, grey.labels)


def test_there_is_no_channel_to_repeat_in_colours():
    colours = pictures((4, 4, 3), 2, 8, 0)
    with pytest.raises(Refused, match=r"only grey pictures .* has 3; leave"):
        coloured(colours)


def test_merged_classes_take_the_place_of_the_first(toy):
    merged = remap(toy, {"1": "odd", "3": "odd"})
    assert merged.classes == ("0", "odd", "2")
    wanted = np.array([0, 1, 2, 1])[toy.train.labels]
    np.testing.assert_array_equal(merged.train.labels, wanted)


def test_a_new_class_is_labelled_last(toy):
    new = np.full((3, 6, 5, 3), 7, np.uint8)
    more = extend(toy, "apple", new, new[:2])
    assert more.classes == ("0", "1", "2", "3", "apple")
    np.testing.assert_array_equal(more.train.take(more.train.labels == 4), new)
    assert (more.test.labels == 4).sum() == 2


def test_a_new_class_of_another_shape_is_refused(toy):
    with pytest.raises(Refused, match=r"shape \(6, 5, 3\), got \(5, 6, 3\)"):
        extend(toy, "apple", *[np.zeros((1, 5, 6, 3), np.uint8)] * 2)


def test_the_fingerprint_is_of_the_content_not_of_where_it_lies(toy):
    chosen = limit(toy, 20)
    copied = assemble(
        "other", toy.classes, whole(_images(chosen), chosen.train.labels), toy.test
    )
    assert copied.fingerprint == chosen.fingerprint


@pytest.mark.parametrize("what", ["pixel", "label", "class name", "split"])
def test_the_fingerprint_sees_every_change(toy, what):
    images, labels = _images(toy), toy.train.labels.copy()
    classes, test = list(toy.classes), toy.test
    if what == "pixel":
        images[-1, -1, -1, -1] ^= 1
    elif what == "label":
        labels[-1] = (labels[-1] + 1) % 4
    elif what == "class name":
        classes[-1] = "four"
    else:  # the same pictures in the same order, cut a picture earlier
        given = np.concatenate([images[-1:], test.take(slice(None))])
        test = whole(given, np.concatenate([labels[-1:], test.labels]))
        images, labels = images[:-1], labels[:-1]
    changed = fingerprint(classes, (whole(images, labels), toy.valid, test))
    assert changed != toy.fingerprint


def test_the_fingerprint_sees_large_parts_to_their_end():
    images = np.zeros((3, 1500, 1500, 1), np.uint8)  # several inner blocks
    labels = np.array([0, 1, 0])
    parts = [whole(images, labels)]
    before = fingerprint("ab", parts)
    images[1, -1, -1, -1] = 1
    assert fingerprint("ab", parts) != before


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_without_a_class_is_refused(toy, label):
    labels = toy.train.labels.copy()
    labels[0] = label
    with pytest.raises(Refused, match=r"must be in \[0, 4\) for 4 classes, got"):
        assemble("bad", toy.classes, whole(_images(toy), labels), toy.test)


def test_pictures_are_the_same_bytes_everywhere():
    wanted = "e646c98e5c10da4f61fb014f7fa5def98c329def21824dc68755291f95d18fa6"
    assert pictures((8, 8, 1), 10, 40, seed=0).fingerprint == wanted


def test_pictures_of_another_seed_are_others():
    first, second = (pictures((8, 8, 1), 10, 40, seed=s) for s in (0, 1))
    assert first.fingerprint != second.fingerprint


def test_pictures_can_be_told_apart_by_class():
    made = pictures((8, 8, 3), 5, 200, seed=0)
    train, test = _images(made).astype(float), made.test.take(slice(None)).astype(float)
    means = np.stack([train[made.train.labels == k].mean(axis=0) for k in range(5)])
    distance = ((test[:, None] - means) ** 2).sum(axis=(2, 3, 4))
    assert (distance.argmin(axis=1) == made.test.labels).mean() > 0.8


def test_sorting_by_content_forgets_any_shuffle():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (50, 2, 2, 1), dtype=np.uint8)  # many are equal
    labels = rng.integers(0, 300, 50)
    shuffle = rng.permutation(50)
    first, second = (
        by_content(images, labels),
        by_content(images[shuffle], labels[shuffle]),
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sorting_by_content_is_lexicographic():
    images = np.array([[2, 0], [0, 255], [0, 3]], np.uint8).reshape(3, 1, 2, 1)
    ordered, labels = by_content(images, np.array([0, 1, 2]))
    assert ordered.reshape(3, 2).tolist() == [[0, 3], [0, 255], [2, 0]]
    assert labels.tolist() == [2, 1, 0]


def test_a_request_survives_json():
    asked = DataRequest(source="digits", limit=5, size=(3, 4), skip_bad=True)
    assert DataRequest.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked
    assert asked.to_dict() == asdict(asked)


def test_a_request_can_limit_and_hold_out(tmp_path):
    asked = DataRequest(source="digits", limit=200, valid=50)
    got = open_data(asked, cache=tmp_path)
    assert (len(got.train), len(got.valid), len(got.test)) == (150, 50, 797)
    assert got.note == (
        "200 of 1,000 training images; 50 training images held out for validation"
    )


def test_an_unknown_source_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(Refused, match=r"got digist; did you mean digits\?"):
        open_data(DataRequest(source="digist"), cache=tmp_path)


def test_public_data_that_are_not_prepared_say_how(tmp_path):
    with pytest.raises(Refused, match="run twintrack data prepare mnist"):
        open_data(DataRequest(source="mnist"), cache=tmp_path)


def _images(data: Dataset) -> np.ndarray:
    return data.train.take(slice(None))

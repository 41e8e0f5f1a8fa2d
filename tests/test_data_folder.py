"""A folder of pictures is a data set, or is refused in one line that says why."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data import DataRequest, Dataset, open_data
from common.errors import Refused
from common.photos import decode

SIZE = (4, 6)  # height, width: not square, so that a swap is seen


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "photos"


def add(path: Path, colour=(10, 20, 30), size=SIZE, mode="RGB") -> Path:
    """One picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], colour).save(path)
    return path


def fill(root: Path, *classes: str, n: int = 5) -> Path:
    """`n` pictures of each class, told apart by their first two channels."""
    for label, name in enumerate(classes):
        for i in range(n):
            add(root / name / f"{i:02}.png", (label, i, 0))
    return root


def opened(root: Path, **asked) -> Dataset:
    request = DataRequest(source=str(root), **asked)
    return open_data(request, cache=root.parent / "cache")


def test_classes_and_files_are_in_the_order_of_their_names(root):
    data = opened(fill(root, "dog", "ant", "cat"))
    assert data.classes == ("ant", "cat", "dog")
    # "dog" was filled with label 0, "ant" with 1, "cat" with 2.
    assert data.train.images[::5, 0, 0, 0].tolist() == [1, 2, 0]
    assert data.train.images[:5, 0, 0, 1].tolist() == [0, 1, 2, 3, 4]


def test_a_given_split_is_kept(root):
    fill(root / "train", "cat", "dog", n=3)
    fill(root / "test", "cat", "dog", n=2)
    data = opened(root)
    assert np.bincount(data.train.labels).tolist() == [3, 3]
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert data.note == ""


def test_without_a_split_one_in_five_of_each_class_tests_and_the_note_says_so(root):
    fill(root, "cat", n=10)
    fill(root, "cat", "dog", n=5)
    data = opened(root)
    assert np.bincount(data.test.labels).tolist() == [2, 1]
    assert np.bincount(data.train.labels).tolist() == [8, 4]
    assert data.note == "one in 5 of each class held out for testing"


def test_the_split_of_a_folder_is_the_same_every_time(root, tmp_path):
    fill(root, "cat", "dog", n=20)
    request = DataRequest(source=str(root))
    first, second = (open_data(request, cache=tmp_path / name) for name in "ab")
    assert first.fingerprint == second.fingerprint


def test_a_class_may_be_called_train(root):
    assert opened(fill(root, "bus", "train")).classes == ("bus", "train")


def test_hidden_files_are_not_looked_at(root):
    fill(root, "cat", "dog")
    (root / "cat" / ".DS_Store").write_text("no picture")
    (root / ".git").mkdir()
    assert len(opened(root).train) == 8


def test_grey_pictures_have_one_channel(root):
    for name in ("a", "b"):
        for i in range(2):
            add(root / name / f"{i}.png", i, mode="L")
    assert opened(root).image == (*SIZE, 1)


def test_one_coloured_picture_makes_all_of_them_rgb(root):
    for name in ("a", "b"):
        for i in range(2):
            add(root / name / f"{i}.png", 7, mode="L")
    add(root / "b" / "9.png", (1, 2, 3))
    data = opened(root)
    assert data.image == (*SIZE, 3)
    assert data.train.images[0, 0, 0].tolist() == [7, 7, 7]


def test_black_and_white_pictures_become_0_and_255(root):
    for name in ("a", "b"):
        add(root / name / "0.png", 0, mode="1")
        add(root / name / "1.png", 1, mode="1")
    assert opened(root).train.images[:2, 0, 0, 0].tolist() == [0, 255]


def test_sixteen_bit_grey_is_scaled_and_not_clipped(root):
    for name in ("cat", "dog"):
        for i in range(2):
            path = root / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            ramp = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4) + i
            Image.fromarray(np.minimum(ramp, 65535 - i)).save(path)
    data = opened(root)
    assert data.image == (4, 4, 1)
    assert len(np.unique(data.train.images[0])) == 16


def test_a_link_to_nothing_is_refused_by_name_or_skipped(root):
    fill(root, "cat", "dog")
    (root / "cat" / "lost.png").symlink_to("/nowhere/at/all.png")
    with pytest.raises(Refused, match=r"lost\.png"):
        opened(root)
    data = opened(root, skip_bad=True)
    assert np.bincount(data.train.labels).tolist() == [4, 4]
    assert "1 file of 11 skipped" in data.note


def test_a_sideways_photo_is_turned_upright(root):
    fill(root, "a", "b")
    path = root / "a" / "00.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    Image.new("RGB", SIZE).save(path, exif=exif)  # stored with the sides swapped
    assert opened(root).image == (*SIZE, 3)


def test_transparent_parts_are_black(root):
    fill(root, "a", "b")
    add(root / "a" / "00.png", (255, 0, 0, 0), mode="RGBA")
    assert opened(root).train.images[0, 0, 0].tolist() == [0, 0, 0]


def test_a_changed_file_is_decoded_again(root):
    before = opened(fill(root, "a", "b")).fingerprint
    add(root / "a" / "00.png", (99, 99, 99))
    assert opened(root).fingerprint != before


def test_a_file_changed_within_its_size_is_decoded_again(root):
    fill(root, "a", "b")
    path = root / "a" / "00.bmp"
    add(path, (1, 1, 1))
    before = opened(root).fingerprint
    told = path.stat()
    add(path, (2, 2, 2))
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns + 1))
    assert path.stat().st_size == told.st_size
    assert opened(root).fingerprint != before


def test_an_added_file_is_seen(root):
    before = opened(fill(root, "a", "b"))
    add(root / "a" / "zz.png")
    after = opened(root)
    assert (
        len(after.train) + len(after.test) == len(before.train) + len(before.test) + 1
    )


def test_an_unchanged_folder_is_not_decoded_again(root, monkeypatch):
    first = opened(fill(root, "a", "b"))
    path = Path(first.train.images.base.filename)
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(decode, "_read", lambda *_: pytest.fail("decoded again"))
    opened(root)
    assert path.stat().st_mtime_ns == written


def test_a_folder_called_like_a_public_data_set_is_told_apart(tmp_path):
    assert opened(fill(tmp_path / "cifar10", "a", "b")).name == "cifar10 (folder)"


def test_pictures_of_two_sizes_are_refused_by_name(root):
    fill(root, "a", "b")
    add(root / "b" / "03.png", size=(8, 9))
    with pytest.raises(
        Refused, match=r"got 8x9 in b/03.png after 4x6 in a/00.png.*--si"
    ):
        opened(root)


def test_with_a_size_they_are_fitted_into_it_on_black(root):
    fill(root, "a", "b")
    add(root / "a" / "00.png", (200, 0, 0), size=(8, 4))
    data = opened(root, size=(4, 6))
    assert data.image == (4, 6, 3)
    # 8x4 becomes 4x2 and stands in the middle of 4x6.
    assert data.train.images[0, 0, :, 0].tolist() == [0, 0, 200, 200, 0, 0]
    assert "fitted into 4x6" in data.note


def test_a_file_that_is_no_picture_is_refused_by_name(root):
    fill(root, "a", "b")
    (root / "b" / "notes.txt").write_text("hello")
    with pytest.raises(Refused, match=r"got b/notes.txt \(not a picture\)"):
        opened(root)


def test_a_damaged_picture_is_refused_by_name(root):
    fill(root, "a", "b")
    path = add(root / "b" / "cut.png", size=(40, 60))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(Refused, match=r"got b/cut.png \(damaged"):
        opened(root)


def test_pictures_in_a_folder_among_the_pictures_are_read_and_said(root):
    fill(root, "a", "b")
    fill(root / "b", "more")
    data = opened(root)
    assert np.bincount(data.train.labels).tolist() == [4, 8]
    assert "5 pictures lie in folders of the class folders" in data.note


def test_bad_files_can_be_skipped_and_are_counted(root):
    fill(root, "a", "b")
    (root / "b" / "notes.txt").write_text("hello")
    (root / "a" / "empty.png").write_text("")
    data = opened(root, skip_bad=True)
    assert len(data.train) == 8
    assert "2 files of 12 skipped" in data.note


def test_skipping_once_does_not_skip_the_next_time(root):
    fill(root, "a", "b")
    (root / "b" / "notes.txt").write_text("hello")
    opened(root, skip_bad=True)
    with pytest.raises(Refused, match=r"got b/notes.txt"):
        opened(root)


def test_a_class_that_is_empty_after_skipping_is_refused(root):
    fill(root, "a", "b")
    (root / "c").mkdir()
    for name in "xy":
        (root / "c" / name).write_text("hello")
    with pytest.raises(Refused, match=r"c of .* has 0"):
        opened(root, skip_bad=True)


def test_a_missing_folder_is_refused(root):
    with pytest.raises(Refused, match="must be a folder that is there"):
        opened(root)


def test_an_empty_folder_is_refused(root):
    root.mkdir()
    with pytest.raises(Refused, match="has none; arrange it as ROOT/<class>"):
        opened(root)


def test_class_folders_without_pictures_are_refused(root):
    for name in "ab":
        (root / name).mkdir(parents=True)
    with pytest.raises(Refused, match="has none; arrange it as ROOT/<class>"):
        opened(root)


def test_a_single_class_is_refused(root):
    with pytest.raises(Refused, match="has only cat; add a folder"):
        opened(fill(root, "cat"))


def test_a_class_with_one_picture_is_refused(root):
    fill(root, "cat", "dog")
    add(root / "emu" / "0.png")
    with pytest.raises(
        Refused, match=r"at least two pictures in its folder, emu .* has 1"
    ):
        opened(root)


def test_a_class_that_is_not_tested_is_refused(root):
    fill(root / "train", "cat", "dog")
    fill(root / "test", "cat")
    with pytest.raises(Refused, match=r"in train and in test, dog of .* has 5, 0"):
        opened(root)


def test_training_folders_without_test_folders_are_refused(root):
    with pytest.raises(Refused, match="needs test/<class>/ too"):
        opened(fill(root / "train", "cat", "dog").parent)


@pytest.mark.parametrize("name", ["two\nlines.txt", "x\r\n.png", "folder\n/0.png"])
def test_a_refusal_is_one_line_whatever_a_file_is_called(root, name):
    fill(root, "a", "b")
    path = root / "b" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("hello")
    with pytest.raises(Refused, match=r"got b/\S+\\n") as refusal:
        opened(root)
    assert len(str(refusal.value).splitlines()) == 1

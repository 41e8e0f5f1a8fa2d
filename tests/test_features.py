"""Features in the cache: whole, of what was asked, and cheap to go on with."""

import dataclasses
import errno
import json
import os

import numpy as np
import pytest

from common.data import features, pictures
from common.data.features import BLOCKS, ROWS, Key, ensure, folder_of, open_features
from common.data.parts import hold_out
from common.errors import Refused

WIDTH = 5
KEY = Key(
    track="torch",
    weights="w",
    spec="s",
    data="",
    precision="float32",
    device="cpu",
    threads=1,
    flip=False,
    dtype="float32",
    versions={"numpy": "2"},
    code={"track_code": "c"},
)


@pytest.fixture
def data():
    return pictures((6, 4, 3), 2, 600, seed=1)  # 600 + 150 pictures: three blocks


@pytest.fixture
def key(data):
    return dataclasses.replace(KEY, data=data.fingerprint)


def function(images):
    """Numbers that tell every picture, and it from its mirror image."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return flat @ np.random.default_rng(0).normal(size=(flat.shape[1], WIDTH)) / 255


class Counting:
    """A `compute` that counts the pictures, and may die after some."""

    def __init__(self, dies_after=None):
        self.seen, self.left = 0, dies_after

    def __call__(self):
        def compute(images):
            if self.left is not None and self.seen >= self.left:
                raise KeyboardInterrupt
            self.seen += len(images)
            return function(images)

        return compute


def made(key, data, tmp_path, counting=None):
    counting = counting or Counting()
    kept = ensure(key, data, WIDTH, counting, cache=tmp_path)
    return kept, counting


def test_rows_are_the_training_then_the_test_pictures(key, data, tmp_path):
    kept, _ = made(key, data, tmp_path)
    found = open_features(kept.path, data, shared=False)
    assert found.image == (1, 1, WIDTH)
    for part, of in ((found.train, data.train), (found.test, data.test)):
        expected = function(of.take(slice(None))).astype(np.float32)
        assert np.array_equal(part.take(slice(None))[:, 0, 0], expected)
        assert np.array_equal(part.labels, of.labels)


def test_a_validation_part_has_features_too(data, tmp_path):
    """One that came with the data; rows are trained on, then tested, then chosen on."""
    data = hold_out(data, 300, seed=0)
    kept, counting = made(
        dataclasses.replace(KEY, data=data.fingerprint), data, tmp_path
    )
    found = open_features(kept.path, data, shared=False)
    assert counting.seen == 750
    for part in ("train", "test", "valid"):
        mine, of = getattr(found, part), getattr(data, part)
        expected = function(of.take(slice(None))).astype(np.float32)
        assert np.array_equal(mine.take(slice(None))[:, 0, 0], expected)
        assert np.array_equal(mine.labels, of.labels)


def test_a_mirror_image_is_the_second_view(key, data, tmp_path):
    kept, _ = made(dataclasses.replace(key, flip=True), data, tmp_path)
    found = open_features(kept.path, data, shared=False)
    images = data.test.take(slice(None))
    assert found.image == (1, 2, WIDTH)
    rows = found.test.take(slice(None))
    assert np.array_equal(rows[:, 0, 0], function(images).astype(np.float32))
    mirrored = function(images[:, :, ::-1]).astype(np.float32)
    assert np.array_equal(rows[:, 0, 1], mirrored)


def test_nothing_is_computed_twice(key, data, tmp_path):
    made(key, data, tmp_path)
    kept, counting = made(key, data, tmp_path)
    assert (counting.seen, kept.computed) == (0, 0)
    assert kept.bytes == 750 * WIDTH * 4


def test_reading_writes_nothing_and_takes_no_lock(key, data, tmp_path):
    """So a cache may be read-only."""
    kept, _ = made(key, data, tmp_path)
    (kept.path.parent / f".{kept.path.name}.lock").unlink()
    before = sorted(tmp_path.rglob("*"))
    made(key, data, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_features_in_a_shared_cache_are_used(key, data, tmp_path, monkeypatch):
    made(key, data, tmp_path / "shared")
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("TWINTRACK_SHARED_CACHE", str(tmp_path / "shared"))
    kept, counting = made(key, data, None)
    assert (counting.seen, kept.computed) == (0, 0)
    assert kept.path.is_relative_to(tmp_path / "shared")
    assert not (tmp_path / "own").exists()
    blocks = (kept.path / BLOCKS).read_bytes()
    (kept.path / BLOCKS).write_bytes(blocks[:-20])  # no longer whole: computed here
    kept, counting = made(key, data, None)
    assert counting.seen == 750
    assert kept.path.is_relative_to(tmp_path / "own")


def test_what_was_cut_off_goes_on_after_its_last_whole_block(key, data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        made(key, data, tmp_path, Counting(dies_after=256))
    with pytest.raises(Refused, match="has 1 of 3 blocks"):
        open_features(folder_of(key, cache=tmp_path), data, shared=False)
    kept, counting = made(key, data, tmp_path)
    assert counting.seen == kept.computed == 750 - 256
    whole, _ = made(key, data, tmp_path / "other")
    assert (kept.path / ROWS).read_bytes() == (whole.path / ROWS).read_bytes()


@pytest.mark.parametrize(
    "damage", ["rows cut", "rows changed", "line cut", "line of other bytes"]
)
def test_a_damaged_block_alone_is_computed_again(damage, key, data, tmp_path):
    kept, _ = made(key, data, tmp_path)
    content = (kept.path / ROWS).read_bytes()
    if damage == "rows cut":
        (kept.path / ROWS).write_bytes(content[:-3])
    elif damage == "rows changed":
        (kept.path / ROWS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        lines = (kept.path / BLOCKS).read_bytes()
        end = b"" if damage == "line cut" else b'\xff\n{"start": 1e400}'
        (kept.path / BLOCKS).write_bytes(lines[:-20] + end)
    with pytest.raises(Refused, match="has 2 of 3 blocks as they were written; repeat"):
        open_features(kept.path, data, shared=False)
    _, counting = made(key, data, tmp_path)
    assert counting.seen == 750 - 512
    assert (kept.path / ROWS).read_bytes() == content
    assert len(open_features(kept.path, data, shared=False).train) == 600


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Key)])
def test_other_features_have_another_place(field, key):
    special = {"flip": True, "dtype": "float16", "threads": 2}
    other = special.get(field, {} if field in ("versions", "code") else "other")
    changed = dataclasses.replace(key, **{field: other})
    assert folder_of(changed) != folder_of(key)


def test_features_of_other_pictures_are_refused(key, data, tmp_path):
    kept, _ = made(key, data, tmp_path)
    with pytest.raises(Refused, match="has those of others"):
        open_features(kept.path, pictures((6, 4, 3), 2, 600, seed=2), shared=False)


def test_tracks_share_a_fingerprint_unless_they_share_the_features(key, data, tmp_path):
    other = dataclasses.replace(key, track="tensorflow", versions={})
    paths = [made(k, data, tmp_path)[0].path for k in (key, other)]
    own = [open_features(p, data, shared=False).fingerprint for p in paths]
    assert own[0] == own[1]
    assert open_features(paths[0], data, shared=True).fingerprint not in own


def test_half_precision_is_half_the_size_and_refuses_what_does_not_fit(
    key, data, tmp_path
):
    half = dataclasses.replace(key, dtype="float16")
    kept, _ = made(half, data, tmp_path)
    assert kept.bytes == 750 * WIDTH * 2
    with pytest.raises(Refused, match=r"must fit float16, got values up to .*float32"):
        ensure(
            dataclasses.replace(half, weights="huge"),
            data,
            WIDTH,
            lambda: lambda images: function(images) * 1e7,
            cache=tmp_path,
        )


def test_a_full_disk_is_one_line_and_keeps_whole_blocks(
    key, data, tmp_path, monkeypatch
):
    real = os.pwrite
    left = [2]

    def full(file, content, where):
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return real(file, content, where)

    monkeypatch.setattr(features.os, "pwrite", full)
    with pytest.raises(Refused, match="needs room"):
        made(key, data, tmp_path)
    monkeypatch.undo()
    _, counting = made(key, data, tmp_path)
    assert counting.seen == 750 - 256


def test_its_description_is_readable(key, data, tmp_path):
    kept, _ = made(key, data, tmp_path)
    about = json.loads((kept.path / "about.json").read_text())
    assert about["shape"] == [750, 1, WIDTH]
    (kept.path / "about.json").write_text("{}")
    with pytest.raises(Refused, match=r"need their about\.json"):
        open_features(kept.path, data, shared=False)

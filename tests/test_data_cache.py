"""The cache is written once, shared, checked at every load, and never half made."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data import DataRequest, open_data
from common.data import fingerprint as fingerprints
from common.data.cache import CacheWarning, bytes_of, locked
from common.data.canonical import Canonical
from common.data.sources import entry_path, is_prepared, store_canonical
from common.errors import Refused

FILES = ("images.npy", "labels.npy", "split.npy", "meta.json")


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of two classes, five pictures each."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(5):
            pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def canonical(n: int = 40, side: int = 8, seed: int = 0) -> Canonical:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    labels = np.arange(n) % 10
    names = [str(k) for k in range(10)]
    return Canonical.of(
        images, labels, images[: n // 5], labels[: n // 5], classes=names
    )


def test_what_is_cached_is_memory_mapped_by_all_parts(photos, cache):
    data = open_data(DataRequest(source=str(photos)), cache=cache)
    assert isinstance(data.train.images.base, np.memmap)
    assert data.train.images is data.test.images


def test_a_loaded_data_set_cannot_be_written_to(photos, cache):
    data = open_data(DataRequest(source=str(photos)), cache=cache)
    with pytest.raises(ValueError, match="read-only"):
        data.train.images[0] = 0


def test_canonical_data_come_back_with_their_fingerprint(cache):
    made = canonical()
    store_canonical("cifar10", made, cache=cache)
    got = open_data(DataRequest(source="cifar10"), cache=cache)
    assert got.fingerprint == made.fingerprint
    np.testing.assert_array_equal(got.test.take(slice(None)), made.test_images)


def test_loading_copies_no_pixels(cache):
    store_canonical("cifar10", canonical(4000, 32), cache=cache)  # 14.7 MB
    tracemalloc.start()
    open_data(DataRequest(source="cifar10"), cache=cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5e6


def test_loading_hashes_every_pixel_once(cache, monkeypatch):
    """The promise is half a second for CIFAR-10: one pass over the pixels, no more."""
    made = canonical(5000, 32)
    store_canonical("cifar10", made, cache=cache)
    hashed = []

    def pixels(part, block, own=fingerprints._pixels):
        found = own(part, block)
        hashed.append(found.size)
        return found

    monkeypatch.setattr(fingerprints, "_pixels", pixels)
    open_data(DataRequest(source="cifar10"), cache=cache)
    assert sum(hashed) == made.train_images.size + made.test_images.size


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_seen_and_mended(photos, cache, file, where):
    asked = DataRequest(source=str(photos))
    sound = open_data(asked, cache=cache).fingerprint
    path = entry_path(asked, cache=cache) / file
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.warns(CacheWarning, match="was damaged"):
        assert open_data(asked, cache=cache).fingerprint == sound


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_seen_and_mended(photos, cache, file):
    asked = DataRequest(source=str(photos))
    sound = open_data(asked, cache=cache).fingerprint
    path = entry_path(asked, cache=cache) / file
    os.truncate(path, path.stat().st_size - 1)
    with pytest.warns(CacheWarning, match="was damaged"):
        assert open_data(asked, cache=cache).fingerprint == sound


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_seen_and_mended(photos, cache, file):
    asked = DataRequest(source=str(photos))
    sound = open_data(asked, cache=cache).fingerprint
    (entry_path(asked, cache=cache) / file).unlink()
    with pytest.warns(CacheWarning, match="was damaged"):
        assert open_data(asked, cache=cache).fingerprint == sound


def test_damaged_public_data_are_refused_with_the_command_that_mends_them(cache):
    store_canonical("mnist", canonical(), cache=cache)
    os.truncate(cache / "mnist" / "images.npy", 500)
    with pytest.raises(Refused, match=r"mnist in .* is damaged .* data prepare mnist"):
        open_data(DataRequest(source="mnist"), cache=cache)


def test_labels_out_of_range_are_refused():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    labels = np.array([0, 1, 2])
    with pytest.raises(Refused, match="values from 0 to 2"):
        Canonical.of(images, labels, images, labels, classes="ab")


def test_rewriting_an_entry_leaves_open_data_readable(cache):
    """Other pictures of the same sizes: what is held is of the first to the end."""
    made, other = canonical(), canonical(seed=1)
    store_canonical("cifar10", made, cache=cache)
    held = open_data(DataRequest(source="cifar10"), cache=cache)
    store_canonical("cifar10", other, cache=cache)
    np.testing.assert_array_equal(held.train.take(slice(None)), made.train_images)
    fresh = open_data(DataRequest(source="cifar10"), cache=cache)
    np.testing.assert_array_equal(fresh.train.take(slice(None)), other.train_images)


def test_two_processes_that_prepare_at_once_both_succeed(photos, cache):
    code = (
        "import sys; from pathlib import Path\n"
        "from common.data import DataRequest, open_data\n"
        "asked = DataRequest(source=sys.argv[1])\n"
        "print(open_data(asked, cache=Path(sys.argv[2])).fingerprint)"
    )
    command = [sys.executable, "-c", code, str(photos), str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert len(set(told)) == 1
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_full_disk_is_refused_and_leaves_nothing_half_made(photos, cache):
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from common.data import DataRequest, open_data\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "try: open_data(DataRequest(source=sys.argv[1]), cache=Path(sys.argv[2]))\n"
        "except ValueError as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(photos), str(cache)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("Refused the cache needs room")
    assert told.count("\n") == 1
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_is_no_folder_is_refused(photos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="must be a folder that can be written to"):
        open_data(DataRequest(source=str(photos)), cache=tmp_path / "file")


def test_what_a_killed_builder_left_is_cleared_away(photos, cache):
    asked = DataRequest(source=str(photos))
    path = entry_path(asked, cache=cache)
    stale = cache / f".{path.name}.tmp-killed"
    stale.mkdir(parents=True)
    open_data(asked, cache=cache)
    assert not stale.exists()


def test_the_cache_folder_can_be_set_in_the_environment(photos, cache, monkeypatch):
    monkeypatch.setenv("TWINTRACK_CACHE", str(cache))
    asked = DataRequest(source=str(photos))
    open_data(asked)
    assert entry_path(asked).parent == cache
    assert entry_path(asked).is_dir()


# --- shared machines ----------------------------------------------------------------

NOBODY = 65534


@contextmanager
def second_user():
    """Another user, who may not write; whoever runs the tests, if that is not root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def read_only(folder, mode=0o222):
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~mode)


@pytest.fixture
def place():
    """A folder that every user may look into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="twintrack-tests-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def shared(place, photos, monkeypatch):
    """A shared cache that is only to be read, and a photos folder that is in it."""
    root = shutil.copytree(photos, place / "photos")
    cache = place / "shared"
    store_canonical("cifar10", canonical(), cache=cache)
    open_data(DataRequest(source=str(root)), cache=cache)
    read_only(cache)
    monkeypatch.setenv("TWINTRACK_SHARED_CACHE", str(cache))
    monkeypatch.setenv("TWINTRACK_CACHE", str(place / "own"))
    return cache, root


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_an_entry_has_the_modes_of_the_umask(umask, photos, cache):
    before = os.umask(umask)
    try:
        open_data(DataRequest(source=str(photos)), cache=cache)
        open_data(DataRequest(source=str(photos), size=(2, 2)), cache=cache)
    finally:
        os.umask(before)
    for path in (cache, *cache.rglob("*")):
        most = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == most & ~umask, path


def test_a_second_user_reads_a_cache_that_is_read_only(shared, monkeypatch):
    cache, root = shared
    monkeypatch.setenv("TWINTRACK_CACHE", str(cache))
    before = {path.name for path in cache.rglob("*")}
    with second_user():
        assert len(open_data(DataRequest(source="cifar10")).train) == 40
        assert len(open_data(DataRequest(source=str(root))).train) == 8
    assert {path.name for path in cache.rglob("*")} == before


def test_what_must_be_written_to_a_read_only_cache_is_refused_with_the_way_out(
    shared, monkeypatch
):
    cache, root = shared
    asked = DataRequest(source=str(root), size=(2, 2))
    monkeypatch.setenv("TWINTRACK_CACHE", str(cache))
    with second_user(), pytest.raises(Refused, match="can be written to") as refusal:
        open_data(asked)
    assert "set TWINTRACK_CACHE to a folder of yours" in str(refusal.value)
    assert "TWINTRACK_SHARED_CACHE to one that is only to be read" in str(refusal.value)
    monkeypatch.setenv("TWINTRACK_CACHE", str(cache.parent / "own"))  # as it says
    assert open_data(asked).image == (2, 2, 3)


def test_a_shared_cache_is_looked_in_and_not_copied(shared):
    cache, root = shared
    for source in ("cifar10", str(root)):
        data = open_data(DataRequest(source=source))
        assert Path(data.train.images.base.filename).is_relative_to(cache)
        assert is_prepared(DataRequest(source=source))
    assert not (cache.parent / "own").exists()


def test_ones_own_cache_comes_first(shared):
    cache, _ = shared
    other = canonical(seed=1)
    store_canonical("cifar10", other, cache=cache.parent / "own")
    assert open_data(DataRequest(source="cifar10")).fingerprint == other.fingerprint


def test_a_cache_that_is_named_stands_alone(shared, tmp_path):
    with pytest.raises(Refused, match="must be prepared once"):
        open_data(DataRequest(source="cifar10"), cache=tmp_path / "named")


def test_a_damaged_shared_entry_is_named_and_not_used(shared):
    cache, root = shared
    path = entry_path(DataRequest(source=str(root)), cache=cache)
    (path / "labels.npy").chmod(0o644)
    os.truncate(path / "labels.npy", 9)
    with pytest.warns(CacheWarning, match=f"{path} was damaged .* is built again"):
        data = open_data(DataRequest(source=str(root)))
    assert Path(data.train.images.base.filename).is_relative_to(cache.parent / "own")


def test_a_sound_shared_entry_stands_in_for_a_damaged_one(shared):
    cache, _ = shared
    own = cache.parent / "own"
    store_canonical("cifar10", canonical(), cache=own)
    os.truncate(own / "cifar10/images.npy", 9)
    with pytest.warns(
        CacheWarning, match=f"own/cifar10 was damaged .*; {cache}/cifar10"
    ):
        assert len(open_data(DataRequest(source="cifar10")).train) == 40


@pytest.mark.parametrize("what", ["missing", "closed", "a file"])
def test_a_shared_cache_that_cannot_be_read_is_none(what, shared, monkeypatch):
    cache, root = shared
    if what == "closed":
        cache.chmod(0)
    else:
        monkeypatch.setenv("TWINTRACK_SHARED_CACHE", str(cache / what))
    if what == "a file":
        monkeypatch.setenv("TWINTRACK_SHARED_CACHE", str(root / "cat/0.png"))
    own = cache.parent / "own"
    own.mkdir(mode=0o777)
    own.chmod(0o777)
    with second_user():
        assert len(open_data(DataRequest(source=str(root))).train) == 8
        with pytest.raises(Refused, match=f"it is not in {own} or "):
            open_data(DataRequest(source="cifar10"))


def test_users_of_one_cache_lock_each_others_files(shared):
    """A lock that another user made may be opened for reading only."""
    cache, root = shared
    cache.chmod(0o777)
    asked = DataRequest(source=str(root), size=(3, 3))
    path = entry_path(asked, cache=cache)
    with locked(path):
        pass
    with second_user():
        assert open_data(asked, cache=cache).image == (3, 3, 3)


def test_a_lock_that_was_removed_meanwhile_is_not_held(cache, monkeypatch):
    """Else two would build at once: one with the old file, one with a new one."""
    opened = []

    def open_lock(name, own=os.open):
        opened.append(own(name, os.O_RDWR | os.O_CREAT, 0o666))
        if len(opened) == 1:
            name.unlink()
        return opened[-1]

    monkeypatch.setattr("common.data.cache._opened_lock", open_lock)
    with locked(cache / "photos"):
        assert len(opened) == 2
        assert (cache / ".photos.lock").exists()


def test_bytes_are_those_of_the_files(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(bytes(1000))
    (tmp_path / "a/d").write_bytes(bytes(24))
    (tmp_path / "a/link").symlink_to(tmp_path / "a/d")
    assert bytes_of(tmp_path / "a") == 1024
    assert bytes_of(tmp_path / "none") == 0

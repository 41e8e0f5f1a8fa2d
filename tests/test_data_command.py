"""`twintrack data` lists, prepares and verifies; a child downloads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import CheckFailed, data_list, prepare, remove, verify
from benchmarks.request import opened, size_of
from common.data import DataRequest, open_data
from common.data.canonical import Canonical
from common.data.sources import store_canonical
from common.errors import Refused

# An address at which nobody listens: downloads fail at once, wherever the test runs.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (4, 4), i).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def store(cache: Path, name: str) -> None:
    images, labels = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1])
    made = Canonical.of(images, labels, images, labels, classes="ab")
    store_canonical(name, made, cache=cache)


def test_the_list_names_what_can_be_had(cache):
    rows = data_list(cache=cache)["data"]
    assert [row["name"] for row in rows] == ["digits", "mnist", "cifar10"]
    assert not any(row["prepared"] for row in rows)
    store(cache, "mnist")
    rows = data_list(cache=cache)["data"]
    assert [row["prepared"] for row in rows] == [False, True, False]


def test_the_list_shows_folders_that_were_decoded(photos, cache):
    (made,) = prepare(photos, cache=cache)["data"]
    row = data_list(cache=cache)["data"][-1]
    assert row["name"] == "photos"
    assert row["image"] == [4, 4, 1]
    assert row["fingerprint"] == made["fingerprint"]
    assert row["prepared"]


def test_the_list_is_also_json(cache, tmp_path):
    data_list(cache=cache, json=tmp_path / "list.json")
    told = json.loads((tmp_path / "list.json").read_text())
    assert [row["train"] for row in told["data"]] == [1000, 60000, 50000]


def test_what_is_sound_is_verified(photos, cache):
    prepare(str(photos), cache=cache)
    assert [row["state"] for row in verify(cache=cache)["data"]] == ["sound"]


def test_a_folder_is_verified_by_its_path(photos, cache):
    prepare(str(photos), size="2x2", cache=cache)
    assert verify(photos, cache=cache)["data"][0]["image"] == [2, 2, 1]


def test_damage_fails_the_check_by_name(cache):
    store(cache, "mnist")
    os.truncate(cache / "mnist" / "images.npy", 10)
    with pytest.raises(CheckFailed, match="damaged: mnist; run"):
        verify(cache=cache)


def test_a_folder_that_changed_is_told(photos, cache):
    prepare(str(photos), cache=cache)
    (photos / "cat" / "0.png").unlink()
    assert verify(cache=cache)["data"][0]["state"].startswith("changed")


def test_what_is_not_there_cannot_be_verified(cache):
    with pytest.raises(Refused, match="run twintrack data prepare cifar10"):
        verify("cifar10", cache=cache)


def test_what_is_prepared_is_not_downloaded_again(cache, monkeypatch):
    store(cache, "cifar10")
    assert prepare("cifar10", cache=cache)["data"][0]["train"] == 4
    monkeypatch.setenv("TWINTRACK_CACHE", str(cache))
    assert len(opened(DataRequest(source="cifar10")).train) == 4


def test_an_unknown_track_is_refused(cache):
    with pytest.raises(Refused, match="torch, tensorflow or both, got jax"):
        prepare("mnist", track="jax", cache=cache)


@pytest.mark.parametrize("text", ["32", "axb", "1x2x3"])
def test_a_size_is_two_numbers(text):
    with pytest.raises(Refused, match=f"got {text}; write it as 32x32"):
        size_of(text)


@pytest.mark.parametrize("size", ["0x4", "0", 0])
def test_a_size_must_be_positive(size, cache):
    with pytest.raises(Refused, match=r"(pixels a side|in pixels), got .*0.*one like"):
        prepare("digits", size=size, cache=cache)


@pytest.mark.parametrize("size", ["2", 2, "2x2"])
def test_a_size_is_fitted_or_resized_to(size, photos, cache, tmp_path):
    """HxW fits, N resizes, as everywhere; and it is said which."""
    (row,) = prepare(photos, size=size, cache=cache)["data"]
    assert row["image"] == [2, 2, 1]
    wanted = "fitted into 2x2" if size == "2x2" else "kept as 4x4, resized to 2x2"
    assert wanted in row["note"]


def test_pictures_of_several_sizes_are_fitted_into_one_number(photos, cache):
    Image.new("L", (6, 5)).save(photos / "cat" / "other.png")
    (row,) = prepare(photos, size="3", cache=cache)["data"]
    assert row["image"] == [3, 3, 1]
    assert "fitted into 3x3" in row["note"]


def test_public_pictures_are_not_fitted_without_a_word(cache):
    with pytest.raises(Refused, match="only a folder's photos are fitted into 4x4"):
        prepare("digits", size="4x4", cache=cache)
    assert prepare("digits", size="4", cache=cache)["data"][0]["image"] == [4, 4, 1]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *[
            (name, "cifar10")
            for name in ("CIFAR10", "cifar-10", "CIFAR_10", "Cifar 10")
        ],
        *[("MNIST", "mnist"), ("mnits", "mnist"), ("Digits", "digits")],
    ],
)
def test_a_name_spelt_otherwise_suggests_the_right_one(given, meant, cache, tmp_path):
    for ask in (open_data, opened):
        with pytest.raises(Refused, match=f"got {given}; did you mean {meant}\\?"):
            ask(DataRequest(source=given))
    with pytest.raises(Refused, match=f"did you mean {meant}"):
        prepare(given, cache=cache)


def test_class_names_are_shown(photos, cache, tmp_path, capsys):
    """A few on the screen, all in the JSON."""
    for name in "efghijklmn":
        (photos / name).mkdir()
        for i in range(2):
            Image.new("L", (4, 4)).save(photos / name / f"{i}.png")
    names = ["cat", "dog", *"efghijklmn"]
    told = tmp_path / "told.json"
    for ask in (lambda **to: prepare(photos, **to), data_list, verify):
        ask(cache=cache, json=told)
        row = json.loads(told.read_text())["data"][-1]
        assert (row["class_names"], row["classes"]) == (names, 12)
        shown = "photos: cat, dog, e, f, g, h, i, j, k, l and 2 more"
        assert shown in capsys.readouterr().out


def test_sizes_are_shown_of_each_and_of_all(photos, cache, tmp_path, capsys):
    prepare(photos, cache=cache)
    store(cache, "mnist")
    (cache / "downloads").mkdir()
    (cache / "downloads/cifar-10-python.tar.gz").write_bytes(bytes(2_000_000))
    capsys.readouterr()
    found = data_list(cache=cache)
    sizes = {row["name"]: row["bytes"] for row in found["data"]}
    files = (p.stat().st_size for p in (cache / "mnist").iterdir())
    assert sizes["mnist"] == sum(files) > 0
    assert sizes["cifar10"] == 0
    whole = found["cache"]
    assert whole["bytes"] == sum(sizes.values()) + 2_000_000
    assert {"name": "downloads", "bytes": 2_000_000} in whole["parts"]
    said = " ".join(capsys.readouterr().out.split())
    assert f"Cache: {cache}, 2.0 MB; of it downloads 2.0 MB" in said


def test_a_shared_cache_is_listed_as_what_it_is(photos, tmp_path, monkeypatch, capsys):
    shared, own = tmp_path / "shared", tmp_path / "own"
    store(shared, "mnist")
    prepare(photos, cache=shared)
    monkeypatch.setenv("TWINTRACK_CACHE", str(own))
    monkeypatch.setenv("TWINTRACK_SHARED_CACHE", f"{shared}{os.pathsep}{tmp_path}/none")
    found = data_list()
    rows = {row["name"]: row for row in found["data"]}
    assert rows["mnist"]["prepared"]
    assert rows["mnist"]["cache"] == rows["photos"]["cache"] == str(shared)
    assert [one["there"] for one in found["cache"]["shared"]] == [True, False]
    said = " ".join(capsys.readouterr().out.split())
    assert f"Shared, and only read: {tmp_path}/none, which is not there" in said
    assert prepare("mnist")["data"][0]["cache"] == str(shared)  # not downloaded again
    assert [row["state"] for row in verify()["data"]] == ["sound", "sound"]
    with pytest.raises(Refused, match=f"but in {shared}, which is shared"):
        remove("mnist")
    assert not own.exists()


@pytest.fixture
def full(photos, cache):
    """A cache with some of everything, and files of others in it."""
    prepare(photos, cache=cache)
    prepare(photos, size="2x2", cache=cache)
    for name in ("mnist", "cifar10"):
        store(cache, name)
    for name in (
        *("downloads/cifar-10-batches-py/data_batch_1", "downloads/mine.pdf"),
        *(".weights/inception-v3-keras.safetensors", ".classes/ab.safetensors"),
        *(".features/torch-ab/about.json", ".features/torch-ab/features.bin"),
        *("thesis/chapter.tex", "thesis/images.npy", ".bashrc", ".work.lock"),
        *(".mnist.tmp-12345678/images.npy", ".photos-0123456789abcdef.lock"),
    ):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("what it holds")
    (cache / "linked").symlink_to(photos)
    return cache


def left(cache):
    return {p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file()}


THEIRS = {"downloads/mine.pdf", ".bashrc", ".work.lock", "thesis/chapter.tex"}
THEIRS |= {"thesis/images.npy"}


def test_all_is_removed_and_nothing_of_the_users(full, photos, tmp_path, capsys):
    before, pictures = left(full), left(photos)
    whole = data_list(cache=full)["cache"]["bytes"]
    would = remove(everything=True, dry_run=True, cache=full)
    assert "This would free" in capsys.readouterr().out
    assert left(full) == before
    found = remove(everything=True, cache=full, json=tmp_path / "told.json")
    assert found["removed"] == would["removed"]
    assert found["bytes"] == would["bytes"] == whole
    assert json.loads((tmp_path / "told.json").read_text()) == found
    assert "This freed" in capsys.readouterr().out
    assert left(full) == THEIRS
    assert left(photos) == pictures
    assert (full / "linked").is_symlink()


def test_an_empty_cache_leaves_no_folder(photos, cache):
    prepare(photos, cache=cache)
    remove(everything=True, cache=cache)
    assert not cache.exists()
    assert remove(everything=True, cache=cache)["removed"] == []


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        *[("mnist", "mnist/"), ("photos", "photos-"), ("downloads", "downloads/cifar")],
        *[("weights", ".weights"), ("classes", ".classes"), ("features", ".features")],
    ],
)
def test_what_is_named_is_removed_and_nothing_else(name, gone, full):
    before = left(full)
    named = {path for path in before if path.startswith(gone)}
    found = remove(name, cache=full)
    assert named
    after = {path for path in left(full) if not path.endswith(".lock")}
    locks = {path for path in before if path.endswith(".lock")}
    assert after == {p for p in before - named - locks if ".mnist.tmp" not in p} | (
        set() if name == "mnist" else {".mnist.tmp-12345678/images.npy"}
    )
    assert found["bytes"] > 0


def test_a_folder_is_removed_by_its_path_at_every_size(full, photos):
    assert len(remove(photos, cache=full)["removed"]) == 2
    assert len(left(photos)) == 10
    prepare(photos, cache=full)  # and can be had again


def test_a_name_that_two_folders_have_is_refused(full, photos, tmp_path):
    other = tmp_path / "other" / "photos"
    other.parent.mkdir()
    photos.rename(other)
    prepare(other, cache=full)
    with pytest.raises(
        Refused, match=f"is that of {other} and {photos}; name the path"
    ):
        remove("photos", cache=full)
    assert len(remove(other, cache=full)["removed"]) == 1


def test_a_damaged_entry_is_removed_by_its_name(full):
    (full / "mnist/meta.json").write_text("{")
    (full / "cifar10/meta.json").unlink()
    assert len(remove("mnist", cache=full)["removed"]) == 1
    assert len(remove("cifar10", cache=full)["removed"]) == 1


@pytest.mark.parametrize("words", [{}, {"name": "mnist", "everything": True}])
def test_removing_needs_a_name_or_all(words, full):
    with pytest.raises(Refused, match="must be named, or be --all"):
        remove(**words, cache=full)


@pytest.mark.parametrize(
    "name", ["mnis", "digits", "thesis", "Downloads", ".bashrc", "linked", "."]
)
def test_what_is_not_in_the_cache_is_not_removed(name, full, monkeypatch):
    monkeypatch.chdir(full)
    before = left(full)
    if name == "linked":  # what it leads to is the user's; its entries are ours
        assert len(remove(name, dry_run=True, cache=full)["removed"]) == 2
    else:
        with pytest.raises(Refused, match=f"can be removed, {name} is not in"):
            remove(name, cache=full)
    assert left(full) == before


def test_open_data_outlive_their_removal(photos, cache):
    data = open_data(DataRequest(source=str(photos)), cache=cache)
    before = data.train.take(slice(None))
    remove(photos, cache=cache)
    assert (data.train.take(slice(None)) == before).all()


def test_a_child_that_cannot_download_refuses_for_its_parent(cache, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    with pytest.raises(Refused, match=r"put cifar-10-python.tar.gz into .* by hand"):
        prepare("cifar10", cache=cache)


def test_the_command_ends_with_2_and_one_line(cache):
    command = [sys.executable, "-m", "benchmarks.data", "verify", "mnist"]
    told = subprocess.run(
        [*command, "--cache", str(cache)], capture_output=True, text=True
    )
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "run twintrack data prepare mnist" in told.stderr


def test_the_command_imports_no_framework():
    code = (
        "import sys, benchmarks.data\n"
        "print({'torch', 'tensorflow', 'keras', 'sklearn', 'PIL'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_a_part_of_the_command_does_not_print_the_list_as_well(cache):
    command = [sys.executable, "-m", "benchmarks.cli", "data", "verify"]
    told = subprocess.run(
        [*command, "--cache", str(cache)], capture_output=True, text=True, check=True
    )
    assert told.stdout.count("fingerprint") == 1

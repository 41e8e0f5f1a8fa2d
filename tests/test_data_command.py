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

from benchmarks.data import CheckFailed, data_list, prepare, verify
from benchmarks.request import opened, size_of
from common.data import DataRequest
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


def test_a_size_must_be_positive(cache):
    with pytest.raises(Refused, match="height x width in pixels"):
        prepare("digits", size="0x4", cache=cache)


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

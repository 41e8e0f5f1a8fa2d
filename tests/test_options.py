"""An option means the same in every command that has it, and so does its value."""

import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cli import COMMANDS
from benchmarks.request import (
    changes_of,
    chosen_system,
    chosen_systems,
    framing_of,
    opened,
    seeds_of,
    share_of,
    side_of,
)
from common.data import DataRequest, open_data
from common.errors import Refused
from common.systems import SYSTEMS
from tests.pages import PARTS, parser

# Options that are not the same everywhere, and why not.
OTHER_TYPES = {"--to": "port takes a side and a file"}
OTHER_WORDS = {
    "--all": "all that a cache holds, or every layer",
    "--batch": "of answers whose speed is measured, or of a training",
    "--time-limit": "of a run, or of an answer",
    "--weights": "port: whose they are",
    "--classes": "labels of a weights file in classify, which classes are learned else",
    "--data": "table and classify choose among runs by it",
    "--dry-run": "of what is removed, or merged",
    "--format": "table has JSON too",
    "--from": "files of weights, or of data",
    "--kind": "findings that are shown, or that are exported",
    "--mode": "table chooses among runs by it",
    "--output": "a weights file, a page, a folder of events",
    "--precision": "store chooses among runs by it",
    "--seed": "classify chooses among runs by it",
    "--set": "classify chooses among runs by it",
    "--steps": "of training in parity, of a turn in speed",
    "--system": "store chooses among runs by it",
    "--threads": "of a run, or of a process that trains nothing",
    "--to": "a library's form of weights, or a tracker",
    "--top": "labels of a photo, or pictures of a run",
    "--track": "who trains, or who downloads",
}
OTHER_DEFAULTS = {
    "--batch": "of answers whose speed is measured, or of a training",
    "--time-limit": "a run takes hours, an answer seconds",
    "--weights": "port carries torch's",
    "--data": "new-class, pretrain and transfer are shown on colours",
    "--seeds": "a transfer's heads are cheap: a look further",
    "--classes": "none may be named",
    "--mode": "table: all modes",
    "--output": "a page and a folder have names of their own",
    "--precision": "store: all precisions",
    "--top": "labels of a photo, or pictures of a run",
    "--seed": "classify: all seeds",
    "--steps": "each measures something else",
    "--threads": "one where timing or float64 is compared",
    "--from": "data prepare downloads unless told",
    "--how": "classify: as the network was made for",
    "--filter": "classify: as the network was made for",
}


def options():
    """Option -> (command, type, help without its default in words, default)."""
    found = defaultdict(list)
    for name in COMMANDS:
        for words in ((name,), *((name, part) for part in PARTS.get(name, ()))):
            for one in parser(*words).params:
                if one.opts[0].startswith("--") and one.opts[0] != "--help":
                    kind = one.display_type(None)
                    text = re.sub(r"  \[.*\]$", "", one.help or "")
                    found[one.opts[0]].append((words, kind, text, one.default))
    return found


FOUND = options()
SHARED = sorted(option for option, uses in FOUND.items() if len(uses) > 1)


def test_the_walk_sees_every_command():
    seen = {words for uses in FOUND.values() for words, *_ in uses}
    assert {words[0] for words in seen} == set(COMMANDS)
    assert {"--system", "--seeds", "--margin", "--size", "--test-limit"} <= {*SHARED}


@pytest.mark.parametrize("option", SHARED)
def test_an_option_has_one_type(option):
    kinds = {kind for _, kind, *_ in FOUND[option]}
    assert (len(kinds) > 1) == (option in OTHER_TYPES), FOUND[option]


@pytest.mark.parametrize("option", SHARED)
def test_an_option_has_one_text_or_a_reason(option):
    texts = {text for _, _, text, _ in FOUND[option]}
    assert (len(texts) > 1) <= (option in OTHER_WORDS), texts


@pytest.mark.parametrize("option", SHARED)
def test_an_option_has_one_default_or_a_reason(option):
    defaults = {repr(default) for *_, default in FOUND[option]}
    assert (len(defaults) > 1) <= (option in OTHER_DEFAULTS), defaults


def test_reasons_are_given_only_where_they_are_needed():
    for option in OTHER_WORDS.keys() | OTHER_DEFAULTS.keys():
        uses = FOUND[option]
        differ = {(text, repr(default)) for _, _, text, default in uses}
        assert len(differ) > 1, option


# --- values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, [0, 1, 2]),
        ("3", [0, 1, 2]),
        ("5-9", [5, 6, 7, 8, 9]),
        ("4-4", [4]),
        ("0,3,7-9", [0, 3, 7, 8, 9]),
        (" 1 , 2 ", [1, 2]),
        (range(5, 8), [5, 6, 7]),
        ([2, 0], [2, 0]),
    ],
)
def test_seeds_are_a_number_of_them_or_ranges(given, expected):
    assert seeds_of(given) == expected


def test_two_machines_share_the_seeds_of_one():
    assert seeds_of("0-4") + seeds_of("5-9") == seeds_of(10)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("9-5", "goes upwards, got 9-5; write 5-9"),
        ("0,0", "takes each seed once, got 0 twice"),
        ([1, 2, 1], "takes each seed once, got 1 twice"),
        ("1e3", "a number of them, or seeds such as 5-9"),
        ("5,", "a number of them, or seeds such as 5-9"),
        (-1, "--seeds must be above 0"),
        (10**9, "--seeds must be 1 to 10,000 seeds"),
        ([2**32], "a seed must be a whole number from 0 to 4294967295"),
    ],
)
def test_other_seeds_are_refused(given, says):
    with pytest.raises(Refused, match=says):
        seeds_of(given)


def test_a_margin_is_in_points_and_kept_as_a_fraction():
    assert share_of(0.5) == 0.005
    assert share_of(5) == 0.05
    assert share_of(0.05) == 0.0005


@pytest.mark.parametrize("old", [0.005, 0.01, 0.049])
def test_a_margin_that_looks_like_the_old_share_is_refused(old):
    says = f"in points since this version, got {old}; for half a point write 0.5"
    with pytest.raises(Refused, match=says):
        share_of(old)


def test_a_size_is_a_side_or_height_and_width():
    assert framing_of("75") == framing_of(75) == {"side": 75}
    assert framing_of("24x32") == {"size": (24, 32)}
    assert framing_of(None) == {}
    assert side_of("75") == side_of("75x75") == 75
    with pytest.raises(Refused, match="must be square here, got 24x32; write it as 24"):
        side_of("24x32")


def test_height_and_width_are_for_folders_alone():
    """They were ignored without a word for data that have a size of their own."""
    with pytest.raises(Refused, match=r"got 16x16 for digits.*resized by --size 16"):
        opened(DataRequest(source="digits", size=(16, 16)))


def test_a_system_is_a_name_or_a_module_and_one_however_it_is_called():
    assert chosen_systems(["linear"], "small-cnn") == ["linear", "small-cnn"]
    named = ["tests.own_twin", "two-towers"]
    assert chosen_systems(named, "tests.own_twin") == ["tests.own_twin"]
    assert chosen_systems(None, None, default=["linear"]) == ["linear"]
    assert len(chosen_systems("all", None)) > 10
    assert chosen_system("tests.own_twin", default="linear") == "tests.own_twin"
    assert chosen_system(None, default="linear") == "linear"
    with pytest.raises(Refused, match="--system is given once here"):
        chosen_system(["linear", "small-cnn"], default="linear")


def test_a_module_of_this_folder_needs_no_dot(tmp_path, monkeypatch):
    text = (Path(__file__).parent / "own_numpy.py").read_text()
    (tmp_path / "mynet.py").write_text(
        text.replace("own-mlp", "my-mlp").replace("OwnMLP", "MyMLP")
    )
    monkeypatch.chdir(tmp_path)
    assert chosen_systems("mynet", None) == ["mynet"]
    monkeypatch.delitem(SYSTEMS, "my-mlp")
    monkeypatch.delitem(sys.modules, "mynet")


def test_a_field_that_is_set_twice_is_refused_with_the_sweep_to_type():
    with pytest.raises(Refused, match=r"once, got recipe.lr 2 times.*'recipe.lr=1,2'"):
        changes_of(["recipe.lr=1", "recipe.lr=2"])


def test_a_limit_of_test_pictures_is_stratified_noted_and_of_the_fingerprint():
    whole = open_data(DataRequest(source="digits"))
    found = open_data(DataRequest(source="digits", test_limit=100))
    assert len(found.test) == 100
    assert set(np.bincount(found.test.labels)) <= {9, 10, 11}
    assert found.note == "100 of 797 test images"
    assert found.fingerprint != whole.fingerprint
    assert len(found.train) == len(whole.train)
    same = open_data(DataRequest(source="digits", test_limit=5000))
    assert same.fingerprint == whole.fingerprint
    with pytest.raises(Refused, match="one test image per class, got 3 for 10"):
        open_data(DataRequest(source="digits", test_limit=3))
    asked = DataRequest(source="digits", test_limit=100)
    assert DataRequest.from_dict(asked.to_dict()) == asked

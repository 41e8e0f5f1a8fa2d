"""How folders are arranged: parts are never classes, nothing is left out in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import data_list, prepare
from benchmarks.request import class_names, opened
from benchmarks.transfer import held_of
from common.data import DataRequest, Dataset, open_data
from common.data.folder import DEEPEST, build_folder, scan
from common.data.layout import TEST, TRAIN, VALID, part_named
from common.data.parts import leave_out, subset
from common.errors import Refused
from common.photos.decode import CUT, printable

MUTANTS = 200
SLOW = 1.0  # seconds that no folder of a few pictures may take


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def add(*paths: Path) -> None:
    """One small picture at each path."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (1, 2, 3)).save(path, "PNG")


def fill(folder: Path, *classes: str, n: int = 2) -> Path:
    add(*(folder / name / f"{i}.png" for name in classes for i in range(n)))
    return folder


def got(root: Path, **asked) -> Dataset:
    request = DataRequest(source=str(root), **asked)
    return open_data(request, cache=root.parent / "cache")


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.valid), len(data.test)


# --- parts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *((name, TRAIN) for name in ("train", "Training", "training_set", "seg_train")),
        *((name, TEST) for name in ("test", "TESTING", "test1", "test_images")),
        *((name, VALID) for name in ("val", "valid", "validation", "val2017")),
        *((name, None) for name in ("trains", "test_tube", "trainstation", "valley")),
        *((name, None) for name in ("contest", "bus", "", "data", "set")),
    ],
)
def test_a_part_is_known_by_its_name(name, part):
    assert part_named(name) == part


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("train", "val"), ("Train", "test1"), ("test", "val")]
)
@pytest.mark.parametrize("inside", ["", "train"])
def test_parts_with_loose_pictures_are_no_classes(root, parts, inside):
    """The Kaggle layout; also where one part has its classes and the other not."""
    for part in parts:
        add(*(root / part / f"cat.{i}.png" for i in range(3)))
    if inside in parts:
        shutil.rmtree(root / inside)
        fill(root / inside, "cat", "dog")
    with pytest.raises(
        Refused, match=r"has 3 loose pictures.*; known are ROOT/<class>"
    ):
        got(root)


def test_the_cure_for_a_test_part_without_classes_works(root):
    fill(root / "train", "cat", "dog")
    add(*(root / "test" / f"{i}.png" for i in range(3)))
    with pytest.raises(Refused, match=r"or name \S+/photos/train itself"):
        got(root)
    assert got(root / "train").classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "validation_set"])
def test_a_third_part_is_the_validation_part(root, name):
    for part, n in (("train", 3), ("test", 2), (name, 1)):
        fill(root / part, "cat", "dog", n=n)
    data = got(root)
    assert sizes(data) == (6, 2, 4)
    assert data.note == f"{name}/ is the validation part"
    assert sizes(got(root)) == (6, 2, 4)  # from the cache too
    with pytest.raises(Refused, match=r"one validation part.* 2 .*leave --valid out"):
        got(root, valid=2)


def test_a_validation_part_without_pictures_is_refused(root):
    for part in ("train", "test"):
        fill(root / part, "cat", "dog")
    (root / "val" / "cat").mkdir(parents=True)
    with pytest.raises(Refused, match=r"a validation part has pictures, \S+/val has"):
        got(root)
    (root / "val" / "cat" / "x.txt").write_text("hello")
    with pytest.raises(Refused, match=r"a validation part has pictures, \S+/val has"):
        got(root, skip_bad=True)


def test_transfer_chooses_on_the_validation_part_that_is_there(root):
    for part, n in (("train", 9), ("test", 2), ("val", 1)):
        fill(root / part, "cat", "dog", n=n)
    assert held_of(None, got(root)) == 0
    with pytest.raises(Refused, match=r"one validation part.*leave --valid out"):
        held_of(3, got(root))
    shutil.rmtree(root / "val")
    assert (held_of(None, got(root)), held_of(3, got(root))) == (2, 3)


def test_without_a_test_part_validation_tests_and_the_table_says_so(root):
    fill(root / "train", "cat", "dog", n=3)
    fill(root / "val", "cat", "dog")
    data = got(root)
    assert sizes(data) == (6, 0, 4)
    assert data.note == "val/ is the test part, there is no other"
    assert sizes(got(root, valid=2)) == (4, 2, 4)


def test_another_folder_beside_the_parts_is_named_and_left_out(root):
    for part in ("train", "test", "unlabelled"):
        fill(root / part, "cat", "dog")
    add(root / "train" / "lost.png")
    (root / "README.md").write_text("hello")
    data = got(root)
    assert data.classes == ("cat", "dog")
    assert "left out beside the parts: unlabelled" in data.note
    assert "1 picture lies outside the class folders: left out" in data.note
    assert set(data.found.left_out) == {"unlabelled/", "train/lost.png", "README.md"}


@pytest.mark.parametrize("second", ["Training", "train_set"])
def test_two_folders_for_one_part_are_refused(root, second):
    for part in ("train", second, "test"):
        fill(root / part, "cat", "dog")
    with pytest.raises(Refused, match=r"one train part, .* move one of them away"):
        got(root)


@pytest.mark.parametrize("alone", ["train", "test", "dev"])
def test_a_part_with_nothing_beside_it_is_no_class(root, alone):
    add(*(root / alone / f"cat.{i}.png" for i in range(3)))
    (root / "sample_submission.csv").write_text("id,label")
    with pytest.raises(Refused, match=rf"{alone}/ has 3 loose pictures.*known are"):
        got(root)


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "val", "test")])
def test_parts_inside_of_classes_are_not_mixed(root, parts):
    for name in ("cat", "dog"):
        fill(root / name, *parts)
    with pytest.raises(Refused, match=r"parts hold the classes .*cat of .* in it"):
        got(root)


def test_an_archive_is_not_a_folder(root):
    (root / "photos.zip").write_bytes(b"PK")
    with pytest.raises(Refused, match=r"got the file \S+photos.zip; unpack an"):
        got(root / "photos.zip")


def test_a_folder_may_have_a_name_that_is_no_text(root):
    place = root / os.fsdecode(b"caf\xe9\n")
    assert got(fill(place, "cat", "dog")).name == r"caf\xe9\n"


@pytest.mark.parametrize("alone", ["train", "test", "val"])
def test_one_part_alone_is_refused_and_never_a_class(root, alone):
    fill(root / alone, "cat", "dog")
    fill(root, "bus")
    with pytest.raises(Refused, match=r"needs (train|test)/<class>/.*known are"):
        got(root)


def test_a_class_that_is_called_like_a_part_is_said(root):
    data = got(fill(root, "bus", "train"))
    assert "train is taken as a class, no other part is beside it" in data.note


def test_parts_with_other_classes_are_refused(root):
    fill(root / "train", "cat", "dog")
    fill(root / "test", "images")
    with pytest.raises(
        Refused, match=r"has none of train's in test .*test/ has images"
    ):
        got(root)


def test_tiny_imagenet_is_called_what_it_is(root):
    fill(root / "train" / "n01", "images")
    fill(root / "train" / "n02", "images")
    fill(root / "val", "images")
    fill(root / "test", "images")
    (root / "val" / "val_annotations.txt").write_text("0.png n01")
    with pytest.raises(Refused, match=r"is Tiny ImageNet as it is published.*val_ann"):
        got(root)
    data = got(root / "train")
    assert data.classes == ("n01", "n02")
    assert "4 pictures lie in folders of the class folders" in data.note


# --- folders in folders ------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        "training_set/training_set test_set/test_set",
        "archive/train archive/test",
        "a/b/train a/b/test",
        "seg_train/seg_train seg_test/seg_test",
    ],
)
def test_folders_that_an_archive_adds_are_seen_through(root, way):
    for part in way.split():
        fill(root / part, "cats", "dogs")
        (root / part).parent.joinpath("about.txt").write_text("beside it")
    data = got(root)
    assert (data.classes, sizes(data)) == (("cats", "dogs"), (4, 0, 4))
    beside = {str(Path(part).parent / "about.txt") for part in way.split()}
    assert set(data.found.left_out) == beside
    assert all(f"{part}/<class>" in data.found.layout for part in way.split())


def test_pictures_in_folders_of_a_class_are_read_and_said(root):
    fill(root, "cat", "dog")
    add(*(root / "cat" / "young" / "tabby" / f"{i}.png" for i in range(20)))
    for skip_bad in (False, True):
        data = got(root, skip_bad=skip_bad)
        assert len(data.train) + len(data.test) == 24
        assert "20 pictures lie in folders of the class folders" in data.note
        assert "skipped" not in data.note


def test_a_change_deep_in_a_class_is_seen(root):
    fill(root, "cat", "dog")
    add(root / "cat" / "a" / "b" / "0.png")
    before = got(root).fingerprint
    Image.new("RGB", (6, 4), (9, 9, 9)).save(root / "cat" / "a" / "b" / "0.png")
    assert got(root).fingerprint != before


def test_links_and_depths_without_end_are_named(root):
    fill(root, "cat", "dog")
    (root / "cat" / "again").symlink_to(root)
    (root / "cat" / "self.png").symlink_to("self.png")
    add(root / "dog" / Path(*["d"] * (DEEPEST + 2)) / "0.png")
    with pytest.raises(Refused, match=r"3 that are none: .*not followed.* deep"):
        got(root)
    data = got(root, skip_bad=True)
    assert len(data.found.skipped) == 3
    (root / "up").symlink_to(root)
    with pytest.raises(Refused, match=r"up is a link to a folder, .* this one is in"):
        got(root)


# --- what is ignored, skipped, and said ---------------------------------------------

LEFT_BY_SYSTEMS = (
    *("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", ".hidden.png"),
    *("__MACOSX/._0.png", ".git/config"),
)


@pytest.mark.parametrize("where", ["", "cat", "cat/more"])
def test_what_systems_leave_is_ignored_everywhere_and_counted(root, where):
    fill(root, "cat", "dog")
    add(root / "cat" / "more" / "0.png")
    for name in LEFT_BY_SYSTEMS:
        path = root / where / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no picture")
    data = got(root)
    assert data.classes == ("cat", "dog")
    assert len(data.found.ignored) == 7
    lines = [line for line in data.found.lines() if "ignored" in line]
    assert [line[:36] for line in lines] == ["7 hidden or system entries ignored ("]


def test_all_bad_files_are_named_at_once(root, capsys, monkeypatch, tmp_path):
    """Ten on the screen, all in JSON; `prepare` and every other command alike."""
    fill(root, "cat", "dog")
    for i in range(12):
        (root / "cat" / f"x{i:02}.txt").write_text("hello")
    with pytest.raises(
        Refused, match=r"got 12 that are none: cat/x00.txt \(not a"
    ) as e:
        got(root)
    assert "cat/x09.txt" in str(e.value)
    assert "and 2 more; remove them, or skip" in str(e.value)
    monkeypatch.setenv("TWINTRACK_CACHE", str(root.parent / "cache"))
    opened(DataRequest(source=str(root), skip_bad=True))
    said = capsys.readouterr().err
    assert "12 skipped: cat/x00.txt (not a picture)" in said
    assert "x10" not in said
    with pytest.raises(Refused, match="got 12 that are none"):  # from the cache
        got(root)
    prepare(root, skip_bad=True, json=tmp_path / "told.json")
    (row,) = json.loads((tmp_path / "told.json").read_text())["data"]
    assert len(row["skipped"]) == 12
    said = capsys.readouterr().out
    assert "photos: 12 skipped: cat/x00.txt" in said
    assert "x10" not in said


def test_what_would_make_pictures_of_bad_files_is_said(root):
    fill(root, "cat", "dog")
    (root / "cat" / "0.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    says = r"cat/0.png \(a Git LFS pointer, not the picture itself\); fetch it with"
    with pytest.raises(Refused, match=says):
        got(root)


def test_what_was_seen_is_in_the_list_and_in_json(root):
    for part in ("train", "val", "test"):
        fill(root / part, "cat", "dog, big")
    cache = root.parent / "cache"
    (made,) = prepare(root, cache=cache)["data"]
    assert made["class_names"] == ["cat", "dog, big"]
    assert made["valid"] == 4
    assert made["layout"].startswith("train: train/<class>/*, test: test/<class>/*")
    assert data_list(cache=cache)["data"][-1] == made


# --- names --------------------------------------------------------------------------

COMPOSED = unicodedata.normalize("NFC", "café")
APART = unicodedata.normalize("NFD", "café")


def test_a_name_is_the_same_however_its_accents_are_written(root):
    fill(root / "train", COMPOSED, "x")
    fill(root / "test", APART, "x")
    data = got(root)
    assert data.classes == (COMPOSED, "x")
    assert subset(data, ["x", APART]).classes == ("x", COMPOSED)
    fill(root / "train", APART)
    assert f"2 folders are called {COMPOSED}" in got(root).note


@pytest.mark.parametrize("twin", ["Cat", "cat ", "CAT\u200a"])
def test_names_that_are_hard_to_tell_apart_are_said(root, twin):
    assert "differ only in case or spaces: 2 cl" in got(fill(root, "cat", twin)).note
    shutil.rmtree(root)
    fill(root / "train", "cat", "x")
    fill(root / "test", twin, "x")
    with pytest.raises(Refused, match="differs from it only in case or spaces: give"):
        got(root)


ODD = (
    "salt, pepper",
    "end ",
    " begin",
    "日本",
    "é",
    "a\nb",
    "-x",
    "👨‍👩‍👧",
    os.fsdecode(b"\xe9"),
)


def test_a_class_of_any_name_can_be_selected(root):
    data = got(fill(root, *ODD))
    assert len(data.classes) == len(ODD)
    chosen = class_names("", list(data.classes))
    assert subset(data, chosen).classes == data.classes
    assert len(leave_out(data, chosen[:2]).classes) == len(ODD) - 2
    assert class_names("a, b", ["c,d", "e "]) == ("a", "b", "c,d", "e ")
    assert class_names(["c,d", "e "], None) == ("c,d", "e ")
    for part in class_names("salt, pepper", None):
        with pytest.raises(Refused, match="name it by itself as --class"):
            subset(data, [part, "é"])


# --- what pictures say ---------------------------------------------------------------


def ramp(path: Path, top: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.linspace(0, top, 24).astype(np.uint16).reshape(4, 6)
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    ("tops", "depth"), [((4095, 900), 12), ((900, 4095), 12), ((70, 16000), 14)]
)
def test_greys_of_a_data_set_have_one_range_that_is_said(root, tops, depth):
    """Not each its own: that would make dark pictures bright."""
    for name in ("a", "b"):
        for i, top in enumerate(tops):
            ramp(root / name / f"{i}.png", top)
    data = got(root)
    assert f"greys of 16 bits taken as {depth} bits" in data.note
    rows = np.concatenate([data.train.images, data.test.images])
    brightest = {top >> (depth - 8) for top in tops}
    assert {int(picture.max()) for picture in rows} == brightest


def test_what_pictures_are_taken_for_is_counted(root):
    fill(root, "cat", "dog")
    picture = Image.effect_noise((32, 32), 90).convert("RGB")
    for name in ("a.jpg", "b.jpg"):
        picture.save(root / "cat" / name)
        content = (root / "cat" / name).read_bytes()
        (root / "cat" / name).write_bytes(content[:-2])
    data = got(root, size=(8, 8))
    assert f"{CUT} (2 pictures)" in data.found.remarks
    assert f"{CUT} (2 pictures)" in data.note


# --- bad input -----------------------------------------------------------------------


def mutate(root: Path, rng: random.Random) -> None:
    """One change to a folder of pictures, of the kinds that people bring."""
    folders = [root, *(p for p in root.rglob("*") if p.is_dir() and not p.is_symlink())]
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    where, kind = rng.choice(folders), rng.randrange(11)
    odd = rng.choice([*ODD, "train", "test", "val", "Train", "__MACOSX", "Thumbs.db"])
    path = where / odd
    free = not os.path.lexists(path)
    if kind == 0 and where != root:
        shutil.rmtree(where)
    elif kind == 1 and free:
        fill(path, rng.choice(["cat", "dog", "x"]))
    elif kind == 2:
        add(where / f"{rng.randrange(99)}.png")
    elif kind == 3 and files:
        file = rng.choice(files)
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content) or 1) :] = rng.randbytes(rng.randrange(9))
        file.write_bytes(content)
    elif kind == 4 and free:
        path.symlink_to(rng.choice([*folders, Path("/nowhere"), path]))
    elif kind == 5 and free:
        os.mkfifo(path)
    elif kind == 6 and files:
        file = rng.choice(files)
        file.rename(file.with_suffix(rng.choice([".jpg", ".tif", ".txt", ".nef", ""])))
    elif kind == 7 and where != root and free:
        where.rename(where.parent / f"{odd}-{rng.randrange(99)}")
    elif kind == 8 and free:
        path.write_bytes(
            rng.choice([b"", b"hello", b"\x89PNG\r\n\x1a\n", b"P5 9 9 255\n"])
        )
    elif kind == 9 and where != root and free:
        shutil.move(where, root.parent / "moved")
        (where / where.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root.parent / "moved", where / where.name)
    elif kind == 10:
        add(where / Path(*["deep"] * rng.randrange(1, 40)) / "0.png")


def outcome(root: Path, place: Path) -> tuple[str, list[Path]]:
    """The refusal of a folder, or "" and the files that were neither read nor named."""
    try:
        listing = scan(root)
        built = build_folder(listing, place, name="x", size=(4, 4), skip_bad=True)
    except Refused as error:
        return str(error), []
    read = {path for *_, path in listing.files()}
    assert len(built.labels) + len(built.found.skipped) == len(listing)
    met = built.found
    told = {name.rstrip("/") for name in (*met.left_out, *met.ignored)}
    told |= {name.rpartition(" (")[0].rstrip("/") for name in met.skipped}
    told |= {name.partition(" (")[0].rstrip("/") for name in met.skipped}
    files = [p for p in root.rglob("*") if p.is_file() and p not in read]
    return "", [path for path in files if not told & around(path.relative_to(root))]


def around(path: Path) -> set[str]:
    """A path and the folders that it is in, as they are told."""
    return {printable(one) for one in (path, *path.parents)}


def test_mutated_folders_are_a_data_set_or_one_line(tmp_path):
    """No traceback, no hang, and every file is somewhere: read or named."""
    rng = random.Random(3)
    outcomes = {True: 0, False: 0}
    for k in range(MUTANTS):
        root = tmp_path / f"{k}"
        fill(root, "cat", "dog")
        if rng.random() < 0.5:
            for part in ("train", "test", "val")[: rng.randrange(2, 4)]:
                fill(root / part, "cat", "dog")
            shutil.rmtree(root / "cat")
            shutil.rmtree(root / "dog")
        for _ in range(rng.randrange(1, 4)):
            mutate(root, rng)
        start = time.process_time()
        said, unsaid = outcome(root, tmp_path)
        assert "\n" not in said, k
        assert not unsaid, (k, unsaid)
        outcomes[not said] += 1
        assert time.process_time() - start < SLOW, k
        shutil.rmtree(root, ignore_errors=True)
    assert min(outcomes.values()) > MUTANTS // 10, outcomes

"""Public data from files that lie on this machine: the same data set, or a refusal."""

import hashlib
import io
import json
import os
import pickle
import struct
import time
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import import_data, prepare
from common.data import DataRequest, at_hand, carriers, open_data, packed
from common.data.canonical import CLASSES, CONTENT, by_content, not_fetched
from common.errors import Refused
from tests import carried
from tests.carried import arrays, laid, tarred, zipped

LONGEST = 1.0  # seconds that a damaged file may take

# Each form -> the data set, and what makes its files.
FORMS = {
    "idx": ("mnist", carried.idx),
    "idx packed anew": ("mnist", carried.idx_packed),
    "npz": ("mnist", carried.npz),
    "records": ("mnist", carried.records),
    "pngs of digits": ("mnist", lambda a: carried.pictures(a, CLASSES["mnist"])),
    "python": ("cifar10", carried.python),
    "python, protocol 0": ("cifar10", lambda a: carried.python(a, 0)),
    "python, protocol 5": ("cifar10", lambda a: carried.python(a, 5)),
    "binary": ("cifar10", carried.binary),
    "cifar npz": ("cifar10", lambda a: carried.npz(a, "cifar10.npz")),
    "cifar records": ("cifar10", lambda a: carried.records(a, "cifar10")),
    "pngs": ("cifar10", lambda a: carried.pictures(a, CLASSES["cifar10"])),
}
PICTURES = ("pngs of digits", "pngs")


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    """The stand-ins are what was published."""
    for name in CONTENT:
        monkeypatch.setitem(CONTENT, name, carried.published(name))


def files_of(form):
    own, make = FORMS[form]
    return make(arrays(own))


def taken(form, path):
    """The pictures that are read, against those that were written."""
    name, _ = FORMS[form]
    found = at_hand.read_at_hand(name, path)
    wanted = by_content(*arrays(name)[:2]), by_content(*arrays(name)[2:])
    data = found.data
    assert (data.train_images == wanted[0][0]).all()
    assert (data.train_labels == wanted[0][1]).all()
    assert (data.test_images == wanted[1][0]).all()
    assert (data.test_labels == wanted[1][1]).all()
    assert data.classes == CLASSES[name]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_data_set(form, tmp_path):
    assert (
        str(tmp_path / "in") in taken(form, laid(files_of(form), tmp_path / "in")).said
    )


@pytest.mark.parametrize("form", FORMS)
def test_it_is_found_below_the_folder_that_is_named(form, tmp_path):
    depth = "torch" if form in PICTURES else "torch/MNIST/raw"
    laid(files_of(form), tmp_path / "home" / depth)
    laid({"notes.txt": b"other things", ".hidden/x.npz": b""}, tmp_path / "home")
    taken(form, tmp_path / "home")


@pytest.mark.parametrize("pack", [tarred, zipped])
@pytest.mark.parametrize("form", [form for form in FORMS if form not in PICTURES])
def test_an_archive_is_read_as_it_lies(form, pack, tmp_path):
    """By its content, whatever it is called, and whatever its members are called."""
    where = pack(files_of(form), tmp_path / "archive.tar.zip", inner="../../../../etc")
    taken(form, where)
    assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.zip"]


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_archives_of_any_packing_in_a_folder_are_opened(mode, tmp_path):
    tarred(files_of("binary"), tmp_path / "cifar-10-binary.tar", mode)
    taken("binary", tmp_path)


def test_an_archive_is_known_by_its_content(tmp_path):
    """And a compressed file with .t in its name is none."""
    taken("python", tarred(files_of("python"), tmp_path / "cifar10"))
    laid(files_of("idx packed anew"), tmp_path / "x.train")
    taken("idx packed anew", tmp_path / "x.train/t10k-labels.idx1-ubyte.gz")


def test_folders_are_followed_through_links_but_not_round_in_circles(tmp_path):
    laid(files_of("idx"), tmp_path / "disk")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/data").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/home").symlink_to(tmp_path / "home")
    taken("idx", tmp_path / "home")


@pytest.mark.parametrize("form", ["idx", "python", "binary", "npz", "records"])
def test_one_file_stands_for_those_beside_it(form, tmp_path):
    files = files_of(form)
    taken(form, laid(files, tmp_path) / next(iter(files)))


def test_another_data_set_of_the_same_names_is_passed_over(tmp_path):
    """Torchvision's root has FashionMNIST/raw beside MNIST/raw."""
    laid(carried.idx(arrays("mnist", seed=1)), tmp_path / "FashionMNIST/raw")
    laid(carried.idx(arrays("mnist")), tmp_path / "MNIST/raw")
    assert taken("idx", tmp_path).said == (
        f"mnist read from {tmp_path}/MNIST/raw: IDX files, 4 files"
    )


def test_the_order_of_the_files_is_forgotten(tmp_path):
    """Another order of the same examples is the same content."""
    x, y, u, v = arrays("mnist")
    laid(carried.idx([x[::-1].copy(), y[::-1].copy(), u, v]), tmp_path)
    taken("idx", tmp_path)


@pytest.mark.parametrize("command", ["import", "prepare --from"])
def test_both_spellings_put_it_into_the_cache(command, tmp_path, capsys):
    folder, cache = laid(files_of("binary"), tmp_path / "in"), tmp_path / "cache"
    told = {"cache": cache, "json": tmp_path / "told.json"}
    if command == "import":
        import_data("cifar10", folder, **told)
    else:
        prepare("cifar10", at_hand=folder, **told)
    found = open_data(DataRequest(source="cifar10"), cache=cache)
    assert (found.name, found.classes) == ("cifar10", CLASSES["cifar10"])
    assert (len(found.train), len(found.test)) == carried.COUNTS["cifar10"]
    (row,) = json.loads((tmp_path / "told.json").read_text())["data"]
    assert row["read"] == f"cifar10 read from {folder}: the binary version, 6 files"
    assert row["read"] in capsys.readouterr().err


@pytest.mark.parametrize("also", [{"size": 32}, {"skip_bad": True}, {"track": "both"}])
def test_what_an_import_does_not_do_is_not_taken_without_a_word(also, tmp_path):
    with pytest.raises(Refused, match="taken whole and as they are"):
        prepare("cifar10", at_hand=tmp_path, cache=tmp_path, **also)


# --- refused, and why ---------------------------------------------------------------


def refusal(name, path):
    with pytest.raises(Refused) as found:
        at_hand.read_at_hand(name, path)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("form", FORMS)
def test_one_changed_pixel_is_refused(form, tmp_path):
    name, make = FORMS[form]
    found = arrays(name)
    found[2][-1, 0, 0, 0] ^= 1
    said = refusal(name, laid(make(found), tmp_path))
    assert "must be the published one" in said or "test pictures" in said


@pytest.mark.parametrize("form", ["idx", "records"])
def test_pictures_of_another_shape_are_refused(form, tmp_path, monkeypatch):
    x, y, u, v = arrays("mnist")
    monkeypatch.setitem(carried.SHAPES, "mnist", (14, 28, 1))
    files = FORMS[form][1]([x[:, :14], y, u[:, :14], v])
    monkeypatch.setitem(carried.SHAPES, "mnist", (28, 28, 1))
    said = refusal("mnist", laid(files, tmp_path))
    assert "20 of 14 x 28 x 1" in said or "(28, 14) pixels" in said


@pytest.mark.parametrize("shape", [(10, 28, 28), (2**32 - 1, 0, 0), (0, 28, 28)])
def test_labels_of_other_pictures_are_refused(shape, tmp_path):
    """As where the two parts were mixed up, or sizes are nonsense that adds up."""
    files = files_of("idx")
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape)
    n = int(np.prod(shape, dtype=object))
    files["train-images-idx3-ubyte"] = head + bytes(n)
    assert "and 20 labels to train" in refusal("mnist", laid(files, tmp_path))


def test_a_checksum_that_differs_is_named_with_the_file_and_the_known_one(
    tmp_path, monkeypatch
):
    files = files_of("idx")
    for name, content in files.items():
        monkeypatch.setitem(at_hand.FILES, name, _md5(content))
    spoilt = bytearray(files["t10k-images-idx3-ubyte"])
    spoilt[-1] ^= 1
    files["t10k-images-idx3-ubyte"] = bytes(spoilt)
    said = refusal("mnist", laid(files, tmp_path))
    assert (
        f"{tmp_path}/t10k-images-idx3-ubyte has unpacked the MD5 {_md5(spoilt)}" in said
    )
    assert f"instead of {at_hand.FILES['t10k-images-idx3-ubyte']}" in said


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_download_of_another_checksum_is_named_with_the_command_that_takes_it(
    name, tmp_path
):
    file = {"mnist": "train-labels-idx1-ubyte.gz", "cifar10": "cifar-10-python.tar.gz"}
    laid({file[name]: b"packed anew"}, tmp_path)
    said = str(not_fetched(name, OSError("no network"), "files", tmp_path))
    assert f"{file[name]} in {tmp_path} has the MD5 {_md5(b'packed anew')}" in said
    assert f"run twintrack data import {name} {tmp_path}" in said


@pytest.mark.parametrize(
    ("form", "gone", "said"),
    [
        ("idx", "train-labels-idx1-ubyte", "has no train-labels-idx1-ubyte; put all 4"),
        ("python", "data_batch_3", "has no data_batch_3; put all 6 there"),
        ("binary", "test_batch.bin", "has no test_batch; put all 6 there"),
        ("records", "mnist-test.tfrecord-00000-of-00001", "has no mnist-test.tfrecord"),
    ],
)
def test_a_missing_file_is_named(form, gone, said, tmp_path):
    files = files_of(form)
    del files[gone]
    assert said in refusal(FORMS[form][0], laid(files, tmp_path))


def test_where_nothing_is_known_the_forms_are_listed_and_what_is_there(tmp_path):
    laid({"train-00000-of-00001.parquet": b"PAR1"}, tmp_path)
    said = refusal("cifar10", tmp_path)
    assert "the Python or the binary version" in said
    assert f"has {tmp_path}/train-00000-of-00001.parquet" in said
    assert "has none of them" in refusal("mnist", laid({"a.txt": b""}, tmp_path / "b"))


def test_what_cannot_be_opened_does_not_hide_what_can(tmp_path):
    laid(files_of("idx"), tmp_path / "raw")
    (tmp_path / "mnist.zip").symlink_to(tmp_path / "none")
    laid({"mnist.tar.gz": b"\x1f\x8bno archive"}, tmp_path / "a")
    taken("idx", tmp_path)
    (tmp_path / "raw/t10k-labels-idx1-ubyte").unlink()
    assert "2 other places were tried" in refusal("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("digits", "got digits"), ("MNIST", "mean mnist"), ("CIFAR-10", "mean cifar10")],
)
def test_only_public_sets_are_imported(name, said, tmp_path):
    with pytest.raises(Refused, match=said):
        import_data(name, tmp_path, cache=tmp_path)


def test_only_what_is_there_is_imported(tmp_path):
    with pytest.raises(Refused, match="a file or a folder that is there"):
        prepare("mnist", at_hand=tmp_path / "none", cache=tmp_path)


def test_a_picture_of_another_kind_is_named(tmp_path):
    files = files_of("pngs")
    folder = laid(files, tmp_path)
    Image.new("L", (32, 32)).save(folder / next(iter(files)))
    assert "three 8-bit colours" in refusal("cifar10", folder)


def test_damaged_pictures_are_named(tmp_path):
    files, rng = files_of("pngs"), np.random.default_rng(0)
    folder, victim = laid(files, tmp_path), next(iter(files))
    for _ in range(20):
        (folder / victim).write_bytes(damaged(files[victim], rng))
        try:
            taken("pngs", folder)
        except Refused as found:
            said = str(found)
    assert f"{victim} is none" in said or "must have the published pixels" in said
    (folder / victim).unlink()
    os.mkfifo(folder / victim)
    assert "no plain file" in refusal("cifar10", folder)


# --- hostile ------------------------------------------------------------------------


class Attack:
    """What a pickle can do to those who load it."""

    def __init__(self, call, *words):
        self.call, self.words = call, words

    def __reduce__(self):
        return self.call, self.words


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("call", [os.mkdir, eval, np.load, getattr, bytearray.extend])
def test_a_pickle_runs_nothing(call, protocol, tmp_path):
    """Whatever it asks for: modules, built-ins, and NumPy's own functions."""
    files, made = files_of("python"), tmp_path / "made"
    word = f"__import__('os').mkdir({str(made)!r})" if call is eval else str(made)
    attack = {b"data": Attack(call, word), b"labels": []}
    files["data_batch_2"] = pickle.dumps(attack, protocol)
    said = refusal("cifar10", laid(files, tmp_path / "in"))
    assert "data_batch_2 asks for" in said
    assert "which no data need" in said
    assert not made.exists()


def test_a_pickle_changes_nothing_that_the_next_one_is_given(tmp_path):
    """Build sets attributes of what was named: here of numpy's array."""
    spoil = b"cnumpy\ndtype\n(dS'__init__'\nNsb."
    files = {**files_of("python"), "data_batch_1": spoil}
    refusal("cifar10", laid(files, tmp_path / "in"))
    taken("python", laid(files_of("python"), tmp_path / "next"))
    assert np.dtype("u1").itemsize == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02r\xff\xff\xff\xff.", id="a wild place in its memory"),
        pytest.param(b"\x80\x05\x96" + struct.pack("<Q", 1 << 45), id="a huge array"),
        pytest.param(b"\x80\x02" + b"(" * 30_000 + b"t.", id="deep"),
        pytest.param(b"\x80\x02" + b"N0" * 400_000 + b".", id="endless"),
    ],
)
def test_a_pickle_takes_neither_time_nor_memory(content, tmp_path):
    files = {**files_of("python"), "data_batch_1": content}
    start = time.process_time()
    assert "data_batch_1" in refusal("cifar10", laid(files, tmp_path))
    assert time.process_time() - start < LONGEST


@pytest.mark.parametrize("pack", [tarred, zipped])
def test_what_unpacks_to_more_than_any_is_refused(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "LARGEST", 1 << 20)
    bounded = packed.bounded
    monkeypatch.setattr(packed, "bounded", lambda file: bounded(file, 1 << 20))
    files = {**files_of("binary"), "data_batch_1.bin": bytes(2 << 20)}
    said = refusal("cifar10", pack(files, tmp_path / "a.tar.zip"))
    assert "has more than 1 MB" in said


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "TOTAL", 1 << 20)
    where = tarred(
        {"other": bytes(3 << 20), **files_of("binary")}, tmp_path / "a.tar.gz"
    )
    assert "unpacks to more than 1 MB" in refusal("cifar10", where)


def test_an_array_that_states_more_than_it_has_takes_no_memory(tmp_path):
    header = io.BytesIO()
    told = {"descr": "|u1", "fortran_order": False, "shape": (1 << 44, 28, 28)}
    np.lib.format.write_array_header_1_0(header, told)
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for name in carriers.ARRAYS:
            archive.writestr(f"{name}.npy", header.getvalue())
    assert "states (17592186044416, 28, 28)" in refusal("mnist", tmp_path)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path):
    folder = laid(files_of("idx"), tmp_path)
    (folder / "train-images-idx3-ubyte").unlink()
    os.mkfifo(folder / "train-images-idx3-ubyte")
    assert "no plain file" in refusal("mnist", folder)
    assert "no plain file" in refusal("mnist", folder / "train-images-idx3-ubyte")


# Form -> how it is packed; each is damaged in DAMAGED ways.
DAMAGED = 200
PACKED = {
    **dict.fromkeys(("idx", "idx packed anew", "npz", "records", "python", "binary")),
    "python in a tar": tarred,
    "idx in a zip": zipped,
}


def damaged(content, rng):
    """A copy with some bytes changed, cut, doubled, moved or blanked."""
    spoilt, at = bytearray(content), rng.integers(len(content), size=2)
    low, high = sorted(int(place) for place in at)
    high = min(high, low + 64)
    match rng.integers(6):
        case 0:
            del spoilt[low:]
        case 1:
            del spoilt[low:high]
        case 2:
            spoilt[low:low] = spoilt[low:high]
        case 3:
            spoilt[low:high] = bytes(high - low)
        case 4:  # where headers are
            for place in rng.integers(min(64, len(spoilt)), size=3):
                spoilt[place] = rng.integers(256)
        case _:
            for place in rng.integers(len(spoilt), size=8):
                spoilt[place] = rng.integers(256)
    return bytes(spoilt)


@pytest.mark.parametrize("form", PACKED)
def test_damage_is_refused_in_one_line_or_makes_no_difference(
    form, tmp_path, monkeypatch
):
    """No traceback, no second of waiting, and never other pictures."""
    plain, pack = form.partition(" in a ")[0], PACKED[form]
    files, rng, path = files_of(plain), np.random.default_rng(13), tmp_path
    if pack:
        path = pack(files, tmp_path / "a.tar.zip")
        files = {path.name: path.read_bytes()}
    said = []
    for k in range(DAMAGED):
        victim = list(files)[k % len(files)]
        spoilt = files | {victim: damaged(files[victim], rng)}
        if pack:
            path.write_bytes(spoilt[victim])
        lies = [packed.File("F", n, partial(bytes, c)) for n, c in spoilt.items()]
        monkeypatch.setattr(at_hand, "files_below", lambda root, closed, f=lies: f)
        start = time.process_time()
        try:
            taken(plain, path)
        except Refused as refusal:
            said.append(str(refusal))
        assert time.process_time() - start < LONGEST
    assert len(said) > DAMAGED // 2
    assert not [line for line in said if "\n" in line]

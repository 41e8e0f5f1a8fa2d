"""The libraries' weights files: what is understood, and what else is named as it is.

Values take no place in most of these files: the names and shapes are Inception v3's.
`test_weights_files.py` has whole ones, written by the official builders.
"""

import argparse
import io
import json
import os
import shlex
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save

from benchmarks.engine.chosen import from_file
from common import codec, library_files, model_file
from common.errors import Refused
from common.inception import InceptionSpec, units
from common.library_files import forms, names
from common.library_files.keras_names import graph_order
from common.library_files.names import located
from common.library_files.recognise import kind_of
from common.library_files.stored import Stored
from common.library_files.torch_names import TORCH_NORM, from_torch, torch_key
from common.model_file import About
from common.results import Store
from common.spec import MLPSpec
from common.weights import draw, write

ROOT = Path(__file__).parent.parent
CLASSES = 7


@pytest.fixture
def hollow(monkeypatch):
    """Files may be smaller than what they declare."""
    monkeypatch.setattr(names, "_check_size", lambda *_: None)


def spec_of(classes=CLASSES, *, aux=False):
    return InceptionSpec(image=(299, 299, 3), classes=classes, aux=aux, norm=TORCH_NORM)


def shapes(spec, *, head=True):
    """Key of torchvision's -> its shape."""
    found = {}
    for name, record in spec.weights.items():
        key, axes = torch_key(name)
        if head or not key.startswith("fc."):
            found[key] = tuple(record.shape[axes.index(i)] for i in range(len(axes)))
    return found


def state(classes=CLASSES, *, aux=False, head=True, before="", dtype=torch.float32):
    """A state dict of which every tensor is one value."""
    one = torch.zeros((), dtype=dtype)
    rows = shapes(spec_of(classes, aux=aux), head=head)
    found = {f"{before}{key}": one.expand(shape) for key, shape in rows.items()}
    return found | {f"{before}Mixed_5b.branch1x1.bn.num_batches_tracked": one.long()}


def stored(shape, dtype="float32", value=0.0):
    kind = {"bfloat16": "uint16"}.get(dtype, dtype)
    return Stored(
        shape=shape, dtype=dtype, read=lambda: np.full(shape, value).astype(kind)
    )


def fakes(classes=CLASSES, *, aux=False, head=True):
    """The same as `state`, as they are when a file has been looked into."""
    rows = shapes(spec_of(classes, aux=aux), head=head)
    return {key: stored(shape) for key, shape in rows.items()}


def refusal(path, read=library_files.read):
    """The line with which a file is refused, or none; never anything else."""
    began = time.process_time()
    try:
        read(path)
        said = None
    except Refused as error:
        said = str(error)
        assert len(said.splitlines()) == 1
        assert str(path) in said
    assert time.process_time() - began < 1
    return said


# --- what a file is -----------------------------------------------------------------

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 95399217\n"
ONNX = b"\x08\x07\x12\x07pytorch\x1a\x051.9.0:\x8d\xb7\x01"
GRAPH = b"\n>\n\x13DecodeJpeg/contents\x12\x05Const"
TABLE = b"\x00\x00\x08\x01model/conv" + bytes.fromhex("57fb808b247547db")


@pytest.mark.parametrize(
    ("name", "content", "what", "cure"),
    [
        ("a.pth", b"", "is empty", "download or copy it again"),
        ("a.pth", LFS, "is a Git LFS pointer", "git lfs pull"),
        ("a.h5", b"<!DOCTYPE html><html>", "is a web page", "'resolve' in place of"),
        ("a.h5", b"\xef\xbb\xbf\n <HTML>", "is a web page", "'raw' on GitHub"),
        ("a.safetensors", b"\0" * 5000, "nothing but zeros", "download"),
        ("a.onnx", ONNX, "is an ONNX file", "torch.save"),
        ("a.bin", ONNX, "is an ONNX file", "torch.save"),
        ("graph.pb", GRAPH, "is a TensorFlow graph", "--from keras"),
        ("graph", GRAPH, "is a TensorFlow graph", "--from keras"),
        ("model.ckpt", TABLE, "is a TensorFlow checkpoint", "x.weights.h5"),
        (
            "m.data-00000-of-00001",
            b"\x9a\x1f" * 9,
            "is a TensorFlow ch",
            "--from keras",
        ),
        ("checkpoint", b'model_checkpoint_path: "m"', "is a TensorFlow ch", "--from"),
        ("a.tflite", b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite", "--from keras"),
        ("a.tar.gz", b"\x1f\x8b\x08\0", "is compressed by gzip", "unpack it"),
        ("a.pth", b"x" * 257 + b"ustar\0", "is a tar archive", "unpack it"),
        ("a.npy", b"\x93NUMPY\x01\0", "is a single NumPy array", "torch.save"),
        ("a.pkl", b"\x80\x04}\x94.", "a plain pickle", "torch.save"),
        ("a.json", b'{"class_name": "Functional"}', "is JSON", "the file that has"),
        ("a.txt", b"hello\n", "is a text", "name the weights file"),
        ("a.txt", "h\u00e9llo\n".encode(), "is a text", "name the weights file"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "is a picture", "name the weights file"),
        ("a.pth", b"\x01\x02\x03\x04\xff\xfe", "none that is known", "torch.save"),
        ("a.zip", b"PK\x05\x06" + b"\0" * 18, "is an empty zip", "again"),
        ("a.pth", b"PK\x03\x04 and nothing", "is cut off or damaged: a zip", "again"),
    ],
)
def test_what_is_no_weights_file_is_named_with_its_cure(
    name, content, what, cure, tmp_path
):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (library_files.read, model_file.load):  # --from and --weights
        said = refusal(path, read)
        assert f"{path} {what}" in said or what in said
        assert cure in said.partition(str(path))[2]


@pytest.mark.parametrize(
    ("inside", "what", "cure"),
    [
        ("saved_model.pb", "the folder of a TensorFlow SavedModel", "x.weights.h5"),
        ("model.ckpt.index", "a TensorFlow checkpoint", "--from keras"),
        ("model.safetensors", "a folder", "model.safetensors"),
        ("data.pkl", "a torch file that was unpacked", "as it was downloaded"),
        ("notes", "a folder", "name the file"),
    ],
)
def test_a_folder_is_named_as_what_it_is(inside, what, cure, tmp_path):
    (tmp_path / inside).write_bytes(b"")
    said = refusal(tmp_path)
    assert f"is {what}" in said
    assert cure in said


def test_a_checkpoints_prefix_is_no_file_and_still_one(tmp_path):
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    assert "is a TensorFlow checkpoint" in refusal(tmp_path / "model.ckpt")
    assert "must exist" in refusal(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (("m/data.pkl", "m/constants.pkl", "m/code/m.py"), "a TorchScript program"),
        (("arr_0.npy",), "NumPy's .npz"),
        (("weights/model.pth",), "a zip of something else"),
    ],
)
def test_a_zip_of_something_else_is_named(entries, what, tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            archive.writestr(entry, b"")
    assert f"is {what}" in refusal(path)


# --- torch's files ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", None),
        ("module.", "prefix module. removed"),
        ("_orig_mod.", "prefix _orig_mod. removed"),
        ("module._orig_mod.", "prefix module. and _orig_mod. removed"),
        ("_orig_mod.module.", "prefix module. and _orig_mod. removed"),
        ("model.", "taken from below 'model.'"),
        ("0.", "taken from below '0.'"),
        ("module.backbone.", "taken from below 'backbone.'"),
    ],
)
def test_keys_behind_a_prefix_are_found(before, said, hollow, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(state(before=before), path)
    found = located(path)
    assert found.spec.classes == CLASSES
    assert (not found.said) if said is None else (said in found.said)


class Own:
    """An object of the user's own, which only his program can make."""


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "weights"])
def test_a_dict_around_the_state_dict_is_opened(key, zipped, hollow, tmp_path):
    """With what a training leaves beside it, objects that are never made included."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    beside = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "own": Own(),
        "seen": {1, 2},
    }
    path = tmp_path / "checkpoint.pth"
    whole = {key: state(before="module."), **beside}
    torch.save(whole, path, _use_new_zipfile_serialization=zipped)
    assert located(path).said == (
        f"taken from key '{key}'; also there: epoch, optimizer, args, best, own, seen",
        "prefix module. removed",
    )


def test_what_is_no_tensor_in_a_state_dict_is_said(hollow, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"model": state() | {"version": 2}, "epoch": 1}, path)
    assert located(path).said == (
        "taken from key 'model'; also there: epoch",
        "also there: version",
    )
    torch.save(state() | {"epoch": 1, "args": Own()}, path)
    assert located(path).said == ("also there: epoch, args",)


def test_of_several_state_dicts_the_usual_one_is_taken_and_said(hollow, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"state_dict_ema": state(), "state_dict": state()}, path)
    assert located(path).said[0] == (
        "taken from key 'state_dict'; also there: state_dict_ema"
    )
    torch.save({"student": state(), "teacher": state()}, path)
    assert "it has 2 state dicts: student, teacher; save one" in refusal(path)
    torch.save(state(before="student.") | state(before="teacher."), path)
    assert "it has 2 networks: student., teacher.; save one" in refusal(path)


@pytest.mark.parametrize("key", [None, "model"])
def test_a_whole_module_is_refused_because_it_would_run_code(key, tmp_path):
    path = tmp_path / "whole.pth"
    module = torch.nn.Linear(2, 2)
    torch.save({key: module, "epoch": 1} if key else module, path)
    said = refusal(path)
    assert "an object, 'torch.nn.modules.linear.Linear': to open it would run" in said
    assert "torch.save(model.state_dict(), " in said


@pytest.mark.parametrize("aux", [True, False])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_safetensors_have_torchvisions_and_timms_names(dtype, aux, tmp_path):
    """Which are the same, but for the auxiliary head: of timm's, tv_in1k has it."""
    path = tmp_path / "model.safetensors"
    declared(path, shapes(spec_of(aux=aux)), dtype)
    found = located(path)
    assert found.spec.aux is aux
    assert found.rows.keys() == found.spec.weights.keys()
    values = found.rows["fc.bias"].values("fc.bias")
    assert (values == np.zeros(CLASSES, np.float32)).all()


def declared(path, rows, dtype):
    """A safetensors file whose values are a hole, which takes no place on the disk."""
    size = {"F64": 8, "F32": 4}.get(dtype, 2)
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in rows.items():
        end = at + size * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, path.stat().st_size + at)


@pytest.mark.parametrize(
    ("dtype", "value"), [("float16", 0.1), ("bfloat16", 0x3F80), ("float64", 0.5)]
)
def test_values_of_other_floats_stay_what_they_are(dtype, value):
    single = stored((3,), dtype, value).values("fc.bias")
    assert single.dtype == np.float32
    expected = {"float16": np.float16(0.1), "bfloat16": 1.0, "float64": 0.5}[dtype]
    assert (single == expected).all()


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", np.nan, "fc.bias has values that are not finite"),
        ("bfloat16", 0x7F80, "fc.bias has values that are not finite"),
        ("float64", 1 / 3, "fc.bias is float64 and would be rounded to float32"),
        ("float64", 1e300, "fc.bias is float64 and would be rounded to float32"),
    ],
)
def test_values_that_would_change_are_refused(dtype, value, message):
    with pytest.raises(ValueError, match=message):
        stored((3,), dtype, value).values("fc.bias")


# --- heads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, None),
        (
            {"fc.0.weight": (512, 2048), "fc.3.weight": (5, 512)},
            "left out: fc.0.weight 512x2048, fc.3.weight 5x512",
        ),
        ({"dense.weight": (5, 2048)}, "left out: dense.weight 5x2048"),
        ({"fc.weight": (5, 2048)}, "left out: fc.weight 5x2048"),  # without bias
    ],
)
def test_a_network_without_its_own_head_is_a_base(given, left):
    found = from_torch(fakes(head=False) | {k: stored(v) for k, v in given.items()})
    assert found.spec.classes == 2048
    assert "fc.kernel" not in found.rows
    assert found.said[0].startswith("no last layer: imported as a base")
    assert found.said[1:] == ((left,) if left else ())


def test_a_head_by_another_name_that_is_the_same_is_the_head():
    given = fakes(head=False)
    given |= {"last_linear.weight": stored((5, 2048)), "last_linear.bias": stored((5,))}
    found = from_torch(given)
    assert found.spec.classes == 5
    assert found.said == ()


@pytest.mark.parametrize("head", [True, False])
def test_an_auxiliary_head_of_other_classes_is_left_out_and_said(head):
    given = fakes(1000, aux=True, head=False)
    if head:
        given |= {"fc.weight": stored((2, 2048)), "fc.bias": stored((2,))}
    found = from_torch(given)
    assert found.spec.aux is False
    assert "the auxiliary head is left out: it is for 1,000 classes" in found.said


def test_a_background_class_is_left_out_as_timm_does(hollow, tmp_path):
    """The first files of timm's tf_ networks have it, and so has the 2016 graph."""
    path = tmp_path / "tf_inception_v3.pth"
    torch.save(state(1001), path)
    found = located(path)
    assert found.spec.classes == 1000
    assert found.rows["fc.kernel"].shape == (2048, 1000)
    assert found.rows["fc.kernel"].read().shape == (2048, 1000)
    assert "1,001 classes: the first, a background" in found.said[0]


@pytest.mark.parametrize(
    "key", ["Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.bn.bias"]
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gone", "missing or unexpected|it has no Conv2d_1a_3x3.conv.weight"),
        ("renamed", "missing or unexpected|it has no Conv2d_1a_3x3.conv.weight"),
        ("shape", "the spec says"),
        ("axes", r"axes, it has shape \(\)"),
        ("integer", "must be floating, it is int8"),
        ("more", "missing or unexpected: .*Mixed_5b.more"),
    ],
)
def test_tensors_that_are_others_are_named(key, change, message):
    given = fakes()
    if change in ("gone", "renamed"):
        row = given.pop(key)
        if change == "renamed":
            given[key.replace("_", "-")] = row
    elif change == "more":
        given["Mixed_5b.more.weight"] = stored((1,))
    else:
        shape = given[key].shape
        shape = {"shape": (*shape[:-1], 17), "axes": ()}.get(change, shape)
        given[key] = stored(shape, "int8" if change == "integer" else "float32")
    with pytest.raises(ValueError, match=message):
        from_torch(given)


# --- Keras's files ------------------------------------------------------------------


def keras_arrays(*, numbered, top=True, gamma=False):
    """Layer -> array -> shape, as InceptionV3's files have them."""
    spec = InceptionSpec(image=(299, 299, 3), classes=CLASSES)
    rows = {name: record.shape for name, record in spec.weights.items()}
    leaves = ("gamma", "beta", "moving_mean", "moving_variance")[not gamma :]
    order = graph_order(spec) if numbered else units(spec)
    found = {}
    for i, unit in enumerate(order):
        number = f"_{i}" if i else ""
        found[f"conv2d{number}"] = {"kernel": rows[f"{unit}.conv.kernel"]}
        norm = dict.fromkeys(leaves, rows[f"{unit}.bn.mean"])
        found[f"batch_normalization{number}"] = norm
    if top:
        head = "dense" if numbered else "predictions"
        found[head] = {"kernel": (2048, CLASSES), "bias": (CLASSES,)}
    return found


def numbered_h5(file, layers, place="layers", called=None):
    """Keras 3: layers/conv2d_1/vars/0, with the layer's name in an attribute."""
    for layer, arrays in layers.items():
        group = file.create_group(f"{place}/{layer}/vars")
        if called is not None:
            group.attrs["name"] = called.get(layer, layer)
        for i, shape in enumerate(arrays.values()):
            group.create_dataset(str(i), shape, "f4")


def named_h5(file, layers, model=None):
    """Before: conv2d_1/conv2d_1/kernel:0, or all of a model in a group of its own."""
    outer = [model] if model else list(layers)
    file.attrs["layer_names"] = [name.encode() for name in outer]
    listed = {name: [] for name in outer}
    for layer, arrays in layers.items():
        top = model or layer
        for leaf, shape in arrays.items():
            file.create_dataset(f"{top}/{layer}/{leaf}:0", shape, "f4")
            listed[top].append(f"{layer}/{leaf}:0".encode())
    for name, rows in listed.items():
        file[name].attrs["weight_names"] = rows


@pytest.mark.parametrize("gamma", [True, False])
@pytest.mark.parametrize("form", ["named", "numbered", "zip", "whole", "nameless"])
def test_each_of_kerass_forms_is_found(form, gamma, hollow, tmp_path):
    path = tmp_path / ("a.keras" if form == "zip" else "a.h5")
    layers = keras_arrays(numbered=form not in ("named", "whole"), gamma=gamma)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        if form in ("named", "whole"):
            named_h5(
                file.create_group("model_weights") if form == "whole" else file, layers
            )
        else:
            called = None if form == "nameless" else {"dense": "predictions"}
            numbered_h5(file, layers, called=called)
        if form == "whole":
            file.create_group("optimizer_weights")["iterations"] = np.int64(3)
        if form == "zip":
            file["optimizer/vars/0"] = np.int64(3)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", content.getvalue())
    else:
        path.write_bytes(content.getvalue())
    found = located(path)
    assert (found.spec.classes, found.spec.norm.scale) == (CLASSES, gamma)
    assert found.rows.keys() == found.spec.weights.keys()
    said = {
        "whole": ("also there: optimizer_weights",),
        "zip": ("also there: optimizer",),
        "nameless": ("its one dense layer, which has no name, is taken for the last",),
    }
    assert found.said == said.get(form, ())


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("kind", ["no top", "other head", "nested"])
def test_a_keras_network_without_predictions_is_a_base(
    kind, numbered, hollow, tmp_path
):
    path = tmp_path / "a.weights.h5"
    layers = keras_arrays(numbered=numbered, top=False)
    head = {"dense": {"kernel": (2048, 5), "bias": (5,)}}
    with h5py.File(path, "w") as file:
        if numbered:
            place = "layers/functional/layers" if kind == "nested" else "layers"
            numbered_h5(file, layers, place, {})
            if kind != "no top":
                numbered_h5(file, head, called={"dense": "answer"})
        else:
            named_h5(file, layers, "inception_v3" if kind == "nested" else None)
            if kind != "no top":
                other = file.create_group("answer")
                other.attrs["weight_names"] = [b"k", b"b"]
                for leaf, shape in head["dense"].items():
                    other.create_dataset(f"sequential/answer/{leaf}", shape, "f4")
    found = located(path)
    assert found.spec.classes == 2048
    said = " ".join(found.said)
    assert "no last layer: imported as a base" in said
    assert ("left out: answer/" in said) is (kind != "no top")
    assert ("taken from the model" in said) is (kind == "nested")


def test_two_networks_in_a_keras_file_are_not_chosen_from(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        for place in ("layers/functional/layers", "layers/functional_1/layers"):
            numbered_h5(file, keras_arrays(numbered=True), place, {})
    assert "it has 2 networks: layers/functional/layers, layers/funct" in refusal(path)


def test_another_keras_network_is_refused_by_what_it_has(tmp_path):
    path = tmp_path / "resnet.weights.h5"
    with h5py.File(path, "w") as file:
        numbered_h5(file, {"conv2d": {"kernel": (7, 7, 3, 64)}}, called={})
    assert "it has 1 convolutions and 0 batch norms, not 94 and 94" in refusal(path)


# --- what is done with them ---------------------------------------------------------


@pytest.mark.parametrize("name", ["a.pth", "my weights/it's.pt", "v1.2.pth"])
def test_a_librarys_file_as_weights_is_answered_with_the_import(name, hollow, tmp_path):
    """The command in the line has the file's own name, whatever is in it."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save(state(), path)
    said = refusal(path, model_file.load)
    command = shlex.split(said.partition("import it: ")[2])
    output = path.with_name(f"{path.stem}.twintrack.safetensors")
    assert command == [
        *("twintrack", "weights", "import", "inception-v3"),
        *("--from", str(path), "--output", str(output)),
    ]


def test_another_networks_file_as_weights_is_not_sent_to_the_import(tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    said = refusal(path, model_file.load)
    assert "it has no Conv2d_1a_3x3.conv.weight; it has conv1.weight" in said
    assert "import it" not in said
    assert "must say what network it is of" in said


def test_our_own_file_is_not_imported_again(tmp_path):
    path = tmp_path / "own.safetensors"
    spec = MLPSpec(image=(8, 8, 1), classes=2, hidden=(4,))
    model_file.save(path, spec, draw(spec.weights, 0), About())
    assert "is twintrack's own file already; name it with --weights" in refusal(path)


@pytest.mark.parametrize("library", ["torchvision", "keras"])
@pytest.mark.parametrize("name", ["weights", "a.onnx", "a.H5", ".h5", "a.pth.h5.zip"])
def test_a_suffix_that_promises_nothing_is_refused_with_those_that_do(library, name):
    with pytest.raises(Refused, match="knows a file by its suffix, got") as said:
        forms.form_of(library, Path(name))
    assert all(suffix in str(said.value) for suffix in forms.FORMS[library])


@pytest.mark.parametrize(
    ("library", "name"), [("torchvision", "a.weights.h5"), ("keras", "a.pth")]
)
def test_the_other_librarys_suffix_is_refused(library, name):
    with pytest.raises(Refused, match="knows a file by its suffix"):
        forms.form_of(library, Path(name))


def test_the_longer_suffix_is_the_form():
    assert forms.form_of("keras", Path("a.weights.h5")) == ".weights.h5"
    assert forms.form_of("keras", Path("inception_v3_weights.h5")) == ".h5"


def test_a_file_that_was_not_loaded_back_does_not_appear(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"before")

    def other_values():
        with forms.checked(path) as place:
            place.write_bytes(b"after")
            raise ValueError("other values")

    with pytest.raises(ValueError, match="other values"):
        other_values()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_bad_file_is_refused_without_a_framework(tmp_path):
    """In the child of the command, of which every kind of file goes through one."""
    paths = [tmp_path / name for name in ("a.pth", "a.safetensors", "a.weights.h5")]
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2)}}, paths[0])
    paths[1].write_bytes(save({"conv1.weight": np.zeros(2)}))
    with h5py.File(paths[2], "w") as file:
        numbered_h5(file, {"conv2d": {"kernel": (1,)}}, called={})
    code = (
        "import sys; from benchmarks.weights import convert\n"
        "for path in sys.argv[1:]:\n"
        "    try: convert(dict(file=path, library='', pixels='half'), None)\n"
        "    except ValueError as error: print(type(error).__name__)\n"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    *said, loaded = out.stdout.splitlines()
    assert said == ["Refused"] * 3
    assert not {"torch", "tensorflow", "keras"} & set(loaded.split())


# --- bad input ----------------------------------------------------------------------

SMALL = {"Conv2d_1a_3x3.conv.weight": np.ones((32, 3, 3, 3), "f4")}


def small(kind, path):
    """A small file of a kind, which parses and is no Inception v3."""
    tensors = {key: torch.from_numpy(value) for key, value in SMALL.items()}
    layers = {"conv2d": {"kernel": (3, 3, 3, 32)}, "dense": {"kernel": (9, 2)}}
    if kind.startswith("torch"):
        zipped = kind == "torch zip"
        torch.save({"model": tensors}, path, _use_new_zipfile_serialization=zipped)
    elif kind == "safetensors":
        path.write_bytes(save(SMALL, {"format": "pt"}))
    elif kind == "own":
        spec = MLPSpec(image=(4, 4, 1), classes=2, hidden=(4,))
        model_file.save(path, spec, draw(spec.weights, 0), About())
    else:
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            write = named_h5 if kind == "named" else numbered_h5
            write(file, layers)
        path.write_bytes(content.getvalue())
        if kind == "keras zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("model.weights.h5", content.getvalue())


def mutants(whole, n, rng):
    """Copies cut, lengthened, with bytes flipped, or a stretch of zeros or noise."""
    for k in range(n):
        at = int(rng.integers(len(whole)))
        to = min(len(whole), at + int(rng.integers(1, 64)))
        noise = rng.bytes(to - at)
        yield [
            whole[:at],
            whole[:at]
            + bytes([whole[at] ^ int(rng.integers(1, 256))])
            + whole[at + 1 :],
            whole[:at] + bytes(to - at) + whole[to:],
            whole[:at] + noise + whole[to:],
            whole[:at] + whole[to:],
        ][k % 5]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "kind",
    ["torch zip", "torch legacy", "safetensors", "named", "numbered", "keras zip"],
)
def test_no_byte_of_a_file_is_trusted(kind, tmp_path):
    """200 of each kind: refused in a line, within a second, whatever has changed."""
    path = tmp_path / "small.weights"
    small(kind, path)
    rng = np.random.default_rng(0)
    for content in mutants(path.read_bytes(), 200, rng):
        path.write_bytes(content)
        assert refusal(path)


def test_no_byte_of_our_own_file_is_trusted(tmp_path):
    """Read as what it was, or refused; its values have no check sum."""
    path = tmp_path / "small.safetensors"
    small("own", path)
    rng = np.random.default_rng(0)
    for content in mutants(path.read_bytes(), 200, rng):
        path.write_bytes(content)
        refusal(path, model_file.load)
        refusal(path)


@pytest.mark.parametrize("key", ["spec", "classes", "facts"])
@pytest.mark.parametrize(
    "text", ["", "5", "null", "[1, 2]", '"ab"', "{", '{"is": 5}', "[" * 100_000]
)
def test_a_header_of_our_own_with_odd_values_is_refused(key, text, tmp_path):
    path = tmp_path / "own.safetensors"
    spec = MLPSpec(image=(4, 4, 1), classes=2, hidden=(4,))
    header = {"spec": codec.dumps(spec), "classes": '["a", "b"]', "facts": "{}"}
    write(path, draw(spec.weights, 0), header | {key: text})
    said = refusal(path, lambda path: from_file(path, Store(tmp_path), *ASKED))
    assert (
        said or (key, text) == ("classes", '"ab"') or (key, text[:1]) == ("facts", "{")
    )


ASKED = (None, None, ["torch"])


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"(" * 50_000 + b".",
        b"\x80\x02]" + b"\x85" * 50_000 + b".",
        b"\x80\x02]" + b"2\x86" * 5_000 + b"s.",
        b"\x80\x02}" + b"N\x85" + b"2\x86" * 60 + b"K\x01s.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00a.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02N\x93.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02.",
    ],
)
def test_no_pickle_takes_memory_or_time_or_runs(pickled, tmp_path):
    """Deep, wide, long, with memos beyond reason, or with names: nothing is made."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
    assert refusal(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"a": 5}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1e9], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4000]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}}',
        b'{"__metadata__": 5}',
        b'{"\xff": 5}',
    ],
)
def test_a_safetensors_header_of_odd_values_is_refused(header, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert refusal(path)


def test_a_header_longer_than_its_file_is_not_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b'{"a": 5}')
    assert "its header says 1,099,511,627,776 bytes, the file has 16" in refusal(path)
    assert kind_of(path) == "safetensors"

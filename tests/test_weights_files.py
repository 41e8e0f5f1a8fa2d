"""Both libraries' files of Inception v3: read, written, and refused by name.

The files are in the real formats, made by the official builders with random weights.
"""

import json
import pickle
import re
import shlex
import shutil
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from sklearn.datasets import load_sample_images

import pt_track
import tf_track
from benchmarks.engine.chosen import FRAMING, SHOWN, from_file, imported
from benchmarks.transfer import base_of
from benchmarks.weights import convert, export_weights, import_weights
from common import codec, library_files, model_file
from common.errors import Refused
from common.heads import base_for, headless
from common.inception import InceptionSpec, folded, units
from common.library_files.forms import FORMS, remarks
from common.library_files.recognise import kind_of
from common.photos.decode import Framing, read
from common.recipe import Recipe, Staircase
from common.results import Store
from common.spec import CNNSpec, Conv, Dense, Flatten, MLPSpec, Norm, Pool, Scale
from common.weights import digest, random_weights

pytestmark = pytest.mark.heavy

# Relative, float64 and float32, after 48 layers: `parity.md` section 9; float64
# measured 7e-14 and float32 4e-5 (each framework alone is 3e-5 from its float64).
FLOAT64, FLOAT32 = 1e-11, 1e-4
CLASSES = 7
SIDES = (75, 299)


def photos(side):
    """The two photos that scikit-learn brings along, (2, side, side, 3), uint8."""
    framing = Framing(size=(side, side), how="centre", filter="bilinear")
    paths = load_sample_images().filenames
    return np.stack([read(Path(path), framing).pixels for path in paths])


def far(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def official_torch(classes=CLASSES, aux=True):
    return torchvision.models.inception_v3(
        weights=None, init_weights=False, aux_logits=aux, num_classes=classes
    )


def official_keras(side=299, dtype="float32"):
    keras.config.set_dtype_policy(dtype)
    keras.backend.set_floatx(dtype)
    try:
        return keras.applications.InceptionV3(
            weights=None,
            classes=CLASSES,
            classifier_activation=None,
            input_shape=(side, side, 3),
        )
    finally:
        keras.config.set_dtype_policy("float32")
        keras.backend.set_floatx("float32")


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    """A state dict as torchvision publishes it, every tensor random."""
    path = tmp_path_factory.mktemp("torch") / "inception_v3_google-0cc3c7bd.pth"
    rng = np.random.default_rng(0)
    state = {}
    for name, value in official_torch().state_dict().items():
        low, high = (0.5, 1.5) if name.endswith("running_var") else (-0.2, 0.2)
        if name.endswith("bn.weight"):
            low, high = 0.8, 1.2
        if name.endswith("weight") and value.ndim > 1:
            low, high = (x * (30 / value[0].numel()) ** 0.5 for x in (-1, 1))
        drawn = torch.from_numpy(rng.uniform(low, high, value.shape))
        state[name] = drawn.to(value.dtype) if value.ndim else value
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def keras_model():
    """InceptionV3 by Keras's own builder, every tensor random."""
    model = official_keras()
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            low, high = (0.5, 1.5) if "variance" in variable.name else (-0.2, 0.2)
            if len(shape) > 1:
                low, high = (x * (30 / np.prod(shape[:-1])) ** 0.5 for x in (-1, 1))
            variable.assign(rng.uniform(low, high, shape).astype(np.float32))
    return model


@pytest.fixture(scope="module")
def keras_file(keras_model, tmp_path_factory):
    """An .h5 in Keras's old layout, written by Keras itself."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    path = tmp_path_factory.mktemp("keras") / "inception_v3_weights.h5"
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, keras_model)
    return path


@pytest.fixture(scope="module")
def ours(torch_file, keras_file, tmp_path_factory):
    """What import makes of both, in children."""
    folder = tmp_path_factory.mktemp("ours")
    found = {}
    for kind, path in (("torchvision", torch_file), ("keras", keras_file)):
        output = folder / f"{kind}.safetensors"
        import_weights("inception-v3", source=str(path), output=output)
        found[kind] = output
    return found


def torch_logits(path, images, dtype):
    model = official_torch()
    model.load_state_dict(torch.load(path, weights_only=True))
    model.transform_input = False
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
    with torch.inference_mode():
        return model.eval().to(dtype)(x).double().numpy()


def keras_logits(path, images, dtype):
    model = official_keras(images.shape[1], dtype)
    model.load_weights(path)
    x = images.astype(dtype) / 127.5 - 1
    return model(x, training=False).numpy()


@pytest.mark.parametrize(
    ("dtype", "allowed"), [("float64", FLOAT64), ("float32", FLOAT32)]
)
@pytest.mark.parametrize("kind", ["torchvision", "keras"])
def test_both_tracks_are_the_official_network(
    kind, dtype, allowed, ours, torch_file, keras_file
):
    """At either size: the network is one, its pictures are not."""
    official = {}
    for side in SIDES:
        images = photos(side)
        if kind == "torchvision":
            official[side] = torch_logits(torch_file, images, getattr(torch, dtype))
        else:
            official[side] = keras_logits(keras_file, images, dtype)
    spec, weights, _ = model_file.load(ours[kind])
    for track in (pt_track, tf_track):
        predict = track.predictor(track.build(spec, weights=weights, dtype=dtype))
        for side in SIDES:
            assert far(predict(photos(side)), official[side]) < allowed, side


def test_the_official_networks_differ_from_each_other_by_their_border(ours):
    """The reason for the field: the same weights, 10 % and more apart."""
    spec, weights, _ = model_file.load(ours["torchvision"])
    images = photos(75)
    logits = [
        pt_track.predictor(
            pt_track.build(replace(spec, border=border), weights=weights)
        )(images)
        for border in ("include", "exclude")
    ]
    assert far(*logits) > 0.05


def test_the_header_says_what_the_network_is(ours):
    spec, _, about = model_file.load(ours["torchvision"])
    assert (spec.border, spec.aux, spec.norm.scale) == ("include", True, True)
    assert (spec.norm.variance, spec.dropout) == ("unbiased", 0.5)
    spec, _, about = model_file.load(ours["keras"])
    assert (spec.border, spec.aux, spec.norm.scale) == ("exclude", False, False)
    assert spec.norm.decay == 0.99
    assert "342" in about.preprocessing
    assert about.source == "keras, inception_v3_weights.h5"


@pytest.mark.parametrize("suffix", FORMS["torchvision"])
def test_torchs_file_comes_back_bit_for_bit(suffix, ours, torch_file, tmp_path):
    """As each suffix promises; one of them through the whole command."""
    output = tmp_path / f"back{suffix}"
    if suffix == ".pth":
        export_weights(ours["torchvision"], to="torchvision", output=output)
    else:
        spec, weights, _ = model_file.load(ours["torchvision"])
        pt_track.write_native(output, spec, weights)
    before = torch.load(torch_file, weights_only=True)
    load = safetensors.torch.load_file if suffix == ".safetensors" else torch.load
    after = load(output)
    assert before.keys() == after.keys()
    assert all(
        torch.equal(before[k], after[k]) for k in before if not k.endswith("_tracked")
    )
    official_torch().load_state_dict(after)
    output.unlink()


def loaded(suffix, path):
    """What Keras's own functions make of a file, as the documentation has it."""
    if suffix == ".h5":
        return keras.applications.InceptionV3(weights=path, classes=CLASSES)
    if suffix == ".keras":
        return keras.models.load_model(path)
    model = official_keras()
    model.load_weights(path)
    return model


@pytest.mark.parametrize("suffix", FORMS["keras"])
def test_kerass_file_comes_back_bit_for_bit(suffix, ours, keras_model, tmp_path):
    """As each suffix promises; one of them through the whole command."""
    output = tmp_path / f"back{suffix}"
    spec, weights, _ = model_file.load(ours["keras"])
    if suffix == ".weights.h5":
        export_weights(ours["keras"], to="keras", output=output)
    else:
        tf_track.write_native(output, spec, weights)
    again = loaded(suffix, output)
    pairs = zip(keras_model.get_weights(), again.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert again.layers[-1].activation is keras.activations.softmax or (
        suffix == ".weights.h5"
    )
    read_back = library_files.read(output)
    assert (read_back.spec, digest(read_back.weights)) == (spec, digest(weights))
    output.unlink()


def test_a_base_in_a_model_of_the_users_own_is_found(keras_model, ours, tmp_path):
    """As Keras writes it: nested in a Sequential, in each form, with an optimizer."""
    inside = keras.Model(keras_model.input, keras_model.layers[-2].output, name="base")
    model = keras.Sequential([inside, keras.layers.Dropout(0.2), keras.layers.Dense(5)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    _, weights, _ = model_file.load(ours["keras"])
    for name, save in (
        ("a.keras", model.save),
        ("a.weights.h5", model.save_weights),
        ("a.h5", model.save),
        ("bare.weights.h5", inside.save_weights),
    ):
        save(tmp_path / name)
        found = library_files.read(tmp_path / name)
        (tmp_path / name).unlink()
        assert found.base
        assert all(
            np.array_equal(value, found.weights[key])
            for key, value in weights.items()
            if not key.startswith("fc.")
        )
        said = " ".join(found.said)
        whole = name != "bare.weights.h5"
        assert ("left out: dense" in said) is whole
        assert ("also there: optimizer" in said) is whole


def test_factors_are_folded_for_keras(ours, tmp_path, capsys):
    with pytest.raises(Refused, match=r"exclude their padding and those of .* include"):
        export_weights(ours["torchvision"], to="keras", output=tmp_path / "no.h5")
    output = tmp_path / "folded.h5"
    export_weights(ours["torchvision"], to="keras", output=output, other_border=True)
    assert "factors are folded" in capsys.readouterr().out
    spec, weights, _ = model_file.load(ours["torchvision"])
    bare = replace(
        spec, aux=False, border="exclude", norm=replace(spec.norm, scale=False)
    )
    given = {n: v for n, v in folded(weights).items() if n in bare.weights}
    images = photos(75)
    expected = tf_track.predictor(tf_track.build(bare, weights=given))(images)
    assert far(keras_logits(output, images, "float32"), expected) < FLOAT32


def test_a_keras_file_goes_to_torch_as_ones(ours, tmp_path, capsys):
    output = tmp_path / "other.pth"
    export_weights(ours["keras"], to="torchvision", output=output, other_border=True)
    said = capsys.readouterr().out
    assert "no auxiliary head: build with aux_logits=False" in said
    assert "factors are ones" in said
    official_torch(aux=False).load_state_dict(torch.load(output, weights_only=True))


def test_pixels_of_another_scaling_are_stored_in_the_file(torch_file, tmp_path, capsys):
    """ImageNet's mean and deviation, which timm's gluon_in1k is shown."""
    output = tmp_path / "own.safetensors"
    import_weights("inception-v3", source=torch_file, output=output, pixels="imagenet")
    assert "pixels go in by ImageNet's mean and deviation" in capsys.readouterr().out
    spec, weights, about = model_file.load(output)
    output.unlink()
    assert about.preprocessing == SHOWN["imagenet"]
    assert all(words.startswith(FRAMING) for words in SHOWN.values())
    images = photos(75)
    model = official_torch()
    model.load_state_dict(torch.load(torch_file, weights_only=True))
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    shown = torchvision.transforms.functional.normalize(x / 255, mean, std)
    with torch.inference_mode():
        expected = model.eval()(shown).numpy()
    own = pt_track.predictor(pt_track.build(spec, weights=weights))(images)
    assert far(own, expected) < FLOAT32
    with pytest.raises(Refused, match="--pixels must be one of half, imagenet"):
        import_weights("inception-v3", source=torch_file, output=output, pixels="1")


def test_the_line_that_refuses_a_librarys_file_has_the_command_that_works(
    torch_file, tmp_path
):
    path = tmp_path / "my weights.pth"
    path.symlink_to(torch_file)
    asked = (Store(tmp_path), None, None, ["torch"])
    with pytest.raises(Refused, match="is torchvision's; import it: ") as refusal:
        from_file(path, *asked)
    words = shlex.split(str(refusal.value).partition("import it: ")[2])
    assert words[:4] == ["twintrack", "weights", "import", "inception-v3"]
    given = dict(zip(words[4::2], words[5::2], strict=True))
    import_weights(words[3], source=given["--from"], output=given["--output"])
    assert from_file(Path(given["--output"]), *asked).spec.classes == CLASSES
    Path(given["--output"]).unlink()


def test_a_base_gives_features_and_no_classes(torch_file, tmp_path, capsys):
    """What its file answers are the features that transfer learns from."""
    state = torch.load(torch_file, weights_only=True)
    bare = {k: v for k, v in state.items() if not k.startswith("fc.")}
    path, output = tmp_path / "base.pth", tmp_path / "base.safetensors"
    torch.save({"model_state_dict": bare, "epoch": 1}, path)
    convert_here(path, output)
    path.unlink()
    with pytest.raises(Refused, match="a base without a last layer; teach it some"):
        from_file(output, Store(tmp_path), None, None, ["torch"])
    with pytest.raises(Refused, match=r"no last layer .* name a \.weights\.h5"):
        export_weights(output, to="keras", output=tmp_path / "a.keras")
    base = base_of("features", output, None)
    spec, weights, _ = model_file.load(output)
    output.unlink()
    model = official_torch()
    model.load_state_dict(state)
    model.fc = torch.nn.Identity()
    images = photos(75)
    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
        expected = model.eval()(x).numpy()
    seen = base_for(base.spec, (75, 75, 3), 2)
    assert seen.classes == 2
    for given in ((spec, weights), headless(spec, weights)):
        own = pt_track.predictor(pt_track.build(given[0], weights=given[1]))(images)
        assert far(own, expected) < FLOAT32


def test_a_thousand_classes_are_taken_for_imagenets_and_said(torch_file, tmp_path):
    """The first files of timm's tf_ networks have a background before them."""
    state = torch.load(torch_file, weights_only=True)
    path, output = tmp_path / "tf_inception_v3.pth", tmp_path / "own.safetensors"
    state["fc.weight"] = torch.zeros(1001, 2048)
    state["fc.bias"] = torch.arange(1001.0)
    torch.save(state, path)
    found = convert_here(path, output)
    _, weights, about = model_file.load(output)
    path.unlink()
    output.unlink()
    assert (weights["fc.bias"] == np.arange(1, 1001)).all()
    assert about.classes[0] == "tench"
    said = "; ".join(found["said"])
    assert "the auxiliary head is left out: it is for 7 classes" in said
    assert "1,001 classes: the first, a background" in said
    assert "taken for ImageNet's" in said
    assert "needs --pixels imagenet" in said


class Bomb:
    """What a pickle may hold: a call that makes a file."""

    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return (Path.touch, (self.trap,))


def spoiled(kind, torch_file, keras_file, tmp_path):
    """A file that is not what it should be."""
    path = tmp_path / f"{kind}.weights"
    state = torch.load(torch_file, weights_only=True)
    if kind == "truncated torch":
        path.write_bytes(torch_file.read_bytes()[:-4000])
    elif kind == "truncated keras":
        path.write_bytes(keras_file.read_bytes()[:-4000])
    elif kind == "bomb":
        path.write_bytes(pickle.dumps({"fc.weight": Bomb(tmp_path / "trap")}))
    elif kind == "text":
        path.write_text("hello")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    else:
        if kind == "renamed":
            state["Mixed_5b.renamed"] = state.pop("Mixed_5b.branch1x1.conv.weight")
        if kind == "wrong shape":
            state["Conv2d_1a_3x3.conv.weight"] = torch.zeros(32, 3, 5, 5)
        torch.save(state, path)
    return path


def convert_here(path, output):
    """What the command has its child do, in this process: a child takes seconds."""
    kind_of(path)  # the command looks at its beginning before it starts a child
    values = {"library": "", "file": str(path), "output": str(output)}
    return convert(values | {"named": True, "pixels": "half"}, lambda *_, **__: None)


def import_in_a_child(path, output):
    import_weights("inception-v3", source=str(path), output=output)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated torch", "is cut off or damaged: a zip of"),
        ("truncated keras", "it is cut off: .* of .* bytes"),
        ("bomb", "is a plain pickle: to open it would run what it says"),
        ("text", "is a text"),
        ("empty", "is empty; download or copy it again"),
        ("list", "it holds a list"),
        ("renamed", "missing or unexpected: .*Mixed_5b"),
        ("wrong shape", "Conv2d_1a_3x3.conv.kernel: the spec says"),
    ],
)
def test_a_spoiled_file_is_refused_by_name(
    kind, message, torch_file, keras_file, tmp_path
):
    path = spoiled(kind, torch_file, keras_file, tmp_path)
    output = tmp_path / "out.safetensors"
    # One of each library's through the whole command.
    read_it = import_in_a_child if kind.startswith("truncated") else convert_here
    with pytest.raises(Refused, match=message) as refusal:
        read_it(path, output)
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not output.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_hostile_file_is_run(zipped, tmp_path):
    """Whoever trusts the file makes the trap; to import it does not."""
    trap, path = tmp_path / "trap", tmp_path / "bomb.pth"
    bomb = {"fc.weight": Bomb(trap)}
    torch.save(bomb, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert trap.exists()
    trap.unlink()
    with pytest.raises(Refused, match="to open it would run code"):
        convert_here(path, tmp_path / "out")
    assert not trap.exists()


class Huge:
    """What a pickle may ask for without a byte of it: a terabyte of zeros."""

    def __reduce__(self):
        return (bytearray, (2**40,))


def repeated():
    """A whole state dict of which every tensor is one value, for which no place is."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in official_torch().state_dict().items()}
    return {k: torch.zeros(()).expand(shape) for k, shape in shapes.items()}


def odd_torch(kind, path, torch_file):
    """A torch file that parses and is still none of Inception v3's."""
    state = {k: v for k, v in repeated().items() if v.ndim}
    if kind == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:-3])
        return
    if kind == "compressed":
        torch.save(state, path)
        with zipfile.ZipFile(path) as old:
            content = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name, value in content.items():
                new.writestr(name, value)
        return
    if kind in ("nan", "inf", "rounded", "odd"):
        state = torch.load(torch_file, weights_only=True, mmap=True)
        tensor = state["fc.bias"].double()
        state["fc.bias"] = tensor
        if kind == "rounded":
            tensor[3] = 1 / 3
        elif kind == "odd":
            state["fc.weight"] = torch.nn.Parameter(state["fc.weight"])
            state["Conv2d_1a_3x3.bn.bias"] = torch.ones(32, dtype=torch.bfloat16)
            state["Conv2d_1a_3x3.bn.weight"] = torch.ones(32, dtype=torch.float16)
        else:
            tensor[3] = float(kind)
    elif kind == "keys":
        state[1] = torch.zeros(2)
    elif kind == "huge":
        state["fc.bias"] = Huge()
    elif kind != "repeated":
        state["fc.weight"] = {
            "sparse": lambda: torch.zeros(2, 2048).to_sparse(),
            "meta": lambda: torch.zeros(2**30, 2**30, device="meta"),
            "no class": lambda: torch.zeros(0, 2048),
            "vector": lambda: torch.zeros(2048),
            "integer": lambda: torch.zeros(2, 2048, dtype=torch.int32),
            "boolean": lambda: torch.zeros(2, 2048, dtype=torch.bool),
            "complex": lambda: torch.zeros(2, 2048, dtype=torch.complex64),
        }[kind]()
    torch.save(state, path)


def refused(path):
    """The one line with which a file is refused, or none if it is read."""
    said = None
    try:
        library_files.read(path)
    except Refused as error:
        said = str(error)
    assert said is None or (path.name in said and len(said.splitlines()) == 1)
    return said


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("legacy", "must be a whole state dict"),
        ("compressed", "it is compressed"),
        ("repeated", "its tensors are larger than its .* bytes"),
        ("nan", "fc.bias has values that are not finite"),
        ("inf", "fc.bias has values that are not finite"),
        ("rounded", "fc.bias is float64 and would be rounded"),
        ("keys", "it has a key of type int"),
        ("huge", "'fc.bias' is no tensor but an object, '__builtin__.bytearray'"),
        ("sparse", "'fc.weight' is no tensor but .*'torch._utils._rebuild_sparse_te"),
        ("meta", "'fc.weight' is no tensor but .*_rebuild_meta_tensor_no_storage"),
        ("no class", "there must be a class, got 0"),
        ("vector", "its tensors are larger"),
        ("integer", "'fc.kernel' must be floating, it is int32"),
        ("boolean", "'fc.kernel' must be floating, it is bool"),
        ("complex", "'fc.kernel' must be floating, it is complex64"),
    ],
)
def test_an_odd_torch_file_is_refused(kind, message, torch_file, tmp_path):
    path = tmp_path / f"{kind}.pth"
    odd_torch(kind, path, torch_file)
    assert re.search(message, refused(path))
    path.unlink()  # pytest would keep 100 MB of each


def test_other_floats_are_taken_where_nothing_is_rounded(torch_file, tmp_path):
    path = tmp_path / "odd.pth"
    odd_torch("odd", path, torch_file)
    weights, expected = (library_files.read(p).weights for p in (path, torch_file))
    path.unlink()
    assert {value.dtype for value in weights.values()} == {np.dtype("float32")}
    assert np.array_equal(weights["fc.bias"], expected["fc.bias"])
    assert np.array_equal(weights["fc.kernel"], expected["fc.kernel"])
    assert (weights["Conv2d_1a_3x3.bn.scale"] == 1).all()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_no_byte_of_a_torch_file_is_trusted(zipped, tmp_path):
    """Cut anywhere, or with any byte changed: refused, in one line, or read."""
    path = tmp_path / "small.pth"
    state = OrderedDict({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)})
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cut = [whole[:n] for n in np.linspace(0, len(whole) - 1, 60).astype(int)]
    for at, change in zip(
        rng.integers(len(whole), size=60), rng.integers(1, 256, size=60), strict=True
    ):
        cut.append(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
    for content in cut:
        path.write_bytes(content)
        assert refused(path)  # the small one itself is no Inception


def declared(path):
    """An .h5 with the names and shapes of InceptionV3 and none of its values."""
    spec = InceptionSpec(image=(299, 299, 3), classes=CLASSES)
    shapes = {name: record.shape for name, record in spec.weights.items()}
    layers = {}
    for i, unit in enumerate(units(spec)):
        number = f"_{i}" if i else ""
        layers[f"conv2d{number}"] = {"kernel": shapes[f"{unit}.conv.kernel"]}
        leaves = ("beta", "moving_mean", "moving_variance")
        one = dict.fromkeys(leaves, shapes[f"{unit}.bn.mean"])
        layers[f"batch_normalization{number}"] = one
    layers["predictions"] = {"kernel": (2048, CLASSES), "bias": (CLASSES,)}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, leaves in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{n}:0".encode() for n in leaves]
            for leaf, shape in leaves.items():
                group.create_dataset(f"{leaf}:0", shape, "f4")


def odd_keras(kind, path):
    """An .h5 that HDF5 opens and that is still none of InceptionV3's."""
    declared(path)
    with h5py.File(path, "r+") as file:
        layer, name = file["conv2d"], "kernel:0"
        shape = layer[name].shape
        if kind == "integer names":
            file.attrs["layer_names"] = 5
        elif kind == "other names":
            layer.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        elif kind == "no names":
            del file["predictions"].attrs["weight_names"]
        elif kind == "array for group":
            del file["conv2d"]
            file["conv2d"] = np.zeros(3, np.float32)
        elif kind == "more leaves":
            layer["bias:0"] = np.zeros(32, np.float32)
            layer.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        elif kind == "fewer layers":
            del file["conv2d_3"], file["batch_normalization_3"]
        elif kind == "twice":
            file["dense"] = layer
        elif kind == "circle":
            layer["again"] = layer
        elif kind in ("no class", "vector", "many classes"):
            shape = {"no class": (2048, 0), "many classes": (2048, 2**40)}
            head = file["predictions"]
            for leaf in ("kernel:0", "bias:0"):
                del head[leaf]
            head.create_dataset("kernel:0", shape.get(kind, (2048,)), "f4")
            head.create_dataset("bias:0", shape.get(kind, (0, 7))[1:], "f4")
        elif kind != "declared":
            del layer[name]
            if kind == "group for array":
                layer.create_group(name)
            elif kind == "soft link":
                layer[name] = h5py.SoftLink("/conv2d_1/kernel:0")
            elif kind == "external link":
                other = path.with_name("other.h5")
                with h5py.File(other, "w") as theirs:
                    theirs["kernel"] = np.zeros(shape, np.float32)
                layer[name] = h5py.ExternalLink(str(other), "kernel")
            elif kind == "external values":
                raw = path.with_name("raw")
                raw.write_bytes(bytes(4 * 864))
                layer.create_dataset(name, shape, "f4", external=[(str(raw), 0, 3456)])
            elif kind == "compressed":
                layer.create_dataset(name, shape, "f4", compression="gzip")
            elif kind == "huge":
                layer.create_dataset(name, (2**40,), "f4")
            elif kind == "objects":
                layer.create_dataset(name, shape, h5py.string_dtype())
            elif kind == "integers":
                layer.create_dataset(name, shape, "i4")
            elif kind == "no values":
                layer.create_dataset(name, data=h5py.Empty("f4"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("declared", "its tensors are larger than its .* bytes"),
        ("integer names", "layer_names must list names, it is int64"),
        ("other names", "weight_names must list 1 arrays, it lists 2"),
        ("no names", "attribute.*weight_names"),
        ("array for group", "an array where a group must be"),
        ("group for array", "93 convolutions and 94 batch norms, not 94 and 94"),
        ("more leaves", r"'conv2d' has \['bias', 'kernel'\], not \['kernel'\]"),
        ("fewer layers", "93 convolutions and 93 batch norms, not 94 and 94"),
        ("twice", "'kernel:0' is in it twice"),
        ("circle", "'again' is in it twice"),
        ("no class", "there must be a class, got 0"),
        ("many classes", "its tensors are larger than its .* bytes"),
        ("vector", "no layer of predictions with a matrix"),
        ("soft link", "'kernel:0' is a link"),
        ("external link", "'kernel:0' is a link"),
        ("external values", "'kernel:0' must lie in the file"),
        ("compressed", "'kernel:0' must lie in the file"),
        ("huge", r"Conv2d_1a_3x3.conv.kernel: the spec says .* got \(1099511627776,\)"),
        ("objects", "'Conv2d_1a_3x3.conv.kernel' must be floating, it is object"),
        ("integers", "'Conv2d_1a_3x3.conv.kernel' must be floating, it is int32"),
        ("no values", "'kernel:0' is no array"),
    ],
)
def test_an_odd_keras_file_is_refused(kind, message, tmp_path):
    path = tmp_path / "odd.h5"
    odd_keras(kind, path)
    assert path.stat().st_size < 2e6
    assert re.search(message, refused(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float64(1 / 3), "fc.bias is float64 and would be rounded"),
        (np.float32("nan"), "fc.bias has values that are not finite"),
        (np.float64(1e300), "fc.bias is float64 and would be rounded"),
        (np.float64(0.5), None),
        (np.float16(0.1), None),
    ],
)
def test_keras_values_are_finite_and_exact(value, message, keras_file, tmp_path):
    path = tmp_path / "odd.h5"
    shutil.copy(keras_file, path)
    with h5py.File(path, "r+") as file:
        head = file["predictions"]
        (name,) = (n for n in head.attrs["weight_names"] if "bias" in n)
        del head[name]
        head[name] = np.full(CLASSES, value)
    said = refused(path)
    path.unlink()
    assert said is None if message is None else re.search(message, said)


@pytest.mark.parametrize(("track", "name"), [(pt_track, "no.pth"), (tf_track, "no.h5")])
def test_what_the_library_cannot_express_is_not_written(track, name, tmp_path):
    spec = InceptionSpec(image=(299, 299, 3), classes=CLASSES)
    for other in (
        replace(spec, image=(299, 299, 1)),
        replace(spec, norm=replace(spec.norm, eps=1e-5)),
    ):
        with pytest.raises(Refused, match=r"has 3 channels and epsilon 0\.001, got"):
            track.write_native(tmp_path / name, other, {})
    assert not list(tmp_path.iterdir())


def test_what_a_file_cannot_say_is_remarked(ours, tmp_path):
    spec, weights, _ = model_file.load(ours["keras"])
    path = tmp_path / "weights.pth"
    without = [
        "no auxiliary head: build with aux_logits=False",
        "batch norm's factors are ones",
    ]
    assert pt_track.write_native(path, spec, weights) == without
    path.unlink()
    for library in ("torchvision", "Keras"):
        assert remarks(library, spec) == []
        (said,) = remarks(library, replace(spec, scale=Scale()))
        assert said.startswith("not in the file: pixels go in by Scale(divide=255.0")


SMALL = CNNSpec(
    image=(8, 8, 1),
    classes=2,
    layers=(Conv(3, 3), Norm(), Pool(2, 2), Flatten(), Dense(2)),
)
RECIPE = Recipe(lr=0.1, batch=2, epochs=1, schedule=Staircase(2, 0.5))


@pytest.mark.parametrize(
    ("record", "path", "value"),
    [
        (SMALL, ("layers", 2, "stride"), 0),
        (SMALL, ("layers", 2, "stride"), -1),
        (SMALL, ("layers", 2, "stride"), "2"),
        (SMALL, ("layers", 2, "stride"), None),
        (SMALL, ("layers", 2, "stride"), 10**400),
        (SMALL, ("layers", 2, "window"), 0),
        (SMALL, ("layers", 2, "pad"), [[0, 0], [0, -1]]),
        (SMALL, ("layers", 2, "pad"), [[0, 0]]),
        (SMALL, ("layers", 0, "out"), 0),
        (SMALL, ("layers", 0, "kernel"), [3]),
        (SMALL, ("layers", 0, "bias"), 1),
        (SMALL, ("layers", 0, "init"), "normal"),
        (SMALL, ("layers", 0), 7),
        (SMALL, ("layers", 1, "eps"), float("nan")),
        (SMALL, ("layers", 1, "eps"), -1e-3),
        (SMALL, ("layers", 1, "variance"), "median"),
        (SMALL, ("layers", 1, "more"), 1),
        (SMALL, ("layers", 3), {"is": "Dense", "out": 2}),
        (SMALL, ("layers",), []),
        (SMALL, ("layers",), {}),
        (SMALL, ("image",), [8, 8]),
        (SMALL, ("image",), [2**20, 2**20, 1]),
        (SMALL, ("scale", "divide"), 0),
        (SMALL, ("is",), ["CNNSpec"]),
        (MLPSpec(image=(8, 8, 1), classes=2), ("hidden",), [True]),
        (InceptionSpec(image=(75, 75, 3), classes=2), ("border",), "mirror"),
        (InceptionSpec(image=(75, 75, 3), classes=2), ("norm",), None),
        (RECIPE, ("schedule", "every"), 0),
        (RECIPE, ("schedule",), {"is": "Norm"}),
    ],
)
def test_a_header_of_odd_numbers_is_refused(record, path, value):
    plain = whole = json.loads(codec.dumps(record))
    assert codec.loads(json.dumps(whole)) == record
    for step in path[:-1]:
        plain = plain[step]
    plain[path[-1]] = value
    with pytest.raises(Refused, match="must be one that twintrack wrote"):
        codec.loads(json.dumps(whole))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "[" * 100_000, '{"is": ' * 100_000, "NaN", '{"is": "a\\nb"}'],
)
def test_text_that_is_no_record_is_refused(text):
    with pytest.raises(Refused, match="must be one that twintrack wrote") as refusal:
        codec.loads(text)
    assert len(str(refusal.value)) < 400
    assert "\n" not in str(refusal.value)


def test_without_a_network_the_line_says_where_to_put_the_file(monkeypatch, tmp_path):
    """No proxy answers there; both libraries' own downloads are tried."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    output = tmp_path / "out.safetensors"
    for source, place in (("torchvision", "checkpoints"), ("keras", "models")):
        with pytest.raises(Refused, match=f"put the file at .*{place}.* by hand"):
            import_weights("inception-v3", source=source, output=output)
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True, exist_ok=True)
    wrong = tmp_path / "torch/hub/checkpoints/inception_v3_google-0cc3c7bd.pth"
    wrong.write_bytes(b"other")
    with pytest.raises(Refused, match="must have the hash in its name"):
        import_weights("inception-v3", source="torchvision", output=output)


def test_a_file_of_other_classes_does_not_stand_for_imagenet(
    monkeypatch, tmp_path, torch_file
):
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path))
    with pytest.raises(Refused, match=r"stands for ImageNet's 1,000 .* has 7"):
        import_weights("inception-v3", source=str(torch_file))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_what_was_imported_is_found(monkeypatch, tmp_path, ours):
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path))
    with pytest.raises(Refused, match="run twintrack weights import inception-v3"):
        imported("inception-v3")
    (tmp_path / ".weights").mkdir()
    path = tmp_path / ".weights/inception-v3-keras.safetensors"
    path.write_bytes(ours["keras"].read_bytes())
    assert imported("inception-v3") == path
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("TWINTRACK_SHARED_CACHE", str(tmp_path))
    assert imported("inception-v3") == path
    with pytest.raises(Refused, match="only inception-v3 has official weights"):
        imported("small-cnn")


def test_folding_takes_factors_of_any_sign(ours):
    spec, _, _ = model_file.load(ours["torchvision"])
    weights = random_weights(spec.weights, 0)
    signed = {
        n: v * np.where(np.arange(v.size) % 2, 1, -1) if n.endswith(".scale") else v
        for n, v in weights.items()
    }
    small = replace(spec, aux=False, image=(75, 75, 3))
    signed = {n: v for n, v in signed.items() if n in small.weights}
    bare = replace(small, norm=replace(spec.norm, scale=False))
    images = photos(75)
    a = pt_track.predictor(pt_track.build(small, weights=signed, dtype="float64"))
    b = pt_track.predictor(
        pt_track.build(bare, weights=folded(signed), dtype="float64")
    )
    assert far(b(images), a(images)) < FLOAT64
    assert digest(signed) != digest(folded(signed))


def test_the_official_table_shows_where_the_difference_is(tmp_path):
    """Official with official differ, ours agree with either: the command."""
    from benchmarks.official import official

    found = official(size=75, json=tmp_path / "official.json")
    rows = {(row["a"], row["b"]): row["difference"] for row in found["pairs"]}
    theirs = rows.pop(("official keras, exclude", "official torchvision, include"))
    assert theirs > 0.05
    assert len(rows) == 6
    assert max(rows.values()) < FLOAT32
    with pytest.raises(Refused, match="75 px or more"):
        official(size=60)

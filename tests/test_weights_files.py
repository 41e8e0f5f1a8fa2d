"""Both libraries' files of Inception v3: read, written, and refused by name.

The files are in the real formats, made by the official builders with random weights.
"""

import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_images

import pt_track
import tf_track
from benchmarks.weights import export_weights, import_weights, imported
from common import checkpoint
from common.errors import Refused
from common.images import Framing, read
from common.inception import folded
from common.weights import digest, random_weights

# Relative, float64 and float32, after 48 layers: `parity.md` section 9; float64
# measured 7e-14 and float32 4e-5 (each framework alone is 3e-5 from its float64).
FLOAT64, FLOAT32 = 1e-11, 1e-4
CLASSES = 7
SIDES = pytest.mark.parametrize("side", [75, 299])


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
def keras_file(tmp_path_factory):
    """An .h5 in Keras's old layout, written by Keras itself, every tensor random."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    model = official_keras()
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            low, high = (0.5, 1.5) if "variance" in variable.name else (-0.2, 0.2)
            if len(shape) > 1:
                low, high = (x * (30 / np.prod(shape[:-1])) ** 0.5 for x in (-1, 1))
            variable.assign(rng.uniform(low, high, shape).astype(np.float32))
    path = tmp_path_factory.mktemp("keras") / "inception_v3_weights.h5"
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
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


@SIDES
@pytest.mark.parametrize(
    ("dtype", "allowed"), [("float64", FLOAT64), ("float32", FLOAT32)]
)
@pytest.mark.parametrize("kind", ["torchvision", "keras"])
def test_both_tracks_are_the_official_network(
    kind, dtype, allowed, side, ours, torch_file, keras_file
):
    images = photos(side)
    if kind == "torchvision":
        official = torch_logits(torch_file, images, getattr(torch, dtype))
    else:
        official = keras_logits(keras_file, images, dtype)
    spec, weights, _ = checkpoint.load(ours[kind])
    for track in (pt_track, tf_track):
        model = track.build(spec, weights=weights, dtype=dtype)
        assert far(track.predictor(model)(images), official) < allowed


def test_the_official_networks_differ_from_each_other_by_their_border(ours):
    """The reason for the field: the same weights, 10 % and more apart."""
    from dataclasses import replace

    spec, weights, _ = checkpoint.load(ours["torchvision"])
    images = photos(75)
    logits = [
        pt_track.predictor(
            pt_track.build(replace(spec, border=border), weights=weights)
        )(images)
        for border in ("include", "exclude")
    ]
    assert far(*logits) > 0.05


def test_the_header_says_what_the_network_is(ours):
    spec, _, about = checkpoint.load(ours["torchvision"])
    assert (spec.border, spec.aux, spec.norm.scale) == ("include", True, True)
    assert (spec.norm.variance, spec.dropout) == ("unbiased", 0.5)
    spec, _, about = checkpoint.load(ours["keras"])
    assert (spec.border, spec.aux, spec.norm.scale) == ("exclude", False, False)
    assert spec.norm.decay == 0.99
    assert "342" in about.preprocessing
    assert about.source == "keras, inception_v3_weights.h5"


def test_torchs_file_comes_back_bit_for_bit(ours, torch_file, tmp_path):
    output = tmp_path / "back.pth"
    export_weights(ours["torchvision"], to="torchvision", output=output)
    before = torch.load(torch_file, weights_only=True)
    after = torch.load(output, weights_only=True)
    assert before.keys() == after.keys()
    assert all(
        torch.equal(before[k], after[k]) for k in before if not k.endswith("_tracked")
    )
    official_torch().load_state_dict(after)


def test_kerass_file_comes_back_bit_for_bit(ours, keras_file, tmp_path):
    output = tmp_path / "back.h5"
    export_weights(ours["keras"], to="keras", output=output)
    model, again = official_keras(), official_keras()
    model.load_weights(keras_file)
    again.load_weights(output)
    pairs = zip(model.get_weights(), again.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_factors_are_folded_for_keras(ours, tmp_path, capsys):
    with pytest.raises(Refused, match=r"exclude their padding and those of .* include"):
        export_weights(ours["torchvision"], to="keras", output=tmp_path / "no.h5")
    output = tmp_path / "folded.h5"
    export_weights(ours["torchvision"], to="keras", output=output, other_border=True)
    assert "factors are folded" in capsys.readouterr().out
    spec, weights, _ = checkpoint.load(ours["torchvision"])
    from dataclasses import replace

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
    assert "factors are ones" in capsys.readouterr().out
    official_torch(aux=False).load_state_dict(torch.load(output, weights_only=True))


class Bomb:
    """What a pickle may hold: a call that writes a file."""

    def __reduce__(self):
        return (open, ("/tmp/twintrack-was-here", "w"))


def spoiled(kind, torch_file, keras_file, tmp_path):
    """A file that is not what it should be."""
    path = tmp_path / f"{kind}.weights"
    state = torch.load(torch_file, weights_only=True)
    if kind == "truncated torch":
        path.write_bytes(torch_file.read_bytes()[:-4000])
    elif kind == "truncated keras":
        path.write_bytes(keras_file.read_bytes()[:-4000])
    elif kind == "bomb":
        path.write_bytes(pickle.dumps({"fc.weight": Bomb()}))
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
        if kind == "1001":
            state["fc.weight"], state["fc.bias"] = (
                torch.zeros(1001, 2048),
                torch.zeros(1001),
            )
            state["AuxLogits.fc.weight"] = torch.zeros(1001, 768)
            state["AuxLogits.fc.bias"] = torch.zeros(1001)
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated torch", "must be a whole state dict of tensors"),
        ("truncated keras", "must be a whole .h5 of InceptionV3"),
        ("bomb", "must be a whole state dict of tensors"),
        ("text", "begins as neither"),
        ("empty", "begins as neither"),
        ("list", "it holds a list"),
        ("renamed", "missing or unexpected: .*Mixed_5b"),
        ("wrong shape", "Conv2d_1a_3x3.conv.kernel: the spec says"),
        ("1001", "must have 1,000 classes, .* has 1,001"),
    ],
)
def test_a_spoiled_file_is_refused_by_name(
    kind, message, torch_file, keras_file, tmp_path
):
    path = spoiled(kind, torch_file, keras_file, tmp_path)
    output = tmp_path / "out.safetensors"
    with pytest.raises(Refused, match=message) as refusal:
        import_weights("inception-v3", source=str(path), output=output)
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not output.exists()


def test_nothing_in_a_hostile_file_is_run():
    assert not Path("/tmp/twintrack-was-here").exists()


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


def test_what_was_imported_is_found(monkeypatch, tmp_path, ours):
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path))
    with pytest.raises(Refused, match="run twintrack weights import inception-v3"):
        imported("inception-v3")
    (tmp_path / ".weights").mkdir()
    path = tmp_path / ".weights/inception-v3-keras.safetensors"
    path.write_bytes(ours["keras"].read_bytes())
    assert imported("inception-v3") == path
    with pytest.raises(Refused, match="only inception-v3 has official weights"):
        imported("small-cnn")


def test_folding_takes_factors_of_any_sign(ours):
    spec, _, _ = checkpoint.load(ours["torchvision"])
    weights = random_weights(spec.weights, 0)
    signed = {
        n: v * np.where(np.arange(v.size) % 2, 1, -1) if n.endswith(".scale") else v
        for n, v in weights.items()
    }
    from dataclasses import replace

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

"""The models are plain ones: they work without the rest, and trade weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import torch

import pt_track
import tf_track
from common.data import Part, pictures
from common.errors import Refused
from common.evaluate import cross_entropy, evaluate, score
from common.plan import Plan
from common.start import pictures_needed
from common.systems import CIFAR, DIGITS, SYSTEMS, resolve
from common.weights import digest, draw, random_weights, read, write

SMALLEST = {"inception-v3": (75, 75, 3)}
OURS = [name for name, system in SYSTEMS.items() if system.module is None]
# 79 million weights; its script is the same network with fewer maps.
OURS.remove("fmp-cifar10")
# Networks for 32 px, whose first filters are drawn from pictures.
SMALLEST |= dict.fromkeys((n for n in OURS if n.startswith("airbench")), (25, 26, 3))
# float32 logits of order one after sums of up to a few thousand terms.
FLOAT32 = 1e-5
# The same in bfloat16: 8 bits of mantissa, some layers deep.
BFLOAT16 = 0.05


def spec_of(name, image=DIGITS):
    """On small pictures, or the smallest that the system takes."""
    image = SMALLEST.get(name, image)
    return resolve(name, image=image, classes=10).spec


def far(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def images(spec, n=5):
    return np.random.default_rng(0).integers(0, 256, (n, *spec.image), np.uint8)


@pytest.mark.parametrize("name", OURS)
def test_weights_have_the_names_and_shapes_of_the_spec(name):
    spec = spec_of(name)
    expected = {n: w.shape for n, w in spec.weights.items()}
    given = random_weights(spec.weights, 0) if pictures_needed(spec) else None
    for track in (pt_track, tf_track):
        weights = track.get_weights(track.build(spec, weights=given))
        assert {n: w.shape for n, w in weights.items()} == expected


@pytest.mark.parametrize("track", [pt_track, tf_track], ids=["torch", "tensorflow"])
def test_a_model_starts_from_the_specs_draw(track):
    spec = spec_of("small-cnn")
    drawn = draw(spec.weights, 7)
    weights = track.get_weights(track.build(spec, seed=7, dtype="float64"))
    assert digest(weights) == digest(drawn)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OURS)
def test_fast_arithmetic_stays_near_float64(name, dtype):
    spec = spec_of(name)
    weights = random_weights(spec.weights, 0)
    x = images(spec)
    exact = pt_track.predictor(pt_track.build(spec, weights=weights, dtype="float64"))
    for track in (pt_track, tf_track):
        predict = track.predictor(track.build(spec, weights=weights, dtype=dtype))
        logits = predict(x)
        assert logits.dtype == np.float32
        allowed = FLOAT32 if dtype == "float32" else BFLOAT16
        assert far(logits, exact(x)) < allowed


@pytest.mark.parametrize("track", [pt_track, tf_track], ids=["torch", "tensorflow"])
def test_weights_stay_float32_when_arithmetic_is_bfloat16(track):
    model = track.build(spec_of("small-cnn"), dtype="bfloat16")
    assert {w.dtype for w in track.get_weights(model).values()} == {np.dtype("float32")}


def test_a_torch_model_is_a_plain_module():
    spec = spec_of("small-cnn")
    model = pt_track.build(spec)
    x = torch.rand(3, 1, 8, 8) * 255
    assert isinstance(model, torch.nn.Module)
    assert model(x).shape == (3, 10)
    assert model.eval()(x).requires_grad
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), model(x))


def test_a_keras_model_is_a_plain_model():
    model = tf_track.build(spec_of("small-cnn"))
    lines = []
    model.summary(print_fn=lines.append)
    assert isinstance(model, keras.Model)
    assert model(np.zeros((3, 8, 8, 1))).shape == (3, 10)
    assert model.predict(np.zeros((3, 8, 8, 1)), verbose=0).shape == (3, 10)
    assert "13,754" in "\n".join(lines)


def test_plain_training_code_can_use_our_optimizers():
    from pt_track.optim import SGD

    model = pt_track.build(spec_of("rasbt-mlp"))
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9, decay=1e-4)
    x, y = torch.rand(8, 1, 8, 8) * 255, torch.arange(8)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_keras_fit_can_use_our_optimizers():
    from tf_track.optim import Adam

    model = tf_track.build(spec_of("rasbt-mlp"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Adam(0.01), loss)
    x = np.random.default_rng(0).uniform(0, 255, (8, 8, 8, 1))
    losses = model.fit(x, np.arange(8), epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2


def test_a_larger_picture_is_cropped_in_the_middle():
    spec = spec_of("deep-cnn", CIFAR)
    model = pt_track.build(spec, dtype="float64")
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 255
    middle = x[:, :, 4:28, 4:28]
    assert torch.equal(model(x), model(middle))


@pytest.mark.parametrize("name", OURS)
def test_a_file_of_one_track_opens_in_the_other(name, tmp_path):
    spec = spec_of(name)
    for here, there in ((pt_track, tf_track), (tf_track, pt_track)):
        model = here.build(spec, weights=random_weights(spec.weights, 1))
        here.save(model, tmp_path / "model.safetensors")
        other = there.load(tmp_path / "model.safetensors")
        assert digest(there.get_weights(other)) == digest(here.get_weights(model))
        assert other.spec == spec


def test_weights_of_another_architecture_are_refused():
    weights = draw(spec_of("rasbt-mlp").weights, 0)
    for track in (pt_track, tf_track):
        model = track.build(spec_of("small-cnn"))
        with pytest.raises(ValueError, match="do not match the spec: missing"):
            track.set_weights(model, weights)
        right = track.get_weights(model)
        with pytest.raises(ValueError, match="the spec says"):
            track.set_weights(model, right | {"norm1.mean": np.zeros(3)})


@pytest.mark.parametrize("damage", ["cut", "text", "missing"])
def test_a_damaged_weights_file_is_refused_by_name(damage, tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, {"a": np.arange(6.0).reshape(2, 3).T}, {})
    assert np.array_equal(read(path)[0]["a"], np.arange(6.0).reshape(2, 3).T)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5] if damage == "cut" else b"hello")
    with pytest.raises(Refused, match=r"w\.safetensors"):
        read(path)


def test_a_layer_that_the_table_lacks_raises():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    with pytest.raises(TypeError, match="must be in LAYOUT, got LayerNorm"):
        pt_track.get_weights(model)
    model = keras.Sequential([keras.layers.Dense(2), keras.layers.LayerNormalization()])
    model.build((None, 2))
    with pytest.raises(TypeError, match="must be in LAYOUT, got LayerNormalization"):
        tf_track.get_weights(model)


@pytest.mark.parametrize("track", [pt_track, tf_track], ids=["torch", "tensorflow"])
def test_a_run_that_diverges_says_at_which_step(track):
    found = resolve(
        "rasbt-mlp",
        image=DIGITS,
        classes=10,
        overrides=("recipe.lr=1e30", "recipe.epochs=2"),
    )
    data = pictures(DIGITS, 10, 200, 0)
    history = track.train(track.build(found.spec), data, found.recipe, Plan(seed=0))
    assert history.diverged_at is not None
    assert 1 < history.diverged_at <= 4
    assert len(history.losses) == history.diverged_at


@pytest.mark.parametrize("track", [pt_track, tf_track], ids=["torch", "tensorflow"])
def test_a_run_that_goes_on_ends_as_if_it_had_not_stopped(track):
    found = resolve(
        "small-cnn",
        image=DIGITS,
        classes=10,
        overrides=(
            "recipe.epochs=3",
            "recipe.average=Average(decay=0.9,warm_up=True)",
        ),
    )
    data = pictures(DIGITS, 10, 120, 0)
    states = []
    whole = track.build(found.spec)
    history = track.train(
        whole, data, found.recipe, Plan(seed=0), on_epoch=lambda _, s: states.append(s)
    )
    later = track.build(found.spec, seed=99)
    again = track.train(later, data, found.recipe, Plan(seed=0), state=states[0])
    assert digest(track.get_weights(later)) == digest(track.get_weights(whole))
    assert np.array_equal(again.losses, history.losses)
    assert [e.accuracy for e in again.epochs] == [e.accuracy for e in history.epochs]


def test_the_reported_loss_holds_the_coupled_decay():
    found = resolve("deep-cnn", image=CIFAR, classes=10)
    data = pictures(CIFAR, 10, 128, 0)
    chunk = next(Plan(seed=0).chunks(data.train, found.spec, found.recipe, 0))
    for track in (pt_track, tf_track):
        model = track.build(found.spec)
        trainer = track.Trainer(model, found.spec, found.recipe, np.full(3, 0.1))
        assert trainer.run(chunk[:1])[0] == pytest.approx(4.675, abs=0.02)


def test_keras_settings_of_the_user_change_nothing(tmp_path):
    """A ~/.keras/keras.json that says channels first and float64, in a new process."""
    settings = {
        "floatx": "float64",
        "image_data_format": "channels_first",
        "backend": "tensorflow",
        "epsilon": 0.1,
    }
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    code = (
        "import tf_track; from common.systems import resolve;"
        "spec = resolve('small-cnn', image=(8, 8, 1), classes=10).spec;"
        "model = tf_track.build_native(spec, seed=0);"
        "print({str(w.dtype) for w in tf_track.get_weights(model).values()});"
        "print(tf_track.build(spec)(__import__('numpy').zeros((1, 8, 8, 1))).shape)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"KERAS_HOME": str(tmp_path)},
    )
    assert found.stdout.splitlines() == ["{'float32'}", "(1, 10)"], found.stderr


def test_the_evaluator_counts_every_picture_once():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1234)
    pixels = rng.integers(0, 256, (1234, 2, 2, 1), np.uint8)
    part = Part(pixels, labels, np.arange(1234))
    table = rng.normal(size=(1234, 3))
    seen = []

    def predict(x):
        start = sum(seen)
        seen.append(len(x))
        return table[start : start + len(x)]

    scores = evaluate(predict, part, batch_size=500)
    assert seen == [500, 500, 234]
    assert scores.accuracy == (table.argmax(1) == labels).mean()


def test_cross_entropy_holds_for_sharp_logits():
    logits = np.array([[1000.0, 0.0], [0.0, 30.0]])
    assert cross_entropy(logits, np.array([1, 0])) == pytest.approx([1000, 30])


def test_a_label_without_a_logit_is_refused():
    with pytest.raises(ValueError, match="labels must be in"):
        score(np.zeros((2, 3)), np.array([0, 3]))

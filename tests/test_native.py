"""Native mode: each framework's own defaults and draws, resumable to the bit."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from common import systems
from common.data import DataRequest, limit, open_data, pictures
from common.errors import Refused
from common.evaluate import cross_entropy, evaluate
from common.native_mode import chain, epoch_seed
from common.plan import Plan
from common.spec import CNNSpec, Conv, Dense, Flatten, Norm, Relu
from common.track import load_track

pytestmark = pytest.mark.leaves

TRACKS = ("torch", "tensorflow")
MLPS = ("rasbt-mlp", "rasbt-mlp-batchnorm", "rasbt-mlp-dropout")
CNNS = ("small-cnn", "adventures-cnn", "deep-cnn", "rosetta-cnn")
FLOAT32 = 1e-5  # share of the largest logit: single precision, some layers deep

RESUME = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from common import systems
from common.data import pictures
from common.plan import Plan
from common.recipe import Adam
from common.track import State, load_track

track, folder, step = load_track(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
track.configure(threads=1, device="cpu", mode="native")
data = pictures((8, 8, 3), 4, 50, 0)
for name, optimizer in ("deep-cnn", None), ("rasbt-mlp-dropout", Adam()):
    job = systems.resolve(name, image=data.image, classes=4)
    recipe = replace(job.recipe, batch=20, epochs=4)
    if optimizer:
        recipe = replace(recipe, optimizer=optimizer, lr=0.01)
    states = []
    keep = lambda scores, state: states.append(state)
    if step == "whole":
        state, seed = None, 3
    else:
        arrays = dict(np.load(folder / f"{name}-half.npz"))
        numbers = [int(arrays.pop(key)) for key in ("epoch", "step")]
        state, seed = State(*numbers, arrays), 7
    model = track.build_native(job.spec, seed=seed)
    history = track.train_native(
        model, data, recipe, Plan(seed=3), state=state, on_epoch=keep
    )
    if step == "whole":
        half = states[1]
        path = folder / f"{name}-half.npz"
        np.savez(path, step=half.step, epoch=half.epoch, **half.arrays)
    weights = track.get_weights(model)
    np.savez(folder / f"{name}-{step}.npz", losses=history.losses, **weights)
"""


def resolved(name, data, *options):
    return systems.resolve(
        name, image=data.image, classes=len(data.classes), overrides=options
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return open_data(
        DataRequest(source="digits"), cache=tmp_path_factory.mktemp("cache")
    )


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("name", MLPS + CNNS)
def test_native_weights_have_the_specs_names(track, name):
    job = resolved(name, pictures((8, 8, 3), 10, 20, 0))
    weights = load_track(track).get_weights(
        load_track(track).build_native(job.spec, seed=0)
    )
    shapes = {key: record.shape for key, record in job.spec.weights.items()}
    assert {key: value.shape for key, value in weights.items()} == shapes


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("name", MLPS + CNNS)
def test_a_saved_native_model_says_the_same_when_opened_by_its_track(
    track, name, tmp_path
):
    """The records that stand for stock layers are what the layers compute."""
    track = load_track(track)
    data = pictures((9, 13, 3), 10, 40, 0)  # odd sides: pads differ from side to side
    model = track.build_native(resolved(name, data).spec, seed=0)
    recipe = replace(resolved(name, data).recipe, epochs=2, batch=8)
    track.train_native(model, data, recipe, Plan(seed=0))  # statistics that moved
    track.save(model, tmp_path / "model")
    images = data.test.take(slice(None))
    said = track.predictor(model)(images)
    opened = track.predictor(track.load(tmp_path / "model"))(images)
    assert np.abs(opened - said).max() <= FLOAT32 * np.abs(said).max()


@pytest.mark.parametrize("track", TRACKS)
def test_a_run_goes_on_in_a_new_process_bit_for_bit(track, tmp_path):
    """Plain SGD with augmentation and crops, and Adam with dropout."""
    for step in ("whole", "resumed"):
        command = [sys.executable, "-c", RESUME, track, str(tmp_path), step]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    for name in ("deep-cnn", "rasbt-mlp-dropout"):
        expected = dict(np.load(tmp_path / f"{name}-whole.npz"))
        found = dict(np.load(tmp_path / f"{name}-resumed.npz"))
        assert expected.keys() == found.keys()
        assert len(expected["losses"]) == 4 * 3
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("track", TRACKS)
def test_a_seed_is_a_run_and_another_seed_another(track):
    track = load_track(track)
    data = pictures((8, 8, 1), 4, 60, 0)
    job = resolved("rasbt-mlp-dropout", data)
    losses = []
    for seed in (1, 1, 2):
        model = track.build_native(job.spec, seed=seed)
        recipe = replace(job.recipe, epochs=2, batch=20)
        losses.append(track.train_native(model, data, recipe, Plan(seed=seed)).losses)
    np.testing.assert_array_equal(losses[0], losses[1])
    assert (losses[0] != losses[2]).all()


@pytest.mark.parametrize("track", TRACKS)
def test_each_loss_is_of_its_batch_alone(track):
    """With a rate of 0 every pass over the data has the same mean loss."""
    track = load_track(track)
    data = pictures((8, 8, 1), 4, 48, 0)
    job = resolved("rasbt-mlp", data)
    model = track.build_native(job.spec, seed=0)
    before = cross_entropy(
        track.predictor(model)(data.train.take(slice(None))), data.train.labels
    )
    recipe = replace(job.recipe, lr=0.0, epochs=2, batch=16)
    losses = track.train_native(model, data, recipe, Plan(seed=0)).losses
    assert len(set(losses)) > 3
    np.testing.assert_allclose(losses.reshape(2, 3).mean(1), before.mean(), rtol=1e-5)


@pytest.mark.parametrize("track", TRACKS)
def test_the_short_last_batch_is_trained_on_whatever_the_recipe_says(track):
    track = load_track(track)
    data = pictures((8, 8, 1), 4, 50, 0)
    job = resolved("rasbt-mlp", data, "recipe.drop_last=True")
    recipe = replace(job.recipe, epochs=2, batch=16)
    model = track.build_native(job.spec, seed=0)
    assert len(track.train_native(model, data, recipe, Plan(seed=0)).losses) == 2 * 4


@pytest.mark.parametrize("track", TRACKS)
def test_a_loss_that_is_not_finite_ends_the_run_there(track):
    track = load_track(track)
    data = pictures((8, 8, 1), 4, 60, 0)
    job = resolved("rasbt-mlp", data)
    model = track.build_native(job.spec, seed=0)
    recipe = replace(job.recipe, lr=1e30, epochs=3, batch=20)
    history = track.train_native(model, data, recipe, Plan(seed=0))
    assert history.diverged_at == len(history.losses) < 9
    assert not np.isfinite(history.losses[-1])
    assert np.isfinite(history.losses[:-1]).all()


@pytest.mark.parametrize("track", TRACKS)
def test_native_mode_learns_digits(track, digits):
    track = load_track(track)
    job = resolved("rasbt-mlp", digits)
    model = track.build_native(job.spec, seed=0)
    recipe = replace(job.recipe, epochs=8, batch=16)
    history = track.train_native(model, digits, recipe, Plan(seed=0))
    accuracy = evaluate(track.predictor(model), digits.test).accuracy
    assert accuracy > 0.9
    assert history.epochs[-1].accuracy == accuracy


@pytest.mark.parametrize(
    ("track", "norm"),
    [
        ("torch", Norm(decay=0.9, eps=1e-5, variance="unbiased")),
        ("tensorflow", Norm(decay=0.99, eps=1e-3, variance="biased")),
    ],
)
def test_norms_are_the_frameworks_own_whatever_the_spec_says(track, norm):
    data = pictures((8, 8, 1), 4, 20, 0)
    spec = resolved("small-cnn", data, "spec.layers.norm1.eps=0.5").spec
    spec = load_track(track).build_native(spec, seed=0).spec
    norms = [layer for _, layer, _ in chain(spec) if isinstance(layer, Norm)]
    assert norms == [norm, norm]


@pytest.mark.parametrize("track", TRACKS)
def test_an_oblong_kernel_is_padded_as_the_framework_pads_each_side(track):
    """Torch adds half of each side of the kernel, Keras what keeps the size."""
    oblong = CNNSpec(
        image=(8, 6, 1),
        classes=3,
        layers=(Conv(4, (5, 2), 1, ((2, 2), (0, 1))), Relu(), Flatten(), Dense(3)),
    )
    module = load_track(track)
    model = module.build_native(oblong, seed=0)
    pads = {"torch": ((2, 2), (1, 1)), "tensorflow": ((2, 2), (0, 1))}
    assert model.spec.layers[0].pad == pads[track]
    images = pictures(oblong.image, 3, 5, 0).train.take(slice(None))
    assert module.predictor(model)(images).shape == (len(images), 3)


@pytest.mark.parametrize("track", TRACKS)
def test_a_spec_of_the_users_own_has_no_native_mode(track):
    @dataclass(frozen=True)
    class Own:
        image = (8, 8, 1)

    with pytest.raises(Refused, match="needs an MLPSpec or a CNNSpec, got Own"):
        load_track(track).build_native(Own(), seed=0)


def test_torch_says_that_it_cannot_normalise_a_batch_of_one():
    track = load_track("torch")
    data = limit(pictures((8, 8, 1), 4, 60, 0), 41)
    job = resolved("rasbt-mlp-batchnorm", data)
    model = track.build_native(job.spec, seed=0)
    recipe = replace(job.recipe, batch=20)
    with pytest.raises(Refused, match="a last batch of 1 from 41 pictures"):
        track.train_native(model, data, recipe, Plan(seed=0))


def test_seeds_of_epochs_differ():
    seeds = {epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400

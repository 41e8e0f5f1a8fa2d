"""Inception v3: the table, its sizes, its auxiliary head, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from benchmarks.engine.call import call
from common.errors import Refused
from common.inception import InceptionSpec, aux_needs
from common.spec import parameters
from common.systems import check_fits, resolve
from common.track import DEFAULT
from common.weights import read
from tests.gradients import SCALED

pytestmark = pytest.mark.heavy

# float64 logits and gradients after 48 layers; measured 5e-13.
FLOAT64 = 1e-11


def spec(side=75, **fields):
    return InceptionSpec(image=(side, side, 3), **({"classes": 10} | fields))


def far(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_its_parameters_are_those_of_both_libraries():
    whole = spec(299, classes=1000, aux=True, norm=SCALED)
    assert parameters(whole) == 27_161_264  # torchvision, with the auxiliary head
    assert parameters(dataclasses.replace(whole, aux=False)) == 23_834_568
    assert parameters(spec(299, classes=1000)) == 23_817_352  # Keras, trainable


def test_it_costs_the_published_multiply_accumulates():
    assert spec(299, classes=1000).macs == pytest.approx(5.71e9, rel=2e-3)


def test_its_maps_have_the_published_sizes():
    maps = spec(299).maps
    assert maps["Conv2d_4a_3x3"] == (71, 71, 192)
    assert maps["Mixed_5d"] == (35, 35, 288)
    assert maps["Mixed_6e"] == (17, 17, 768)
    assert maps["Mixed_7a"] == (8, 8, 1280)
    assert maps["Mixed_7c"] == (8, 8, 2048)


def test_a_size_under_75_is_refused():
    with pytest.raises(ValueError, match="75 px or more a side, got 74x80"):
        InceptionSpec(image=(74, 80, 3), classes=2)
    with pytest.raises(Refused, match="75 px or more"):
        resolve("inception-v3", image=(32, 32, 3), classes=10)


def test_an_aux_head_below_its_size_is_refused():
    assert aux_needs() == 17
    assert spec(299, aux=True).aux
    with pytest.raises(ValueError, match=r"17 px or more \(299 px pictures.*16x16"):
        spec(298, aux=True)


@pytest.mark.parametrize(
    ("n", "batch", "cure"), [(10, 1, "batch=2"), (65, 64, "drop_last=True")]
)
def test_a_batch_of_one_in_training_is_refused(n, batch, cure):
    found = resolve("inception-v3", image=(75, 75, 3), classes=2)
    recipe = dataclasses.replace(found.recipe, batch=batch)
    message = f"two pictures or more, inception-v3 has a batch .*recipe.{cure}"
    with pytest.raises(Refused, match=message):
        check_fits(dataclasses.replace(found, recipe=recipe), n)
    frozen = dataclasses.replace(recipe, statistics="frozen")
    check_fits(dataclasses.replace(found, recipe=frozen), n)


def test_both_tracks_agree_with_an_aux_head(tmp_path):
    """The gradient of both heads' losses, at the size that the auxiliary one needs."""
    found = []
    for track in DEFAULT:
        path = tmp_path / track
        told = call(
            "tests.gradients:measure",
            {"track": track, "path": str(path)},
            threads=1,
            device="cpu",
        )
        assert told == {"unasked": []}  # a child's Keras loads without what plots
        found.append(read(path)[0])
    torch, tensorflow = found
    assert torch.keys() == tensorflow.keys()
    scale = np.sqrt(sum(np.linalg.norm(v) ** 2 for v in tensorflow.values()))
    worst = max(np.linalg.norm(torch[n] - tensorflow[n]) / scale for n in torch)
    assert worst < FLOAT64
    assert np.linalg.norm(torch["AuxLogits.fc.kernel"]) > 1e-3 * scale


@pytest.mark.parametrize("border", ["exclude", "include"])
def test_the_border_of_a_pool_is_the_specs(border):
    """Each track against the mean written out in NumPy, on a corner's window."""
    import torch

    from common.spec import AveragePool
    from pt_track.layers import average as pt_average
    from tf_track.layers import average as tf_average

    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    for pad in (((1, 1), (1, 1)), ((0, 1), (1, 0))):
        layer = AveragePool(3, 1, pad, border)
        nchw = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
        torch_ = np.moveaxis(pt_average(layer, "float64")(nchw).numpy(), 1, -1)
        tensorflow = np.asarray(tf_average(layer, "float64")(x))
        padded = np.pad(x, ((0, 0), *pad, (0, 0)))
        ones = np.pad(np.ones_like(x), ((0, 0), *pad, (0, 0)))
        counts = ones[:, :3, :3].sum((1, 2)) if border == "exclude" else 9
        corner = padded[:, :3, :3].sum((1, 2)) / counts
        assert far(torch_[:, 0, 0], corner) < 1e-15
        assert far(tensorflow[:, 0, 0], corner) < 1e-15
        assert far(torch_, tensorflow) < 1e-15

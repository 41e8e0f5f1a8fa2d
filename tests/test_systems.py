"""The registry: exact figures, shapes, overrides, and a user's own system."""

import dataclasses
import math

import numpy as np
import pytest

from common import codec, systems
from common.errors import Refused
from common.spec import MLPSpec, Norm, parameters, same
from common.systems import CIFAR, DIGITS, MNIST, SYSTEMS, resolve

OURS = [name for name, system in SYSTEMS.items() if system.module is None]


def spec_of(name, image, classes=10, overrides=()):
    return resolve(name, image=image, classes=classes, overrides=overrides).spec


@pytest.mark.parametrize(
    ("name", "image", "classes", "count"),
    [
        ("rasbt-mlp", MNIST, 10, 136_074),
        ("rasbt-mlp", CIFAR, 10, 428_938),
        ("rasbt-mlp", CIFAR, 11, 429_195),
        ("rasbt-mlp-batchnorm", MNIST, 10, 136_074 + 2 * (128 + 256)),
        ("adventures-cnn", MNIST, 10, 3_199_106),
        ("adventures-cnn", CIFAR, 10, 4_160_706),
        ("deep-cnn", CIFAR, 10, 1_068_298),
        ("rosetta-cnn", CIFAR, 10, 3_441_592),
    ],
)
def test_parameter_counts_are_the_published_ones(name, image, classes, count):
    assert parameters(spec_of(name, image, classes)) == count


def test_deep_cnn_costs_the_published_multiply_accumulates():
    assert spec_of("deep-cnn", CIFAR).macs == 18_470_784


def test_deep_cnn_decays_after_the_published_number_of_steps():
    assert SYSTEMS["deep-cnn"].recipe.schedule.every == int(50_000 / 128 * 350)


def test_the_first_loss_of_deep_cnn_is_the_published_one():
    spec = spec_of("deep-cnn", CIFAR)
    decay = SYSTEMS["deep-cnn"].recipe.decay
    from common.weights import draw

    weights = draw(spec.weights, 0)
    penalty = sum(decay.rate / 2 * (weights[n] ** 2).sum() for n in decay.names)
    assert math.log(10) + penalty == pytest.approx(4.675, abs=0.02)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("image", [MNIST, DIGITS, CIFAR, (9, 11, 2)])
def test_every_system_fits_every_shape(name, image):
    if name == "inception-v3":  # its smallest is 75 px
        image = (image[0] + 70, image[1] + 70, image[2])
    if name.startswith("airbench"):  # 25 px, and in colour
        image = (image[0] + 20, image[1] + 20, 3)
    spec = spec_of(name, image, 7)
    kernels = [w.shape for n, w in spec.weights.items() if n.endswith("kernel")]
    assert kernels[-1][-1] == 7
    assert parameters(spec) > 400


@pytest.mark.parametrize(("side", "crop"), [(32, 24), (28, 21), (8, 6)])
def test_deep_cnn_sees_three_quarters_of_the_side(side, crop):
    assert spec_of("deep-cnn", (side, side, 3)).input == (crop, crop, 3)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"),
    [(32, 3, 2, (0, 1)), (32, 5, 2, (1, 2)), (33, 3, 2, (1, 1)), (8, 2, 2, (0, 0))],
)
def test_same_pads_as_tensorflow_does(size, kernel, stride, pad):
    assert same((size, size), kernel, stride) == (pad, pad)


def test_small_cnn_has_an_uneven_stride_two_convolution():
    assert spec_of("small-cnn", DIGITS).layers[3].pad == ((0, 1), (0, 1))


def test_overrides_change_recipe_and_spec():
    found = resolve(
        "rasbt-mlp",
        image=CIFAR,
        classes=10,
        overrides=(
            "recipe.lr=0.05",
            "spec.hidden=(8, 8)",
            "spec.norm=Norm(eps=1e-5)",
            "recipe.optimizer.momentum=0.9",
        ),
    )
    assert found.recipe.lr == 0.05
    assert found.spec.hidden == (8, 8)
    assert found.spec.norm == Norm(eps=1e-5)
    assert found.recipe.optimizer.momentum == 0.9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.lerning_rat=1", "the nearest is"),
        ("recipe.optimizer.momentun=1", "the nearest is momentum"),
        ("spec.hiden=(1,)", "the nearest is hidden"),
        ("lr=1", "takes spec.field=value or recipe.field=value"),
        ("recipe.lr", "takes spec.field=value or recipe.field=value"),
        ("recipe.batch=many", "takes int such as 64"),
        ("recipe.optimizer.form=foo", "takes one of buffer, velocity"),
        ("recipe.optimizer=5", "takes"),
        ("recipe.schedule=Nope", "takes Schedule"),
        ("recipe.decay=0.1", "takes"),
        ("recipe.average=0.9", "takes"),
        ("spec.norm=1", "takes"),
        ("spec.init=3", "takes Init"),
        ("spec.hidden=(1.5,)", "takes"),
        ("spec.classes=5", "a spec must fit its data"),
        ("recipe.batch=0", "batch and epochs 1 or more"),
        ("spec.dropout=1.5", "must lie in"),
        ("recipe.lr=__import__('os')", "takes a number, a word"),
        ("spec.norm=Path('x')", "takes a number, a word"),
    ],
)
def test_a_wrong_override_says_what_is_right(override, message):
    with pytest.raises(Refused, match=message):
        resolve("rasbt-mlp", image=MNIST, classes=10, overrides=(override,))


def test_a_last_batch_of_one_is_refused_where_batch_norm_needs_two():
    fits = resolve("rasbt-mlp-batchnorm", image=DIGITS, classes=10)
    systems.check_fits(fits, 128)
    systems.check_fits(resolve("rasbt-mlp", image=DIGITS, classes=10), 65)
    with pytest.raises(Refused, match="needs two pictures or more"):
        systems.check_fits(fits, 65)
    with pytest.raises(Refused, match="a batch must fit the training data"):
        systems.check_fits(fits, 63)


def test_an_unknown_system_names_the_nearest():
    with pytest.raises(Refused, match="the nearest is rosetta-cnn"):
        systems.find("roseta-cnn")


@pytest.mark.parametrize("name", OURS)
def test_specs_and_recipes_survive_their_text(name):
    image = (75, 75, 3) if name == "inception-v3" else CIFAR
    found = resolve(name, image=image, classes=10)
    assert codec.loads(codec.dumps(found.spec)) == found.spec
    assert codec.loads(codec.dumps(found.recipe)) == found.recipe


def test_text_that_names_a_stranger_builds_nothing():
    with pytest.raises(Refused, match="must be one that twintrack wrote"):
        codec.loads('{"is": "Path", "args": ["/"]}')


def test_a_name_that_is_taken_is_refused():
    mine = dataclasses.replace(SYSTEMS["rasbt-mlp"], module="mine")
    with pytest.raises(Refused, match="must be new"):
        systems.register(mine)


def test_the_draw_depends_on_name_and_seed_alone():
    from common.weights import draw

    small = MLPSpec(image=(4, 4, 1), classes=3, hidden=(5,))
    a, b, c = draw(small.weights, 1), draw(small.weights, 1), draw(small.weights, 2)
    assert all(np.array_equal(a[n], b[n]) for n in a)
    assert not np.array_equal(a["head.kernel"], c["head.kernel"])


def test_truncated_draws_have_the_deviation_of_tensorflows():
    from common.weights import TruncatedNormal

    values = TruncatedNormal(0.1).draw(np.random.default_rng(0), (200_000,))
    assert np.abs(values).max() <= 0.2
    assert values.std() == pytest.approx(0.1 * 0.8796, rel=0.01)


def test_a_spec_without_draws_is_refused_with_what_to_add(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Old:
        image: tuple[int, int, int]
        classes: int
        weights = {}  # noqa: RUF012

    system = dataclasses.replace(SYSTEMS["linear"], spec=Old)
    monkeypatch.setitem(SYSTEMS, "linear", system)
    with pytest.raises(Refused, match="that of linear does not: layer -> Mask"):
        resolve("linear", image=DIGITS, classes=10)

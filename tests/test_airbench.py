"""The airbench networks: their numbers, their ladder, and every word they brought."""

import dataclasses
import itertools
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import erfc

from common import codec, zoo
from common.data import pictures
from common.errors import Refused
from common.evaluate import seen
from common.faults import FAULTS
from common.heads import headless, with_classes
from common.native_mode import chain
from common.plan import Plan, apply_changes, bordered, check_changes, draw_changes
from common.recipe import (
    SGD,
    Augment,
    Lookahead,
    Muon,
    Piecewise,
    Recipe,
    View,
)
from common.spec import (
    Act,
    Add,
    Branch,
    CNNSpec,
    Conv,
    Dense,
    Flatten,
    Norm,
    Scale,
    parameters,
)
from common.start import initial_weights, pictures_needed
from common.systems import CIFAR, ROUNDING, SYSTEMS, resolve
from common.track import load_track
from common.weights import Dirac, FanInUniform, UnitStd, Whitening, draw
from tests.climbing import beside, climbed, planned

pytestmark = pytest.mark.long

TRACKS = ("torch", "tensorflow")
# Published: weights, multiply-accumulates, updates.  Jordan's networks carry a frozen
# factor of 1 for every bias of batch norm, which is counted there and not kept here.
PUBLISHED = {
    "airbench94": (1_972_792, 118e6, 476),
    "airbench94-muon": (1_972_792, 118e6, 200),
    "airbench95": (4_606_520, 302e6, 720),
    "airbench96": (9_918_776, 452e6, 1776),
}
OF_AIRBENCH = [f for f in FAULTS if FAULTS[f].system.startswith("airbench94")]


def of(name, classes=10):
    return resolve(name, image=CIFAR, classes=classes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_numbers_are_the_published_ones(name):
    weights, macs, steps = PUBLISHED[name]
    found = of(name)
    biases = [w for n, w in found.spec.weights.items() if n.endswith(".shift")]
    frozen = sum(record.shape[0] for record in biases)
    assert parameters(found.spec) + frozen == weights
    assert found.spec.macs == pytest.approx(macs, rel=2e-3)
    assert found.recipe.steps(50_000) == steps


def test_its_rates_are_the_published_ones():
    """Per sum of 1,024 losses: 11.5 / 7,850.7, from .2 over 1 at step 109 to .07."""
    recipe = of("airbench94").recipe
    rates = recipe.rates(50_000)
    assert rates.max() / 1024 == pytest.approx(11.5 / 7850.7, rel=1e-5)
    assert (rates[0], rates[109]) == pytest.approx((0.2 * recipe.lr, recipe.lr))
    assert rates[-1] == pytest.approx(recipe.lr * (0.07 + 0.93 / 367))
    whiten = recipe.schedule_of("conv1.bias").factors(476, 476) * recipe.lr
    np.testing.assert_allclose(whiten[:144], rates[:144], rtol=2e-3)
    assert (whiten[144:] == 0).all()
    # What torch's SGD is told there: .0153 / 11.5 per sum of 1,024, less for biases.
    assert recipe.decay.strength(1.0) == pytest.approx(0.0153 / 11.5)
    assert recipe.decay.strength(64.0) == pytest.approx(0.0153 / 11.5 / 64)
    assert recipe.multiplier("conv1.kernel") == 0
    assert recipe.multiplier("norm6.shift") == 64


@pytest.fixture(scope="module")
def narrow():
    """A function that makes a system of a network with few filters; its name."""

    def spec_of(name):
        deep, muon = name == "airbench96", name.endswith("muon")

        def spec(image, classes):
            widths = (24, 24, 32)
            return zoo._airbench(image, classes, widths=widths, deep=deep, muon=muon)

        return spec

    with pytest.MonkeyPatch.context() as patch:

        def make(name):
            few = f"{name}-narrow"
            system = dataclasses.replace(SYSTEMS[name], name=few, spec=spec_of(name))
            patch.setitem(SYSTEMS, few, system)
            return few

        yield make


@pytest.fixture(scope="module")
def sound(narrow, tmp_path_factory):
    """A function of a system: its climbs without a fault and their rungs, once."""

    @cache
    def of(name):
        climbs = planned(narrow(name), tmp_path_factory.mktemp(name))
        return climbs, climbed(climbs)

    return of


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n != "airbench95"])
def test_both_tracks_compute_the_same_function(name, sound):
    _, rungs = sound(name)
    assert [rung.name for rung in rungs if not rung.passed] == []
    names = {rung.name for rung in rungs}
    averages = set() if name.endswith("muon") else {"averages"}
    assert {"statistics", "evaluation"} | averages <= names
    exact = [rung for rung in rungs if rung.dtype == "float64"]
    assert max(rung.difference for rung in exact) < ROUNDING


@pytest.mark.parametrize("fault", OF_AIRBENCH)
def test_a_planted_fault_is_caught_by_the_rung_that_is_named(
    fault, narrow, sound, tmp_path
):
    name = FAULTS[fault].system
    climbs = planned(narrow(name), tmp_path, fault=fault)
    *held, broken = beside(climbs, sound(name)[0])
    assert (broken.name, broken.passed) == (FAULTS[fault].rung, False)
    assert broken.difference > 100 * broken.tolerance
    assert all(rung.passed for rung in held)


# --- words of the spec ---------------------------------------------------------------


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize(
    ("layer", "by_hand"),
    [
        (Act("leaky", 0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
        (Act("gelu"), lambda x: 0.5 * x * erfc(-x / np.sqrt(2))),
        (
            Act("gelu-tanh"),
            lambda x: (
                0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
            ),
        ),
        (Act("silu"), lambda x: x / (1 + np.exp(-x))),
    ],
    ids=["leaky", "gelu", "gelu-tanh", "silu"],
)
def test_an_activation_is_what_it_is_by_hand(track, layer, by_hand):
    spec = CNNSpec(
        image=(1, 3, 1),
        classes=2,
        layers=(Flatten(), layer, Dense(2)),
        scale=Scale(divide=20.0, mean=(6.0,)),
    )
    images = np.array([[0, 119, 255], [1, 120, 121]], np.uint8).reshape(2, 1, 3, 1)
    weights = {"dense1.kernel": np.eye(3)[:, :2], "dense1.bias": np.zeros(2)}
    module = load_track(track)
    model = module.build(spec, weights=weights, dtype="float64")
    x = images.reshape(2, 3) / 20.0 - 6.0
    wanted = by_hand(x)[:, :2]
    found = module.predictor(model)(images)
    # (By tanh, what is small is the difference of two numbers near 1.)
    np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("track", TRACKS)
def test_gelu_keeps_its_relative_accuracy_far_below_zero(track):
    """Where 1 + erf has lost it: at -6.5 it is .5 ulp of 1 that remains."""
    x = np.linspace(-8, -5, 31)
    wanted = 0.5 * x * erfc(-x / np.sqrt(2))
    if track == "torch":
        from pt_track.layers import gelu

        found = gelu(torch.from_numpy(x)).numpy()
    else:
        import tensorflow as tf

        from tf_track.layers import gelu

        found = gelu(tf.constant(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("track", TRACKS)
def test_a_sum_adds_what_the_branch_kept(track):
    layers = (Flatten(), Branch(), Dense(4), Act("silu"), Add(), Dense(2))
    spec = CNNSpec(image=(2, 2, 1), classes=2, layers=layers)
    weights = draw(spec.weights, 0)
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    module = load_track(track)
    found = module.predictor(module.build(spec, weights=weights, dtype="float64"))
    x = images.reshape(2, 4) / 255.0
    y = x @ weights["dense1.kernel"] + weights["dense1.bias"]
    y = y / (1 + np.exp(-y)) + x
    wanted = y @ weights["dense2.kernel"] + weights["dense2.bias"]
    np.testing.assert_allclose(found(images), wanted, rtol=1e-13)


@pytest.mark.parametrize(
    "layers",
    [
        (Flatten(), Dense(4), Add(), Dense(2)),
        (Flatten(), Branch(), Dense(3), Add(), Dense(2)),
        (Flatten(), Branch(), Dense(4), Add(), Add(), Dense(2)),
    ],
)
def test_a_sum_of_what_does_not_fit_is_refused(layers):
    with pytest.raises(ValueError, match="a sum takes two of one shape, got"):
        CNNSpec(image=(2, 2, 1), classes=2, layers=layers)


def test_a_spec_comes_back_from_its_text():
    for name in PUBLISHED:
        found = of(name)
        assert codec.loads(codec.dumps(found.spec)) == found.spec
        assert codec.loads(codec.dumps(found.recipe)) == found.recipe


def test_pictures_that_are_too_small_are_refused_in_one_line():
    with pytest.raises(Refused, match="airbench94: a window must fit its input"):
        resolve("airbench94", image=(8, 8, 3), classes=10)


def test_grey_pictures_are_refused_with_what_makes_them_fit():
    with pytest.raises(Refused, match=r"got ones of 28x28x1; .* --repeat-channel"):
        resolve("airbench94", image=(28, 28, 1), classes=10)


def test_native_mode_refuses_it_by_name():
    with pytest.raises(Refused, match="layers that both frameworks have, got Branch;"):
        list(chain(of("airbench96").spec))
    plain = of("airbench94").spec
    assert len(list(chain(plain))) == len(plain.layers)


def test_its_head_can_be_replaced_and_left_out():
    spec = with_classes(of("airbench94").spec, 3)
    assert spec.weights["dense1.kernel"].shape == (256, 3)
    weights = initial_weights(spec, 0, pictures(CIFAR, 10, 5000, 0).train)
    bare, given = headless(spec, weights)
    assert bare.classes == 256
    images = pictures(CIFAR, 10, 20, 0).test.take(slice(0, 2))
    module = load_track("torch")
    features = module.predictor(module.build(bare, weights=given, dtype="float64"))
    logits = module.predictor(module.build(spec, weights=weights, dtype="float64"))
    wanted = features(images) @ weights["dense1.kernel"] / 9
    np.testing.assert_allclose(logits(images), wanted, rtol=1e-12)


# --- what it starts from -------------------------------------------------------------


def test_whitened_patches_are_white():
    """Uncentred second moments of what the filters give: the identity, less eps."""
    spec = of("airbench94").spec
    part = pictures(CIFAR, 10, 5000, 1).train
    kernel = initial_weights(spec, 0, part)["conv1.kernel"]
    assert kernel.shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(kernel[..., :12], -kernel[..., 12:])
    largest = kernel[..., :12].reshape(12, 12)
    assert (largest[np.abs(largest).argmax(0), np.arange(12)] > 0).all()
    images = spec.scale.applied(part.take(slice(None)))
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2))
    flat = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    out = flat @ kernel[..., :12].reshape(12, 12)
    moments = out.T @ out / len(out)
    shrunk = 1 - 5e-4 * np.square(kernel[..., :12]).sum((0, 1, 2))
    np.testing.assert_allclose(moments, np.diag(shrunk), atol=1e-10)
    assert shrunk.min() > 0.9


def test_whitening_takes_pictures_at_random_and_says_what_it_lacks():
    spec = of("airbench94").spec
    part = pictures(CIFAR, 10, 6000, 1).train
    assert pictures_needed(spec) == 5000
    one, other = (initial_weights(spec, seed, part)["conv1.kernel"] for seed in (0, 1))
    assert 0 < np.abs(one - other).max() < 1
    with pytest.raises(Refused, match=r"a sample of 5,000 training pictures, got 100;"):
        initial_weights(spec, 0, pictures(CIFAR, 10, 100, 0).train)
    with pytest.raises(ValueError, match="drawn from training pictures, got none"):
        load_track("torch").build(spec)
    with pytest.raises(ValueError, match="two filters for each of 12 values"):
        Whitening().from_pictures(np.zeros((9, 4, 4, 3)), (2, 2, 3, 20))


def test_identity_filters_pass_their_channels_on():
    kernel = Dirac(FanInUniform()).draw(np.random.default_rng(0), (3, 3, 4, 6))
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    y = F.conv2d(x, torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), padding=1)
    assert torch.equal(y[:, :4], x)
    assert not torch.equal(y[:, 4:], x[:, :2])
    assert np.abs(kernel[..., 4:]).max() <= 1 / 6
    with pytest.raises(ValueError, match="identity filters take an odd window"):
        Dirac(FanInUniform()).draw(np.random.default_rng(0), (3, 3, 4, 3))


def test_draws_have_the_deviation_that_torch_gives_them():
    """nn.Conv2d's own start is uniform in 1 / sqrt(fan in)."""
    kernel = FanInUniform().draw(np.random.default_rng(0), (3, 3, 64, 256))
    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(64, 256, 3).weight
    assert kernel.std() == pytest.approx(theirs.std().item(), rel=5e-3)
    assert np.abs(kernel).max() == pytest.approx(theirs.abs().max().item(), rel=1e-3)
    unit = UnitStd(FanInUniform()).draw(np.random.default_rng(0), (256, 10))
    assert unit.std() == pytest.approx(1)


# --- words of the recipe and the plan ------------------------------------------------


def seen_pictures(epochs, augment, n=64, shift=0):
    """Pictures and labels of each epoch, put back in the order of the data."""
    image = (8, 8, 1)
    data = pictures(image, 10, n, 0)
    spec = CNNSpec(image=image, classes=10, layers=(Flatten(), Dense(10)))
    recipe = Recipe(lr=0.1, batch=16, epochs=9, augment=augment)
    found = []
    for epoch in epochs:
        plan = Plan(seed=5)
        order = plan.order(epoch, data.train.labels, "shuffled")
        got = np.concatenate(
            [
                c.images.reshape(-1, *image)
                for c in plan.chunks(data.train, spec, recipe, epoch)
            ]
        )
        back = np.empty_like(got)
        back[order] = got
        found.append(back)
    return data.train.take(slice(None)), found


def test_alternating_flips_show_both_sides_in_two_epochs():
    original, found = seen_pictures((0, 1, 2, 3), Augment(flip=True, alternate="odd"))
    mirrored = original[:, :, ::-1]
    for first, second in itertools.pairwise(found):
        np.testing.assert_array_equal(second, first[:, :, ::-1])
    flipped = (found[0] == mirrored).all((1, 2, 3))
    assert (flipped | (found[0] == original).all((1, 2, 3))).all()
    assert 0.25 < flipped.mean() < 0.75


def test_even_epochs_are_the_other_phase():
    _, odd = seen_pictures((0, 1), Augment(flip=True, alternate="odd"))
    _, even = seen_pictures((0, 1), Augment(flip=True, alternate="even"))
    np.testing.assert_array_equal(odd[0], even[1])
    np.testing.assert_array_equal(odd[1], even[0])


def test_flips_by_chance_do_not_alternate():
    _, found = seen_pictures((0, 1), Augment(flip=True))
    same = (found[0] == found[1]).all((1, 2, 3)).mean()
    assert 0.25 < same < 0.75


def test_a_shift_reflects_at_the_border():
    spec = CNNSpec(image=(4, 5, 1), classes=2, layers=(Flatten(), Dense(2)))
    recipe = Recipe(lr=0.1, batch=1, epochs=1, augment=Augment(shift=2))
    images = np.arange(20, dtype=np.uint8).reshape(1, 4, 5, 1)
    changes = draw_changes(np.random.default_rng(0), 1, spec, recipe)
    moved = dataclasses.replace(changes, top=np.array([0]), left=np.array([4]))
    found = apply_changes(images.copy(), moved, spec, recipe, "float32")[0, ..., 0]
    # Two pixels down and two to the left; rows 2 and 1 come in above, columns beside.
    rows, columns = [2, 1, 0, 1], [2, 3, 4, 3, 2]
    np.testing.assert_array_equal(found, images[0, ..., 0][np.ix_(rows, columns)])


def test_shifts_are_as_far_as_they_may_be_and_no_farther():
    spec = of("airbench94").spec
    recipe = Recipe(lr=0.1, batch=1, epochs=1, augment=Augment(shift=2))
    changes = draw_changes(np.random.default_rng(0), 500, spec, recipe)
    for offsets in (changes.top, changes.left):
        assert set(offsets) == {0, 1, 2, 3, 4}
    with pytest.raises(ValueError, match="moved by less than its size, got 8 px"):
        bordered(np.zeros((1, 8, 9, 1), np.uint8), 8)


def test_a_cutout_is_a_square_of_black_inside():
    spec = CNNSpec(image=(9, 7, 1), classes=2, layers=(Flatten(), Dense(2)))
    recipe = Recipe(lr=0.1, batch=1, epochs=1, augment=Augment(cutout=3))
    changes = draw_changes(np.random.default_rng(0), 400, spec, recipe)
    images = np.full((400, 9, 7, 1), 7, np.uint8)
    found = apply_changes(images, changes, spec, recipe, "float32")[..., 0] == 0
    assert (found.sum((1, 2)) == 9).all()
    corners = {
        (int(a.argmax()), int(b.argmax()))
        for a, b in zip(found.any(2), found.any(1), strict=True)
    }
    assert corners == {(top, left) for top in range(7) for left in range(5)}
    paint = dataclasses.replace(recipe, augment=Augment(cutout=3, paint=(9,)))
    again = np.full((400, *spec.image), 77, np.uint8)
    painted = apply_changes(again, changes, spec, paint, "float32")[..., 0]
    np.testing.assert_array_equal(painted == 9, found)
    with pytest.raises(ValueError, match="a number for each channel"):
        check_changes(spec, Augment(cutout=3, paint=(1, 2, 3)))
    with pytest.raises(ValueError, match="a cutout must fit the picture, got 8 px"):
        check_changes(spec, Augment(cutout=8))


def test_piecewise_lines_jump_where_two_points_meet():
    schedule = Piecewise(((0.0, 0.0), (0.5, 1.0), (0.5, 0.2), (1.0, 0.0)))
    wanted = [0, 0.2, 0.4, 0.6, 0.8, 0.2, 0.16, 0.12, 0.08, 0.04]
    np.testing.assert_allclose(schedule.factors(10, 3), wanted, atol=1e-15)
    with pytest.raises(ValueError, match="from share 0 to share 1"):
        Piecewise(((0.0, 1.0), (0.7, 1.0)))


def test_a_cut_last_epoch_stops_where_it_says():
    recipe = Recipe(lr=0.1, batch=10, epochs=3, last_epoch=0.25)
    assert recipe.steps(100) == 23  # 22.5, rounded up
    data = pictures((8, 8, 1), 10, 100, 0)
    spec = CNNSpec(image=(8, 8, 1), classes=10, layers=(Flatten(), Dense(10)))
    for track in TRACKS:
        module = load_track(track)
        history = module.train(module.build(spec), data, recipe, Plan(seed=0))
        assert len(history.losses) == 23
        assert np.isfinite(history.losses).all()
        assert len(history.epochs) == 3
        last = history.losses[20:].mean()
        assert history.epochs[-1].train_loss == pytest.approx(last)


@pytest.mark.parametrize("track", TRACKS)
def test_lookahead_is_what_it_is_by_hand(track):
    """From the fast weights of a run without it; statistics too, resumed or not."""
    spec = CNNSpec(
        image=(6, 6, 1),
        classes=3,
        layers=(Conv(2, 3), Norm(), Flatten(), Dense(3)),
    )
    average = Lookahead(every=3, decay=0.9, power=2)
    recipe = Recipe(lr=0.05, batch=8, epochs=1, average=average)
    data = pictures((6, 6, 1), 3, 40, 0)
    module = load_track(track)
    plan = Plan(seed=0, dtype="float64")
    chunks = list(plan.chunks(data.train, spec, recipe, 0))
    batches = [c[i : i + 1] for c in chunks for i in range(len(c.labels))]

    def trainer_of(own, weights=None):
        model = module.build(spec, weights=weights, dtype="float64")
        return model, module.Trainer(model, spec, own, np.full(5, 0.05))

    model, trainer = trainer_of(recipe)
    slow = module.get_weights(model)
    for t, batch in enumerate(batches, 1):
        before = module.get_weights(model)
        plain, alone = trainer_of(dataclasses.replace(recipe, average=None), before)
        alone.run(batch)
        trainer.run(batch)
        fast = module.get_weights(plain)
        if t % 3 == 0:
            d = 0.9**3 * (t / 5) ** 2
            slow = {n: d * slow[n] + (1 - d) * fast[n] for n in slow}
            fast = slow
        found = module.get_weights(model)
        for name in fast:
            np.testing.assert_allclose(found[name], fast[name], rtol=1e-12, atol=1e-14)
    with trainer.averaged():
        judged = module.get_weights(model)
    for name in slow:
        np.testing.assert_allclose(judged[name], slow[name], rtol=1e-12, atol=1e-14)
    _, resumed = trainer_of(recipe)
    resumed.restore(trainer.arrays(), 5)
    kept = resumed.arrays()
    assert {n: v.tobytes() for n, v in kept.items()} == {
        n: v.tobytes() for n, v in trainer.arrays().items()
    }


def orthogonal_by_hand(matrix, iterations, eps):
    """Newton and Schulz in NumPy, as the published code has it."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (np.linalg.norm(x) + eps)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.T if tall else x


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("rows", ["outputs", "inputs"])
@pytest.mark.parametrize("out", [3, 40], ids=["wide", "tall"])
def test_muon_is_what_it_is_by_hand(track, rows, out):
    """A third witness: three updates of oblong filters from the same gradients."""
    spec = CNNSpec(
        image=(5, 6, 2),
        classes=2,
        layers=(Conv(out, (3, 2), bias=False), Flatten(), Dense(2, bias=False)),
    )
    rule = Muon(momentum=0.6, iterations=3, eps=1e-9, renormalise=True, rows=rows)
    recipe = Recipe(lr=0.1, batch=4, epochs=1, optimizer=rule)
    recipe = dataclasses.replace(recipe, optimizers=(("dense1", SGD()),))
    data = pictures((5, 6, 2), 2, 12, 0)
    module = load_track(track)
    model = module.build(spec, dtype="float64")
    rates = np.array([0.1, 0.2, 0.05])
    trainer = module.Trainer(model, spec, recipe, rates)
    name = "conv1.kernel"
    w = module.get_weights(model)[name]
    buffer = np.zeros_like(w)
    (chunk,) = Plan(seed=0, dtype="float64").chunks(data.train, spec, recipe, 0)
    for t in range(3):
        g = trainer.canonical_gradients(chunk[t : t + 1])[name]
        trainer.run(chunk[t : t + 1])
        buffer = 0.6 * buffer + g
        g = g + 0.6 * buffer
        w = w * (out**0.5 / np.linalg.norm(w))
        axis = 3 if rows == "outputs" else 2
        moved = np.moveaxis(g, axis, 0)
        step = orthogonal_by_hand(moved.reshape(len(moved), -1), 3, 1e-9)
        w = w - rates[t] * np.moveaxis(step.reshape(moved.shape), 0, axis)
        found = module.get_weights(model)[name]
        np.testing.assert_allclose(found, w, rtol=1e-10, atol=1e-12)
    again = module.build(spec, dtype="float64")
    resumed = module.Trainer(again, spec, recipe, rates)
    resumed.restore(trainer.arrays(), 3)
    kept = {n: v.tobytes() for n, v in resumed.arrays().items()}
    assert kept == {n: v.tobytes() for n, v in trainer.arrays().items()}


def test_muon_of_a_vector_is_refused_in_one_line():
    rule = "recipe.optimizers=()"
    with pytest.raises(Refused, match=r"orthogonal, conv1.bias has the shape \(24,\);"):
        resolve("airbench94-muon", image=CIFAR, classes=10, overrides=(rule,))


def test_muons_numbers_are_the_published_ones():
    """Rates per sum of 2,000 losses, and decay over each of them."""
    recipe = of("airbench94-muon").recipe
    rates = {"norm1.shift": 0.053, "conv1.bias": 0.053, "dense1.kernel": 0.67}
    for name, rate in rates.items():
        factor = recipe.multiplier(name)
        assert recipe.lr * factor == pytest.approx(rate * 2000)
        assert recipe.decay.strength(factor) * 2000 == pytest.approx(2e-6 * 2000 / rate)
        assert recipe.optimizer_of(name) == SGD(momentum=0.85, nesterov=True)
    assert recipe.optimizer_of("conv4.kernel").momentum == 0.6
    assert (recipe.lr, recipe.multiplier("conv4.kernel")) == (0.24, 1)
    factors = recipe.schedule_of("conv1.bias").factors(200, 200)
    np.testing.assert_allclose(factors[:75], 1 - np.arange(75) / 75)
    assert (factors[75:] == 0).all()
    np.testing.assert_allclose(recipe.rates(50_000), 0.24 * (1 - np.arange(200) / 200))


def test_views_are_added_by_weight():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 1)).astype(np.uint8)

    def predict(given):
        return given.reshape(len(given), -1)[:, :7].astype(np.float64)

    views = (View(weight=0.5), View(flip=True, down=-1, right=-1, weight=0.25))
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    moved = wide[:, 2:, 2:][:, :, ::-1]  # up and left: what is below and right comes in
    wanted = 0.5 * predict(images) + 0.25 * predict(np.ascontiguousarray(moved))
    np.testing.assert_array_equal(seen(predict, views)(images), wanted)
    assert seen(predict, ()) is predict


def test_its_views_are_the_published_ones():
    """Mirrored; half as it is, a quarter each up-left and down-right."""
    weights = {}
    for view in of("airbench94").recipe.views:
        place = (view.down, view.right)
        weights.setdefault(place, []).append((view.flip, view.weight))
    assert weights == {
        (0, 0): [(False, 0.25), (True, 0.25)],
        (-1, -1): [(False, 0.125), (True, 0.125)],
        (1, 1): [(False, 0.125), (True, 0.125)],
    }

"""What parity of two tracks cannot see, or saw too little of: a third witness for it.

Oblong pictures, kernels and pads; values by hand; properties of what both tracks share.
Each test stands for a kind of mistake that `tests/mutants` plants.
"""

import dataclasses
import gc
import itertools

import numpy as np
import pytest

from benchmarks.measures.ladder import STAGES, measure
from benchmarks.measures.rungs import compare_stage
from benchmarks.parity import plan_climbs
from common import loop
from common.data import pictures
from common.evaluate import cross_entropy, evaluate, score
from common.plan import Plan
from common.recipe import SGD, Adam, Average, Decay, Recipe
from common.spec import (
    LRN,
    AveragePool,
    CNNSpec,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MLPSpec,
    Norm,
    Pool,
    Relu,
    Scale,
)
from common.systems import SYSTEMS, Ladder, System
from common.track import EpochScores, load_track
from common.weights import GlorotUniform, HeNormal, random_weights

TRACKS = ("torch", "tensorflow")
FLOAT32 = 2e-6  # rounding of sums of some dozens of float32 terms of order one


def oblong(image, classes):
    """Nothing here is alike in height and width, and maps are negative before pools."""
    return CNNSpec(
        image=image,
        classes=classes,
        crop=8,
        layers=(
            Conv(4, (3, 2), 1, ((1, 2), (0, 1))),
            Pool(3, 2, ((0, 1), (1, 1))),
            Norm(decay=0.8, variance="unbiased"),
            Conv(5, (1, 3), 1, ((0, 1), (2, 1)), bias=False),
            AveragePool(2, 1, ((1, 0), (0, 1)), "exclude"),
            LRN(radius=1, bias=1.0, alpha=0.1, beta=0.75),
            Dropout(0.3),
            Relu(),
            Flatten("chw"),
            Dense(classes),
        ),
    )


OBLONG = System(
    name="oblong",
    summary="for this test",
    spec=oblong,
    recipe=Recipe(
        lr=0.02,
        batch=6,
        epochs=1,
        optimizer=SGD(momentum=0.9),
        clip=0.7,
        decay=Decay(rate=0.1, kind="decoupled"),
        multipliers=(("conv2", 3.0), ("dense1", 0.5)),
        average=Average(decay=0.9, warm_up=True),
        smoothing=0.1,
    ),
    data="none",
    image=(11, 9, 2),
    ladder=Ladder(steps=12),
)


def test_nothing_is_taken_for_its_mirror_image(monkeypatch, tmp_path):
    """Heights for widths, odd margins, pads of 0 in a maximum, factors of decay."""
    monkeypatch.setitem(SYSTEMS, "oblong", OBLONG)
    climbs = plan_climbs(
        "oblong",
        request=None,
        steps=None,
        seed=1,
        threads=1,
        overrides=(),
        fault=None,
        folder=tmp_path,
    )
    stages = {t: measure(load_track(t), climb) for t, climb in climbs.items()}
    for stage in STAGES:
        assert {next(stages[track]) for track in stages} == {stage}
        gc.collect()
        assert [r for r in compare_stage(stage, climbs) if not r.passed] == []


def small(**changes):
    """A network of a few weights, its recipe and pictures."""
    spec = MLPSpec(image=(3, 2, 1), classes=3, hidden=(4,))
    recipe = Recipe(**{"lr": 0.1, "batch": 5, "epochs": 2} | changes)
    return spec, recipe, pictures((3, 2, 1), 3, 23, 0)


def trained(track, recipe, spec=None, steps=3, dtype="float64", looked=True):
    """Weights before, gradients at each step if `looked`, and weights after each.

    (To look at a gradient moves running statistics.)
    """
    made, _, data = small()
    spec = spec or made
    module = load_track(track)
    model = module.build(spec, weights=random_weights(spec.weights, 0), dtype=dtype)
    trainer = module.Trainer(model, spec, recipe, np.full(steps, recipe.lr))
    found = [(module.get_weights(model), None)]
    chunks = Plan(seed=0, dtype=dtype).chunks(data.train, spec, recipe, 0)
    batches = [c[i : i + 1] for c in chunks for i in range(len(c.labels))]
    for batch in batches[:steps]:
        gradients = trainer.canonical_gradients(batch) if looked else None
        trainer.run(batch)
        found.append((module.get_weights(model), gradients))
    return module, model, trainer, found


@pytest.mark.parametrize("track", TRACKS)
def test_decoupled_decay_has_each_tensors_own_rate(track):
    _, recipe, _ = small(
        decay=Decay(rate=0.5, kind="decoupled"),
        multipliers=(("hidden.0", 3.0), ("head", 0.5)),
    )
    *_, found = trained(track, recipe)
    for (before, _), (after, gradients) in itertools.pairwise(found):
        for name, factor in (("hidden.0.kernel", 3.0), ("head.kernel", 0.5)):
            rate = 0.1 * factor
            wanted = before[name] * (1 - rate * 0.5) - rate * gradients[name]
            np.testing.assert_allclose(after[name], wanted, rtol=1e-12)
        bias = before["head.bias"] - 0.05 * gradients["head.bias"]
        np.testing.assert_allclose(after["head.bias"], bias, rtol=1e-12)


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("limit", [0.05, 1e6])
def test_clipping_scales_long_gradients_and_leaves_short_ones(track, limit):
    _, recipe, _ = small(clip=limit)
    *_, found = trained(track, recipe, steps=1)
    (before, _), (after, gradients) = found
    norm = np.sqrt(sum(np.square(g).sum() for g in gradients.values()))
    assert 0.05 < norm < 1e6
    scale = min(1, limit / norm)
    for name, gradient in gradients.items():
        wanted = before[name] - 0.1 * scale * gradient
        np.testing.assert_allclose(after[name], wanted, rtol=1e-12)


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("form", ["corrected", "raw"])
def test_adam_is_what_it_is_by_hand(track, form):
    rule = Adam(beta1=0.8, beta2=0.9, eps=1e-3, form=form)
    _, recipe, _ = small(optimizer=rule)
    *_, found = trained(track, recipe)
    mean = square = 0.0
    name = "head.kernel"
    for t, ((before, _), (after, gradients)) in enumerate(itertools.pairwise(found), 1):
        g = gradients[name]
        mean, square = 0.8 * mean + 0.2 * g, 0.9 * square + 0.1 * g * g
        root, bias = np.sqrt(square), np.sqrt(1 - 0.9**t)
        below = root / bias + 1e-3 if form == "corrected" else (root + 1e-3) / bias
        step = mean / (1 - 0.8**t) / below
        np.testing.assert_allclose(after[name], before[name] - 0.1 * step, rtol=1e-11)


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("form", ["buffer", "velocity"])
def test_momentum_is_what_it_is_by_hand(track, nesterov, form):
    rule = SGD(momentum=0.7, nesterov=nesterov, form=form)
    _, recipe, _ = small(optimizer=rule, decay=Decay(rate=0.2))
    *_, found = trained(track, recipe)
    kept, name = 0.0, "hidden.0.kernel"
    for (before, _), (after, gradients) in itertools.pairwise(found):
        g = gradients[name] + 0.2 * before[name]
        kept = 0.7 * kept + (0.1 * g if form == "velocity" else g)
        ahead = (0.1 * g if form == "velocity" else g) + 0.7 * kept
        step = ahead if nesterov else kept
        step = step if form == "velocity" else 0.1 * step
        np.testing.assert_allclose(after[name], before[name] - step, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("track", TRACKS)
def test_averages_are_by_hand_and_weights_come_back(track, dtype):
    _, recipe, _ = small(average=Average(decay=0.6, warm_up=True))
    module, model, trainer, found = trained(track, recipe, dtype=dtype)
    name = "head.kernel"
    average = found[0][0][name].astype(np.float64)
    for n, (weights, _) in enumerate(found[1:], 1):
        d = min(0.6, (1 + n) / (10 + n))
        average = d * average + (1 - d) * weights[name]
    tolerance = 1e-12 if dtype == "float64" else FLOAT32
    with trainer.averaged():
        held = module.get_weights(model)[name]
    np.testing.assert_allclose(held, average, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(module.get_weights(model)[name], found[-1][0][name])
    assert np.abs(average - found[-1][0][name]).max() > 1e-4


@pytest.mark.parametrize("track", TRACKS)
def test_training_ends_with_the_averaged_weights(track):
    spec, recipe, data = small(average=Average(decay=0.9, warm_up=False))
    module, states = load_track(track), []
    model = module.build(spec, dtype="float64")
    module.train(
        model,
        data,
        recipe,
        Plan(seed=0, dtype="float64"),
        on_epoch=lambda _, state: states.append(state),
    )
    last = states[-1].arrays
    for name, value in module.get_weights(model).items():
        np.testing.assert_array_equal(value, last[f"slots/average/{name}"])
        assert (value != last[f"weights/{name}"]).any()


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("track", TRACKS)
def test_running_statistics_are_what_they_are_by_hand(track, dtype, variance):
    norm = Norm(decay=0.7, eps=1e-3, variance=variance)
    layers = (Flatten(), norm, Dense(3))
    spec = CNNSpec(image=(3, 2, 1), classes=3, layers=layers)
    _, recipe, data = small()
    *_, found = trained(track, recipe, spec, steps=2, dtype=dtype, looked=False)
    order = Plan(seed=0).order(0, data.train.labels, "shuffled")
    x = data.train.take(order[:5]).reshape(5, 6) / 255.0
    before, after = found[0][0], found[1][0]
    spread = x.var(0, ddof=1 if variance == "unbiased" else 0)
    tolerance = 1e-12 if dtype == "float64" else FLOAT32
    for name, new in (("norm1.mean", x.mean(0)), ("norm1.var", spread)):
        wanted = 0.7 * before[name] + 0.3 * new
        np.testing.assert_allclose(after[name], wanted, rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize("track", TRACKS)
def test_bfloat16_multiplies_in_bfloat16_and_sums_the_rest_in_float32(track):
    """The loss from float32 logits; products rounded to 8 bits, and only those."""
    spec = CNNSpec(
        image=(6, 5, 2),
        classes=3,
        layers=(
            Conv(8, 3),
            LRN(radius=2, bias=1.0, alpha=0.5, beta=0.75),
            Flatten(),
            Dense(3),
        ),
    )
    weights = random_weights(spec.weights, 3)
    recipe = Recipe(lr=1e-9, batch=16, epochs=1)
    data = pictures((6, 5, 2), 3, 16, 0)
    module, logits = load_track(track), {}
    for dtype in ("float64", "float32", "bfloat16"):
        model = module.build(spec, weights=weights, dtype=dtype)
        images = data.train.take(slice(None))
        logits[dtype] = module.predictor(model)(images)
        chunk = next(Plan(seed=0).chunks(data.train, spec, recipe, 0))
        loss = module.Trainer(model, spec, recipe, np.full(9, 1e-9)).run(chunk[:1])[0]
        order = Plan(seed=0).order(0, data.train.labels, "shuffled")
        exact = cross_entropy(logits[dtype][order], data.train.labels[order]).mean()
        assert loss == pytest.approx(exact, rel=1e-6)
    apart = {
        dtype: np.linalg.norm(logits[dtype] - logits["float64"])
        / np.linalg.norm(logits["float64"])
        for dtype in ("float32", "bfloat16")
    }
    assert apart["float32"] < FLOAT32
    assert 1e-4 < apart["bfloat16"] < 2e-2


@pytest.mark.parametrize("track", TRACKS)
def test_lrn_of_bfloat16_maps_is_summed_in_float32(track):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 3, 9)) * 8
    layer = LRN(radius=4, bias=1.0, alpha=1.0, beta=0.75)
    if track == "torch":
        import torch

        from pt_track.layers import LRN as Own

        x = torch.tensor(maps).to(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            found = Own(9, layer, "bfloat16")(x.permute(0, 3, 1, 2))
        given, found = x.double().numpy(), found.movedim(1, -1).double().numpy()
    else:
        import tensorflow as tf

        from tf_track.layers import LRN as Own

        x = tf.cast(maps, tf.bfloat16)
        found = tf.cast(Own(9, layer, "bfloat16")(x), tf.float64).numpy()
        given = tf.cast(x, tf.float64).numpy()
    total = np.square(given).sum(-1, keepdims=True) - 0
    index = np.arange(9)
    band = np.abs(index[:, None] - index) <= 4
    total = np.square(given) @ band
    np.testing.assert_allclose(found, given / (1 + total) ** 0.75, rtol=1e-5)


@pytest.mark.parametrize("track", TRACKS)
def test_a_frameworks_own_dropout_drops_in_training_alone_and_keeps_the_mean(track):
    ones = np.ones((400, 50), np.float32)
    if track == "torch":
        import torch

        from pt_track.layers import Dropout as Own

        layer = Own(0.3, "float32")
        dropped = layer.train()(torch.from_numpy(ones)).numpy()
        kept = layer.eval()(torch.from_numpy(ones)).numpy()
    else:
        from tf_track.layers import Dropout as Own

        layer = Own(0.3, "float32")
        dropped = layer(ones, training=True).numpy()
        kept = layer(ones, training=False).numpy()
    np.testing.assert_array_equal(kept, ones)
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert dropped.mean() == pytest.approx(1, abs=0.03)
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.7)}


@pytest.mark.parametrize("track", TRACKS)
def test_a_model_in_training_drops_without_masks_too(track):
    """As a library's user trains it: the network itself passes training on."""
    spec = CNNSpec(
        image=(4, 4, 1),
        classes=3,
        layers=(Flatten(), Dropout(0.5), Dense(3)),
    )
    module = load_track(track)
    model = module.build(spec, weights=random_weights(spec.weights, 0))
    if track == "torch":
        import torch

        x = torch.ones(1, 1, 4, 4) * 200
        model.train()
        several = [model(x).detach().numpy() for _ in range(5)]
        model.eval()
        same = [model(x).detach().numpy() for _ in range(2)]
    else:
        x = np.ones((1, 4, 4, 1), np.float32) * 200
        several = [model(x, training=True).numpy() for _ in range(5)]
        same = [model(x).numpy() for _ in range(2)]
    assert len({v.tobytes() for v in several}) > 1
    assert len({v.tobytes() for v in same}) == 1


@pytest.mark.parametrize("track", TRACKS)
def test_each_batch_of_a_chunk_has_its_own_mask(track):
    spec = CNNSpec(
        image=(4, 4, 1),
        classes=3,
        layers=(Flatten(), Dropout(0.5), Dense(3)),
    )
    recipe = Recipe(lr=0.1, batch=5, epochs=1)
    data = pictures((4, 4, 1), 3, 20, 0)
    (chunk,) = Plan(seed=0, dtype="float64").chunks(data.train, spec, recipe, 0)
    (masks,) = chunk.draws.values()
    assert len({mask.tobytes() for mask in masks}) == len(masks) == 4
    module, losses = load_track(track), []
    for parts in ([chunk], [chunk[i : i + 1] for i in range(4)]):
        model = module.build(spec, dtype="float64")
        trainer = module.Trainer(model, spec, recipe, np.full(4, 0.1))
        losses.append(np.concatenate([trainer.run(part) for part in parts]))
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("track", TRACKS)
def test_statistics_are_estimated_and_the_momentum_comes_back(track):
    layers = (Flatten(), Norm(decay=0.8), Dense(3))
    spec = CNNSpec(image=(3, 2, 1), classes=3, layers=layers)
    module = load_track(track)
    model = module.build(spec, dtype="float64")
    data = pictures((3, 2, 1), 3, 24, 0)
    images = data.train.take(slice(None))
    module.estimate_statistics(model, [images[:12], images[12:]])
    weights = module.get_weights(model)
    x = images.reshape(len(images), 6) / 255.0
    np.testing.assert_allclose(weights["norm1.mean"], x.mean(0), rtol=1e-12)
    trainer = module.Trainer(
        model, spec, Recipe(lr=0.0, batch=24, epochs=1), np.zeros(1)
    )
    chunk = next(
        Plan(seed=0, dtype="float64").chunks(
            data.train, spec, Recipe(lr=0.0, batch=12, epochs=1), 0
        )
    )
    trainer.run(chunk[:1])
    batch = chunk.images[0].reshape(12, 6) / 255.0
    wanted = 0.8 * x.mean(0) + 0.2 * batch.mean(0)
    found = module.get_weights(model)["norm1.mean"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("track", TRACKS)
def test_a_new_head_is_of_its_seed(track):
    module = load_track(track)
    model = module.build(small()[0])
    heads = [
        module.get_weights(module.replace_head(model, 5, seed=seed))["head.kernel"]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(heads[0], heads[1])
    assert (heads[0] != heads[2]).mean() > 0.9


# --- what both tracks share ----------------------------------------------------------


class Told:
    """A trainer that only takes down what it is given."""

    def __init__(self):
        self.labels, self.images, self.masks = [], [], []

    def run(self, chunk):
        for k in range(len(chunk.labels)):
            self.labels.append(chunk.labels[k])
            self.images.append(chunk.images[k])
            self.masks.append({name: m[k] for name, m in chunk.draws.items()})
        return np.zeros(len(chunk.labels))

    def averaged(self):
        from contextlib import nullcontext

        return nullcontext()

    def arrays(self):
        return {}


def told_of(recipe, spec, data):
    teller = Told()
    loop.run(
        teller,
        lambda images: np.zeros((len(images), spec.classes)),
        data,
        spec,
        recipe,
        Plan(seed=4),
        state=None,
        on_epoch=None,
        on_progress=None,
    )
    return teller


def test_every_picture_is_trained_on_once_an_epoch_with_its_own_label():
    spec, recipe, data = small(epochs=3)
    teller = told_of(recipe, spec, data)
    assert [len(labels) for labels in teller.labels] == [5, 5, 5, 5, 3] * 3
    own = {
        image.tobytes(): label
        for image, label in zip(
            data.train.take(slice(None)), data.train.labels, strict=True
        )
    }
    for epoch in range(3):
        rows = slice(5 * epoch, 5 * epoch + 5)
        seen = [x.tobytes() for batch in teller.images[rows] for x in batch]
        assert sorted(seen) == sorted(own)
        labels = np.concatenate(teller.labels[rows])
        assert [own[x] for x in seen] == labels.tolist()


def test_every_epoch_has_an_order_and_masks_of_its_own():
    spec = MLPSpec(image=(3, 2, 1), classes=3, hidden=(40,), dropout=0.5)
    _, recipe, data = small(epochs=3)
    teller = told_of(recipe, spec, data)
    firsts = [teller.images[5 * epoch].tobytes() for epoch in range(3)]
    assert len(set(firsts)) == 3
    masks = {m.tobytes() for given in teller.masks for m in given.values()}
    assert len(masks) == 15


def test_accuracy_is_of_the_largest_logit_alone():
    logits = np.array([[3.0, 2, 1], [1, 3, 2], [1, 2, 3], [2, 3, 1]])
    found = score(logits, np.array([0, 0, 1, 1]))
    assert (found.n, found.accuracy) == (4, 0.5)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(p[np.arange(4), [0, 0, 1, 1]]).mean()
    assert found.loss == pytest.approx(loss)


def test_epochs_are_judged_on_the_validation_part():
    """The best one is chosen by that, and never on the test part."""
    image = (3, 2, 1)
    spec, recipe, whole = small(epochs=1)
    data = dataclasses.replace(
        pictures(image, 3, 60, 1), valid=whole.test, fingerprint="held out"
    )
    for track in TRACKS:
        module = load_track(track)
        model = module.build(spec, dtype="float64")
        history = module.train(model, data, recipe, Plan(seed=0, dtype="float64"))
        judged, other = (
            evaluate(module.predictor(model), part) for part in (data.valid, data.test)
        )
        assert history.epochs[0].loss == pytest.approx(judged.loss, rel=1e-12)
        assert other.loss != pytest.approx(judged.loss, rel=1e-3)


def test_of_equally_good_epochs_the_first_is_kept():
    def epoch(accuracy):
        return EpochScores(1, 1.0, accuracy, 1.0, 1.0)

    assert loop._best_yet([epoch(0.5), epoch(0.6)])
    assert not loop._best_yet([epoch(0.6), epoch(0.6)])


def test_pixels_are_scaled_in_numpy_as_by_hand():
    images = np.array([0, 51, 255, 102], np.uint8).reshape(1, 1, 2, 2)
    found = Scale(mean=(0.1, 0.2), std=(0.5, 2.0)).applied(images)
    wanted = [(0.0 - 0.1) / 0.5, (0.2 - 0.2) / 2, (1 - 0.1) / 0.5, (0.4 - 0.2) / 2]
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-14, atol=1e-16)
    found = Scale(divide=1.0, per_image=True).applied(images)
    x = np.array([0, 51, 255, 102.0])
    np.testing.assert_allclose(found.ravel(), (x - x.mean()) / x.std(), rtol=1e-14)


def test_draws_have_the_deviation_of_their_fans():
    """He by what goes in, Glorot by both; of a kernel with unlike sides."""
    shape, n = (3, 2, 50, 8), 3 * 2 * 50
    he = HeNormal().draw(np.random.default_rng(0), shape)
    assert he.std() == pytest.approx((2 / n) ** 0.5, rel=0.05)
    glorot = GlorotUniform().draw(np.random.default_rng(0), shape)
    assert np.abs(glorot).max() == pytest.approx((6 / (n + 48)) ** 0.5, rel=0.01)


def test_decay_of_both_kinds_and_all_weights():
    records = small()[0].weights
    assert Decay(rate=1).chosen(records) == ("hidden.0.kernel", "head.kernel")
    assert Decay(rate=1, which="all").chosen(records) == tuple(records)
    assert Decay(rate=1, names=("head.bias",)).chosen(records) == ("head.bias",)


def test_smoothing_spreads_over_all_classes():
    """By hand: (1 - s) of the label's and s of the mean log probability."""
    for track in TRACKS:
        spec, recipe, data = small(smoothing=0.3)
        module = load_track(track)
        model = module.build(spec, dtype="float64")
        plain = dataclasses.replace(recipe, smoothing=0.0)
        chunk = next(Plan(seed=0, dtype="float64").chunks(data.train, spec, plain, 0))
        logits = module.predictor(model)(chunk.images[0])
        logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        label = logp[np.arange(5), chunk.labels[0]]
        wanted = -(0.7 * label + 0.3 * logp.mean(1)).mean()
        trainer = module.Trainer(model, spec, recipe, np.zeros(9))
        assert trainer.run(chunk[:1])[0] == pytest.approx(wanted, rel=1e-12)

"""Fractional pooling: regions, canvas, repeats, and Graham's networks."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.compare import compare
from common import zoo
from common.data import pictures
from common.draws import Mask, Starts, _uniform, regions
from common.errors import Refused
from common.evaluate import judged, predict_all
from common.faults import FAULTS
from common.plan import Plan, apply_changes, check_changes, draw_changes
from common.recipe import SGD, Augment, Recipe
from common.results import Store
from common.spec import (
    NO_REGIONS,
    Act,
    CNNSpec,
    Conv,
    Dense,
    Dropout,
    Flatten,
    FractionalPool,
    Multiply,
    Norm,
    Scale,
    parameters,
)
from common.strangeness import probabilities
from common.systems import CIFAR, MNIST, ROUNDING, SYSTEMS, check_fits, resolve
from common.track import load_track
from common.weights import PooledUniform, random_weights
from tests.climbing import climbed, planned

pytestmark = pytest.mark.long

TRACKS = ("torch", "tensorflow")
KINDS = list(itertools.product(("pseudorandom", "random"), (True, False)))
NARROW = "fmp-narrow"


# --- regions ------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "overlap"), KINDS)
@pytest.mark.parametrize(
    ("length", "out"), [(93, 74), (35, 25), (3, 2), (8, 5), (6, 4)]
)
def test_regions_go_from_end_to_end_in_steps_of_one_and_two(kind, overlap, length, out):
    starts = Starts(length, out, kind, overlap).drawn(np.random.default_rng(0), 200)
    assert (starts.shape, starts.dtype) == ((200, out), np.int32)
    steps = np.diff(starts, axis=1, append=length if not overlap else length - 1)
    steps = steps[:, :-1] if overlap else steps
    assert set(np.unique(steps)) <= {1, 2}
    assert (starts[:, 0] == 0).all()
    if overlap:
        assert (starts[:, -1] == length - 2).all()
    several = length < 2 * out and steps.shape[1] > 1
    assert (len(np.unique(starts, axis=0)) > 1) == several


def test_the_counts_are_those_of_the_published_network():
    """From 93 to 74: 55 steps of 1 and 18 of 2, whatever the kind."""
    for kind in ("pseudorandom", "random"):
        starts = Starts(93, 74, kind).drawn(np.random.default_rng(1), 50)
        steps = np.diff(starts, axis=1)
        assert ((steps == 1).sum(1) == 55).all()
        assert ((steps == 2).sum(1) == 18).all()


@pytest.mark.parametrize("u", [0.0, 0.25, 0.5, 0.9999])
def test_pseudorandom_starts_are_the_formula(u):
    found = Starts(11, 7).starts(np.array([[u]]))[0]
    ratio = 9 / 6
    assert found.tolist() == [int((j + u) * ratio) - int(u * ratio) for j in range(7)]


@pytest.mark.parametrize(
    ("length", "out", "overlap"),
    [(8, 8, True), (8, 3, True), (8, 9, False), (4, 0, True)],
)
def test_regions_that_do_not_fit_are_refused(length, out, overlap):
    with pytest.raises(ValueError, match=rf"regions at steps .* got {length}; use"):
        Starts(length, out, "random", overlap)


def test_a_layer_whose_regions_do_not_fit_is_refused_with_its_network():
    with pytest.raises(ValueError, match="5 regions at steps of 1 and 2 fit 6 to 10"):
        CNNSpec(
            image=(12, 12, 1),
            classes=2,
            layers=(FractionalPool(5), Flatten(), Dense(2)),
        )


def test_judged_regions_depend_on_picture_and_repeat_alone():
    draws = {"a": Starts(9, 6), "b": Starts(9, 6, "random"), "m": Mask((3,), 0.5)}
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)
    whole = regions(draws, images)
    assert whole.keys() == {"a", "b"}
    for order in ([3], [6, 0, 3]):
        part = regions(draws, images[order])
        for name in whole:
            np.testing.assert_array_equal(part[name], whole[name][order])
    other = regions(draws, images, 1)
    assert any((other[name] != whole[name]).any() for name in whole)
    assert len(np.unique(whole["b"], axis=0)) > 1


def test_judged_regions_are_numbers_of_one_stream():
    """A repeat goes on where the one before ended."""
    draws = {"a": Starts(9, 6), "b": Starts(9, 6, "random")}
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    key = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    numbers = _uniform(np.frombuffer(key, "<u8"), 0, 18)
    for repeat in range(3):
        found = regions(draws, image, repeat)
        own = numbers[:, 6 * repeat :]
        np.testing.assert_array_equal(found["a"], draws["a"].starts(own[:, :1]))
        np.testing.assert_array_equal(found["b"], draws["b"].starts(own[:, 1:6]))


def test_uniform_numbers_are_splitmix64():
    """Its first numbers from 0, as its authors' code prints them."""
    found = _uniform(np.array([0], np.uint64), 0, 3)[0]
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert found.tolist() == [(value >> 11) / 2**53 for value in known]
    again = _uniform(np.array([0], np.uint64), 1, 2)[0]
    assert again.tolist() == found[1:].tolist()


# --- the layer ----------------------------------------------------------------------


def pooled(track, layer, x, rows, columns, weigh):
    """Its output for (n, h, w, c), and the gradient of sum(output * weigh)."""
    if track == "torch":
        from pt_track.layers import FractionalPool as Layer

        given = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
        y = Layer(layer, x.shape[1:])(given, *map(torch.from_numpy, (rows, columns)))
        y = y.permute(0, 2, 3, 1)
        (y * torch.from_numpy(weigh)).sum().backward()
        return y.detach().numpy(), given.grad.permute(0, 2, 3, 1).numpy()
    import tensorflow as tf

    from tf_track.layers import FractionalPool as Layer

    given = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = Layer(layer, x.shape[1:], x.dtype.name)(given, rows, columns)
        total = tf.reduce_sum(y * weigh)
    return y.numpy(), tf.convert_to_tensor(tape.gradient(total, given)).numpy()


def by_hand(layer, x, rows, columns, weigh):
    """The same, region by region."""
    n, h, w, c = x.shape
    (tall, wide), overlap = layer.out, layer.overlap
    y, g = np.zeros((n, tall, wide, c), x.dtype), np.zeros_like(x)
    for i, a, b, k in itertools.product(range(n), range(tall), range(wide), range(c)):
        r, s = (v[i, k] if v.ndim == 3 else v[i] for v in (rows, columns))
        below = r[a] + 2 if overlap else (*r, h)[a + 1]
        beyond = s[b] + 2 if overlap else (*s, w)[b + 1]
        region = x[i, r[a] : below, s[b] : beyond, k]
        y[i, a, b, k] = region.max()
        if overlap:
            down, right = np.unravel_index(region.argmax(), region.shape)
        else:  # the upper of each column, then the left of those
            tops = region.argmax(0)
            right = region.max(0).argmax()
            down = tops[right]
        g[i, r[a] + down, s[b] + right, k] += weigh[i, a, b, k]
    return y, g


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize(("kind", "overlap"), KINDS)
@pytest.mark.parametrize("per", ["picture", "channel"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_layer_is_what_it_is_by_hand(track, kind, overlap, per, dtype):
    """Oblong, negative, and full of ties; small whole numbers, so equal bits."""
    rng = np.random.default_rng(2)
    layer = FractionalPool((6, 4), kind, overlap, per)
    x = rng.integers(-4, 0, (3, 9, 7, 5)).astype(dtype)
    rows, columns = (s.drawn(rng, 3) for s in layer.starts(x.shape[1:]))
    weigh = rng.integers(1, 9, (3, 6, 4, 5)).astype(dtype)
    wanted = by_hand(layer, x, rows, columns, weigh)
    found = pooled(track, layer, x, rows, columns, weigh)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("track", "overlap"), [("torch", True), ("torch", False), ("tensorflow", False)]
)
def test_what_is_no_number_stays_no_number(track, overlap):
    """But in TensorFlow's own max pool, where regions overlap: that drops it."""
    layer = FractionalPool((2, 2), overlap=overlap)
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1, 0] = np.nan
    starts = layer.starts(x.shape[1:])[0].middle(1)
    y, _ = pooled(track, layer, x, starts, starts, np.ones((1, 2, 2, 1)))
    assert np.isnan(y).any()


def test_it_is_torchs_own_pool_where_channels_have_regions_of_their_own():
    layer = FractionalPool((74, 58), per="channel")
    x = np.random.default_rng(3).normal(size=(2, 93, 73, 4))
    u = np.random.default_rng(4).random((2, 4, 2))
    tall, wide = layer.starts(x.shape[1:])
    rows, columns = tall.starts(u[:, :, 1]), wide.starts(u[:, :, 0])
    own = nn.FractionalMaxPool2d(2, (74, 58), _random_samples=torch.from_numpy(u))
    wanted = own(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    for track in TRACKS:
        y, _ = pooled(track, layer, x, rows, columns, np.ones_like(wanted))
        np.testing.assert_array_equal(y, wanted)


FLAT = (Flatten(), Dense(3))
SMALL = CNNSpec(
    image=(7, 6, 2),
    classes=3,
    layers=(
        Conv(4, 2),
        Act("leaky", 1 / 3),
        Dropout(0.5, "map"),
        Multiply(0.5),
        FractionalPool((5, 6)),
        Conv(5, (2, 3)),
        FractionalPool((3, 3), "random"),
        Flatten(),
        Dense(3),
    ),
    canvas=9,
    ground=100,
)


@pytest.mark.parametrize("track", TRACKS)
def test_a_network_that_trains_must_be_given_its_regions(track):
    model = load_track(track).build(SMALL)
    images = np.zeros((2, *SMALL.image), np.float32)
    if track == "torch":
        model.train()
        images, given = torch.from_numpy(images).permute(0, 3, 1, 2), {}
    else:
        given = {"training": True}
    with pytest.raises(ValueError, match=NO_REGIONS[:30]):
        model(images, **given)


def test_a_network_that_is_given_none_takes_the_middle_ones():
    """The same in both tracks; what is judged draws them."""
    images = np.random.default_rng(0).integers(0, 256, (3, *SMALL.image), np.uint8)
    weights = random_weights(SMALL.weights, 0)
    models = {
        t: load_track(t).build(SMALL, weights=weights, dtype="float64") for t in TRACKS
    }
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    found = models["torch"].eval()(x).detach().numpy()
    other = np.asarray(models["tensorflow"](images, training=False))
    np.testing.assert_allclose(found, other, rtol=ROUNDING)
    drawn = {t: load_track(t).predictor(m)(images) for t, m in models.items()}
    np.testing.assert_allclose(drawn["torch"], drawn["tensorflow"], rtol=ROUNDING)
    assert not np.allclose(found, drawn["torch"])


# --- whole maps ---------------------------------------------------------------------


def test_whole_maps_are_dropped_alike_in_a_batch_and_always_as_many():
    mask, rng = Mask((96,), 0.25, "map"), np.random.default_rng(0)
    kept = [mask.drawn(rng, 50) for _ in range(20)]
    assert {(row.shape, row.sum()) for row in kept} == {((96,), 72)}
    assert len({row.tobytes() for row in kept}) == 20


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 6)])
def test_a_map_is_dropped_whole(track, shape):
    x = np.random.default_rng(0).normal(size=shape)
    keep = np.array([True, False, True, True, False, True])
    if track == "torch":
        from pt_track.layers import Dropout as Layer

        given = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
        found = Layer(1 / 3, "float64", "map")(given, torch.from_numpy(keep)).numpy()
        found = np.moveaxis(found, 1, -1)
    else:
        from tf_track.layers import Dropout as Layer

        found = Layer(1 / 3, "float64", "map")(x, keep, training=True).numpy()
    np.testing.assert_allclose(found, x * keep * 1.5, rtol=1e-15)


# --- canvas and Graham's augmentation -----------------------------------------------


@pytest.mark.parametrize("track", TRACKS)
def test_a_judged_picture_lies_in_the_middle_of_the_canvas(track):
    spec = CNNSpec(
        image=(1, 3, 1),
        classes=25,
        layers=(Flatten(), Dense(25)),
        scale=Scale(divide=1.0),
        canvas=5,
        ground=7,
    )
    weights = {"dense1.kernel": np.eye(25), "dense1.bias": np.zeros(25)}
    module = load_track(track)
    model = module.build(spec, weights=weights, dtype="float64")
    image = np.arange(10, 13, dtype=np.uint8).reshape(1, 1, 3, 1)
    wanted = np.full((5, 5), 7)
    wanted[2:3, 1:4] = image[0, :, :, 0]
    found = module.predictor(model)(image).reshape(5, 5)
    np.testing.assert_array_equal(found, wanted)


def laid(augment, n=400, seed=0, spec=SMALL, **given):
    """Pictures, what was drawn for them, and what became of them."""
    recipe = Recipe(lr=0.1, batch=n, epochs=1, augment=augment)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *spec.image), np.uint8)
    changes = dataclasses.replace(draw_changes(rng, n, spec, recipe), **given)
    return images, changes, apply_changes(images, changes, spec, recipe, "float64")


@pytest.mark.parametrize(("shift", "left"), [(1, {0, 1, 2}), (2, {0, 1, 2, 3})])
def test_training_moves_a_picture_on_its_canvas_no_further_than_to_the_border(
    shift, left
):
    images, changes, found = laid(Augment(shift=shift))
    assert found.dtype == np.uint8
    # 7 x 6 on 9 x 9: the middle is (1, 1), there are 2 and 3 px to move in.
    assert set(changes.top.tolist()) == {0, 1, 2}
    assert set(changes.left.tolist()) == left
    for image, top, left, canvas in zip(
        images, changes.top, changes.left, found, strict=True
    ):
        wanted = np.full((9, 9, 2), 100)
        wanted[top : top + 7, left : left + 6] = image
        np.testing.assert_array_equal(canvas, wanted)


@pytest.mark.parametrize("warped", [{}, {"stretch": 0.2}])
def test_a_picture_on_a_canvas_is_mirrored_from_left_to_right(warped):
    one = np.tile(np.eye(2), (400, 1, 1)) if warped else np.zeros((0, 2, 2))
    images, changes, found = laid(Augment(flip=True, **warped), affine=one)
    assert 0.4 < changes.flip.mean() < 0.6
    # (What was mirrored was mirrored where it lay.)
    np.testing.assert_allclose(found[:, 1:8, 1:7], images, atol=1e-12)
    fresh = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    wanted = np.where(changes.flip[:, None, None, None], fresh[:, :, ::-1], fresh)
    np.testing.assert_array_equal(images, wanted)


def test_a_picture_that_is_not_moved_lies_where_a_judged_one_does():
    _, changes, _ = laid(Augment())
    assert set(changes.top) == set(changes.left) == {1}


def test_a_matrix_of_one_leaves_a_picture_as_it_is():
    _, changes, found = laid(
        Augment(shift=1, stretch=0.2), affine=np.tile(np.eye(2), (400, 1, 1))
    )
    _, _, plain = laid(Augment(shift=1), top=changes.top, left=changes.left)
    np.testing.assert_allclose(found, plain, atol=1e-12)


def test_a_quarter_turn_is_numpys():
    """(down, right) to (right, -down): a turn to the left."""
    square = dataclasses.replace(
        SMALL,
        image=(5, 5, 2),
    )
    turn = np.tile(np.array([[0.0, -1.0], [1.0, 0.0]]), (4, 1, 1))
    images, _, found = laid(Augment(slant=0.1), n=4, spec=square, affine=turn)
    wanted = np.rot90(images, axes=(1, 2))
    np.testing.assert_allclose(found[:, 2:7, 2:7], wanted, atol=1e-12)


def test_a_picture_half_as_large_is_the_mean_of_neighbours():
    """Shrunk to a half, a pixel falls between two in each direction."""
    spec = dataclasses.replace(SMALL, image=(4, 4, 1), canvas=6, layers=FLAT)
    half = np.tile(np.eye(2) / 2, (1, 1, 1))
    images, _, found = laid(Augment(stretch=0.1), n=1, spec=spec, affine=half)
    wanted = images[0, :, :, 0].reshape(2, 2, 2, 2).mean((1, 3))
    np.testing.assert_allclose(found[0, 2:4, 2:4, 0], wanted, atol=1e-12)


def test_matrices_stretch_and_then_slant_along_one_axis_or_turn():
    recipe = Recipe(lr=0.1, batch=1, epochs=1, augment=Augment(stretch=0.2, slant=0.2))
    drawn = draw_changes(np.random.default_rng(0), 3000, SMALL, recipe).affine
    down, right = drawn[:, 1, 0] == 0, drawn[:, 0, 1] == 0
    kinds = [right & ~down, down & ~right, ~down & ~right]
    assert [kind.mean() for kind in kinds] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert drawn[down | right][:, [0, 1], [0, 1]].min() == pytest.approx(0.8, abs=1e-3)
    assert drawn[down | right][:, [0, 1], [0, 1]].max() == pytest.approx(1.2, abs=1e-3)
    turned = drawn[kinds[2]]
    lengths = np.linalg.norm(turned, axis=1)  # of columns: a turn changes no length
    assert 0.8 <= lengths.min() < lengths.max() <= 1.2
    np.testing.assert_allclose(
        (turned[:, :, 0] * turned[:, :, 1]).sum(1), 0, atol=1e-12
    )
    slants = (drawn[:, 0, 1] / drawn[:, 1, 1])[kinds[1]]
    assert np.abs(slants).max() == pytest.approx(0.2, abs=2e-3)


def test_tint_and_shade_are_added_to_the_picture_and_not_to_the_canvas():
    tint = np.array([[3.0, -1.0]])
    shade = np.array([[[0.5, 0.0], [0.0, 2.0]]])  # (down, right) by channel
    images, changes, found = laid(Augment(tint=1, shade=1), n=1, tint=tint, shade=shade)
    images[images == 100] = 110
    found = apply_changes(
        images,
        changes,
        SMALL,
        Recipe(lr=0.1, batch=1, epochs=1, augment=Augment(tint=1, shade=1)),
        "float64",
    )
    wanted = np.full((9, 9, 2), 100.0)
    for y, x in itertools.product(range(7), range(6)):
        value = images[0, y, x].astype(float)
        if np.abs(value - 100).max() > 2:
            value += [3.0 + 0.5 * (y - 3), -1.0 + 2.0 * (x - 3)]
        wanted[1 + y, 1 + x] = value
    np.testing.assert_allclose(found[0], wanted, atol=1e-12)


def test_the_last_epochs_see_pictures_as_they_are():
    data = pictures(SMALL.image, 3, 8, 0)
    augment = Augment(flip=True, shift=1, stretch=0.2, tint=20, clean=2)
    recipe = Recipe(lr=0.1, batch=8, epochs=5, augment=augment)

    def seen(epoch):
        (chunk,) = Plan(seed=0).chunks(data.train, SMALL, recipe, epoch)
        return chunk.images[0]

    assert [seen(epoch).dtype.name for epoch in range(5)] == ["float32"] * 3 + [
        "uint8"
    ] * 2
    order = Plan(seed=0).order(4, data.train.labels, "shuffled")
    middle = seen(4)[:, 1:8, 1:7]
    np.testing.assert_array_equal(middle, data.train.take(order))


def test_without_a_canvas_there_is_nothing_to_stretch_into():
    spec = CNNSpec(image=(4, 4, 1), classes=2, layers=(Flatten(), Dense(2)))
    with pytest.raises(ValueError, match="are for pictures on a canvas"):
        check_changes(spec, Augment(stretch=0.1))
    found = resolve(
        "rosetta-cnn",
        image=CIFAR,
        classes=10,
        overrides=("recipe.augment=Augment(tint=3.0)",),
    )
    with pytest.raises(Refused, match="rosetta-cnn: stretch, slant, tint and shade"):
        check_fits(found, 1000)


def test_a_cutout_is_for_pictures_without_a_canvas():
    with pytest.raises(ValueError, match="without a canvas, got 3 px; set it to 0"):
        check_changes(SMALL, Augment(cutout=3))


@pytest.mark.parametrize(
    ("name", "value"),
    [("tint", -1), ("shade", -1), ("shift", -1), ("stretch", 1.0), ("clean", -1)],
)
def test_a_change_that_cannot_be_drawn_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be 0 or more.* got {value}"):
        Augment(**{name: value})


def test_colours_are_those_of_pixels():
    with pytest.raises(ValueError, match=r"0 to 255, got ground 300; use 128"):
        dataclasses.replace(SMALL, ground=300)
    with pytest.raises(ValueError, match=r"0 to 255, got \(300,\)"):
        Augment(paint=(300,))


def test_a_run_has_more_epochs_than_clean_ones():
    found = resolve("fmp-cifar10-script", image=CIFAR, classes=10, epochs=10)
    with pytest.raises(Refused, match=r"the last 10 epochs .* got 10 in all; use more"):
        check_fits(found, 1000)


@pytest.mark.parametrize("track", TRACKS)
def test_statistics_are_estimated_over_drawn_regions(track):
    spec = dataclasses.replace(
        SMALL, layers=(Conv(4, 2), Norm(), FractionalPool((5, 6)), *FLAT)
    )
    module = load_track(track)
    model = module.build(spec, dtype="float64")
    images = np.random.default_rng(0).integers(0, 256, (6, *spec.image), np.uint8)
    module.estimate_statistics(model, [images])
    assert module.get_weights(model)["norm1.var"].min() != 1


def test_a_picture_must_fit_its_canvas():
    with pytest.raises(ValueError, match="fit the canvas of 36 px, got 40x32; use"):
        resolve("fmp-small", image=(40, 32, 3), classes=10)
    assert resolve("fmp-small", image=MNIST, classes=10).spec.input == (36, 36, 1)


# --- repeats ------------------------------------------------------------------------


def test_repeats_average_probabilities():
    part = pictures((2, 2, 1), 3, 9, 0).test
    rng = np.random.default_rng(0)
    answers = [rng.normal(size=(len(part), 3)) for _ in range(4)]

    def predict(images, repeat=0):
        return answers[repeat]

    once = judged(predict, part, 1)
    assert once.logits is answers[0] or (once.logits == answers[0]).all()
    assert once.curve == ()
    found = judged(predict, part, 4)
    mean = np.mean([probabilities(a) for a in answers], 0)
    np.testing.assert_allclose(probabilities(found.logits), mean, rtol=1e-14)
    right = [
        (
            np.mean([probabilities(a) for a in answers[: n + 1]], 0).argmax(1)
            == part.labels
        ).mean()
        for n in range(4)
    ]
    assert found.curve == tuple(right)


def test_each_repeat_has_regions_of_its_own_and_both_tracks_the_same():
    data = pictures(SMALL.image, 3, 12, 0)
    weights = random_weights(SMALL.weights, 0)
    found = {}
    for track in TRACKS:
        module = load_track(track)
        predict = module.predictor(
            module.build(SMALL, weights=weights, dtype="float64")
        )
        once = predict_all(predict, data.test)
        again = predict_all(lambda x, p=predict: p(x, 1), data.test)
        assert not np.allclose(once, again)
        found[track] = judged(predict, data.test, 3).logits
    np.testing.assert_allclose(found["torch"], found["tensorflow"], rtol=ROUNDING)


def test_a_network_that_draws_nothing_is_not_judged_again():
    found = resolve(
        "small-cnn", image=CIFAR, classes=10, overrides=("recipe.repeats=2",)
    )
    with pytest.raises(Refused, match="small-cnn draws none and would say the same"):
        check_fits(found, 1000)


def test_a_recipe_judges_once_or_more():
    with pytest.raises(ValueError, match="once or more, got repeats 0; use 1"):
        Recipe(lr=0.1, batch=1, epochs=1, repeats=0)


# --- Graham's networks --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights", "mega"),
    [("fmp-cifar10", 79_247_530, 14_844), ("fmp-cifar10-script", 3_176_490, 596)],
)
def test_its_numbers_are_the_published_ones(name, weights, mega):
    spec = resolve(name, image=CIFAR, classes=10).spec
    assert parameters(spec) == weights
    assert spec.macs / 1e6 == pytest.approx(mega, rel=1e-3)
    sides = [x.out for x in spec.layers if isinstance(x, FractionalPool)]
    assert (spec.canvas, sides) == (94, [74, 58, 45, 35, 27, 21, 16, 12, 9, 6, 4, 2])


def test_dropped_maps_come_in_blocks_of_32():
    spec = resolve("fmp-cifar10", image=CIFAR, classes=10).spec
    pairs = zip(spec.layers, spec.shapes[1:], strict=True)
    kept = [(s[-1], s[-1] * (1 - x.rate)) for x, s in pairs if isinstance(x, Dropout)]
    # Half of the last; none of the first, and of the second less than half a block.
    assert (len(kept), kept[-1]) == (12, (2240, 1120))
    assert all(left % 32 == pytest.approx(0, abs=1e-9) for _, left in kept)
    factors = [x.factor for x in spec.layers if isinstance(x, Multiply)]
    assert factors == pytest.approx([left / maps for maps, left in kept])


def test_the_first_rates_are_the_published_ones():
    """A sum over 50 at .003 exp(-.005 e) from epoch 1, times (1 - momentum)."""
    recipe = resolve("fmp-cifar10", image=CIFAR, classes=10).recipe
    rates = recipe.rates(50_000)
    assert rates[0] == pytest.approx(0.003 * np.exp(-0.005) * 50 * 0.01)
    assert rates[-1] == pytest.approx(0.003 * np.exp(-0.005 * 810) * 50 * 0.01)
    assert recipe.optimizer == SGD(momentum=0.99, nesterov=True, form="velocity")


def test_filters_are_drawn_as_there():
    """Alpha = (2 / 1.26)^2 beside 4 inputs for each channel."""
    values = PooledUniform(1.26).draw(np.random.default_rng(0), (2, 2, 30, 60))
    bound = np.sqrt(6 / (4 * 30 + 60 * (2 / 1.26) ** 2))
    assert np.abs(values).max() == pytest.approx(bound, rel=1e-3)
    assert values.std() == pytest.approx(bound / np.sqrt(3), rel=2e-2)


@pytest.fixture
def narrow(monkeypatch):
    """A system like Graham's with few maps and levels, by how regions are drawn."""

    def make(kind="pseudorandom"):
        def spec(image, classes):
            return zoo._fmp(
                image, classes, levels=5, width=32, ratio=2**0.3333, kind=kind
            )

        augment = Augment(
            flip=True, shift=2, stretch=0.2, slant=0.2, tint=25, shade=2, clean=1
        )
        recipe = dataclasses.replace(
            SYSTEMS["fmp-cifar10"].recipe, augment=augment, repeats=2, lr=0.003
        )
        system = dataclasses.replace(
            SYSTEMS["fmp-small"],
            name=NARROW,
            spec=spec,
            recipe=recipe,
            image=(9, 9, 3),
            ladder=zoo.Ladder(),
        )
        monkeypatch.setitem(SYSTEMS, NARROW, system)
        return NARROW

    return make


@pytest.mark.parametrize("kind", ["pseudorandom", "random"])
def test_both_tracks_compute_the_same_function(kind, narrow, tmp_path):
    rungs = climbed(planned(narrow(kind), tmp_path, overrides=("recipe.batch=6",)))
    assert [rung for rung in rungs if not rung.passed] == []
    assert "evaluation" in {rung.name for rung in rungs}


@pytest.mark.parametrize("name", [f for f in FAULTS if FAULTS[f].system == "fmp-small"])
def test_a_planted_fault_is_caught_by_the_rung_that_is_named(name, narrow, tmp_path):
    *held, broken = climbed(planned(narrow(), tmp_path, fault=name))
    assert (broken.name, broken.passed) == (FAULTS[name].rung, False)
    assert broken.difference > 100 * broken.tolerance
    assert all(rung.passed for rung in held)


def test_a_run_that_was_trained_before_is_only_judged_again(tmp_path, capfd):
    """And is then what it would have been had it been trained for it, to the bit."""

    def run(repeats, store):
        compare(
            "fmp-small",
            tracks="torch",
            seeds=1,
            epochs=1,
            limit=100,
            threads=1,
            repeats=repeats,
            store=tmp_path / store,
        )
        told = capfd.readouterr().err
        runs = Store(tmp_path / store).runs()
        (found,) = [
            r for r in runs if len(r.record["curve"]) == repeats * (repeats > 1)
        ]
        return found, "it is only judged" in told

    once, trained = run(1, "kept")
    assert not trained
    again, judged_only = run(3, "kept")
    assert judged_only
    fresh, trained = run(3, "other")
    assert not trained
    np.testing.assert_array_equal(again.logits(), fresh.logits())
    assert again.record["curve"] == fresh.record["curve"]
    assert again.record["scores"]["accuracy"] == again.record["curve"][-1]
    assert again.record["curve"][0] == once.record["scores"]["accuracy"]
    assert again.record["weights_sha256"] == once.record["weights_sha256"]
    assert again.record["losses"] == fresh.record["losses"]
    ids = [r.record["trained_by"] for r in (once, again, fresh)]
    assert ids == [once.id, once.id, fresh.id]
    assert again.record["times"]["total"] > once.record["times"]["total"]
    twice, judged_only = run(2, "kept")  # from the run that was trained, not judged
    assert judged_only
    assert twice.record["trained_by"] == once.id
    assert twice.record["memory"]["peak"] >= once.record["memory"]["peak"]

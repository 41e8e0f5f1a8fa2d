"""A last layer is counted, replaced, left out; and what a recipe can hold still."""

import dataclasses

import numpy as np
import pytest

import pt_track
import tf_track
from common.data import DataRequest, hold_out, open_data
from common.heads import base_for, features_of, head_of, headless, transplanted
from common.plan import Plan
from common.recipe import SGD, Average, Recipe, Staircase
from common.spec import Norm
from common.systems import SYSTEMS, resolve
from common.weights import draw, random_weights

pytestmark = pytest.mark.leaves

TRACKS = (pt_track, tf_track)
BOTH = pytest.mark.parametrize("track", TRACKS, ids=["torch", "tensorflow"])
FEATURES = {"rasbt-mlp": 256, "small-cnn": 64, "inception-v3": 2048}
# float64: the same products and sums in another order.
ROUNDING = 1e-12


def spec_of(name, classes=10):
    image = (75, 75, 3) if name == "inception-v3" else (8, 8, 1)
    return resolve(name, image=image, classes=classes).spec


def images(spec, n=3):
    return np.random.default_rng(0).integers(0, 256, (n, *spec.image), np.uint8)


def far(a, b):
    if np.array_equal(a, b):
        return 0.0  # zeros included
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    request = DataRequest(source="digits", limit=240)
    return hold_out(open_data(request, cache=cache), 40, 0)


@pytest.mark.parametrize(("name", "n"), FEATURES.items())
def test_the_features_going_into_the_last_layer_are_counted(name, n):
    assert features_of(spec_of(name)) == n


@pytest.mark.parametrize("name", FEATURES)
@BOTH
def test_a_replaced_head_leaves_all_else_as_it_was(name, track):
    spec = spec_of(name)
    model = track.build(spec, weights=random_weights(spec.weights, 0))
    other = track.replace_head(model, 3, seed=1)
    before, after = track.get_weights(model), track.get_weights(other)
    head = head_of(spec)
    assert after[f"{head}.kernel"].shape == (FEATURES[name], 3)
    assert track.predictor(other)(images(spec)).shape == (3, 3)
    kept = [n for n in before if not n.startswith(f"{head}.")]
    assert kept == [n for n in after if not n.startswith(f"{head}.")]
    assert all(np.array_equal(before[n], after[n]) for n in kept)


def test_both_tracks_draw_the_same_new_head():
    spec = spec_of("small-cnn")
    weights = random_weights(spec.weights, 0)
    heads = [
        track.get_weights(track.replace_head(track.build(spec, weights=weights), 4))
        for track in TRACKS
    ]
    assert np.array_equal(heads[0]["dense2.kernel"], heads[1]["dense2.kernel"])


@pytest.mark.parametrize("name", FEATURES)
@BOTH
def test_the_logits_of_the_headless_network_are_the_features(name, track):
    """Features times the head are the logits."""
    spec = spec_of(name)
    weights = random_weights(spec.weights, 0)
    bare, given = headless(spec, weights)
    model = track.build(bare, weights=given, dtype="float64")
    features = track.predictor(model)(images(spec))
    head = head_of(spec)
    logits = features @ weights[f"{head}.kernel"] + weights[f"{head}.bias"]
    whole = track.build(spec, weights=weights, dtype="float64")
    assert far(logits, track.predictor(whole)(images(spec))) < ROUNDING


def test_weights_of_another_network_cannot_be_transplanted():
    weights = draw(spec_of("rasbt-mlp").weights, 0)
    with pytest.raises(ValueError, match=r"missing are \['conv1.kernel'"):
        transplanted(spec_of("small-cnn"), weights, 0)


def test_a_base_loses_its_aux_head_and_gets_it_back_when_asked():
    spec = resolve(
        "inception-v3", image=(299, 299, 3), classes=10, overrides=("spec.aux=True",)
    ).spec
    assert not base_for(spec, (75, 75, 3), 2).aux
    again = resolve(
        "inception-v3",
        image=(299, 299, 3),
        classes=2,
        overrides=("spec.aux=True",),
        base=spec,
    ).spec
    assert (again.aux, again.classes) == (True, 2)


def trained(track, recipe, data, spec=None, state=None, on_epoch=None):
    spec = spec or spec_of("small-cnn")
    model = track.build(spec, dtype="float64")
    history = track.train(
        model,
        data,
        recipe,
        Plan(seed=0, dtype="float64"),
        state=state,
        on_epoch=on_epoch,
    )
    return track.get_weights(model), history


MILD = Recipe(lr=0.02, batch=32, epochs=2, optimizer=SGD(momentum=0.9))


@pytest.mark.parametrize(
    "recipe",
    [
        dataclasses.replace(MILD, statistics="frozen"),
        dataclasses.replace(MILD, multipliers=(("", 0.1), ("dense2", 1.0))),
        dataclasses.replace(MILD, multipliers=(("", 0.0), ("dense2", 2.0))),
        dataclasses.replace(MILD, keep="best"),
        dataclasses.replace(MILD, schedule=Staircase(1, 0.1, "epoch")),
    ],
    ids=["frozen statistics", "multipliers", "frozen base", "best", "per epoch"],
)
def test_both_tracks_train_alike(recipe, digits):
    (torch, a), (tensorflow, b) = (trained(t, recipe, digits) for t in TRACKS)
    assert far(a.losses, b.losses) < ROUNDING
    assert max(far(torch[n], tensorflow[n]) for n in torch) < ROUNDING


@BOTH
def test_frozen_statistics_stay_and_all_else_moves(track, digits):
    spec = spec_of("small-cnn")
    before = draw(spec.weights, 0)
    after, _ = trained(track, dataclasses.replace(MILD, statistics="frozen"), digits)
    for name, value in before.items():
        stays = name.endswith((".mean", ".var"))
        assert np.array_equal(value, after[name]) == stays, name


@BOTH
def test_a_factor_of_zero_freezes_but_for_statistics(track, digits):
    before = draw(spec_of("small-cnn").weights, 0)
    recipe = dataclasses.replace(MILD, multipliers=(("", 0.0), ("dense2", 1.0)))
    after, _ = trained(track, recipe, digits)
    moved = {n for n in before if not np.array_equal(before[n], after[n])}
    kinds = (".mean", ".var")
    assert {n for n in moved if not n.endswith(kinds)} == {
        "dense2.kernel",
        "dense2.bias",
    }


def test_the_longest_prefix_counts():
    recipe = dataclasses.replace(
        MILD, multipliers=(("", 0.1), ("a", 2.0), ("a.b", 3.0))
    )
    assert [recipe.multiplier(n) for n in ("c.x", "a.x", "a.b.x", "ab.x")] == [
        0.1,
        2.0,
        3.0,
        0.1,
    ]


@BOTH
def test_the_best_epoch_on_the_validation_part_is_kept(track, digits):
    """At a rate that makes later epochs worse; resuming keeps the same epoch."""
    wild = Recipe(lr=1.0, batch=32, epochs=6, keep="best", optimizer=SGD(momentum=0.9))
    states = []
    kept, history = trained(
        track, wild, digits, on_epoch=lambda _, state: states.append(state)
    )
    accuracies = [epoch.accuracy for epoch in history.epochs]
    best = accuracies.index(max(accuracies))
    last = dataclasses.replace(wild, keep="last", epochs=best + 1)
    again, _ = trained(track, last, digits)
    assert all(np.array_equal(kept[n], again[n]) for n in kept)
    resumed, _ = trained(track, wild, digits, state=states[3])
    assert all(np.array_equal(kept[n], resumed[n]) for n in kept)


def test_the_best_epoch_needs_a_validation_part_and_no_average(digits):
    bare = dataclasses.replace(digits, valid=digits.valid.choose(slice(0, 0)))
    with pytest.raises(ValueError, match="there is none; hold one out"):
        trained(pt_track, dataclasses.replace(MILD, keep="best"), bare)
    with pytest.raises(ValueError, match="leave one out"):
        dataclasses.replace(MILD, keep="best", average=Average(decay=0.9, warm_up=True))


@pytest.mark.parametrize("order", ["mixed", "a class at a time"])
def test_statistics_are_those_of_all_pictures(order, digits):
    """In NumPy for the first layer, and the same in both tracks."""
    spec = spec_of("small-cnn")
    weights = random_weights(spec.weights, 0)
    rows = np.arange(150)
    if order != "mixed":
        rows = np.argsort(digits.train.labels[:150], kind="stable")
    batches = [digits.train.take(rows[i : i + 50]) for i in (0, 50, 100)]
    found = []
    for track in TRACKS:
        model = track.build(spec, weights=weights, dtype="float64")
        track.estimate_statistics(model, iter(batches))
        found.append(track.get_weights(model))
    torch, tensorflow = found
    assert max(far(torch[n], tensorflow[n]) for n in torch) < ROUNDING

    import torch as t

    kernel = t.from_numpy(weights["conv1.kernel"].transpose(3, 2, 0, 1).copy())
    whole = t.from_numpy(np.concatenate(batches) / 255.0).permute(0, 3, 1, 2)
    maps = t.conv2d(whole, kernel, padding=1)
    means = maps.mean((0, 2, 3)).numpy()
    variances = maps.var((0, 2, 3), correction=0).numpy()
    assert far(torch["norm1.mean"], means) < ROUNDING
    assert far(torch["norm1.var"], variances) < ROUNDING


def test_statistics_need_a_batch():
    spec = spec_of("small-cnn")
    for track in TRACKS:
        with pytest.raises(ValueError, match="need a batch, got none"):
            track.estimate_statistics(track.build(spec), [])


def test_a_norm_without_a_factor_has_none_in_either_track():
    spec = spec_of("small-cnn")
    layers = tuple(
        dataclasses.replace(x, scale=False) if isinstance(x, Norm) else x
        for x in spec.layers
    )
    bare = dataclasses.replace(spec, layers=layers)
    weights = random_weights(bare.weights, 0)
    assert not any(name.endswith(".scale") for name in weights)
    a, b = (
        t.predictor(t.build(bare, weights=weights, dtype="float64"))(images(bare))
        for t in TRACKS
    )
    assert far(a, b) < ROUNDING


def test_every_system_of_ours_has_a_head():
    for system in SYSTEMS.values():
        if system.module is None:
            spec = system.spec(system.image, 10)
            assert spec.weights[f"{head_of(spec)}.kernel"].shape[-1] == 10

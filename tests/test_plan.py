"""One plan: what is drawn, that it is drawn once, and that both tracks get it."""

import dataclasses

import numpy as np
import pytest

from common.data import pictures
from common.draws import Mask
from common.plan import Changes, Plan, ahead, apply_changes, draw_changes
from common.recipe import Augment, Average, Recipe, Staircase, WarmCosine
from common.systems import CIFAR, resolve
from common.track import load_track

DEEP = resolve("deep-cnn", image=CIFAR, classes=10, overrides=("recipe.batch=16",))
ROSETTA = resolve("rosetta-cnn", image=CIFAR, classes=10)


def chunks_of(resolved, *, seed=0, epoch=0, n=100):
    data = pictures(resolved.spec.image, 10, n, 0)
    plan = Plan(seed=seed)
    return list(plan.chunks(data.train, resolved.spec, resolved.recipe, epoch))


def digests(chunks):
    return [chunk.digest() for chunk in chunks]


@pytest.mark.parametrize("resolved", [DEEP, ROSETTA], ids=["deep", "rosetta"])
def test_the_same_seed_gives_the_same_arrays(resolved):
    found = digests(chunks_of(resolved))
    assert found
    assert found == digests(chunks_of(resolved))


def test_another_seed_or_epoch_gives_others():
    first = set(digests(chunks_of(DEEP)))
    assert first
    assert not first & set(digests(chunks_of(DEEP, seed=1)))
    assert not first & set(digests(chunks_of(DEEP, epoch=1)))


@pytest.mark.parametrize("name", ["deep-cnn", "rosetta-cnn"])
def test_the_same_arrays_reach_both_tracks(name):
    """What each trainer is handed, taken back out of its own tensors and hashed."""
    resolved = resolve(name, image=CIFAR, classes=10, overrides=("recipe.batch=16",))
    seen = {}
    for track in ("torch", "tensorflow"):
        module = load_track(track)
        model = module.build(resolved.spec)
        trainer = module.Trainer(model, resolved.spec, resolved.recipe, np.full(9, 0.1))
        seen[track] = []
        for chunk in chunks_of(resolved):
            images, labels, draws = trainer._tensors(chunk)
            images = np.asarray(images)
            if track == "torch":
                images = np.moveaxis(images, 2, -1)
            back = type(chunk)(
                np.ascontiguousarray(images),
                np.asarray(labels).astype(np.int32),
                {name: np.asarray(draw) for name, draw in draws.items()},
            )
            seen[track].append(back.digest())
    assert seen["torch"] == seen["tensorflow"] == digests(chunks_of(resolved))
    assert len(seen["torch"]) >= 1


def test_an_epoch_shows_every_picture_once_and_the_short_batch_last():
    mlp = resolve("rasbt-mlp", image=(8, 8, 1), classes=10)
    data = pictures((8, 8, 1), 10, 150, 0)
    found = list(Plan(seed=0).chunks(data.train, mlp.spec, mlp.recipe, 0))
    assert [chunk.labels.shape[1] for chunk in found] == [64, 22]
    given = [x.tobytes() for c in found for x in c.images.reshape(-1, 8, 8, 1)]
    whole = [x.tobytes() for x in data.train.take(slice(None))]
    # Whole pictures, each as often as it is there, in another order.
    assert sorted(given) == sorted(whole)
    assert given != whole


def test_a_recipe_that_drops_the_short_batch_drops_it():
    shapes = [c.labels.shape for c in chunks_of(ROSETTA, n=150)]
    assert {batch for _, batch in shapes} == {64}
    assert sum(k for k, _ in shapes) == 2  # and no more than the short one


def test_labels_stay_with_their_pictures():
    data = pictures(CIFAR, 10, 64, 0)
    key = {
        image.tobytes(): label
        for image, label in zip(
            data.train.take(slice(None)), data.train.labels, strict=True
        )
    }
    shown = [
        (image.tobytes(), label)
        for chunk in Plan(seed=3).chunks(data.train, ROSETTA.spec, ROSETTA.recipe, 0)
        for image, label in zip(chunk.images[0], chunk.labels[0], strict=True)
    ]
    assert len(shown) == len(key) == 64
    assert len({label for _, label in shown}) > 1
    assert all(key[image] == label for image, label in shown)


def test_crops_and_flips_are_pieces_of_the_picture():
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    recipe = dataclasses.replace(DEEP.recipe, augment=Augment(flip=True))
    changes = draw_changes(np.random.default_rng(1), 40, DEEP.spec, recipe)
    found = apply_changes(images, changes, DEEP.spec, recipe, "float32")
    assert found.shape == (40, 24, 24, 3)
    assert 5 < changes.flip.sum() < 35
    assert {*changes.top} <= set(range(9))
    for i in range(40):
        top, left = changes.top[i], changes.left[i]
        piece = images[i, top : top + 24, left : left + 24]
        assert np.array_equal(found[i], piece[:, ::-1] if changes.flip[i] else piece)


def test_all_nine_by_nine_corners_are_drawn():
    changes = draw_changes(np.random.default_rng(0), 20_000, DEEP.spec, DEEP.recipe)
    assert len({*zip(changes.top, changes.left, strict=True)}) == 81


def test_brightness_comes_before_contrast_and_nothing_is_clipped():
    image = np.full((1, 24, 24, 3), 250, np.uint8)
    image[0, 0, 0] = 10
    none, one = np.zeros(1, np.int64), np.ones(1)
    changes = Changes(none, none, none.astype(bool), 63 * one, 1.8 * one)
    spec = dataclasses.replace(DEEP.spec, image=(24, 24, 3), crop=0)
    found = apply_changes(image, changes, spec, DEEP.recipe, "float64")
    mean = (image.astype(float) + 63).mean(axis=(1, 2), keepdims=True)
    assert np.allclose(found, (image + 63.0 - mean) * 1.8 + mean)
    assert found.max() > 255


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.1])
def test_masks_keep_the_share_they_should(rate):
    mask = Mask((1000,), rate).drawn(np.random.default_rng(0), 1000)
    assert mask.mean() == pytest.approx(1 - rate, abs=0.002)


def test_preparing_ahead_changes_nothing_and_passes_errors_on():
    assert list(ahead(iter([1, 2, 3]))) == [1, 2, 3]

    def broken():
        yield 1
        raise OSError("no more")

    found = ahead(broken())
    assert next(found) == 1
    with pytest.raises(OSError, match="no more"):
        next(found)


def test_a_staircase_falls_after_its_steps():
    factors = Staircase(3, 0.1).factors(7, 1)
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_a_warm_cosine_rises_and_falls_at_every_step():
    factors = WarmCosine(0.2).factors(100, 10)
    assert factors.argmax() in (19, 20)
    assert (np.diff(factors[:20]) > 0).all()
    assert (np.diff(factors[20:]) < 0).all()
    assert factors.max() == 1
    assert len(set(factors[21:])) == 79
    assert 0 < factors[-1] < 0.001


def test_averages_warm_up_as_tensorflows_do():
    decays = Average(decay=0.9999, warm_up=True).decays(3)
    assert decays == pytest.approx([2 / 11, 3 / 12, 4 / 13])


def test_a_recipe_refuses_what_cannot_train():
    with pytest.raises(ValueError, match="batch and epochs 1 or more"):
        Recipe(lr=0.1, batch=0, epochs=1)


def test_balanced_batches_have_every_class_equally_often():
    labels = np.r_[np.zeros(90, np.int64), np.ones(60, np.int64), np.full(4, 2)]
    order = Plan(seed=3).order(0, labels, "balanced")
    assert len(order) == len(labels)
    for start in range(0, 140, 10):
        counts = np.bincount(labels[order[start : start + 10]], minlength=3)
        assert set(counts) <= {3, 4}
    # Each photo once before any comes again, and another order the next time.
    rare = order[labels[order] == 2]
    assert sorted(rare[:4]) == sorted(rare[4:8]) == [150, 151, 152, 153]
    assert not np.array_equal(order, Plan(seed=3).order(1, labels, "balanced"))

"""The ladder holds for every system, and every planted fault is caught.

Fewer steps and smaller pictures than `twintrack parity all`: digits, 12 steps.
Measured in this process; that the command does it in two is in test_commands.py.
Inception's tensors are 190 MB in float64, so its tracks climb in processes of their
own as the command's do, and their memory ends with them.  What the track without a
fault measures is measured once, whatever is planted in the other.
"""

import dataclasses
import shutil
from functools import cache

import numpy as np
import pytest

from benchmarks.engine.call import new_log
from benchmarks.engine.process import Child
from benchmarks.measures.ladder import STAGES, compressed, rates
from benchmarks.measures.rungs import compare_stage
from benchmarks.parity import in_children, plan_climbs
from common.data import DataRequest, open_data
from common.errors import Refused
from common.evaluate import cross_entropy
from common.faults import FAULTS
from common.plan import Chunk, Plan
from common.recipe import Steady
from common.systems import ROUNDING, SYSTEMS, Ladder, resolve
from common.track import load_track
from tests.climbing import (
    beside,
    climbed,
    planned,
    together,
    up_to_the_first_that_fails,
)

pytestmark = pytest.mark.long

STEPS = 12
# Small enough for many steps on two cores; wide layers add time and no insight.
SMALL = ("recipe.batch=16",)
# small-cnn shall not magnify rounding; other conv-BN nets at lr .05 did, to 1.5e-12.
MILD = 2e-13
# Of Inception's 378 tensors as many are nudged as fit a test; the command does all.
SAMPLED = 37
OURS = [name for name, system in SYSTEMS.items() if system.module is None]


def on_digits(name, folder, *, fault=None, steps=STEPS, overrides=SMALL):
    """The climbs of `name` on digits."""
    assert SYSTEMS[name].ladder == Ladder()
    request = DataRequest(source="digits", limit=100)
    return planned(
        name, folder, fault=fault, request=request, steps=steps, overrides=overrides
    )


def inceptions(folder, fault=None):
    """Inception's own climb, on seeded pictures of its size."""
    climbs = plan_climbs(
        "inception-v3",
        request=None,
        steps=None,
        seed=3,
        threads=1,
        overrides=("recipe.batch=4",),
        fault=fault,
        folder=folder,
    )
    return {
        track: dataclasses.replace(climb, nudged=SAMPLED)
        for track, climb in climbs.items()
    }


@pytest.fixture(scope="module")
def sound_inceptions(tmp_path_factory):
    """(Inception's climbs without a fault, their rungs)."""
    folder = tmp_path_factory.mktemp("inception")
    climbs = inceptions(folder)
    yield climbs, up_to_the_first_that_fails(in_children(climbs))
    shutil.rmtree(folder)  # a gigabyte


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A function of a system: its climbs without a fault and their rungs, once."""

    @cache
    def of(name):
        climbs = on_digits(name, tmp_path_factory.mktemp(name))
        return climbs, climbed(climbs)

    return of


def against(sound, folder, fault):
    """The rungs with `fault` in the first track, beside the second's sound ones."""
    climbs = together(inceptions(folder, fault), sound)
    child = Child(
        "benchmarks.measures.ladder:climb",
        dataclasses.asdict(next(iter(climbs.values()))),
        threads=1,
        device="cpu",
        log=new_log(),
    )

    def stages():
        with child:
            told = (e for e in child.events() if e.get("event") == "stage")
            for stage in STAGES:
                assert next(told)["name"] == stage
                yield list(compare_stage(stage, climbs))

    return up_to_the_first_that_fails(stages())


def all_hold(rungs):
    assert [rung for rung in rungs if not rung.passed] == []
    assert {"draw", "logits", "moves", "gradients", "losses", "weights"} <= {
        rung.name for rung in rungs
    }
    assert rungs[-1].name == "float32"


def caught_by(name, rungs):
    *held, broken = rungs
    assert broken.name == name
    assert not broken.passed
    assert broken.difference > 100 * broken.tolerance
    assert all(rung.passed for rung in held)


@pytest.mark.parametrize(
    "name", [name for name in OURS if SYSTEMS[name].ladder == Ladder()]
)
def test_both_tracks_compute_the_same_function(name, sound):
    all_hold(sound(name)[1])


@pytest.mark.heaviest
def test_both_inceptions_compute_the_same_function(sound_inceptions):
    all_hold(sound_inceptions[1])


OF_INCEPTION = [fault for fault in FAULTS if FAULTS[fault].system == "inception-v3"]
# Those of systems with a ladder of their own are in test_airbench.py.
USUAL = [f for f in FAULTS if SYSTEMS[FAULTS[f].system].ladder == Ladder()]


@pytest.mark.parametrize("fault", USUAL)
def test_a_planted_fault_is_caught_by_the_rung_that_is_named(fault, sound, tmp_path):
    name = FAULTS[fault].system
    rungs = beside(on_digits(name, tmp_path, fault=fault), sound(name)[0])
    caught_by(FAULTS[fault].rung, rungs)


@pytest.mark.heaviest
@pytest.mark.parametrize("fault", [*OF_INCEPTION, "bn-variance"])
def test_a_fault_planted_in_inception_is_caught_too(fault, sound_inceptions, tmp_path):
    expected = {"bn-variance": "statistics"}
    rungs = against(sound_inceptions[0], tmp_path, fault)
    caught_by(expected.get(fault, FAULTS[fault].rung), rungs)


def test_a_fault_that_changes_nothing_is_refused(tmp_path):
    with pytest.raises(Refused, match="lrn-alpha changes nothing in rasbt-mlp"):
        on_digits("rasbt-mlp", tmp_path, fault="lrn-alpha")


def test_an_unknown_fault_names_the_nearest(tmp_path):
    with pytest.raises(Refused, match="the nearest is padding"):
        on_digits("small-cnn", tmp_path, fault="paddings")


def test_every_schedule_changes_inside_the_climb_and_steady_stays():
    """A change of the last update's rate shows in no loss, so it must come before.

    Climbs of two steps have no room; their schedules are proved in other networks.
    """
    proved, short, steady = {}, {}, []
    for name in OURS:
        schedule, steps = SYSTEMS[name].recipe.schedule, SYSTEMS[name].ladder.steps
        full = SYSTEMS[name].recipe
        recipe = compressed(full, 10 * full.batch, steps)
        found = rates(recipe, steps)
        assert found.shape == (steps,)
        if schedule == Steady():
            assert recipe.schedule == Steady(), name
            assert set(found) == {recipe.lr}, name
            steady.append(name)
        elif len(set(found[:-1])) > 1:
            proved[name] = schedule
        else:
            short[name] = schedule
    assert len(steady) >= 4
    assert {"small-cnn", "deep-cnn", "linear"} <= proved.keys()
    assert short.keys() == {"inception-v3", "fmp-cifar10"}
    kinds = [{type(found) for found in way.values()} for way in (short, proved)]
    assert kinds[0] <= kinds[1]


def test_a_staircase_too_long_for_the_climb_would_be_seen():
    recipe = SYSTEMS["deep-cnn"].recipe
    assert len(set(rates(recipe, 200))) == 1
    assert len(set(rates(compressed(recipe, 1000, 200), 200))) == 2


def test_small_cnn_does_not_magnify_rounding():
    """Its rate is mild: rows of every batch permuted, the same run to 2e-13."""
    found = resolve("small-cnn", image=(8, 8, 1), classes=10, overrides=())
    recipe = dataclasses.replace(found.recipe, epochs=10)
    data = open_data(DataRequest(source="digits"))
    track = load_track("torch")
    runs = []
    for permute in (False, True):
        model = track.build(found.spec, dtype="float64")
        trainer = track.Trainer(model, found.spec, recipe, recipe.rates(1000))
        order = np.random.default_rng(0).permutation(recipe.batch)
        losses = []
        for epoch in range(recipe.epochs):
            for chunk in Plan(seed=0).chunks(data.train, found.spec, recipe, epoch):
                rows = order if permute else slice(None)
                moved = Chunk(chunk.images[:, rows], chunk.labels[:, rows], {})
                losses.append(trainer.run(moved))
        runs.append((np.concatenate(losses), track.get_weights(model)))
    (losses, weights), (moved_losses, moved_weights) = runs
    assert len(losses) == 200
    assert np.abs(losses - moved_losses).max() < MILD
    for name, value in weights.items():
        gap = np.linalg.norm(value - moved_weights[name]) / np.linalg.norm(value)
        assert gap < MILD, name


# Every rule of an update and every choice of a spec, some together: a choice that one
# track takes otherwise breaks its climb whatever it is set beside.
RULES = {
    "velocity, clipped": (
        "recipe.optimizer=SGD(momentum=0.9,nesterov=True,form='velocity')",
        "recipe.clip=0.5",
    ),
    "momentum, smoothed": (
        "recipe.optimizer=SGD(momentum=0.9)",
        "recipe.smoothing=0.1",
    ),
    "adam, averaged": (
        "recipe.optimizer=Adam(eps=1e-7,form='raw')",
        "recipe.average=Average(decay=0.9,warm_up=False)",
    ),
    "adamw": (
        "recipe.optimizer=Adam()",
        "recipe.decay=Decay(rate=0.05,kind='decoupled')",
    ),
}
CHOICES = {
    "of layers": (
        "spec.layers.norm1.variance=unbiased",
        "spec.layers.flatten1.order=chw",
        "spec.layers.conv2.pad=((1,1),(1,1))",
    ),
    "of what goes in": ("spec.scale=Scale(mean=(0.3,),std=(0.4,))", "spec.crop=0"),
}
RARE = {
    "weighted": ("recipe.class_weights=(1, 1, 1, 1, 1, 1, 1, 1, 1, 100)",),
    "balanced": ("recipe.sampling=balanced",),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_update_rule_is_the_same_in_both(rule, tmp_path):
    overrides = (*SMALL, "recipe.lr=0.01", *RULES[rule])
    all_hold(climbed(on_digits("small-cnn", tmp_path, overrides=overrides)))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_a_spec_is_the_same_in_both(choice, tmp_path):
    overrides = (*SMALL, *CHOICES[choice])
    all_hold(climbed(on_digits("small-cnn", tmp_path, overrides=overrides)))


@pytest.mark.parametrize("remedy", RARE)
def test_what_is_done_for_a_rare_class_is_the_same_in_both_tracks(remedy, tmp_path):
    overrides = (*SMALL, *RARE[remedy])
    all_hold(climbed(on_digits("small-cnn", tmp_path, overrides=overrides)))


@pytest.mark.parametrize("track", ["torch", "tensorflow"])
def test_a_batch_is_weighted_as_the_recipe_says(track):
    """The loss of one batch by hand: a weighted mean, divided by its weights."""
    weights = tuple(float(k + 1) for k in range(10))
    resolved = resolve("small-cnn", image=(8, 8, 1), classes=10)
    recipe = dataclasses.replace(resolved.recipe, class_weights=weights, decay=None)
    module = load_track(track)
    model = module.build(resolved.spec, dtype="float64")
    data = open_data(DataRequest(source="digits", limit=50))
    chunk = next(Plan(seed=0).chunks(data.train, resolved.spec, recipe, 0))[:1]
    trainer = module.Trainer(model, resolved.spec, recipe, np.full(1, 1e-9))
    images, _, _ = trainer._tensors(chunk)
    if track == "torch":
        model.train()
        logits = model(images[0]).detach().numpy()
    else:
        logits = model(images[0], training=True).numpy()
    each = cross_entropy(logits, chunk.labels[0])
    w = np.array(weights)[chunk.labels[0]]
    expected = (w * each).sum() / w.sum()
    assert trainer.run(chunk)[0] == pytest.approx(expected, rel=ROUNDING)
    assert abs(expected - each.mean()) > 1e-3

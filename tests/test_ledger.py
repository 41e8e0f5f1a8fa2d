"""Defaults are found and not typed, priced as they were planted, and add up."""

from types import SimpleNamespace

import numpy as np
import pytest

import pt_track.defaults
import tf_track.defaults
from benchmarks import ledger as command
from benchmarks.contrast import contrast
from benchmarks.report import report
from common import ledger, record, screening
from common.errors import Refused
from common.ledger import MEANINGS, SIDES, differences, plain
from common.overrides import applied
from common.report import summarise
from common.report.ledger import Ledger
from common.results import Store
from common.screening import KINDS, design, effects, interactions, prices
from common.spec import CNNSpec, MLPSpec
from common.systems import SYSTEMS, resolve
from common.weights import FanInUniform, draw
from tests.stored import add

TRACKS = {"torch": pt_track.defaults, "keras": tf_track.defaults}
# What the versions that this was written with have: (PyTorch, Keras).  A release that
# changes one fails here, by name.
KNOWN = {
    "initial kernels": ("FanInUniform()", "GlorotUniform()"),
    "initial biases": ("FanInUniform()", "Constant(0.0)"),
    "batch norm's eps": (1e-5, 1e-3),
    "batch norm's decay": (0.9, 0.99),
    "batch norm's variance": ("unbiased", "biased"),
    "Adam's eps": (1e-8, 1e-7),
    "where Adam's eps is added": ("corrected", "raw"),
    "Adam's beta1": (0.9, 0.9),
    "Adam's beta2": (0.999, 0.999),
    "momentum": (0, 0.0),
    "Nesterov": (False, False),
    "momentum's form": ("buffer", "velocity"),
    "AdamW's decay": (0.01, 0.004),
    "alpha of local response norm": (1e-4, 1),
    "beta of local response norm": (0.75, 0.5),
    "bias of local response norm": (1.0, 1),
    "slope of the leaky ReLU": (0.01, 0.3),
    "border of average pools": ("include", "exclude"),
}
RUNS = 200  # simulated ledgers
MISSES = 0.05  # of 95 % intervals, and what 200 of them may miss beyond that:
LUCK = 3 * (MISSES * (1 - MISSES) / RUNS) ** 0.5


@pytest.fixture(scope="module")
def values():
    return {side: ledger.read(track.probe, side) for side, track in TRACKS.items()}


# --- what differs -----------------------------------------------------------------


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_a_default_is_what_it_was_when_its_meaning_was_written(values, meaning):
    found = tuple(values[side][meaning.name] for side in TRACKS)
    assert found == KNOWN[meaning.name]


@pytest.mark.parametrize("side", TRACKS)
def test_convolutions_are_drawn_as_dense_layers_are(values, side):
    assert TRACKS[side].probe("filters") == values[side]["initial kernels"]


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=lambda system: system.name)
def test_a_difference_is_none_where_both_libraries_agree(values, system):
    resolved = resolve(system.name, image=system.image, classes=10)
    for one in differences(resolved.spec, resolved.recipe, values):
        assert one.torch != one.keras


@pytest.mark.parametrize("side", TRACKS)
@pytest.mark.parametrize(
    "system",
    [s for s in SYSTEMS.values() if s.name.startswith(("rasbt", "adv", "rosetta"))],
    ids=lambda system: system.name,
)
def test_settings_give_a_system_a_librarys_value_everywhere(values, system, side):
    resolved = resolve(system.name, image=system.image, classes=10)
    lines = plain(resolved.recipe)
    _, recipe = applied(resolved.spec, resolved.recipe, lines)
    found = differences(resolved.spec, recipe, values)
    lines += tuple(line for one in found for line in one.settings[side])
    again = resolve(system.name, image=system.image, classes=10, overrides=lines)
    for one in differences(again.spec, again.recipe, values):
        assert len(one.ours) == 1, one
        wanted = one.torch if side == "torch" else one.keras
        assert one.ours[0] == wanted or str(one.ours[0]).startswith(wanted[:8])


def test_what_acts_nowhere_is_not_listed(values):
    resolved = resolve("rasbt-mlp", image=(28, 28, 1), classes=10)
    found = differences(resolved.spec, resolved.recipe, values)
    assert [one.name for one in found] == ["initial kernels", "initial biases"]


@pytest.mark.parametrize("kind", [MLPSpec, CNNSpec])
def test_a_bias_drawn_by_fan_in_has_its_kernels_bound(kind):
    name = "rasbt-mlp" if kind is MLPSpec else "rosetta-cnn"
    image = (28, 28, 1) if kind is MLPSpec else (32, 32, 3)
    spec = resolve(name, image=image, classes=10).spec
    if kind is MLPSpec:
        lines = ("spec.bias_init=FanInUniform()",)
        pair, fan_in = ("hidden.0.kernel", "hidden.0.bias"), 784
    else:
        lines = ("spec.layers.conv1.bias_init=FanInUniform()",)
        pair, fan_in = ("conv1.kernel", "conv1.bias"), 27
    spec, _ = applied(spec, None, lines)
    made = draw(spec.weights, seed=0)[pair[1]]
    bound = fan_in**-0.5
    assert np.abs(made).max() <= bound
    assert np.abs(made).max() > 0.8 * bound
    assert FanInUniform().draw(np.random.default_rng(0), (3, 3, 3, 8)).shape[-1] == 8


# --- designs ----------------------------------------------------------------------


@pytest.mark.parametrize("choices", range(1, 17))
def test_a_screening_is_balanced_orthogonal_and_clear_of_pairs(choices):
    signs = design(choices)
    assert (signs[0] == 1).all()
    assert (signs[-1] == -1).all()
    assert (signs.sum(0) == 0).all()
    assert len(signs) <= 4 * choices
    np.testing.assert_array_equal(signs.T @ signs, len(signs) * np.eye(choices))
    for i in range(choices):
        for j in range(i):
            assert not (signs.T @ (signs[:, i] * signs[:, j])).any()


@pytest.mark.parametrize("kind", KINDS)
def test_planted_effects_come_back(kind):
    signs = design(5, kind)
    planted = np.array([0.4, -0.1, 0.0, 0.02, 0.3])
    results = 0.8 + signs @ planted / 2
    np.testing.assert_allclose(effects(results, signs), planted, atol=1e-12)


def test_a_planted_interaction_is_the_largest_and_in_no_price():
    signs = design(3)
    results = 0.5 + 0.1 * signs[:, 0] * signs[:, 2] + 0.05 * signs[:, 1]
    np.testing.assert_allclose(effects(results, signs), [0, 0.1, 0], atol=1e-12)
    tables = {k: np.full((3, 7), value) for k, value in enumerate(results)}
    first, *_ = interactions(tables, signs)
    assert (0, 2) in first.pairs
    assert first.difference.mean == pytest.approx(0.2)


# --- prices -----------------------------------------------------------------------


def simulated(rng, planted, *, seeds=5, examples=400, spread=0.02, hard=0.15):
    """A design's answers: effects on the chance to be right, seeds, pictures."""
    signs = design(len(planted))
    ease = rng.normal(0, hard, examples)
    luck = rng.normal(0, spread, (len(signs), seeds, 1))
    chance = 0.75 + (signs @ planted / 2)[:, None, None] + luck + ease
    right = (rng.random(chance.shape) < chance).astype(float)
    return effects(right, signs)


def test_planted_prices_lie_in_their_intervals_and_null_ones_are_not_called_costs():
    rng = np.random.default_rng(0)
    planted = np.array([0.06, 0.0, -0.03])
    missed, called = np.zeros(3), 0
    for _ in range(RUNS):
        found = prices(list(simulated(rng, planted)), margin=0.005)
        for k, one in enumerate(found):
            low, high = one.difference.low, one.difference.high
            missed[k] += not low <= planted[k] <= high
        called += found[1].verdict == "different"
    assert (missed / RUNS <= MISSES + LUCK).all(), missed
    assert called / RUNS <= MISSES + LUCK


def test_a_null_default_is_called_free_where_the_pictures_suffice():
    rng = np.random.default_rng(1)
    free = 0
    # As on MNIST: of most pictures all runs say the same.
    how = {"seeds": 10, "examples": 10_000, "spread": 0.002, "hard": 3.0}
    for _ in range(40):
        found = prices(list(simulated(rng, np.zeros(2), **how)), margin=0.005)
        free += all(one.verdict == "equivalent" for one in found)
    assert free >= 38


def test_before_the_first_look_there_is_no_verdict():
    rng = np.random.default_rng(2)
    for one in prices(list(simulated(rng, np.array([0.5]), seeds=2)), margin=0.005):
        assert one.verdict == "undecided"
        assert one.p is None


def test_seeds_beyond_a_look_wait_for_the_next():
    table = np.zeros((7, 50))
    table[5:] = 1
    assert screening.interval(table).mean == 0


# --- the command ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"design": "all"}, "--design must be one of"),
        ({"systems": None}, "ledger needs a system"),
        ({"seeds": 0}, "--seeds must be above 0"),
        ({"systems": "airbench94-muon"}, "it takes colour pictures"),
        ({"systems": "fmp-small"}, "FractionalPool"),
        ({"systems": "rasbt-mpl"}, "the nearest is rasbt-mlp"),
    ],
)
def test_a_ledger_that_cannot_be_is_refused(tmp_path, monkeypatch, options, said):
    monkeypatch.setattr(command, "read_all", lambda: {s: {} for s in TRACKS})
    given = {"systems": "rasbt-mlp", "store": tmp_path} | options
    with pytest.raises(Refused, match=said):
        command.ledger(given.pop("systems"), **given)


def test_runs_are_mixed_within_a_seed_so_that_time_is_no_default():
    jobs = [SimpleNamespace(seed=s, point=p) for p in range(8) for s in range(3)]
    found = command.mixed(jobs)
    assert [job.seed for job in found] == [0] * 8 + [1] * 8 + [2] * 8
    orders = [[job.point for job in found[k : k + 8]] for k in (0, 8, 16)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(8)]}) == 4


def test_an_optimizer_that_native_mode_has_not_is_refused():
    found = resolve("airbench94-muon", image=(32, 32, 3), classes=10)
    with pytest.raises(Refused, match="SGD and Adam, airbench94-muon has Muon"):
        command.check_native("airbench94-muon", found)


def test_a_system_without_a_difference_is_refused(tmp_path, monkeypatch, values):
    alike = dict.fromkeys(SIDES.values(), values["torch"])
    monkeypatch.setattr(command, "read_all", lambda: alike)
    with pytest.raises(Refused, match="none acts in rasbt-mlp"):
        command.ledger("rasbt-mlp", store=tmp_path)


# --- a ledger, a contrast and a report of one store ---------------------------------


def test_ledger_contrast_and_report_agree_in_every_figure(tmp_path):
    store = Store(tmp_path / "runs")
    runs, native = [], []
    for lr, first in ((0.1, 20), (0.01, 35)):
        for seed in range(3):
            for k, track in enumerate(SIDES):
                wrong = first + 2 * seed + k
                runs.append(add(store, seed, wrong=wrong, track=track, lr=lr))
    for seed in range(3):
        for k, track in enumerate(SIDES):
            made = add(store, seed, wrong=30 + 9 * k, track=track, mode="native")
            native.append(made)
    found = Ledger(design(1), runs, native, margin=0.005)
    (price,) = found.prices()
    rest = found.rest(["learning rate"])
    rows = contrast(
        "recipe.lr=0.1", "recipe.lr=0.01", where="mode=aligned", store=store.path
    )
    for row in rows["systems"]:
        mine = price["tracks"][row["track"]]
        for key in ("mean", "low", "high"):
            assert mine[key] == pytest.approx(row["difference"][key], abs=1e-12)
    assert rest["sum"] == price["price"]
    compared = summarise(native)["systems"][0]
    for key in ("mean", "low", "high"):
        assert rest["gap"][key] == pytest.approx(compared["difference"][key], abs=1e-12)
    named = {"default": "learning rate", "torch": "0.1", "keras": "0.01"}
    about = runs[0].record
    told = {
        **{k: about[k] for k in ("system", "precision", "device", "threads", "epochs")},
        **{"data": "digits", "n_train": 1000, "n_test": 500, "seeds": [0, 1, 2]},
        **{"design": "screening", "points": [[], []], "margin": 0.005, "command": ""},
        "defaults": [named | price],
        **rest,
    }
    record.keep(
        store.path,
        "ledger",
        {"systems": [told]},
        command="",
        environment={},
        subject="rasbt-mlp",
    )
    path = tmp_path / "page.html"
    report(store=store.path, output=path)
    page = path.read_text()
    for one in (price["price"], *price["tracks"].values(), rest["gap"], rest["left"]):
        low, mean, high = (f"{100 * one[k]:.2f}" for k in ("low", "mean", "high"))
        assert f"{mean} [{low} to {high}]" in page
    for row in rows["systems"]:
        assert f"{100 * row['difference']['mean']:.2f}" in page


def test_a_ledger_with_a_run_that_diverged_prices_nothing_and_says_which(tmp_path):
    store = Store(tmp_path / "runs")
    runs = [
        add(store, seed, wrong=5, track=track, lr=lr)
        for lr in (0.1, 0.01)
        for seed in range(3)
        for track in SIDES
    ]
    runs[3] = add(store, 7, wrong=0, diverged_at=4)
    found = Ledger(design(1), runs, runs[:6], margin=0.005)
    assert found.prices()[0]["price"] is None
    assert found.rest(["x"])["diverged"]


def test_a_system_in_which_nothing_is_found_is_named(capsys, monkeypatch, values):
    monkeypatch.setattr(command, "read_all", lambda: values)
    command.ledger(["tests.own_twin", "rasbt-mlp"], list_only=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "None was found in tests.own_twin" in said
    assert "initial kernels" in said

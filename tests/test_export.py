"""Runs in a tracker: all of them, once, and what has grown is brought up to date."""

import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

from benchmarks.export import AT_ONCE, export
from common.errors import Refused
from common.report.summary import grouped
from common.report.tracked import STEPS, comparisons, run_logged
from common.results import Store
from common.stats import MARGIN
from tests.stored import add

TRACKS = ("torch", "tensorflow")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "runs")
    for seed in range(3):
        for track in TRACKS:
            add(made, seed, wrong=20 + seed, track=track)
    return made


class Tracker:
    """What mlflow's client does with runs, as far as it is asked."""

    def __init__(self, uri):
        self.runs = STORES.setdefault(uri, {})

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "1"

    def search_runs(self, experiments, text):
        name, key = text.removeprefix("tags.`").split("` = ")
        return [
            SimpleNamespace(
                info=SimpleNamespace(run_id=run), data=SimpleNamespace(tags=kept.tags)
            )
            for run, kept in self.runs.items()
            if kept.tags.get(name) == key.strip("'")
        ]

    def create_run(self, experiment, tags):
        run = str(len(self.runs))
        self.runs[run] = SimpleNamespace(tags=dict(tags), params={}, metrics={})
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def log_batch(self, run, metrics=(), params=()):
        assert len(metrics) <= AT_ONCE
        kept = self.runs[run]
        for name, value in params:
            assert kept.params.setdefault(name, value) == value  # they cannot change
        for name, value, _, step in metrics:
            assert math.isfinite(value)
            kept.metrics[name, step] = value

    def set_tag(self, run, name, value):
        self.runs[run].tags[name] = value

    def set_terminated(self, run):
        pass


STORES = {}


@pytest.fixture
def mlflow(monkeypatch):
    STORES.clear()
    modules = {
        "mlflow": {},
        "mlflow.tracking": {"MlflowClient": Tracker},
        "mlflow.entities": {
            "Metric": lambda *values: values,
            "Param": lambda *values: values,
        },
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return STORES


def test_every_run_is_a_child_of_its_comparison(store, mlflow):
    found = export(to="mlflow", uri="u", store=store.path)
    assert (found["comparisons"], found["runs"]) == (1, 6)
    children = [r for r in mlflow["u"].values() if "mlflow.parentRunId" in r.tags]
    assert len(children) == 6
    (parent,) = [r for r in mlflow["u"].values() if r not in children]
    assert parent.tags["twintrack.verdict"] in ("equivalent", "undecided", "different")
    assert ("accuracy.torch.low", 0) in parent.metrics
    assert all(("epoch.train_loss", 3) in child.metrics for child in children)


@pytest.mark.parametrize("to", ["mlflow", "tensorboard"])
def test_what_is_there_is_not_doubled_and_what_has_grown_is_renewed(
    store, mlflow, tmp_path, to
):
    own = {"uri": "u"} if to == "mlflow" else {"output": tmp_path / "tb"}
    options = {"to": to, "store": store.path} | own
    assert export(**options)["there_before"] == 0
    assert export(**options)["there_before"] == 7
    add(store, 3, wrong=1)
    again = export(**options)
    assert again["there_before"] == 6  # the comparison has another run
    assert again["comparisons"] == 1
    if to == "mlflow":
        assert len(mlflow["u"]) == 8
    else:
        files = list((tmp_path / "tb").glob("*/*/events.out.tfevents*"))
        assert len(files) == 8


def test_what_is_no_number_is_left_out(store):
    add(store, 5, wrong=0, diverged_at=2)
    for one in comparisons(grouped(store.runs(), MARGIN)):
        for run in (one, *one.children):
            assert all(math.isfinite(point.value) for point in run.points)


def test_losses_of_a_long_run_are_thinned(store):
    run = store.runs()[0]
    run.record["losses"] = [1.0] * (3 * STEPS + 1)
    logged = [p for p in run_logged(run).points if p.name == "step.loss"]
    assert len(logged) <= STEPS


@pytest.mark.parametrize("to", ["mlflow", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_refused_with_its_cure(
    store, monkeypatch, to
):
    for name in ("mlflow", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Refused, match=rf"pip install 'twintrack\[{to}\]'"):
        export(to=to, store=store.path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "wandb"}, "--to must be one of mlflow, tensorboard"),
        ({"to": "tensorboard", "data": "moon"}, "needs finished runs"),
        ({"to": "tensorboard", "systems": "rosetta-cnn"}, "needs finished runs"),
    ],
)
def test_what_cannot_be_exported_is_refused(store, tmp_path, options, said):
    with pytest.raises(Refused, match=said):
        export(store=store.path, **options)
    assert not (tmp_path / "tb").exists()

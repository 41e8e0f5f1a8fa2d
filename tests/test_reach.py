"""How long training took to an accuracy, from what runs noted after each epoch."""

import json
from pathlib import Path

import jsonschema
import pytest

import common
from benchmarks.table import table
from common.errors import Refused
from common.report.reach import reach
from common.results import Store
from tests.stored import add

SCHEMA = Path(common.__file__).parent / "schema/compare.json"


def record(*accuracies, seconds=2.0):
    return {"history": [{"accuracy": a, "seconds": seconds} for a in accuracies]}


def test_it_is_the_first_epoch_that_is_so_good_and_medians_of_those_that_get_there():
    runs = [record(0.5, 0.9, 0.8), record(0.95), record(0.1, None, 0.2)]
    assert reach(runs, 0.9) == {
        "accuracy": 0.9,
        "reached": 2,
        "runs": 3,
        "seconds": 3.0,
        "epochs": 1.5,
    }


def test_nobody_may_get_there():
    assert reach([record(0.5)], 0.9)["seconds"] is None
    assert reach([], 0.9)["runs"] == 0


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "runs")  # after epochs 1, 2, 3: 70, 85 and 90 %
    for seed in range(3):
        for track in ("torch", "tensorflow"):
            add(made, seed, wrong=5, track=track)
    return made


@pytest.mark.parametrize("format", ["text", "markdown", "csv"])
def test_the_table_says_it_where_it_is_asked_for(store, capsys, format):
    found = table(store=store.path, reach=85, format=format)
    said = " ".join(capsys.readouterr().out.split())
    assert "to 85.00 %" in said
    assert "torch 2.0 s, epoch 2 (median of 3 of 3 runs)" in said
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    table(store=store.path, format=format)
    assert "to 85.00 %" not in capsys.readouterr().out


def test_what_nobody_reached_is_a_dash(store, capsys):
    table(store=store.path, reach=99)
    assert "torch - (0 of 3 runs)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("wrong", [0, -1, 101, float("nan")])
def test_what_is_no_accuracy_is_refused(store, wrong):
    with pytest.raises(Refused, match="--reach is an accuracy in %"):
        table(store=store.path, reach=wrong)

"""Findings are records: sealed files with the command line as it was typed."""

import csv
import io
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import common
from benchmarks.compare import compare
from benchmarks.options import Runs, spread
from benchmarks.parity import parity
from benchmarks.table import table
from common import record, report
from common.errors import Refused
from common.report.table import LATEX, Column, Table, rendered

ROOT = Path(__file__).parents[1]
SCHEMA = Path(common.__file__).parent / "schema/finding.json"
NUMPY = "tests.numpy_track"
RESULT = {
    "systems": [
        {
            "system": "small-cnn",
            "tracks": ["torch", "tensorflow"],
            "passed": True,
            "rungs": [
                {
                    "name": "logits",
                    "dtype": "float64",
                    "difference": 1e-15,
                    "tolerance": 1e-12,
                    "passed": True,
                    "where": "(3, 10) logits",
                }
            ],
        }
    ]
}


def kept(store, kind="parity", **changes):
    about = {
        "command": "twintrack parity",
        "environment": record.environment({"numpy": "2.0"}),
        "subject": "small-cnn; torch, tensorflow",
    }
    return record.keep(store, kind, RESULT, **about | changes)


# --- files --------------------------------------------------------------------------


def test_a_finding_is_read_back_and_fits_its_schema(tmp_path):
    path = kept(tmp_path)
    ((found,), damaged) = record.scan(tmp_path)
    assert (found.result, found.kind, damaged) == (RESULT, "parity", [])
    jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))


def test_the_newest_finding_comes_first(tmp_path):
    first = kept(tmp_path)
    content = json.loads(first.read_text())
    del content["sha256"]
    content |= {"id": "parity-20200101T000000-00000000", "written": "2020-01-01T00:00"}
    older = first.with_name(f"{content['id']}.json")
    older.write_text(json.dumps(content | {"sha256": record.seal(content)}))
    found, _ = record.scan(tmp_path)
    assert [one.id for one in found] == [first.stem, older.stem]


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-20]),
        lambda p: p.write_text(p.read_text().replace("1e-15", "1e-16")),
        lambda p: p.write_bytes(b"\xff\xfe\x00"),
        lambda p: p.write_text("[]"),
        lambda p: p.write_text("{}"),
        lambda p: p.rename(p.with_name("parity-20260101T000000-00000000.json")),
    ],
    ids=["cut", "edited", "binary", "list", "empty", "renamed"],
)
def test_a_damaged_finding_is_named_and_hides_no_other(tmp_path, damage):
    good, bad = kept(tmp_path), kept(tmp_path)
    damage(bad)
    found, damaged = record.scan(tmp_path)
    assert [one.id for one in found] == [good.stem]
    (line,) = map(str, damaged)
    assert "a finding must be as it was written" in line
    assert "\n" not in line


def test_a_nan_is_no_finding(tmp_path):
    about = {"command": "", "environment": {}, "subject": ""}
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.keep(tmp_path, "x", {"difference": math.nan}, **about)
    assert not list(tmp_path.rglob("*.json"))


# --- the command line as it was typed ------------------------------------------------


def test_the_command_is_kept_as_it_was_typed(tmp_path):
    words = ["parity", "rasbt-mlp", "--tracks", f"{NUMPY},torch", "--steps", "2"]
    words += ["--set", "spec.hidden=(8, 4)", "--store", str(tmp_path / "a store")]
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.cli", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    ((one,), _) = record.scan(tmp_path / "a store")
    assert shlex.split(one.command) == ["twintrack", *words]
    assert {"numpy", "torch"} <= one.environment["versions"].keys()


def test_a_call_from_python_is_kept_as_it_was_called(tmp_path, capsys):
    found = parity(
        "rasbt-mlp",
        tracks=[NUMPY, "torch"],
        steps=2,
        store=str(tmp_path),
    )
    ((one,), _) = record.scan(tmp_path)
    assert one.command.startswith(f"parity('rasbt-mlp', tracks=['{NUMPY}', 'torch']")
    assert one.result == json.loads(json.dumps(found))


def test_a_run_keeps_it_too(tmp_path, capsys):
    found = compare(
        "rasbt-mlp", tracks=NUMPY, seeds=2, limit=100, epochs=1, store=tmp_path
    )
    (row,) = found["systems"]
    assert row["command"].startswith("compare('rasbt-mlp', tracks='tests.numpy_track'")


# --- natural arguments ---------------------------------------------------------------


def test_natural_arguments_work(tmp_path, capsys):
    out = str(tmp_path / "out.json")
    rest = {"limit": 100, "epochs": 1, "seeds": 1, "store": str(tmp_path / "runs")}
    returned = compare(["rasbt-mlp"], tracks=[NUMPY], json=out, **rest)
    assert json.loads(Path(out).read_text()) == json.loads(json.dumps(returned))
    again = compare("rasbt-mlp", tracks=(NUMPY,), **rest)
    assert again["systems"][0]["seeds"] == [0]


def test_an_option_that_does_not_exist_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sedes'"):
        compare("rasbt-mlp", sedes=1)


@pytest.mark.parametrize("name", ["compare", "transfer", "new_class", "pretrain"])
def test_every_option_of_a_block_is_one_of_the_command(name):
    from importlib import import_module
    from inspect import signature

    command = getattr(import_module(f"benchmarks.{name}"), name)
    shown = signature(spread(command)).parameters
    assert Runs.__annotations__.keys() <= shown.keys()
    assert "rest" not in shown


# --- the table command ---------------------------------------------------------------


def test_findings_are_listed_and_shown_again(tmp_path, capsys):
    kept(tmp_path)
    kept(tmp_path, kind="official", subject="inception-v3 at 75 px")
    found = table(store=tmp_path)
    shown = capsys.readouterr().out
    assert {one["kind"] for one in found["findings"]} == {"parity", "official"}
    assert "inception-v3 at 75 px" in shown
    assert "twintrack parity" in shown
    table(store=tmp_path, kind="parity")
    shown = capsys.readouterr().out
    assert "small-cnn, torch and tensorflow" in shown
    assert "1.0e-15" in shown


def test_a_kind_that_the_store_has_not_is_refused(tmp_path):
    kept(tmp_path)
    with pytest.raises(Refused, match=r"--kind must be one .* it has parity"):
        table(store=tmp_path, kind="speed")


def test_a_damaged_finding_is_named_by_the_table(tmp_path, capsys):
    path = kept(tmp_path)
    kept(tmp_path)
    path.write_text("{}")
    found = table(store=tmp_path)
    assert str(path) in capsys.readouterr().err
    assert len(found["damaged"]) == 1


# --- formats -------------------------------------------------------------------------

HOSTILE = ("a|b", "50 % & _x_ #1 {y} \\z ~^$", 'q"uo,te', "<b>*bold*</b>", "", "ü\nß")
TABLE = Table(
    title="A title with 100 %",
    columns=(*map(Column, ("w", "x", "y")), *(Column(n, True) for n in "abc")),
    rows=(HOSTILE, HOSTILE[::-1]),
    notes=("a note",),
)


def test_csv_reads_back_to_the_same_cells():
    rows = list(csv.reader(io.StringIO(rendered([TABLE], "csv"))))
    assert rows[0] == [column.name for column in TABLE.columns]
    assert [tuple(row) for row in rows[1:]] == list(TABLE.rows)


def test_markdown_has_as_many_cells_in_every_line():
    lines = rendered([TABLE], "markdown").splitlines()
    cells = [line for line in lines if line.startswith("|")]
    assert len(cells) == 4
    for line in cells:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(TABLE.columns) + 1
        assert "<b>" not in line.replace("\\<", "")


def test_latex_leaves_nothing_that_it_would_read():
    lines = rendered([TABLE], "latex").splitlines()
    (start,) = [k for k, line in enumerate(lines) if line == r"\midrule"]
    for line in lines[start + 1 : start + 3]:
        assert line.endswith(r" \\")
        bare = line.removesuffix(r" \\")
        for written in LATEX.values():
            bare = bare.replace(written, "")
        assert not set(bare) & set("%$#_{}~^\\")
        assert bare.count("&") == len(TABLE.columns) - 1


def test_text_cuts_nothing_off_and_wraps_what_is_no_table():
    wide = Table(
        columns=tuple(map(Column, "ab")),
        rows=(("x" * 90, "y" * 40),),
        notes=("word " * 60,),
    )
    shown = rendered([wide], "text")
    assert re.search(rf"{'x' * 90} +{'y' * 40}\n", shown)
    assert all(len(line) <= 100 for line in shown.splitlines() if "word" in line)


def test_a_row_with_too_few_cells_is_refused():
    with pytest.raises(ValueError, match="a cell for each of 2 columns, got 1"):
        Table(columns=tuple(map(Column, "ab")), rows=(("x",),))


@pytest.mark.parametrize("format", report.FORMATS)
def test_every_kind_has_every_format(format):
    assert "logits" in report.shown("parity", RESULT, format)

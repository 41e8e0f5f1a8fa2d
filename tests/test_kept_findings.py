"""A store that has findings only: every format, every damage, one line of refusal."""

import csv
import io
import json
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import jsonschema
import pytest

import common
from benchmarks.options import Runs, spread
from benchmarks.table import FORMATS, table
from common import record, report
from common.files import seal
from common.report.table import Column, Table, rendered

ROOT = Path(__file__).parents[1]
SCHEMAS = Path(common.__file__).parent / "schema"
RUNG = {
    "name": "logits",
    "dtype": "float64",
    "difference": 1e-15,
    "tolerance": 1e-12,
    "passed": True,
    "where": None,
}
RESULT = {
    "systems": [
        {
            "system": "small-cnn",
            "tracks": ["torch", "a.dotted.module"],
            "passed": True,
            "rungs": [RUNG],
        }
    ]
}
TYPED = "twintrack parity --set 'recipe.lr=0.05'"


def schema(name):
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def kept(store, kind="parity"):
    about = {"command": TYPED, "subject": "small-cnn; torch, a.dotted.module"}
    return record.keep(
        store, kind, RESULT, environment=record.environment({"numpy": "2.0"}), **about
    )


# --- the table command ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "parity"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_store_of_findings_alone_is_shown_in_every_format(
    tmp_path, capsys, kind, format
):
    kept(tmp_path)
    found = table(store=tmp_path, kind=kind, format=format)
    shown = capsys.readouterr().out
    assert found["systems"] == []
    assert ("logits" if kind else "small-cnn") in shown
    if format != "json" and kind is None:
        assert "recipe.lr" in shown


def test_what_the_table_writes_of_findings_fits_the_schemas(tmp_path, capsys):
    path = kept(tmp_path)
    table(store=tmp_path, format="json")
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, schema("compare"))
    jsonschema.validate(json.loads(path.read_text()), schema("finding"))
    (found,) = told["findings"]
    jsonschema.validate(found["result"], schema("parity"))
    assert (found["command"], found["kind"]) == (TYPED, "parity")


def test_a_list_of_findings_reads_back_from_csv(tmp_path, capsys):
    kept(tmp_path)
    table(store=tmp_path, format="csv")
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert (row["kind"], row["command"]) == ("parity", TYPED)


def test_a_wrong_kind_is_one_line_and_exit_code_2(tmp_path):
    kept(tmp_path)
    words = ["table", "--kind", "speed", "--store", str(tmp_path)]
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.cli", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert "--kind must be one of the store's findings, got 'speed'" in line
    assert line.endswith("it has parity")


@pytest.mark.parametrize("format", report.FORMATS)
def test_a_rung_may_leave_undefined_what_the_schema_allows(format):
    rung = RUNG | {"difference": None, "tolerance": None, "passed": False}
    result = {"systems": [RESULT["systems"][0] | {"passed": False, "rungs": [rung]}]}
    jsonschema.validate(result, schema("parity"))
    shown = report.shown("parity", result, format)
    assert "not a number" in shown
    assert "None" not in shown


# --- damage ---------------------------------------------------------------------------


def rewritten(path, **changes):
    """A finding with changes, sealed again as whoever made them would."""
    content = json.loads(path.read_text())
    del content["sha256"]
    content |= changes
    path.write_text(json.dumps(content | {"sha256": seal(content)}))


def test_a_finding_that_is_sealed_again_is_read(tmp_path):
    """So that the next test is of the schema, and not of the seal."""
    path = kept(tmp_path)
    rewritten(path, subject="another")
    assert record.read(path).subject == "another"


def test_a_finding_of_another_schema_is_named_and_hides_no_other(tmp_path):
    good, bad = kept(tmp_path), kept(tmp_path)
    rewritten(bad, schema=record.SCHEMA + 1)
    found, damaged = record.scan(tmp_path)
    assert [one.id for one in found] == [good.stem]
    (line,) = map(str, damaged)
    assert str(bad) in line
    assert "its hash, name or schema" in line


@pytest.mark.parametrize("content", [b"", b"no json", b"null", b'"text"', b"[1]"])
def test_a_file_that_is_no_finding_is_named_and_hides_no_other(tmp_path, content):
    good, bad = kept(tmp_path), kept(tmp_path)
    bad.write_bytes(content)
    found, damaged = record.scan(tmp_path)
    assert [one.id for one in found] == [good.stem]
    (line,) = map(str, damaged)
    assert str(bad) in line
    assert "\n" not in line


@pytest.mark.parametrize("key", [*record.KEYS, "result", "sha256"])
def test_a_finding_without_a_part_is_named_and_left_out(tmp_path, key):
    bad = kept(tmp_path)
    content = json.loads(bad.read_text())
    del content[key]
    told = content.pop("sha256", None) and seal(content)
    bad.write_text(json.dumps(content | ({"sha256": told} if told else {})))
    found, (error,) = record.scan(tmp_path)
    assert found == []
    assert str(bad) in str(error)


# --- options --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["transfer", "new_class", "pretrain"])
def test_an_option_of_a_block_is_the_same_in_every_command(name):
    """Typer gets one type, one help and one default of each."""

    def options(name):
        command = getattr(import_module(f"benchmarks.{name}"), name)
        return signature(spread(command)).parameters

    here, there = options(name), options("compare")
    for field in Runs.__annotations__:
        (kind, info), (other, same) = (
            (found[field].annotation.__origin__, found[field].annotation.__metadata__)
            for found in (here, there)
        )
        assert kind == other, field
        assert [vars(one) for one in info] == [vars(one) for one in same], field
        assert here[field].default == there[field].default, field


# --- text -----------------------------------------------------------------------------


def test_a_new_line_in_a_cell_of_text_keeps_its_column():
    page = Table(
        columns=(Column("what"), Column("figure", figures=True)),
        rows=(("one\nand two", "1.00"), ("three", "2.00")),
    )
    first, second, third = rendered([page], "text").splitlines()[-3:]
    assert first.split() == ["one", "1.00"]
    assert second.split() == ["and", "two"]
    assert third.split() == ["three", "2.00"]
    assert first.index("1.00") == third.index("2.00")


@pytest.mark.parametrize("format", report.FORMATS)
def test_a_table_without_rows_is_no_error(format):
    assert "what" in rendered([Table(columns=(Column("what"),))], format)

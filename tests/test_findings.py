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
from common.files import seal
from common.report.findings import outcome
from common.report.table import LATEX, Column, Table, code, rendered

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
    older.write_text(json.dumps(content | {"sha256": seal(content)}))
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


def test_a_finding_is_sealed_as_it_is_read(tmp_path):
    """Numbers as keys are sorted as numbers, and read back as text."""
    about = {"command": "", "environment": {}, "subject": ""}
    record.keep(tmp_path, "x", {"n": {2: (1,), 10: 2}}, **about)
    ((found,), damaged) = record.scan(tmp_path)
    assert (found.result, damaged) == ({"n": {"2": [1], "10": 2}}, [])


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


def test_findings_are_listed_and_shown_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # else cells are folded
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


def test_findings_of_a_system_are_found_by_its_name(tmp_path, capsys):
    kept(tmp_path)
    kept(tmp_path, subject="rasbt-mlp, deep-cnn; torch, tensorflow")
    found = table(["deep-cnn"], store=tmp_path, kind="parity")
    assert [one["subject"][:9] for one in found["findings"]] == ["rasbt-mlp"]
    with pytest.raises(Refused, match="got none in"):
        table(["torch"], store=tmp_path, kind="parity")


def test_a_kind_of_findings_is_no_choice_among_runs(tmp_path):
    kept(tmp_path)
    with pytest.raises(Refused, match="choose among runs, got digits with --kind"):
        table(store=tmp_path, kind="parity", data="digits")


def test_a_kind_of_a_later_version_is_listed_and_refused_in_full(tmp_path, capsys):
    kept(tmp_path, kind="chronicle")
    table(store=tmp_path)
    assert "chronicle" in capsys.readouterr().out
    with pytest.raises(Refused, match="one that has tables, got 'chronicle'"):
        table(store=tmp_path, kind="chronicle")


def test_a_finding_of_another_form_is_named_and_hides_no_other(tmp_path, capsys):
    odd = kept(tmp_path)
    content = json.loads(odd.read_text()) | {"result": {"systems": [{}]}}
    odd.write_text(json.dumps(content | {"sha256": seal(content)}))
    with pytest.raises(Refused, match=r"--kind must be .* form of this version"):
        table(store=tmp_path, kind="parity")
    kept(tmp_path)
    capsys.readouterr()
    table(store=tmp_path, kind="parity")
    said = capsys.readouterr()
    assert "1.0e-15" in said.out
    assert f"left out: {odd.stem} has the form of another version" in said.err


@pytest.mark.parametrize("format", report.FORMATS)
def test_older_findings_are_counted_in_a_note(tmp_path, capsys, format):
    for _ in range(12):
        kept(tmp_path)
    table(store=tmp_path, format=format)
    shown = capsys.readouterr().out
    last = {"latex": "% and 2 older", "csv": "Findings,and 2 older"}
    last |= {"text": "and 2 older", "markdown": "- and 2 older"}
    assert shown.rstrip().splitlines()[-1] == last[format]
    assert "holds" in shown


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
    shown = rendered([TABLE], "csv")
    assert "\r\n" in shown
    heading, *rows = csv.reader(io.StringIO(shown.split("\r\n\r\n")[0], newline=""))
    assert heading == ["table", *(column.name for column in TABLE.columns)]
    assert [tuple(row) for row in rows] == [(TABLE.title, *row) for row in TABLE.rows]


def test_csv_says_of_every_row_which_table_it_is_of_and_keeps_the_notes():
    both = {"systems": [RESULT["systems"][0] | {"system": n} for n in ("a", "b")]}
    rungs, notes = report.shown("parity", both, "csv").split("\r\n\r\n")
    names = [row["table"] for row in csv.DictReader(io.StringIO(rungs))]
    assert names == ["a, torch and tensorflow", "b, torch and tensorflow"]
    assert "holds" in {row["note"] for row in csv.DictReader(io.StringIO(notes))}


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
    assert re.search(rf"^a +{'x' * 90}\nb +{'y' * 40}\n", shown)
    assert all(len(line) <= 80 for line in shown.splitlines() if "word" in line)


@pytest.mark.parametrize("format", ["text", "markdown", "latex"])
@pytest.mark.parametrize("sign", ["\r", "\x1b", "\u2028", "\u202e", "\udcff", "\x00"])
def test_no_sign_steers_the_terminal_or_ends_a_line(format, sign):
    odd = f"a{sign}b"
    page = Table(title=odd, columns=(Column(odd),), rows=((odd,),), notes=(odd,))
    shown = rendered([page], format)
    assert sign not in shown
    assert len(shown.splitlines()) == len(shown.split("\n"))
    shown.encode()


def test_signs_of_several_parts_stay_as_they_are():
    family = "\N{WOMAN}\u200d\N{GIRL} 日本\u3000語"
    assert family in rendered([Table(title=family)], "text")


def test_markdown_shows_names_and_commands_as_they_are():
    command = "twintrack compare --set 'recipe.x=a*b|c<d' my_pkg._track"
    page = Table(columns=(Column("_x_"),), rows=(("a_b &lt; ~c~ `",),))
    shown = rendered([page, Table(notes=(code(command),))], "markdown")
    assert r"| \_x\_ |" in shown
    assert r"| a_b \&lt; \~c\~ \` |" in shown
    assert f"- `{command}`" in shown
    assert code("a `b`") == "`` a `b` ``"


def test_code_in_a_markdown_cell_ends_no_cell():
    page = Table(columns=tuple(map(Column, "ab")), rows=(("`x|y*z`", "c"),))
    assert rendered([page], "markdown").splitlines()[-1] == r"| `x\|y*z` | c |"


def test_a_latex_row_is_no_argument_of_the_line_before():
    page = Table(columns=tuple(map(Column, "ab")), rows=(("[3pt] x", "y"), ("*", "z")))
    lines = rendered([page], "latex").splitlines()
    assert r"{}[3pt] x & y \\" in lines
    assert r"{}* & z \\" in lines


def test_text_breaks_no_address():
    address = "https://example.org/" + "x" * 120
    assert address in rendered([Table(notes=(f"see {address}",))], "text")


def test_a_row_with_too_few_cells_is_refused():
    with pytest.raises(ValueError, match="a cell for each of 2 columns, got 1"):
        Table(columns=tuple(map(Column, "ab")), rows=(("x",),))


@pytest.mark.parametrize("format", report.FORMATS)
def test_every_kind_has_every_format(format):
    assert "logits" in report.shown("parity", RESULT, format)


def test_a_kind_that_is_none_has_no_tables():
    with pytest.raises(ValueError, match="a result must be of compare, transfer"):
        report.shown("chronicle", {"systems": []})


def test_labelled_photos_are_summed_up_in_a_table():
    share = {"mean": 0.9, "low": 0.6, "high": 0.98}
    tracks = {"a.b": {"photos": share, "test": None}}
    labelled = {"photos": 10, "classes": ["cat", "dog"], "tracks": tracks}
    result = {"photos": [], "n_photos": 0, "labelled": labelled}
    shown = report.shown("classify", result)
    assert "10 photos in folders named cat and dog" in shown
    assert re.search(r"a\.b +90\.00 \[60\.00 to 98\.00\] +-", shown)


@pytest.mark.parametrize(
    ("kind", "result", "said"),
    [
        ("parity", RESULT, "holds"),
        (
            "parity",
            {"systems": [{"system": "x", "passed": False}]},
            "did not hold in x",
        ),
        ("speed", {"systems": [{"bars": [{"holds": True}]}]}, "1 of 1 bar held"),
        ("speed", {"systems": [{"bars": []}]}, "measured, no bar"),
        ("official", {"pairs": [{"difference": 2e-6}]}, "at most 2.0e-06 apart"),
        (
            "classify",
            {"photos": [{"agree": True}, {"error": "no"}], "n_photos": 2},
            "2 photos; 1 of 1 agreed on",
        ),
        ("new-class", {"final": {"remedy": "oversample"}}, "best with oversample"),
        ("new-class", {"final": None}, "some networks diverged with every remedy"),
        ("transfer", {"systems": [{"verdict": "undecided"}]}, "undecided"),
        ("pretrain", {"accuracy": 0.5, "n": 1000}, "50.00 % of 1,000 right"),
        ("ledger", {}, ""),
        ("official", {"pairs": []}, "of another form: --format json has it"),
        ("official", {}, "of another form: --format json has it"),
    ],
)
def test_a_finding_has_an_outcome_in_a_few_words(kind, result, said):
    assert outcome(kind, result) == said

"""Tables as text: any width, any signs, nothing lost, one style without colours."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from common import report
from common.report import layout
from common.report.headings import apart, published_cell, published_line, published_of
from common.report.photos import answer, closing, text, together
from common.report.table import Column, Table, columns, rendered

ROOT = Path(__file__).parents[1]
# Names of classes: wide, combining, right to left, of several parts, half-wide.
NAMES = ("cat", "猫と犬", "café", "cafe\u0301", "สุนัข", "שלום", "قطة", "ﾈｺ")
NAMES += ("👩\u200d👧",)
STEER = ("\x1b[31m", "\u202e", "\r", "\u2066", "\x9b", "\udce9")


def shown(table, monkeypatch, width=80):
    monkeypatch.setenv("COLUMNS", str(width))
    return rendered([table], "text")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_columns_are_columns_whatever_the_signs_of_their_cells(width, monkeypatch):
    page = Table(
        columns=(*columns(["class", "also"], ["n"]), Column("end")),
        rows=tuple((name, name[::-1], str(k), "|") for k, name in enumerate(NAMES)),
    )
    _, _, *lines = shown(page, monkeypatch, width).splitlines()
    assert len(lines) == len(NAMES)
    assert len({cell_len(line) for line in lines}) == 1
    assert [line.split()[0] for line in lines] == list(NAMES)


@pytest.mark.parametrize("sign", STEER)
def test_a_sign_that_steers_is_shown_and_moves_no_column(sign, monkeypatch):
    page = Table(
        title=sign,
        columns=(Column("a"), Column("b")),
        rows=((f"x{sign}y", "|"), ("z", "|")),
    )
    text = shown(page, monkeypatch)
    assert sign not in text
    first, second = text.splitlines()[-2:]
    assert first.index("|") == second.index("|")


WORDS = ("one two three four five six seven", "a/path/that/is/copied/as/a/whole/it/is")


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 81, 120, 500])
def test_nothing_is_lost_at_any_width_and_lines_fit(width, monkeypatch):
    page = Table(
        title="A title of several words",
        about=("what it is about in a line of several words",),
        columns=columns(["name", "said in words"], ["figure %", "range"]),
        rows=tuple((f"row {k}", WORDS[0], f"{k}.00", "1 to 2") for k in range(3)),
        notes=("a note that is long enough to be folded in forty columns",),
    )
    text = shown(page, monkeypatch, width)
    assert max(map(cell_len, text.splitlines())) <= width
    words = set(text.split())
    cells = [
        page.title,
        *page.about,
        *page.notes,
        *(c for row in page.rows for c in row),
    ]
    for cell in cells:
        assert set(cell.split()) <= words
    assert {"name", "figure", "range"} <= words


def test_a_table_that_fits_is_not_folded_and_one_that_almost_does_is(monkeypatch):
    page = Table(columns=columns(["a", "b"]), rows=(("x" * 30, WORDS[0]),))
    assert len(shown(page, monkeypatch, 65).splitlines()) == 3
    folded = shown(page, monkeypatch, 60).splitlines()
    assert len(folded) == 4
    assert folded[3].startswith(" " * 32)  # under its own column


def test_a_table_that_cannot_be_folded_is_a_block_for_each_row(monkeypatch):
    rows = ((WORDS[1], "1", ""), (WORDS[1], "2", "said"))
    page = Table(columns=columns(["path", "n", "note"]), rows=rows)
    assert shown(page, monkeypatch, 40).split("\n\n") == [
        f"path  {WORDS[1]}\nn     1",
        f"path  {WORDS[1]}\nn     2\nnote  said",
    ]


def test_figures_are_folded_before_their_brackets_and_only_if_they_must(monkeypatch):
    cell = "97.50 (96.10 to 98.40)"
    page = Table(
        columns=columns(["words"], ["one", "two"]), rows=((WORDS[0], cell, cell),)
    )
    lines = shown(page, monkeypatch, 70).splitlines()
    assert sum(cell in line for line in lines) == 1
    _, _, first, second, *_ = shown(page, monkeypatch, 50).splitlines()
    assert first.split()[-2:] == ["97.50", "97.50"]
    assert second.endswith("(96.10 to 98.40)  (96.10 to 98.40)")


def test_a_command_is_copied_as_a_whole(monkeypatch):
    command = "twintrack compare small-cnn --seeds 5 --set 'recipe.lr = 0.1'"
    page = Table(
        columns=(Column("kind"), Column("command", whole=True)),
        rows=(("parity", command),),
    )
    assert f"command  {command}" in shown(page, monkeypatch, 40).splitlines()


def test_a_labelled_line_goes_on_under_its_text(monkeypatch):
    note = "TOST         p = 0.0067 for a margin of 0.5 points, 90 % interval"
    lines = shown(Table(notes=(note,)), monkeypatch, 40).splitlines()
    assert [line[:13] for line in lines] == ["TOST         ", " " * 13]


@pytest.mark.parametrize(
    ("columns", "width"),
    [("60", 60), ("", 80), ("0", 80), ("many", 80), ("3", 20), ("9" * 30, 1000)],
)
def test_the_width_is_that_of_the_screen_or_a_fixed_one(columns, width, monkeypatch):
    def none(*_):
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", none)
    monkeypatch.setenv("COLUMNS", columns)
    assert layout.width() == width


def test_no_table_has_colours_or_bold_type():
    """Not where a terminal is claimed either: there is nothing for NO_COLOR to do."""
    claimed = {"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", "verify", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | claimed,
    )
    page = Table(title="t", columns=columns(["a"]), rows=(("b",),))
    assert "\x1b" not in found.stdout + rendered([page], "text")
    assert "verify" in found.stdout
    assert "│" not in found.stdout


def test_photos_and_their_closing_lines_are_tables_too(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a very long name of a class, which no table may cut off"
    said = answer(np.array([0.5, 3.0, 1.0]), ("猫", name, "b"), None, 3)
    tracks = {"torch": said, "tensorflow": said, "keras_torch": said}
    page = text(together("x.png", (3, 4), (), tracks, None))
    assert page.endswith(f"all say {name}".rsplit(" ", 1)[-1])
    for word in name.split():
        assert page.count(word) >= 4
    share = {"mean": 0.9, "low": 0.6, "high": 0.98}
    summary = {"photos": 10, "classes": ["猫"]}
    summary["tracks"] = {"a.dotted.track": {"photos": share, "test": None}}
    (*_, line) = closing(summary).splitlines()
    assert " ".join(line.split()) == "a.dotted.track 90.0 % (60.0 to 98.0) -"


# --- rows that look alike -------------------------------------------------------------


def row(**changes):
    given = {
        "system": "mlp",
        "data": "digits",
        "mode": "aligned",
        "precision": "float32",
        "epochs": 3,
        "overrides": [],
        "device": "cpu",
        "threads": 2,
        "n_train": 1000,
        "note": "",
        "versions": {"torch": "2.11"},
        "fingerprint": "f" * 64,
        "code": "12345678",
        "published": {
            **{"torch": 0.9754, "tensorflow": 0.975},
            **{"data": "mnist", "source": "s"},
        },
        "tracks": {"torch": {}, "tensorflow": {}},
    }
    return given | changes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threads": 1}, ["2 threads", "1 thread"]),
        ({"precision": "bfloat16"}, ["float32", "bfloat16"]),
        ({"mode": "native"}, ["aligned", "native"]),
        ({"device": "gpu"}, ["cpu", "gpu"]),
        ({"versions": {"torch": "2.12"}}, ["torch 2.11", "torch 2.12"]),
        ({"overrides": ["recipe.lr=1"]}, ["no --set", "recipe.lr=1"]),
        ({"epochs": 1, "code": "87654321"}, ["3 epochs", "1 epoch"]),
        ({"n_train": 100}, ["1,000 training images", "100 training images"]),
        ({"switches": {"torch": ["MKL_CBWR=AVX2"]}}, ["", "torch under MKL_CBWR=AVX2"]),
        ({"fingerprint": "e" * 64}, ["data ffffffff", "data eeeeeeee"]),
        ({"code": "87654321"}, ["code 12345678", "code 87654321"]),
        ({"versions": {"torch": "2.11", "keras": "3.1"}}, ["", ""]),  # a further track
        ({"data": "mnist", "threads": 1}, ["", ""]),  # they do not look alike
    ],
    ids=str,
)
def test_a_row_says_what_it_differs_in_from_one_that_looks_like_it(change, told):
    assert apart([row(), row(**change)]) == told


def test_what_has_a_column_of_its_own_is_not_said_twice():
    rows = [row(), row(epochs=1), row(epochs=1, threads=1)]
    assert apart(rows, shown=("epochs",)) == ["", "2 threads", "1 thread"]


# --- published figures ----------------------------------------------------------------


def test_a_published_figure_of_other_data_stands_in_brackets_only():
    own, other = row(data="mnist"), row(data="cifar10")
    assert published_cell(own) == "97.54 / 97.50 (mnist)"
    assert published_cell(other) == "(97.54 / 97.50 on mnist)"
    assert [published_of(r, "torch") for r in (own, other)] == ["97.54", "(97.54)"]
    assert published_line(own) == "published    on mnist, s"
    assert published_line(other) == "published    on mnist, not on cifar10: s"
    assert published_cell(row(published=None)) == published_of(own, "x") == "-"


def test_no_page_has_a_figure_of_other_data_without_brackets():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            of = [cell.partition(";")[0].partition(",")[0] for cell in cells]
            for data in ("mnist", "cifar10"):
                if any(cell.endswith(f" ({data})") for cell in cells):
                    assert data in of, line


def test_every_format_brackets_it(tmp_path):
    """Text, Markdown, LaTeX and CSV have one cell; JSON names the data set."""
    from tests.test_report import Store, add

    store = Store(tmp_path / "runs")
    for track in ("torch", "tensorflow"):
        add(store, track, 0)
    summary = report.summarise(store.runs())
    assert "(97.54)" in report.shown("compare", summary, "text")
    for format in ("markdown", "latex", "csv"):
        assert "(97.54 / 97.50 on mnist)" in report.shown("compare", summary, format)
    assert summary["systems"][0]["published"]["data"] == "mnist"

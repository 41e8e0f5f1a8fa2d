"""The pages are held to the code: tables, options, links, examples."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from benchmarks import cli
from common import record
from common.report.pages import MARK, fill
from common.report.summary import judged_again
from tests import pages
from tests.pages import PARTS, parser

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
RESULTS = sorted((ROOT / "docs/results").glob("*.json"))
NAMES = {
    *("results", "mlp", "photos", "porting", "inception", "records", "parity", "speed"),
    *("verdict", "commands", "adding-a-system", "design", "fractional", "installing"),
    *("ledger", "reports"),
}
LONGEST = 150  # lines of the README
# CI looks for them word for word.
COMMANDS = (
    "pip install -e . && twintrack compare",
    "pip install -e '.[test]' && pytest",
)
RUN = r"<!-- run -->\n```python\n(.*?)```"  # an example that a test runs
TRACKS = ("PyTorch", "TensorFlow")


def name_of(path):
    return path.name


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("command", COMMANDS)
def test_the_two_commands_stand_by_themselves(command):
    assert f"```sh\n{command}\n```" in README.read_text()


def test_every_page_is_there_and_the_readme_leads_to_it():
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} == NAMES
    text = README.read_text()
    assert [name for name in NAMES if f"](docs/{name}.md)" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_are_what_the_files_print(page):
    text = page.read_text()
    assert fill(text, ROOT) == text
    marks = text.count("<!-- table:") + text.count("<!-- records:")
    assert len(MARK.findall(text)) == marks


def test_every_result_is_on_a_page():
    marks = (mark for page in PAGES for mark in MARK.findall(page.read_text()))
    used = {name for mark in marks for name in mark[2].split()}
    assert used == {f"docs/results/{path.name}" for path in RESULTS}
    assert len(RESULTS) > 10


@pytest.mark.parametrize("path", RESULTS, ids=name_of)
def test_every_result_says_where_it_is_from(path):
    content = json.loads(path.read_text())
    origin = {"origin", "tables"} if "tables" in content else {"result"}
    extra = {"schema", "written_by", "sha256"} & content.keys()
    assert content.keys() - extra == {"kind", "command", "environment", *origin}
    assert content["command"].startswith(("twintrack ", "python -m tests."))


def rows_of_runs():
    """Every row of a comparison that was printed from runs."""
    for path in RESULTS:
        content = json.loads(path.read_text())
        if content["kind"] == "compare" and "result" in content:
            for row in content["result"]["systems"]:
                yield pytest.param(row, id=f"{path.stem}, {row['system']}")


@pytest.mark.parametrize("row", [*rows_of_runs()])
def test_every_verdict_can_be_computed_again_from_the_repository(row):
    """From which pictures each run got right; nothing else is kept of them."""
    again = judged_again(row, margin=row["margin"])
    assert again == row
    kept = [run for track in row["tracks"].values() for run in track["runs"]]
    assert all(run["correct"] for run in kept if run["accuracy"] is not None)
    for track in row["tracks"].values():
        mean = np.mean([run["accuracy"] for run in track["runs"]])
        assert track["accuracy"]["mean"] == pytest.approx(mean, abs=1e-12)


def test_a_changed_figure_is_seen():
    text = (ROOT / "docs/parity.md").read_text()
    assert fill(text.replace("3.6e-16", "3.6e-17", 1), ROOT) == text


def test_the_page_of_commands_is_what_they_print():
    assert pages.PAGE.read_text() == pages.commands(), "python -m tests.pages"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            path = page.parent / file if file else page
            assert path.exists(), target
            if anchor:
                titles = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
                slugs = [re.sub(r"[^\w -]", "", t.lower()) for t in titles]
                assert anchor in [slug.replace(" ", "-") for slug in slugs], target


def command_lines():
    """Every command line of ours on any page, and of any result: where, words."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
        lines = [line for block in blocks for line in spelled_out(block)]
        lines += re.findall(r"`(twintrack [^`]*)`", text)
        yield from ((page.name, words) for line in lines for words in typed(line))
    for path in RESULTS:
        command = json.loads(path.read_text())["command"]
        yield from ((path.name, words) for words in typed(command))


def spelled_out(block):
    """Lines of a shell's block, with what was put into variables."""
    values = {}
    for line in block.splitlines():
        for name, value in values.items():
            line = line.replace(f"${name}", value)
        if found := re.fullmatch(r'(\w+)="(.*)"', line):
            values[found[1]] = found[2]
        else:
            yield line


def typed(line):
    """The words after "twintrack" of each command in a line; "..." is left open."""
    if "..." in line or "…" in line:
        line = line.partition("--set ")[0].partition("...")[0].partition("…")[0]
    for part in line.strip().split(" && "):
        if part.startswith("twintrack "):
            yield shlex.split(part, comments=True)[1:]


def refused(words):
    """What the command says against these words, without running it; "" if nothing."""
    part = (
        words[1:2] if words[0] in PARTS and {*words[1:2]} & {*PARTS[words[0]]} else []
    )
    rest = words[1 + len(part) :]
    try:
        parser(words[0], *part).make_context("twintrack", [*rest])
    except typer.Exit:  # --help
        return ""
    except typer.TyperException as error:
        said = error.format_message()
        # Prose may name a command without its arguments.
        return "" if said.startswith("Missing argument") and not rest else said
    return ""


def test_every_command_line_parses():
    lines = [line for line in command_lines() if line[1][0] != "COMMAND"]
    assert {words[0] for _, words in lines} == {*cli.COMMANDS}
    assert [(*line, said) for line in lines if (said := refused(line[1]))] == []
    assert len(lines) > 80


def test_a_wrong_option_is_seen():
    assert "--sedes" in refused(["compare", "--sedes", "5"])
    assert refused(["weights", "import", "inception-v3", "--to", "keras"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_on_the_pages_compiles(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        ast.parse(block)


def examples_to_run():
    """Python on the pages that is marked to be run: page, code."""
    for page in PAGES:
        blocks = re.findall(RUN, page.read_text(), re.S)
        yield from (
            pytest.param(b, id=f"{page.stem}-{i}") for i, b in enumerate(blocks)
        )


@pytest.mark.parametrize("code", [*examples_to_run()])
def test_python_that_is_marked_runs(code, tmp_path):
    result = json.loads(
        (ROOT / "docs/results/parity-torch-keras-torch.json").read_text()
    )
    record.keep(
        tmp_path / "runs",
        result["kind"],
        result["result"],
        command=result["command"],
        environment=result["environment"],
        subject="an example",
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()


# --- what pages say twice is the same -----------------------------------------------


def rows_of(name):
    """The rows of a transcribed result, as column -> cell."""
    (table,) = json.loads((ROOT / f"docs/results/{name}.json").read_text())["tables"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def test_the_readmes_table_is_one_of_the_results():
    tables = [mark[2] for mark in MARK.findall(README.read_text())]
    assert len(tables) == 1
    assert f"<!-- table: {tables[0]} -->" in (ROOT / "docs/results.md").read_text()


def test_each_row_in_words_has_the_figures_of_its_row():
    name = "compare"
    text = (ROOT / "docs/results.md").read_text().partition(f"results/{name}.json")[2]
    words = text.partition("<details>")[2].partition("</details>")[0]
    said = re.findall(r"^- \*\*(.*?)\*\* on (\S+): (\w+)(.*)\n  `(.*)`$", words, re.M)
    rows = rows_of(name)
    assert len(said) == len(rows)
    for row, (system, data, verdict, sentence, command) in zip(rows, said, strict=True):
        named, _, setting = row["System"].partition(", ")
        mean, low, high = re.findall(r"-?[\d.]+", row["Difference, points [95 %]"])
        assert (named, verdict) == (system, row["Verdict"])
        assert row["Data"].startswith(f"{data};")
        assert f"{mean} points" in sentence
        assert f"interval {low} to {high}" in sentence
        words = shlex.split(command)
        assert words[:3] == ["twintrack", "compare", system]
        assert words[words.index("--seeds") + 1] == row["n"].partition(" ")[0]
        assert words[words.index("--epochs") + 1] == row["Epochs"]
        assert words[words.index("--data") + 1] == f"data/{data}"
        assert [setting] == (words[words.index("--set") + 1 :] if setting else [""])


def test_the_speeds_of_three_tracks_are_those_of_their_record():
    page = " ".join((ROOT / "docs/parity.md").read_text().split())
    content = json.loads((ROOT / "docs/results/engine-or-api.json").read_text())
    for row in content["result"]["systems"]:
        rates = [f"{t['images_per_second']:,.0f}" for t in row["tracks"].values()]
        assert f"`{row['system']}` {rates[0]}, {rates[1]} and {rates[2]}" in page


def figures(cell):
    """The numbers of a cell."""
    return [float(number) for number in re.findall(r"[\d.]+", cell)]


# --- what they may not say ----------------------------------------------------------


def test_the_design_names_every_file():
    page = (ROOT / "docs/design.md").read_text()
    layout = set(re.findall(r"\w+", page.partition("```")[2].partition("```")[0]))
    files = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "common").glob("*.py")]
    assert {path.stem for path in files} - layout - {"__init__"} == set()


@pytest.mark.parametrize("path", [*PAGES, *RESULTS], ids=name_of)
def test_pages_speak_of_the_project_alone(path):
    strange = r"/work/|/home/|/root/|/tmp/|session|pypi|artifactory|localhost"
    assert not re.search(strange, path.read_text())

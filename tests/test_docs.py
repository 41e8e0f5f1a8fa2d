"""The pages are held to the code: tables, options, links, examples."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

from benchmarks import cli
from common.report.pages import MARK, fill
from tests import pages

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
NAMES = {
    *("results", "mlp", "photos", "inception", "records", "parity", "speed"),
    *("verdict", "commands", "adding-a-system", "design"),
}
LONGEST = 150  # lines of the README


def name_of(path):
    return path.name


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= LONGEST


def test_every_page_is_there_and_the_readme_leads_to_it():
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} == NAMES
    text = README.read_text()
    assert [name for name in NAMES if f"](docs/{name}.md)" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_are_what_the_files_print(page):
    text = page.read_text()
    assert fill(text, ROOT) == text


def test_every_result_is_on_a_page():
    used = {mark[1] for page in PAGES for mark in MARK.findall(page.read_text())}
    there = {f"docs/results/{p.name}" for p in (ROOT / "docs/results").glob("*.json")}
    assert used == there
    assert len(there) > 10


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
    """Every command line of ours on any page."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
        lines = [line.strip() for line in blocks.splitlines()]
        lines += re.findall(r"`(twintrack [^`]*)`", text)
        for line in lines:
            if line.startswith("twintrack ") and "…" not in line and "..." not in line:
                yield page.name, line.partition("  #")[0].partition(" # ")[0]


def options_of(name):
    """The options that a command has, those of its parts included."""
    from importlib import import_module

    from benchmarks.shell import alone

    module, _, function = cli.COMMANDS[name][0].partition(":")
    target = getattr(import_module(module), function)
    app = target if isinstance(target, typer.Typer) else alone(target)
    found, todo = set(), [typer.main.get_command(app)]
    while todo:
        command = todo.pop()
        for parameter in command.params:
            found |= {*parameter.opts, *parameter.secondary_opts}
        todo += getattr(command, "commands", {}).values()
    return found


def test_every_command_line_on_the_pages_has_options_that_exist():
    known = {name: options_of(name) for name in cli.COMMANDS}
    seen = 0
    for page, line in command_lines():
        words = shlex.split(line.replace("$transfer", ""))
        if words[1] in ("COMMAND", "X"):
            continue
        assert words[1] in cli.COMMANDS, (page, line)
        for word in words[2:]:
            option = word.partition("=")[0]
            if option.startswith("--") and option != "--help":
                assert option in known[words[1]], (page, line)
        seen += 1
    assert seen > 40


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_on_the_pages_compiles(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        ast.parse(block)


def test_pages_speak_of_the_project_alone():
    for page in PAGES:
        assert not re.search(r"/work/|/home/|/root/|session|pypi", page.read_text())

"""docs/commands.md, printed from what the commands say of themselves.

python -m tests.pages       # write it again, the sentences of docs/results, the faults

The sentences are those of the runs that are kept there, in the words of today; then
`python -m common.report.pages README.md docs/*.md` prints the tables.
"""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import typer

import common
from benchmarks.catalogue import listed_faults
from benchmarks.cli import COMMANDS
from benchmarks.shell import alone
from common.report.summary import judged_again

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/commands.md"
FAULTS_FILE = ROOT / "docs/results/faults.json"
# Commands that are several.
PARTS = {
    "weights": ("import", "export"),
    "data": ("prepare", "import", "verify", "remove"),
    "store": ("list", "show", "merge", "prune", "export"),
}
HEAD = """# Commands

What `twintrack COMMAND --help` prints, for every command. An option means the same in
every command that has it. Each command is also a script (`python -m benchmarks.compare
...`) and a function, named below it. The function's parameters are called like the
options (`--leave-out` is `leave_out`, `--no-shortcut` is `shortcut=False`); it takes
one name or many, text or paths, and returns what `--json` writes:

```python
from benchmarks.classify import classify
from benchmarks.compare import compare

compare("small-cnn")
compare(["small-cnn"], tracks=["torch"], json="out.json")
classify("cat.png")
```

`-h`, `--help` and `--version` work in every command. Tables are as wide as the
terminal, 80 columns in a pipe. `--json -` prints the JSON alone, for a program to read;
the tables go to standard error. Exit codes are those of
[the design](design.md#a-command).
"""


def parser(*words):
    """What parses the words of a command, or of a part of one: a Click command."""
    module, _, function = COMMANDS[words[0]][0].partition(":")
    target = getattr(import_module(module), function)
    app = target if isinstance(target, typer.Typer) else alone(target)
    found = typer.main.get_command(app)
    for word in words[1:]:
        found = found.commands[word]
    return found


# In one process: each start takes a second.
PRINT_EACH = """
import json, sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from benchmarks.cli import main
said = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["twintrack", *words, "--help"]
    with redirect_stdout(StringIO()) as text, suppress(SystemExit):
        sys.exit(main())
    said.append(text.getvalue())
print(json.dumps(said))
"""


def said(asked):
    """What each command prints of itself, in at most 80 columns."""
    found = subprocess.run(
        [sys.executable, "-c", PRINT_EACH, json.dumps(asked)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
    )
    return [
        "\n".join(line.rstrip() for line in text.strip().splitlines())
        for text in json.loads(found.stdout)
    ]


def function(*words):
    """The function of a command and its parameters with names of their own, or ""."""
    found = parser(*words)
    if found.callback is None:
        return ""
    module = COMMANDS[words[0]][0].partition(":")[0]
    others = [
        f"`{one.opts[0]}` is `{one.name}`"
        for one in found.params
        if one.opts[0].startswith("--")
        and one.opts[0][2:].replace("-", "_") != one.name
    ]
    named = f"`{module}.{found.callback.__name__}`"
    return f"In Python: {named}{'; ' if others else ''}{', '.join(others)}.\n"


def commands():
    """The page."""
    asked = [
        words
        for name in COMMANDS
        for words in ((name,), *((name, part) for part in PARTS.get(name, ())))
    ]
    parts = [HEAD]
    for words, text in zip(asked, said(asked), strict=True):
        title = f"## {' '.join(words)}\n\n```text\n{text}\n```\n"
        parts += [title, called] if (called := function(*words)) else [title]
    return "\n".join(parts)


def judge_again():
    """Verdicts and sentences of docs/results computed from their runs, and written."""
    for path in sorted((ROOT / "docs/results").glob("*.json")):
        text = path.read_text()
        content = json.loads(text)
        if content["kind"] == "compare" and "result" in content:
            rows = content["result"]["systems"]
            rows[:] = [judged_again(row, margin=row["margin"]) for row in rows]
            path.write_text(json.dumps(content, **form_of(text)) + "\n")


def faults():
    """The file of docs/parity.md's table: `twintrack list --faults`."""
    return {
        "kind": "catalogue",
        "command": "twintrack list --faults",
        "environment": {"twintrack": common.__version__},
        "result": listed_faults(),
    }


def form_of(text):
    """How a file is written, so that only what changed does."""
    indent = 1 if text.startswith("{\n ") else None
    return {"indent": indent, "ensure_ascii": text.isascii()}


if __name__ == "__main__":
    PAGE.write_text(commands())
    FAULTS_FILE.write_text(json.dumps(faults(), indent=1) + "\n")
    judge_again()

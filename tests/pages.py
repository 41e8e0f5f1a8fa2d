"""docs/commands.md, printed from what the commands say of themselves.

python -m tests.pages       # write it again
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/commands.md"
# Commands that are several.
PARTS = {"weights": ("import", "export"), "data": ("prepare", "verify")}
HEAD = """# Commands

What `twintrack COMMAND --help` prints, for every command. An option means the same in
every command that has it. Each command is also a script (`python -m benchmarks.compare
...`) and a function that takes the same names and returns what `--json` writes:

```python
from benchmarks.classify import classify
from benchmarks.compare import compare

compare("small-cnn")
compare(["small-cnn"], tracks=["torch"], json="out.json")
classify("cat.png")
```
"""


def said(*words):
    """What a command prints of itself, 100 columns wide."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.cli", *words, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
    )
    text = found.stdout.replace("python -m benchmarks.cli", "twintrack")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def commands():
    """The page."""
    parts = [HEAD]
    for name in COMMANDS:
        for words in ((name,), *((name, part) for part in PARTS.get(name, ()))):
            parts.append(f"## {' '.join(words)}\n\n```text\n{said(*words)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(commands())

"""Plant each mutant in a copy of the project and run its test there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "common", "pt_track", "tf_track", "tests")
FILES = ("setup.cfg", "pyproject.toml")
AT_ONCE = 2
CAUGHT, SURVIVED = 1, 0  # what pytest ends with


def outcome(mutant: Mutant | None, check: str) -> int:
    """How the test ends with the mutant planted, or with none, in a forked process.

    The parent has imported the frameworks and nothing of the project, so that each
    child starts at once and imports its own copy.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copy = Path(place)
        for name in FOLDERS:
            kept = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, copy / name, ignore=kept)
        for name in FILES:
            shutil.copy(ROOT / name, copy / name)
        if mutant:
            path = copy / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                raise ValueError(f"{mutant.file} must have {mutant.old!r} once")
            path.write_text(text.replace(mutant.old, mutant.new))
        child = os.fork()
        if child == 0:
            os._exit(_tested(copy, check))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _tested(copy: Path, check: str) -> int:
    """In a child: pytest's exit status."""
    import pytest

    with (copy / "log.txt").open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)
        for name in [n for n in sys.modules if n.partition(".")[0] in FOLDERS]:
            del sys.modules[name]
        sys.path[:] = [str(copy), *(p for p in sys.path if p not in ("", str(ROOT)))]
        words = ["-q", "-x", "-n0", "-p", "no:cacheprovider", f"--rootdir={copy}"]
        return int(pytest.main([*words, check]))


def main(words: list[str]) -> int:
    """Run the mutants that hold one of the words; 0 if all are caught."""
    # Torch first, then triton, then TensorFlow: see tests/conftest.py.
    for name in (
        "torch",
        "triton",
        "torchvision",
        "tensorflow",
        "keras",
        "scipy.stats",
    ):
        with suppress(ImportError):  # CPU builds of torch lack triton
            import_module(name)

    chosen = [
        m for m in MUTANTS if not words or any(w in f"{m.file} {m.old}" for w in words)
    ]
    checks = list(dict.fromkeys(m.check for m in chosen))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sound = dict(
            zip(checks, pool.map(lambda c: outcome(None, c), checks), strict=True)
        )
        broken = [check for check, status in sound.items() if status]
        for check in broken:
            print(f"fails without a mutant: {check}", file=sys.stderr)
        found = pool.map(lambda m: outcome(m, m.check), chosen)
        rows = []
        for mutant, status in zip(chosen, found, strict=True):
            told = {CAUGHT: "caught", SURVIVED: "SURVIVED"}.get(status, "NOT RUN")
            rows.append((mutant, told))
            line = mutant.new.strip().splitlines()[0][:60]
            print(f"{told:9} {mutant.file}: {line}", file=sys.stderr, flush=True)
    counts = Counter(m.file for m, _ in rows)
    caught = Counter(m.file for m, told in rows if told == "caught")
    table = [[f"`{f}`", str(n), str(caught[f])] for f, n in sorted(counts.items())]
    table.append(["all", str(len(rows)), str(sum(caught.values()))])
    result = {
        "kind": "parity",
        "origin": "mutants planted one at a time (tests/mutants)",
        "command": "python -m tests.mutants",
        "environment": {},
        "tables": [
            {"title": "", "columns": ["File", "Planted", "Caught"], "rows": table}
        ],
    }
    print(json.dumps(result, indent=1))
    return int(bool(broken) or sum(caught.values()) < len(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

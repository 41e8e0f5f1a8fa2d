"""One function in a process of its own: a framework's work for a light parent.

    python -m benchmarks.engine.call MODULE:FUNCTION FOLDER PARENT_PID

The function takes the values that the parent gives, and a `tell` for progress; what
it returns comes back.  Values and results are JSON; arrays go through files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.engine.run import end_with, take_output, teller
from benchmarks.engine.runner import ended, environment, events, tail
from common import files
from common.errors import Failed, Refused

OURS = 70  # exit code of a fault of ours

Values = dict[str, Any]
Tell = Callable[..., None]


def in_child(
    task: str,
    values: Values,
    *,
    threads: int,
    device: str,
    told: Callable[[Values], None] = lambda _: None,
) -> Values:
    """Call "module:function" with `values` in a child process; what it returned.

    Args:
        task: Where the function is.
        values: Its first argument, plain values.
        threads: Of the child.
        device: "cpu" or "gpu".
        told: Given each event that the child tells.

    Raises:
        Refused: The child refused; the line is the child's.
        Failed: It ended without a result.
        RuntimeError: A fault of ours in it; the message is its log.
    """
    with tempfile.TemporaryDirectory(prefix="twintrack-") as name:
        folder = Path(name)
        (folder / "values").write_text(json.dumps(values))
        log = folder / "log"
        with log.open("wb") as file:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "benchmarks.engine.call"),
                    *(task, name, str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment(threads=threads, device=device),
                start_new_session=True,
            )
            try:
                for event in events(child):
                    if event.get("event") == "refused":
                        raise Refused(event["message"])
                    told(event)
                code = child.wait()
            finally:
                child.kill()
                child.wait()
                if child.stdout:
                    child.stdout.close()
        result = folder / "result"
        if code == OURS:  # the command says so, and keeps this text in a log
            raise RuntimeError(f"{task} failed:\n{log.read_text(errors='replace')}")
        if not result.exists():
            said = "\n".join(tail(log, 0).splitlines()[1:])  # the log itself goes
            raise Failed(f"{task} failed: {ended(code)}\n{said}")
        found: Values = json.loads(result.read_text())
        return found


def main() -> int:
    """The other end of `in_child`."""
    task, name, parent = sys.argv[1:]
    end_with(int(parent))
    tell = teller(take_output())
    folder = Path(name)
    try:
        module, _, function = task.partition(":")
        values = json.loads((folder / "values").read_text())
        result = getattr(import_module(module), function)(values, tell)
        files.write_atomic(folder / "result", json.dumps(result or {}).encode())
    except Refused as error:
        tell("refused", message=str(error))
    except OSError as error:
        if error.errno not in files.FULL:
            traceback.print_exc()
            return OURS
        tell("refused", message=files.unwritable(Path(error.filename or "."), error))
    except Exception:
        traceback.print_exc()
        return OURS
    return 0


if __name__ == "__main__":
    # Not sys.exit: a framework's threads must not decide when this process ends.
    code = main()
    sys.stderr.flush()
    os._exit(code)

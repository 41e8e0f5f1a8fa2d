"""One function in a process of its own: a framework's work for a light parent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.engine.process import Child, Event, Values
from common.errors import OURS, Failed, Fault


def call(
    task: str,
    values: Values,
    *,
    threads: int,
    device: str,
    told: Callable[[Event], None] = lambda _: None,
) -> Values:
    """Call "module:function" with `values` in a child process; what it returned.

    Args:
        task: Where the function is; it takes the values and a `tell`.
        values: Plain values.
        threads: Of the child.
        device: "cpu" or "gpu".
        told: Given each event that the child tells.

    Raises:
        Refused: The child refused; the line is the child's.
        Failed: It ended without a result.
        Fault: A fault of ours in it.
    """
    with Child(task, values, threads=threads, device=device, log=new_log()) as child:
        try:
            for event in child.events():
                if event:
                    told(event)
            return result(child)
        except (Fault, Failed):
            raise
        except BaseException:
            child.log.unlink(missing_ok=True)
            raise


def result(child: Child) -> Values:
    """What a child returned that has told all; its log is kept where it did not.

    Raises:
        Refused, Failed, Fault: As in `call`.
    """
    status = child.status()
    if child.process.returncode == OURS:
        raise Fault(child.task, child.log)
    if status or child.ending.get("event") != "result":
        raise Failed(f"{child.task} {status or 'gave no result'}\n{child.tail()}")
    child.log.unlink(missing_ok=True)
    value: Values = child.ending["value"]
    return value


def new_log() -> Path:
    """An empty file for what a child says."""
    file, name = tempfile.mkstemp(prefix="twintrack-", suffix=".log")
    os.close(file)
    return Path(name)

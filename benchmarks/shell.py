"""From a command line to an exit code: what every command shares as a program."""

from __future__ import annotations

import errno
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from common.command_line import as_typed
from common.errors import (
    DONE,
    FAILED,
    OURS,
    STOPPED,
    WRONG,
    Failed,
    Fault,
    Refused,
    one_line,
)


def script(command: Callable[..., Any] | typer.Typer) -> None:
    """Run one command as a script: `python -m benchmarks.NAME`."""
    app = command if isinstance(command, typer.Typer) else alone(command)
    sys.exit(run(app))


def alone(command: Callable[..., Any]) -> typer.Typer:
    """An app of one command."""
    from benchmarks.options import spread

    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.command(help=first(command))(spread(command))
    return app


def run(app: typer.Typer) -> int:
    """Run an app; the exit code, every refusal said in one line."""
    warnings.showwarning = _one_line
    try:
        with as_typed(_typed()):
            code = app(standalone_mode=False)  # Typer returns 130 for Ctrl-C
        return STOPPED if code == STOPPED else DONE
    except Refused as error:
        return _said(one_line(str(error)), WRONG)
    except Failed as error:
        return _said(str(error), FAILED)
    except Fault as error:
        return _said(str(error), OURS)
    except typer.TyperException as error:
        said = one_line(error.format_message().rstrip("."))
        return _said(f"{said}; see --help", WRONG)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return _unexpected()
        said = one_line(str(error.filename))
        return _said(f"a path must be shorter, got {said}; correct it", WRONG)
    except (KeyboardInterrupt, typer.Abort):
        return _said("stopped; what is finished is kept", STOPPED)
    except Exception:
        return _unexpected()


def _unexpected() -> int:
    """The exception that is being handled is a fault of ours; kept in a log."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="twintrack-", suffix=".log", delete=False
    ) as log:
        traceback.print_exc(file=log)
    return _said(f"a fault of ours; please report {log.name}", OURS)


def first(command: Callable[..., Any]) -> str:
    """The first paragraph of a docstring; the rest is for those who call it."""
    return (command.__doc__ or "").split("\n\n")[0]


def _said(text: str, code: int) -> int:
    print(f"twintrack: {text}", file=sys.stderr)
    return code


def _typed() -> str:
    """The command line as it was typed, quoted so that a shell takes it again."""
    program, *words = sys.argv
    name = Path(program).stem
    if program.endswith(".py"):  # python -m benchmarks.compare, or benchmarks.cli
        name = "twintrack" if name == "cli" else f"twintrack {name.replace('_', '-')}"
    return f"{name} {shlex.join(words)}".strip()


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """A warning as a user wants it: what, and not where in our code."""
    print(f"twintrack: {message}", file=sys.stderr)

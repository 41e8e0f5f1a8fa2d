"""From a command line to an exit code: what every command shares as a program."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import typer

from common import __version__
from common.command_line import as_typed
from common.errors import (
    DONE,
    FAILED,
    OURS,
    STOPPED,
    UNREAD,
    WRONG,
    Failed,
    Fault,
    Refused,
    one_line,
)

HELP = {"help_option_names": ["-h", "--help"]}


def script(command: Callable[..., Any] | typer.Typer) -> None:
    """Run one command as a script: `python -m benchmarks.NAME`."""
    app = command if isinstance(command, typer.Typer) else alone(command)
    sys.exit(run(app))


def bare(help: str | None = None, name: str | None = None) -> typer.Typer:
    """An app without commands, whose help is as that of all others."""
    return typer.Typer(
        name=name,
        help=help,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help answers three times as fast
        context_settings=HELP,
    )


def alone(command: Callable[..., Any]) -> typer.Typer:
    """An app of one command."""
    from benchmarks.options import spread

    app = bare()
    app.command(help=first(command), context_settings=HELP)(spread(command))
    return app


def run(app: typer.Typer) -> int:
    """Run an app; the exit code, every refusal said in one line."""
    warnings.showwarning = _one_line
    atexit.register(gc.freeze)  # nobody looks for garbage where all of it goes
    with _streams() as there:
        if not there:
            return _said(
                "standard output must be open, got a closed one; send it to a file "
                "or to /dev/null",
                WRONG,
            )
        code = _carried_out(app)
        try:
            sys.stdout.flush()
        except Unread:
            return code or UNREAD
        except Refused as error:
            return code or _said(str(error), WRONG)
    return code


def _carried_out(app: typer.Typer) -> int:
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
    except Unread:
        return UNREAD
    except typer.TyperException as error:
        if getattr(error, "option_name", "") == "--version":  # of whatever command
            say_version()
            return DONE
        return _said(one_line(_usage(error)), WRONG)
    except (KeyboardInterrupt, typer.Abort):
        return _said("stopped; what is finished is kept", STOPPED)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return _unforeseen(error)
        said = one_line(str(error.filename))
        return _said(f"a path must be shorter, got {said}; correct it", WRONG)
    except SystemExit as left:  # Typer's answer to any broken pipe, a child's too
        return _unforeseen(left.__context__ or left)
    except Exception as error:
        return _unforeseen(error)


def first(command: Callable[..., Any]) -> str:
    """The first paragraph of a docstring; the rest is for those who call it."""
    return (command.__doc__ or "").split("\n\n")[0]


def say_version() -> None:
    """Print the version, in one line."""
    print(f"twintrack {__version__}")


# --- what is said of an error -------------------------------------------------------


def _said(text: str, code: int) -> int:
    print(f"twintrack: {text}", file=sys.stderr)
    return code


def _usage(error: typer.TyperException) -> str:
    """A wrong option or command in our words; the rest in Typer's."""
    said = error.format_message().rstrip(".?")
    context = getattr(error, "ctx", None)
    known = list(getattr(context.command, "commands", ())) if context else []
    if said.startswith("No such option"):
        said = f"there is no option {getattr(error, 'option_name', '')}"
        said += _nearest(getattr(error, "possibilities", None) or ())
    elif said.startswith("No such command"):
        name = said.split("'")[1] if "'" in said else ""
        said = f"there is no command {name}"
        near = get_close_matches(name, known)
        said += _nearest(near) or f"; there are {', '.join(known)}"
    elif said.startswith("Missing command"):
        said = f"a command must follow: {' or '.join(known)}"
    return f"{said}; see --help"


def _nearest(names: Sequence[str]) -> str:
    return f"; the nearest is {names[0]}" if names else ""


def _unforeseen(error: BaseException) -> int:
    """Say that a disk is full, wherever that was met; else that it is our fault."""
    if full := _full(error):
        return _said(full, WRONG)
    return _said(f"a fault of ours; please report {_logged(error)}", OURS)


def _full(error: BaseException) -> str:
    """What to say of a disk that is full wherever that was met; else ""."""
    from common.files import FULL, unwritable

    if isinstance(error, OSError) and error.errno in FULL:
        return unwritable(Path(error.filename or tempfile.gettempdir()), error)
    return ""


def _logged(error: BaseException) -> str:
    """The file that has the traceback; where none can be written, the error itself."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="twintrack-", suffix=".log", delete=False
        ) as log:
            traceback.print_exception(error, file=log)
    except OSError as no_log:
        return f"{error!r} (a log cannot be written: {no_log.strerror})"
    return log.name


# --- standard streams ---------------------------------------------------------------


class Unread(Exception):
    """Nobody reads standard output any more: there is nobody to be told."""


class _Output:
    """Standard output whose errors cannot be taken for those of another file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed: Exception | None = None

    def write(self, text: str) -> int:
        """Write.

        Raises:
            Unread: It is a pipe that nobody reads.
            Refused: It takes nothing, as a full disk.
        """
        with self._taken():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what waits; raises as `write`."""
        with self._taken():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _taken(self) -> Iterator[None]:
        if self._failed:  # Typer tries an output out, and swallows what it says
            raise self._failed
        try:
            yield
        except BrokenPipeError as error:
            self._fail(Unread(), error)
        except OSError as error:
            refused = Refused(
                f"standard output must take what is printed, got '{error.strerror}'; "
                "send it elsewhere"
            )
            self._fail(refused, error)

    def _fail(self, failure: Exception, error: OSError) -> NoReturn:
        _to_nowhere(self._stream)
        self._failed = failure
        raise failure from error


class _Errors(_Output):
    """Standard error: what cannot be said there cannot be said; the exit code stays."""

    @contextmanager
    def _taken(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _to_nowhere(self._stream)

    def write(self, text: str) -> int:
        """Write, if it takes it."""
        with self._taken():
            self._stream.write(text)
        return len(text)


@contextmanager
def _streams() -> Iterator[bool]:
    """Standard streams that give no traceback; whether there is an output."""
    there = sys.stdout is not None
    for number in range(3):  # else the next file that is opened would be one of them
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)
    output = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    errors = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (output, errors):
        if hasattr(stream, "reconfigure"):  # signs that its encoding has not
            stream.reconfigure(errors="backslashreplace")
    with (
        redirect_stdout(cast(TextIO, _Output(output))),
        redirect_stderr(cast(TextIO, _Errors(errors))),
    ):
        yield there


def _to_nowhere(stream: TextIO) -> None:
    """What still waits in a stream that takes nothing goes nowhere: no second error."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


# --- the command line ---------------------------------------------------------------


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

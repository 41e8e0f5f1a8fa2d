"""The command `twintrack`: one subcommand per module of this folder.

Only the module of the command that is asked for is imported, so that `--help`
answers at once.  Exit codes: 0 done; 1 a check did not hold or a run failed; 2 the
request was wrong; 70 a fault of ours; 130 interrupted.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer

from common.errors import Failed, Refused

# name -> (module:function or app, help in one line), in the order of a first visit
COMMANDS = {
    "compare": ("benchmarks.compare:compare", "Train in both frameworks, and judge."),
    "classify": ("benchmarks.classify:classify", "Ask both what is on a photo."),
    "new-class": ("benchmarks.new_class:new_class", "Add a class from a few photos."),
    "parity": ("benchmarks.parity:parity", "Prove that both compute the same."),
    "speed": ("benchmarks.speed:speed", "Measure speed in both frameworks."),
    "pretrain": ("benchmarks.pretrain:pretrain", "Train a base for transfer."),
    "transfer": ("benchmarks.transfer:transfer", "Teach new classes to a base."),
    "weights": ("benchmarks.weights:app", "Import and export weights."),
    "official": ("benchmarks.official:official", "Compare the libraries' own nets."),
    "table": ("benchmarks.table:table", "Show the results of a store again."),
    "list": ("benchmarks.catalogue:catalogue", "List the systems, or the faults."),
    "data": ("benchmarks.data:app", "List, prepare and verify data sets."),
}
DONE, FAILED, WRONG, OURS, STOPPED = 0, 1, 2, 70, 130


def main() -> int:
    """Run the command line of `twintrack`."""
    app = typer.Typer(
        name="twintrack",
        help="The same image classifiers in PyTorch and in TensorFlow, compared.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help answers three times as fast
    )
    if not sys.argv[1:]:
        sys.argv.append("--help")
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    for name, (place, text) in COMMANDS.items():
        target = _load(place) if name == asked else _unloaded
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=text)
        else:
            app.command(name, help=_first(target) if name == asked else text)(target)
    return run(app)


def script(command: Callable[..., Any]) -> None:
    """Run one command as a script: `python -m benchmarks.NAME`."""
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.command(help=_first(command))(command)
    sys.exit(run(app))


def run(app: typer.Typer) -> int:
    """Run an app; the exit code, every refusal said in one line."""
    warnings.showwarning = _one_line
    try:
        code = app(standalone_mode=False)  # Typer returns 130 for Ctrl-C
        return STOPPED if code == STOPPED else DONE
    except Refused as error:
        print(f"twintrack: {error}", file=sys.stderr)
        return WRONG
    except Failed as error:
        print(f"twintrack: {error}", file=sys.stderr)
        return FAILED
    except typer.TyperException as error:
        said = error.format_message().rstrip(".")
        print(f"twintrack: {said}; see --help", file=sys.stderr)
        return WRONG
    except (KeyboardInterrupt, typer.Abort):
        print("twintrack: stopped; what is finished is kept", file=sys.stderr)
        return STOPPED
    except Exception:
        with tempfile.NamedTemporaryFile(
            "w", prefix="twintrack-", suffix=".log", delete=False
        ) as log:
            traceback.print_exc(file=log)
        print(f"twintrack: a fault of ours; please report {log.name}", file=sys.stderr)
        return OURS


def _one_line(message: Warning | str, kind: type[Warning], *_: Any, **__: Any) -> None:
    """A warning as a user wants it: what, and not where in our code."""
    print(f"twintrack: {message}", file=sys.stderr)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _first(command: Callable[..., Any]) -> str:
    """The first paragraph of a docstring; the rest is for those who call it."""
    return (command.__doc__ or "").split("\n\n")[0]


def _unloaded() -> None:
    """Stands for a command that was not asked for."""


if __name__ == "__main__":
    sys.exit(main())

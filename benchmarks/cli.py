"""The command `twintrack`: one subcommand per module of this folder.

Only the module of the command that is asked for is imported, so that `--help`
answers at once.  Exit codes are those of `common.errors`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer

from benchmarks.shell import bare, first, run, say_version
from common.garbage import uncollected

# name -> (module:function or app, help in one line), in the order of a first visit
COMMANDS = {
    "compare": ("benchmarks.compare:compare", "Train in both frameworks, and judge."),
    "classify": ("benchmarks.classify:classify", "Ask both what is on a photo."),
    "new-class": ("benchmarks.new_class:new_class", "Add a class from a few photos."),
    "parity": ("benchmarks.parity:parity", "Prove that both compute the same."),
    "port": ("benchmarks.port:port", "Find where a port to Keras goes wrong."),
    "ledger": ("benchmarks.ledger:ledger", "Price the frameworks' defaults."),
    "speed": ("benchmarks.speed:speed", "Measure speed in both frameworks."),
    "pretrain": ("benchmarks.pretrain:pretrain", "Train a base for transfer."),
    "transfer": ("benchmarks.transfer:transfer", "Teach new classes to a base."),
    "weights": ("benchmarks.weights:app", "Import and export weights."),
    "official": ("benchmarks.official:official", "Compare the libraries' own nets."),
    "contrast": ("benchmarks.contrast:contrast", "Judge any two groups of runs."),
    "report": ("benchmarks.report:report", "Write one page of all results."),
    "table": ("benchmarks.table:table", "Show the results of a store again."),
    "export": ("benchmarks.export:export", "Hand runs to mlflow or TensorBoard."),
    "store": ("benchmarks.store:app", "List, merge, prune and export a store."),
    "show": ("benchmarks.show:show", "Show a run: curves, confusions, mistakes."),
    "list": ("benchmarks.catalogue:catalogue", "List the systems, or the faults."),
    "data": ("benchmarks.data:app", "List, import, prepare, remove data sets."),
}


def main() -> int:
    """Run the command line of `twintrack`."""
    app = bare(
        "The same image classifiers in PyTorch and in TensorFlow, compared.",
        name="twintrack",
    )
    app.callback()(_program)
    if not sys.argv[1:]:
        sys.argv.append("--help")
    if sys.argv[1] == "help":  # `twintrack help data prepare`, as git takes it
        sys.argv[1:] = [*sys.argv[2:], "--help"]
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    for name, (place, text) in COMMANDS.items():
        if name == asked:
            _add(app, name, place, text)
        else:
            app.command(name, help=text)(_unloaded)
    return run(app)


def _add(app: typer.Typer, name: str, place: str, text: str) -> None:
    """The command that is asked for, imported."""
    from benchmarks.options import spread

    module, _, function = place.partition(":")
    with uncollected():
        target: Any = getattr(import_module(module), function)
    if isinstance(target, typer.Typer):
        app.add_typer(target, name=name, help=text)
    else:
        app.command(name, help=first(target))(spread(target))


def _version(asked: bool) -> None:
    """Print the version and end, if that was asked for; `run` does in commands."""
    if asked:
        say_version()
        raise typer.Exit


def _program(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version
    ),
) -> None:
    """Stands for the program without a command."""


def _unloaded() -> None:
    """Stands for a command that was not asked for."""


if __name__ == "__main__":
    sys.exit(main())

"""The options that mean the same in every command, each written once.

A command is a function.  Its own options are its parameters; those that it shares with
others come in blocks: `**rest: Unpack[Runs]`.  `filled` gives a block its defaults and
`spread` writes the blocks out as Typer reads them.  Parameters are typed as a library
user gives them (`compare("small-cnn", tracks=["torch"], json="out.json")`); how the
command line parses each is in its `Cli`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ParamSpec,
    TextIO,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)

import typer

from common.command_line import as_typed, typed
from common.errors import Refused
from common.report.table import FORMATS

Paths = str | Path | Sequence[str | Path]
Names = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Cli:
    """How the command line takes a parameter.

    Attributes:
        kind: The type that Typer parses.
        info: Typer's option or argument.
        default: Of an option in a block.
    """

    kind: Any
    info: Any
    default: Any = None


def option(kind: Any, help: str, *names: str, default: Any = None) -> Cli:
    """An option of the command line; `names` where they differ from the parameter's."""
    return Cli(kind, typer.Option(*names, help=help), default)


def argument(kind: Any, help: str) -> Cli:
    """An argument of the command line."""
    return Cli(kind, typer.Argument(help=help))


@dataclass(frozen=True, slots=True)
class FromPython:
    """A parameter that no command line can give: an object."""


def from_python() -> FromPython:
    """A parameter for callers from Python alone."""
    return FromPython()


FIT = (
    "fit cuts the longer side, as data sets did; pad adds bars; stretch; centre, as "
    "for ImageNet."
)
FILTERS = "nearest, box, bilinear, hamming, bicubic or lanczos."
OWN = "  [the network's own]"

# A default that a command has in words stands in brackets behind the text of all.
SYSTEMS = "Systems: names of twintrack list, modules, or all of ours."
SYSTEM = "A system: its name, or the module that registers it."
Systems = Annotated[
    Names | None, argument(list[str] | None, f"{SYSTEMS}  [small-cnn, rasbt-mlp]")
]
SystemsOrSmall = Annotated[
    Names | None, argument(list[str] | None, f"{SYSTEMS}  [small-cnn]")
]
SystemsOrRosetta = Annotated[
    Names | None, argument(list[str] | None, f"{SYSTEMS}  [rosetta-cnn]")
]
SystemsToList = Annotated[
    Names | None, argument(list[str] | None, f"{SYSTEMS}  [a line of each]")
]
SystemsToPrice = Annotated[
    Names | None, argument(list[str] | None, f"{SYSTEMS}  [with --list: all]")
]
ASystem = Annotated[str, argument(str, SYSTEM)]
System = Annotated[Names | None, option(list[str] | None, SYSTEM, "--system")]
SystemOrAny = Annotated[
    Names | None,
    option(
        list[str] | None,
        f"{SYSTEM}  [any; inception-v3 by itself asks ImageNet's weights]",
        "--system",
    ),
]
SystemOrMLP = Annotated[
    Names | None, option(list[str] | None, f"{SYSTEM}  [rasbt-mlp]", "--system")
]
Data = Annotated[
    str | Path, option(str, "digits, mnist, cifar10, or a folder of pictures.")
]
MaybeData = Annotated[
    str | Path | None,
    option(
        str | None,
        "digits, mnist, cifar10, or a folder of pictures.  [seeded pictures]",
    ),
]
OnData = Annotated[
    str | Path | None,
    option(str | None, "Only runs on this data set: its name, or its folder."),
]
OfSeed = Annotated[int | None, option(int | None, "Only runs of this seed.", "--seed")]
InMode = Annotated[str | None, option(str | None, "Only runs in this mode.")]
OneClass = Annotated[
    Names | None,
    option(
        list[str] | None,
        "A class, whatever its name has in it; repeat it for more.",
        "--class",
    ),
]
SIZE = "N resizes any pictures to N x N; HxW is what a folder's photos are fitted into."
Size = Annotated[str | int | None, option(str | None, SIZE)]
FullSize = Annotated[str | int | None, option(str | None, f"{SIZE}  [299]")]
Seeds = Annotated[
    int | str | Sequence[int],
    option(str, "Runs per track: 5 are seeds 0 to 4; 5-9, or 0,3,7-9, are those."),
]
Seed = Annotated[int, option(int, "The seed; of folds that of the first.")]
EPOCHS = "Epochs, in place of the recipe's."
Epochs = Annotated[int | None, option(int | None, EPOCHS)]
TutorialEpochs = Annotated[int | None, option(int | None, f"{EPOCHS}  [25]")]
VALID = "Training pictures held out for validation."
Valid = Annotated[int | None, option(int | None, f"{VALID}  [none]")]
ValidTenth = Annotated[int | None, option(int | None, f"{VALID}  [a tenth]")]
LIMIT = "At most so many training pictures, stratified."
TEST_LIMIT = "At most so many test pictures, stratified."
Limit = Annotated[int | None, option(int | None, LIMIT)]
TestLimit = Annotated[int | None, option(int | None, TEST_LIMIT)]
Limit100 = Annotated[int | None, option(int | None, f"{LIMIT}  [100]")]
TestLimit200 = Annotated[int | None, option(int | None, f"{TEST_LIMIT}  [200]")]
Mode = Annotated[str, option(str, "strict, aligned or native.")]
Tracks = Annotated[Names, option(str, "Tracks, with commas between.")]
Margin = Annotated[
    float,
    option(float, "Largest difference that does not matter, in points: 1 is one."),
]
WEIGHTS = "A weights file, as a run, pretrain or weights import writes it."
RunsOrWeights = Annotated[
    str | Path | None, option(Path | None, f"{WEIGHTS}  [the store's runs]")
]
ImageNetOrWeights = Annotated[
    str | Path | None, option(Path | None, f"{WEIGHTS}  [ImageNet's]")
]
RandomOrWeights = Annotated[
    str | Path | None, option(Path | None, f"{WEIGHTS}  [random ones]")
]
OUTPUT = "The file to write."
Output = Annotated[str | Path, option(Path, OUTPUT)]
MaybeOutput = Annotated[
    str | Path | None, option(Path | None, f"{OUTPUT}  [in the cache]")
]
HowToFit = Annotated[str, option(str, FIT)]
MaybeHowToFit = Annotated[str | None, option(str | None, FIT + OWN)]
Resampling = Annotated[str, option(str, FILTERS)]
MaybeResampling = Annotated[str | None, option(str | None, FILTERS + OWN)]
Colour = Annotated[
    str, option(str, "Behind transparent parts and padding: a name or #7d7b72.")
]
Save = Annotated[
    str | Path | None,
    option(Path | None, "Folder for contact sheets and other pictures of the result."),
]
Cache = Annotated[
    str | Path | None,
    option(Path | None, "The cache, alone; TWINTRACK_CACHE, else ~/.cache/twintrack."),
]
SkipBad = Annotated[
    bool,
    option(bool, "Leave out files that are no pictures.", "--skip-bad", default=False),
]
Threads = Annotated[
    int | None,
    option(
        int | None, "Threads per run; 1 for small steps, else all cores, at most 4."
    ),
]
Set = Annotated[
    Names | None,
    option(
        list[str] | None,
        "Set a field: recipe.lr=0.05; twintrack list SYSTEM has all.",
        "--set",
    ),
]
Json = Annotated[
    str | Path | None,
    option(
        Path | None,
        "Also write the result to this file; -: on standard output, and what is for "
        "people on standard error.",
    ),
]

Folder = Annotated[
    str | Path | None,
    option(Path | None, "Folder of the results; TWINTRACK_STORE, else runs."),
]
Format = Annotated[str, option(str, f"Tables as {', '.join(FORMATS)}.", default="text")]


class Told(TypedDict, total=False):
    """How and where a result is told."""

    format: Format
    json: Json
    store: Folder


class Computes(TypedDict, total=False):
    """What computes."""

    precision: Annotated[
        str, option(str, "auto, float32, bfloat16 or float64.", default="auto")
    ]
    device: Annotated[str, option(str, "auto, cpu or gpu.", default="auto")]
    threads: Threads
    set: Set


class Runs(Computes, Told, total=False):
    """How networks are trained: which pictures are taken, how many runs at once."""

    limit: Limit
    test_limit: TestLimit
    skip_bad: SkipBad
    time_limit: Annotated[
        float,
        option(float, "Seconds after which a run is given up.", default=86_400.0),
    ]
    jobs: Annotated[
        int, option(int, "Most runs at once, each with its own threads.", default=1)
    ]


Block = TypeVar("Block")
P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """A command; called from Python, it is recorded as it was called."""

    @wraps(function)
    def called(*args: P.args, **given: P.kwargs) -> R:
        words = [repr(arg) for arg in args]
        words += [f"{name}={value!r}" for name, value in given.items()]
        with (
            as_typed(typed() or f"{function.__name__}({', '.join(words)})"),
            _aside(given.get("json")),
        ):
            return function(*args, **given)

    return called


# Names of standard output, as which --json takes it.
STANDARD = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_output: ContextVar[TextIO | None] = ContextVar("output", default=None)


def on_output(json: object) -> bool:
    """Whether --json names standard output."""
    return json is not None and str(json) in STANDARD


def output() -> TextIO:
    """Standard output, whoever else may write to it meanwhile."""
    return _output.get() or sys.stdout


@contextmanager
def _aside(json: object) -> Iterator[None]:
    """While open, standard output has the JSON alone, if --json names it.

    What is printed for people goes to standard error: nothing is lost, and a program
    reads what it asked for.
    """
    if not on_output(json):
        yield
        return
    token = _output.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _output.reset(token)


def filled(block: type[Block], given: Mapping[str, Any]) -> Block:
    """A block with its defaults where nothing was given.

    Raises:
        TypeError: There is no such option, as Python says of any function.
    """
    defaults = {
        name: cli.default for name, (_, cli) in _fields(cast(Any, block)).items()
    }
    if strangers := sorted(given.keys() - defaults.keys()):
        raise TypeError(f"got an unexpected keyword argument '{strangers[0]}'")
    return cast(Block, defaults | dict(given))


@cache
def _fields(block: Any) -> dict[str, tuple[Any, Cli]]:
    """Name -> type and `Cli` of each option of a block."""
    hints = get_type_hints(block, include_extras=True)
    return {name: (hint, _cli(hint)) for name, hint in hints.items()}


def _cli(hint: Any) -> Cli:
    return next(extra for extra in get_args(hint)[1:] if isinstance(extra, Cli))


def spread(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command as Typer reads it: blocks written out, types as they are typed."""
    hints = get_type_hints(command, include_extras=True)
    found: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD:
            (block,) = get_args(hints[name])  # of Unpack[...]
            for own, (_, cli) in _fields(block).items():
                found.append(_typed(own, cli, cli.default, Parameter.KEYWORD_ONLY))
        elif any(isinstance(extra, FromPython) for extra in get_args(hints[name])[1:]):
            continue
        elif any(isinstance(extra, Cli) for extra in get_args(hints[name])[1:]):
            cli = _cli(hints[name])
            found.append(_typed(name, cli, parameter.default, parameter.kind))
        else:
            found.append(parameter.replace(annotation=hints[name]))

    def run(**given: Any) -> Any:
        check_once(found, sys.argv[1:])
        return command(**given)

    run.__doc__ = (command.__doc__ or "").split("\n\n")[0]  # the rest is for callers
    run.__name__ = command.__name__
    run.__annotations__ = {p.name: p.annotation for p in found}
    run.__signature__ = Signature(found)  # type: ignore[attr-defined]
    return run


def check_once(parameters: Sequence[Parameter], words: Sequence[str]) -> None:
    """Refuse an option that is typed twice and takes one value: the last would count.

    Raises:
        Refused: In one line.
    """
    words = words[: words.index("--")] if "--" in words else words
    for one in parameters:
        info = next(iter(getattr(one.annotation, "__metadata__", ())), None)
        if not isinstance(info, typer.models.OptionInfo):
            continue
        if "list" in str(get_args(one.annotation)[0]):
            continue
        bare = one.name.replace("_", "-")
        names = [name for name in info.param_decls or () if name.startswith("--")]
        names = names or [f"--{bare}", f"--no-{bare}"]
        given = [word for word in words if word.partition("=")[0] in names]
        if len(given) > 1:
            raise Refused(
                f"{names[0]} is given once, got {' and '.join(given)}; leave one out"
            )


def _typed(name: str, cli: Cli, default: Any, kind: Any) -> Parameter:
    annotation: Any = Annotated[cli.kind, cli.info]
    if isinstance(default, tuple):  # a command line says names with commas between
        default = ",".join(default)
    if cli.kind is str and isinstance(default, int):
        default = str(default)
    return Parameter(name, kind, default=default, annotation=annotation)

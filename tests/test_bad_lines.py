"""Command lines with something wrong in them: one line, exit code 2, at once.

Each command has a line that is right, up to where its work would start.  Every option
of it is then given what nobody should, and so are its arguments.
"""

import shlex
import sys
import time

import numpy as np
import pytest
from PIL import Image

from benchmarks.cli import COMMANDS
from benchmarks.compare import compare
from benchmarks.shell import run
from common import model_file
from common.model_file import About
from common.systems import resolve
from common.weights import draw
from tests.pages import PARTS, parser

TRACK = "tests.numpy_track"
LONGEST = 1.0  # seconds of processor time that saying no may take

# Command -> what is right; {} are files that the fixture makes.
RIGHT = {
    "compare": "small-cnn --data digits --seeds 1 --device cpu",
    "classify": "{photo} --store {store} --tracks tests.numpy_track",
    "new-class": "cross {photos} --data digits --folds 2 --device cpu",
    "parity": "small-cnn --steps 2",
    "speed": "rasbt-mlp --device cpu",
    "port": "net.py:Net port.py:build --train 2",
    "pretrain": "small-cnn --output {new} --data digits --device cpu",
    "transfer": "--data digits --classes 3,8 --weights {base} --device cpu",
    "official": "--size 75",
    "table": "--store {store}",
    "list": "small-cnn",
    "weights import": "inception-v3 --from torchvision",
    "data prepare": "digits",
    "data verify": "digits",
    "data remove": "--all --dry-run",
    "contrast": "recipe.lr=0.1 recipe.lr=0.05 --store {store}",
    "ledger": "rasbt-mlp --data digits --device cpu",
    "report": "--store {store} --output {page}",
    "export": "--to tensorboard --store {store} --output {logs}",
    "show": "rasbt-mlp --store {store}",
    "store list": "--store {store}",
    "store merge": "{store} --store {other} --dry-run",
    "store prune": "--drop logits --store {store}",
    "store export": "{found} --store {store}",
}
# What nobody should give, by what an option takes.
BAD = {
    "<int>": ["", "x", "-1", "1.5", "nan", "inf", "1e3", "9" * 20, "0x", "5-9", "²"],
    "<float>": ["", "x", "-1", "nan", "inf", "-inf", "1e999", "0,5", "0.5 points"],
    "<str>": ["🦄", "x" * 3000, "%s{}", "\u202egnp", "a\nb"],
    "<list[str]>": ["", "🦄", "x" * 3000, "=", "recipe.=", ".lr=1"],
}
# Options that take any text, or any file to be written, or are refused elsewhere.
ANYTHING = {
    "--save",
    "--json",
    "--store",
    "--cache",
    "--output",
    "--from",
    "--keep-out",
}
# More that is wrong, of single options.
WRONG = [
    "compare --seeds 0",
    "compare --seeds -3",
    "compare --seeds 5-",
    "compare --seeds 9-5",
    "compare --seeds 0,0",
    "compare --seeds 0-5,3",
    "compare --seeds 1000000000000",
    "compare --seeds 0-1000000000000",
    "compare --seeds 99999999999",
    "compare --seeds 4294967296-4294967297",
    "compare --seeds '1 2'",
    "compare --seeds ٣-",
    "compare --margin 0.005",
    "compare --margin 0",
    "compare --margin 100",
    "compare --size 0",
    "compare --size 32x",
    "compare --size 0x32",
    "compare --size 32x32x3",
    "compare --size -5",
    "compare --size 16x16",
    "compare --size 99999999999",
    "compare --size ²x²",
    "compare --valid 100000",
    "compare --limit 3",
    "compare --test-limit 3",
    "compare --epochs 99999999999999999999",
    "compare --mode Strict",
    "compare --mode native --precision float64",
    "compare --tracks torch,,jax",
    "compare --tracks ,",
    "compare --data ''",
    "compare --data DIGITS",
    "compare --system ''",
    "compare --system no.such.module",
    "compare --system os.path",
    "compare --system ..",
    "compare --system tests.",
    "compare --set recipe.lr=0.1 --set recipe.lr=0.2",
    "compare --set recipe.lr=0.1,0.1",
    "compare --set recipe.lr=0.1,.1",
    "compare --set recipe.lr=0.1,,0.2",
    "compare --set recipe.lr=,",
    "compare --set recipe.lr=nan",
    "compare --set recipe.lr=1e999",
    "compare --set recipe.lr=-1",
    "compare --set recipe.batch=0",
    "compare --set recipe.batch=10**9",
    "compare --set recipe.epochs=99999999999",
    "compare --set recipe.optimizer=SGD(momentum=inf",
    "compare --set 'recipe.optimizer=Adam(eps=1e999)'",
    "compare --set 'spec.layers=((((((((((1))))))))))'",
    "compare --set spec.scale=Scale(divide=0)",
    "compare --set 'recipe.multipliers=((1,2),)'",
    "compare --set 'recipe.schedule=Piecewise(points=5)'",
    "compare --set 'recipe.lr=__import__(\"os\")'",
    f"compare --set 'recipe.lr={'(' * 900}1{')' * 900}'",
    f"compare --set 'recipe.lr={'-' * 1500}1'",
    "compare --jobs 0",
    "compare --time-limit 0",
    "compare --json .",
    "compare --repeats 2",
    "compare --seeds 1 --seeds 2",
    "compare --seeds=1 --seeds=1",
    "compare --repeat-channel --repeat-channel",
    "compare small-cnn smal-cnn",
    "compare --seeds",
    "compare --sede 1",
    "transfer --method features --aux",
    "transfer --mode finetune",
    "transfer --method Features",
    "transfer --base-rate nan --method finetune",
    "transfer --base-rate -1 --method finetune",
    "transfer --classes 3",
    "transfer --classes 3,3",
    "transfer --classes 3,cat",
    "transfer --valid 0",
    "transfer --system rasbt-mlp",
    "transfer --system rasbt-mlp --system linear",
    "transfer --set recipe.lr=0.1,0.2",
    "classify --system rasbt-mlp --system linear",
    "classify --run ''",
    "classify --run rasbt --seed 1",
    "classify --run nothing-like-it",
    "classify --data cifar10",
    "classify --seed 7",
    "classify --set recipe.lr=7",
    "classify --set recipe.learning_rate=7",
    "classify --weights {base} --seed 0",
    "classify --weights {photo}",
    "classify --classes a,b",
    "classify --top 0",
    "new-class --set recipe.lr=0.1,0.2",
    "new-class --folds 1",
    "new-class --folds 99",
    "new-class --seed -1",
    "new-class --system linear --system rasbt-mlp",
    "new-class --system all",
    "new-class --shortcut --no-shortcut",
    "parity --set recipe.lr=0.1,0.2",
    "parity --tracks torch",
    "parity --tracks torch,torch",
    "parity --seed 4294967296",
    "parity --steps 0",
    "speed --set recipe.lr=0.1,0.2",
    "speed --size 75x76",
    "speed --what nothing",
    "pretrain --set recipe.lr=0.1,0.2",
    "pretrain --track torch,tensorflow",
    "pretrain --leave-out 0,1,2,3,4,5,6,7,8",
    "official --size 3x4",
    "official --size 10",
    "table --margin 0.02",
    "table --data nowhere",
    "table --mode fast",
    "table --kind nothing",
    "table nothing",
    "list nothing",
    "list --faults",
    "list --format html",
    "contrast recipe.lr=7",
    "contrast --where recipe.lr=7",
    "ledger --design both",
    "ledger --seeds 5-",
    "ledger --set recipe.lr=0.1,0.2",
    "report --data nowhere",
    "report --output .",
    "export --to wandb",
    "export --data nowhere",
    "show no-such-system",
    "store merge nowhere",
    "store prune --keep nothing --yes",
    "store export --mode fast",
    "data remove nowhere",
]


class Reached(BaseException):
    """Nothing was refused: the work would start."""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The files of the right lines."""
    folder = tmp_path_factory.mktemp("lines")
    photos = folder / "photos"
    photos.mkdir()
    for k in range(4):
        pixels = np.random.default_rng(k).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{k}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINTRACK_CACHE", str(folder / "cache"))
        store = folder / "runs"
        options = {"tracks": TRACK, "set": "spec.hidden=(4,)", "threads": 1}
        compare("rasbt-mlp", seeds=1, epochs=1, limit=100, store=store, **options)
        options["set"] = ["spec.hidden=(4,)", "recipe.lr=0.05"]
        compare("rasbt-mlp", seeds=1, epochs=1, limit=100, store=store, **options)
        spec = resolve("small-cnn", image=(8, 8, 1), classes=10).spec
        base = folder / "base.safetensors"
        model_file.save(base, spec, draw(spec.weights, 0), About())
        yield {
            "photo": photos / "0.png",
            "photos": photos,
            "store": store,
            "base": base,
            "new": folder / "new.safetensors",
            "page": folder / "page.html",
            "logs": folder / "logs",
            "other": folder / "other",
            "found": folder / "found.json",
        }


@pytest.fixture
def typed(places, monkeypatch, tmp_path, capsys):
    """What becomes of a line: exit code (none where the work would start), stderr."""
    from benchmarks.engine import process

    def reached(*values, **named):
        raise Reached

    monkeypatch.setattr(process.Child, "__init__", reached)
    monkeypatch.setattr("benchmarks.outcome.run_jobs", reached)
    monkeypatch.setattr("benchmarks.engine.download.prepare", reached)
    monkeypatch.setenv("TWINTRACK_STORE", str(tmp_path / "runs"))
    monkeypatch.setenv("TWINTRACK_CACHE", str(places["photos"].parent / "cache"))
    monkeypatch.chdir(tmp_path)

    def typed(words):
        command = " ".join(words[: 2 if words[0] in PARTS else 1])
        names = {f"{{{name}}}": str(path) for name, path in places.items()}
        said = [names.get(word, word) for word in words]
        rest = said[len(command.split()) :]
        monkeypatch.setattr(sys, "argv", ["twintrack", *rest])
        start = time.process_time()
        try:
            code = run(app(command))
        except Reached:
            code = None
        took = time.process_time() - start
        return code, capsys.readouterr().err, took

    return typed


def app(command):
    """A Typer app of one command, as `python -m benchmarks.NAME` has it."""
    found = parser(*command.split())
    return lambda standalone_mode: found.main(
        args=sys.argv[1:], prog_name="twintrack", standalone_mode=standalone_mode
    )


def right(command):
    return [*command.split(), *shlex.split(RIGHT[command])]


def without(words, option):
    """The words without an option and its value."""
    at = words.index(option) if option in words else None
    return words if at is None else words[:at] + words[at + 2 :]


def mutated():
    """Each command with each option in turn given what it should not be."""
    for command in RIGHT:
        params = [one for one in parser(*command.split()).params if one.opts]
        for k, one in enumerate(params):
            option, kind = one.opts[0], one.display_type(None)
            values = BAD.get(kind, [])
            if not option.startswith("--") or option in ANYTHING or not values:
                continue
            bare = without(right(command), option)
            yield [*bare, option, values[k % len(values)]]
            if k % 3 == 0:  # nothing at all
                yield [*bare, option]


MUTATED = sorted(mutated())


@pytest.mark.parametrize("command", RIGHT)
def test_what_is_right_is_not_refused(typed, command):
    code, said, _ = typed(right(command))
    assert code in (None, 0), said


def test_there_are_enough_of_them():
    assert len(MUTATED) + len(WRONG) >= 200
    assert {words[0] for words in MUTATED} == {c.split()[0] for c in RIGHT}
    assert set(COMMANDS) == {c.split()[0] for c in RIGHT}


def refused(found, words):
    code, said, took = found
    assert code == 2, f"{code} for {words}: {said}"
    assert len(said.splitlines()) == 1, said
    assert "Traceback" not in said
    assert len(said) < 3000, said
    assert took < LONGEST, took


@pytest.mark.parametrize("command", RIGHT)
def test_an_option_that_is_given_nonsense_is_one_line(typed, command):
    mine = command.split()
    bad = [words for words in MUTATED if words[: len(mine)] == mine]
    for words in bad:
        refused(typed(words), words)


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_meant_is_one_line(typed, line):
    words = shlex.split(line)
    command = " ".join(words[: 2 if words[0] in PARTS else 1])
    changed = words[len(command.split()) :]
    words = right(command)
    if command in ("store merge", "show", "contrast"):  # in place of it
        words = [*command.split(), *words[len(command.split()) + 1 :]]
    for option in [w.partition("=")[0] for w in changed if w.startswith("--")]:
        words = without(words, option)
    refused(typed([*words, *changed]), line)

"""A stored run is stale when what decides its numbers changed, and only then.

The packages are copied, something is edited, and a fresh process says which runs are
the same as before.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.engine.machine import Machine
from benchmarks.request import Setting
from common import codec
from common.closure import DECIDES_NOTHING, closure, roots_of
from common.data import DataRequest, pictures
from common.errors import Refused
from common.source import path_of, say
from common.systems import resolve

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "common", "pt_track", "tf_track", "tests/own_twin")
# system, track, mode
RUNS = [
    ("small-cnn", "torch", "aligned"),
    ("small-cnn", "tensorflow", "aligned"),
    ("small-cnn", "keras_torch", "aligned"),
    ("small-cnn", "torch", "native"),
    ("small-cnn", "tensorflow", "native"),
    ("rasbt-mlp", "torch", "aligned"),
    ("rasbt-mlp", "tensorflow", "aligned"),
    ("adventures-cnn", "torch", "aligned"),
    ("inception-v3", "torch", "aligned"),
    ("inception-v3", "tensorflow", "aligned"),
    ("tests.own_twin", "torch", "aligned"),
]
SAY = """
import gc, json, sys
from benchmarks.engine.machine import Machine
from benchmarks.request import Setting
from common.data import DataRequest, pictures
from common.systems import resolve
found = {}
for name, track, mode in json.loads(sys.argv[1]):
    image = (75, 75, 3) if name == "inception-v3" else (8, 8, 1)
    machine = Machine(precision="float32", device="cpu", threads=1)
    setting = Setting(
        request=DataRequest(source="digits"),
        pictures=pictures(image, 10, 10, 0),
        machine=machine,
        mode=mode,
    )
    resolved = resolve(name, image=image, classes=10)
    found[f"{name} {track} {mode}"] = setting.job(resolved, track=track, seed=0).id
loaded = {"torch", "tensorflow", "keras"} & sys.modules.keys()
print(json.dumps({"ids": found, "loaded": sorted(loaded)}))
gc.freeze()  # looking for garbage at the end would take as long as the rest
"""


def ids(root):
    """Run -> its id, as the packages in `root` have it."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SAY, json.dumps(RUNS)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["loaded"] == []
    return told["ids"]


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The packages as they are, and their ids."""
    root = tmp_path_factory.mktemp("before")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (root / "tests/__init__.py").write_text("")
    return root, ids(root)


@pytest.fixture
def edited(before, tmp_path):
    """A function that makes edits in a copy, and says which runs are stale then."""
    root, known = before

    def stale(*edits):
        copy = tmp_path / "copy"
        shutil.copytree(root, copy)
        for file, old, new in edits:
            path = copy / file
            text = path.read_text() if path.exists() else ""
            assert old in text, f"{old!r} is not in {file} any more"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(old, new, 1) if old else text + new)
        return {run for run, id in ids(copy).items() if id != known[run]}

    return stale


def runs(*words):
    """The runs whose names have all of the words."""
    names = [" ".join(run) for run in RUNS]
    return {name for name in names if all(word in name for word in words)}


# --- nothing is stale --------------------------------------------------------------

NEW_MODEL = "class ResNet:\n    def __init__(self, spec, dtype):\n        pass\n"
HARMLESS = {
    "a new model file": [
        ("pt_track/resnet.py", "", NEW_MODEL),
        (
            "pt_track/__init__.py",
            '    "MLPSpec": "mlp:MLP",\n',
            '    "MLPSpec": "mlp:MLP",\n    "ResNetSpec": "resnet:ResNet",\n',
        ),
        ("tf_track/resnet.py", "", NEW_MODEL),
    ],
    "a yardstick": [
        ("pt_track/speed.py", "", "\nFASTER = 2\n"),
        ("tf_track/speed.py", "perf_counter()", "perf_counter() + 0.0"),
    ],
    "a reader of native files": [
        ("common/library_files/found.py", "SHOWN = 8", "SHOWN = 9"),
        ("common/library_files/recognise.py", "START = 4096", "START = 4097"),
        ("pt_track/official.py", "", "\nMORE = 1\n"),
        ("tf_track/official.py", "", "\nMORE = 1\n"),
    ],
    "a downloader": [("pt_track/data.py", '"mnist": "the four', '"mnist": "the 4')],
    "docstrings and comments": [
        ("pt_track/inception.py", '"""Inception v3, in PyTorch.', '"""Inception.'),
        ("pt_track/layers.py", '"""Fully connected."""', '"""Dense."""  # so'),
        ("common/loop.py", '"""Where the run stands."""', '"""Here."""'),
    ],
    "a new system": [
        (
            "common/zoo.py",
            "ROWS = (\n",
            'ROWS = (\n    System(name="new", summary="", spec=_linear, '
            'recipe=Recipe(lr=1.0, batch=1, epochs=1), data="mnist", image=MNIST),\n',
        )
    ],
    "another published figure": [("common/zoo.py", "torch=0.9754", "torch=0.9755")],
    "a new class, a new function": [
        ("common/recipe.py", "", "\n\nclass Cyclic:\n    pass\n"),
        ("common/spec.py", "", "\n\ndef widest(spec):\n    return 1\n"),
        ("pt_track/layers.py", "", "\n\nclass Fractional(nn.Module):\n    pass\n"),
        ("pt_track/optim.py", "", "\n\ndef unused():\n    return 1\n"),
    ],
    "a new field with a default": [
        (
            "common/recipe.py",
            '    keep: Literal["last", "best"] = "last"\n',
            '    keep: Literal["last", "best"] = "last"\n    nesting: int = 0\n',
        ),
        (
            "common/spec.py",
            "    layers: tuple[Layer, ...]\n    scale: Scale = Scale()\n",
            "    layers: tuple[Layer, ...]\n    scale: Scale = Scale()\n"
            '    stem: str = "plain"\n',
        ),
        (
            "common/spec.py",
            "    per_image: bool = False\n",
            "    per_image: bool = False\n    gamma: float = 1.0\n",
        ),
    ],
    "how a result is shown": [
        ("common/report/figures.py", "MEGABYTE = 1e6", "MEGABYTE = 1e7"),
        ("benchmarks/compare.py", "DEFAULT", "DEFAULT"),
        ("common/stats.py", "MARGIN = 0.005", "MARGIN = 0.01"),
    ],
    "the words of an error": [
        ("common/recipe.py", "lr and clip must be", "rate and clip must be"),
        ("pt_track/cnn.py", "a layer must be a record", "layers must be records"),
    ],
    "types of arguments": [
        ("pt_track/layers.py", "(fan_in: int, layer", "(fan_in, layer"),
        ("common/plan.py", "def ahead(chunks: Iterator[Chunk])", "def ahead(chunks)"),
        ("tf_track/train.py", "def prepare(", "type_of = None\n\n\ndef prepare("),
    ],
    "what a record refuses": [
        ("common/recipe.py", "if self.lr < 0 or", "if self.lr <= 0 or"),
        ("common/spec.py", "< 1:\n            raise", "< 2:\n            raise"),
    ],
    "the order of a record's fields": [
        ("common/recipe.py", "    clip: float = 0.0\n", ""),
        (
            "common/recipe.py",
            "    smoothing: float = 0.0\n",
            "    smoothing: float = 0.0\n    clip: float = 0.0\n",
        ),
    ],
    "what a run writes": [
        ("benchmarks/engine/run.py", '"note": data.note', '"note": 1'),
    ],
    "how a folder is read": [("common/data/folder.py", "DECODER = 3", "DECODER = 4")],
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_decides_no_number_makes_nothing_stale(what, edited):
    assert edited(*HARMLESS[what]) == set()


# --- what uses it is stale, and nothing else ----------------------------------------

TELLING = {
    "a layer's arithmetic": (
        ("pt_track/layers.py", "return F.relu(x)", "return F.relu(x) + 0"),
        runs("torch aligned") - runs("own_twin") - runs("keras_torch"),
    ),
    "a constant of layers.py": (  # where height and width are: pixels are scaled
        ("tf_track/layers.py", "AXES = (1, 2)", "AXES = (1, 1)"),
        runs("tensorflow aligned"),
    ),
    "a normalisation": (  # keras_torch's layers are its own; what trains them is not
        ("pt_track/layers.py", "self.variance = layer.variance", "self.variance = 0"),
        runs("torch aligned"),
    ),
    "local response normalisation": (
        ("pt_track/layers.py", "x = x.to(self.band.dtype)", "x = 1 * x"),
        runs("-cnn torch aligned"),
    ),
    "another family": (
        ("pt_track/inception.py", "x.mean(AXES)", "x.mean(AXES) * 1"),
        runs("inception-v3 torch"),
    ),
    "the update rules of one track": (
        ("pt_track/optim.py", "self.updates = 0", "self.updates = 1"),
        runs("torch aligned"),
    ),
    "the loop of one track": (
        ("tf_track/train.py", "self.rule.penalty(", "1 * self.rule.penalty("),
        runs("tensorflow aligned"),
    ),
    "the loop of both": (
        (
            "common/loop.py",
            "clock.add(trainer.run(chunk)",
            "clock.add(1 * trainer.run(chunk)",
        ),
        runs("aligned"),
    ),
    "what runs the loop": (
        (
            "benchmarks/engine/run.py",
            "seed=job.seed,\n        dtype=",
            "seed=1,\n        dtype=",
        ),
        {" ".join(run) for run in RUNS},
    ),
    "what Keras is told on import": (
        ("common/keras_backend.py", "set_epsilon(1e-7)", "set_epsilon(1e-8)"),
        runs("tensorflow") | runs("keras_torch"),
    ),
    "a setting on import": (
        ("pt_track/weights.py", "LAYOUT: dict", "torch.backends.x = 1\nLAYOUT: dict"),
        runs("torch"),
    ),
    "a row that is added to a table": (
        (
            "pt_track/weights.py",
            "def named_layers",
            "LAYOUT[nn.Conv1d] = []\n\n\ndef named_layers",
        ),
        runs("torch"),
    ),
    "what a function does for a type": (
        (
            "pt_track/on_keras/weights.py",
            "def norms(model: AsTorch)",
            "def norms(*model)",
        ),
        runs("keras_torch"),
    ),
    "how pictures are chosen": (
        ("common/data/dataset.py", "self.rows[index], axis=0", "self.rows[0], axis=0"),
        {" ".join(run) for run in RUNS},
    ),
    "the plan": (
        ("common/plan.py", "self._stream(0, epoch)", "self._stream(3, epoch)"),
        {" ".join(run) for run in RUNS},
    ),
    "the evaluator": (
        ("common/evaluate.py", "correct / n", "correct / (n + 1)"),
        {" ".join(run) for run in RUNS},
    ),
    "a draw": (
        (
            "common/weights.py",
            "def draw(",
            "def draw(\n    more=1,\n    *args): pass\ndef draw(",
        ),
        runs("aligned"),
    ),
    "native mode's optimizer": (
        ("pt_track/native.py", "lr=recipe.lr)", "lr=recipe.lr * 1)"),
        runs("torch native"),
    ),
    "a default that was there before": (
        (
            "common/recipe.py",
            "    momentum: float = 0.0\n",
            "    momentum: float = 0.1\n",
        ),
        runs("rasbt-mlp")
        | runs("small-cnn")
        | runs("inception-v3")
        | runs("adv")
        | runs("own_twin"),
    ),
    "a system's own recipe": (
        ("common/zoo.py", "lr=0.02,\n", "lr=0.03,\n"),
        runs("small-cnn"),
    ),
    "a user's own module": (
        ("tests/own_twin/in_torch.py", "/ 255", "/ 256"),
        runs("own_twin torch"),
    ),
    "keras_torch": (
        ("pt_track/on_keras/cnn.py", "self.side = spec_.crop", "self.side = 0"),
        runs("keras_torch"),
    ),
}


@pytest.mark.parametrize("what", TELLING)
def test_what_decides_numbers_makes_those_stale_that_use_it(what, edited):
    edit, expected = TELLING[what]
    assert edited(edit) == expected


# --- the closure itself -------------------------------------------------------------


def test_a_closure_reaches_through_imports_and_stops_where_nothing_is_decided():
    found = closure([("pt_track", "train")]).texts
    assert ("common.loop", "replay") in found
    assert ("pt_track.optim", "SGD") in found
    assert not [
        m for m, _ in found if m.startswith(("common.report", "pt_track.speed"))
    ]
    assert not [m for m, _ in found if m in DECIDES_NOTHING]


RUN = """
import json, sys, threading
from pathlib import Path
from benchmarks.engine.machine import Machine
from benchmarks.engine.run import trained
from benchmarks.request import Setting
from common.closure import decides_nothing
from common.data import DataRequest, pictures
from common.evaluate import predict_all, score
from common.systems import resolve
from common.track import load_track

track, mode = sys.argv[1:]
data = pictures((8, 8, 1), 10, 40, 0)
machine = Machine(precision="float32", device="cpu", threads=1)
setting = Setting(
    request=DataRequest(source="digits"), pictures=data, machine=machine, mode=mode
)
resolved = resolve(
    "small-cnn", image=(8, 8, 1), classes=10, overrides=("recipe.batch=20",), epochs=1
)
job = setting.job(resolved, track=track, seed=0)
(spec, recipe), module, root = job.records(), load_track(track), Path.cwd()
ran = set()

def called(frame, event, argument):
    file = frame.f_code.co_filename
    if event == "call" and file.startswith(str(root)):
        parts = Path(file).relative_to(root).with_suffix("").parts
        name = frame.f_code.co_qualname.partition(".")[0]
        ran.add((".".join(parts).removesuffix(".__init__"), name))

threading.setprofile(called)
sys.setprofile(called)
module.configure(threads=1, device="cpu", mode=mode)
model, _ = trained(
    job, module, data, spec, recipe,
    weights=None, state=None, on_epoch=None, on_progress=None,
)
score(predict_all(module.predictor(model), data.test), data.test.labels)
module.get_weights(model)
sys.setprofile(None)
known = job.closure().texts
unknown = [
    f"{module}:{name}" for module, name in sorted(ran)
    if (module, name) not in known and not decides_nothing(module, name)
    and name != "<module>"
]
print(json.dumps({"unknown": unknown, "ran": len(ran)}))
"""


@pytest.mark.parametrize("mode", ["aligned", "native"])
@pytest.mark.parametrize("track", ["torch", "tensorflow"])
def test_whatever_a_run_calls_is_in_its_closure(track, mode):
    done = subprocess.run(
        [sys.executable, "-c", RUN, track, mode],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["unknown"] == []
    assert told["ran"] > 40


def test_every_module_that_decides_nothing_exists():
    assert [name for name in DECIDES_NOTHING if path_of(name) is None] == []


def test_frameworks_are_those_that_are_used():
    assert closure([("pt_track", "train")]).frameworks == {"numpy", "torch"}
    native = closure([("pt_track", "train_native")]).frameworks
    assert native == {"numpy", "torch", "torchvision"}


NEAR = """
def helper():
    {body}
other = 1
"""
BOUND = """
try:
    bound = {number}
except NameError:
    bound = 0
"""
REGISTRY = """
table = {{}}
def known(function):
    table[function.__name__] = function
    return function
@known
def one():
    {body}
def build():
    return table["one"]()
"""
DISPATCH = """
from functools import singledispatch
@singledispatch
def build(x):
    return 0
@build.register
def _(x: {kind}):
    {body}
"""
# Modules of a package K, the rest of it as in `write`; whether `build` is then stale.
WAYS = [
    ("from K.near import *\ndef build():\n    return helper()\n", True),
    ("from K import near\ndef build():\n    return near.helper()\n", True),
    ("import K.near\ndef build():\n    return K.near.helper()\n", True),
    ("import K.near as n\ndef build():\n    return n.helper()\n", True),
    ("from K import near\ndef build():\n    return vars(near)\n", True),
    ("def build():\n    from K.near import helper\n    return helper()\n", True),
    ("from K.near import helper as h\ndef build():\n    return [h]\n", True),
    ("from .near import helper\ndef build():\n    return helper()\n", True),
    ("from . import near\ndef build():\n    return near.helper()\n", True),
    ("from K import near\nnear.helper()\ndef build():\n    return 1\n", True),
    ("from K import near\nnear.x = near.helper\ndef build():\n    return 1\n", True),
    ("from K.tried import bound\ndef build():\n    return bound\n", True),
    (
        "try:\n    from K.near import helper as h\n"
        "except ImportError:\n    from K.near import other as h\n"
        "def build():\n    return h\n",
        True,
    ),
    ("from K import shown\ndef build():\n    return shown()\n", True),
    ("import K.acts\ndef build():\n    return 1\n", True),
    ("from K.near import helper\nt = {{}}\nt[1] = helper\ndef build(): pass\n", True),
    ("def build():\n    return globals()['own']()\ndef own():\n    {body}\n", True),
    (
        "from importlib import import_module\n"
        "def build():\n    return import_module('K.' + 'near').helper()\n",
        True,
    ),
    (REGISTRY, True),
    (DISPATCH, True),
    ("from K.near import other\ndef build():\n    return other\n", False),
    ("from K import near\ndef build():\n    return near.other\n", False),
    ("def build():\n    return 1\ndef own():\n    {body}\n", False),
    ("if __name__ == '__main__':\n    {number}\ndef build():\n    return 1\n", False),
]


def write(folder, name, source, number):
    """A package in which something returns `number`."""
    package = folder / name
    package.mkdir()
    kind = ("int", "float")[number]
    said = {"body": f"return {number}", "number": number, "kind": kind}
    files = {
        "__init__.py": f"from {name}.near import helper as shown\n",
        "near.py": NEAR.format(**said),
        "tried.py": BOUND.format(**said),
        "acts.py": f"print({number})\n",
        "entry.py": source.format(**said).replace("K", name),
    }
    for file, text in files.items():
        (package / file).write_text(text)


@pytest.mark.parametrize(("source", "stale"), WAYS)
def test_a_closure_follows_every_way_to_use_a_name(
    source, stale, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for number in (0, 1):
        name = f"p{abs(hash((source, str(tmp_path))))}x{number}"
        write(tmp_path, name, source, number)
        used = closure([(f"{name}.entry", "build")], packages=[name])
        # Names of the package are in some texts.
        found.append({t.replace(name, "K") for t in used.texts.values()})
    assert (found[0] != found[1]) == stale


@pytest.mark.parametrize(
    ("source", "followed"),
    [
        ("from common.spec import Dense\ndef build():\n    return Dense(3)\n", True),
        ("from common import spec\ndef build():\n    return spec.Dense(3)\n", True),
        (
            "from common.spec import Dense\ndef build(x):\n    return x is Dense\n",
            False,
        ),
    ],
)
def test_a_record_that_code_makes_brings_its_defaults(
    source, followed, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"maker{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    found = closure([(name, "build")], packages=[name]).texts
    assert ("common.spec", "Dense") in found
    assert (("common.weights", "Normal") in found) == followed


def test_every_python_spells_a_text_the_same():
    """Run by each version of Python that the project is tested with."""
    source = (
        'def f(x: int, *, y=(1, None)) -> str:\n    """Text."""\n'
        "    z: int = -x  # why\n    if z:\n        raise ValueError(f'no {x}')\n"
        "    return f'{x!r:>{y}}' 'a' + a.b(c).d\n"
    )
    assert say(ast.parse(source).body, "").text == (
        "FunctionDef( name= 'f' args= arguments( args= [ arg( arg= 'x' ) ] kwonlyargs= "
        "[ arg( arg= 'y' ) ] kw_defaults= [ Tuple( elts= [ 1 None ] ) ] ) body= [ "
        "Assign( targets= [ z ] value= UnaryOp( op= USub( ) operand= x ) ) "
        "If( test= z body= [ Raise( exc= ValueError ) ] ) "
        "Return( value= BinOp( left= JoinedStr( values= [ FormattedValue( value= x "
        "conversion= 114 format_spec= JoinedStr( values= [ '>' FormattedValue( value= "
        "y conversion= -1 ) ] ) ) 'a' ] ) op= Add( ) right= Attribute( value= Call( "
        "func= a.b args= [ c ] ) attr= 'd' ) ) ) ] )"
    )


# --- users' code ---------------------------------------------------------------------

TWIN = """
from dataclasses import dataclass
from common.recipe import Recipe
from common.spec import Dense, kernel_and_bias
from common.systems import System, register
from {package}.parts import Tower{package}

@dataclass(frozen=True, kw_only=True)
class {kind}:
    image: tuple[int, int, int]
    classes: int
    tower: Tower{package} = Tower{package}(3)
    input = property(lambda self: self.image)
    draws = property(lambda self: {{}})

    @property
    def weights(self):
        return dict(kernel_and_bias("left", (64, 9), Dense(9)))

register(
    System(
        name="{package}",
        summary="",
        spec=lambda image, classes: {kind}(image=image, classes=classes),
        recipe=Recipe(lr=0.1, batch=5, epochs=1),
        data="digits",
        image=(8, 8, 1),
        module=__name__,
    ),
    builders={{"torch": "{package}.in_torch:build"}},
)
"""
TOWER = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Tower{package}:
    width: int
"""


def users_job(folder, package, builder):
    """The job of a system that a user wrote."""
    (folder / package).mkdir()
    text = TWIN.format(package=package, kind=package.title())
    (folder / package / "twin.py").write_text(text)
    (folder / package / "parts.py").write_text(TOWER.format(package=package))
    (folder / package / "in_torch.py").write_text(builder)
    (folder / package / "__init__.py").write_text("")
    resolved = resolve(f"{package}.twin", image=(8, 8, 1), classes=10)
    setting = Setting(
        request=DataRequest(source="digits"),
        pictures=pictures((8, 8, 1), 10, 10, 0),
        machine=Machine(precision="float32", device="cpu", threads=1),
    )
    return setting.job(resolved, track="torch", seed=0)


def test_what_a_users_builder_takes_of_ours_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    builder = (
        "import scipy\nfrom pt_track.layers import LRN\n\nbuild = LRN, scipy.special\n"
    )
    job = users_job(tmp_path, "users_one", builder)
    assert "pt_track.layers:LRN" in job.identity["code"]
    assert "pt_track.layers:Conv" not in job.identity["code"]
    assert "scipy" in job.identity["versions"]


def test_a_users_spec_may_hold_records_of_its_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    job = users_job(tmp_path, "users_two", "build = None\n")
    tower = job.records()[0].tower
    assert (type(tower).__module__, tower.width) == ("users_two.parts", 3)


def test_a_type_that_bears_the_name_of_ours_is_refused():
    @dataclass(frozen=True)
    class Norm:
        eps: float = 1.0

    with pytest.raises(Refused, match=r"of common\.spec; rename one"):
        codec.dumps(Norm())


def test_a_track_without_a_table_of_builders_counts_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plain_track.py").write_text(
        "class A: pass\nBUILDERS = {int: A}\ndef build(): pass\n"
    )
    found = closure(roots_of("plain_track", ["build"], []), packages=["plain_track"])
    assert ("plain_track", "A") in found.texts


# --- defaults -----------------------------------------------------------------------


def test_every_field_with_a_default_is_pinned():
    lacking = {
        kind.__name__: {name: codec.defaults(kind)[name] for name in sorted(names)}
        for kind in codec.OURS
        if (
            names := codec.defaults(kind).keys()
            - codec.pinned().get(kind.__name__, {}).keys()
        )
    }
    assert lacking == {}, (
        "each field's first default is kept, so that runs from before it stay valid: "
        f"add these lines to common/schema/defaults.json, change none: {lacking}"
    )


def test_no_default_changed_without_being_seen():
    changed = {kind.__name__: codec.changed_defaults(kind) for kind in codec.OURS}
    assert {name: fields for name, fields in changed.items() if fields} == {}, (
        "a default was changed on purpose? All runs of what uses it are stale now; "
        "name it here, and leave common/schema/defaults.json as it is"
    )


def test_brief_json_says_what_is_not_usual():
    from common.recipe import SGD, Recipe

    recipe = Recipe(lr=0.1, batch=2, epochs=3, optimizer=SGD(momentum=0.9))
    assert json.loads(codec.dumps(recipe, brief=True)) == {
        "is": "Recipe",
        "lr": 0.1,
        "batch": 2,
        "epochs": 3,
        "optimizer": {"is": "SGD", "momentum": 0.9},
    }
    assert codec.loads(codec.dumps(recipe)) == recipe

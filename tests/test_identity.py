"""A stored run is stale when what decides its numbers changed, and only then.

The packages are copied, something is edited, and a fresh process says which runs are
the same as before.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common import codec
from common.closure import DECIDES_NOTHING, closure, parsed

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
import json, sys
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
        ("pt_track/official.py", "CHANNELS = 3", "CHANNELS = 4"),
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
    "how a folder is read": [("common/data/folder.py", "DECODER = 2", "DECODER = 3")],
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
    "the plan": (
        ("common/plan.py", "MASK_LEVELS = 65536", "MASK_LEVELS = 65535"),
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
        ("pt_track/on_keras/cnn.py", "class CNN(", "class Other: pass\nclass CNN("),
        set(),
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
    assert ("common.data.dataset", "Part") in found
    assert not [
        m for m, _ in found if m.startswith(("common.report", "pt_track.speed"))
    ]
    assert not [m for m, _ in found if m in DECIDES_NOTHING]


def test_every_module_that_decides_nothing_exists():
    assert [name for name in DECIDES_NOTHING if parsed(name) is None] == []


def test_frameworks_are_those_that_are_used():
    assert closure([("pt_track", "train")]).frameworks == {"numpy", "torch"}
    native = closure([("pt_track", "train_native")]).frameworks
    assert native == {"numpy", "torch", "torchvision"}


@pytest.mark.parametrize(
    ("source", "stale"),
    [
        ("from near import *\ndef build():\n    return helper()\n", True),
        ("import near\ndef build():\n    return near.helper()\n", True),
        ("import near\ndef build():\n    return vars(near)\n", True),
        ("def build():\n    from near import helper\n    return helper()\n", True),
        ("from near import helper as h\ndef build():\n    return [h]\n", True),
        ("from .near import helper\ndef build():\n    return helper()\n", True),
        ("import near\nnear.helper()\ndef build():\n    return 1\n", True),
        ("from near import other\ndef build():\n    return other\n", False),
        ("import near\ndef build():\n    return near.other\n", False),
    ],
)
def test_a_closure_follows_every_way_to_use_a_name(
    source, stale, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for k, body in enumerate(("return 1", "return 2")):
        package = tmp_path / f"follow{k}_{abs(hash(source))}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        text = source.replace("import near", f"from {package.name} import near")
        text = text.replace("from near", f"from {package.name}.near")
        (package / "entry.py").write_text(text)
        near = f"def helper():\n    {body}\nother = 1\n"
        (package / "near.py").write_text(near)
        used = closure([(f"{package.name}.entry", "build")], packages=[package.name])
        found.append(
            {key.partition(".")[2]: value for key, value in used.digests().items()}
        )
    ours = [{k: v for k, v in one.items() if k.startswith("near")} for one in found]
    assert (ours[0] != ours[1]) == stale


# --- defaults -----------------------------------------------------------------------


def test_every_field_with_a_default_is_pinned():
    """A new field: add its default to common/schema/defaults.json, change no line."""
    for kind in codec.OURS:
        known = codec.pinned().get(kind.__name__, {})
        assert codec.defaults(kind).keys() == known.keys(), kind.__name__


def test_no_default_changed_without_being_seen():
    changed = {kind.__name__: codec.changed_defaults(kind) for kind in codec.OURS}
    assert {name: fields for name, fields in changed.items() if fields} == {}


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

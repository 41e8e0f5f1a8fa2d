"""Any track by name: found without an import, proved by parity, refused in one line.

The third track here is `tests/numpy_track`, plain MLPs in NumPy.
"""

import dataclasses
import json
import re
import subprocess
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from benchmarks.engine.machine import settle
from benchmarks.measures.ladder import measure
from benchmarks.measures.rungs import Rung, function_rungs, relative, result
from benchmarks.parity import parity, plan_climbs
from common import precision, track
from common.errors import Failed, Refused
from common.extras import (
    EXTRAS,
    ClassNames,
    Native,
    Official,
    Yardsticks,
    check_extra,
    load_extra,
    members,
    missing,
)
from common.faults import PLANTED_IN
from common.recipe import SGD, Adam, Average, Decay, Recipe
from common.spec import CNNSpec, Dense, Flatten, MLPSpec, Norm, Scale
from common.systems import ROUNDING
from common.track import DEFAULT, Track, load_track, located, module_of

ROOT = Path(__file__).parent.parent
NUMPY = "tests.numpy_track"
STEPPED = (
    "recipe.optimizer=SGD(momentum=0.9,nesterov=True,form='velocity')",
    "recipe.schedule=WarmCosine(0.2)",
    "recipe.lr=0.02",
    "recipe.smoothing=0.1",
)
SPEC = MLPSpec(image=(2, 2, 1), classes=3, hidden=(4,))
RECIPE = Recipe(lr=0.1, batch=4, epochs=1)


@pytest.fixture
def installed(monkeypatch):
    """A function that has other tracks installed than there are."""

    def install(**modules):
        entries = [metadata.EntryPoint(n, m, track.GROUP) for n, m in modules.items()]
        monkeypatch.setattr(track.metadata, "entry_points", lambda *, group: entries)
        track.tracks.cache_clear()

    yield install
    monkeypatch.undo()
    track.tracks.cache_clear()


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A user's folder, the current one, that is not on the path; it may become so."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "mine"]:
        del sys.modules[name]


def said(call, *args, **kwargs):
    """The one line of a refusal."""
    with pytest.raises(Refused) as refusal:
        call(*args, **kwargs)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# --- what a track computes in -------------------------------------------------------


def test_auto_is_what_all_tracks_have(monkeypatch):
    """Whatever this processor has: no bfloat16 for a track that has none."""
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)

    def settled(tracks, asked="auto", mode="aligned"):
        return settle("cpu", asked, mode=mode, tracks=tracks).precision

    assert settled(("torch", "tensorflow")) == "bfloat16"
    assert settled(("torch", NUMPY)) == "float32"
    assert settled((NUMPY,), mode="strict") == "float64"
    message = said(settled, ("torch", NUMPY), "bfloat16")
    assert f"{NUMPY} computes in float32, float64, got bfloat16" in message


# --- parity of any two --------------------------------------------------------------


@pytest.mark.parametrize("pair", [(NUMPY, "torch"), ("torch", NUMPY)])
def test_numpy_and_torch_compute_the_same_in_either_order(pair, tmp_path):
    out = tmp_path / "parity.json"
    found = parity(["rasbt-mlp"], tracks=",".join(pair), json=out)
    written = json.loads(out.read_text())
    schema = json.loads((files("common") / "schema" / "parity.json").read_text())
    jsonschema.validate(written, schema)
    (row,) = written["systems"]
    assert written == json.loads(json.dumps(found))
    assert (row["system"], row["tracks"]) == ("rasbt-mlp", list(pair))
    assert row["passed"]
    rungs = {rung["name"]: rung for rung in row["rungs"]}
    assert list(rungs) == [
        *("names", "shapes", "draw", "logits", "witness", "plain", "moves"),
        *("gradients", "losses", "weights", "evaluation", "float32"),
    ]
    exact = ("logits", "witness", "gradients", "losses", "weights", "evaluation")
    for name in exact:
        assert rungs[name]["tolerance"] == ROUNDING
        # Two engines add in different orders: no difference at all would be suspect.
        assert 0 < rungs[name]["difference"] <= ROUNDING
    # The first losses may be the same bits by chance, as on some processors they are.
    later = re.search(r"to 20: (\S+),", rungs["float32"]["where"])
    assert float(later[1]) > 0


def test_momentum_and_a_schedule_are_the_same_in_numpy():
    found = parity(
        ["rasbt-mlp"], tracks=f"{NUMPY},tensorflow", steps=20, set=[*STEPPED]
    )
    assert [row["passed"] for row in found["systems"]] == [True]


def test_a_fault_is_planted_in_the_first_track_and_caught(tmp_path):
    out = tmp_path / "parity.json"
    with pytest.raises(Failed, match="parity did not hold in rasbt-mlp"):
        parity(tracks=f"{NUMPY},torch", fault="init-bias", steps=4, json=out)
    (row,) = json.loads(out.read_text())["systems"]
    assert [r["name"] for r in row["rungs"] if not r["passed"]] == ["draw"]


@pytest.mark.parametrize("pair", [(NUMPY, "torch"), ("tensorflow", "torch")])
def test_only_the_first_track_has_the_fault(pair, tmp_path):
    options = {"request": None, "steps": 4, "seed": 0, "threads": 1, "overrides": ()}
    options["folder"] = tmp_path
    clean = plan_climbs("rasbt-mlp", pair, fault=None, **options)
    faulty = plan_climbs("rasbt-mlp", pair, fault="init-bias", **options)
    assert tuple(faulty) == pair
    assert faulty[pair[0]].spec != clean[pair[0]].spec
    assert faulty[pair[1]] == clean[pair[1]]
    assert PLANTED_IN == "the first of the two tracks"


@pytest.mark.parametrize(
    "tracks", ["torch", "torch,torch", f"torch,tensorflow,{NUMPY}"]
)
def test_parity_takes_exactly_two_tracks(tracks):
    message = said(parity, ["rasbt-mlp"], tracks=tracks)
    assert message.startswith("parity is judged of two different tracks, got torch")


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ("torch,tensorfow", "choose from torch, tensorflow"),
        ("numpy,torch", "a track must exist, got 'numpy'"),
        (f"torch,{NUMPY}.nowhere", f"{NUMPY}.nowhere is not"),
        ("torch,nowhere.at_all", "a track's module must be importable"),
        ("torch,.", "must be importable"),
    ],
)
def test_an_unknown_track_is_refused_before_anything_runs(tracks, message):
    assert message in said(parity, ["rasbt-mlp"], tracks=tracks)


# --- a track that cannot do all ----------------------------------------------------


def test_a_system_that_a_track_cannot_build_is_refused_by_name():
    message = said(parity, ["small-cnn"], tracks=f"{NUMPY},torch")
    assert "plain MLPs in float32 or float64, got CNNSpec of Conv Norm" in message


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (dataclasses.replace(SPEC, norm=Norm()), "got Norm;"),
        (dataclasses.replace(SPEC, dropout=0.5), "got Dropout;"),
        (dataclasses.replace(SPEC, scale=Scale(mean=(0.5,))), "got Scale.mean;"),
        (
            CNNSpec(image=(2, 2, 1), classes=3, layers=(Flatten(), Dense(3))),
            "got CNNSpec of Flatten Dense;",
        ),
    ],
)
def test_what_is_no_plain_mlp_is_refused_by_numpy(spec, named):
    assert named in said(load_track(NUMPY).build, spec)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"optimizer": Adam()}, "got Adam;"),
        ({"decay": Decay(rate=0.1)}, "got decay;"),
        ({"clip": 1.0, "average": Average(decay=0.9, warm_up=True)}, "clip, average;"),
    ],
)
def test_a_recipe_beyond_plain_sgd_is_refused_by_numpy(change, named):
    numpy = load_track(NUMPY)
    recipe = dataclasses.replace(RECIPE, **change)
    assert named in said(numpy.Trainer, numpy.build(SPEC), SPEC, recipe, np.ones(1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_computes_in_the_dtype_it_is_asked_for(dtype, tmp_path):
    numpy = load_track(NUMPY)
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 1), np.uint8)
    model = numpy.build(SPEC, dtype=dtype)
    recipe = dataclasses.replace(RECIPE, optimizer=SGD(momentum=0.9, nesterov=True))
    trainer = numpy.Trainer(model, SPEC, recipe, np.full(2, 0.1))
    for _ in range(2):
        trainer.update(images, np.array([0, 1, 2, 0, 1]))
    values = [*model.values(images), *trainer.arrays().values()]
    assert {value.dtype for value in values} == {np.dtype(dtype)}
    numpy.save(model, tmp_path / "model")
    again = numpy.load(tmp_path / "model", dtype=dtype)
    assert (numpy.predictor(again)(images) == numpy.predictor(model)(images)).all()


def test_a_rung_that_a_trainer_lacks_something_for_is_refused_by_name(elsewhere):
    """And a user's own track is found in the current folder, by the child too."""
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "half.py").write_text(
        "from tests.numpy_track import *\n"
        "from tests.numpy_track import Trainer as Whole\n"
        "class Trainer:\n"
        "    def __init__(self, *args): self.whole = Whole(*args)\n"
        "    def __getattr__(self, name):\n"
        "        if name == 'canonical_gradients': raise AttributeError(name)\n"
        "        return getattr(self.whole, name)\n"
    )
    message = said(parity, ["rasbt-mlp"], tracks=f"mine.half,{NUMPY}", steps=2)
    assert message == (
        "the rung gradients needs Trainer.canonical_gradients, the track mine.half has "
        "none; write it as common/track.py says"
    )


def test_a_rung_that_a_track_lacks_something_for_is_refused_by_name(tmp_path):
    climbs = plan_climbs(
        "rasbt-mlp",
        ("torch", NUMPY),
        **{"request": None, "steps": 2, "seed": 0, "threads": 1, "overrides": ()},
        fault=None,
        folder=tmp_path,
    )

    class Silent:
        build = get_weights = set_weights = Trainer = None

    message = said(next, measure(Silent, climbs[NUMPY]))
    assert message.startswith(f"the rung logits needs predictor, the track {NUMPY}")


# --- what a rung sees ---------------------------------------------------------------


def functions(**changes):
    """What the functions stage of one track wrote, with changes."""
    found = {"logits": np.ones((3, 2)), "moves/w": np.array(1.0)}
    found |= {"gradients/w": np.ones(4), "gradients/b": np.ones(2)}
    return {k: v for k, v in (found | changes).items() if v is not None}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("change", "rung"),
    [
        ({"logits": np.full((3, 2), np.nan)}, "logits"),
        ({"logits": np.ones((1, 2))}, "logits"),
        ({"moves/w": np.array(np.nan)}, "moves"),
        ({"moves/w": None}, "moves"),
        ({"gradients/b": np.array([1.0, np.nan])}, "gradients"),
        ({"gradients/b": None}, "gradients"),
        ({"gradients/b": np.ones((2, 1))}, "gradients"),
    ],
)
def test_what_only_one_track_has_fails_its_rung(change, rung, side):
    both = [functions(), functions()]
    both[side] = functions(**{k.replace("_", "/"): v for k, v in change.items()})
    broken = [r.name for r in function_rungs(*both, 1e-12) if not r.passed]
    assert broken == [rung]


def test_shapes_that_would_broadcast_are_no_agreement():
    assert relative(np.ones(3), np.ones((3, 1))) == np.inf
    assert relative(np.ones(3), np.ones(3)) == 0


def test_a_difference_that_is_no_number_is_null_in_json():
    rungs = [Rung("evaluation", "float64", np.nan, 1e-12, "logits")]
    row = result("small-cnn", ("a", "b"), rungs)
    assert (row["passed"], row["rungs"][0]["difference"]) == (False, None)
    assert row["tracks"] == ["a", "b"]


# --- names --------------------------------------------------------------------------


def test_a_package_adds_a_track_by_an_entry_point(elsewhere):
    info = elsewhere / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{track.GROUP}]\nnumpy = {NUMPY}\n")
    sys.path.append(str(elsewhere))
    track.tracks.cache_clear()
    try:
        assert tuple(track.tracks())[:2] == DEFAULT
        assert module_of("numpy") == NUMPY
        found = parity(["rasbt-mlp"], tracks=f"numpy,{NUMPY}", steps=2)
        assert found["systems"][0]["tracks"] == ["numpy", NUMPY]
        assert found["systems"][0]["passed"]
        with pytest.raises(
            Refused, match="choose from torch, tensorflow, keras_torch, n"
        ):
            module_of("none")
    finally:
        track.tracks.cache_clear()


def test_a_stale_installation_says_its_cure(installed):
    installed(mine=NUMPY)
    message = said(load_track, "torch")
    assert "torch and tensorflow are missing" in message
    assert message.endswith("run pip install -e . again")
    assert load_track(NUMPY)  # a module needs no installation


def test_one_name_for_two_modules_is_refused(installed, monkeypatch):
    entries = [
        metadata.EntryPoint("torch", module, track.GROUP)
        for module in ("pt_track", "x")
    ]
    installed()
    monkeypatch.setattr(track.metadata, "entry_points", lambda *, group: entries)
    assert "torch is both pt_track and x; uninstall one" in said(load_track, "torch")


def test_a_missing_framework_is_named(elsewhere):
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "jaxed.py").write_text("import no_such_framework\n")
    message = said(load_track, "mine.jaxed")
    assert message == (
        "the track mine.jaxed needs no_such_framework, which is not installed; install "
        "no_such_framework"
    )


def test_modules_are_found_as_python_finds_them_but_without_an_import():
    code = (
        "import sys; from common.extras import *; from common.track import *\n"
        "check_extra('torch', Native); check_extra('tensorflow', Yardsticks)\n"
        "from common.track import located; found = located('pt_track.cnn')\n"
        "print(found.origin, sorted({'pt_track', 'tf_track'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split() == [str(ROOT / "pt_track" / "cnn.py"), "[]"], done.stderr
    assert located("tests") is not None  # a folder without an __init__
    for nothing in ("", "pt_track..cnn", "pt_track.cnn.more", "nowhere.cnn"):
        assert located(nothing) is None


# --- what a track may lack ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        (
            NUMPY,
            Native,
            f"native mode needs build_native and train_native, the track {NUMPY} has "
            "neither; choose from torch, tensorflow or use --mode aligned",
        ),
        (
            "tensorflow",
            ClassNames,
            "naming ImageNet's classes needs imagenet_names, the track tensorflow has "
            "none; choose from torch",
        ),
        (
            NUMPY,
            Official,
            "a library's own Inception v3 needs download, write_native "
            f"and official, the track {NUMPY} has none of them; choose from torch, "
            "tensorflow",
        ),
        (
            NUMPY,
            Yardsticks,
            f"speed needs bare, naive, tutorial and product, the track {NUMPY} has "
            "none of them; choose from torch, tensorflow",
        ),
    ],
)
def test_a_missing_part_is_one_line_with_who_has_it(name, extra, message, installed):
    installed(torch="pt_track", tensorflow="tf_track")
    assert said(check_extra, name, extra) == message
    assert said(load_extra, name, extra) == message


def test_half_of_a_part_is_named(elsewhere):
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "half.py").write_text("def build_native(): pass\n")
    message = said(check_extra, "mine.half", Native)
    assert "the track mine.half has no train_native; choose from torch" in message


@pytest.mark.parametrize("source", ["from json import *", "def __getattr__(name): ..."])
def test_where_the_source_does_not_tell_the_import_does(source, elsewhere):
    (elsewhere / "mine").mkdir()
    name = "starred" if "*" in source else "dynamic"
    text = source.replace("...", "raise AttributeError(name)")
    (elsewhere / "mine" / f"{name}.py").write_text(text)
    check_extra(f"mine.{name}", Native)
    assert "has neither" in said(load_extra, f"mine.{name}", Native)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("name", DEFAULT)
def test_the_source_says_what_the_module_has(name, extra):
    module = f"{module_of(name)}.{EXTRAS[extra].module}".removesuffix(".")
    home = track.imported(name, module)
    absent = [member for member in members(extra) if not hasattr(home, member)]
    assert missing(name, extra) == absent
    assert absent in ([], ["imagenet_names"])


@pytest.mark.parametrize("name", [*DEFAULT, NUMPY])
def test_every_track_has_the_core(name):
    module = load_track(name)
    assert [m for m in members(Track) if not hasattr(module, m)] == []

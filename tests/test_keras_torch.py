"""Keras networks on torch are those of both other tracks, in float64.

Each track measures in a process of its own (`tests/keras_torch.py`), two at a time.
"""

import ast
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.engine.call import call
from benchmarks.measures.ladder import STAGES, Climb
from benchmarks.measures.rungs import compare_stage, global_norm, relative
from common import codec
from common.data import DataRequest
from common.errors import Refused
from common.keras_backend import keras_on
from common.recipe import Adam, Average, Decay, Recipe
from common.spec import (
    Act,
    AveragePool,
    CNNSpec,
    Conv,
    Dense,
    Dropout,
    Flatten,
    FractionalPool,
    Norm,
    Pool,
    Relu,
    Scale,
)
from common.systems import DIGITS, FLOAT32, ROUNDING, SYSTEMS, resolve
from common.weights import HeNormal, read

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parent.parent
STEPS = 12
# Inception's own, as its ladder has it: 94 batch norms over few values magnify.
DEEP = SYSTEMS["inception-v3"].ladder.tolerance
# As in test_tracks.
NEAR = {"float32": 1e-5, "bfloat16": 0.05}
# Climbed by all tracks; `MORE` by torch and this one: they cost little more.
ALL = ("small-cnn", "rasbt-mlp-batchnorm", "deep-cnn")
# What is not in tf_track: the float64 of Keras on torch, torch's names.
EXCUSED = {"Linear", "mean", "tensor_of"}

# No bias before batch norm: Adam makes a full step of a gradient that is rounding.
PIECES = CNNSpec(
    image=DIGITS,
    classes=10,
    crop=7,
    scale=Scale(mean=(0.3,), std=(0.4,)),
    layers=(
        Conv(6, (3, 2), 2, ((0, 1), (1, 0)), False),
        Norm(decay=0.1, eps=1e-3, variance="unbiased", scale=False),
        Relu(),
        AveragePool(2, 1, ((0, 1), (0, 1)), "exclude"),
        AveragePool(3, 1, ((1, 1), (1, 1)), "exclude"),
        AveragePool(2, 1, ((1, 0), (0, 1)), "include"),
        Pool(2, 1, ((1, 0), (0, 1))),
        Conv(5, 2, 1, ((0, 1), (0, 1)), False),
        Norm(decay=0.9, eps=1e-5, variance="biased"),
        Dropout(0.3),
        Flatten("chw"),
        Dense(10),
    ),
)
REGIONS = CNNSpec(
    image=DIGITS,
    classes=10,
    canvas=11,
    ground=90,
    layers=(
        Conv(6, 2, init=HeNormal()),
        Act("leaky", 1 / 3),
        Dropout(0.5, "map"),
        FractionalPool((7, 6)),
        FractionalPool((5, 4), per="channel"),
        FractionalPool(3, "random", overlap=False),
        Flatten(),
        Dense(10, init=HeNormal()),
    ),
)
OF_TESTS = {"pieces": PIECES, "regions": REGIONS}
MORE = ("rasbt-mlp-dropout", "adventures-cnn", "rosetta-cnn", "linear", *OF_TESTS)
RECIPE = Recipe(
    lr=0.01,
    batch=16,
    epochs=1,
    optimizer=Adam(),
    decay=Decay(rate=0.05, kind="decoupled"),
    clip=0.5,
    average=Average(decay=0.9, warm_up=False),
    smoothing=0.1,
    class_weights=tuple(1.0 + k for k in range(10)),
    multipliers=(("conv1", 0.5),),
)


def climb(name, track, folder):
    """What one track is to measure of a system."""
    asked = (
        None
        if name in OF_TESTS
        else resolve(name, image=DIGITS, classes=10, overrides=("recipe.batch=16",))
    )
    return Climb(
        track=track,
        spec=codec.dumps(asked.spec if asked else OF_TESTS[name]),
        recipe=codec.dumps(asked.recipe if asked else RECIPE),
        module=None,
        data=asdict(DataRequest(source="digits", limit=100)),
        steps=STEPS,
        seed=3,
        threads=1,
        folder=str(folder / f"{track}-{name}"),
        tensors=STEPS,
        tolerance=ROUNDING,
        first=FLOAT32,
        judged=3,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(folder, what each track's child returned); a user's Keras settings are odd."""
    folder = tmp_path_factory.mktemp("keras_torch")
    settings = {
        "floatx": "float64",
        "image_data_format": "channels_first",
        "backend": "jax",
        "epsilon": 0.1,
    }
    (folder / "keras.json").write_text(json.dumps(settings))

    def child(track):
        names = ALL if track == "tensorflow" else (*ALL, *MORE)
        values = {
            "track": track,
            "folder": str(folder / track),
            "climbs": [asdict(climb(name, track, folder)) for name in names],
        }
        return call("tests.keras_torch:climbs", values, threads=1, device="cpu")

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as two:
        patch.setenv("KERAS_HOME", str(folder))
        patch.delenv("KERAS_BACKEND", raising=False)
        tracks = ("tensorflow", "keras_torch", "torch")
        found = dict(zip(tracks, two.map(child, tracks), strict=True))
    return folder, found


def part(measured, name):
    """Plain values and arrays of one function of `tests.keras_torch`."""
    folder, found = measured
    arrays = read(folder / "keras_torch" / name)[0]
    return found["keras_torch"][name], arrays


def under(arrays, prefix):
    """What is filed under `prefix`, without it."""
    rest = f"{prefix}/"
    return {n.removeprefix(rest): v for n, v in arrays.items() if n.startswith(rest)}


def same(a, b):
    """Whether two sets of arrays are equal to the bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize(
    ("name", "other"),
    [(name, other) for name in ALL for other in ("torch", "tensorflow")]
    + [(name, "torch") for name in MORE],
)
def test_it_computes_what_the_other_tracks_do(name, other, measured):
    climbs = {
        track: climb(name, track, measured[0]) for track in ("keras_torch", other)
    }
    rungs = [rung for stage in STAGES for rung in compare_stage(stage, climbs)]
    assert [rung for rung in rungs if not rung.passed] == []
    assert {"draw", "logits", "moves", "gradients", "losses", "weights"} <= {
        rung.name for rung in rungs
    }
    assert rungs[-1].name == "float32"


def test_inceptions_logits_and_gradients_are_those_of_torch(measured):
    """Of this size at batch 8, torch and TensorFlow are as far apart."""
    ours, theirs = (
        read(measured[0] / track / "inception")[0] for track in ("keras_torch", "torch")
    )
    assert relative(ours.pop("logits"), theirs.pop("logits")) < ROUNDING
    assert ours.keys() == theirs.keys()
    scale = global_norm(theirs)
    assert max(relative(ours[n], theirs[n], scale) for n in theirs) < DEEP


def test_a_file_has_the_same_bytes_from_every_track(measured):
    folder, found = measured
    assert len({(folder / track / "saved").read_bytes() for track in found}) == 1


def test_a_file_opens_in_torch_and_comes_back(measured):
    told, arrays = part(measured, "files")
    assert told == {"same": True, "spec": True}
    assert relative(arrays["back"], arrays["there"]) < ROUNDING


def test_tensorflow_is_not_imported_and_the_environment_is_as_it_was(measured):
    _, found = measured
    told = found["keras_torch"]
    assert told["tensorflow"] == []
    assert told["KERAS_BACKEND"] is None
    assert told["environment"]["framework"] == "keras_torch"
    assert {"torch", "keras"} <= told["environment"].keys()


def test_a_model_is_a_plain_one_in_keras_and_in_torch(measured):
    told, arrays = part(measured, "plain")
    assert told["classes"] == [True, True]
    assert "13,754" in told["summary"]
    assert arrays["logits"].shape == (3, 10)
    assert arrays["losses"][-1] < arrays["losses"][0] / 2


def test_fast_arithmetic_stays_near_float64_and_weights_stay_float32(measured):
    told, arrays = part(measured, "precision")
    logits = under(arrays, "logits")
    for dtype, allowed in NEAR.items():
        assert logits[dtype].dtype == np.float32
        assert relative(logits[dtype], logits["float64"]) < allowed
        assert told[f"kept/{dtype}"] == ["float32"]
    assert told["kept/float64"] == ["float64"]
    assert [told[f"strangers/{dtype}"] for dtype in logits] == [0, 0, 0]


def test_a_picture_of_nearly_one_colour_is_scaled_by_the_least_deviation(measured):
    _, arrays = part(measured, "flat")
    assert relative(arrays["logits"], arrays["expected"]) < ROUNDING


def test_a_run_that_goes_on_ends_as_if_it_had_not_stopped(measured):
    _, arrays = part(measured, "resumed")
    assert same(under(arrays, "whole"), under(arrays, "again"))
    assert np.array_equal(arrays["losses/whole"], arrays["losses/again"])


def test_what_the_recipe_freezes_stays(measured):
    _, arrays = part(measured, "frozen")
    before, after = under(arrays, "before"), under(arrays, "after")
    still = {name for name in before if np.array_equal(before[name], after[name])}
    statistics = {f"{n}.{leaf}" for n in ("norm1", "norm2") for leaf in ("mean", "var")}
    assert still == {"conv1.kernel"} | statistics


def test_statistics_are_estimated_as_torch_does(measured):
    told, arrays = part(measured, "estimated")
    ours, torchs = under(arrays, "keras_torch"), under(arrays, "torch")
    assert max(relative(ours[n], torchs[n]) for n in torchs) < ROUNDING
    assert told["momentum"] == [0.9, 0.9]


def test_a_new_head_leaves_the_rest(measured):
    told, arrays = part(measured, "head")
    old, new, drawn = (under(arrays, key) for key in ("old", "new", "drawn"))
    assert told["classes"] == 3
    for name, value in new.items():
        source = drawn if name.startswith("dense2.") else old
        assert np.array_equal(value, source[name].astype(np.float32)), name


def test_a_users_own_network_trains(measured):
    told, arrays = part(measured, "own")
    assert "TwoTowers for keras_torch; pass builders=" in told["lacking"]
    assert arrays["losses"][-1] < arrays["losses"][0]


def test_keras_on_another_framework_in_this_process_is_refused(measured, monkeypatch):
    told = measured[1]["keras_torch"]["other"]
    assert told == (
        "the tensorflow track needs Keras on TensorFlow, found Keras on torch in this "
        "process; use a process of its own"
    )
    there = SimpleNamespace(config=SimpleNamespace(backend=lambda: "tensorflow"))
    monkeypatch.setitem(sys.modules, "keras", there)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    line = "keras_torch track needs Keras on PyTorch, found Keras on tensorflow in this"
    with pytest.raises(Refused, match=line), keras_on("torch"):
        pass


@pytest.mark.parametrize(
    ("backend", "line"),
    [
        ("torch", "the keras_torch track needs Keras on PyTorch, got"),
        ("tensorflow", "the tensorflow track needs Keras on TensorFlow, got"),
    ],
)
def test_an_environment_that_says_otherwise_is_refused(backend, line, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(Refused) as refusal, keras_on(backend):
        pass
    assert str(refusal.value) == (
        f"{line} KERAS_BACKEND=jax; unset it: each track sets its own"
    )


@pytest.mark.parametrize("said", [None, "", "torch"])
def test_the_environment_is_put_back(said, monkeypatch):
    told = []
    config = SimpleNamespace(
        backend=lambda: "torch",
        set_floatx=told.append,
        set_image_data_format=told.append,
        set_epsilon=told.append,
    )
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(config=config))
    monkeypatch.setenv("KERAS_BACKEND", said or "")
    if said is None:
        monkeypatch.delenv("KERAS_BACKEND")
    with keras_on("torch"):
        assert os.environ["KERAS_BACKEND"] == "torch"
    assert os.environ.get("KERAS_BACKEND") == said
    assert told == ["float32", "channels_last", 1e-7]


def public(path):
    """Names that a module defines at its top level, in order."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, kinds)]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("module", ["layers", "mlp", "cnn", "inception"])
def test_the_networks_are_twins_of_tensorflows(module):
    ours, theirs = (
        ROOT / track / f"{module}.py" for track in ("pt_track/on_keras", "tf_track")
    )
    assert [n for n in public(ours) if n not in EXCUSED] == public(theirs)
    assert f"Twin: tf_track/{module}.py." in ours.read_text().splitlines()[0]

"""The witness that imports no framework: ONNX graphs of specs, in both forms.

Every system, every layer and choice of a spec is computed by ONNX Runtime beside the
PyTorch track.  That it sees faults, and whom it accuses, is here too.
"""

import dataclasses
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from benchmarks import weights as weights_module
from benchmarks.measures import testimony
from benchmarks.measures.rungs import PLAIN, Rung, relative, witness_rung
from benchmarks.parity import climbed, parity, plan_climbs
from benchmarks.weights import GRAPH_AGREES, export_weights, write_graph
from common import model_file, report, spec, witness
from common.data import pictures
from common.draws import Starts
from common.errors import Failed, Refused
from common.faults import FAULTS
from common.heads import headless
from common.inception import InceptionSpec
from common.library_files.recognise import kind_of
from common.model_file import About
from common.recipe import Recipe
from common.spec import (
    LRN,
    Act,
    Add,
    AveragePool,
    Branch,
    CNNSpec,
    Conv,
    Dense,
    Dropout,
    Flatten,
    FractionalPool,
    MLPSpec,
    Multiply,
    Norm,
    Pool,
    Relu,
    Scale,
)
from common.systems import ROUNDING, SYSTEMS, resolve
from common.track import load_track
from common.weights import random_weights
from common.witness.network import KINDS

ROOT = Path(__file__).parents[1]
OURS = [name for name, system in SYSTEMS.items() if system.module is None]
# Filters are divided by so much: wide layers add time and no insight.
NARROWER = 8
# Inception's smallest, and what is no square of it; others a pixel higher than wide.
SMALLEST = (75, 91, 3)
NUMPY = "tests.numpy_track"
OPTIONS = {"request": None, "steps": 2, "seed": 0, "threads": 1, "overrides": ()}


def of(name):
    """A system's spec, with few filters, on pictures that are no squares."""
    h, w, c = SYSTEMS[name].image
    image = SMALLEST if name == "inception-v3" else (h + 1, w, c)
    found = resolve(name, image=image, classes=10).spec
    if not isinstance(found, CNNSpec):
        return found
    layers = (
        dataclasses.replace(x, out=x.out // NARROWER) if isinstance(x, Conv) else x
        for x in found.layers
    )
    return dataclasses.replace(found, layers=tuple(layers))


def shown(network, n=3):
    """A few pictures for a network, uint8; an odd batch hides no transpose."""
    return pictures(network.image, 2, 4 * n, 0).test.take(slice(n))


def by_torch(network, weights, images, dtype="float64"):
    track = load_track("torch")
    return track.predictor(track.build(network, weights=weights, dtype=dtype))(images)


def agrees(network):
    """Both forms beside the track; the lowered one's difference."""
    images, weights = shown(network), random_weights(network.weights, 0)
    expected = by_torch(network, weights, images)
    assert np.abs(expected).min() > 0
    exact = witness.predictor(network, weights)(images)
    plain = witness.predictor(network, weights, form="plain")(images)
    assert (exact.dtype, plain.dtype) == (np.float64, np.float32)
    assert relative(plain.astype(float), expected) < PLAIN
    # In float32 no figure can be that good: the forms are two computations.
    assert relative(plain.astype(float), expected) > ROUNDING
    return relative(exact, expected)


# --- the same function ----------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_every_system_is_the_same_function(name):
    assert agrees(of(name)) < ROUNDING


def layered(*layers, image=(9, 7, 2), **rest):
    """A network of these layers and a dense one; nothing alike in height and width."""
    return CNNSpec(
        image=image, classes=3, layers=(*layers, Flatten(), Dense(3)), **rest
    )


ODD = Conv(4, (3, 2), 1, ((1, 2), (0, 1)))
NETWORKS = {
    "uneven windows": layered(ODD, Conv(5, (1, 3), 2, ((0, 1), (2, 1)), bias=False)),
    "a maximum of negatives": layered(ODD, Pool(3, 2, ((0, 1), (1, 1)))),
    "means with a border": layered(AveragePool(3, 2, ((1, 0), (0, 1)), "include")),
    "means without": layered(AveragePool(3, 2, ((1, 0), (0, 1)), "exclude")),
    "means of nothing but the picture": layered(AveragePool(2, 1)),
    "a scale of channels": layered(
        ODD, scale=Scale(mean=(0.3, 0.5), std=(0.2, 0.4), divide=99.0)
    ),
    "each picture's own scale": layered(ODD, scale=Scale(per_image=True)),
    "a crop": layered(ODD, crop=6),
    "a canvas": layered(ODD, canvas=12, ground=77),
    "norms": layered(ODD, Norm(eps=1e-3), Conv(3, 2), Norm(scale=False, eps=1e-5)),
    "a norm of vectors": layered(ODD, Flatten("chw"), Dense(6), Norm(), Relu()),
    "neighbours": layered(ODD, LRN(radius=1, bias=1.5, alpha=0.3, beta=0.75)),
    "neighbours of vectors": layered(
        ODD, Flatten("chw"), Dense(6), LRN(radius=2, bias=1.0, alpha=0.1, beta=0.5)
    ),
    "leaky": layered(ODD, Act("leaky", 0.3)),
    "gelu": layered(ODD, Multiply(9.0), Act("gelu")),
    "gelu-tanh": layered(ODD, Act("gelu-tanh")),
    "silu": layered(ODD, Act("silu")),
    "a sum": layered(ODD, Branch(), Relu(), Dropout(0.3), Add(), Multiply(0.7)),
    "channels first": layered(ODD, Flatten("chw")),
    "regions": layered(ODD, FractionalPool((6, 5))),
    "regions by chance": layered(ODD, FractionalPool((6, 5), "random")),
    "disjoint regions": layered(ODD, FractionalPool((6, 5), overlap=False)),
    "regions of channels": layered(ODD, FractionalPool((6, 5), per="channel")),
    "disjoint ones of channels": layered(
        ODD, FractionalPool((6, 5), "random", overlap=False, per="channel")
    ),
    "normalised dense": MLPSpec(
        image=(3, 5, 2), classes=3, hidden=(7, 5), norm=Norm(eps=1e-5), dropout=0.5
    ),
    "no hidden layer": MLPSpec(image=(3, 5, 2), classes=3, hidden=()),
    "pools that count": InceptionSpec(image=SMALLEST, classes=4, border="include"),
}


@pytest.mark.parametrize("choice", NETWORKS)
def test_every_choice_of_a_spec_is_the_same_function(choice):
    assert agrees(NETWORKS[choice]) < ROUNDING


def test_every_layer_is_in_a_network_here():
    layers = [x for n in NETWORKS.values() for x in getattr(n, "layers", ())]
    assert {type(x) for x in layers} == set(spec.NAMES)


def test_gelu_is_accurate_far_below_zero():
    """There erf + 1 would be noise: filters pass it on to a maximum."""
    n = 41
    network = CNNSpec(
        image=(1, n, 1),
        classes=n,
        layers=(Act("gelu"), Flatten(), Dense(n)),
        scale=Scale(divide=-10.0),
    )
    weights = {"dense1.kernel": np.eye(n), "dense1.bias": np.zeros(n)}
    images = np.arange(0, 5 * n, 5, dtype=np.uint8).reshape(1, 1, n, 1)
    expected = by_torch(network, weights, images)[0]
    found = witness.predictor(network, weights)(images)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert 0 > expected[-1] > -1e-80


def test_a_head_and_a_network_without_one_are_networks_too():
    base = of("small-cnn")
    bare, weights = headless(base, random_weights(base.weights, 0))
    images = shown(bare)
    expected = by_torch(bare, weights, images)
    found = witness.predictor(bare, weights)(images)
    assert found.shape == (3, 64)
    assert relative(found, expected) < ROUNDING


def test_a_repeat_draws_other_regions():
    network = NETWORKS["regions"]
    weights, images = random_weights(network.weights, 0), shown(network)
    track = load_track("torch")
    model = track.build(network, weights=weights, dtype="float64")
    for form, bar in (("lowered", ROUNDING), ("plain", PLAIN)):
        predict = witness.predictor(network, weights, form=form)
        first, later = predict(images), predict(images, 2)
        assert relative(later, track.predictor(model)(images, 2)) < bar
        assert relative(first, later) > 1e-3


def test_threads_and_batches_change_nothing_but_rounding():
    network = of("deep-cnn")
    weights, images = random_weights(network.weights, 0), shown(network, 5)
    whole = witness.predictor(network, weights, threads=2)(images)
    predict = witness.predictor(network, weights)
    alone = np.concatenate([predict(images[i : i + 1]) for i in range(5)])
    assert relative(alone, whole) < ROUNDING


def test_it_loads_no_framework():
    code = (
        "import sys; from common import witness; from common.spec import MLPSpec;"
        "from common.weights import random_weights; import numpy as np;"
        "s = MLPSpec(image=(2, 2, 1), classes=2); w = random_weights(s.weights, 0);"
        "found = witness.predictor(s, w)(np.ones((1, 2, 2, 1), np.uint8));"
        "assert found.shape == (1, 2);"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(out.stdout.split())
    assert {"onnx", "onnxruntime"} <= loaded
    assert not loaded & {"torch", "tensorflow", "keras", "torchvision"}


# --- it sees faults, and names whose they are -----------------------------------------

FORWARD = [name for name, fault in FAULTS.items() if fault.rung == "logits"]


@pytest.mark.parametrize("fault", FORWARD)
def test_a_fault_of_the_forward_pass_is_off_the_witness(fault):
    network = of(FAULTS[fault].system)
    planted, _ = FAULTS[fault].plant(network, Recipe(lr=0.1, batch=4, epochs=1))
    images, weights = shown(network), random_weights(network.weights, 0)
    answers = {
        "a": by_torch(planted, weights, images),
        "b": by_torch(network, weights, images),
    }
    rung = witness_rung(answers, witness.predictor(network, weights)(images), ROUNDING)
    assert rung.difference > 1e4 * ROUNDING
    assert rung.where.startswith("a is off: b and the witness agree to ")
    other = dict(reversed(answers.items()))
    rung = witness_rung(other, witness.predictor(network, weights)(images), ROUNDING)
    assert rung.where.startswith("a is off: b and the witness agree to ")


def test_every_forward_fault_there_is_was_tried():
    assert len(FORWARD) >= 8
    assert {"padding", "bn-eps", "gelu-tanh", "pool-border"} <= set(FORWARD)


ONE, TWO = np.ones((2, 3)), np.full((2, 3), 2.0)
VOTES = {
    "all agree": (ONE, ONE, ONE, True, "a 0.0e+00 and b 0.0e+00 from a graph"),
    "the first": (TWO, ONE, ONE, False, "a is off: b and the witness agree"),
    "the second": (ONE, TWO, ONE, False, "b is off: a and the witness agree"),
    "the witness": (ONE, ONE, TWO, False, "the witness is off: a and b agree"),
    "none": (ONE, TWO, 3 * ONE, False, "no two of a, b and the witness agree"),
    "no number": (np.nan * ONE, ONE, ONE, False, "a is off: b and the witness agree"),
    "no number in it": (ONE, ONE, np.nan * ONE, False, "the witness is off: a and b"),
    "another shape": (ONE[:1], ONE, ONE, False, "a is off"),
}


@pytest.mark.parametrize("case", VOTES)
def test_two_votes_to_one(case):
    first, second, third_one, held, where = VOTES[case]
    rung = witness_rung({"a": first, "b": second}, third_one, ROUNDING)
    assert rung.passed is held
    assert rung.where.startswith(where)


def rungs_of(*failed):
    names = ("names", "logits", "witness", "plain", "moves")
    return [Rung(n, None, float(n in failed), 0.0, "") for n in names]


@pytest.mark.parametrize(
    ("failed", "told", "stopped"),
    [
        ((), ["names", "logits", "witness", "plain", "moves"], None),
        (("names",), ["names"], "names"),
        (("logits",), ["names", "logits", "witness"], "logits"),
        (("logits", "witness"), ["names", "logits", "witness"], "logits"),
        (("witness", "moves"), ["names", "logits", "witness"], "witness"),
        (("plain",), ["names", "logits", "witness", "plain"], "plain"),
    ],
)
def test_the_ladder_stops_at_the_first_that_fails_and_hears_the_witness(
    failed, told, stopped, capsys
):
    found = climbed(iter([rungs_of(*failed)]), told=True)
    assert [rung.name for rung in found] == told
    said = capsys.readouterr().out
    assert (f"stopped at the rung that failed: {stopped}\n" in said) == bool(stopped)
    assert next((r.name for r in found if not r.passed), None) == stopped


def test_the_witness_is_asked_without_the_fault(tmp_path):
    """The request that its child gets; what it writes is the sound track's."""
    options = OPTIONS | {"folder": tmp_path}
    climbs = plan_climbs(
        "small-cnn", ("tensorflow", "torch"), fault="padding", **options
    )
    asked = testimony.climb_of(climbs["torch"], tmp_path)
    assert asked.spec == climbs["torch"].spec != climbs["tensorflow"].spec
    testimony.testify(dataclasses.asdict(asked), print)
    found = testimony.read_answers(asked)
    assert (found["logits"].dtype, found["plain"].dtype) == (np.float64, np.float32)
    assert relative(found["plain"].astype(float), found["logits"]) < PLAIN


def test_the_command_names_the_track_with_the_fault(tmp_path, capsys):
    out = tmp_path / "found.json"
    with pytest.raises(Failed, match="parity did not hold in rasbt-mlp-batchnorm"):
        parity(
            "rasbt-mlp-batchnorm", fault="bn-eps", tracks="tensorflow,torch", json=out
        )
    found = json.loads(out.read_text())
    jsonschema.validate(found, schema())
    (row,) = found["systems"]
    *held, logits, rung = row["rungs"]
    assert all(one["passed"] for one in held)
    assert (logits["name"], rung["name"]) == ("logits", "witness")
    assert rung["where"].startswith("tensorflow is off: torch and the witness agree to")
    assert "stopped at the rung that failed: logits\n" in capsys.readouterr().out


# --- without it -----------------------------------------------------------------------


def schema():
    return json.loads((files("common") / "schema" / "parity.json").read_text())


@pytest.fixture
def bare(monkeypatch):
    """An installation without the extra."""
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)


LACKING = "onnx and onnxruntime are not installed; pip install 'twintrack[onnx]'"


def test_without_the_extra_the_rung_says_what_it_lacks(bare, tmp_path, capsys):
    out = tmp_path / "found.json"
    found = parity("rasbt-mlp", tracks=f"{NUMPY},torch", steps=2, json=out)
    assert f"  witness: not climbed, {LACKING}\n" in capsys.readouterr().out
    jsonschema.validate(json.loads(out.read_text()), schema())
    (row,) = found["systems"]
    assert row["passed"]
    assert row["not_climbed"] == [{"rung": "witness", "why": LACKING}]
    assert not {"witness", "plain"} & {rung["name"] for rung in row["rungs"]}
    for format in ("text", "markdown"):
        assert "not climbed" in report.shown("parity", found, format)


def test_one_package_alone_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    why = witness.why_not(MLPSpec(image=(2, 2, 1), classes=2))
    assert why == "onnxruntime is not installed; pip install 'twintrack[onnx]'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived(CNNSpec):
    """A kind of a user's own: its network may be anything."""


def test_a_network_of_another_kind_is_refused_by_name():
    base = layered(ODD)
    network = Derived(image=base.image, classes=3, layers=base.layers)
    assert witness.why_not(base) is None
    why = witness.why_not(network)
    assert why == (
        "its graph is known of MLPSpec, CNNSpec, InceptionSpec alone, this is a Derived"
    )
    with pytest.raises(TypeError, match="got Derived; write its graph"):
        witness.predictor(network, random_weights(network.weights, 0))
    assert {type(SYSTEMS[n].spec(SYSTEMS[n].image, 10)) for n in OURS} == set(KINDS)


def test_other_weights_are_refused():
    network = MLPSpec(image=(2, 2, 1), classes=2)
    weights = random_weights(network.weights, 0)
    with pytest.raises(ValueError, match="missing"):
        witness.predictor(network, {"head.kernel": weights["head.kernel"]})
    with pytest.raises(ValueError, match="the spec says"):
        witness.predictor(network, weights | {"head.bias": np.ones(3)})


# --- for users ------------------------------------------------------------------------


def saved(path, network):
    weights = random_weights(network.weights, 0)
    classes = tuple(f"class {i}" for i in range(network.classes))
    about = About(classes=classes, source="a draw", preprocessing="as it is")
    model_file.save(path, network, weights, about)
    return weights


@pytest.mark.parametrize("name", ["airbench94", "fmp-small"])
def test_what_is_exported_answers_as_our_own_network(name, tmp_path, capsys):
    network, file = of(name), tmp_path / "own.safetensors"
    weights, output = saved(file, network), tmp_path / "network.onnx"
    found = export_weights(file, to="onnx", output=output, json=tmp_path / "said.json")
    assert json.loads((tmp_path / "said.json").read_text()) == found
    assert 0 < found["difference"] < GRAPH_AGREES == found["tolerance"]
    assert f"{output}: for ONNX Runtime" in capsys.readouterr().out
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(said["classes"])[3] == "class 3"
    assert (said["source"], said["preprocessing"]) == ("a draw", "as it is")
    images = shown(network)
    expected = by_torch(network, weights, images, "float32")
    with output.open("rb") as stream:
        answered = witness.answers(stream.read(), network, images)
    assert relative(answered, expected) < GRAPH_AGREES
    assert answered.argmax(1).tolist() == expected.argmax(1).tolist()


def test_a_user_needs_nothing_but_the_file_and_pixels(tmp_path):
    """Regions that are not given are the middle ones, as of our models."""
    network, output = of("fmp-small"), tmp_path / "network.onnx"
    weights = random_weights(network.weights, 0)
    output.write_bytes(witness.exported(network, weights, About()))
    session = onnxruntime.InferenceSession(output)
    x = shown(network).transpose(0, 3, 1, 2).astype(np.float32)
    (logits,) = session.run(None, {"pixels": x})
    model = load_track("torch").build(network, weights=weights).eval()
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    assert relative(logits, expected) < GRAPH_AGREES
    regions = [n for n, d in network.draws.items() if isinstance(d, Starts)]
    optional = session.get_overridable_initializers()
    assert {one.name for one in optional} == set(regions)
    assert [i.name for i in session.get_inputs()] == ["pixels"]


def test_a_graph_that_computes_something_else_is_never_written(tmp_path, monkeypatch):
    network, file = of("small-cnn"), tmp_path / "own.safetensors"
    weights, output = saved(file, network), tmp_path / "network.onnx"
    name = "norm1.var"
    other = weights | {name: weights[name] + 1e-2}
    sound = witness.exported

    def faulty(network, weights, header):
        return sound(network, other, header)

    monkeypatch.setattr(witness, "exported", faulty)
    values = {"file": str(file), "output": str(output)}
    found = write_graph(values, print)
    assert found["difference"] > GRAPH_AGREES
    monkeypatch.setattr(weights_module, "call", lambda *a, **k: found)
    with pytest.raises(Failed, match=r"must compute what the torch track does.*off"):
        export_weights(file, to="onnx", output=output)
    found["difference"] = None
    with pytest.raises(Failed, match="not a number off"):
        export_weights(file, to="onnx", output=output)
    assert list(tmp_path.iterdir()) == [file]


def test_a_network_without_numbers_is_never_written(tmp_path):
    network, file = of("small-cnn"), tmp_path / "own.safetensors"
    weights, output = saved(file, network), tmp_path / "network.onnx"
    weights["dense1.bias"] = np.full_like(weights["dense1.bias"], np.nan)
    model_file.save(file, network, weights, About())
    found = write_graph({"file": str(file), "output": str(output)}, print)
    assert found["difference"] is None
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"output": "a.h5"},
            "onnx knows a file by its suffix, got 'a.h5'; name it .onnx",
        ),
        (
            {"other_border": True},
            "--other-border is of libraries whose pools may differ",
        ),
        ({"to": "onxx"}, "--to must be one of torchvision, keras, onnx, got onxx"),
        ({"file": "no.safetensors"}, "no.safetensors"),
        ({"output": "no/such/.onnx"}, "onnx knows a file by its suffix"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    options, line, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "own.safetensors", MLPSpec(image=(2, 2, 1), classes=2))
    usual = {"file": "own.safetensors", "to": "onnx", "output": "a.onnx"}
    with pytest.raises(Refused) as refusal:
        export_weights(**usual | options)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "a.onnx").exists()


def test_an_export_without_the_extra_says_what_it_lacks(bare, tmp_path):
    saved(tmp_path / "own.safetensors", MLPSpec(image=(2, 2, 1), classes=2))
    with pytest.raises(Refused, match="are not installed; pip install"):
        export_weights(
            tmp_path / "own.safetensors", to="onnx", output=tmp_path / "a.onnx"
        )


def test_what_no_onnx_file_holds_is_refused_before_it_is_made():
    network = MLPSpec(image=(2, 2, 1), classes=2, hidden=(30_000, 30_000))
    with pytest.raises(Refused, match=r"at most 2,147,483,647 bytes, .* have 3,600,"):
        witness.exported(network, {}, About())


def test_an_exported_graph_is_known_as_one_whatever_its_name(tmp_path):
    """It is no weights file that could be imported."""
    network = MLPSpec(image=(2, 2, 1), classes=2)
    weights = random_weights(network.weights, 0)
    file = tmp_path / "network.bin"
    file.write_bytes(witness.exported(network, weights, About()))
    with pytest.raises(Refused, match="is an ONNX file"):
        kind_of(file)


def test_the_parent_gives_the_witness_no_framework_to_import():
    """Its child's module and what that imports."""
    code = "import sys, benchmarks.measures.testimony; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(out.stdout.split()) & {"torch", "tensorflow", "keras"}

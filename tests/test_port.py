"""`twintrack port`: what is wrong with a port is found, and nothing else is accused."""

import json

import numpy as np
import pytest

from benchmarks.measures.porting import sized
from benchmarks.measures.sides import Side
from benchmarks.port import judged, mapping_of, port, source_of
from common import report
from common.errors import Failed, Refused
from common.port.target import parsed
from common.report.form import unlike
from common.weights import read
from tests.ports.cases import CASES
from tests.ports.errors.cases import ODD, SYNTAX_ERROR

FAULTY = {name: case for name, case in CASES.items() if case.cause}
RIGHT = {name: case for name, case in CASES.items() if not case.cause}
HANGING = [name for name, odd in ODD.items() if "time" in odd.told]
# Seconds that a model may take in these tests; the two that hang take them all.
PATIENCE = 20.0
MODELS = "tests.ports.{}_models:{}"


class Sides:
    """Both sides, started when they are first asked, and again when one has ended."""

    def __init__(self):
        self.both = []

    def __call__(self):
        if not self.both or any(s.child.process.poll() is not None for s in self.both):
            self.close()
            self.both = [
                Side(name, seed=0, threads=1, time_limit=PATIENCE)
                for name in ("torch", "keras")
            ]
        return self.both

    def close(self):
        for side in self.both:
            side.__exit__(Refused, Refused(), None)
        self.both = []


@pytest.fixture(scope="module")
def sides():
    both = Sides()
    yield both
    both.close()


def found(sides, torch, keras, inputs, weights="torch", **more):
    """What is found of two models, that is in a form as its schema says."""
    asked = {"file": None, "mapping": {}, "go_on": True, "seed": 0} | more
    result = judged(
        sides(),
        [parsed(torch), parsed(keras)],
        inputs=["x".join(map(str, shape[1:])) for shape in inputs],
        source=weights,
        **asked,
    ) | {"all": False}
    del result["pairs"]
    assert unlike("port", result) == ""
    json.dumps(result, allow_nan=False)
    return result


def of_case(sides, case, **more):
    names = (MODELS.format(side, case.name) for side in ("torch", "keras"))
    return found(sides, *names, [case.input], case.weights, **more)


@pytest.mark.parametrize("name", FAULTY)
def test_the_layer_and_the_cause_are_named_and_mending_it_is_enough(name, sides):
    case = FAULTY[name]
    result = of_case(sides, case)
    faults = [part for part in result["parts"] if part["fault"]]
    assert [part["cause"] for part in faults] == [case.cause]
    places = {(faults[0][side] or {}).get("name") for side in ("torch", "keras")}
    assert places & ({case.layer_torch, case.layer_keras, *case.also} - {""})
    assert (result["agree"], result["mended"]) == (False, True)
    shown = report.shown("port", result, "text")
    assert case.cause in shown


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_pair_is_not_accused(name, sides):
    result = of_case(sides, RIGHT[name])
    assert [part for part in result["parts"] if part["fault"]] == []
    assert result["agree"]


@pytest.mark.parametrize("name", [name for name in ODD if name not in HANGING])
def test_odd_models_are_compared_or_refused_for_the_true_reason(name, sides, tmp_path):
    becomes_of(ODD[name], sides, tmp_path)


@pytest.mark.parametrize("name", HANGING)
def test_a_model_that_never_answers_is_given_up(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_port.PATIENCE", 2.0)
    own = Sides()
    try:
        becomes_of(ODD[name], own, tmp_path)
    finally:
        own.close()


def becomes_of(odd, sides, folder):
    """Hold what becomes of an odd pair to what is said of it."""
    (folder / "broken.py").write_text(SYNTAX_ERROR)
    names = [
        f"{folder / 'broken.py'}:plain"
        if text.startswith("file:")
        else f"tests.ports.errors.{text}"
        for text in (odd.torch, odd.keras)
    ]
    try:
        result = found(sides, *names, odd.inputs)
        outcome = "agrees" if result["agree"] else "parts"
        said = report.shown("port", result, "markdown")
    except Refused as error:
        outcome, said = "refused", str(error)
        assert "\n" not in said
    assert outcome == odd.outcome, said
    for word in odd.told:
        assert word in said


# --- the command ---------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWINTRACK_STORE", str(tmp_path / "runs"))
    return tmp_path


def test_the_command_names_the_line_writes_the_weights_and_exits_with_1(here, capsys):
    line = (
        "port tests.ports.torch_models:eps_second_norm "
        "tests.ports.keras_models:eps_second_norm --write carried.safetensors "
        "--to keras port.weights.h5 --json found.json"
    )
    with pytest.raises(Failed, match=r"part at 4 .*torch_models.py:\d+.*: eps"):
        port(
            *line.split()[1:3],
            write="carried.safetensors",
            to=("keras", "port.weights.h5"),
            json="found.json",
        )
    out = capsys.readouterr().out
    assert "batch_normalization_1" in out
    assert "keras_models.py:" in out
    result = json.loads((here / "found.json").read_text())
    assert result["parts"][0]["cause"] == "eps"
    assert unlike("port", result) == ""
    held, names = read("carried.safetensors")
    assert json.loads(names["4/scale"]) == {
        "torch": "4.weight",
        "keras": "batch_normalization_1.gamma",
    }
    assert held["4/scale"].dtype == np.float64
    assert (here / "port.weights.h5").stat().st_size > 0
    assert list((here / "runs" / "findings").glob("port-*.json"))


def test_two_objects_of_a_notebook_are_compared_as_they_are(here):
    torch = pytest.importorskip("torch")
    import triton  # noqa: F401
    import torchvision  # noqa: F401
    import keras

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(6, 3)

        def forward(self, x):
            return torch.tanh(self.fc(x))

    theirs = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh")])
    assert port(torch_model=Mine(), keras_model=theirs)["agree"]
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "sigmoid")])
    with pytest.raises(Failed, match="activation"):
        port(torch_model=Mine(), keras_model=other)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sized("3x0x4"), "3x224x224"),
        (lambda: sized("big"), "3x224x224"),
        (lambda: source_of("nowhere.safetensors"), "torch, keras, own"),
        (lambda: mapping_of("nowhere.json"), "edit what is written"),
        (lambda: parsed("module"), "package.module:factory"),
        (lambda: parsed("module:f(1)"), "arguments by name"),
        (lambda: parsed("module:f("), "a name or a call"),
        (lambda: port("a:b", "c:d", to=("keras", "x.pt")), ".weights.h5"),
        (lambda: port("a:b", "c:d", to=("jax", "x.pt")), "keras, torch"),
        (lambda: port("a:b"), "the one in Keras must be given"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(call, words):
    with pytest.raises(Refused) as refusal:
        call()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_layers_that_fit_nowhere_are_asked_for_and_the_edit_is_taken(here, sides):
    names = [
        "tests.ports.errors.torch_side:other_width",
        "tests.ports.errors.keras_side:plain",
    ]
    with pytest.raises(Refused, match="--mapping"):
        found(sides, *names, [(4, 6)])
    asked = json.loads((here / "port-mapping.json").read_text())
    assert asked == {"0": "dense", "2": "dense_1"}
    (here / "port-mapping.json").write_text(json.dumps(dict.fromkeys(asked, "")))
    result = found(
        sides, *names, [(4, 6)], mapping=mapping_of(here / "port-mapping.json")
    )
    assert result["units"]["torch"] == ["0", "2"]
    with pytest.raises(Refused, match="has no 'other'"):
        found(sides, *names, [(4, 6)], mapping={"0": "other"})

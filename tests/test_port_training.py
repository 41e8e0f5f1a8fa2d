"""`port --train`: two trainings part where they do, and for the reason that they do."""

import json

import numpy as np
import pytest

from benchmarks.measures.learning import BAND, Asked, labels_of, learnt
from benchmarks.measures.porting import (
    both_run,
    carry,
    drawn,
    keras_shapes,
)
from benchmarks.measures.sides import Side
from common.errors import Refused
from common.port import rules
from common.port.carry import matched
from common.port.chosen import Named, chosen, loss_words
from common.port.losses import Batch, inferred, loss
from common.port.target import parsed
from tests.ports.cases import FAULTY_TRAINING, RIGHT_TRAINING, TRAINING

TABLE = "tests.ports.torch_training", "tests.ports.keras_training"
OWN = "tests.ports.torch_learning", "tests.ports.keras_learning"
HOW = {"seed": 0, "threads": 1, "time_limit": 120.0}
# NumPy and torch round apart: a few steps of sums of two products.
ROUNDING = 1e-12


@pytest.fixture(scope="module")
def sides():
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    with Side("torch", **HOW) as torch, Side("keras", **HOW) as keras:
        yield torch, keras


def trained(sides, homes, models, **asked):
    """What is found of two models of two modules."""
    torch, keras = sides
    for side, home, model in zip(sides, homes, models, strict=True):
        side.open(parsed(f"{home}:{model}"))
    (here, _), (there, _) = torch.answer(), keras.answer()
    tokens = here["tokens"]
    given = drawn(keras_shapes(there["inputs"], []), there["inputs"], tokens, 0)
    _, _, turned, _ = both_run(torch, keras, given)
    carried = matched(torch.units, keras.units)
    carry(torch, keras, carried, source="torch", given=None, seed=0)
    return learnt(torch, keras, carried, (turned, given), Asked(tokens=tokens, **asked))


FOUND = {}  # of the table, once for all tests


def of_table(sides, name):
    if name not in FOUND:
        FOUND[name] = _of_table(sides, name)
    return FOUND[name]


def _of_table(sides, name):
    case = TRAINING[name]
    named = [[f"{home}:{n}" for home in TABLE] for n in (case.optimizer, case.loss)]
    models = (case.model, case.model)
    return trained(sides, TABLE, models, steps=3, optimizer=named[0], loss=named[1])


@pytest.mark.parametrize("name", [case.name for case in FAULTY_TRAINING])
def test_a_mistake_is_found_at_its_step_and_by_its_cause(sides, name):
    case, result = TRAINING[name], of_table(sides, name)
    faults = [part for part in result.parts if part.fault]
    assert {part.cause for part in faults} == set(case.causes)
    assert (faults[0].step, faults[0].what) == (case.step, case.first)
    buffers = {"": "", "running_mean": "1/mean", "running_var": "1/var"}
    if case.tensor:
        assert faults[0].torch == buffers[case.tensor]
    assert not result.agree
    assert result.proved == case.step - 1
    assert result.stepwise == 3  # with what is named mended, nothing else parts
    json.dumps(result.wire(), allow_nan=False)


@pytest.mark.parametrize("name", [case.name for case in RIGHT_TRAINING])
def test_right_trainings_are_not_accused(sides, name):
    result = of_table(sides, name)
    assert result.agree
    assert result.proved == 3
    assert not [part for part in result.parts if part.fault]


def test_what_is_named_is_what_both_have(sides):
    (part,) = of_table(sides, "epsilon_ported").parts
    assert part.text.startswith("epsilon: 1e-08 in torch, 1e-07 in Keras; with torch's")
    (part,) = of_table(sides, "clip_per_tensor").parts
    assert "the norm of all to 0.1 in torch, each tensor's norm to 0.1" in part.text
    assert part.torch == "0/kernel"
    assert part.keras == "dense/kernel"


BY_NAME = {"loss": ("cross_entropy", "cross_entropy"), "steps": 4}
SGD = ("sgd(lr=.05)", "sgd(lr=.05)")
SGD_MOMENTUM = ("sgd(lr=.05, momentum=.9)", "")
COMPILED = {"optimizer": SGD_MOMENTUM, "loss": ("cross_entropy", "")}


def stepped(torch="", keras=""):
    return {
        "step": tuple(
            f"{h}:{n}" if n else "" for h, n in zip(OWN, (torch, keras), strict=True)
        )
    }


# Name -> models, what is asked besides, and the causes that are found.
USERS = {
    "named_adam": (("mlp", "mlp"), {"optimizer": ("adam(lr=.01)",) * 2},
                   {"epsilon", "epsilon-hat"}),
    "compiled": (("mlp", "compiled"), COMPILED, set()),
    "bce": (("mlp", "mlp"), {"loss": ("bce(smoothing=.1)",) * 2}, set()),
    "regularized": (
        ("mlp", "regularized"),
        COMPILED | {"optimizer": (f"{OWN[0]}:sgd_decayed", "")},
        set(),
    ),
    "regularized_twice": (
        ("mlp", "regularized(share=.02)"),
        COMPILED | {"optimizer": (f"{OWN[0]}:sgd_decayed", "")},
        {"decay"},
    ),
    "fitting": (("mlp", "compiled"), COMPILED | stepped("", "fitting"), set()),
    "bias_before_norm": (
        ("bias_before_norm", "bias_before_norm"),
        {"optimizer": ("adam(lr=.01, eps=1e-3)",) * 2},
        {"epsilon-hat", "variance"},
    ),
    "frozen": (("mlp", "frozen"), {}, {"frozen"}),
    "two_biases": (("Recurrent", "recurrent"), {}, {"two-biases"}),
    "attending": (("Attending", "attending"), {}, set()),
    "segmenting": (("Segmenting", "segmenting"), {}, set()),
    "logits": (
        ("mlp", "mlp"),
        {"loss": ("cross_entropy", f"{OWN[1]}:probabilities")},
        {"from-logits"},
    ),
    "accumulating": (
        ("mlp", "mlp"),
        {"optimizer": (SGD[0], f"{OWN[1]}:sgd_accumulated")} | stepped("accumulating"),
        set(),
    ),
    "accumulating_alone": (("mlp", "mlp"), stepped("accumulating"), {"accumulation"}),
    "clipping": (("mlp", "mlp"), stepped("clipping", "clipping"), {"clip"}),
    "clipping_all": (("mlp", "mlp"), stepped("clipping", "clipping_all"), set()),
    "falling": (("mlp", "mlp"), stepped("falling", "clipping_all"), {"rate"}),
}  # fmt: skip


@pytest.mark.parametrize("name", USERS)
def test_trainings_as_users_write_them(sides, name):
    models, asked, causes = USERS[name]
    result = trained(sides, OWN, models, **(BY_NAME | {"optimizer": SGD} | asked))
    assert {part.cause for part in result.parts if part.fault} == causes
    assert result.agree == (not causes)


def test_several_mistakes_are_found_in_one_run(sides):
    result = trained(
        sides,
        TABLE,
        ("normed", "normed_swapped"),
        steps=3,
        optimizer=(f"{TABLE[0]}:sgd_nesterov", f"{TABLE[1]}:sgd_nesterov"),
        loss=(f"{TABLE[0]}:smoothed", f"{TABLE[1]}:smoothed"),
    )
    causes = [part.cause for part in result.parts]
    assert causes == ["smoothing", "momentum", "momentum-of-statistics", "variance"]
    assert result.stepwise == 3


def test_dropout_is_off_and_said(sides):
    result = trained(sides, OWN, ("dropping",) * 2, **BY_NAME | {"optimizer": SGD})
    assert result.agree
    assert "dropout is off in both" in result.notes[0]
    assert "[0.5] in torch, [0.2] in Keras" in result.notes[0]


def test_chaos_is_told_from_a_fault_by_torch_one_ulp_away(sides):
    hard = tuple(f"{home}:sgd_hard" for home in OWN)
    asked = BY_NAME | {"optimizer": hard, "steps": 10}
    result = trained(sides, OWN, ("chaotic", "chaotic"), **asked)
    assert result.chaos
    assert result.agree
    assert 1 <= result.proved < 10
    assert result.stepwise == 10
    assert f"{result.proved} steps are proved" in result.parts[0].text
    assert result.pair[-1] <= BAND * result.control[-1]


def test_a_fault_amid_chaos_is_a_fault(sides):
    hard = tuple(
        f"{home}:{n}" for home, n in zip(OWN, ("sgd_hard", "sgd_harder"), strict=True)
    )
    asked = BY_NAME | {"optimizer": hard, "steps": 10}
    result = trained(sides, OWN, ("chaotic", "chaotic"), **asked)
    assert not result.chaos
    assert [part.cause for part in result.parts] == ["rate"]
    assert result.parts[0].step == 9


def test_what_a_training_raises_is_told_with_its_line(sides):
    with pytest.raises(Refused, match=r"torch_learning.py:\d+: out of paper; mend"):
        trained(
            sides,
            OWN,
            ("mlp",) * 2,
            **BY_NAME | {"optimizer": SGD},
            **stepped("raising"),
        )
    with pytest.raises(
        Refused, match="must be named where the Keras model is not comp"
    ):
        trained(sides, OWN, ("mlp",) * 2, **BY_NAME | {"optimizer": SGD_MOMENTUM})
    with pytest.raises(
        Refused, match=r"an optimizer is named as .* sgd, adam, .* 'sdg'"
    ):
        trained(sides, OWN, ("mlp",) * 2, **BY_NAME | {"optimizer": ("sdg", "sgd")})


# --- rules in NumPy -------------------------------------------------------------------

SHAPES = {"a": (5, 3), "b": (3,)}


def history(make, steps=6, before_step=lambda parameters, step: None):
    """What torch's own optimizer does with random gradients."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    start = {n: torch.tensor(rng.normal(0, 1, s)) for n, s in SHAPES.items()}
    parameters = {n: torch.nn.Parameter(t) for n, t in start.items()}
    optimizer = make(torch.optim, list(parameters.values()))
    recorder = rules.Recorder(SHAPES, 1e-6)
    for step in range(1, steps + 1):
        before = {n: p.detach().numpy().copy() for n, p in parameters.items()}
        gradients = {n: rng.normal(0, 1e-3, s) for n, s in SHAPES.items()}
        for n, p in parameters.items():
            p.grad = torch.tensor(gradients[n])
        before_step(list(parameters.values()), step)
        used = {n: p.grad.numpy().copy() for n, p in parameters.items()}
        rates = dict.fromkeys(SHAPES, optimizer.param_groups[0]["lr"])
        optimizer.step()
        after = {n: p.detach().numpy().copy() for n, p in parameters.items()}
        recorder.add(step, gradients, used, (before, after), rates)
    return recorder.history


DECAYS = (0.1, 0.1)
RULES = {
    "sgd": (lambda o, p: o.SGD(p, 0.1), {}),
    "dampened": (
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
        {"momentum": 0.9, "dampening": 0.3, "decays": DECAYS},
    ),
    "nesterov": (
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, nesterov=True),
        {"momentum": 0.9, "nesterov": True},
    ),
    "adam": (
        lambda o, p: o.Adam(p, 0.1, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1),
        {"kind": "adam", "betas": (0.8, 0.95), "eps": 1e-4, "decays": DECAYS},
    ),
    "amsgrad": (
        lambda o, p: o.Adam(p, 0.1, amsgrad=True),
        {"kind": "adam", "eps": 1e-8, "amsgrad": True},
    ),
    "adamw": (
        lambda o, p: o.AdamW(p, 0.1, weight_decay=0.1),
        {"kind": "adam", "eps": 1e-8, "decays": DECAYS, "coupled": False},
    ),
    "rmsprop": (
        lambda o, p: o.RMSprop(p, 0.1, alpha=0.9, momentum=0.5, centered=True),
        {
            "kind": "rmsprop",
            "rho": 0.9,
            "eps": 1e-8,
            "eps_at": "beside",
            "momentum": 0.5,
            "centred": True,
        },
    ),
    "adadelta": (
        lambda o, p: o.Adadelta(p, 0.1, rho=0.8),
        {"kind": "adadelta", "rho": 0.8, "eps": 1e-6},
    ),
    "adagrad": (
        lambda o, p: o.Adagrad(p, 0.1, initial_accumulator_value=0.2),
        {"kind": "adagrad", "eps": 1e-10, "eps_at": "beside", "start": 0.2},
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_in_numpy_is_torch_s(name):
    make, words = RULES[name]
    done = history(make)
    rule = rules.Rule(**{"decays": (0.0, 0.0)} | words)
    assert rules.apart(rule, done).size <= ROUNDING
    # ... and every word of it is needed.
    for word in words.keys() - {"kind", "eps_at"}:
        other = {"decays": (0.0, 0.0), "coupled": True}.get(word, 0.6)
        other = (0.5, 0.5) if word == "betas" else other
        other = not words[word] if isinstance(words[word], bool) else other
        changed = rules.Rule(**{"decays": (0.0, 0.0)} | words | {word: other})
        assert rules.apart(changed, done).size > 1e-6, word


def test_a_bound_is_found_from_what_was_clipped():
    torch = pytest.importorskip("torch")

    def clip(parameters, step):
        torch.nn.utils.clip_grad_norm_(parameters, 0.002)

    done = history(lambda o, p: o.Adam(p, 0.1), before_step=clip)
    told = rules.Rule(kind="adam", eps=1e-8, eps_at="corrected", decays=(0.0, 0.0))
    found = rules.inferred(told, told, done, ROUNDING)
    assert found.clip == ("all", 0.002, rules.CLIP_EPS)


def test_a_rule_that_nobody_knows_is_none():
    done = history(lambda o, p: o.Rprop(p, 0.1))
    told = rules.Rule(kind="sgd", momentum=0.9, decays=(0.0, 0.0))
    assert rules.inferred(told, told, done, ROUNDING) is None


def test_a_large_tensor_is_looked_at_in_part_and_its_norm_is_whole():
    shapes = {"large": (3, rules.MOST)}
    recorder = rules.Recorder(shapes, 1e-6)
    one = {"large": np.ones(shapes["large"])}
    recorder.add(1, one, {}, (one, {"large": 2 * one["large"]}), {"large": 1.0})
    (update,) = recorder.history.updates
    assert update.given.shape == (rules.MOST,)
    assert update.norms[0] == pytest.approx(np.sqrt(3 * rules.MOST))


# --- losses in NumPy ------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_in_numpy_is_torch_s(smoothing, weights, reduction):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, (7, 3)), rng.integers(3, size=7)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    value = torch.nn.functional.cross_entropy(
        torch.tensor(x),
        torch.tensor(y),
        weight=weight,
        label_smoothing=smoothing,
        reduction=reduction,
    ).item()
    over = "weights" if weights and reduction == "mean" else reduction
    words = {
        "kind": "cross_entropy",
        "smoothing": smoothing,
        "weights": weights,
        "over": over,
    }
    assert loss(words, x, y) == pytest.approx(value, rel=ROUNDING)
    # What a side does not tell of itself is found from what came out.
    told, other = {"kind": ""}, {"kind": "cross_entropy", "weights": [0.5, 1.0, 2.0]}
    found = inferred(told, other, [Batch(x, y, value)], ROUNDING)
    assert loss(found, x, y) == pytest.approx(value, rel=ROUNDING)


def test_labels_are_of_the_kind_that_a_loss_takes():
    assert labels_of((8, 4), "cross_entropy", 0).max() < 4
    assert labels_of((8, 6, 5, 4), "cross_entropy", 0).shape == (8, 6, 5)
    assert set(np.unique(labels_of((8, 1), "bce", 0))) == {0.0, 1.0}
    assert labels_of((8, 4), "mse", 0).dtype == np.float64
    assert labels_of((8, 1), "", 0).dtype == np.float64


def test_an_optimizer_is_named_with_its_arguments():
    found = chosen("Adam(lr=1e-3)", "an optimizer", ("adam",))
    assert found == Named("adam", {"lr": 1e-3})
    for text in ("adam(1e-3)", "lamb", "adam(", "adam(lr=x)"):
        with pytest.raises(Refused, match="an optimizer is named as"):
            chosen(text, "an optimizer", ("adam",))


def test_a_named_loss_takes_what_it_knows():
    named = chosen("cross_entropy(smoothing=.1)", "a loss", ("cross_entropy",))
    assert loss_words(named) == {
        "kind": "cross_entropy",
        "over": "mean",
        "smoothing": 0.1,
    }
    with pytest.raises(
        Refused, match=r"cross_entropy takes .* got label_smoothing=0.1"
    ):
        loss_words(Named("cross_entropy", {"label_smoothing": 0.1}))

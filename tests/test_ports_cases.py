"""The pairs of tests/ports are what cases.py says: judged without twintrack.

Weights are carried by a list of layer kinds that is written here: a second witness for
the matcher of `twintrack port`.
"""

import ast
from importlib import import_module
from inspect import isfunction
from itertools import chain
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")  # triton and torchvision: conftest.py
import keras
import numpy as np
import tensorflow as tf
from torch import nn

from tests.ports import keras_models, keras_training, torch_models, torch_training
from tests.ports.cases import (
    CASES,
    CAUSES,
    FAULTY,
    FAULTY_TRAINING,
    RIGHT,
    RIGHT_TRAINING,
    ROUNDING,
    SEEN,
    TRAINING,
    TRAINING_CAUSES,
)
from tests.ports.errors.cases import ODD, SYNTAX_ERROR


@pytest.fixture(autouse=True)
def _as_it_was():
    before = keras.config.floatx(), torch.get_default_dtype()
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(policy)  # made of floatx when it was first asked for
    torch.set_default_dtype(before[1])


def start(case):
    """In a case's precision, with automatic names and seeds from the beginning."""
    keras.config.set_floatx("float64" if case.float64 else "float32")
    torch.set_default_dtype(torch.float64 if case.float64 else torch.float32)
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)  # torch's too


# --- weights: one unit of torch's -> what one layer of Keras takes


def numbers(*tensors):
    return [t.detach().numpy() for t in tensors if t is not None]


def kernel_last(weight):
    """(out, in, ...) to (..., in, out)."""
    return np.moveaxis(weight, (1, 0), (-2, -1))


def linear(module):
    weight, *bias = numbers(module.weight, module.bias)
    return [weight.T, *bias]


def convolution(module):
    weight, *bias = numbers(module.weight, module.bias)
    return [kernel_last(weight), *bias]


def depthwise(module):
    weight, *bias = numbers(module.weight, module.bias)
    out, _, *window = weight.shape
    weight = weight.reshape(module.in_channels, out // module.in_channels, *window)
    return [np.moveaxis(weight, (0, 1), (-2, -1)), *bias]


def norm(module):
    running = (
        getattr(module, "running_mean", None),
        getattr(module, "running_var", None),
    )
    return numbers(module.weight, module.bias, *running)


def reset_first(weight):
    """Torch's gates r, z, n to Keras's z, r, n, along the last axis."""
    r, z, n = np.split(weight, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)


def recurrent(module, suffix):
    w, u, b, c = numbers(
        *(getattr(module, f"{name}_{suffix}") for name in RECURRENT_NAMES)
    )
    if isinstance(module, nn.LSTM):
        return [w.T, u.T, b + c]
    return [reset_first(w.T), reset_first(u.T), reset_first(np.stack([b, c]))]


RECURRENT_NAMES = "weight_ih", "weight_hh", "bias_ih", "bias_hh"


def attention(module):
    heads, width = module.num_heads, module.head_dim
    weights = np.split(numbers(module.in_proj_weight)[0], 3)
    biases = np.split(numbers(module.in_proj_bias)[0], 3)
    found = []
    for weight, bias in zip(weights, biases, strict=True):
        found += [weight.T.reshape(-1, heads, width), bias.reshape(heads, width)]
    weight, bias = numbers(module.out_proj.weight, module.out_proj.bias)
    return [*found, weight.T.reshape(heads, width, -1), bias]


def prelu(module):
    return [numbers(module.weight)[0][None, None]]


def units(model):
    """(path, module, arrays) of whatever holds weights, in the order of definition."""
    inside = ()
    for path, module in model.named_modules():
        if inside and path.startswith(inside):
            continue
        if isinstance(module, nn.MultiheadAttention):
            inside = f"{path}."
            yield path, module, attention(module)
        elif isinstance(module, (nn.LSTM, nn.GRU)):
            for level in range(module.num_layers):
                ways = ("", "_reverse") if module.bidirectional else ("",)
                arrays = [recurrent(module, f"l{level}{way}") for way in ways]
                yield path, module, [*chain(*arrays)]
        elif isinstance(module, torch_models.ConvNeXtBlock):
            last = module, numbers(module.gamma)
        elif isinstance(module, nn.Linear):
            yield path, module, linear(module)
            if path.endswith("pwconv2"):
                yield path, *last
        elif isinstance(module, nn.modules.conv._ConvNd):
            yield path, module, convolution(module)
        elif isinstance(module, nn.PReLU):
            yield path, module, prelu(module)
        elif isinstance(module, nn.Embedding):
            yield path, module, numbers(module.weight)
        elif not isinstance(module, torch_models.Normalize) and numbers(
            *module.parameters(recurse=False)
        ):
            yield path, module, norm(module)


WHOLE = (
    keras.layers.MultiHeadAttention,
    keras.layers.Bidirectional,
    keras.layers.LSTM,
    keras.layers.GRU,
)


def holders(layer):
    """Keras layers that hold weights, in the order of definition."""
    for inner in layer._layers if hasattr(layer, "_layers") else ():
        if isinstance(inner, keras.layers.Normalization):
            continue
        own = [w for w in inner.weights if "seed" not in w.path]
        if isinstance(inner, WHOLE) or (own and not inner._layers):
            yield inner
        else:
            yield from holders(inner)


def carry(original, port, *, without=(), order=list):
    found = [unit for unit in units(original) if unit[0] not in without]
    for layer in order(holders(port)):
        _, module, arrays = found.pop(0)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            arrays = depthwise(module)
        if isinstance(layer, keras.layers.SeparableConv2D):
            arrays = [*depthwise(module), *found.pop(0)[2]]
        if getattr(layer, "use_bias", True) is False:
            arrays = arrays[: len(layer.weights)]
        if getattr(layer, "scale", True) is False:
            arrays = arrays[1:]
        if isinstance(layer, keras.layers.BatchNormalization) and len(arrays) == 2:
            arrays = arrays + layer.get_weights()[2:]
        weights = [w for w in layer.weights if "seed" not in w.path]
        for weight, array in zip(weights, arrays, strict=True):
            assert tuple(weight.shape) == array.shape, (layer.name, weight.path)
            weight.assign(np.ascontiguousarray(array))
    assert not found


def shortcut_last(layers):
    """Of a bottleneck: torch's defines it behind the convolutions beside it."""
    layers = list(layers)
    shortcut = [layer for layer in layers if "_0_" in layer.name]
    rest = [layer for layer in layers if "_0_" not in layer.name]
    at = next(i for i, layer in enumerate(rest) if layer.name.endswith("_3_bn"))
    return rest[: at + 1] + shortcut + rest[at + 1 :]


def norms_last(layers):
    """Of an encoder's layer: torch's defines both norms behind the dense layers."""
    names = ["project", "self_attn", "linear1", "linear2", "norm1", "norm2", "head"]
    return sorted(layers, key=lambda layer: names.index(layer.name))


# What a port lacks with its weights: paths in the original.
WITHOUT = {"layer_norm_missing": {"1.bn2"}}
# Where the original defines its layers in another order than the port calls them.
ORDER = {
    "right_resnet": shortcut_last,
    "stride_bottleneck": shortcut_last,
    "right_encoder_layer": norms_last,
}


# --- both run on one input


def input_of(case):
    rng = np.random.default_rng(3)
    if case.tokens:
        return rng.integers(case.tokens, size=case.input)
    return rng.normal(0, 1, case.input).astype("float64" if case.float64 else "float32")


def last(array, case):
    """As Keras has it."""
    moves = case.channels_first and array.ndim > 2
    return np.moveaxis(array, 1, -1) if moves else array


def run(case, *, mended=False):
    """Both models, and their outputs in Keras's layout."""
    start(case)
    arguments = (case.mended_torch, case.mended) if mended else ({}, {})
    original = getattr(torch_models, case.name)(**arguments[0]).eval()
    port = getattr(keras_models, case.name)(**arguments[1])
    x = input_of(case)
    with torch.no_grad():
        expected = last(original(torch.from_numpy(x)).numpy(), case)
    if case.weights == "torch":
        port(last(x, case))  # builds what is not built yet
        without = () if mended else WITHOUT.get(case.name, ())
        carry(original, port, without=without, order=ORDER.get(case.name, list))
    found = port(last(x, case)).numpy()
    assert found.dtype == expected.dtype
    return original, port, expected, found


def difference(expected, found):
    """Infinite where the shapes already part."""
    if expected.shape != found.shape:
        return np.inf
    return np.abs(expected - found).max()


@pytest.mark.parametrize("name", [case.name for case in RIGHT])
def test_right_pairs_agree(name):
    case = CASES[name]
    *_, expected, found = run(case)
    assert np.abs(expected).max() > 1e-2  # there is something to agree on
    assert difference(expected, found) < case.tolerance


@pytest.mark.parametrize("name", [case.name for case in FAULTY])
def test_faulty_pairs_part_where_they_say_and_nowhere_else(name):
    case = CASES[name]
    original, port, expected, found = run(case)
    assert difference(expected, found) > max(SEEN, case.tolerance)
    paths = {path for path, _ in original.named_modules()}
    names = {layer.name for layer in port._flatten_layers()}
    names |= {operation.name for operation in getattr(port, "operations", ())}
    assert case.layer_torch in paths
    assert case.layer_keras in names | {""}
    assert set(case.also) <= paths | names
    assert case.layer_torch or case.op
    *_, expected, found = run(case, mended=True)
    assert difference(expected, found) < case.tolerance


def test_every_cause_has_a_pair():
    assert {case.cause for case in FAULTY} == set(CAUSES)
    assert not any(case.cause for case in RIGHT)
    assert len(CASES) == len(FAULTY) + len(RIGHT)


# --- training


def trained_torch(case, x, y, steps, *, mended):
    """Of each step: the loss, gradients, weights and buffers, in torch's layout."""
    model = getattr(torch_training, case.model)()
    start_weights = [p.detach().clone() for p in model.parameters()]
    arguments = case.mended_torch if mended else {}
    build = getattr(torch_training, case.optimizer)
    optimizer = build(list(model.parameters()), **arguments)
    measure = getattr(torch_training, case.loss)()
    told = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = measure(model(torch.from_numpy(x)), torch.from_numpy(y))
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        loss.backward()
        optimizer.step()
        buffers = [b for b in model.buffers() if b.ndim]
        told.append(
            {
                "loss": [loss.detach().numpy()],
                "gradient": numbers(*gradients),
                "weights": [n.copy() for n in numbers(*parameters)],
                "buffers": [n.copy() for n in numbers(*buffers)],
            }
        )
    return start_weights, told


def in_torch(array):
    """A Keras kernel in torch's layout."""
    if array.ndim < 2:
        return array
    return np.moveaxis(array, (-2, -1), (1, 0)) if array.ndim > 2 else array.T


def trained_keras(case, weights, x, y, steps, *, mended):
    arguments = case.mended if mended else {}
    model, optimizer, measure = (
        getattr(keras_training, getattr(case, part))(**arguments.get(part, {}))
        for part in ("model", "optimizer", "loss")
    )
    variables = model.trainable_variables
    for variable, value in zip(variables, weights, strict=True):
        value = value.numpy()
        variable.assign(value.T if value.ndim == 2 else in_keras(value))
    told = []
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = measure(y, model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        told.append(
            {
                "loss": [loss.numpy()],
                "gradient": [in_torch(g.numpy()) for g in gradients],
                "weights": [in_torch(v.numpy()) for v in variables],
                "buffers": [v.numpy() for v in model.non_trainable_variables],
            }
        )
    return told


def in_keras(array):
    return kernel_last(array) if array.ndim > 2 else array


STEPS = 2  # the latest parting is in the second


def parting(case, *, mended=False):
    """(step, kind, number of the tensor) of what parts first, or None.

    A tensor parts by more than the tolerance, of its largest value, but of its
    largest update if it is weights.
    """
    start(next(iter(CASES.values())))
    rng = np.random.default_rng(4)
    shape = (8, 6) if case.model == "mlp" else (8, 3, 8, 6)
    x, y = rng.normal(0, 1, shape), rng.integers(4, size=8)
    before, expected = trained_torch(case, x, y, STEPS, mended=mended)
    x = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    found = trained_keras(case, before, x, y, STEPS, mended=mended)
    for step, (a, b) in enumerate(zip(expected, found, strict=True), 1):
        for kind in ("loss", "gradient", "weights", "buffers"):
            pairs = enumerate(zip(a[kind], b[kind], strict=True))
            for number, (one, other) in pairs:
                origin = before[number].numpy() if kind == "weights" else 0
                size = max(np.abs(one - origin).max(), 1e-300)
                if np.abs(one - other).max() > case.tolerance * size:
                    return step, kind, number
    return None


@pytest.mark.parametrize("name", [case.name for case in RIGHT_TRAINING])
def test_right_trainings_agree(name):
    assert parting(TRAINING[name]) is None


@pytest.mark.parametrize("name", [case.name for case in FAULTY_TRAINING])
def test_faulty_trainings_part_where_they_say_and_nowhere_else(name):
    case = TRAINING[name]
    step, kind, number = parting(case)
    assert (step, kind) == (case.step, case.first)
    if case.tensor:
        assert case.tensor == ("running_mean", "running_var")[number]
    assert parting(case, mended=True) is None


def test_every_cause_of_a_training_has_a_pair():
    causes = {cause for case in FAULTY_TRAINING for cause in case.causes}
    assert causes == set(TRAINING_CAUSES)
    assert not any(case.causes or case.first for case in RIGHT_TRAINING)


# --- odd ones


def side(text):
    """The object that `module:name` or `module:name(arguments)` names."""
    module, _, name = text.partition(":")
    return eval(name, vars(import_module(f"tests.ports.errors.{module}")))


def odd_input(shape, tokens):
    rng = np.random.default_rng(5)
    return rng.integers(20, size=shape) if tokens else rng.normal(0, 1, shape)


def flat(outputs):
    if isinstance(outputs, dict):
        outputs = [outputs[name] for name in sorted(outputs)]
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


AGREE = [name for name, odd in ODD.items() if odd.outcome == "agrees"]
# Not tried here: the first would change this process.
AWAY = {
    "trains_when_imported",
    # Agree as port reads them: outputs by what they hold, and a type that is overruled.
    "dict_against_tuple",
    "float16",
}


@pytest.mark.parametrize("name", [name for name in AGREE if name not in AWAY])
def test_odd_pairs_that_agree_do(name):
    odd = ODD[name]
    start(next(iter(CASES.values())))
    made = [side(odd.torch), side(odd.keras)]
    made = [m() if isinstance(m, type) or isfunction(m) else m for m in made]
    original, port = made[0].eval().double(), made[1]
    inputs = [odd_input(shape, i in odd.tokens) for i, shape in enumerate(odd.inputs)]
    expected = original(*map(torch.from_numpy, inputs))
    given = inputs if len(inputs) > 1 else inputs[0]
    port(given)
    arrays = [array for array in odd_units(name, original) if array.size]
    for weight, array in zip(port.weights, arrays, strict=True):
        weight.assign(array)
    for one, other in zip(flat(expected), flat(port(given)), strict=True):
        assert difference(one.detach().numpy(), other.numpy()) < ROUNDING


# Keras's weights, as places in torch's, where the order is another one.
ODD_ORDER = {
    "two_of_one_shape": (2, 3, 0, 1),  # called in another order than defined
    "dict_output": (0, 1, 4, 5, 2, 3),  # outputs in the order of their names
}


def odd_units(name, model):
    """Arrays in Keras's order; a dense kernel turned."""
    weights = dict(model.named_parameters(remove_duplicate=name != "tied_on_one_side"))
    arrays = numbers(
        *(w if w.ndim < 2 or "embed" in path else w.T for path, w in weights.items())
    )
    return [arrays[i] for i in ODD_ORDER.get(name, range(len(arrays)))]


@pytest.mark.parametrize("name", ["random_layer", "both_random"])
def test_random_ones_are_random(name):
    start(next(iter(CASES.values())))
    model, x = side(ODD[name].torch)().eval(), torch.ones(4, 6)
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", ["fails_when_made", "raises", "keras_raises"])
def test_those_that_raise_do(name):
    start(next(iter(CASES.values())))
    odd = ODD[name]
    framework = "keras" if name.startswith("keras") else "torch"
    with pytest.raises(Exception, match=odd.told[-1] if name != "raises" else "mat1"):
        side(getattr(odd, framework))()(np_or_torch(framework))


def np_or_torch(framework):
    return np.ones((4, 6)) if framework == "keras" else torch.ones(4, 6)


def test_refusals_say_something():
    assert all(odd.told for odd in ODD.values() if odd.outcome != "agrees")
    with pytest.raises(SyntaxError):
        compile(SYNTAX_ERROR, "model.py", "exec")


# --- what the files are made of

FOLDER = Path(__file__).parent / "ports"
# (walk/ is one side a file, as its user has it.)
PORTS = [
    path
    for path in sorted(FOLDER.rglob("*.py"))
    if path.stem != "__init__" and path.parent.name != "walk"
]
PLAIN = {"math", "time", "random", "argparse", "pathlib", "numpy"}
TABLES = {"collections", "dataclasses", "typing"}


def imported(path):
    """Top-level packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", PORTS, ids=lambda path: path.stem)
def test_a_side_imports_its_own_framework_and_a_table_none(path):
    allowed = {"cases": TABLES, "keras": PLAIN | {"keras", "tensorflow"}}
    allowed = allowed.get(path.stem.partition("_")[0], PLAIN | {"torch"})
    assert set(imported(path)) <= allowed

"""The list of faults and what `twintrack port` says of each hold together."""

import ast
import json
from pathlib import Path

import pytest

import common.port
from benchmarks.catalogue import NOT_TOLD
from common.faults import FAULTS
from common.port import worded
from common.port.given import PIXELS, SCALE
from tests import pages
from tests.ports.cases import CASES, TRAINING

IN_MODELS = {name: fault.port for name, fault in FAULTS.items() if fault.port}
IN_TRAINING = {name: fault.training for name, fault in FAULTS.items() if fault.training}
# In a draw, in the data, in an average, or a rule that no library has: in user code
# there is nothing to be compared, as `port` gives both sides the same of these.
IN_NEITHER = {
    "init-bias",
    "init-default",
    "init-truncation",
    "whiten-sign",
    "dropout-missing",
    "dropout-rate",
    "flip-phase",
    "flip-missing",
    "last-batch",
    "lookahead-statistics",
    "average-warm-up",
    "muon-transpose",
    "fmp-regions",
    "tta-weights",
}


# Fault -> the pair that has the same mistake in plain user code.
PAIRS = {
    "bn-eps": "eps_second_norm",
    "padding": "padding_same_stride",
    "pool-border": "pool_border_branch",
    "preprocessing": "pixel_scale_variance",
    "flatten-order": "flatten_missing_permute",
    "lrn-alpha": "lrn_alpha",
    "gelu-tanh": "gelu_functional",
    "norm-order": "order_relu_norm",
    "norm-missing": "layer_norm_missing",
    "norm-scale": "affine_scale",
    "norm-frozen": "statistics_not_tracked",
    "activation-missing": "layer_activation_missing",
    "activation": "activation_leaky",
    "slope": "slope_default",
    "pool-kind": "pool_kind_max",
    "pool-order": "order_lrn_pool",
    "pads-missing": "padding_valid",
    "stride": "stride_bottleneck",
    "bias-missing": "bias_conv",
    "lrn-size": "lrn_size",
    "pixel-scale": "pixel_scale_rescaling",
    "channel-order": "pixel_scale_means",
}
TRAININGS = {
    "bn-variance": "variance",
    "adam-eps": "epsilon_ported",
    "momentum-form": "momentum_schedule",
    "decay-coupling": "decay_coupled",
    "norm-decay": "statistics_momentum",
    "nesterov": "momentum_nesterov",
    "momentum-missing": "momentum_nesterov",
    "adam-form": "epsilon_hat",
    "adam-beta2": "betas",
    "learning-rate": "rate",
    "warm-up": "rate",
    "schedule-missing": "rate",
    "decay-twice": "decay_rate",
    "decay-all": "decay_without_bias",
    "decay-missing": "decay_rate",
    "smoothing": "smoothing",
    "clip": "clip_per_tensor",
}


def causes():
    """Every name that a cause can be given, read from the source."""
    found = {*worded.NAMES.values(), SCALE[0], PIXELS[0]}
    found |= {name for family in worded.FAMILIES for name in family.values()}
    for path in Path(common.port.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found |= {one.value for one in given(node) if isinstance(one, ast.Constant)}
    return found


def given(node):
    """What a piece of source gives as a cause's name."""
    match node:
        case ast.keyword(arg="name", value=value):
            yield value
        case ast.Assign(targets=[ast.Name("name")], value=ast.IfExp(_, one, other)):
            yield from (one, other)
        case ast.Yield(ast.Tuple([first, *_])):
            yield first


@pytest.mark.parametrize("fault", IN_MODELS)
def test_port_can_name_its_cause_and_does_so_of_a_pair(fault):
    """That it does is in test_port.py, where every pair is judged."""
    assert IN_MODELS[fault] in causes()
    assert CASES[PAIRS[fault]].cause == IN_MODELS[fault]


@pytest.mark.parametrize("fault", IN_TRAINING)
def test_a_pair_of_trainings_has_its_cause(fault):
    assert IN_TRAINING[fault] in TRAINING[TRAININGS[fault]].causes


def test_every_fault_is_one_of_models_of_trainings_or_of_neither():
    assert not IN_MODELS.keys() & IN_TRAINING.keys()
    assert FAULTS.keys() - IN_MODELS.keys() - IN_TRAINING.keys() == IN_NEITHER


def test_the_table_of_faults_is_what_the_command_lists():
    written = json.loads(pages.FAULTS_FILE.read_text())
    assert written == pages.faults(), "python -m tests.pages"
    said = {row["fault"]: row["port"] for row in written["result"]["faults"]}
    assert {name for name, text in said.items() if text == NOT_TOLD} == IN_NEITHER

"""What a user's shell changes behind everybody's back is fixed, or told apart.

No framework is started: what TensorFlow does under TF_ENABLE_ONEDNN_OPTS=0 was measured
by hand (docs/records.md); here is whether such runs are taken for the same.
"""

import os

import pytest

from benchmarks.engine.call import call
from benchmarks.engine.machine import Machine
from benchmarks.engine.process import environment
from benchmarks.request import Setting
from common import record, variables
from common.data import DataRequest, pictures
from common.data.features import Key
from common.errors import Refused
from common.systems import resolve
from common.variables import FIXED, HARMLESS, SWITCHES, THREADS


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """A shell that changes nothing."""
    for name in os.environ:
        if name in FIXED or name.startswith((*variables.PREFIXES, "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)


def job(track, device="cpu", mode="aligned"):
    """A run as it is asked for in this environment."""
    machine = Machine(precision="float32", device=device, threads=1)
    setting = Setting(
        request=DataRequest(source="digits"),
        pictures=pictures((8, 8, 1), 10, 10, 0),
        machine=machine,
        mode=mode,
    )
    resolved = resolve("rasbt-mlp", image=(8, 8, 1), classes=10)
    return setting.job(resolved, track=track, seed=0)


# --- switches: part of the identity ------------------------------------------------

BOTH = {"torch", "tensorflow"}
ACTING = {  # variable -> the tracks whose numbers it may change, on a CPU and on a GPU
    "TF_ENABLE_ONEDNN_OPTS": ({"tensorflow"}, {"tensorflow"}),
    "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": ({"tensorflow"}, {"tensorflow"}),
    "TF_DETERMINISTIC_OPS": ({"tensorflow"}, {"tensorflow"}),
    "XLA_FLAGS": ({"tensorflow"}, {"tensorflow"}),
    "TF_XLA_FLAGS": ({"tensorflow"}, {"tensorflow"}),
    "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_LEVEL": ({"tensorflow"}, {"tensorflow"}),
    "ATEN_CPU_CAPABILITY": ({"torch"}, {"torch"}),
    "TORCH_MKLDNN_MATMUL_MIN_DIM": ({"torch"}, {"torch"}),
    "ONEDNN_MAX_CPU_ISA": (BOTH, BOTH),
    "DNNL_MAX_CPU_ISA": (BOTH, BOTH),
    "ONEDNN_DEFAULT_FPMATH_MODE": (BOTH, BOTH),
    "DNNL_DEFAULT_FPMATH_MODE": (BOTH, BOTH),
    "MKL_CBWR": (BOTH, BOTH),
    "MKL_ENABLE_INSTRUCTIONS": (BOTH, BOTH),
    "OPENBLAS_CORETYPE": (BOTH, BOTH),
    "NPY_DISABLE_CPU_FEATURES": (BOTH, BOTH),
    "GLIBC_TUNABLES": (BOTH, BOTH),
    "KMP_DETERMINISTIC_REDUCTION": (BOTH, BOTH),
    "NVIDIA_TF32_OVERRIDE": (set(), BOTH),
    "CUBLAS_WORKSPACE_CONFIG": (set(), BOTH),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": (set(), {"torch"}),
    "TF_CUDNN_DETERMINISTIC": (set(), {"tensorflow"}),
}


@pytest.mark.parametrize("name", ACTING)
def test_a_switch_makes_other_runs_of_the_tracks_that_it_acts_on(name, monkeypatch):
    for device, acts_on in zip(("cpu", "gpu"), ACTING[name], strict=True):
        before = {track: job(track, device).id for track in BOTH}
        monkeypatch.setenv(name, "7")
        after = {track: job(track, device) for track in BOTH}
        monkeypatch.delenv(name)
        assert {t for t in BOTH if after[t].id != before[t]} == acts_on
        assert {t for t in BOTH if after[t].switches == (f"{name}=7",)} == acts_on


def test_two_values_of_a_switch_are_two_runs(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    off = job("tensorflow")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert job("tensorflow").id != off.id
    assert type(off).from_json(off.to_json()) == off


@pytest.mark.parametrize("mode", ["aligned", "native"])
@pytest.mark.parametrize("track", ["torch", "tensorflow"])
def test_with_nothing_set_an_identity_says_nothing_of_it(track, mode, monkeypatch):
    before = job(track, mode=mode)
    assert "switches" not in before.identity
    for name, value in (
        ("TF_ENABLE_ONEDNN_OPTS", ""),  # as good as unset
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),  # what we set ourselves
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("OMP_NUM_THREADS", "2"),
        ("TF_SOMETHING_NEW", "1"),
    ):
        monkeypatch.setenv(name, value)
    assert job(track, mode=mode).id == before.id


def test_a_switch_that_is_no_text_is_refused(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "\udcff")
    with pytest.raises(Refused, match="MKL_CBWR is"):
        job("torch")


def test_features_that_were_computed_under_a_switch_are_others():
    about = dict.fromkeys(("track", "weights", "spec", "data", "precision"), "x")
    rest = {"device": "cpu", "threads": 1, "flip": False, "dtype": "float32"}
    key = Key(**about, **rest, versions={}, code={})
    under = Key(**about, **rest, versions={}, code={}, switches=("MKL_CBWR=AVX2",))
    assert key.digest() != under.digest()
    assert key.meaning() == under.meaning()


# --- what a child is given -----------------------------------------------------------


@pytest.mark.parametrize("name", FIXED)
def test_a_child_is_not_given_what_is_fixed(name, monkeypatch):
    monkeypatch.setenv(name, "99")
    given = environment(threads=1, device="cpu")
    assert given.get(name) == {"OMP_NUM_THREADS": "1"}.get(name)


def test_a_child_of_a_run_has_the_switches_of_its_job_and_no_others(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    asked = job("torch").switches
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # after the run was asked for
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_SOMETHING_NEW", "1")
    seen = call(
        "tests.engine_child:variables",
        {"names": ["MKL_CBWR", "TF_ENABLE_ONEDNN_OPTS", "TF_SOMETHING_NEW"]},
        threads=1,
        device="cpu",
    )
    assert seen == {
        "MKL_CBWR": "COMPATIBLE",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_SOMETHING_NEW": "1",
    }
    given = environment(threads=1, device="cpu", switches=asked)
    assert given["MKL_CBWR"] == "AVX2"
    assert "TF_ENABLE_ONEDNN_OPTS" not in given
    assert given["TF_SOMETHING_NEW"] == "1"


# --- what is said, and kept -----------------------------------------------------------


def test_what_is_fixed_is_said_unless_it_says_the_same():
    told = variables.remarks([2], {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "8"})
    assert told == [f"MKL_NUM_THREADS=8 is not handed to runs: {THREADS}"]
    told = variables.remarks([1], {"KERAS_MAX_EPOCHS": "1", "TF_USE_LEGACY_KERAS": "1"})
    assert [line.partition("=")[0] for line in told] == [
        "KERAS_MAX_EPOCHS",
        "TF_USE_LEGACY_KERAS",
    ]


def test_a_child_says_it_once(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    for _ in range(2):
        call("tests.engine_child:variables", {"names": []}, threads=1, device="cpu")
    assert capsys.readouterr().err.count("KERAS_MAX_EPOCHS=1 is not handed") == 1


def test_a_switch_is_said_with_what_it_does():
    line = variables.meaning(["XLA_FLAGS=--x", "TF_ENABLE_ONEDNN_OPTS=0"])
    assert line.startswith("TF_ENABLE_ONEDNN_OPTS=0 (oneDNN's kernels in TensorFlow), ")
    assert "kept apart" in line
    assert variables.meaning([]) == ""


def test_what_is_not_known_but_looks_like_it_is_said_and_kept(monkeypatch):
    monkeypatch.setenv("ONEDNN_SOMETHING_NEW", "on")
    assert record.environment({})["variables"] == {"ONEDNN_SOMETHING_NEW": "on"}
    (line,) = variables.remarks([1], {"ONEDNN_SOMETHING_NEW": "on"})
    assert "ONEDNN_SOMETHING_NEW=on: not known here" in line


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("TF_ENABLE_ONEDNN_OPTS", "0", "0"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8", None),
        ("TF_CPP_MIN_LOG_LEVEL", "2", None),
        ("TORCHINDUCTOR_CACHE_DIR", "/tmp/x", None),  # set by PyTorch itself
        ("KMP_INIT_AT_FORK", "FALSE", None),  # set by TensorFlow itself
        ("TF_VAR_password", "hunter2", None),  # Terraform's
        ("TORCH_HUB_TOKEN", "abc", "(not kept)"),
        ("TORCH_NEW", "x" * 999, "x" * 200),
        ("HOME", "/", None),
    ],
)
def test_a_record_keeps_what_matters_and_no_secret(name, value, kept):
    assert variables.recorded({name: value}).get(name) == kept


def test_no_variable_is_in_two_places():
    names = [row.name for row in SWITCHES]
    assert len({*names}) == len(names)
    plain = [name for name in (*names, *FIXED) if not name.endswith("*")]
    assert not [name for name in FIXED if variables.switch_of(name)]
    assert not [name for name in plain if name in HARMLESS]

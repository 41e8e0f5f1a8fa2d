"""The commands as a user types them: exit codes, one-line errors, start-up."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.cli import COMMANDS
from benchmarks.measures.ladder import STAGES, measure
from benchmarks.measures.rungs import compare_stage
from benchmarks.parity import plan_climbs
from common import quiet
from common.quiet import LEVEL, quiet_loading
from common.track import load_track

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
# What takes long to import, and what no command needs before it runs.
SLOW = {"numpy", "scipy", "sklearn", "PIL", "matplotlib", "rich", "jsonschema"}
SLOW |= {"torch", "torchvision", "tensorflow", "keras", "safetensors"}


def twintrack(*words, cwd=ROOT, module="benchmarks.cli", **env):
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
    )


def loaded_by(*words, code="from benchmarks.cli import main; main()"):
    """Top-level modules that are loaded after a command, in a fresh process."""
    say = "import sys\ntry:\n    {}\nfinally:\n    print('\\n', *sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", say.format(code), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr  # what broke early has loaded little
    return {name.partition(".")[0] for name in found.stdout.splitlines()[-1].split()}


def test_help_loads_nothing_that_takes_long():
    found = loaded_by("--help")
    assert "typer" in found
    assert not found & SLOW


def test_importing_common_loads_nothing_that_takes_long():
    found = loaded_by(code="import common")
    assert "common" in found
    assert not found & SLOW


def test_help_names_every_command():
    out = twintrack("--help").stdout
    assert len(COMMANDS) == 19
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"^ *{name} +{re.escape(text)}", out, re.M), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name):
    found = twintrack(name, "--help")
    assert found.returncode == 0, found.stderr
    assert re.match(rf"\s*Usage: .* {name} \[OPTIONS\]", found.stdout)


def test_list_shows_every_system_with_its_figures():
    out = " ".join(twintrack("list").stdout.split())
    assert "rosetta-cnn" in out
    assert "3,441,592" in out
    assert "torch 77.45 %, tensorflow 76.79 %" in out
    assert "1e-12" in out


def test_list_says_which_rung_sees_each_fault():
    out = " ".join(twintrack("list", "--faults").stdout.split())
    assert "bn-variance" in out
    assert "seen by statistics" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "smal-cnn"), "the nearest is small-cnn"),
        (("compare", "--tracks", "torhc"), "nearest: torch"),
        (("compare", "--data", "nowhere"), "nowhere"),
        (("compare", "--set", "recipe.leraning=1"), "the nearest is"),
        (("compare", "--mode", "fast"), "strict, aligned"),
        (("compare", "--sedes", "1"), "--sedes"),
        (("compare", "--set", "recipe.batch=5000"), "batch"),
        (("parity", "nothing"), "a system must be in"),
        (("parity", "--break", "bn-esp"), "the nearest is bn-eps"),
        (("parity", "rasbt-mlp", "--break", "padding"), "changes nothing in rasbt-mlp"),
        (("parity", "--system", "no.such"), "must be importable"),
        (("table", "--store", "nothing-here"), "nothing-here"),
        (("cmopare",), "cmopare"),
    ],
)
def test_a_wrong_request_gives_one_line_and_exit_code_2(words, message, tmp_path):
    store = () if words[0] != "compare" else ("--store", str(tmp_path))
    found = twintrack(*words, *store)
    assert found.returncode == 2, found
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert "Traceback" not in found.stderr + found.stdout


def test_keras_on_another_backend_is_refused(tmp_path):
    found = twintrack("compare", "--store", str(tmp_path), KERAS_BACKEND="torch")
    assert found.returncode == 2
    assert "KERAS_BACKEND" in found.stderr


def test_parity_passes_as_a_command_and_writes_its_figures(tmp_path):
    file = tmp_path / "parity.json"
    found = twintrack("parity", "--steps", "4", "--json", str(file))
    assert found.returncode == 0, found.stdout + found.stderr
    (system,) = json.loads(file.read_text())["systems"]
    assert system["passed"]
    assert {"losses", "weights", "statistics"} <= {r["name"] for r in system["rungs"]}
    assert all(r["difference"] <= r["tolerance"] for r in system["rungs"])


def test_parity_stops_at_a_planted_fault_with_exit_code_1(tmp_path):
    file = tmp_path / "parity.json"
    words = ("--break", "padding", "--steps", "4", "--json", str(file))
    found = twintrack("parity", *words)
    assert found.returncode == 1
    assert "parity did not hold in small-cnn" in found.stderr
    (system,) = json.loads(file.read_text())["systems"]
    failed = [rung for rung in system["rungs"] if not rung["passed"]]
    assert [rung["name"] for rung in failed] == ["logits", "witness"]
    assert failed[1]["where"].startswith(
        "torch is off: tensorflow and the witness agree"
    )


def test_a_users_own_twin_pair_gets_parity(tmp_path):
    climbs = plan_climbs(
        "tests.own_twin",
        request=None,
        steps=6,
        seed=0,
        threads=1,
        overrides=(),
        fault=None,
        folder=tmp_path,
    )
    stages = {
        track: measure(load_track(track), climb) for track, climb in climbs.items()
    }
    rungs = []
    for stage in STAGES:
        assert {next(stages[track]) for track in stages} == {stage}
        rungs += compare_stage(stage, climbs)
    assert [rung for rung in rungs if not rung.passed] == []
    assert {"losses", "gradients", "float32"} <= {rung.name for rung in rungs}


def test_a_users_own_twin_pair_gets_compare(tmp_path):
    words = ("--system", "tests.own_twin", "--seeds", "1", "--limit", "100")
    file = tmp_path / "compare.json"
    found = twintrack(
        "compare", *words, "--store", str(tmp_path / "runs"), "--json", str(file)
    )
    assert found.returncode == 0, found.stderr
    (system,) = json.loads(file.read_text())["systems"]
    assert system["system"] == "two-towers"
    assert system["tracks"]["torch"]["accuracy"]["mean"] > 0.2  # two epochs of 100
    assert system["verdict"] == "undecided"


def test_the_library_example_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    example = tmp_path / "example.py"
    example.write_text(blocks[0])
    user = {k: v for k, v in os.environ.items() if k != LEVEL}  # has not set it
    found = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=user | {"PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""  # nor any log of TensorFlow's C++
    assert found.stdout.count("accuracy=0.9") == 2
    assert "True" in found.stdout


LOGGED = (
    "WARNING: All log messages before absl::InitializeLog() is called are written\n"
    "I0000 00:00:1795739085.215299    9447 port.cc:153] oneDNN custom operations are\n"
    "2026-11-27 00:20:01.123456: W external/local_xla/xla/cuda.cc:9] no cuda drivers\n"
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild\n"
)


@pytest.mark.parametrize("level", [None, "0", "2"])
def test_what_is_logged_while_a_library_loads_is_shown_to_who_asks(
    level, monkeypatch, capfd
):
    """And everything else is always, in its order."""
    monkeypatch.delenv(LEVEL, raising=False)
    if level:
        monkeypatch.setenv(LEVEL, level)
    with quiet_loading():
        os.write(2, f"before\n{LOGGED}F0000 00:00:1 what ends it\n".encode())
        print("a warning", file=sys.__stderr__)
    told = f"before\n{LOGGED if level else ''}F0000 00:00:1 what ends it\na warning\n"
    assert capfd.readouterr().err == told
    assert os.environ[LEVEL] == (level or "3")


@pytest.mark.parametrize(("ours", "there"), [(True, False), (False, True)])
def test_in_a_child_alone_keras_finds_nothing_to_plot_with(ours, there, monkeypatch):
    """A module of Python's stands for it; what is loaded already stays."""
    monkeypatch.setattr(quiet, "_children", ours)
    monkeypatch.setattr(quiet, "UNASKED", ("colorsys", "json"))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with quiet_loading():
        found = True
        try:
            import_module("colorsys")
        except ImportError:
            found = False
        assert import_module("json") is json
    assert found is there
    assert import_module("colorsys").rgb_to_hsv


def test_the_wrong_import_order_is_refused_instead_of_ending_the_process():
    code = "import tensorflow, pt_track"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert "import pt_track before tf_track" in found.stderr
    assert found.returncode == 1  # an ImportError, not SIGABRT

"""The shape of the project: twins stay twins, and common stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path.name for path in (ROOT / "pt_track").glob("*.py"))
FRAMEWORKS = ("torch", "tensorflow", "keras", "torchvision", "tensorflow_datasets")
# What one framework needs and the other has no place for, with the reason.
EXCUSED = {
    # Keras names mixed arithmetic, torch has autocast; Keras makes weights when called.
    "layers.py": {"policy", "Network", "Part"},
    # A module and a data set to write in torch; words and callbacks to find in Keras.
    "native.py": {
        "Native",
        "Pictures",
        "Told",
        "check_last_batch",
        "padding",
        "scaling",
    },
    # torchvision brings ImageNet's names along; Keras would download the same.
    "official.py": {"imagenet_names"},
    "optim.py": {"Table"},  # Keras keeps a plain learning rate in float32
    "speed.py": {"Timed", "Lapped"},  # fit has to be timed from inside
    "train.py": {"example_losses"},  # torch has label smoothing built in
    "weights.py": {"inside"},  # torch gives dotted paths for free
}


def public(path):
    """Names a module defines at its top level, in order, without underscores."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text()).body
    return [
        node.name
        for node in body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def parameters(path):
    """Function -> its parameter names, for the functions both tracks export."""
    body = ast.parse(path.read_text()).body
    return {
        node.name: [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
        for node in body
        if isinstance(node, ast.FunctionDef)
    }


def test_both_tracks_have_the_same_modules():
    assert sorted(path.name for path in (ROOT / "tf_track").glob("*.py")) == MODULES
    assert len(MODULES) >= 9


@pytest.mark.parametrize("module", MODULES)
def test_twins_define_the_same_public_names_in_the_same_order(module):
    pt, tf = (public(ROOT / track / module) for track in ("pt_track", "tf_track"))
    excused = EXCUSED.get(module, set())
    assert [n for n in pt if n not in excused] == [n for n in tf if n not in excused]


@pytest.mark.parametrize("module", EXCUSED)
def test_what_is_excused_is_in_one_track_only(module):
    """Else the excuse is out of date, and hides what else may be called so."""
    pt, tf = (set(public(ROOT / t / module)) for t in ("pt_track", "tf_track"))
    assert EXCUSED[module] <= pt ^ tf


def test_the_interfaces_of_the_tracks_take_the_same_parameters():
    pt, tf = (
        parameters(ROOT / track / "__init__.py") for track in ("pt_track", "tf_track")
    )
    assert pt == tf
    assert "build" in pt


@pytest.mark.parametrize("module", MODULES)
def test_each_module_names_its_twin_in_the_first_line(module):
    for track, twin in (("pt_track", "tf_track"), ("tf_track", "pt_track")):
        first = (ROOT / track / module).read_text().splitlines()[0]
        expected = twin if module == "__init__.py" else f"{twin}/{module}"
        assert f"Twin: {expected}." in first


def loaded_by(statement, *words):
    """The top-level modules in `sys.modules` after a statement in a fresh process."""
    names = "*{m.split('.')[0] for m in sys.modules}"
    code = f"import sys; {statement}; print({names})"
    out = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(out.stdout.splitlines()[-1].split())


def everything_in_common():
    paths = sorted((ROOT / "common").rglob("*.py"))
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]
    return "import " + ", ".join(n.removesuffix(".__init__") for n in names)


def test_everything_in_common_loads_no_framework():
    found = loaded_by(everything_in_common())
    assert {"common", "numpy"} <= found
    assert not found & set(FRAMEWORKS)


def test_every_command_loads_no_framework():
    """Commands, and the engine and the measures that they share."""
    paths = sorted((ROOT / "benchmarks").rglob("*.py"))
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]
    assert {"benchmarks.cli", "benchmarks.engine.run"} <= set(names)
    found = loaded_by("import " + ", ".join(n.removesuffix(".__init__") for n in names))
    assert not found & set(FRAMEWORKS)


@pytest.mark.parametrize(
    ("track", "own", "stranger"),
    [("pt_track", "torch", "tensorflow"), ("tf_track", "tensorflow", "torch")],
)
def test_a_track_loads_no_stranger(track, own, stranger):
    """Not even when a network is built."""
    build = "m = importlib.import_module(sys.argv[1]); m.build(spec)"
    spec = "from common.spec import MLPSpec; spec = MLPSpec(image=(8, 8, 1), classes=2)"
    found = loaded_by(f"import importlib; {spec}; {build}", track)
    assert own in found
    assert stranger not in found


def test_nothing_in_the_repository_is_called_utils():
    folders = ("benchmarks", "common", "pt_track", "tf_track", "tests")
    files = [path for name in folders for path in (ROOT / name).rglob("*")]
    assert ROOT / "common/photos/decode.py" in files
    assert [f for f in files if f.stem in ("utils", "helpers", "misc", "base")] == []


LONGEST = 60  # lines of a command's function, options and docstring left out


def functions(folder):
    """Every function below a folder, with its file."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_no_function_of_a_command_is_long():
    seen = 0
    for path, function in functions("benchmarks"):
        body = function.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        if body:
            lines = body[-1].end_lineno - body[0].lineno + 1
            assert lines <= LONGEST, f"{path.name}:{function.name} has {lines}"
            seen += 1
    assert seen > 200


def test_no_option_is_written_twice():
    """The words of its help: what two commands share is in options.py."""
    found = {}
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and ast.unparse(node.func)
            if called in ("option", "options.option") and len(node.args) > 1:
                found.setdefault(ast.unparse(node.args[1]), []).append(path.name)
    assert len(found) > 60
    assert {help: files for help, files in found.items() if len(files) > 1} == {}

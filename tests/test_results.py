"""A run is found again if it is the same, and never trusted if it is not whole."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from common import codec, files, job, results
from common.data import DataRequest
from common.errors import Damaged, Refused
from common.files import pack, unpack, write_atomic
from common.job import Job
from common.own_code import closure_digest, stripped
from common.recipe import Recipe
from common.results import Checkpoint, Store
from common.spec import MLPSpec
from common.track import State

JOB = Job(
    system="rasbt-mlp",
    data=DataRequest(source="digits", size=(8, 8)),
    fingerprint="f" * 64,
    image=(8, 8, 1),
    classes=10,
    mode="aligned",
    track="torch",
    seed=0,
    precision="float32",
    device="cpu",
    threads=2,
    epochs=3,
    spec=codec.dumps(MLPSpec(image=(8, 8, 1), classes=10)),
    recipe=codec.dumps(Recipe(lr=0.1, batch=50, epochs=3)),
)
LOSSES = [0.1 + 0.2, 5e-324, 1 / 3, None]


def record(run="a-run"):
    """A record with what `Store.write` does not add."""
    names = ("system", "mode", "precision", "track", "device", "spec", "recipe")
    counts = ("seed", "threads", "epochs", "parameters")
    times = dict.fromkeys(("total", "train", "first_step", "images_per_second"), 1.0)
    data = {"name": "x", "fingerprint": "f", "note": "", "train": 3, "test": 3}
    return {
        **dict.fromkeys(names, "x"),
        **dict.fromkeys(counts, 1),
        "schema": results.SCHEMA,
        "id": run,
        "data": data | {"classes": ["a", "b"]},
        "overrides": [],
        "history": [],
        "scores": {"accuracy": 2 / 3, "loss": 0.5, "n": 3},
        "diverged_at": None,
        "losses": LOSSES,
        "times": times,
        "memory": {"peak": 1, "gpu": None},
        "environment": {},
        "published": None,
    }


def finished(store, run="a-run"):
    """A finished run of three test examples, two of them right."""
    labels = np.array([0, 1, 1])
    judged = {"logits": np.eye(3, 2, dtype=np.float32), "labels": labels}
    weights = {"head.kernel": np.arange(6.0).reshape(2, 3)}
    return store.write(record(run), logits=pack(judged), weights=pack(weights))


def checkpoint():
    arrays = {"weights/w": np.arange(6.0).reshape(2, 3).T, "count": np.array(7)}
    state = State(epoch=2, step=40, arrays=arrays)
    return Checkpoint(state=state, seconds=1.5, peak=10, resumed=(1,))


def flip(path, at=-1):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# --- identity -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"spec": codec.dumps(MLPSpec(image=(8, 8, 1), classes=10, hidden=(3,)))},
        {"recipe": codec.dumps(Recipe(lr=1.0, batch=50, epochs=3))},
        {"fingerprint": "0" * 64},
        {"mode": "native"},
        {"track": "tensorflow"},
        {"seed": 1},
        {"precision": "float64"},
        {"device": "gpu"},
        {"threads": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_request_is_another_run(change):
    assert replace(JOB, **change).id != JOB.id


def test_how_the_request_was_spelt_is_not_part_of_a_run():
    spelt = replace(JOB, overrides=("recipe.lr=0.1",), data=DataRequest(source="x"))
    spelt = replace(spelt, command="twintrack compare rasbt-mlp --set recipe.lr=0.1")
    assert spelt.id == JOB.id


def test_another_version_of_the_framework_is_another_run(monkeypatch):
    before = JOB.identity
    monkeypatch.setattr(job, "_version", lambda name: "0.0")
    assert before != JOB.identity


def test_a_job_survives_its_file():
    assert Job.from_json(JOB.to_json()) == JOB


def test_a_field_that_comes_later_sets_no_runs_apart():
    before = {"spec": "{a}", "recipe": "{b}", "identity": JOB.identity}
    after = {"spec": "{a, new}", "recipe": "{b, new}", "identity": JOB.identity}
    assert results.asked(before) == results.asked(after)


def test_a_spec_that_hides_its_content_is_refused():
    @dataclass(frozen=True)
    class MySpec:
        layer: object

    for value in (object(), [1], {"a": 1}, float("nan"), np.ones(2)):
        with pytest.raises(Refused, match="use frozen dataclasses"):
            codec.dumps(MySpec(value))


def test_comments_and_docstrings_do_not_make_another_run(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text('def f(x):\n    """Text."""\n    return x + 1\n')
    two.write_text('"""Module."""\n\n\ndef f(x):  # why\n    return (x + 1)\n')
    assert stripped(one) == stripped(two)


def test_code_makes_another_run(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("def f(x):\n    return x + 1\n")
    two.write_text("def f(x):\n    return x + 2\n")
    assert stripped(one) != stripped(two)


def test_what_a_users_module_imports_beside_it_is_part_of_a_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_twins.py").write_text("from my_layers import dense\n")
    (tmp_path / "my_layers.py").write_text("dense = 1\n")
    before = closure_digest.__wrapped__("my_twins")
    (tmp_path / "my_layers.py").write_text("dense = 2\n")
    assert closure_digest.__wrapped__("my_twins") != before


def test_asking_for_a_run_imports_no_framework():
    code = (
        "import sys; from tests.test_results import JOB; JOB.id; "
        "print(sorted({'torch', 'tensorflow', 'keras'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# --- files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::3],
        np.array(7),
        np.zeros((0, 3)),
        np.array([np.nan, -0.0, np.inf]),
    ],
    ids=["transposed", "fortran", "strided", "scalar", "empty", "special"],
)
def test_any_array_survives_being_saved(array):
    back = unpack(pack({"x": array}))[0]["x"]
    np.testing.assert_array_equal(back, array, strict=True)


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(file, content, write=os.write):
        if len(content) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[:100])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Refused, match=r"^results must fit the disk, it is full.*$"):
        write_atomic(path, bytes(150))
    monkeypatch.undo()
    assert [path.read_bytes(), os.listdir(tmp_path)] == [b"old", ["file"]]  # noqa: PTH208


def test_a_nan_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.readable({"loss": float("nan")})


# --- finished runs --------------------------------------------------------------


def test_a_run_is_read_back_bit_for_bit(tmp_path):
    finished(Store(tmp_path))
    assert Store(tmp_path).find("a-run").record["losses"] == LOSSES


def test_a_run_knows_which_examples_it_gets_right(tmp_path):
    run = finished(Store(tmp_path))
    np.testing.assert_array_equal(run.correct, [True, True, False])


def test_a_diverged_run_has_no_logits(tmp_path):
    values = record() | {"scores": None, "diverged_at": 4}
    run = Store(tmp_path).write(values)
    with pytest.raises(ValueError, match="diverged at step 4"):
        run.logits()


def test_a_finished_run_has_no_checkpoint(tmp_path):
    store = Store(tmp_path)
    store.save_checkpoint("a-run", checkpoint())
    finished(store)
    assert store.load_checkpoint("a-run") is None


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("record.json", cut),
        ("record.json", lambda path: path.write_text("[]")),
        ("record.json", lambda path: path.write_text('{"schema": 1}')),
        ("record.json", lambda path: edit(path, schema=1)),
        ("record.json", lambda path: edit(path, losses=[0.0])),
        ("record.json", lambda path: edit(path, losses=[float("nan")])),
        ("record.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("logits.safetensors", cut),
        ("logits.safetensors", flip),
        ("weights.safetensors", flip),
        ("weights.safetensors", lambda path: path.unlink()),
    ],
)
def test_a_damaged_file_is_named_and_not_trusted(tmp_path, name, damage):
    store = Store(tmp_path)
    damage(finished(store).path / name)
    with pytest.raises(Damaged, match=name):
        store.find("a-run")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_record_in_another_runs_folder_is_not_trusted(tmp_path):
    store = Store(tmp_path)
    finished(store).path.rename(tmp_path / "another-run")
    with pytest.raises(Damaged, match="its folder"):
        store.find("another-run")


def test_one_damaged_run_does_not_hide_the_others(tmp_path):
    store = Store(tmp_path)
    flip(finished(store, "bad").path / "weights.safetensors")
    finished(store, "good")
    found, damaged = store.scan()
    assert ([run.id for run in found], len(damaged)) == (["good"], 1)


def test_what_is_set_aside_is_kept(tmp_path):
    store = Store(tmp_path)
    before = (finished(store).path / "record.json").read_bytes()
    aside = store.set_aside("a-run")
    assert (aside / "record.json").read_bytes() == before
    assert store.find("a-run") is None


@pytest.mark.parametrize("fatal", [1, 2, 3])
def test_a_write_that_is_cut_short_leaves_no_record(tmp_path, fatal):
    """The n-th file is about to appear when the process ends."""
    count = 0

    def guard():
        nonlocal count
        count += 1
        if count == fatal:
            raise SystemExit

    with pytest.raises(SystemExit):
        finished(Store(tmp_path, guard=guard))
    assert Store(tmp_path).find("a-run") is None
    assert finished(Store(tmp_path)).record["losses"] == LOSSES


def test_the_store_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINTRACK_STORE", str(tmp_path))
    assert Store().path == tmp_path


# --- unfinished runs ------------------------------------------------------------


def test_a_checkpoint_is_read_back_bit_for_bit(tmp_path):
    store, saved = Store(tmp_path), checkpoint()
    store.save_checkpoint("a-run", saved)
    found = store.load_checkpoint("a-run")
    for name, array in saved.state.arrays.items():
        np.testing.assert_array_equal(found.state.arrays[name], array, strict=True)
    rest = State(epoch=2, step=40, arrays={})
    assert replace(found, state=rest) == replace(saved, state=rest)


@pytest.mark.parametrize("damage", [cut, flip, lambda path: flip(path, 60)])
def test_a_damaged_checkpoint_is_named_and_not_trusted(tmp_path, damage):
    store = Store(tmp_path)
    store.save_checkpoint("a-run", checkpoint())
    damage(tmp_path / "a-run" / "checkpoint.safetensors")
    with pytest.raises(Damaged, match=r"checkpoint\.safetensors"):
        store.load_checkpoint("a-run")


def test_another_runs_checkpoint_is_not_trusted(tmp_path):
    store = Store(tmp_path)
    store.save_checkpoint("a-run", checkpoint())
    (tmp_path / "a-run").rename(tmp_path / "another-run")
    with pytest.raises(Damaged, match="id"):
        store.load_checkpoint("another-run")

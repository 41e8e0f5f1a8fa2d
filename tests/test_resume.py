"""Kill a comparison when you like; the same command ends as if you had not.

Most tests use a track in NumPy (`tests/numpy_track`) that starts in a fraction of a
second and can be told where to die; the two frameworks are killed once each.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.compare import compare
from common.errors import Refused
from common.results import Store

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
SMALL = ("--limit=200", "--epochs=4", "--threads=1", "--precision=float32")
NUMPY = ("rasbt-mlp", "--tracks=tests.numpy_track", "--set=spec.hidden=(16,)", *SMALL)
# Seconds after which a test gives up on a busy machine; nothing is measured by it.
PATIENCE = 600.0
TRIES = 10  # to kill what goes on while we wait for our turn
HANGS = 1200  # lines of the diary that a hanging run writes before it goes on


def start(store, *options, **faults):
    """The command, begun.  With `SMALL` options an epoch is four updates."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.compare", *options, f"--store={store}"],
        cwd=ROOT,
        env=os.environ | {key: str(value) for key, value in faults.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What is started in the background may ignore Ctrl-C, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(store, *options, **faults):
    """The command, from begin to end: (exit code, what it said of its progress)."""
    process = start(store, *options, **faults)
    said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, said


def outcome(store):
    """All that must not depend on interruptions, by run."""
    found = {}
    for one in Store(store).runs():
        kept = ("scores", "losses", "files", "diverged_at", "weights_sha256")
        epochs = [{**epoch, "seconds": 0} for epoch in one.record["history"]]
        found[one.id] = {key: one.record[key] for key in kept} | {"history": epochs}
    return found


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache of the data for all commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINTRACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A store of two runs that nobody interrupted."""
    store = tmp_path_factory.mktemp("whole")
    code, said = run(store, *NUMPY, "--seeds=2")
    assert (code, len(Store(store).runs())) == (0, 2), said
    return store


@pytest.fixture
def half(whole, tmp_path):
    """The same store before the run of seed 1."""
    (first,) = (r for r in Store(whole).runs() if r.record["seed"] == 0)
    shutil.copytree(first.path, tmp_path / "store" / first.id)
    return tmp_path / "store"


def stamps(store):
    """When and where on the disk each record was written."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in Path(store).glob("*/record.json")
    }


def children(parent):
    """The processes that a process has started and that still run."""
    everyone = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in everyone if runs(pid, parent)]


def runs(pid, parent=None):
    """Whether a process (of that parent) is neither gone nor a zombie."""
    with suppress(FileNotFoundError, ProcessLookupError):
        text = Path(f"/proc/{pid}/stat").read_text()
        state, of = text.rpartition(")")[2].split()[:2]
        return state != "Z" and parent in (None, int(of))
    return False


def wait_for(condition, seconds=PATIENCE):
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return found


# --- kill -9 ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("victim", "moment", "goes_on"),
    [
        ("kill-parent", "build", None),
        ("kill-parent", "update:2", None),
        ("kill-parent", "update:11", "at epoch 3 of 4"),
        ("kill-parent", "predict", "after the last epoch of 4"),
        ("kill-parent", "save", "after the last epoch of 4"),
        ("kill-child", "update:2", None),
        ("kill-child", "update:11", "at epoch 3 of 4"),
        ("kill-child", "save", "after the last epoch of 4"),
    ],
)
def test_after_a_kill_the_same_command_ends_as_if_nothing_had_been(
    whole, half, victim, moment, goes_on
):
    before = stamps(half)
    fault = {"NUMPY_TRACK_FAULT": f"{victim}@{moment}", "NUMPY_TRACK_SEED": 1}
    code, _ = run(half, *NUMPY, "--seeds=2", **fault)
    assert code == (1 if victim == "kill-child" else -signal.SIGKILL)
    code, said = run(half, *NUMPY, "--seeds=2")
    assert (code, "2 runs: 1 finished before" in said) == (0, True), said
    assert before.items() <= stamps(half).items()
    resumes = f"resuming rasbt-mlp tests.numpy_track seed 1 {goes_on}"
    assert (resumes in said) == bool(goes_on), said
    assert outcome(half) == outcome(whole)


def test_killed_over_and_over_it_still_ends_the_same(whole, tmp_path):
    """Each time a step further, however fast the machine is."""

    def kept():
        """The checkpoints there are, each time they are written anew."""
        found = tmp_path.glob("*/checkpoint.safetensors")
        return {path.stat().st_ino for path in found}

    moments = (
        lambda: list(tmp_path.glob("*/job.json")),
        kept,
        lambda: kept() - before,
        lambda: stamps(tmp_path),
        lambda: kept() - before,
    )
    for n, moment in enumerate(moments):
        before = kept()
        process = start(tmp_path, *NUMPY, "--seeds=2", NUMPY_TRACK_PAUSE=0.3)
        over = process.poll
        assert wait_for(lambda moment=moment, over=over: moment() or over() is not None)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it was over before kill {n}"
    assert len(stamps(tmp_path)) == 1
    code, said = run(tmp_path, *NUMPY, "--seeds=2")
    assert code == 0, said
    assert outcome(tmp_path) == outcome(whole)


def test_an_orphan_ends_soon_and_writes_nothing_more(half, tmp_path):
    diary = tmp_path / "diary"
    process = start(
        half,
        *NUMPY,
        "--seeds=2",
        NUMPY_TRACK_FAULT="hang@update:6",
        NUMPY_TRACK_SEED=1,
        NUMPY_TRACK_DIARY=diary,
    )
    assert wait_for(lambda: diary.exists() and "still here" in diary.read_text())
    (orphan,) = children(process.pid)
    before, stamped = sorted(half.rglob("*")), stamps(half)
    process.kill()
    process.wait()
    assert wait_for(lambda: not runs(orphan))
    # It ended where it hung, long before that was over: a line every 50 ms, a minute.
    assert diary.read_text().count("still here") < HANGS / 2
    assert (sorted(half.rglob("*")), stamps(half)) == (before, stamped)


def test_a_child_whose_parent_is_already_gone_does_nothing(half):
    job = next(half.glob("*/job.json"))
    (job.parent / "record.json").unlink()
    command = [sys.executable, "-m", "benchmarks.engine.process"]
    for parent, writes in ((os.getppid(), False), (os.getpid(), True)):
        subprocess.run(
            [*command, "benchmarks.engine.run:run", str(parent)],
            cwd=ROOT,
            check=False,
            timeout=PATIENCE,
            input=json.dumps({"job": str(job)}) + "\n",
            text=True,
        )
        assert (job.parent / "record.json").exists() == writes


def test_ctrl_c_keeps_what_is_finished(whole, tmp_path):
    process = start(
        tmp_path,
        *NUMPY,
        "--seeds=2",
        NUMPY_TRACK_FAULT="hang@update:6",
        NUMPY_TRACK_SEED=1,
    )
    assert wait_for(lambda: list(tmp_path.glob("*-1-*/checkpoint.safetensors")))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1]
    assert (process.returncode, len(stamps(tmp_path))) == (130, 1), said
    assert run(tmp_path, *NUMPY, "--seeds=2")[0] == 0
    assert outcome(tmp_path) == outcome(whole)


@pytest.mark.parametrize("track", ["torch", "tensorflow"])
def test_a_framework_killed_in_the_middle_ends_with_the_same_bits(track, tmp_path):
    options = ("small-cnn", f"--tracks={track}", "--seeds=1", "--limit=200")
    options += ("--epochs=12", "--threads=1", "--precision=float32")
    cut_short, untouched = tmp_path / "cut", tmp_path / "untouched"
    for _ in range(TRIES):
        process = start(cut_short, *options)
        assert wait_for(lambda: list(cut_short.glob("*/checkpoint.safetensors")))
        process.kill()
        process.communicate()
        if not stamps(cut_short):
            break
        shutil.rmtree(cut_short)  # a busy machine: it had finished before we looked
    assert not stamps(cut_short)
    code, said = run(cut_short, *options)
    assert (code, f"resuming small-cnn {track} seed 0 at epoch" in said) == (0, True)
    assert run(untouched, *options)[0] == 0
    assert outcome(cut_short) == outcome(untouched)


# --- two at once, and what goes wrong in one run ----------------------------------


def test_two_compares_on_one_store_lose_nothing_and_do_nothing_twice(whole, tmp_path):
    diary, store = tmp_path / "diary", tmp_path / "store"
    slow = {"NUMPY_TRACK_PAUSE": 0.1, "NUMPY_TRACK_DIARY": diary}
    both = [start(store, *NUMPY, "--seeds=2", **slow) for _ in range(2)]
    ends = [process.communicate(timeout=PATIENCE)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert sorted(diary.read_text().split()) == sorted(
        ["built", "with", "seed", "0", "built", "with", "seed", "1"]
    )
    assert outcome(store) == outcome(whole)


def test_a_run_that_fails_is_named_and_takes_no_other_with_it(whole, tmp_path):
    fault = {"NUMPY_TRACK_FAULT": "raise@update:6", "NUMPY_TRACK_SEED": 0}
    code, said = run(tmp_path, *NUMPY, "--seeds=2", **fault)
    assert (code, len(stamps(tmp_path))) == (1, 1)
    assert "rasbt-mlp tests.numpy_track seed 0 failed" in said
    assert "ZeroDivisionError: a planted fault" in said
    assert run(tmp_path, *NUMPY, "--seeds=2")[0] == 0
    assert outcome(tmp_path) == outcome(whole)


def test_a_run_over_the_time_limit_is_given_up(tmp_path):
    options = (*NUMPY, "--seeds=1", "--time-limit=2")
    code, said = run(tmp_path, *options, NUMPY_TRACK_FAULT="hang@update:6")
    assert (code, "longer than the limit of 2.0 s" in said) == (1, True), said


def test_a_diverged_run_is_a_result(tmp_path):
    output = tmp_path / "out.json"
    fault = {"NUMPY_TRACK_FAULT": "nan@update:6", "NUMPY_TRACK_SEED": 0}
    code, said = run(tmp_path, *NUMPY, "--seeds=2", f"--json={output}", **fault)
    assert (code, "diverged at step 6" in said) == (0, True), said
    steps = [r.record["diverged_at"] for r in Store(tmp_path).runs()]
    assert (steps, "NaN" in output.read_text()) == ([6, None], False)


def test_a_full_disk_is_one_line_and_loses_nothing(whole, half):
    before = stamps(half)
    fault = {"NUMPY_TRACK_FAULT": "full@save", "NUMPY_TRACK_SEED": 1}
    code, said = run(half, *NUMPY, "--seeds=2", **fault)
    assert (code, stamps(half)) == (2, before)
    assert ("disk" in said.splitlines()[-1], "Traceback" in said) == (True, False)
    assert run(half, *NUMPY, "--seeds=2")[0] == 0
    assert outcome(half) == outcome(whole)


@pytest.mark.parametrize("name", ["record.json", "weights.safetensors"])
def test_a_damaged_result_is_named_set_aside_and_run_again(whole, half, name):
    (path,) = half.glob(f"*/{name}")
    damaged = path.read_bytes()[:-30]
    path.write_bytes(damaged)
    code, said = run(half, *NUMPY, "--seeds=2")
    assert (code, "damaged: a result must be as it was written" in said) == (0, True)
    assert str(path) in said
    assert (path.parent / "damaged-1" / name).read_bytes() == damaged
    assert outcome(half) == outcome(whole)


def test_a_damaged_checkpoint_is_named_and_its_run_starts_from_nothing(whole, half):
    fault = {"NUMPY_TRACK_FAULT": "kill-child@save", "NUMPY_TRACK_SEED": 1}
    run(half, *NUMPY, "--seeds=2", **fault)
    (path,) = half.glob("*/checkpoint.safetensors")
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    code, said = run(half, *NUMPY, "--seeds=2")
    assert (code, str(path) in said, "starts from nothing" in said) == (0, True, True)
    assert outcome(half) == outcome(whole)


# --- requests that are wrong ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ["small-cn"]}, "nearest is small-cnn"),
        ({"tracks": "torch,tensorflw"}, "tensorflow"),
        ({"mode": "alined"}, "aligned"),
        ({"data": "digit"}, "did you mean digits"),
        ({"device": "tpu"}, "cpu"),
        ({"precision": "float16"}, "float32"),
        ({"precision": "float32", "mode": "strict"}, "float64"),
        ({"set": ["recipe.lrr=1"]}, "nearest is lr"),
        ({"limit": 40}, "a batch must fit the training data, small-cnn takes 50 of 40"),
        ({"seeds": 0}, "--seeds must be above 0"),
        ({"epochs": -1}, "--epochs must be above 0"),
        ({"threads": 0}, "--threads must be above 0"),
        ({"margin": 0.005}, "in points since this version.*for half a point write 0.5"),
        ({"margin": 100}, "--margin must be points between 0 and 100"),
        ({"size": "32by32"}, "32x32"),
        ({"json": ROOT}, "--json must be a file"),
    ],
)
def test_a_wrong_request_is_one_line_before_anything_starts(options, message, tmp_path):
    store = tmp_path / "store"
    with pytest.raises(Refused, match=message) as refusal:
        compare(**{"systems": ["small-cnn"], "store": store} | options)
    assert ("\n" in str(refusal.value), store.exists()) == (False, False)


def test_keras_on_another_backend_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(Refused, match="KERAS_BACKEND=torch; unset it"):
        compare(["small-cnn"], store=tmp_path)


def test_what_is_written_is_what_is_returned(half, tmp_path):
    output = tmp_path / "out.json"
    returned = compare(
        ["rasbt-mlp"],
        tracks="tests.numpy_track",
        seeds=1,
        limit=200,
        epochs=4,
        threads=1,
        precision="float32",
        set=["spec.hidden=(16,)"],
        store=half,
        json=output,
    )
    assert json.loads(output.read_text()) == json.loads(json.dumps(returned))

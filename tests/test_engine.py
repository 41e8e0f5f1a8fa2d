"""One way to start, follow and end a process, and as many runs at once as one likes."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.engine import process
from benchmarks.engine.call import call
from benchmarks.engine.machine import Machine, free_memory
from benchmarks.engine.process import Child, import_path
from benchmarks.engine.runner import Local, needs, run_jobs
from benchmarks.request import Setting, fitted
from common.data import DataRequest, open_data
from common.errors import OURS, Failed, Fault, Refused
from common.results import Store
from tests.engine_parent import KINDS

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
# Seconds in which a child must be gone after its parent: the project's promise.
SOON = 2.0
# Seconds after which a test gives up on a busy machine; nothing is measured by it.
PATIENCE = 120.0
NUMPY = "tests.numpy_track"


def until(condition, seconds=PATIENCE):
    """What the condition gives once it is true, or its last answer."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def alive(pid):
    """Whether a process runs: not gone, and not a zombie that nobody waits for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# --- every kind of child -----------------------------------------------------------


def tasks_in_the_code():
    """Every "module:function" that the project starts a child for."""
    found = set()
    for path in (ROOT / "benchmarks").rglob("*.py"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = ast.unparse(node)[2:-1].replace("{__name__}", own)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            module, colon, name = text.partition(":")
            if colon and module.startswith("benchmarks.") and name.isidentifier():
                found.add(text)
    from benchmarks.cli import COMMANDS

    return found - {place for place, _ in COMMANDS.values()}


def test_every_kind_of_child_is_tested_below():
    assert tasks_in_the_code() == {k for k in KINDS if k.startswith("benchmarks.")}


def test_nobody_else_starts_a_process():
    for folder in ("benchmarks", "common", "pt_track", "tf_track"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != Path(process.__file__):
                text = path.read_text()
                assert "subprocess" not in text, path
                assert "multiprocessing" not in text, path
                assert "os.fork" not in text, path


@pytest.mark.parametrize("how", ["main", "thread"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_is_gone_soon_after_its_parent_was_killed(kind, how, tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.engine_parent", kind, str(tmp_path), how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ
        | {"NUMPY_TRACK_FAULT": "hang@configure", "TWINTRACK_CACHE": str(tmp_path)},
    )
    try:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        killed = time.monotonic()
        assert until(lambda: not alive(pid))
        assert time.monotonic() - killed < SOON
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_a_child_lives_on_when_the_thread_that_started_it_ends(tmp_path):
    """Linux sends the death signal at the end of the thread, not of the process."""
    import threading

    log = tmp_path / "log"
    found = []

    def start():
        task = "tests.engine_child:wait"
        found.append(Child(task, {}, threads=1, device="cpu", log=log))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with found[0] as child:
        assert next(e for e in child.events() if e)["event"] == "here"
        time.sleep(0.3)
        assert alive(child.process.pid)
    assert not alive(child.process.pid)


# --- one protocol -----------------------------------------------------------------


def called(name, values=None, **rest):
    task = f"tests.engine_child:{name}"
    return call(task, values or {}, threads=1, device="cpu", **rest)


def test_values_come_back_and_noise_does_not():
    told = []
    values = {"a": [1, 2.5, None, "ü\n"], "large": "x" * 3_000_000}
    assert called("give_back", values, told=told.append) == values
    assert [event["event"] for event in told] == ["here", "result"]


def test_raw_bytes_come_through_whatever_is_in_them(tmp_path):
    sizes = [1, 70_000, 3, 1_500_000]
    task = "tests.engine_child:tell_bytes"
    with Child(
        task, {"sizes": sizes}, threads=1, device="cpu", log=tmp_path / "log"
    ) as child:
        raw = [e["content"] for e in child.events() if e.get("event") == "raw"]
        assert child.ending["value"] == {"sent": 3 * sum(sizes)}
    assert sorted(map(len, raw)) == sorted(3 * n for n in sizes)
    assert all(content == b'\n{"' * (len(content) // 3) for content in raw)


def test_a_fault_in_a_child_names_a_log_that_has_it():
    with pytest.raises(Fault, match=r"a fault of ours in tests\.engine_child") as fault:
        called("raise_zero")
    assert "ZeroDivisionError" in fault.value.log.read_text()
    fault.value.log.unlink()


def test_a_child_that_is_killed_is_a_failure_with_a_guess():
    with pytest.raises(Failed, match=r"ended by SIGKILL; was memory short\?"):
        called("kill_itself")


def test_a_fault_in_a_child_is_exit_code_70_in_every_command(tmp_path):
    """A command whose child breaks: the line names the log."""
    found = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.cli", "parity", "rasbt-mlp"),
            *("--tracks", f"{NUMPY},torch", "--steps", "2"),
            *("--store", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NUMPY_TRACK_FAULT": "raise@build"},
    )
    assert found.returncode == OURS, found.stderr
    (line,) = found.stderr.strip().splitlines()
    log = Path(line.rpartition(" ")[2])
    assert "a fault of ours" in line
    assert "a planted fault" in log.read_text()
    log.unlink()


def test_our_root_comes_before_a_users_project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = import_path()
    assert path.index(str(ROOT)) < path.index(str(tmp_path))


def test_a_project_with_packages_of_our_names_does_not_disturb_the_child(tmp_path):
    """A twin pair beside a `common`, a `benchmarks` and a `tests` of the user's own."""
    project = tmp_path / "project"
    for name in ("common", "benchmarks", "tests"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text('raise ImportError("not ours")\n')
    twin = project / "mynet"
    twin.mkdir()
    (twin / "__init__.py").write_text("")
    source = (ROOT / "tests/own_twin/__init__.py").read_text()
    source = source.replace("tests.own_twin.in_", "mynet.in_")
    (twin / "twin.py").write_text(source.replace("two-towers", "my-towers"))
    for name in ("in_torch.py", "in_keras.py"):
        (twin / name).write_text((ROOT / "tests/own_twin" / name).read_text())
    words = ("--system", "mynet.twin", "--tracks", "torch", "--seeds", "1")
    code = (
        "import sys; sys.path.remove('') if '' in sys.path else None;"
        f"sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'twintrack';"
        "from benchmarks.cli import main; sys.exit(main())"
    )
    found = subprocess.run(
        [
            *(sys.executable, "-P", "-c", code, "compare", *words),
            *("--limit", "100", "--store", str(tmp_path / "runs")),
        ],
        cwd=project,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert found.returncode == 0, found.stderr
    (run,) = Store(tmp_path / "runs").runs()
    assert run.record["system"] == "my-towers"


# --- many at once ------------------------------------------------------------------


class Quiet:
    """A screen that remembers what stays."""

    def __init__(self):
        self.lines, self.moving, self.most = [], set(), 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def say(self, line):
        self.lines.append(line)

    def begin(self, title):
        self.moving.add(title)
        self.most = max(self.most, len(self.moving))

    def show(self, title, event, left):
        assert title in self.moving

    def end(self, title, line):
        self.moving.discard(title)
        self.lines.append(line)


def jobs(track, n, *, threads=1, system="rasbt-mlp", epochs=2):
    request = DataRequest(source="digits", limit=200)
    pictures = open_data(request)
    machine = Machine(precision="float32", device="cpu", threads=threads)
    setting = Setting(request=request, pictures=pictures, machine=machine)
    resolved = fitted(system, pictures, (), epochs)
    return [setting.job(resolved, track=track, seed=seed) for seed in range(n)]


def carried_out(asked, folder, at_once, **rest):
    screen = Quiet()
    store = Store(folder)
    done = run_jobs(asked, store, screen=screen, at_once=at_once, **rest)
    return done, screen


@pytest.mark.parametrize("track", ["torch", "tensorflow"])
def test_more_jobs_at_once_give_the_same_bits(track, tmp_path):
    asked = jobs(track, 2, system="small-cnn")
    one, _ = carried_out(asked, tmp_path / "one", 1)
    two, screen = carried_out(asked, tmp_path / "two", 2)
    assert screen.most == 2
    for a, b in zip(one, two, strict=True):
        kept = ("files", "losses", "scores", "weights_sha256", "id")
        assert {k: a.run.record[k] for k in kept} == {k: b.run.record[k] for k in kept}


def test_outcomes_come_in_the_order_of_the_jobs(tmp_path):
    asked = jobs(NUMPY, 5)
    done, screen = carried_out(asked, tmp_path, 3)
    assert [outcome.job for outcome in done] == asked
    assert all(outcome.run for outcome in done)
    assert screen.most == 3


def test_the_same_job_asked_twice_is_run_once(tmp_path):
    (job,) = jobs(NUMPY, 1)
    done, screen = carried_out([job, job], tmp_path, 2)
    assert len(done) == 2
    assert sum("accuracy" in line for line in screen.lines) == 1


def test_one_that_fails_takes_no_other_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMPY_TRACK_FAULT", "raise@build")
    monkeypatch.setenv("NUMPY_TRACK_SEED", "1")
    done, _ = carried_out(jobs(NUMPY, 3), tmp_path, 3)
    assert [bool(outcome.run) for outcome in done] == [True, False, True]
    assert "a planted fault" in done[1].failure


def test_a_refusal_ends_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMPY_TRACK_FAULT", "full@build")
    monkeypatch.setenv("NUMPY_TRACK_SEED", "0")
    with pytest.raises(Refused, match="disk"):
        carried_out(jobs(NUMPY, 2), tmp_path, 2)


def test_a_time_limit_counts_for_each_run(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMPY_TRACK_FAULT", "hang@update:2")
    monkeypatch.setenv("NUMPY_TRACK_SEED", "0")
    done, _ = carried_out(jobs(NUMPY, 2), tmp_path, 2, time_limit=20.0)
    assert "longer than the limit" in done[0].failure
    assert done[1].run


def test_a_run_that_would_not_fit_by_earlier_records_waits(tmp_path):
    store = Store(tmp_path)
    first, *rest = jobs(NUMPY, 3)
    carried_out([first], tmp_path, 1)
    (need,) = needs(store).values()
    assert need == Store(tmp_path).find(first.id).record["memory"]["peak"]
    screen = Quiet()
    tight = Local(store, at_once=2, free=lambda: 1000)
    done = run_jobs(rest, store, screen=screen, at_once=2, executor=tight)
    assert screen.most == 1
    assert all(outcome.run for outcome in done)
    assert any("waits: it needs" in line for line in screen.lines)
    roomy = Local(store, at_once=2, free=lambda: 10**12)
    screen = Quiet()
    run_jobs(jobs(NUMPY, 3, epochs=3), store, screen=screen, at_once=2, executor=roomy)
    assert screen.most == 2


def test_memory_that_is_free_is_known_here():
    assert 0 < free_memory() < 10**14


def test_jobs_is_an_option_of_what_trains(tmp_path):
    words = ("compare", "rasbt-mlp", "--tracks", NUMPY, "--limit", "200", "--epochs=1")
    file = tmp_path / "out.json"
    found = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.cli", *words, "--seeds=3", "--jobs=2"),
            *("--store", str(tmp_path / "runs"), "--json", str(file)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    (system,) = json.loads(file.read_text())["systems"]
    assert len(system["tracks"][NUMPY]["runs"]) == 3

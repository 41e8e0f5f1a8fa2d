"""What is shown while runs go on is true of the run: loss, phase, time, number."""

import io
import json
import re
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import outcome
from benchmarks.engine import runner
from benchmarks.engine.foretold import folders
from benchmarks.engine.foretold import foretold as lines
from benchmarks.engine.progress import Terminal, standing
from benchmarks.engine.runner import Pace, Shown, Standing, run_jobs
from common import job as jobs_of
from common import loop
from common.data import pictures
from common.evaluate import counted
from common.job import Job
from common.recipe import Recipe
from common.results import Store
from tests.test_engine import NUMPY, Quiet, carried_out, jobs

# --- the loss of an epoch, and what is evaluated --------------------------------------


def reports(monkeypatch, losses, *, start=0, **about):
    """What a training tells of itself, that has these losses in each epoch."""
    monkeypatch.setattr(loop, "REPORT_EVERY", 0.0)
    told = []
    keeper = SimpleNamespace(averaged=nullcontext, arrays=dict, restore=lambda *_: None)

    def train_epoch(epoch, clock):
        clock.start_lap()
        for loss in losses[epoch]:
            clock.add(np.array([loss]), 4)

    data = SimpleNamespace(
        train=range(4 * max(map(len, losses))),
        valid=(),
        test=pictures((4, 4, 1), 2, 10, 0).test,
    )
    recipe = Recipe(lr=1.0, batch=4, epochs=len(losses), **about)
    history = loop.epochs(
        train_epoch,
        keeper,
        lambda images: np.zeros((len(images), 2), np.float32),
        data,
        recipe,
        state=None,
        on_epoch=None,
        on_progress=told.append,
        batch_size=4,
    )
    return told, history


def test_the_loss_that_is_shown_is_the_mean_of_the_epoch_so_far(monkeypatch):
    told, history = reports(monkeypatch, [[4.0, 2.0, 3.0], [9.0, 1.0, 2.0]])
    training = [one for one in told if not one.to_judge]
    assert [one.loss for one in training] == [4.0, 3.0, 3.0, 9.0, 5.0, 4.0]
    assert [one.epoch for one in training] == [1, 1, 1, 2, 2, 2]
    ends = [one.loss for one in training if one.step % 3 == 0]
    assert ends == [epoch.train_loss for epoch in history.epochs]


def test_an_epoch_that_is_cut_short_is_counted_as_what_it_is(monkeypatch):
    told, _ = reports(monkeypatch, [[1.0] * 4, [1.0] * 4, [1.0]], last_epoch=0.25)
    assert [one.epoch for one in told if not one.to_judge] == [1] * 4 + [2] * 4 + [3]


def test_pictures_that_are_evaluated_are_told_and_counted(monkeypatch):
    told, _ = reports(monkeypatch, [[1.0]])
    judged = [(one.judged, one.to_judge) for one in told if one.to_judge]
    n = judged[0][1]
    assert judged == [(0, n), *((k, n) for k in range(4, n, 4)), (n, n)]
    seen = []
    predict = counted(lambda images, repeat=0: images, 6, lambda *so: seen.append(so))
    for repeat in range(2):
        predict(np.zeros((3, 2)), repeat)
    assert seen == [(0, 6), (3, 6), (6, 6)]


@pytest.mark.parametrize(
    ("event", "left", "said"),
    [
        (
            {"epoch": 2, "epochs": 9, "loss": 0.5, "images_per_second": 1234.0},
            90.0,
            "epoch 2 of 9, mean loss 0.5000, 1,234 images/s, about 90 s left",
        ),
        (
            {"epoch": 2, "epochs": 9, "loss": 0.5, "images_per_second": 1234.0}
            | {"judged": 3000, "to_judge": 8000},
            None,
            "epoch 2 of 9, mean loss 0.5000, evaluating, 3,000 of 8,000 pictures",
        ),
        (
            {"judged": 0, "to_judge": 8000},
            None,
            "evaluating, 0 of 8,000 pictures",
        ),
    ],
)
def test_a_line_says_what_is_going_on(event, left, said):
    assert standing(event, left) == said


# --- the time that is left ------------------------------------------------------------


@pytest.mark.parametrize("waiting", [1, 3])
def test_nothing_is_said_to_be_over_that_is_still_judged(waiting):
    pace = Pace(waiting=waiting)
    assert pace.left("a", 1.0, 0.1) is None
    assert pace.left("a", 2.0, 0.2) == pytest.approx(8 + 10 * (waiting - 1))
    others = pace.left("a", 10.0, 1.0)
    assert others == (None if waiting == 1 else pytest.approx(20.0))
    assert pace.judging("a", 10.0, 0, 8000) is None
    left = pace.judging("a", 12.0, 2000, 8000)
    assert left == pytest.approx(6 + 18 * (waiting - 1))


class Kept(Quiet):
    """What was shown of a run as well."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def show(self, title, event, left):
        super().show(title, event, left)
        self.shown.append(standing(event, left))


def test_a_run_that_has_made_its_updates_says_that_it_evaluates(tmp_path, monkeypatch):
    """All that the child tells, as it is shown."""
    monkeypatch.setenv("NUMPY_TRACK_PAUSE", "0.02")
    screen = Kept()
    run_jobs(jobs(NUMPY, 1), Store(tmp_path), screen=screen)
    assert screen.shown[-1].startswith("evaluating, 0 of ")
    assert not [line for line in screen.shown if "about 0.0 s left" in line]


# --- before it starts -----------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A store with two runs."""
    folder = tmp_path_factory.mktemp("two")
    assert "to go" not in " ".join(carried_out(jobs(NUMPY, 2), folder, 1)[1].lines)
    return Store(folder)


def foretold(asked, store, at_once=1):
    """The lines before jobs are run that are not there."""
    there = folders(store)
    missing = [job for job in asked if job.id not in there]
    return [*lines(missing, store, there, at_once=at_once)]


@pytest.mark.parametrize(("at_once", "share"), [(1, 1), (4, 4)])
def test_how_long_it_takes_is_said_before_it_starts_where_earlier_runs_tell(
    at_once, share, two
):
    took = np.median([run.record["times"]["total"] for run in two.runs()])
    (line,) = (x for x in foretold(jobs(NUMPY, 10), two, at_once) if "to go" in x)
    seconds = re.match(r"about ([\d.]+) s to go, if they take as long as earlier", line)
    # Shown to a tenth of a second.
    assert float(seconds[1]) == pytest.approx(8 * took / share, rel=0.1, abs=0.05)


@pytest.mark.parametrize(
    "about", [{"system": "linear"}, {"track": "torch"}, {"threads": 2}]
)
def test_runs_of_another_kind_tell_nothing_of_how_long_it_takes(about, two):
    asked = jobs(about.pop("track", NUMPY), 4, **about)
    assert not [line for line in foretold(asked, two) if "to go" in line]


@pytest.mark.parametrize(
    "broken",
    [b"", b"[]", b"{}", b"null", b'{"identity": 1}', None],
    ids=lambda content: repr(content)[:12],
)
def test_a_record_that_is_none_tells_nothing(broken, two, tmp_path):
    for run in two.runs():
        (tmp_path / run.id).mkdir()
        content = broken
        if content is None:  # whole, but for one value
            told = run.record | {"times": {"total": "soon"}}
            content = json.dumps(told).encode()
        (tmp_path / run.id / "record.json").write_bytes(content)
    told = foretold(jobs(NUMPY, 4, threads=2), Store(tmp_path))
    assert not [line for line in told if "to go" in line or "differ" in line]


def test_of_what_is_there_nothing_is_said(two):
    assert foretold(jobs(NUMPY, 2), two) == []


def test_without_earlier_runs_it_is_said_after_the_first():
    (job,) = jobs(NUMPY, 1)
    run = SimpleNamespace(record={"scores": {"accuracy": 0.5}})
    screen = Kept()
    shown = Shown({job.id: Standing(job)}, screen, Pace(waiting=1_000_000))
    shown.begun(job)
    shown.clock[job.id] -= 2.0
    shown.ended(runner.Outcome(job, run))
    said = "about 23 days to go, if the others take as long: 999,999 runs"
    assert screen.lines[-1] == said


def test_runs_that_another_machine_would_have_made_are_not_passed_over_in_silence(two):
    lines = foretold(jobs(NUMPY, 3, threads=2), two)
    (line,) = (line for line in lines if "differ" in line)
    assert line.startswith("the store has runs that differ from these in nothing but")
    assert "threads (1): their bits are others" in line
    lines = foretold(jobs(NUMPY, 3, threads=2, epochs=1), two)
    assert not [line for line in lines if "differ" in line]


@pytest.mark.parametrize(("n", "said"), [(9_999, ""), (2_000_000, "2,000,000 runs")])
def test_very_many_runs_are_announced_before_they_are_listed(n, said, capsys):
    outcome.say_many(n)
    assert capsys.readouterr().err.startswith(said)
    assert bool(said) or not capsys.readouterr().err


def test_to_list_many_runs_reads_the_code_once(monkeypatch):
    looked = []
    closure = Job.closure
    monkeypatch.setattr(Job, "closure", lambda job: looked.append(job) or closure(job))
    jobs_of._shared.cache_clear()
    many = jobs(NUMPY, 500)
    assert len({job.id for job in many}) == 500
    assert len(looked) == 1


# --- a terminal -----------------------------------------------------------------------


class Tty(io.StringIO):
    """A terminal that does what it is told: what is on it in the end."""

    def isatty(self):
        return True

    def lines(self):
        """The lines, after every carriage return, erasure and movement."""
        rows, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|.|\n", self.getvalue(), re.S):
            if part.startswith("\x1b"):
                n = int(re.sub(r"\D", "", part) or 1)
                row -= n if part.endswith("A") else 0
                if part.endswith("K"):
                    rows[row] = ""
            elif part == "\r":
                column = 0
            elif part == "\n":
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            else:
                line = rows[row].ljust(column)
                rows[row] = line[:column] + part + line[column + 1 :]
                column += 1
        return [line.rstrip() for line in rows if line.strip()]


@pytest.mark.parametrize(("at_once", "columns"), [(1, 40), (2, 80)])
def test_in_a_terminal_the_accuracy_of_each_finished_run_stays(
    at_once, columns, monkeypatch, tmp_path
):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    stream = Tty()
    asked = jobs(NUMPY, 2)
    store = Store(tmp_path)
    done = run_jobs(asked, store, screen=Terminal(stream), at_once=at_once)
    screen = " ".join(stream.lines())
    for one in done:
        accuracy = one.run.record["scores"]["accuracy"]
        assert f"{one.job.name}: accuracy {accuracy:.2%}" in screen
    assert "starting" not in screen

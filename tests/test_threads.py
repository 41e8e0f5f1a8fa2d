"""How many threads a run has: few where a step is small, never more than cores."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from benchmarks import outcome
from benchmarks.engine import machine
from benchmarks.official import official
from benchmarks.parity import parity
from common.errors import Refused
from common.recipe import Recipe
from common.spec import WeightRecord
from common.systems import resolve
from common.weights import HeNormal

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """A spec of a user's own, with a convolution and nothing that tells its cost."""

    image: tuple[int, int, int] = (8, 8, 1)
    classes: int = 10
    input = property(lambda self: self.image)
    draws = property(lambda self: {})

    @property
    def weights(self):
        return {"first.kernel": WeightRecord((3, 3, 1, 8), HeNormal())}


def cores(monkeypatch, n):
    """A machine of so many cores."""
    monkeypatch.setattr(machine, "available_cores", lambda: n)


# --- the automatic choice ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image", "on"),  # threads on machines of 1, 2, 4 and 64 cores
    [
        ("small-cnn", (8, 8, 1), (1, 1, 1, 1)),
        ("rasbt-mlp", MNIST, (1, 1, 1, 1)),
        ("rasbt-mlp", CIFAR, (1, 1, 1, 1)),  # 2e8 operations: 20 times slower on two
        ("adventures-cnn", MNIST, (1, 2, 4, 4)),
        ("airbench94", CIFAR, (1, 2, 4, 4)),
    ],
)
def test_a_small_step_is_not_shared_and_a_large_one_by_few(
    name, image, on, monkeypatch
):
    resolved = resolve(name, image=image, classes=10)
    found = []
    for n in (1, 2, 4, 64):
        cores(monkeypatch, n)
        found.append(machine.threads_for(resolved.spec, resolved.recipe))
    assert tuple(found) == on


def test_a_step_of_unknown_size_is_not_shared(monkeypatch):
    cores(monkeypatch, 64)
    assert machine.threads_for(Theirs(), Recipe(lr=1.0, batch=100, epochs=1)) == 1


@pytest.mark.parametrize(
    ("n", "threads", "said"),
    [
        (64, 1, ""),
        (2, 2, "threads: 2 for large steps, all 2 cores here"),
        (64, 4, "threads: 4 for large steps, of 64 cores here"),
    ],
)
def test_a_choice_that_depends_on_the_machine_is_said(n, threads, said, monkeypatch):
    cores(monkeypatch, n)
    line = machine.about_threads([1, threads])
    assert line.startswith(said)
    assert ("other threads make other runs" in line) == bool(said)


def test_that_nobody_knows_the_size_of_a_step_is_said(monkeypatch):
    cores(monkeypatch, 64)
    recipe = Recipe(lr=1.0, batch=5, epochs=1)
    job = SimpleNamespace(
        system="theirs",
        modules=["theirs"],
        threads=1,
        records=lambda: (Theirs(), recipe),
    )
    (line,) = outcome.unasked_threads([job])
    assert line.startswith("threads: 1 for theirs, as its spec has no `macs`")


# --- more than there are -------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 16])
def test_more_threads_than_cores_are_refused(n, monkeypatch):
    cores(monkeypatch, n)
    about = {"mode": "aligned", "tracks": ["torch"]}
    assert machine.settle("cpu", "float32", threads=n, **about).threads == n
    with pytest.raises(Refused, match=f"may be used here, {n}, got {n + 1}; use {n}"):
        machine.settle("cpu", "float32", threads=n + 1, **about)


@pytest.mark.parametrize("command", [parity, official])
def test_commands_that_take_threads_as_they_are_refuse_them_too(
    command, monkeypatch, tmp_path
):
    cores(monkeypatch, 2)
    with pytest.raises(Refused, match="--threads must be at most"):
        command(threads=99, store=tmp_path)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("nonsense", None),
    ],
)
def test_a_containers_share_of_the_processor_counts(text, share, monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {*range(64)}, raising=False)
    assert machine.available_cores() == (share or 64)

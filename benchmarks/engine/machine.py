"""What computes: devices, precision, threads and memory of this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.engine.call import call
from benchmarks.engine.process import Tell, Values
from common import precision as precisions
from common.errors import Refused
from common.extras import precisions_of
from common.recipe import Recipe
from common.spec import Spec, macs
from common.track import DEFAULT, load_track

# Floating-point operations of an update below which float32 is as fast as bfloat16, and
# those below which it is not shared among threads: two threads of a step of some
# milliseconds wait for each other as soon as anybody else has a core.
SMALL_STEP, SHARED_STEP = 1e8, 1e9
# Threads of larger steps where nobody says how many.  They are part of a run's
# identity, so most machines must agree: those with fewer cores have fewer, and say so.
MOST_UNASKED = 4
DEVICES = ("auto", "cpu", "gpu")
CGROUP = Path("/sys/fs/cgroup")  # where a container's memory is limited, on Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What computes: resolved precision and device, and threads.

    `threads` is none where each run is to have what fits it, as `threads_for` says.
    Where nobody chose a precision, `small` is that of runs whose steps are small and
    `own` that of networks that a user wrote: who knows what those compute in.
    """

    precision: str
    device: str
    threads: int | None = None
    small: str | None = None
    own: str | None = None

    def threads_of(self, spec: Spec, recipe: Recipe) -> int:
        """Threads of a run."""
        return self.threads or threads_for(spec, recipe)

    def precision_of(self, spec: Spec, recipe: Recipe) -> str:
        """Precision of a run."""
        if self.own and not is_ours(spec):
            return self.own
        return self.small if self.small and is_small(spec, recipe) else self.precision


def resolve(device: str, tracks: Sequence[str]) -> str:
    """The device for a run of `tracks`: never a GPU that one of them lacks.

    Raises:
        Refused: No such device, or a GPU was asked for and a track sees none.
    """
    if device not in DEVICES:
        raise Refused(
            f"a device must be one of {', '.join(DEVICES)}, got {device!r}; "
            "choose one of them"
        )
    if device == "cpu" or (device == "auto" and not _driver()):
        return "cpu"
    # Without being asked, a GPU is used only where both frameworks could.
    asked = tracks if device == "gpu" else (*tracks, *DEFAULT)
    blind = [track for track in dict.fromkeys(asked) if not sees_gpu(track)]
    if device == "gpu" and blind:
        raise Refused(
            f"a GPU must be seen by every track, {', '.join(blind)} sees none; "
            "use --device cpu or install that framework's GPU build"
        )
    return "cpu" if blind else "gpu"


def settle(
    device: str,
    precision: str,
    *,
    mode: str,
    tracks: Sequence[str],
    threads: int | None = None,
) -> Machine:
    """What computes the runs of `tracks`, resolved.

    Raises:
        Refused: As in `resolve`, `common.precision.resolve` and `check_threads`.
    """
    check_threads(threads)
    place = resolve(device, tracks)
    bf16 = place == "gpu" and gpu_has_bf16(tracks)
    dtype = precisions.resolve(precision, mode=mode, device=place, gpu_has_bf16=bf16)
    lacking = [name for name in tracks if dtype not in precisions_of(name)]
    if lacking and precision == "auto" and mode not in precisions.FORCED:
        dtype = "float32"  # "auto" is the fastest that all of them have
        lacking = [name for name in tracks if dtype not in precisions_of(name)]
    if lacking:
        known = ", ".join(precisions_of(lacking[0]))
        raise Refused(
            f"a track must have the precision it is asked for, {lacking[0]} computes "
            f"in {known}, got {dtype}; choose one of these or another track"
        )
    # A small step gains nothing from bfloat16, and its rounding parts the two tracks.
    own = "float32" if (precision, dtype) == ("auto", "bfloat16") else None
    small = own if place == "cpu" else None
    return Machine(precision=dtype, device=place, threads=threads, small=small, own=own)


def _driver() -> bool:
    """Whether there is any sign of a GPU: asking a framework takes seconds."""
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidia0").exists()


def available_cores() -> int:
    """Cores that this process may use, a container's share minded."""
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    return min(found, _share() or found)


def _share() -> int | None:
    """Cores that a container may keep busy, rounded up; none if it has no limit."""
    with suppress(OSError, ValueError):  # "max" is no limit
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return max(1, -(-int(quota) // int(period)))
    return None


def check_threads(threads: int | None) -> None:
    """Refuse more threads than there are cores: they would only wait for each other."""
    cores = available_cores()
    if threads is not None and threads > cores:
        raise Refused(
            f"--threads must be at most the number of cores that may be used here, "
            f"{cores}, got {threads}; use {cores} or fewer"
        )


def shared_threads() -> int:
    """Threads of work that is large enough to share, where nobody says how many."""
    return min(available_cores(), MOST_UNASKED)


def threads_for(spec: Spec, recipe: Recipe) -> int:
    """Threads of a run: one where a step is too small to share, or of unknown size.

    Two threads of a step of a millisecond mostly wait for each other, and for any
    other process that has a core: measured 50 times slower on a busy machine.
    """
    operations = step_of(spec, recipe)
    return shared_threads() if operations and operations >= SHARED_STEP else 1


def about_threads(threads: Iterable[int]) -> str:
    """What is to be said of numbers of threads that nobody asked for; "" if nothing.

    One thread is one anywhere; what depends on the machine parts its runs from others'.
    """
    most, cores = max(threads, default=1), available_cores()
    if most == 1:
        return ""
    here, others = f"all {cores} cores here", f"more takes up to {MOST_UNASKED}"
    if cores >= MOST_UNASKED:
        here, others = f"of {cores} cores here", "fewer takes fewer"
    return (
        f"threads: {most} for large steps, {here} (a machine with {others}, and other "
        "threads make other runs); --threads N says how many"
    )


def step_of(spec: Spec, recipe: Recipe) -> int | None:
    """Floating-point operations of an update, or none where they are not known."""
    per_picture = macs(spec)
    return 6 * per_picture * recipe.batch if per_picture else None


def is_small(spec: Spec, recipe: Recipe) -> bool:
    """Whether an update is known to take less than `SMALL_STEP` operations."""
    operations = step_of(spec, recipe)
    return operations is not None and operations < SMALL_STEP


def is_ours(spec: Spec) -> bool:
    """Whether a network is one of ours, and no user's own."""
    return type(spec).__module__.startswith("common.")


def sees_gpu(track: str) -> bool:
    """Whether the framework of `track` can compute on a GPU here."""
    return described(track)["device"] != "cpu"


def gpu_has_bf16(tracks: Sequence[str]) -> bool:
    """Whether every track sees a GPU that computes in bfloat16 natively."""
    return all(described(track).get("bfloat16") == "native" for track in tracks)


@cache
def described(track: str) -> dict[str, str]:
    """What the track describes of itself when it may use a GPU."""
    return call(f"{__name__}:describe", {"track": track}, threads=1, device="gpu")


def describe(values: Values, tell: Tell) -> Values:
    """In a child: the track's own description."""
    track = load_track(values["track"])
    track.configure(threads=1, device="gpu", mode="aligned")
    return dict(track.describe())


# --- memory -----------------------------------------------------------------------


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes.

    `getrusage` would count the parent's as well: Linux hands it on through exec.
    """
    with suppress(OSError, StopIteration):
        return _kilobytes(Path("/proc/self/status"), "VmHWM:")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident(pid: int) -> int:
    """Memory that a process holds, in bytes; 0 where it is not known."""
    with suppress(OSError, StopIteration):
        return _kilobytes(Path(f"/proc/{pid}/status"), "VmRSS:")
    return 0


def free_memory() -> int | None:
    """Bytes that new processes may take, a container's limit minded; none if unknown.

    psutil tells the machine's, and nothing of a container's limit.
    """
    found = []
    with suppress(OSError, StopIteration):
        found.append(_kilobytes(Path("/proc/meminfo"), "MemAvailable:"))
    with suppress(OSError, ValueError):  # "max" is no limit
        limit = int((CGROUP / "memory.max").read_text())
        held = int((CGROUP / "memory.current").read_text())
        found.append(limit - held + _reclaimable(CGROUP / "memory.stat"))
    return max(min(found), 0) if found else None


def _reclaimable(path: Path) -> int:
    """Bytes of files that a container's kernel keeps only while nobody wants them."""
    rows = dict(line.split() for line in path.read_text().splitlines())
    return int(rows.get("inactive_file", 0))


def _kilobytes(path: Path, name: str) -> int:
    """A figure of one of Linux's tables, in bytes."""
    lines = path.read_text().splitlines()
    line = next(line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024

"""What computes: devices, precision, threads and memory of this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
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

# Floating-point operations of an update below which one thread is as fast as two, and
# float32 as bfloat16.
SHARED_STEP = 1e8
DEVICES = ("auto", "cpu", "gpu")
CGROUP = Path("/sys/fs/cgroup")  # where a container's memory is limited, on Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What computes: resolved precision and device, and threads.

    `threads` is none where each run is to have what fits it, as `threads_for` says;
    `small` is the precision of runs whose steps are small, where nobody chose one.
    """

    precision: str
    device: str
    threads: int | None = None
    small: str | None = None

    def threads_of(self, spec: Spec, recipe: Recipe) -> int:
        """Threads of a run."""
        return self.threads or threads_for(spec, recipe)

    def precision_of(self, spec: Spec, recipe: Recipe) -> str:
        """Precision of a run."""
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
        Refused: As in `resolve` and `common.precision.resolve`.
    """
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
    small = (
        "float32" if (precision, dtype, place) == ("auto", "bfloat16", "cpu") else None
    )
    return Machine(precision=dtype, device=place, threads=threads, small=small)


def _driver() -> bool:
    """Whether there is any sign of a GPU: asking a framework takes seconds."""
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidia0").exists()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(spec: Spec, recipe: Recipe) -> int:
    """Threads of a run: all cores, but one where a step is too small to share.

    Two threads of a step of a millisecond mostly wait for each other, and for any
    other process that has a core: measured 20 times slower on a busy machine.
    """
    return 1 if is_small(spec, recipe) else available_cores()


def is_small(spec: Spec, recipe: Recipe) -> bool:
    """Whether an update takes less than `SHARED_STEP` operations."""
    per_picture = macs(spec)
    if not per_picture:
        return False
    return 6 * per_picture * recipe.batch < SHARED_STEP


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

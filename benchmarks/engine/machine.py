"""Whether both frameworks see a GPU, asked of each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks.engine.runner import environment
from common import precision as precisions
from common.errors import Refused
from common.recipe import Recipe
from common.spec import Spec, macs
from common.track import DEFAULT, load_track

# Floating-point operations of an update below which one thread is as fast as two.
SHARED_STEP = 1e8
DEVICES = ("auto", "cpu", "gpu")


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
    device: str, precision: str, *, mode: str, tracks: Sequence[str]
) -> tuple[str, str]:
    """The device and the precision of a run of `tracks`, each resolved.

    Raises:
        Refused: As in `resolve` and `common.precision.resolve`.
    """
    place = resolve(device, tracks)
    bf16 = place == "gpu" and gpu_has_bf16(tracks)
    dtype = precisions.resolve(precision, mode=mode, device=place, gpu_has_bf16=bf16)
    return place, dtype


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
    per_picture = macs(spec)
    if per_picture and 6 * per_picture * recipe.batch < SHARED_STEP:
        return 1
    return available_cores()


def sees_gpu(track: str) -> bool:
    """Whether the framework of `track` can compute on a GPU here."""
    return _asked(track)["device"] != "cpu"


def gpu_has_bf16(tracks: Sequence[str]) -> bool:
    """Whether every track sees a GPU that computes in bfloat16 natively."""
    return all(_asked(track).get("bfloat16") == "native" for track in tracks)


@cache
def _asked(track: str) -> dict[str, str]:
    """What the track describes of itself when it may use a GPU."""
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.engine.machine", track],
        capture_output=True,
        text=True,
        check=True,
        env=environment(threads=1, device="gpu"),
    )
    found: dict[str, str] = json.loads(answer.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    module = load_track(sys.argv[1])
    module.configure(threads=1, device="gpu", mode="aligned")
    print(json.dumps(module.describe()))

"""What the environment may ask of the NumPy track, so that tests see it fail.

NUMPY_TRACK_FAULT   "WHAT@WHERE", one planted fault: WHAT is kill-child,
                    kill-parent, raise, hang, nan or full; WHERE is build,
                    update:N (from 1), predict or save
NUMPY_TRACK_SEED    the only seed that has it
NUMPY_TRACK_PAUSE   seconds that each chunk of updates takes longer
NUMPY_TRACK_DIARY   a file that gets a line for every model that is built, and
                    one every 50 ms from a model that hangs
"""

import errno
import os
import signal
import time
from pathlib import Path


def pause():
    time.sleep(float(os.environ.get("NUMPY_TRACK_PAUSE", 0)))


def write_diary(line):
    if diary := os.environ.get("NUMPY_TRACK_DIARY"):
        with Path(diary).open("a") as file:
            print(line, file=file)


def strike(here, seed):
    """Commit the planted fault if this is its place."""
    what, _, where = os.environ.get("NUMPY_TRACK_FAULT", "").partition("@")
    if where != here or os.environ.get("NUMPY_TRACK_SEED", str(seed)) != str(seed):
        return None
    match what:
        case "kill-child":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill-parent":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        case "hang":
            for _ in range(1200):
                write_diary("still here")
                time.sleep(0.05)
        case "raise":
            raise ZeroDivisionError("a planted fault")
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return what

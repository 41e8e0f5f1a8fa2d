"""A trained network that answers, in a process of its own.

    python -m benchmarks.engine.answer WEIGHTS TRACK PRECISION THREADS PARENT_PID

Pictures come in as arrays on standard input, logits go out the same way; what the
framework says goes to standard error.  Started by `benchmarks/engine/networks.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.engine.networks import receive, send
from benchmarks.engine.run import end_with, take_output
from common.track import load_track


def main() -> int:
    """Answer until the input ends."""
    weights, track_name, precision, threads, parent = sys.argv[1:]
    answers = os.fdopen(take_output(), "wb")
    end_with(int(parent))
    track = load_track(track_name)
    track.configure(threads=int(threads), device="cpu", mode="aligned")
    predict = track.predictor(track.load(Path(weights), dtype=precision))
    while (images := receive(sys.stdin.buffer)) is not None:
        send(answers, predict(images))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a framework's threads must not decide when this process ends

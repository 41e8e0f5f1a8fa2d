"""Trained networks of both frameworks, asked from a process that has neither."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.runner import TAIL, ended, environment
from common import files
from common.errors import Failed

BLOCK = 500  # pictures sent at once: bounds the memory of both sides
LENGTH = 8  # bytes of a length


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A weights file and how it is to be run.

    Attributes:
        weights: The file, as a track's `save` wrote it.
        track: Which track answers.
        precision: "float32", "bfloat16" or "float64".
        threads: Of the framework.
    """

    weights: Path
    track: str
    precision: str = "float32"
    threads: int = 1


def send(pipe: Any, array: NDArray[Any]) -> None:
    """Send an array: its length in bytes, then itself as a safetensors file."""
    content = files.pack({"": array})
    pipe.write(len(content).to_bytes(LENGTH, "little") + content)
    pipe.flush()


def receive(pipe: Any) -> NDArray[Any] | None:
    """The next array, or none if there is no whole one."""
    size = int.from_bytes(pipe.read(LENGTH), "little")
    content = pipe.read(size)
    return files.unpack(content)[0][""] if size and len(content) == size else None


class Network:
    """One network in a process of its own; `ask` first and `answer` later."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as we)
        command = [sys.executable, "-P", "-m", "benchmarks.engine.answer"]
        command += [str(trained.weights), trained.track, trained.precision]
        command += [str(trained.threads), str(os.getpid())]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment(threads=trained.threads, device="cpu"),
            start_new_session=True,
        )

    def ask(self, images: NDArray[np.uint8]) -> None:
        """Send pictures (n, h, w, c), at most BLOCK."""
        with suppress(BrokenPipeError):  # `answer` says how it ended
            send(self.process.stdin, images)

    def answer(self) -> NDArray[np.floating]:
        """Logits (n, classes) of the pictures that were sent.

        Raises:
            Failed: The process ended; the message has the end of its log.
        """
        logits = receive(self.process.stdout)
        if logits is not None:
            return logits
        how = ended(self.process.wait()) or "it ended"
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()[-TAIL:]
        raise Failed(
            f"{self.trained.track} must answer, {how}; the end of what it said:\n"
            + "\n".join(f"    {line}" for line in lines)
        )

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.log.close()


class Networks:
    """Several networks that are asked the same, side by side.

    Use it in a `with` statement; the processes end with it.
    """

    def __init__(self, trained: Mapping[str, Trained]) -> None:
        self.trained = trained
        self.running: dict[str, Network] = {}

    def __enter__(self) -> Networks:
        self.running = {name: Network(one) for name, one in self.trained.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for network in self.running.values():
            network.close()

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
        """Name -> logits (n, classes) of pictures (n, h, w, c), n at least 1.

        Raises:
            Failed: One of the processes ended.
        """
        found: dict[str, list[NDArray[np.floating]]] = {n: [] for n in self.running}
        for start in range(0, len(images), BLOCK):
            for network in self.running.values():
                network.ask(images[start : start + BLOCK])
            for name, network in self.running.items():
                found[name].append(network.answer())
        return {name: np.concatenate(blocks) for name, blocks in found.items()}

"""The one place where a process is started, followed and ended.

    python -P -m benchmarks.engine.process MODULE:FUNCTION PARENT_PID

A child calls one function, `function(values, tell)`.  `values` is the first line of
its standard input, as JSON; what follows there are arrays that the function may ask
for (`received`).  Standard output carries events, one JSON object per line, each with
an "event"; one with "bytes" is followed by so many raw ones.  What the function returns
is the last event, "result".  All that the framework says goes to the log.

Exit codes are those of `common.errors`: 0 done, 2 refused (event "refused" has the
line), 70 a fault of ours (the traceback is in the log).  The child ends with its
parent, however and in whatever thread that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from common import files, quiet, variables
from common.errors import DONE, OURS, WRONG, Refused

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT = 0.2  # seconds between two looks at whether the parent still lives
TICK = 0.2  # seconds between two looks at a silent child
TAIL = 15  # lines of a log that are shown when its process fails
READ_AT_ONCE = 1 << 20  # bytes
LENGTH = 8  # bytes of the length before what is sent to a child
PR_SET_PDEATHSIG = 1  # Linux's prctl: "send me this signal when my parent ends"

Event = dict[str, Any]
Values = dict[str, Any]
Tell = Callable[..., None]


# --- the parent -------------------------------------------------------------------


class Child:
    """One child process, seen from its parent.

    Args:
        task: "module:function".
        values: What the function is given; plain values.
        threads: Of its framework.
        device: "cpu" or "gpu".
        log: Where all goes that it says beside events; written from its end on.
        switches: What changes its arithmetic; as `environment` takes it.
    """

    def __init__(
        self,
        task: str,
        values: Values,
        *,
        threads: int,
        device: str,
        log: Path,
        switches: Sequence[str] | None = None,
    ) -> None:
        self.task = task
        self.log = log
        self.born = time.monotonic()
        self.said_before = log.stat().st_size if log.exists() else 0
        self.over = False  # whether all its events were taken
        self.ending: Event = {}  # its "result" or "refused"
        self._rest = bytearray()
        _tell_remarks(threads)
        with log.open("ab") as said:
            self.process = started(
                [sys.executable, "-P", "-m", __name__, task, str(os.getpid())],
                stderr=said,
                env=environment(threads=threads, device=device, switches=switches),
            )
        self._put(json.dumps(values, allow_nan=False).encode() + b"\n")

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.born

    def events(self) -> Iterator[Event]:
        """What it tells, and an empty event at each tick; until it ends."""
        while not self.over:
            ready([self])
            yield from self.take()
            yield {}

    def take(self) -> list[Event]:
        """The events that are there; call it when `ready` says so."""
        gone = self.process.poll() is not None  # asked first: its last words count
        if self._readable():
            content = os.read(self._output.fileno(), READ_AT_ONCE)
            self._rest += content
            self.over = not content
        else:  # a worker of the child may still hold the pipe
            self.over = gone
        found = list(self._parsed())
        for event in found:
            if event["event"] in ("result", "refused"):
                self.ending = event
        return found

    def send(self, content: bytes) -> None:
        """Send bytes to the function; it takes them with `received`."""
        self._put(len(content).to_bytes(LENGTH, "little") + content)

    def status(self) -> str:
        """How it ended, in words; "" if well.  It waits for the end.

        Raises:
            Refused: The child refused; the line is the child's.
        """
        code = self.process.wait()
        if self.ending.get("event") == "refused":
            raise Refused(self.ending["message"])
        return ended(code)

    def tail(self) -> str:
        """The last lines that it said, indented."""
        with self.log.open("rb") as file:
            file.seek(self.said_before)
            lines = file.read().decode(errors="replace").splitlines()
        shown = "\n".join(f"    {line}" for line in lines[-TAIL:])
        if not shown:
            return f"  {self.log} says nothing"
        return f"  the end of {self.log}:\n{shown}"

    def end(self) -> None:
        """End it and all that it started, at once, if it still runs."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    @property
    def _output(self) -> Any:
        return self.process.stdout

    def _readable(self) -> bool:
        with selectors.DefaultSelector() as now:
            now.register(self._output, selectors.EVENT_READ)
            return bool(now.select(0))

    def _put(self, content: bytes) -> None:
        with suppress(BrokenPipeError):  # `status` says how it ended
            self.process.stdin.write(content)  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]

    def _parsed(self) -> Iterator[Event]:
        """The whole events among what was read, each with its bytes."""
        while (cut := self._rest.find(b"\n")) >= 0:
            event: Event = json.loads(self._rest[:cut])
            size = event.get("bytes", 0)
            if len(self._rest) < cut + 1 + size:
                return
            if size:
                event["content"] = bytes(self._rest[cut + 1 : cut + 1 + size])
            del self._rest[: cut + 1 + size]
            yield event


def ready(children: Sequence[Child], timeout: float = TICK) -> list[Child]:
    """Those of the children that told something or ended, within seconds."""
    with selectors.DefaultSelector() as silent:
        for child in children:
            silent.register(child._output, selectors.EVENT_READ, child)
        told = [key.data for key, _ in silent.select(timeout)]
    return told or [c for c in children if c.process.poll() is not None]


@cache
def _starter() -> ThreadPoolExecutor:
    """The thread that starts every child, for as long as this process lives.

    Linux sends the death signal when the *thread* that started a child ends, not when
    the process does: a child of a short-lived thread would die with that.
    """
    return ThreadPoolExecutor(1, "twintrack-starter")


def started(
    command: list[str], *, stderr: BinaryIO, env: dict[str, str]
) -> subprocess.Popen[bytes]:
    """A process of a session of its own: Ctrl-C reaches us, and we end it."""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=env,
            start_new_session=True,
        )

    future = _starter().submit(start)
    try:
        return future.result()
    except BaseException:  # Ctrl-C while it started: nobody would end it
        if not future.cancel():
            future.add_done_callback(_end_late)
        raise


def _end_late(future: Any) -> None:
    if not future.cancelled() and not future.exception():
        future.result().kill()


def environment(
    *, threads: int, device: str, switches: Sequence[str] | None = None
) -> dict[str, str]:
    """The child's environment: our import path, one number of threads, a device.

    Of what changes arithmetic it has `switches` ("NAME=value") and nothing else; where
    none are given, those of this process.  What `common.variables` calls fixed is ours.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    given = variables.without(os.environ, switches=switches is not None)
    chosen = dict(said.split("=", 1) for said in switches or ())
    fixed = {
        "PYTHONPATH": os.pathsep.join(import_path()),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
    }
    if device == "cpu":
        fixed["CUDA_VISIBLE_DEVICES"] = ""
    return quiet | given | chosen | fixed


_told: set[str] = set()


def remarks(threads: Iterable[int]) -> list[str]:
    """What is done about the user's variables, to be said by who asks."""
    lines = variables.remarks(threads)
    _told.update(lines)
    return lines


def _tell_remarks(threads: int) -> None:
    """Say the same, each line once in this process, where nobody asked."""
    new = [line for line in variables.remarks([threads]) if line not in _told]
    _told.update(new)
    for line in new:
        print(line, file=sys.stderr, flush=True)


def import_path() -> list[str]:
    """Where a child looks for modules: the library, then our root, then the rest.

    A user's project may have a `common`, `benchmarks` or `tests` of its own, and the
    current folder often comes first: ours must be found all the same.
    """
    given = [entry or str(Path.cwd()) for entry in sys.path]
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    first = [
        entry
        for entry in given
        if entry in library or entry.endswith(("lib-dynload", ".zip"))
    ]
    return list(dict.fromkeys([*first, str(ROOT), *given]))


def ended(code: int) -> str:
    """How a process ended, in words; "" if well."""
    if code >= 0:
        return f"it ended with code {code}" if code else ""
    name = signal.Signals(-code).name
    guess = "; was memory short?" if name == "SIGKILL" else ""
    return f"it was ended by {name}{guess}"


# --- the child --------------------------------------------------------------------


def main() -> int:
    """Call the function that the command line names."""
    task, parent = sys.argv[1], int(sys.argv[2])
    end_with(parent)
    quiet.nobody_plots()
    tell = teller(take_output())
    try:
        module, _, name = task.partition(":")
        values = json.loads(sys.stdin.buffer.readline())
        result = getattr(import_module(module), name)(values, tell)
        tell("result", value={} if result is None else result)
    except Refused as error:
        tell("refused", message=str(error))
        return WRONG
    except Exception as error:
        if isinstance(error, OSError) and error.errno in files.FULL:
            place = Path(error.filename or ".")
            tell("refused", message=files.unwritable(place, error))
            return WRONG
        traceback.print_exc()
        return OURS
    return DONE


def take_output() -> int:
    """Keep standard output for events; send what others write to it to the log."""
    events = os.dup(1)
    os.dup2(2, 1)
    return events


def teller(events: int) -> Tell:
    """A function that sends an event to the parent, with raw bytes if need be."""
    order = threading.Lock()

    def tell(event: str, *, content: bytes = b"", **values: object) -> None:
        size = {"bytes": len(content)} if content else {}
        line = json.dumps({"event": event} | values | size, allow_nan=False)
        rest = memoryview(line.encode() + b"\n" + content)
        try:
            with order:
                while rest:
                    rest = rest[os.write(events, rest) :]
        except BrokenPipeError:
            os._exit(1)

    return tell


def received() -> bytes | None:
    """The next bytes that the parent sent, or none if there are no more."""
    size = int.from_bytes(sys.stdin.buffer.read(LENGTH), "little")
    content = sys.stdin.buffer.read(size)
    return content if size and len(content) == size else None


def end_with(parent: int) -> None:
    """End this process within a second of its parent, however that ends.

    The kernel does it where it can; the thread does it elsewhere, unless the
    framework keeps Python's lock for longer.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while True:
            end_unless(parent)
            time.sleep(HEARTBEAT)

    end_unless(parent)
    threading.Thread(target=watch, daemon=True).start()


def end_unless(parent: int) -> None:
    """End this process, at once, if its parent is gone."""
    if os.getppid() != parent:
        os._exit(1)


def orphaned() -> None:
    """End this child, at once, if its parent is gone: before it writes a file."""
    end_unless(int(sys.argv[2]))


if __name__ == "__main__":
    # Not sys.exit: a framework's threads must not decide when this process ends.
    code = main()
    sys.stderr.flush()
    os._exit(code)

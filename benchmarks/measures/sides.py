"""The two sides of `twintrack port`, each a user's model in a process of its own."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.engine.call import new_log
from benchmarks.engine.process import Child, Tell, Values, received
from common import files
from common.errors import OURS, Failed, Fault, Refused
from common.extras import Ports, load_extra
from common.port.alike import Array
from common.port.target import Target
from common.port.told import Config, Trace, Unit

SIDES = {"torch": "torch", "keras": "tensorflow"}
SHOWN = {"torch": "PyTorch", "keras": "Keras"}


def serve(values: Values, tell: Tell) -> None:
    """In a child: open a model, and do with it what is asked, until nothing is."""
    ports = load_extra(values["track"], Ports)
    gc.freeze()  # a framework is a million objects, none of them garbage
    tell("ready")  # what a user's model takes is counted from here
    model: Any = None
    while (content := received()) is not None:
        arrays, about = files.unpack(content)
        asked = json.loads(about["asked"])
        if asked["do"] == "open":
            model = None  # one model is held, not two
            target = Target(**asked["target"])
            model = ports.opened(target, dtype=asked["dtype"], **values["how"])
            tell("answer", words=model.described())
            continue
        do: Any = DONE_BY[asked.pop("do")]  # each takes words of its own
        words, given = do(ports, model, arrays, **asked)
        tell("answer", words=words, content=files.pack(given))


Answer = tuple[Any, dict[str, Array]]


def _run(
    ports: Any,
    model: Any,
    arrays: Mapping[str, Array],
    names: list[str],
    seed: int | None,
) -> Answer:
    given = [arrays[f"x/{i}"] for i in range(sum(n.startswith("x/") for n in arrays))]
    instead = {int(n[8:]): a for n, a in arrays.items() if n.startswith("instead/")}
    more = {"instead": instead} if instead else {}
    try:
        trace = model.run(given, names, seed=seed, **more)
    except Refused as error:
        return {"refused": str(error)}, {}
    found, steps = trace.pack()
    units = [unit.wire() for unit in model.units()]
    return {"steps": steps, "units": units, "odd": model.odd}, found


def _weights(ports: Any, model: Any, arrays: Mapping[str, Array]) -> Answer:
    return {}, model.weights()


def _assign(ports: Any, model: Any, arrays: Mapping[str, Array]) -> Answer:
    model.assign(arrays)
    return {}, {}


def _compute(
    ports: Any, model: Any, arrays: Mapping[str, Array], kind: str, config: Config
) -> Answer:
    weights = {n[2:]: a for n, a in arrays.items() if n.startswith("w/")}
    given = [arrays[f"x/{i}"] for i in range(len(arrays) - len(weights))]
    try:
        return {}, {"y": ports.compute(kind, config, weights, given)}
    except (ValueError, RuntimeError, KeyError, TypeError, IndexError) as error:
        # A hypothesis whose words do not fit these arrays: it is none.
        return {"unable": f"{type(error).__name__}: {error}"}, {}


def _edit(
    ports: Any, model: Any, arrays: Mapping[str, Array], changes: dict[str, Config]
) -> Answer:
    return {"done": model.edit(changes)}, {}


def _save(ports: Any, model: Any, arrays: Mapping[str, Array], path: str) -> Answer:
    model.save(Path(path))
    return {}, {}


def _learn(ports: Any, model: Any, arrays: Mapping[str, Array], how: Config) -> Answer:
    if (before := getattr(model, "learner", None)) is not None:
        before.close()
    try:
        model.learner = ports.Learner(model, **how)
        answer: Answer = model.learner.told(_inputs(arrays))
    except Refused as error:
        return {"refused": str(error)}, {}
    return answer


def _step(ports: Any, model: Any, arrays: Mapping[str, Array]) -> Answer:
    try:
        answer: Answer = model.learner.step(_inputs(arrays), arrays["y"])
    except Refused as error:
        return {"refused": str(error)}, {}
    return answer


def _inputs(arrays: Mapping[str, Array]) -> list[Array]:
    return [arrays[f"x/{i}"] for i in range(sum(n.startswith("x/") for n in arrays))]


DONE_BY = {
    "learn": _learn,
    "step": _step,
    "run": _run,
    "weights": _weights,
    "assign": _assign,
    "compute": _compute,
    "edit": _edit,
    "save": _save,
}


class Side:
    """One model in its process.

    Args:
        name: "torch" or "keras".
        seed: Of all draws.
        threads: Of its framework.
        time_limit: Seconds that one request may take.
    """

    def __init__(
        self,
        name: str,
        *,
        seed: int,
        threads: int,
        time_limit: float,
    ) -> None:
        self.name = name
        self.time_limit = time_limit
        self.text = ""
        self.ready = False
        self.units: list[Unit] = []
        self.odd: dict[str, str] = {}  # what it returns that is no tensor -> its type
        how = {"seed": seed, "threads": threads}
        values = {"track": SIDES[name], "how": how}
        self.child = Child(
            f"{__name__}:serve",
            values,
            threads=threads,
            device="cpu",
            log=new_log(),
        )
        self.told = self.child.events()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        broken = self.child.process.poll() not in (None, 0)
        self.child.end()
        if not broken or isinstance(error, Refused):
            self.child.log.unlink(missing_ok=True)

    def open(self, target: Target, dtype: str = "float64") -> None:
        """Open a model; `answer` tells how it is described.  In place of one before."""
        self.text = target.text
        self.units = []
        self._send("open", {}, target=asdict(target), dtype=dtype)

    def answer(self) -> Answer:
        """The words and arrays of the next answer.

        Raises:
            Refused: It refused; or it took longer than the time limit.
            Failed: The process ended.
            Fault: A fault of ours in it.
        """
        until = time.monotonic() + self.time_limit
        for event in self.told:
            if event.get("event") == "ready":
                self.ready = True
            if not self.ready:
                until = time.monotonic() + self.time_limit
                continue
            if event.get("event") == "answer":
                content = event.get("content")
                arrays = files.unpack(content)[0] if content else {}
                return event["words"], arrays
            if time.monotonic() > until:
                raise Refused(
                    f"{self.text} must answer within {self.time_limit:g} s, it "
                    "did not; does it wait for something? --time-limit gives it longer"
                )
        how = self.child.status() or "it ended"
        if self.child.process.returncode == OURS:
            raise Fault(f"opening {self.text}", self.child.log)
        raise Failed(f"{self.text} must answer, {how}\n{self.child.tail()}")

    def ask(self, do: str, arrays: Mapping[str, Array], **words: Any) -> Answer:
        """Ask one thing, and wait for the answer."""
        self._send(do, arrays, **words)
        return self.answer()

    def _send(self, do: str, arrays: Mapping[str, Array], **words: Any) -> None:
        about = {"asked": json.dumps({"do": do} | words)}
        self.child.send(files.pack(dict(arrays), about))

    def run(
        self,
        given: Sequence[Array],
        names: Sequence[str] = (),
        instead: Mapping[int, Array] | None = None,
        seed: int | None = None,
    ) -> Trace:
        """One call, step by step; its units are known afterwards.

        Args:
            given: What goes in.
            names: Of the inputs, where the model takes a dictionary.
            instead: Step -> what is taken for its output.
            seed: Of all draws; its own unless given.

        Raises:
            Refused: The model raised.
        """
        arrays = {f"x/{i}": array for i, array in enumerate(given)}
        arrays |= {f"instead/{at}": array for at, array in (instead or {}).items()}
        words, found = self.ask("run", arrays, names=list(names), seed=seed)
        if "refused" in words:
            raise Refused(words["refused"])
        trace = Trace.unpack(found, words["steps"])
        self.odd = dict(words["odd"])
        self.units = in_order([Unit.unwire(u) for u in words["units"]], trace)
        return trace

    def weights(self) -> dict[str, Array]:
        """Canonical arrays, by "unit/tensor"."""
        return self.ask("weights", {})[1]

    def assign(self, weights: Mapping[str, Array]) -> None:
        """Set tensors, canonical."""
        self.ask("assign", weights)

    def learn(self, given: Sequence[Array], **how: Any) -> Answer:
        """Begin a training; what it is, and the outputs before it.

        Raises:
            Refused: An optimizer, loss or step is none, or raised.
        """
        arrays = {f"x/{i}": array for i, array in enumerate(given)}
        return _accepted(self.ask("learn", arrays, how=how))

    def begin_step(self, given: Sequence[Array], y: Array) -> None:
        """Ask for a step of the training; `end_step` tells it."""
        arrays = {f"x/{i}": array for i, array in enumerate(given)}
        self._send("step", arrays | {"y": y})

    def end_step(self) -> Answer:
        """Loss and rates; gradients, what the optimizer got, and weights after it.

        Raises:
            Refused: The training raised.
        """
        return _accepted(self.answer())

    def edit(self, changes: Mapping[str, Config]) -> list[str]:
        """Change words of units in memory; which were changed."""
        words, _ = self.ask("edit", {}, changes=dict(changes))
        done: list[str] = words["done"]
        return done

    def compute(
        self,
        kind: str,
        config: Config,
        weights: Mapping[str, Array],
        given: Sequence[Array],
    ) -> Array | None:
        """Any step by itself (`pt_track.ports.compute`); none where that cannot be."""
        arrays = {f"w/{n}": a for n, a in weights.items()}
        arrays |= {f"x/{i}": a for i, a in enumerate(given)}
        _, found = self.ask("compute", arrays, kind=kind, config=config)
        return found.get("y")


def _accepted(answer: Answer) -> Answer:
    if "refused" in answer[0]:
        raise Refused(answer[0]["refused"])
    return answer


def in_order(units: Sequence[Unit], trace: Trace) -> list[Unit]:
    """Units in the order of computing; those that never compute at the end."""
    place: dict[str, int] = {}
    for step in trace.steps:
        place.setdefault(step.unit, step.at)
    last = len(trace.steps)
    known = {unit.name for unit in units}
    # Of a layer of several units a step names the last: the others come with it.
    homes = {name: at for name, at in place.items() if name in known}

    def key(unit: Unit) -> tuple[int, int]:
        at = homes.get(unit.name)
        if at is None:
            home = unit.name.rpartition(".")[0]
            near = [
                a for n, a in homes.items() if n.rpartition(".")[0] == home and home
            ]
            at = min(near, default=last)
        return at, order[unit.name]

    order = {unit.name: i for i, unit in enumerate(units)}
    return sorted(units, key=key)


def random_input(
    shape: Sequence[int], *, tokens: int | None, seed: int, batch: int
) -> Array:
    """Seeded input (batch, *shape): normal, or tokens where the model takes those."""
    rng = np.random.Generator(np.random.Philox(seed))
    size = (batch, *shape)
    if tokens is not None:
        return rng.integers(0, tokens, size)
    return rng.normal(0.0, 1.0, size)

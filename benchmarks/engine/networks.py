"""Trained networks of any track, asked from a process that has no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.call import new_log
from benchmarks.engine.process import Child, Tell, Values, received
from common import codec, files, model_file
from common.errors import OURS, Failed, Fault
from common.evaluate import Judge, Predict, answered, at_once
from common.evaluate import seen as looks
from common.heads import base_for, headless
from common.job import Base
from common.systems import find
from common.track import Track, load_track

BLOCK = 500  # pictures sent at once: bounds the memory of both sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A weights file and how it is to be run.

    Attributes:
        weights: The file, as a track's `save` wrote it.
        track: Which track answers.
        precision: "float32", "bfloat16" or "float64".
        threads: Of the framework.
        repeats: How often it looks at a picture.
        module: The user's module that registers its kind of spec, or none.
        base: The frozen network whose features it is given, or none.
        recipe: Its recipe's text, which says in how many views it is judged, or none.
    """

    weights: Path
    track: str
    precision: str = "float32"
    threads: int = 1
    repeats: int = 1
    module: str | None = None
    base: Base | None = None
    recipe: str | None = None


def answer(values: Values, tell: Tell) -> None:
    """In a child: logits of each array of pictures that is sent, until none is."""
    if values["module"]:
        find(values["module"])  # it registers its kinds of spec
    track = load_track(values["track"])
    track.configure(threads=values["threads"], device="cpu", mode="aligned")
    model = track.load(Path(values["weights"]), dtype=values["precision"])
    predict, seen = track.predictor(model), model.spec.input
    if values["base"]:
        base = Base.from_dict(values["base"])
        seen, views = base.image, model.spec.image[1]
        predict = on_features(frozen(track, base), predict, views=views)
    if values["recipe"]:
        predict = looks(predict, codec.loads(values["recipe"], trusted=True).views)
    while (content := received()) is not None:
        images = files.unpack(content)[0][""]
        step = at_once(seen)
        parts = (images[i : i + step] for i in range(0, len(images), step))
        answers = [answered(predict, part, values["repeats"]) for part in parts]
        logits = np.concatenate(answers)
        tell("logits", content=files.pack({"": logits}))


def frozen(track: Track, base: Base) -> Predict:
    """Uint8 images (n, h, w, c) -> what a network gives its last layer."""
    spec, weights, _ = model_file.load(base.file)
    bare, given = headless(base_for(spec, base.image, spec.classes), weights)
    return track.predictor(track.build(bare, weights=given, dtype=base.precision))


def on_features(base: Predict, head: Judge, *, views: int) -> Judge:
    """A head on features, asked with pictures: its pictures are theirs.

    Args:
        base: Images to features (n, width).
        head: Features (n, 1, views, width) to logits.
        views: 1, or 2 where it learned from mirror images too.
    """

    def predict(images: NDArray[Any], *repeat: int) -> NDArray[np.floating]:
        looks = [images, images[:, :, ::-1]][:views]
        rows: Any = np.stack([base(np.ascontiguousarray(look)) for look in looks], 1)
        return head(rows[:, None].astype(np.float32), *repeat)

    return predict


class Network:
    """One network in a process of its own; `ask` first and `answer` later."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.child = Child(
            f"{__name__}:answer",
            {
                "weights": str(trained.weights),
                "track": trained.track,
                "precision": trained.precision,
                "threads": trained.threads,
                "repeats": trained.repeats,
                "module": trained.module,
                "recipe": trained.recipe,
                "base": asdict(trained.base) if trained.base else None,
            },
            threads=trained.threads,
            device="cpu",
            log=new_log(),
        )
        self.told = self.child.events()

    def ask(self, images: NDArray[np.uint8]) -> None:
        """Send pictures (n, h, w, c), at most BLOCK."""
        self.child.send(files.pack({"": images}))

    def answer(self) -> NDArray[np.floating]:
        """Logits (n, classes) of the pictures that were sent.

        Raises:
            Refused: The track does not take such a file.
            Failed: The process ended; the message has the end of its log.
            Fault: A fault of ours in it.
        """
        for event in self.told:
            if event.get("event") == "logits":
                logits: NDArray[Any] = files.unpack(event["content"])[0][""]
                return logits
        how = self.child.status() or "it ended"
        if self.child.process.returncode == OURS:
            raise Fault(f"{self.trained.track}'s answer", self.child.log)
        raise Failed(f"{self.trained.track} must answer, {how}\n{self.child.tail()}")

    def close(self) -> None:
        """End the process; its log stays only where it tells of a fault."""
        broken = self.child.process.poll() not in (None, 0)
        self.child.end()
        if not broken:
            self.child.log.unlink(missing_ok=True)


class Networks:
    """Several networks that are asked the same, side by side.

    Use it in a `with` statement; the processes end with it.  They start when they are
    first asked: where no picture can be read, no framework is waited for.
    """

    def __init__(self, trained: Mapping[str, Trained]) -> None:
        self.trained = trained
        self.running: dict[str, Network] = {}

    def __enter__(self) -> Networks:
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
        for name in self.trained.keys() - self.running.keys():
            self.running[name] = Network(self.trained[name])
        found: dict[str, list[NDArray[np.floating]]] = {n: [] for n in self.trained}
        for start in range(0, len(images), BLOCK):
            for network in self.running.values():
                network.ask(images[start : start + BLOCK])
            for name, network in self.running.items():
                found[name].append(network.answer())
        return {name: np.concatenate(blocks) for name, blocks in found.items()}

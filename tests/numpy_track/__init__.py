"""A third track, in NumPy: plain MLPs and SGD, small enough to be killed often.

It starts in a fraction of a second and goes through the same loop, plan and store
as the frameworks.  What the environment may ask of it:

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
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from common import codec, files, loop
from common.weights import draw, read


class MLP:
    """Dense layers with ReLU between them; float64 throughout."""

    def __init__(self, spec, weights, seed):
        self.spec = spec
        self.seed = seed
        self.weights = {name: np.array(w, np.float64) for name, w in weights.items()}
        depth = len(spec.widths) - 1
        self.names = [f"hidden.{i}" for i in range(depth - 1)] + ["head"]

    def values(self, images):
        """Input and output of every layer for uint8 images (n, h, w, c)."""
        x = images.reshape(len(images), -1) / self.spec.scale.divide
        found = [x]
        for name in self.names:
            x = x @ self.weights[f"{name}.kernel"] + self.weights[f"{name}.bias"]
            x = x if name == "head" else np.maximum(x, 0)
            found.append(x)
        return found


class Trainer:
    """Softmax cross-entropy, SGD with the recipe's learning rate and momentum."""

    def __init__(self, model, recipe, rates):
        self.model = model
        self.rates = rates
        self.momentum = recipe.optimizer.momentum
        self.slots = {name: np.zeros_like(w) for name, w in model.weights.items()}
        self.step = 0

    def run(self, chunk):
        time.sleep(float(os.environ.get("NUMPY_TRACK_PAUSE", 0)))
        pairs = zip(chunk.images, chunk.labels, strict=True)
        return np.array([self.update(*pair) for pair in pairs])

    def update(self, images, labels):
        fault = strike(f"update:{self.step + 1}", self.model.seed)
        *inputs, logits = self.model.values(images)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(shares[rows, labels]).mean()
        shares[rows, labels] -= 1
        grad = shares / len(labels)
        layers = zip(self.model.names, inputs, strict=True)
        for name, x in reversed(list(layers)):
            steps = {f"{name}.kernel": x.T @ grad, f"{name}.bias": grad.sum(axis=0)}
            grad = (grad @ self.model.weights[f"{name}.kernel"].T) * (x > 0)
            for leaf, g in steps.items():
                self.slots[leaf] = self.momentum * self.slots[leaf] + g
                self.model.weights[leaf] -= self.rates[self.step] * self.slots[leaf]
        self.step += 1
        return np.nan if fault == "nan" else loss

    def averaged(self):
        return nullcontext()

    def arrays(self):
        weights = {f"weights/{n}": w.copy() for n, w in self.model.weights.items()}
        return weights | {f"slots/{n}": s.copy() for n, s in self.slots.items()}

    def restore(self, arrays, step):
        for name in self.slots:
            self.model.weights[name] = arrays[f"weights/{name}"].copy()
            self.slots[name] = arrays[f"slots/{name}"].copy()
        self.step = step


def configure(*, threads, device, mode):
    """NumPy's threads are the environment's."""


def build(spec, *, weights=None, seed=0, dtype="float32", device="cpu"):
    write_diary(f"built with seed {seed}")
    strike("build", seed)
    return MLP(spec, draw(spec.weights, seed) if weights is None else weights, seed)


def build_native(spec, *, seed, device="cpu"):
    return build(spec, seed=seed)


def train(model, data, recipe, plan, *, state=None, on_epoch=None, on_progress=None):
    trainer = Trainer(model, recipe, recipe.rates(len(data.train)))
    return loop.run(
        trainer,
        lambda images: model.values(images)[-1],
        data,
        model.spec,
        recipe,
        plan,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )


train_native = train


def predictor(model):
    strike("predict", model.seed)
    return lambda images: model.values(images)[-1]


def get_weights(model):
    return dict(model.weights)


def set_weights(model, weights):
    model.weights = dict(weights)


def save(model, path):
    strike("save", model.seed)
    header = {"spec": codec.dumps(model.spec)}
    Path(path).write_bytes(files.pack(model.weights, header))


def load(path, *, dtype="float32"):
    weights, header = read(path)
    return build(codec.loads(header["spec"]), weights=weights)


def describe():
    return {"framework": "numpy", "numpy": np.__version__}


def peak_gpu_memory():
    return None


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

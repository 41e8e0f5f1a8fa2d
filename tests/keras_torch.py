"""What the children of test_keras_torch measure, one track in each.

Keras keeps the framework it was first imported on: this track and tensorflow's cannot
share a process.
"""

import gc
import os
import resource
import sys
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.measures.ladder import Climb, measure
from common import systems
from common.data import pictures
from common.errors import Refused
from common.plan import Plan
from common.recipe import Recipe
from common.spec import CNNSpec, Dense, Flatten, Image, Relu, Scale
from common.systems import DIGITS, resolve
from common.track import load_track
from common.weights import draw, random_weights, write
from tests.own_twin import TwoTowers

FLAT: Image = (4, 4, 1)
LOOKED_AT = 1000  # of each gradient of Inception, which has 22 million


def climbs(values, tell):
    """Every climb that is asked for, a file that the track saved, and Inception."""
    folder = Path(values["folder"])
    folder.mkdir()
    track = load_track(values["track"])
    track.configure(threads=1, device="cpu", mode="strict")
    for climb in values["climbs"]:
        for _ in measure(track, Climb(**climb)):
            gc.collect()  # Keras's models are in cycles
    spec = resolve("deep-cnn", image=DIGITS, classes=10).spec
    model = track.build(spec, weights=random_weights(spec.weights, 1))
    track.save(model, folder / "saved")
    if values["track"] != "tensorflow":  # torch is judged by it in test_parity
        inception(track, folder / "inception")
        gc.collect()
    found = {"environment": track.describe()}
    if values["track"] == "keras_torch":
        found |= alone(track, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
    return found | {"gigabytes": peak / 1e6}


def inception(track, path):
    """Logits, and the start of each gradient, of the smallest that there is."""
    spec = resolve("inception-v3", image=(75, 75, 3), classes=10).spec
    recipe = Recipe(lr=0.1, batch=8, epochs=1)  # no slots: memory
    weights = random_weights(spec.weights, 0)
    model = track.build(spec, weights=weights, dtype="float64")
    del weights
    data = pictures(spec.image, 10, 20, 0)
    found = {"logits": track.predictor(model)(data.test.take(slice(0, 3)))}
    trainer = track.Trainer(model, spec, recipe, np.full(1, 0.1))
    chunk = next(Plan(seed=0, dtype="float64").chunks(data.train, spec, recipe, 0))
    for name, value in trainer.canonical_gradients(chunk).items():
        found[name] = value.ravel()[:LOOKED_AT].copy()
    write(path, found, {})


def alone(track, folder):
    """What is asked of Keras on torch only; arrays go to files named by their test."""
    found = {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND")}
    for part in (plain, precision, flat, resumed, frozen, estimated, head, files, own):
        given = part(track)
        arrays = {k: v for k, v in given.items() if isinstance(v, np.ndarray)}
        write(folder / part.__name__, arrays, {})
        found[part.__name__] = {k: v for k, v in given.items() if k not in arrays}
    found["other"] = refusal(lambda: load_track("tensorflow"))
    found["tensorflow"] = sorted(m for m in sys.modules if m.startswith("tensorflow"))
    return found


def refusal(act):
    """What `act` was refused with, or none."""
    try:
        act()
    except Refused as error:
        return str(error)
    return None


def small(*overrides):
    """small-cnn on digits."""
    return resolve("small-cnn", image=DIGITS, classes=10, overrides=overrides)


def plain(track):
    """A model among people who do not know twintrack, in Keras's words and torch's."""
    import keras
    import torch

    model = track.build(small().spec)
    pixels = np.random.default_rng(0).uniform(0, 255, (3, *DIGITS))
    with keras.device("meta"):  # elsewhere than where it was built
        logits = model(pixels)
    lines = []
    model.summary(print_fn=lines.append)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        given = model(torch.tensor(pixels, dtype=torch.float32), training=True)
        loss = torch.nn.functional.cross_entropy(given, torch.arange(3))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {
        "logits": logits.detach().numpy(),
        "again": track.predictor(track.build(small().spec))(pixels),
        "losses": np.array(losses),
        "classes": [isinstance(model, kind) for kind in (keras.Model, torch.nn.Module)],
        "summary": "\n".join(lines),
    }


def precision(track):
    """Fast arithmetic, what weights are kept in, and what a torch optimizer sees."""
    spec = small().spec
    weights = random_weights(spec.weights, 0)
    images = pictures(DIGITS, 10, 20, 0).test.take(slice(0, 5))
    found = {}
    for dtype in ("float64", "float32", "bfloat16"):
        model = track.build(spec, weights=weights, dtype=dtype)
        found[f"logits/{dtype}"] = track.predictor(model)(images)
        found[f"kept/{dtype}"] = sorted(
            {str(value.dtype) for value in track.get_weights(model).values()}
        )
        own = {id(variable.value) for variable in model.variables}
        found[f"strangers/{dtype}"] = sum(id(p) not in own for p in model.parameters())
    return found


def flat(track):
    """A picture of one colour, whose deviation 0 gives way to 1 / sqrt(values)."""
    spec = CNNSpec(
        image=FLAT,
        classes=2,
        layers=(Flatten(), Relu(), Dense(2)),
        scale=Scale(divide=255.0, per_image=True),
    )
    weights = random_weights(spec.weights, 0)
    predict = track.predictor(track.build(spec, weights=weights, dtype="float64"))
    nearly = np.full((1, *FLAT), 100, np.uint8)
    nearly[0, 0, 0, 0] = 101
    scaled = nearly / 255 - (nearly / 255).mean()
    scaled = scaled / max(scaled.std(), prod(FLAT) ** -0.5)
    expected = np.maximum(scaled, 0).reshape(1, -1) @ weights["dense1.kernel"]
    return {"logits": predict(nearly), "expected": expected + weights["dense1.bias"]}


def resumed(track):
    """A run, and the same from its first epoch on."""
    asked = small("recipe.epochs=3", "recipe.average=Average(decay=0.9,warm_up=True)")
    data = pictures(DIGITS, 10, 120, 0)
    states = []
    whole = track.build(asked.spec)
    history = track.train(
        whole, data, asked.recipe, Plan(seed=0), on_epoch=lambda _, s: states.append(s)
    )
    later = track.build(asked.spec, seed=99)
    again = track.train(later, data, asked.recipe, Plan(seed=0), state=states[0])
    return {
        "losses/whole": history.losses,
        "losses/again": again.losses,
        **{f"whole/{n}": v for n, v in track.get_weights(whole).items()},
        **{f"again/{n}": v for n, v in track.get_weights(later).items()},
    }


def frozen(track):
    """Weights before and after an epoch that shall leave some of them alone."""
    asked = small(
        "recipe.epochs=1",
        "recipe.decay=None",
        "recipe.statistics=frozen",
        "recipe.multipliers=(('conv1',0.0),)",
    )
    model = track.build(asked.spec)
    before = track.get_weights(model)
    data = pictures(DIGITS, 10, 120, 0)
    track.train(model, data, asked.recipe, Plan(seed=0))
    after = track.get_weights(model)
    return {f"before/{n}": v for n, v in before.items()} | {
        f"after/{n}": v for n, v in after.items()
    }


def estimated(track):
    """Statistics of the same batches in this track and in torch's; momentum back."""
    import pt_track

    spec = small("spec.layers.norm1.variance=unbiased").spec
    weights = random_weights(spec.weights, 0)
    data = pictures(DIGITS, 10, 60, 0).train
    batches = [data.take(slice(i, i + 16)) for i in (0, 16, 32)]
    found = {}
    for name, there in (("torch", pt_track), ("keras_torch", track)):
        model = there.build(spec, weights=weights, dtype="float64")
        there.estimate_statistics(model, batches)
        found |= {f"{name}/{n}": v for n, v in there.get_weights(model).items()}
    return found | {"momentum": [model.norm1.momentum, model.norm2.momentum]}


def head(track):
    """A network, and the same with three classes."""
    model = track.build(small().spec, seed=1)
    new = track.replace_head(model, 3, seed=2)
    return {
        "classes": new.spec.classes,
        **{f"old/{n}": v for n, v in track.get_weights(model).items()},
        **{f"new/{n}": v for n, v in track.get_weights(new).items()},
        **{f"drawn/{n}": v for n, v in draw(new.spec.weights, 2).items()},
    }


def files(track):
    """A file of this track in torch's and back, by a path that is text."""
    import tempfile

    import pt_track

    images = pictures(DIGITS, 10, 20, 0).test.take(slice(0, 5))
    spec = resolve("rasbt-mlp-batchnorm", image=DIGITS, classes=10).spec
    here = track.build(spec, weights=random_weights(spec.weights, 1))
    with tempfile.TemporaryDirectory() as folder:
        one, other = f"{folder}/one", f"{folder}/other"
        track.save(here, one)
        there = pt_track.load(Path(one), dtype="float64", device="cpu")
        pt_track.save(pt_track.load(Path(one)), Path(other))
        back = track.load(other, dtype="float64", device="cpu")
        return {
            "same": Path(one).read_bytes() == Path(other).read_bytes(),
            "spec": there.spec == back.spec == spec,
            "there": pt_track.predictor(there)(images),
            "back": track.predictor(back)(images),
        }


def own(track):
    """A user's own spec, with a builder for this track and without."""
    spec = TwoTowers(image=DIGITS, classes=10)
    try:
        track.build(spec)
    except TypeError as error:
        lacking = str(error)
    systems.BUILDERS[TwoTowers] = {"keras_torch": "tests.keras_torch:towers"}
    model = track.build(spec)
    recipe = systems.find("tests.own_twin").recipe
    data = pictures(DIGITS, 10, 320, 0)
    history = track.train(model, data, recipe, Plan(seed=0))
    return {"lacking": lacking, "losses": history.losses}


def towers(spec, dtype):
    """Two towers, in Keras on torch."""
    import keras

    class Towers(keras.Model):
        def __init__(self):
            super().__init__(dtype=dtype)
            self.left = keras.layers.Dense(spec.classes, dtype=dtype)
            self.right = keras.layers.Dense(spec.classes, dtype=dtype)

        def call(self, x, training=False):
            x = keras.ops.cast(x, dtype) / 255
            x = keras.ops.reshape(x, (-1, prod(spec.image)))
            return self.left(x) + keras.ops.relu(self.right(x))

    return Towers()

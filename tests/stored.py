"""Finished runs without any training, for tests of what is made of a store."""

import numpy as np

from common import codec, results
from common.data import DataRequest
from common.files import pack
from common.job import Job
from common.recipe import Recipe
from common.spec import MLPSpec

N = 500  # test images
FRAMEWORK = {
    "torch": {"torch": "2.14"},
    "tensorflow": {"tensorflow": "2.21"},
    "keras_torch": {"keras": "3.15"},
}
CLASSES = ("no", "yes")


def add(
    store,
    seed,
    *,
    wrong,
    track="torch",
    versions=None,
    labels=None,
    classes=CLASSES,
    fingerprint="f" * 64,
    command="",
    diverged_at=None,
    **changes,
):
    """A run that gets the first `wrong` test images wrong, or one that diverged."""
    labels = np.zeros(N, np.int64) if labels is None else labels
    lr, batch = changes.pop("lr", 0.1), changes.pop("batch", 50)
    about = {
        "system": "rasbt-mlp",
        "mode": "aligned",
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
        **changes,
    }
    made = Job(
        **about,
        data=DataRequest(source="digits"),
        fingerprint=fingerprint,
        image=(8, 8, 1),
        classes=len(classes),
        track=track,
        seed=seed,
        epochs=3,
        spec=codec.dumps(MLPSpec(image=(8, 8, 1), classes=len(classes))),
        recipe=codec.dumps(Recipe(lr=lr, batch=batch, epochs=3)),
    )
    name = f"{track}-{seed}-{lr}-{batch}-{'-'.join(map(str, about.values()))}"
    (store.path / name).mkdir(parents=True)
    (store.path / name / results.JOB).write_bytes(made.to_json())
    data = {"name": "digits", "fingerprint": fingerprint, "train": 1000, "note": ""}
    scores = {"accuracy": 1 - wrong / len(labels), "loss": 0.5, "n": len(labels)}
    history = [
        {"epoch": k, "train_loss": 2 / k, "accuracy": 1 - 0.3 / k, "seconds": 1.0}
        for k in (1, 2, 3)
    ]
    record = dict.fromkeys(results.KEYS - {"files", "weights_sha256", "sha256"}) | about
    record |= {
        "schema": results.SCHEMA,
        "id": name,
        "track": track,
        "seed": seed,
        "data": data | {"test": len(labels), "classes": list(classes)},
        "epochs": 3,
        "spec": made.spec,
        "recipe": made.recipe,
        "overrides": [f"recipe.lr={lr}"],
        "parameters": 42,
        "scores": None if diverged_at else scores,
        "diverged_at": diverged_at,
        "history": history,
        "losses": [],
        "times": {"total": 9.0, "train": 8.0, "first_step": 1.0}
        | {"images_per_second": 10.0},
        "memory": {"peak": 1, "gpu": None},
        "environment": {"versions": {"numpy": "2", **(versions or FRAMEWORK[track])}},
        "command": command,
    }
    if diverged_at:
        return store.write(record)
    says = np.array(labels)
    says[:wrong] = (says[:wrong] + 1) % len(classes)
    logits = 3 * np.eye(len(classes), dtype=np.float32)[says]
    judged = pack({"logits": logits, "labels": labels})
    return store.write(record, logits=judged, weights=pack({"w": np.zeros(2)}))

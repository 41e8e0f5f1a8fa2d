"""A base network after its training: statistics measured anew, judged, written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.engine.process import Tell, Values
from common import model_file
from common.data import DataRequest, open_data
from common.data.split import raw
from common.evaluate import at_once, evaluate
from common.model_file import About
from common.systems import find
from common.track import load_track
from common.weights import digest

MIXED_SEED = 0  # of the order in which the statistics are measured


def finish(values: Values, tell: Tell) -> Values:
    """In a child: measure the statistics anew, judge, write the file."""
    if values["module"]:
        find(values["module"])  # it registers its kind of spec
    track = load_track(values["track"])
    track.configure(threads=values["threads"], device=values["device"], mode="aligned")
    spec, weights, _ = model_file.load(Path(values["weights"]))
    data = open_data(DataRequest.from_dict(values["data"]))
    model = track.build(
        spec, weights=weights, dtype=values["precision"], device=values["device"]
    )
    before = evaluate(track.predictor(model), data.test)
    # Mixed: a folder's pictures lie class by class, and a batch is normed by itself.
    n = len(data.train)
    order = np.argsort(raw(MIXED_SEED, n), kind="stable")
    parts = np.array_split(order, -(-n // at_once(data.image)))
    track.estimate_statistics(model, (data.train.take(rows) for rows in parts))
    after = evaluate(track.predictor(model), data.test)
    settled = track.get_weights(model)
    facts = values["facts"] | {
        "track": values["track"],
        "precision": values["precision"],
        "data": data.name,
        "fingerprint": data.fingerprint,
        "note": data.note,
        "test": asdict(after),
    }
    about = About(
        classes=data.classes,
        source=f"twintrack pretrain in {values['track']} on {data.name}",
        preprocessing="Pillow, bilinear resize; the spec's scale",
        facts=facts,
    )
    model_file.save(Path(values["output"]), spec, settled, about)
    return {
        "output": values["output"],
        "track": values["track"],
        "classes": list(data.classes),
        "accuracy": after.accuracy,
        "before": before.accuracy,
        "n": after.n,
        "weights_sha256": digest(settled),
    }

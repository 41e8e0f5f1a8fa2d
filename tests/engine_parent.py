"""A parent that starts one child and waits to be killed.

    python -m tests.engine_parent KIND FOLDER [thread]

Standard output gets the child's process id as soon as it has one.
"""

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.engine.call import new_log
from benchmarks.engine.machine import Machine
from benchmarks.engine.networks import Network, Trained
from benchmarks.engine.process import Child
from benchmarks.engine.runner import Attempt
from benchmarks.request import Setting, fitted
from common import model_file
from common.data import DataRequest, open_data
from common.data.cache import locked
from common.results import Store
from common.spec import MLPSpec
from common.weights import draw

LOCKS = ExitStack()
HANG = "tests.numpy_track"  # with NUMPY_TRACK_FAULT=hang@configure


def run(folder):
    """A run of the store, hanging where its track is configured."""
    request = DataRequest(source="digits", limit=100)
    pictures = open_data(request)
    machine = Machine(precision="float32", device="cpu", threads=1)
    setting = Setting(request=request, pictures=pictures, machine=machine)
    resolved = fitted("rasbt-mlp", pictures, (), 1)
    job = setting.job(resolved, track=HANG, seed=0)
    return Attempt(job, Store(folder / "store")).child


def network(folder):
    """A network that is asked nothing."""
    trained = Trained(weights=folder / "none", track=HANG)
    return Network(trained).child


def calling(task, values):
    """Any function in a child."""
    return Child(task, values, threads=1, device="cpu", log=new_log())


def small(folder):
    """A small network's file."""
    spec = MLPSpec(image=(8, 8, 1), classes=10)
    model_file.save(folder / "small", spec, draw(spec.weights, 0), model_file.About())
    return str(folder / "small")


def download(folder):
    """A download that waits for another's lock, held here."""
    LOCKS.enter_context(locked(folder / "downloads"))
    values = {"name": "mnist", "track": "torch", "folder": str(folder), "keep": False}
    return calling("benchmarks.engine.download:fetch", values)


def features(folder):
    """Features in a track that hangs where it is configured."""
    values = {
        "weights": small(folder),
        "data": DataRequest(source="digits", limit=20).to_dict(),
        "track": HANG,
        "flip": False,
        "keep_in": "float32",
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
    }
    return calling("benchmarks.measures.features:compute", values)


def measured(name):
    """A measurement that hangs where its track is configured."""
    file = {"track": HANG, "threads": 1, "device": "cpu", "file": "none"}
    return lambda folder: calling(f"benchmarks.measures.{name}", file)


KINDS = {
    "benchmarks.engine.run:run": run,
    "benchmarks.engine.networks:answer": network,
    "benchmarks.engine.machine:describe": lambda folder: calling(
        "benchmarks.engine.machine:describe", {"track": HANG}
    ),
    "benchmarks.engine.download:fetch": download,
    "benchmarks.measures.ladder:climb": lambda folder: calling(
        "benchmarks.measures.ladder:climb", CLIMB | {"folder": str(folder)}
    ),
    "benchmarks.measures.testimony:testify": lambda folder: calling(
        "benchmarks.measures.testimony:testify",
        CLIMB | {"folder": str(folder), "module": "tests.sleeping"},
    ),
    "benchmarks.measures.sides:serve": lambda folder: calling(
        "benchmarks.measures.sides:serve",
        {"track": "torch", "how": {"seed": 0, "threads": 1}},
    ),
    "benchmarks.weights:write_graph": lambda folder: calling(
        "benchmarks.weights:write_graph", {"file": small(folder), "output": "none"}
    ),
    "benchmarks.measures.features:compute": features,
    "benchmarks.measures.training_speed:measure_in_child": lambda folder: calling(
        "benchmarks.measures.training_speed:measure_in_child", SPEED
    ),
    "benchmarks.measures.answers:measure": measured("answers:measure"),
    "benchmarks.measures.transfer_speed:measure": measured("transfer_speed:measure"),
    "benchmarks.measures.pretrained:finish": measured("pretrained:finish"),
    "benchmarks.measures.official_networks:ask": measured("official_networks:ask"),
    "benchmarks.ledger:read_defaults": lambda folder: calling(
        "benchmarks.ledger:read_defaults", {"track": "torch"}
    ),
    "benchmarks.weights:names": lambda folder: calling("benchmarks.weights:names", {}),
    "benchmarks.weights:convert": lambda folder: calling(
        "benchmarks.weights:convert", {"kind": "torchvision", "file": "none"}
    ),
    "benchmarks.weights:write": lambda folder: calling(
        "benchmarks.weights:write",
        {"file": small(folder), "to": "keras", "output": "none"},
    ),
    "tests.engine_child:wait": lambda folder: calling("tests.engine_child:wait", {}),
    "tests.engine_child:hold_the_lock": lambda folder: calling(
        "tests.engine_child:hold_the_lock", {}
    ),
}
CLIMB = {
    "track": HANG,
    "spec": "{}",
    "recipe": "{}",
    "module": None,
    "data": None,
    "steps": 1,
    "seed": 0,
    "threads": 1,
    "tensors": 1,
    "tolerance": 1e-12,
    "first": 1e-6,
    "judged": 1,
}
SPEED = {
    "system": "rasbt-mlp",
    "overrides": [],
    "data": None,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
    "rounds": 1,
    "steps": 1,
    "track": HANG,
}


def main():
    """Start the child, in a thread that ends at once if that is asked for."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    kept = []  # a child that nobody holds would be ended
    if "thread" in sys.argv:
        thread = threading.Thread(target=lambda: kept.append(KINDS[kind](folder)))
        thread.start()
        thread.join()
    else:
        kept.append(KINDS[kind](folder))
    print(kept[0].process.pid, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()

"""Train a base network where no pretrained file can be had.

    twintrack pretrain inception-v3 --data cifar10 --leave-out automobile,truck \
        --size 96 --output base.safetensors

The training is a run like any other: a record in the store, a checkpoint after every
epoch, resumed where it was interrupted.  Then batch norm's statistics are measured
anew over the training pictures, and the network is judged and written to the file.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import options
from benchmarks.compare import check_output, check_positive, fitted, job, tracks_of
from benchmarks.data import ensure_prepared
from benchmarks.engine import machine
from benchmarks.engine.call import Tell, Values, in_child
from benchmarks.engine.progress import screen as fitting_screen
from benchmarks.engine.runner import DAY, RunsFailed, run_jobs
from common import files, model_file
from common.data import DataRequest, open_data
from common.data.split import raw
from common.errors import Refused
from common.evaluate import at_once, evaluate
from common.model_file import About
from common.results import Store
from common.track import load_track
from common.weights import digest

MIXED_SEED = 0  # of the order in which the statistics are measured


def pretrain(
    system: Annotated[str, typer.Argument(help="A system of twintrack list.")],
    *,
    output: Annotated[Path, typer.Option(help="The weights file to write.")],
    data: options.Data = "cifar10",
    leave_out: Annotated[
        str, typer.Option(help="Classes not to train on, with commas between.")
    ] = "",
    size: options.Side = None,
    track: Annotated[str, typer.Option(help="torch or tensorflow.")] = "torch",
    seed: Annotated[int, typer.Option(help="Of the weights and the plan.")] = 0,
    epochs: options.Epochs = None,
    limit: options.Limit = None,
    skip_bad: options.SkipBad = False,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    set: options.Set = None,
    time_limit: options.TimeLimit = DAY,
    json: options.Json = None,
    store: options.Store = None,
) -> dict[str, Any]:
    """Train a network on some classes, as a base for transfer to others.

    Returns:
        What --json writes: {"output", "track", "classes", "accuracy", "n", ...}.

    Raises:
        Refused: The request cannot be met.
        RunsFailed: The training failed or diverged.
    """
    if "," in track:
        raise Refused(f"--track must be one, got {track}; a base is trained in one")
    (name,) = tracks_of(track)
    check_positive(size=size, epochs=epochs, threads=threads, time_limit=time_limit)
    check_output(json)
    files.check_writable(output, "--output")
    place, dtype = machine.settle(device, precision, mode="aligned", tracks=[name])
    request = DataRequest(
        source=data,
        leave_out=listed(leave_out),
        side=size,
        limit=limit,
        skip_bad=skip_bad,
    )
    ensure_prepared(request)
    pictures = open_data(request)
    resolved = fitted(system, pictures, tuple(set or ()), epochs)
    cores = threads or machine.threads_for(resolved.spec, resolved.recipe)
    asked = job(
        resolved,
        request=request,
        pictures=pictures,
        mode="aligned",
        track=name,
        seed=seed,
        precision=dtype,
        device=place,
        threads=cores,
    )
    runs = Store(store)
    screen = fitting_screen(sys.stderr)
    (outcome,) = run_jobs([asked], runs, screen=screen, time_limit=time_limit)
    if outcome.run is None or outcome.run.diverged:
        raise RunsFailed(
            f"a base must be trained to its end, {asked.name} was not: "
            f"{outcome.failure or 'it diverged'}; lower --set recipe.lr"
        )
    values = {
        "weights": str(outcome.run.path / "weights.safetensors"),
        "data": request.to_dict(),
        "track": name,
        "precision": dtype,
        "device": place,
        "threads": cores,
        "output": str(output),
        "facts": {"system": resolved.name, "run": asked.id, "epochs": asked.epochs},
    }
    screen.say("batch norm's statistics are measured over the training pictures")
    found = in_child("benchmarks.pretrain:finish", values, threads=cores, device=place)
    print(
        f"{output}: {resolved.name} trained in {name} on {len(pictures.classes)} "
        f"classes of {pictures.name}, {found['accuracy']:.1%} of {found['n']:,} test "
        f"pictures right ({found['before']:.1%} before the statistics were measured)"
    )
    if json:
        files.write_atomic(json, files.readable(found))
    return found


def listed(text: str) -> tuple[str, ...]:
    """The names in "a,b", each once."""
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def finish(values: Values, tell: Tell) -> Values:
    """In a child: measure the statistics anew, judge, write the file."""
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


if __name__ == "__main__":
    from benchmarks.cli import script

    script(pretrain)

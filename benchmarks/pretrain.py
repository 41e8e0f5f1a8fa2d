"""Train a base network where no pretrained file can be had.

    twintrack pretrain inception-v3 --data cifar10 --leave-out automobile,truck \
        --size 96 --output base.safetensors

The training is a run like any other: a record in the store, a checkpoint after every
epoch, resumed where it was interrupted.  Then batch norm's statistics are measured
anew over the training pictures, and the network is judged and written to the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.call import call
from benchmarks.engine.runner import RunsFailed
from benchmarks.request import (
    Setting,
    changes_of,
    check_positive,
    check_seed,
    class_names,
    fitted,
    framing_of,
    opened,
    tracks_of,
)
from common import files
from common.data import DataRequest, Dataset
from common.errors import Refused
from common.results import WEIGHTS, Store


@options.command
def pretrain(
    system: options.ASystem,
    *,
    output: options.Output,
    data: options.Data = "cifar10",
    leave_out: Annotated[
        options.Names,
        options.option(str, "Classes not to train on, with commas between."),
    ] = "",
    leave_out_class: Annotated[
        options.Names | None,
        options.option(
            list[str] | None,
            "One of them, whatever its name has in it; repeat it for more.",
            "--leave-out-class",
        ),
    ] = None,
    size: options.Size = None,
    track: Annotated[str, options.option(str, "The track that trains it.")] = "torch",
    seed: options.Seed = 0,
    epochs: options.Epochs = None,
    **rest: Unpack[options.Runs],
) -> dict[str, Any]:
    """Train a network on some classes, as a base for transfer to others.

    Returns:
        What --json writes: {"output", "track", "classes", "accuracy", "n", ...}.

    Raises:
        Refused: The request cannot be met.
        RunsFailed: The training failed or diverged.
    """
    runs = options.filled(options.Runs, rest)
    if len(tracks_of(track)) != 1:
        raise Refused(f"--track must be one, got {track}; a base is trained in one")
    check_positive(epochs=epochs)
    check_seed(seed)
    changes, framing = changes_of(runs["set"]), framing_of(size)
    outcome.check_runs(runs)
    files.check_writable(Path(output), "--output")
    computer = machine.settle(
        runs["device"],
        runs["precision"],
        mode="aligned",
        tracks=[track],
        threads=runs["threads"],
    )
    request = DataRequest(
        source=str(data),
        leave_out=class_names(leave_out, leave_out_class),
        limit=runs["limit"],
        test_limit=runs["test_limit"],
        skip_bad=runs["skip_bad"],
        **framing,
    )
    setting = Setting(request=request, pictures=opened(request), machine=computer)
    resolved = fitted(system, setting.pictures, changes, epochs)
    asked = setting.job(resolved, track=track, seed=seed)
    (done,) = outcome.carried_out([asked], runs, Store(runs["store"]))
    if done.run is None or done.run.diverged:
        raise RunsFailed(
            f"a base must be trained to its end, {asked.name} was not: "
            f"{done.failure or 'it diverged'}; lower --set recipe.lr"
        )
    done.run.check_has(WEIGHTS)
    values = {
        "weights": str(done.run.path / WEIGHTS),
        "data": request.to_dict(),
        "track": track,
        "precision": asked.precision,
        "device": asked.device,
        "threads": asked.threads,
        "output": str(output),
        "module": resolved.module,
        "facts": {"system": resolved.name, "run": asked.id, "epochs": asked.epochs},
    }
    found = call(
        "benchmarks.measures.pretrained:finish",
        values,
        threads=asked.threads,
        device=asked.device,
    )
    found |= setting.pictures.found.for_json()
    if runs["format"] == "text":
        print(_said(found, resolved.name, setting.pictures))
    else:
        outcome.shown("pretrain", found, runs)
    subject = f"{resolved.name}; {track}"
    outcome.kept("pretrain", found, runs, subject=subject, tracks=[track])
    return found


def _said(found: dict[str, Any], system: str, pictures: Dataset) -> str:
    """The base in a line."""
    return (
        f"{found['output']}: {system} trained in {found['track']} on "
        f"{len(pictures.classes)} classes of {pictures.name}, "
        f"{found['accuracy']:.1%} of {found['n']:,} test pictures right "
        f"({found['before']:.1%} before the statistics were measured)"
    )


if __name__ == "__main__":
    from benchmarks.shell import script

    script(pretrain)

"""Hand a store's runs to an experiment tracker; what is there already is not doubled.

    twintrack export --to mlflow --uri sqlite:///mlflow.db
    twintrack export rosetta-cnn --to tensorboard --output logs

One parent run for each comparison, one child for each seed and track; the store stays
as it is and remains what counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from benchmarks import options, outcome
from benchmarks.request import check_choice, on_data, several, share_of
from common import files
from common.errors import Refused
from common.report.summary import grouped
from common.report.tracked import Logged, comparisons
from common.results import Store
from common.stats import MARGIN

TRACKERS = {"mlflow": "mlflow", "tensorboard": "tensorboardX"}  # -> what it needs
EXPERIMENT = "twintrack"
TAG, STATE = "twintrack.key", "twintrack.state"
PARENT = "mlflow.parentRunId"
NAME = "mlflow.runName"
LONGEST = 5000  # signs of a tag that mlflow takes
AT_ONCE = 1000  # numbers of a batch that it takes


@options.command
def export(
    systems: Annotated[
        options.Names | None,
        options.argument(list[str] | None, "Only these systems; all if none."),
    ] = None,
    *,
    to: Annotated[str, options.option(str, "mlflow or tensorboard.")],
    uri: Annotated[
        str | None,
        options.option(
            str | None,
            "mlflow's tracking store; MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.",
        ),
    ] = None,
    output: Annotated[
        str | Path | None,
        options.option(
            Path | None, "tensorboard's folder of event files.  [tensorboard]"
        ),
    ] = None,
    data: options.OnData = None,
    margin: options.Margin = 100 * MARGIN,
    store: options.Folder = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """Hand the store's runs to mlflow or TensorBoard.

    Returns:
        What --json writes: {"to", "place", "comparisons", "runs", "there_before"}.

    Raises:
        Refused: The tracker is not installed, or nothing is to be exported.
    """
    check_choice("to", to, list(TRACKERS))
    share = share_of(margin)
    check_used(to, uri=uri, output=output)
    check_installed(to)
    place, wanted = Store(store), several(systems)
    runs = [
        run
        for run in on_data(place.runs(), data)
        if not wanted or run.record["system"] in wanted
    ]
    if not runs:
        raise Refused(
            f"an export needs finished runs, got none in {place.path} for what was "
            "asked; run `twintrack compare`, or name another --store"
        )
    logged = list(comparisons(grouped(runs, share)))
    if to == "mlflow":
        where = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        before = to_mlflow(logged, where)
    else:
        where = str(output or "tensorboard")
        before = to_tensorboard(logged, Path(where))
    result = {
        "to": to,
        "place": where,
        "comparisons": len(logged),
        "runs": sum(len(one.children) for one in logged),
        "there_before": before,
    }
    print(
        f"{where}: {result['comparisons']} comparisons with {result['runs']} runs for "
        f"{to}, {before} of both there before"
    )
    outcome.written(result, {"json": json})
    return result


def check_used(to: str, *, uri: object, output: object) -> None:
    """Refuse an option of the other tracker.

    Raises:
        Refused: It would not be looked at.
    """
    other, given = ("--uri", uri) if to == "tensorboard" else ("--output", output)
    if given is not None:
        raise Refused(
            f"{other} is of another tracker, got {given} with --to {to}; leave it out"
        )


def check_installed(to: str) -> None:
    """Refuse a tracker whose package is not there.

    Raises:
        Refused: How to get it.
    """
    try:
        import_module(TRACKERS[to])
    except ImportError as error:
        raise Refused(
            f"--to {to} needs the package {TRACKERS[to]}, it is not installed "
            f"({error}); pip install 'twintrack[{to}]'"
        ) from error


# --- mlflow -----------------------------------------------------------------------


def to_mlflow(logged: Sequence[Logged], uri: str) -> int:
    """Log what is not yet in mlflow's store; how many were."""
    client = import_module("mlflow.tracking").MlflowClient(uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    before = 0
    for one in logged:
        parent, known = _mlflow_run(client, experiment, one, None)
        before += known
        for child in one.children:
            before += _mlflow_run(client, experiment, child, parent)[1]
    return before


def _mlflow_run(
    client: Any, experiment: str, one: Logged, parent: str | None
) -> tuple[str, bool]:
    """The id of a run in mlflow, and whether it was there as it is now."""
    entities = import_module("mlflow.entities")
    key = one.key if parent is None else f"{one.key}/{parent}"
    state = hashlib.sha256(one.state.encode()).hexdigest()
    tags = {TAG: key, NAME: one.name, **({PARENT: parent} if parent else {})}
    tags |= {f"twintrack.{name}": text[:LONGEST] for name, text in one.tags.items()}
    same = client.search_runs([experiment], f"tags.`{TAG}` = '{key}'")
    if same and same[0].data.tags.get(STATE) == state:
        return str(same[0].info.run_id), True
    if same:  # a comparison that has grown, or an export that was interrupted
        run_id = str(same[0].info.run_id)
    else:
        run_id = str(client.create_run(experiment, tags=tags).info.run_id)
    now = int(time.time() * 1000)
    numbers = [entities.Metric(_safe(p.name), p.value, now, p.step) for p in one.points]
    params = [entities.Param(_safe(n), text[:500]) for n, text in one.params.items()]
    client.log_batch(run_id, params=params)
    for at in range(0, len(numbers), AT_ONCE):
        client.log_batch(run_id, metrics=numbers[at : at + AT_ONCE])
    for name, text in {**tags, STATE: state}.items():  # last: it says that all is there
        client.set_tag(run_id, name, text)
    client.set_terminated(run_id)
    return run_id, False


def _safe(name: str) -> str:
    """A name of letters that mlflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)


# --- TensorBoard ------------------------------------------------------------------


def to_tensorboard(logged: Sequence[Logged], folder: Path) -> int:
    """Write event files, a folder for each run; how many were there.

    Raises:
        Refused: The folder cannot be written to.
    """
    writer = import_module("tensorboardX").SummaryWriter
    before = 0
    for one in logged:
        top = folder / f"{_file(one.name)}-{one.key[:8]}"
        for run in (one, *one.children):
            place = top / ("comparison" if run is one else _file(run.name))
            whole = place / ".exported"
            if whole.exists() and whole.read_text() == run.state:
                before += 1
                continue
            try:
                _events(writer, place, run)
                files.write_atomic(whole, run.state.encode())
            except OSError as error:
                raise Refused(files.unwritable(place, error)) from error
    return before


def _events(writer: Any, place: Path, run: Logged) -> None:
    for old in place.glob("events.out.tfevents*"):
        old.unlink()  # of an export that was interrupted
    with writer(str(place)) as events:
        for point in run.points:
            events.add_scalar(point.name.replace(".", "/", 1), point.value, point.step)
        for name, text in {**run.params, **run.tags}.items():
            events.add_text(name, text)


def _file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


if __name__ == "__main__":
    from benchmarks.shell import script

    script(export)

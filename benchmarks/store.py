"""The store: what is in it, merged with another, made smaller, written as one file.

    twintrack store                              # what is in it, and how large it is
    twintrack store show rasbt-mlp-torch-0-745   # an id, or a beginning of one
    twintrack store merge /elsewhere/runs        # bring another machine's runs over
    twintrack store prune --keep weights         # what would go; --yes does it
    twintrack store export mnist.json --data mnist

Nothing is trained; only `merge` and `prune --yes` change anything in the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from benchmarks import options, outcome
from benchmarks.request import is_on, listed, several, share_of
from benchmarks.shell import bare
from common import files, record
from common.errors import Failed, Refused
from common.report.store import seeds
from common.results import Run, Store
from common.stats import MARGIN
from common.store import contents, export, merge, prune
from common.store.stale import age

Result = dict[str, Any]

app = bare("List, show, merge, prune and export the results of a store.")

ALL = Annotated[
    bool, options.option(bool, "Name every run, not only their numbers.", "--runs")
]
RUN = Annotated[str, options.argument(str, "A run: its id, or a beginning of it.")]
SOME = Annotated[
    options.Names | None,
    options.argument(
        list[str] | None, "Only these runs: ids, or beginnings; all if none."
    ),
]
OTHER = Annotated[str | Path, options.argument(Path, "The other store's folder.")]
TARGET = Annotated[str | Path, options.argument(Path, "The file that is written.")]
OF_SYSTEM = Annotated[
    options.Names | None,
    options.option(
        list[str] | None,
        "Only runs of this system; several times for more.",
        "--system",
    ),
]
OF_PRECISION = Annotated[
    str | None, options.option(str | None, "Only runs in this precision.")
]
PARTS = f"{', '.join(prune.PARTS)}"


def store_list(
    context: typer.Context = None,  # type: ignore[assignment]
    *,
    all: ALL = False,
    **rest: Unpack[options.Told],
) -> Result:
    """List what is in the store: runs, findings, sizes, and what is stale or damaged.

    Returns:
        What --json writes: {"stores": [{"store", "systems", "bytes", "files", "total",
        "stale", "unknown", "unfinished", "findings", "damaged"}], "total"}; the second
        store is that of the networks of new-class's folds.

    Raises:
        Refused: There is no store.
    """
    out = _out(rest)
    if context is not None and (part := context.invoked_subcommand):
        if all or any(out[key] != own for key, own in _out({}).items()):  # type: ignore[literal-required]
            raise Refused(
                f"options stand after the part of store that they are for, got some "
                f"before {part}; write twintrack store {part} first"
            )
        return {}
    place = Store(out["store"])
    contents.check_store(place)
    found = [contents.listed(contents.contents(one)) for one in contents.stores(place)]
    total = sum(one["total"] for one in found)
    return _told("store", {"stores": found, "runs": all, "total": total}, out)


def show(run: RUN, **rest: Unpack[options.Told]) -> Result:
    """Show all that the record of a run says, and its files with their sizes.

    Returns:
        What --json writes: {"record", "path", "state", "why", "files": [{"name",
        "bytes", "state"}]}; "state" is "current", "stale" or "unknown".

    Raises:
        Refused: There is no such run, or it is damaged.
    """
    out = _out(rest)
    place = Store(out["store"])
    contents.check_store(place)
    found = contents.matching(place, run)
    stands = age(found)
    result = {
        "record": found.record,
        "path": str(found.path),
        "state": stands.state,
        "why": stands.why,
        "files": list(contents.files_of(found)),
    }
    return _told("record", result, out)


def merge_store(
    other: OTHER,
    *,
    dry_run: Annotated[
        bool, options.option(bool, "Only say what would become of each.", "--dry-run")
    ] = False,
    restore: Annotated[
        bool,
        options.option(
            bool, "Bring back files that were pruned here, too.", "--restore"
        ),
    ] = False,
    **rest: Unpack[options.Told],
) -> Result:
    """Bring the runs and findings of another store into this one.

    A run that both have is the same if its numbers are the same, bit for bit: scores,
    losses, weights, logits; its clock may differ. Else it is a conflict: it is named,
    nothing here is overwritten, and the command ends with 1.

    Returns:
        What --json writes: {"store", "other", "dry_run", "fates": [{"id", "what",
        "why", "size"}]}.

    Raises:
        Refused: There is no other store, or ours cannot be written to.
        Failed: There are conflicts; all else was brought over.
    """
    out = _out(rest)
    ours, theirs = Store(out["store"]), Store(Path(other))
    contents.check_store(theirs, "the other store")
    fates = [
        {"id": one.id, "what": one.what, "why": one.why, "size": one.size}
        for one in merge.merged(ours, theirs, dry=dry_run, restore=restore)
    ]
    stores = {"store": str(ours.path), "other": str(theirs.path)}
    result = _told("merge", {**stores, "dry_run": dry_run, "fates": fates}, out)
    conflicts = Counter(one["what"] for one in fates)[merge.CONFLICT]
    if conflicts:
        raise Failed(
            f"a run must have the same numbers in both stores, {conflicts} of "
            f"{len(fates)} have not; they are named above and ours were kept, see "
            f"theirs with twintrack table --store {theirs.path}"
        )
    return result


def prune_store(
    runs: SOME = None,
    *,
    keep: Annotated[
        options.Names | None,
        options.option(
            str | None, f"Remove all of {PARTS} but these, with commas between."
        ),
    ] = None,
    drop: Annotated[
        options.Names | None,
        options.option(
            str | None, "Remove these alone; runs: whole runs, of those that are named."
        ),
    ] = None,
    system: OF_SYSTEM = None,
    data: options.OnData = None,
    mode: options.InMode = None,
    precision: OF_PRECISION = None,
    yes: Annotated[
        bool, options.option(bool, "Do it; else only say what would go.", "--yes")
    ] = False,
    **rest: Unpack[options.Told],
) -> Result:
    """Make the store smaller: say what would go, and with --yes remove it.

    A run without its logits or weights stays a finished run, of which every table can
    be computed again; records and findings are never removed but with a whole run.

    Returns:
        What --json writes: {"store", "done", "cuts": [{"part", "run", "bytes", "why",
        "done"}], "bytes", "lost"}.

    Raises:
        Refused: Nothing says what is to go, or it may not be removed.
    """
    out = _out(rest)
    place = Store(out["store"])
    contents.check_store(place)
    wanted = {"system": several(system), "data": data, "mode": mode}
    wanted["precision"] = precision
    among = _among(place, several(runs), wanted)
    parts = _parts(keep, drop, named=bool(runs) or any(wanted.values()))
    found = list(prune.cuts(place, parts, among=among))
    done = [_pruned(cut) if yes else False for cut in found]
    rows: list[Result] = [
        {"part": c.part, "run": c.run, "bytes": c.size, "why": c.why, "done": d}
        for c, d in zip(found, done, strict=True)
    ]
    gone = sum(row["bytes"] for row in rows if row["done"] or not yes)
    lost = sum(row["part"] == "checkpoints" for row in rows)
    told = {"store": str(place.path), "done": yes, "cuts": rows, "bytes": gone}
    return _told("prune", told | {"lost": lost}, out)


def export_store(
    file: TARGET,
    *,
    system: OF_SYSTEM = None,
    data: options.OnData = None,
    mode: options.InMode = None,
    precision: OF_PRECISION = None,
    kind: Annotated[
        str | None,
        options.option(
            str | None, "The newest finding of this kind, in place of runs."
        ),
    ] = None,
    margin: options.Margin = 100 * MARGIN,
    **rest: Unpack[options.Told],
) -> Result:
    """Write runs, or a finding, as one file from which its tables are printed again.

    Of each run it has which test pictures were right: figures and verdicts can be
    computed again from the file alone, as `python -m common.report.pages` does.

    Returns:
        What the file holds: {"kind", "command", "environment", "result", "written_by",
        "sha256"}.

    Raises:
        Refused: Nothing in the store is meant, or the file cannot be written.
    """
    out = _out(rest)
    share = share_of(margin)
    place, target = Store(out["store"]), Path(file)
    files.check_writable(target, "FILE")
    contents.check_store(place)
    wanted = {"system": several(system), "data": data, "mode": mode}
    wanted["precision"] = precision
    if kind:
        content, said = _of_kind(place, kind, wanted)
    else:
        content, said = _of_runs(place, wanted, share)
    text = files.readable(content)
    files.write_atomic(target, text)
    about = {"file": str(target), "kind": content["kind"], "bytes": len(text)}
    outcome.shown("export", about | {"said": said}, out)
    outcome.written(content, out)
    return content


app.callback(invoke_without_command=True)(options.spread(store_list))
app.command("list")(options.spread(store_list))
app.command("show")(options.spread(show))
app.command("merge")(options.spread(merge_store))
app.command("prune")(options.spread(prune_store))
app.command("export")(options.spread(export_store))


def _out(rest: Mapping[str, Any]) -> options.Told:
    out = options.filled(options.Told, rest)
    outcome.check_told(out)
    return out


def _told(kind: str, result: Result, out: options.Told) -> Result:
    """The result on the screen, and in the file that --json names."""
    outcome.shown(kind, result, out)
    outcome.written(result, out)
    return result


# --- which runs are meant -----------------------------------------------------------


def _matches(run: Run, wanted: Mapping[str, Any]) -> bool:
    said = run.record
    of = {key: str(said[key]) for key in ("system", "mode", "precision")}
    given = {key: value for key, value in wanted.items() if value}
    if not is_on(run, given.pop("data", None)):
        return False
    several = {k: (v,) if isinstance(v, str) else v for k, v in given.items()}
    return all(of[key] in values for key, values in several.items())


def _chosen(found: Sequence[Run], wanted: Mapping[str, Any], store: Store) -> list[Run]:
    """The runs that are meant.

    Raises:
        Refused: There is none; it says which there are.
    """
    chosen = [run for run in found if _matches(run, wanted)]
    if chosen:
        return chosen
    asked = ", ".join(
        f"--{key} {' '.join(value) if isinstance(value, tuple) else value}"
        for key, value in wanted.items()
        if value
    )
    there = sorted({_setting(run) for run in found})
    has = f"it has {'; '.join(there)}" if there else "it has no finished run"
    raise Refused(
        f"{asked or 'this'} must mean a finished run, got none in {store.path}; {has}"
    )


def _setting(run: Run) -> str:
    said = run.record
    data = said["data"]["name"]
    return f"{said['system']} on {data}, {said['mode']}, {said['precision']}"


def _among(
    store: Store, runs: Sequence[str], wanted: Mapping[str, Any]
) -> list[str] | None:
    """Ids of the runs that are meant; none if all are, damaged and unfinished too."""
    names = [contents.named(store, wanted)[1] for wanted in runs]
    if not any(wanted.values()):
        return names or None
    every = [run for one in contents.stores(store) for run in one.runs()]
    found = [run for run in every if not names or run.id in names]
    return [run.id for run in _chosen(found, wanted, store)]


# --- what is to go ------------------------------------------------------------------


def _parts(
    keep: options.Names | None, drop: options.Names | None, *, named: bool
) -> set[str]:
    """The parts that are to go.

    Raises:
        Refused: It is not said, or said twice; a part does not exist; whole runs are
            to go, and none is named.
    """
    if (keep is None) == (drop is None):
        raise Refused(
            "prune needs either --keep (all else goes) or --drop (these alone go), got "
            f"{'neither' if keep is None else 'both'}; the parts are {PARTS}"
        )
    given = set(listed(keep if drop is None else drop))
    known = {*prune.PARTS, prune.RUNS}
    if strangers := sorted(given - known):
        raise Refused(
            f"a part of a store must be one of {PARTS} or {prune.RUNS}, got "
            f"{strangers[0]}; choose among them"
        )
    if drop is None:
        return {*prune.PARTS} - given - ({"stale"} if prune.RUNS in given else set())
    if prune.RUNS in given and not named:
        raise Refused(
            "--drop runs must say which, got no run; name runs, or choose them by "
            "--system, --data, --mode or --precision"
        )
    return given


def _pruned(cut: prune.Cut) -> bool:
    """Remove it; false where another process works on it.

    Raises:
        Refused: It may not be removed.
    """
    try:
        return prune.prune(cut)
    except OSError as error:
        raise Refused(files.unwritable(Path(error.filename or ""), error)) from error


# --- what is exported ---------------------------------------------------------------


def _of_runs(
    store: Store, wanted: Mapping[str, Any], margin: float
) -> tuple[Result, list[str]]:
    found, damaged = store.scan()
    chosen = _chosen(found, wanted, store)
    content = export.of_runs(chosen, margin=margin)
    said = [
        f"{row['system']} on {row['data']}, {row['mode']}, {row['precision']}: "
        + "; ".join(
            f"{name} seeds {seeds([run['seed'] for run in track['runs']])}"
            for name, track in row["tracks"].items()
        )
        for row in content["result"]["systems"]
    ]
    if others := content["environment"].get("others"):
        said.append(f"the runs are of {len(others) + 1} machines or versions")
    return content, [*said, *(f"left out: {error}" for error in damaged)]


def _of_kind(
    store: Store, kind: str, wanted: Mapping[str, Any]
) -> tuple[Result, list[str]]:
    if refused := [key for key in ("data", "mode", "precision") if wanted[key]]:
        raise Refused(
            f"--{refused[0]} chooses among runs, got it with --kind {kind}; leave it "
            "out"
        )
    found, broken = record.scan(store.path)
    alike = [one for one in found if one.kind == kind and _about(one, wanted["system"])]
    if not alike:
        kinds = ", ".join(sorted({one.kind for one in found})) or "none"
        raise Refused(
            f"--kind must be one of the store's findings, got {kind} for {store.path}; "
            f"it has {kinds}"
        )
    said = [f"{alike[0].id}: {alike[0].subject}"]
    if len(alike) > 1:
        said.append(f"the newest of {len(alike)}")
    return export.of_finding(alike[0]), [*said, *(f"left out: {e}" for e in broken)]


def _about(finding: record.Finding, systems: Sequence[str]) -> bool:
    words = finding.subject.partition(";")[0].replace(",", " ").split()
    return not systems or bool({*systems} & {*words})


if __name__ == "__main__":
    from benchmarks.shell import script

    script(app)

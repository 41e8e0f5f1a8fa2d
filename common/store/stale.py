"""Whether a run would be the same run today, told from its record without training.

A record holds the identity that its run had.  What of it comes from the code and the
packages is worked out again for the spec and the recipe of the record; where that is
another now, the same command would train anew, and the run is stale.  Of a user's own
system this is told only as far as its files go: its code runs on import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data import DataRequest
from common.errors import Refused
from common.job import Job, installed
from common.own_code import closure_digest
from common.results import JOB, Record, Run
from common.track import check_track

CURRENT, STALE, UNKNOWN = "current", "stale", "unknown"
NAMED = 4  # modules whose code changed that are named


@dataclass(frozen=True, slots=True)
class Age:
    """How a run stands to the code and the packages of today.

    Attributes:
        state: CURRENT, STALE or UNKNOWN.
        why: What changed, or what keeps it from being told; "" of a current run.
    """

    state: str
    why: str = ""


def age(run: Run) -> Age:
    """Whether a run is stale, and why."""
    then = run.record.get("identity")
    if not isinstance(then, dict) or not then.get("code"):
        return Age(UNKNOWN, "its record is older than identities")
    try:
        check_track(run.record["track"])
        if then.get("system_code"):
            return _of_own_system(run, then)
        now = _job(run.record, then).identity
    except (Refused, ImportError, KeyError, TypeError) as error:
        return Age(UNKNOWN, f"its identity cannot be worked out here: {error}")
    changed = list(_changes(then, now))
    return Age(STALE, "; ".join(changed)) if changed else Age(CURRENT)


def _job(record: Record, then: Mapping[str, Any]) -> Job:
    """A job with the identity of a record's; what decides no number is made up."""
    same = ("system", "mode", "track", "seed", "precision", "device", "threads")
    return Job(
        **{key: record[key] for key in (*same, "epochs", "spec", "recipe")},
        data=DataRequest(source="digits"),
        fingerprint=then["data"],
        image=(1, 1, 1),
        classes=1,
        start="there was one" if then["start"] else None,
        start_digest=then["start"],
        switches=tuple(then.get("switches", ())),
    )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = _versions(then["versions"], now["versions"])
    if names := _code(then["code"], now["code"]):
        found.append(f"code of {_listed(names)}")
    others = then.keys() | now.keys()
    others -= {"versions", "code", "system_code"}
    found += [f"{key}" for key in sorted(others) if then.get(key) != now.get(key)]
    return found


def _versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {then.get(name, 'unused')}, now {now.get(name, 'none')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _code(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Modules with a definition that is another, new or gone."""
    changed = {d for d in then.keys() | now.keys() if then.get(d) != now.get(d)}
    return sorted({definition.partition(":")[0] for definition in changed})


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _of_own_system(run: Run, then: Mapping[str, Any]) -> Age:
    """Of a user's own system: versions and its own files alone.

    Raises:
        Refused: Its module is not where it can be found.
    """
    changed = _versions(then["versions"], installed(then["versions"].keys()))
    modules = _modules(run.path)
    codes = [closure_digest(module) for module in modules]
    if modules and codes != then["system_code"]:
        changed.append(f"code of {_listed(modules)}")
    if changed:
        return Age(STALE, "; ".join(changed))
    return Age(UNKNOWN, "it is of a system of yours, whose code runs when it is asked")


def _modules(folder: Path) -> list[str]:
    """The user's own modules of a run, as its job file names them."""
    try:
        return Job.from_json((folder / JOB).read_bytes()).modules
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []

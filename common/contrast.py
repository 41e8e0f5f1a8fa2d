"""Any two groups of runs, beside each other: what they are and which runs they have.

A group is said in conditions that its runs meet: "recipe.lr=0.1", or several with
commas between, "precision=float32, threads=1".  Everything that neither group speaks
of must be the same in both, so a contrast has one pair of groups for each system, track
and setting that both have.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from common import codec, overrides
from common.errors import Refused
from common.results import Record, Run, asked

# What a condition may speak of, beside fields of spec and recipe and "versions.NAME".
FIELDS = (
    *("system", "data", "mode", "precision", "device", "threads", "track", "epochs"),
    *("train", "store"),
)
RECORDS = ("spec", "recipe")
PLANNED = "batch"  # the field of a recipe that, with the pictures, makes its order
UNPAIRED = "native"  # the mode in which equal seeds share nothing


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that the runs of a group have in common.

    Attributes:
        field: "precision", "recipe.lr", "versions.torch", ...
        value: As it was typed.
    """

    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


@dataclass(frozen=True, slots=True)
class Member:
    """A run that may belong to a group.

    Attributes:
        run: The run.
        store: The store that it was found in, as it was named.
        spec: Its spec.
        recipe: Its recipe.
    """

    run: Run
    store: str
    spec: Any
    recipe: Any

    def value(self, field: str) -> str | None:
        """What it has for a field that is no spec's or recipe's; none if nothing."""
        record = self.run.record
        if field == "store":
            return self.store
        if field.startswith("versions."):
            versions = record["environment"].get("versions", {})
            found = versions.get(field.removeprefix("versions."))
        elif field == "data":
            found = record["data"]["name"]
        elif field == "train":
            found = record["data"]["train"]
        else:
            found = record[field]
        return None if found is None else str(found)

    def meets(self, condition: Condition) -> bool:
        """Whether it is as the condition says.

        Raises:
            Refused: The condition's value is none that the field can have.
        """
        root, _, rest = condition.field.partition(".")
        if root not in RECORDS:
            return self.value(condition.field) == condition.value
        record = getattr(self, root)
        if not has_field(record, rest):
            return False
        both = (self.spec, self.recipe)
        return bool(overrides.applied(*both, (str(condition),)) == both)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups that differ in what was asked, and in nothing else.

    Attributes:
        first: The first group's runs, one of each seed.
        second: The second's.
        paired: Whether equal seeds share initial draws, batches and masks.
        left_out: Older runs of the same seeds.
    """

    first: list[Run]
    second: list[Run]
    paired: bool
    left_out: int


def conditions(text: str) -> tuple[Condition, ...]:
    """The conditions in "recipe.lr=0.1, precision=float32".

    Raises:
        Refused: One is no condition, or its field is none.
    """
    found = []
    for part in split(text):
        field, equals, value = (word.strip() for word in part.partition("="))
        root = field.partition(".")[0]
        if not equals or not value:
            raise Refused(
                "a group of runs is said as field=value, with commas between several, "
                f"got {part.strip()!r}; write recipe.lr=0.1, precision=bfloat16 or "
                "store=FOLDER"
            )
        if field not in FIELDS and root not in (*RECORDS, "versions"):
            near = get_close_matches(field, FIELDS, n=1, cutoff=0.0)[0]
            raise Refused(
                f"a group of runs is said by {', '.join(FIELDS)}, versions.NAME, "
                f"spec.FIELD or recipe.FIELD, got {field!r}; the nearest is {near}"
            )
        found.append(Condition(field, value))
    return tuple(found)


def split(text: str) -> Iterator[str]:
    """The parts between commas that are in no bracket and no quotes."""
    part, depth, quote = "", 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        else:
            depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not depth and not quote:
            yield part
            part = ""
        else:
            part += sign
    yield part


def has_field(record: Any, path: str) -> bool:
    """Whether a record has a field of that path."""
    try:
        value_at(record, path)
    except (AttributeError, KeyError):
        return False
    return True


def value_at(record: Any, path: str) -> Any:
    """What a record has at "optimizer.momentum" or "layers.conv1.stride".

    Raises:
        AttributeError: It has no such field.
        KeyError: It has no such layer.
    """
    name, _, rest = path.partition(".")
    if name == "layers" and rest:
        layer, _, rest = rest.partition(".")
        found = dict(zip(record.names, record.layers, strict=True))[layer]
    else:
        found = getattr(record, name)
    return value_at(found, rest) if rest else found


def members(runs: Iterable[Run], store: str) -> Iterator[Member]:
    """Runs of built-in kinds of spec, with what they were asked for; no others."""
    for run in runs:
        spec, recipe = asked(run.record)
        if all(json.loads(text)["is"] in codec.KNOWN for text in (spec, recipe)):
            yield Member(run, store, codec.loads(spec), codec.loads(recipe))


def pairs(
    everyone: Sequence[Member],
    first: Sequence[Condition],
    second: Sequence[Condition],
) -> tuple[list[Pair], list[str]]:
    """Every pair of groups, and who found no partner, each in a line.

    Raises:
        Refused: No run meets one side's conditions, or a run meets both.
    """
    sides = [[m for m in everyone if all(map(m.meets, s))] for s in (first, second)]
    for said, side in zip((first, second), sides, strict=True):
        if not side:
            raise Refused(_nobody(said, everyone))
    if both := {m.run.path for m in sides[0]} & {m.run.path for m in sides[1]}:
        raise Refused(
            f"a run can be in one group only, {len(both)} meet both {_said(first)!r} "
            f"and {_said(second)!r}; say what tells the groups apart"
        )
    spoken = {c.field: c for c in (*second, *first)}  # the first's value counts
    shared = _shared_versions([*sides[0], *sides[1]])
    cells: dict[str, tuple[list[Member], list[Member]]] = {}
    for k, side in enumerate(sides):
        for member in side:
            cells.setdefault(_rest(member, spoken, shared), ([], []))[k].append(member)
    whole = [cell for cell in cells.values() if all(cell)]
    alone = [
        f"only in {_said((first, second)[k])}: {_named(cell[k])}"
        for cell in cells.values()
        if not all(cell)
        for k in (0, 1)
        if cell[k]
    ]
    if not whole:
        raise Refused(_no_pair(sides, spoken, shared))
    return [_pair(*cell) for cell in whole], alone


def _shared_versions(everyone: Sequence[Member]) -> set[str]:
    """The packages that all of the runs used: two tracks share few."""
    named = [set(m.run.record["environment"].get("versions", {})) for m in everyone]
    return set.intersection(*named)


def _rest(
    member: Member, spoken: Mapping[str, Condition], shared: Collection[str]
) -> str:
    """All that a run depends on but its seed and what the groups speak of."""
    record = member.run.record
    own: dict[str, Any] = {
        field: member.value(field)
        for field in ("system", "mode", "precision", "device", "threads", "track")
        if field not in spoken
    }
    if not {"data", "train"} & spoken.keys():
        own["data"] = record["data"]["fingerprint"]
    versions = record["environment"].get("versions", {})
    told = shared if "track" in spoken else versions
    own |= {n: versions[n] for n in told if f"versions.{n}" not in spoken}
    changes = [
        str(c)
        for c in spoken.values()
        for root, _, rest in [c.field.partition(".")]
        if root in RECORDS and has_field(getattr(member, root), rest)
    ]
    changes += ["recipe.epochs=1"] if "epochs" in spoken else []
    same = overrides.applied(member.spec, member.recipe, changes)
    own |= {
        root: codec.dumps(record, brief=True)
        for root, record in zip(RECORDS, same, strict=True)
    }
    return json.dumps(own, sort_keys=True)


def _pair(first: Sequence[Member], second: Sequence[Member]) -> Pair:
    chosen = [_one_per_seed(side) for side in (first, second)]
    left = sum(map(len, (first, second))) - sum(map(len, chosen))
    plans = [{_plan(m) for m in side} for side in (first, second)]
    paired = plans[0] == plans[1] and len(plans[0]) == 1 and "" not in plans[0]
    return Pair(chosen[0], chosen[1], paired, left)


def _plan(member: Member) -> str:
    """What, with the seed, makes the order of the pictures; "" where nothing shared."""
    record = member.run.record
    if record["mode"] == UNPAIRED:
        return ""
    return f"{record['data']['train']} {getattr(member.recipe, PLANNED, '')}"


def _one_per_seed(side: Sequence[Member]) -> list[Run]:
    """The newest run of each seed."""
    newest: dict[int, Run] = {}
    for member in sorted(
        side, key=lambda m: (m.run.path / "record.json").stat().st_mtime
    ):
        newest[member.run.record["seed"]] = member.run
    return [newest[seed] for seed in sorted(newest)]


# --- words ------------------------------------------------------------------------


def _said(side: Sequence[Condition]) -> str:
    return ", ".join(map(str, side))


def _named(side: Sequence[Member]) -> str:
    """A group without a partner, in a line."""
    record: Record = side[0].run.record
    seeds = sorted({m.run.record["seed"] for m in side})
    said = (
        f"{record['system']} on {record['data']['name']}, {record['track']}, "
        f"{record['mode']}, {record['precision']}, threads {record['threads']}"
    )
    changes = "".join(f", {change}" for change in record["overrides"])
    return f"{said}{changes}, seeds {', '.join(map(str, seeds))}"


def _nobody(side: Sequence[Condition], everyone: Sequence[Member]) -> str:
    """Which condition no run meets, and what the runs have instead."""
    for condition in side:
        if any(m.meets(condition) for m in everyone):
            continue
        has = sorted({told for m in everyone if (told := _has(m, condition.field))})
        shown = ", ".join(has[:5]) + (", ..." if len(has) > 5 else "")
        return (
            f"a group needs runs, none of {len(everyone)} has {condition}; they have "
            f"{condition.field} {shown or 'nowhere'}"
        )
    return (
        f"a group needs runs, none of {len(everyone)} has all of {_said(side)}; "
        "leave out a condition"
    )


def _has(member: Member, field: str) -> str | None:
    root, _, rest = field.partition(".")
    if root not in RECORDS:
        return member.value(field)
    if not has_field(getattr(member, root), rest):
        return None
    return str(value_at(getattr(member, root), rest))


def _no_pair(
    sides: Sequence[Sequence[Member]],
    spoken: Mapping[str, Condition],
    shared: Collection[str],
) -> str:
    """What else tells the two sides apart, where nothing may."""
    one, other = ({_rest(m, spoken, shared): m for m in side} for side in sides)
    apart = min(
        (_differing(json.loads(a), json.loads(b)) for a in one for b in other), key=len
    )
    said = "; ".join(f"{name}: {a} and {b}" for name, a, b in apart)
    return (
        "groups must differ in nothing but what is asked, the nearest runs differ in "
        f"{said}; name that in both groups, or make the runs that are missing"
    )


def _differing(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    names = sorted(one.keys() | other.keys())
    found = []
    for name in names:
        a, b = one.get(name), other.get(name)
        if a == b:
            continue
        if name in RECORDS:
            fields = _differing(json.loads(a or "{}"), json.loads(b or "{}"))
            found += [(f"{name}.{field}", x, y) for field, x, y in fields]
        else:
            found.append((name, str(a)[:60], str(b)[:60]))
    return found

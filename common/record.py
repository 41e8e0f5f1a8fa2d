"""Findings that survive: whatever a command measured, in one sealed file each.

    STORE/findings/<kind>-<UTC time>-<8 hex>.json

A run that was trained has a record of its own (`common.results`); everything else that
a command finds (parity, speed, official, classify, new-class, transfer, pretrain) is
kept here, with the command line as it was typed and the environment it was found in.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import __version__
from common.errors import Damaged
from common.files import readable, seal, write_atomic
from common.variables import recorded

SCHEMA = 1
FOLDER = "findings"
KEYS = ("schema", "kind", "id", "subject", "written", "command", "environment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a command found.

    Attributes:
        kind: "parity", "speed", ...: the command's name.
        id: Its file's name without the suffix.
        subject: What it is about, in a few words.
        written: When, ISO 8601 in UTC.
        command: The command line as it was typed, or "".
        environment: Machine and versions.
        result: What `--json` writes.
    """

    kind: str
    id: str
    subject: str
    written: str
    command: str
    environment: dict[str, Any]
    result: dict[str, Any]


# --- the environment ----------------------------------------------------------------


def environment(versions: Mapping[str, str]) -> dict[str, Any]:
    """Machine, versions (of the frameworks that were used), variables that are set."""
    return {
        "twintrack": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": dict(versions),
        "variables": recorded(),
    }


def processor() -> str:
    """What the processor calls itself."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("model name"))
        return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# --- files --------------------------------------------------------------------------


def keep(
    store: Path,
    kind: str,
    result: Mapping[str, Any],
    *,
    command: str,
    environment: Mapping[str, Any],
    subject: str,
) -> Path:
    """Keep a finding; its file.

    Raises:
        Refused: The disk does not take it.
        ValueError: There is a NaN in it.
    """
    now = datetime.now(UTC)
    id = f"{kind}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    told = {
        "schema": SCHEMA,
        "kind": kind,
        "id": id,
        "subject": subject,
        "written": now.isoformat(timespec="seconds"),
        "command": command,
        "environment": dict(environment),
        "result": dict(result),
    }
    content = json.loads(readable(told))  # sealed as it will be read
    path = store / FOLDER / f"{id}.json"
    write_atomic(path, readable(content | {"sha256": seal(content)}))
    return path


def scan(store: Path) -> tuple[list[Finding], list[Damaged]]:
    """Every finding of a store, the newest first, and what is wrong with the others."""
    found: list[Finding] = []
    damaged: list[Damaged] = []
    for path in sorted((store / FOLDER).glob("*.json")):
        try:
            found.append(read(path))
        except Damaged as error:
            damaged.append(error)
    return sorted(found, key=lambda one: one.written, reverse=True), damaged


def read(path: Path) -> Finding:
    """The finding in a file.

    Raises:
        Damaged: It is not as it was written.
    """
    try:
        content = json.loads(path.read_bytes())
        told = content.pop("sha256")
        whole = told == seal(content) and content["id"] == path.stem
        whole = whole and content["schema"] == SCHEMA
        rest = {key: content[key] for key in (*KEYS, "result") if key != "schema"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"no whole finding ({type(error).__name__})") from error
    if not whole:
        raise _damaged(path, "content that does not match its hash, name or schema")
    return Finding(**rest)


def _damaged(path: Path, found: str) -> Damaged:
    return Damaged(
        f"a finding must be as it was written, found {found} in {path}; repeat its "
        "command, and delete this file"
    )

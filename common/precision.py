"""Which arithmetic "auto" means on this machine."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from common.errors import Refused

PRECISIONS = ("auto", "float32", "bfloat16", "float64")
MODES = ("strict", "aligned", "native")
FORCED = {"strict": "float64", "native": "float32"}


def resolve(
    precision: str, *, mode: str, device: str = "cpu", gpu_has_bf16: bool = False
) -> str:
    """The type that both tracks compute in.

    Args:
        precision: One of PRECISIONS.
        mode: One of MODES; strict is always float64 and native float32.
        device: "cpu" or "gpu".
        gpu_has_bf16: Whether the GPU computes in bfloat16 natively.

    Raises:
        Refused: No such precision or mode, or one that contradicts the other.
    """
    if precision not in PRECISIONS:
        raise Refused(
            f"a precision must be one of {', '.join(PRECISIONS)}, got {precision!r}; "
            "choose one of them"
        )
    if mode not in MODES:
        raise Refused(
            f"a mode must be one of {', '.join(MODES)}, got {mode!r}; "
            "choose one of them"
        )
    forced = FORCED.get(mode)
    if forced and precision not in ("auto", forced):
        raise Refused(
            f"mode {mode} always computes in {forced}, got --precision {precision}; "
            "leave --precision out or use mode aligned"
        )
    if forced:
        return forced
    if precision != "auto":
        return precision
    native = gpu_has_bf16 if device == "gpu" else cpu_has_bf16()
    return "bfloat16" if native else "float32"


def check_computed(
    precision: str,
    found: Mapping[str, Collection[str]],
    *,
    mode: str,
    who: str,
    cure: str,
) -> None:
    """Refuse a network that does not compute in the precision of its label.

    What counts is the type of its products, of all values where it has none.  One that
    computes in bfloat16 may have parts that stay in float32.

    Args:
        precision: "float32", "bfloat16" or "float64".
        found: As `common.extras.Probe` tells it.
        mode: One of MODES.
        who: The network, and where.
        cure: What to do about the network.
    """
    kinds = set(found["products"]) or set(found["values"])
    allowed = {precision, "float32"} if precision == "bfloat16" else {precision}
    others = kinds - allowed if found["products"] else set[str]()
    if not kinds or (precision in kinds and not others):
        return
    told = " and ".join(sorted(kinds))
    known = [name for name in PRECISIONS if name in kinds]
    if len(known) == len(kinds) == 1:
        other = "--mode aligned " if mode in FORCED else ""
        cure += f" or use {other}--precision {known[0]}"
    raise Refused(
        f"a network must compute in the precision that its runs are labelled with, "
        f"{who} was asked for {precision} and computes in {told}; {cure}"
    )


@cache
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 natively (Linux tells; else no)."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return False
    words = set(info.read_text(errors="replace").split())
    if platform.machine() in ("aarch64", "arm64"):
        return "bf16" in words
    return bool(words & {"avx512_bf16", "amx_bf16"})

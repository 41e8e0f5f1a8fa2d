"""The command line as it was typed, for the records that it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_typed: ContextVar[str] = ContextVar("typed", default="")


def typed() -> str:
    """The command line that is carried out, or "" if nobody said."""
    return _typed.get()


@contextmanager
def as_typed(text: str) -> Iterator[None]:
    """While open, `text` is what was typed."""
    token = _typed.set(text)
    try:
        yield
    finally:
        _typed.reset(token)

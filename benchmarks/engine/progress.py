"""Live progress: a moving line per run on a terminal, a few plain ones in a file."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO

QUIET = 10.0  # seconds between two plain lines about one run


class Screen(Protocol):
    """Who is told how a comparison goes."""

    def __enter__(self) -> Screen:
        """Begin to show progress."""

    def __exit__(self, *error: object) -> None:
        """Stop showing it."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def begin(self, title: str) -> None:
        """A run begins."""

    def show(self, title: str, event: dict[str, Any], left: float | None) -> None:
        """A run is somewhere; `left`: seconds until all are done, if known."""

    def end(self, title: str, line: str) -> None:
        """A run ended; `line` says how."""


def screen(stream: TextIO = sys.stderr) -> Screen:
    """The screen that fits what `stream` is."""
    return Terminal(stream) if stream.isatty() else Plain(stream)


class Plain:
    """Lines that read well in a file: each says which run it is about."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.told: dict[str, float] = {}  # title -> when something was last said of it

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, line: str) -> None:
        """Print a line that stays."""
        print(line, file=self.stream, flush=True)

    def begin(self, title: str) -> None:
        """Nothing: short runs are one line, when they end."""
        self.told[title] = time.monotonic()

    def show(self, title: str, event: dict[str, Any], left: float | None) -> None:
        """A line, unless the last one of this run is fresh."""
        now = time.monotonic()
        if now - self.told.setdefault(title, now) >= QUIET:
            self.told[title] = now
            self.say(f"{title}: {standing(event, left)}")

    def end(self, title: str, line: str) -> None:
        """The line."""
        self.told.pop(title, None)
        self.say(line)


class Terminal:
    """One line that moves for each run, below the lines that stay."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.text import Text

        self.text, self.group = Text, Group
        self.moving: dict[str, str] = {}  # title -> its line
        self.live = Live(
            console=Console(file=stream), transient=True, refresh_per_second=4
        )

    def __enter__(self) -> Terminal:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.live.console.print(self.text(line))

    def begin(self, title: str) -> None:
        """Say that the framework is being started."""
        self._move(title, f"{title}: starting")

    def show(self, title: str, event: dict[str, Any], left: float | None) -> None:
        """Move the run's line."""
        self._move(title, f"{title}: {standing(event, left)}")

    def end(self, title: str, line: str) -> None:
        """Leave the line, and clear the one that moves."""
        self.moving.pop(title, None)
        self._draw()
        self.say(line)

    def _move(self, title: str, line: str) -> None:
        self.moving[title] = line
        self._draw()

    def _draw(self) -> None:
        lines = (
            self.text(line, overflow="ellipsis", no_wrap=True)
            for line in self.moving.values()
        )
        self.live.update(self.group(*lines))


def standing(event: dict[str, Any], left: float | None) -> str:
    """Epoch, loss, speed or pictures judged, and time left, as far as it is told."""
    parts = []
    if "epoch" in event:
        parts.append(f"epoch {event['epoch']} of {event['epochs']}")
    loss = event.get("train_loss", event.get("loss"))
    if loss is not None:
        parts.append(f"mean loss {loss:.4f}")
    if total := event.get("to_judge"):
        parts.append(f"evaluating, {event['judged']:,} of {amount(total, 'picture')}")
    elif speed := event.get("images_per_second"):
        parts.append(f"{speed:,.0f} images/s")
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 360_000:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:,.0f} days"


def amount(n: int, thing: str) -> str:
    """A number of things."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"

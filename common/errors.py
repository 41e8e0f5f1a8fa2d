"""What ends a command early, and the exit code of each way to end."""

from __future__ import annotations

from pathlib import Path

DONE = 0
FAILED = 1  # a check did not hold, a run failed, a photo was refused
WRONG = 2  # the request; one line says how
OURS = 70  # a fault of ours; the line names a log with the traceback
STOPPED = 130  # Ctrl-C; what is finished is kept
UNREAD = 141  # nobody reads what we print any more, as `| head` does: 128 + SIGPIPE


LONGEST_WORD = 1_000  # characters of what was typed that a refusal repeats


def one_line(text: str) -> str:
    """A text without ends of lines and other controls, its longest words cut."""
    shown = "".join(s if s.isprintable() else ascii(s)[1:-1] for s in text)
    words = (
        f"{word[:LONGEST_WORD]}..." if len(word) > LONGEST_WORD else word
        for word in shown.split(" ")
    )
    return " ".join(words)


class Refused(ValueError):
    """A request that cannot be met as it stands.

    The message is one line: the rule, what arrived, what to do.
    """


class Damaged(Refused):
    """A file of a store that is not what was written: it is never trusted."""


class Failed(Exception):
    """A check did not hold or a run failed; what and why has been printed."""


class Fault(Exception):
    """A fault of ours in a child process.

    Attributes:
        log: The file that has its traceback; it is kept.
    """

    def __init__(self, task: str, log: Path) -> None:
        super().__init__(f"a fault of ours in {task}; please report {log}")
        self.log = log

"""The one error that a command turns into a single line and exit code 2."""


class Refused(ValueError):
    """A request that cannot be met as it stands.

    The message is one line: the rule, what arrived, what to do.
    """


class Failed(Exception):
    """A check did not hold or a run failed; what and why has been printed."""

"""The one error that a command turns into a single line and exit code 2."""


class Refused(ValueError):
    """A request that cannot be met as it stands.

    The message is one line: the rule, what arrived, what to do.
    """

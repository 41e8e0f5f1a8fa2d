"""placeholder"""


def show() -> None:
    """X."""

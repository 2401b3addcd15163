"""What all commands share."""

from dataclasses import dataclass

from howfar.errors import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(kw_only=True)
class Common:
    """Options of every command."""

    debug: bool = False
    """Show the traceback of an error."""


def to_seconds(text: str) -> float:
    """Return a time such as 90s, 30m or 2h (or a number of seconds) in seconds.

    Raises:
        UsageError: if it is none, or not above 0.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"'{text}' is no time. Write e.g. 90s, 30m or 2h.")
    return seconds

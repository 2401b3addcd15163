"""What went wrong, why, and the cure: the only errors that users see."""

import difflib
from collections.abc import Iterable


class HowfarError(Exception):
    """Something failed that the user can do something about. The command line exits with 1."""

    exit_code = 1


class UsageError(HowfarError):
    """The request itself makes no sense. The command line exits with 2."""

    exit_code = 2


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that nobody knows, with the nearest known one as the cure."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."
    return UsageError(f"unknown {kind} '{name}'. {hint}")

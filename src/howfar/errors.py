"""What went wrong, why, and the cure: the only errors that users see."""

import difflib
from collections.abc import Iterable
from importlib.util import find_spec


class HowfarError(Exception):
    """Something failed that the user can do something about. The command line exits with 1."""

    exit_code = 1

    def __str__(self) -> str:
        """Return problem, cause and cure in one line, whatever names and messages of others stand in it."""
        return in_one_line(super().__str__())


class UsageError(HowfarError):
    """The request itself makes no sense. The command line exits with 2."""

    exit_code = 2


def in_one_line(text: str) -> str:
    """Return a text without breaks of lines, and with other control characters written out."""
    return written_out(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def written_out(text: str) -> str:
    """Return a text in which control characters are written out, so that a terminal finds nothing to act on."""
    return "".join(sign if sign.isprintable() or sign in " \n" else repr(sign)[1:-1] for sign in text)


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that nobody knows, with the nearest known one as the cure."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."
    return UsageError(f"unknown {kind} '{name}'. {hint}")


def require(package: str, extra: str, what: str) -> None:
    """Raise ``UsageError`` unless a package that only some need is installed.

    Args:
        package: as it is imported, e.g. ``plotly``.
        extra: of howfar, which brings it.
        what: needs it.
    """
    if find_spec(package) is None:
        raise UsageError(f"{what} needs {package}. Install it: pip install 'howfar[{extra}]'.")

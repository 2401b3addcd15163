"""Errors shown to users: each message states the problem, its cause and a fix."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*\b)(?: (cpu\b|-?\d[\w:.-]*\b))?")
SETTINGS = re.compile(r"--set [\w.-]+=[\w./-]*\w(?: --set [\w.-]+=[\w./-]*\w)*")


class HowfarError(Exception):
    """An expected failure that the user can fix. The command line exits with 1."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message in one line, even if it contains file names or third-party messages with line breaks."""
        return in_one_line(super().__str__())


class UsageError(HowfarError):
    """The request itself is invalid. The command line exits with 2."""

    exit_code = 2


def in_one_line(text: str) -> str:
    """Return a text without line breaks and with control characters escaped."""
    return escaped(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def escaped(text: str) -> str:
    """Return a text with control characters escaped, so that a terminal does not interpret them."""
    return "".join(sign if sign.isprintable() or sign in " \n" else repr(sign)[1:-1] for sign in text)


def unknown(kind: str, name: str, known: Iterable[str], fix: str = "") -> UsageError:
    """Return the error for an unknown name, which suggests the closest known one.

    Args:
        kind: of the name.
        name: the unknown one.
        known: all names.
        fix: sentence that follows, where there are too many names to list them.
    """
    names = sorted(known)
    hint = _suggestion(name, names) or ("" if fix else f"Known: {', '.join(names)}.")
    return UsageError(" ".join(part for part in (f"unknown {kind} '{name}'.", hint, fix) if part))


def lacking(owner: str, kind: str, name: str, known: Iterable[str], fix: str) -> UsageError:
    """Return the error for a setting or an option that something lacks, which suggests the closest known one.

    Args:
        owner: as in ``protector 'lsp'``.
        kind: what it lacks, such as a ``setting``.
        name: the unknown name.
        known: all names.
        fix: sentence that follows the suggestion.
    """
    parts = (f"{owner} has no {kind} '{name}'.", _suggestion(name, sorted(known)), fix)
    return UsageError(" ".join(part for part in parts if part))


def _suggestion(name: str, names: list[str]) -> str:
    swapped = [known for known in names if sorted(known) == sorted(name)]  # lps: lsp rather than ops
    near = swapped or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else ""


def in_python(text: str) -> str:
    """Return a text with the arguments of ``howfar.bench`` in place of the flags of the command line.

    Example:
        >>> in_python("Train it longer (--epochs), or add seeds (--seeds 0-5).")
        'Train it longer (epochs=), or add seeds (seeds="0-5").'
        >>> in_python("Give --set held_out=1000.")
        'Give settings=["held_out=1000"].'
    """
    found = SETTINGS.sub(lambda match: f"settings={json.dumps(match[0].removeprefix('--set ').split(' --set '))}", text)
    return FLAG.sub(
        lambda match: match[1].replace("-", "_") + ("=" if match[2] is None else f"={_value(match[2])}"), found
    )


def _value(text: str) -> str:
    return text if text.lstrip("-").isdigit() else f'"{text}"'


@contextmanager
def told_in_python() -> Iterator[None]:
    """Let errors name arguments of ``howfar.bench`` in place of flags."""
    try:
        yield
    except HowfarError as error:
        error.args = (in_python(str(error)), *error.args[1:])
        raise


def require(package: str, extra: str, what: str) -> None:
    """Raise ``UsageError`` unless a package that only some need is installed.

    Args:
        package: as it is imported, e.g. ``plotly``.
        extra: of howfar, which brings it.
        what: needs it.
    """
    if find_spec(package) is None:
        raise UsageError(f"{what} needs {package}. Install it: pip install 'howfar[{extra}]'.")

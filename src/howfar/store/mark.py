"""What tells a store, and what it made, from folders of somebody else: nothing else is listed, judged or removed."""

import re
from collections.abc import Iterable

from howfar.store.record import ARRAYS, RECORD

MARK = ".howfar-store"
TEXT = "This folder is a store of howfar. Finished work lies in STEP/KEY/record.json; see: howfar store --help\n"
HEAD_BYTES = 1024
_KEY = re.compile(r"[0-9a-f]{20}")
_HEAD = re.compile(rb'\s*\{\s*"step"\s*:\s*"([^"\\]*)"\s*,\s*"key"\s*:\s*"([^"\\]*)"')


def is_key(name: str) -> bool:
    """Return whether a name is that of a finished step: 20 hexadecimal digits."""
    return _KEY.fullmatch(name) is not None


def place_of(head: bytes) -> tuple[str, str] | None:
    """Return step and key that stand at the beginning of a record; None where they cannot be read.

    A record whose end is cut off or changed still tells them.
    """
    found = _HEAD.match(head)
    return (found[1].decode(errors="replace"), found[2].decode(errors="replace")) if found else None


def is_own(step: str, names: Iterable[str], head: bytes) -> bool:
    """Return whether a store made a folder that is named like a key.

    Args:
        step: name of the folder above it.
        names: of what lies in it. Hidden files, which file managers leave everywhere, say nothing.
        head: first bytes of its record; empty without one. That of another step was copied here by a person.
    """
    place = place_of(head)
    return {name for name in names if not name.startswith(".")} <= {RECORD, ARRAYS} and (
        place is None or place[0] == step
    )

"""The mark of a store, and recognition of its own folders: no other folder is listed, checked or removed."""

import re
from collections.abc import Iterable

from howfar.store.record import ARRAYS, RECORD

MARK = ".howfar-store"
TEXT = "This folder is a store of howfar. Finished work lies in STEP/KEY/record.json; see: howfar store --help\n"
HEAD_BYTES = 1024
_KEY = re.compile(r"[0-9a-f]{20}")
_HEAD = re.compile(rb'\s*\{\s*"step"\s*:\s*"([^"\\]*)"\s*,\s*"key"\s*:\s*"([^"\\]*)"')


def is_key(name: str) -> bool:
    """Return whether a name is a key: 20 hexadecimal digits."""
    return _KEY.fullmatch(name) is not None


def place_of(head: bytes) -> tuple[str, str] | None:
    """Return step and key from the beginning of a record, which may be truncated; None if they cannot be read."""
    found = _HEAD.match(head)
    return (found[1].decode(errors="replace"), found[2].decode(errors="replace")) if found else None


def is_own(step: str, names: Iterable[str], head: bytes) -> bool:
    """Return whether a folder named like a key was created by a store.

    Args:
        step: name of its parent folder.
        names: of its files; hidden files are ignored.
        head: first bytes of its record; empty without one. A record of another step was copied there by the user.
    """
    place = place_of(head)
    return {name for name in names if not name.startswith(".")} <= {RECORD, ARRAYS} and (
        place is None or place[0] == step
    )

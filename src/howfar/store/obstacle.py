"""Why a place cannot become a store, found without writing there."""

import os
from pathlib import Path

from howfar.store.records import Store


def obstacle(place: str | Path) -> str:
    """Return what keeps a run from writing to a folder; empty if nothing is known to.

    Args:
        place: a folder that may not exist yet; what can be said of a URL is only found by writing.
    """
    if "://" in str(place):
        return ""
    root = Path(place).absolute()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    if not there.is_dir():
        return f"{there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written to"
    return f"{place} holds other files and is no store" if there == root and is_foreign(root) else ""


def is_foreign(folder: Path) -> bool:
    """Return whether a folder has files, and none of a store; hidden ones do not count."""
    others = any(not path.name.startswith(".") for path in folder.iterdir())
    return others and not Store(folder, reading=True).recognized

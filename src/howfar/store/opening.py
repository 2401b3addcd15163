"""Stores by their place: a folder, a URL or a packed file."""

import os
from pathlib import Path

from howfar.errors import UsageError
from howfar.store.archive import Archive
from howfar.store.records import Store
from howfar.store.remote import RemoteStore

FOREIGN = "holds other files and is no store"


def is_url(place: str) -> bool:
    """Return whether a place is a URL instead of a folder."""
    return "://" in place


def open_store(place: str | Path, *, reading: bool = False) -> Store:
    """Return the store in a folder, which is created, at a URL such as ``s3://bucket/runs``, or packed in a file.

    Args:
        place: the folder, URL or file.
        reading: open read-only; the place need not exist. A file can only be read.

    Raises:
        UsageError: for a folder with other files.
        HowfarError: if it cannot be written, the fsspec back end is not installed, or a file is not a packed store.
    """
    if is_url(str(place)):
        return RemoteStore(str(place), reading=reading)
    if not Path(place).is_file():
        if not reading and Path(place).is_dir() and _is_foreign(Path(place)):
            raise UsageError(f"{place} {FOREIGN}. Choose a new or an empty folder with --runs.")
        return Store(place, reading=reading)
    if not reading:
        raise UsageError(
            f"{place} is a file and can only be read. Unpack it: howfar store import {place} --runs FOLDER."
        )
    return Archive(Path(place))


def absolute(place: str) -> str:
    """Return a place that does not depend on the working directory."""
    return place if is_url(place) else str(Path(place).resolve())


def obstacle(place: str | Path) -> str:
    """Return what keeps a run from writing to a folder; empty if nothing is known to.

    Args:
        place: a folder that may not exist yet; what can be said of a URL is only found by writing.
    """
    if is_url(str(place)):
        return ""
    root = Path(place).absolute()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    if not there.is_dir():
        return f"{there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written to"
    return f"{place} {FOREIGN}" if there == root and _is_foreign(root) else ""


def _is_foreign(folder: Path) -> bool:
    """Return whether a folder has files, and none of a store; hidden ones do not count."""
    others = any(not path.name.startswith(".") for path in folder.iterdir())
    return others and not Store(folder, reading=True).recognized

"""Atomic file writes."""

import errno
import os
from pathlib import Path

from howfar.errors import HowfarError
from howfar.unfinished import atomic_write, left_in, remove


def write_text(path: Path, text: str, *, aside: Path | None = None, follow: bool = True) -> None:
    """Write a text file atomically; see ``write_bytes``."""
    write_bytes(path, text.encode(), aside=aside, follow=follow)


def save_text(path: Path, text: str) -> None:
    """Write a text file that a user named, and create its folder; errors as of ``write_bytes``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(path, error) from None
    write_text(path, text)


def write_bytes(path: Path, content: bytes, *, aside: Path | None = None, follow: bool = True) -> None:
    """Write a file atomically.

    Args:
        path: of the file.
        content: of the file.
        aside: folder on the same disk for the temporary file, which stays there if the process is killed; see
            ``sweep``. By default the folder of the file.
        follow: write to the target of a symbolic link, as for paths that a user gave; otherwise replace the link.

    Raises:
        HowfarError: if the disk is full or the folder cannot be written.
    """
    try:
        with atomic_write(path, aside=aside, follow=follow) as draft, draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritten(path, error) from None


def unwritten(path: Path, error: OSError) -> HowfarError:
    """Return the error for a file that could not be written, with the fix that its cause asks for."""
    fix = {
        errno.ENOENT: f"Create its folder, {path.parent}.",
        errno.ENOTDIR: f"{path.parent} is no folder: choose another one.",
        errno.EEXIST: f"{path.parent} is no folder: choose another one.",
        errno.EISDIR: "It is a folder: give the name of a file in it.",
        errno.ENOSPC: "Free some space or choose another folder.",
        errno.EDQUOT: "Free some space or choose another folder.",
    }.get(error.errno or 0, "Choose another folder.")
    return HowfarError(f"could not write {path} ({error.strerror}). {fix}")


def sweep(aside: Path) -> None:
    """Remove the temporary files of killed processes of this machine in a folder."""
    for draft in left_in(aside):
        remove(draft)


def flush(path: Path) -> None:
    """Flush a file or the entries of a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

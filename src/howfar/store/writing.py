"""Files that are whole or not there, whatever happens to the process or the disk."""

import os
from pathlib import Path

from howfar.errors import HowfarError
from howfar.unfinished import left_in, remove, whole


def write_text(path: Path, text: str, *, aside: Path | None = None, follow: bool = True) -> None:
    """Write a text file so that it is either the old or the new one, whatever happens; see ``write_bytes``."""
    write_bytes(path, text.encode(), aside=aside, follow=follow)


def write_bytes(path: Path, content: bytes, *, aside: Path | None = None, follow: bool = True) -> None:
    """Write a file so that it is either the old or the new one, whatever happens.

    Args:
        path: of the file.
        content: of the file.
        aside: folder of the same disk where the unfinished file lies until it is whole, and stays if the process is
            killed before: see ``sweep``. By default that of the file.
        follow: whether a link is written through, as for names that a user gave; otherwise the file takes its place.

    Raises:
        HowfarError: if the disk is full or the folder cannot be written.
    """
    try:
        with whole(path, aside=aside, follow=follow) as draft, draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise HowfarError(
            f"could not write {path} ({error.strerror}). Free some space or choose another folder."
        ) from None


def sweep(aside: Path) -> None:
    """Remove the unfinished files that killed processes of this machine left in a folder."""
    for draft in left_in(aside):
        remove(draft)


def flush(path: Path) -> None:
    """Bring a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

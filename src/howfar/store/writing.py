"""Files that are whole or not there, whatever happens to the process or the disk."""

import os
from pathlib import Path

from howfar.errors import HowfarError


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is either the old or the new one, whatever happens."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old or the new one, whatever happens."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise HowfarError(
            f"could not write {path} ({error.strerror}). Free some space or choose another folder."
        ) from None


def flush(path: Path) -> None:
    """Bring a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def alive(pid: int) -> bool:
    """Return whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

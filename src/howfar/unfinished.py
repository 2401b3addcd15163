"""Atomic writes, and the removal of temporary files that killed processes left.

A file is written under a temporary name that identifies its owner: process id, machine, and start time of the process.
The start time distinguishes a process that got the same id later, and the machine digest other machines that share the
folder, so that no file is removed while a process may be writing it.
"""

import functools
import glob
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from howfar.errors import UsageError

END = ".tmp"
DEVICES, MEMORY = Path("/dev"), Path("/dev/shm")  # noqa: S108  # the latter is an in-memory file system
LONG_NAME = 120  # bytes; file systems take 255
UNTOUCHED = 3600.0  # seconds after which a file of an older version, whose name lacks the machine, has no owner
OWNED = re.compile(r"\.(?P<pid>\d+)\.(?P<machine>[0-9a-f]{8})(?P<birth>[0-9a-f]{8})\.[0-9a-f]{8}(?:\.old)?\.tmp")
HOSTED = re.compile(r"\.(?P<pid>\d+)\.[0-9a-f]{2,8}(?:\.old)?\.tmp")  # older versions: name.host.pid.digits.tmp
UNKNOWN = 8 * "0"  # if the system does not report when a process was started
NUMBERED = re.compile(  # older versions: name.pid.tmp, for these names
    r"\.(?:[0-9a-f]{12}|[0-9a-f]{20}\.draft|.+\.safetensors)\.(?P<pid>\d+)\.tmp"
)


@contextmanager
def atomic_write(path: Path, *, aside: Path | None = None, follow: bool = True) -> Iterator[Path]:
    """Yield a temporary path for a file or new folder, which is renamed to ``path`` when the block ends without error.

    Args:
        path: the final path.
        aside: folder on the same disk for the temporary file. Its owner removes files left by killed processes, see
            ``left_in``. By default, that of the final path; files left there by killed writers of the same path are
            removed first.
        follow: write to the target of a symbolic link; otherwise replace the link.

    Raises:
        OSError: if the file was not written or cannot be renamed; the temporary file is removed.
        UsageError: for a device or pipe.
    """
    path = _resolved(path) if follow or not path.is_symlink() else path
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*{END}") if aside is None else ():
        if is_left(left):
            remove(left)
    draft = (path.parent if aside is None else aside) / temporary(path.name)
    try:
        yield draft
        draft.replace(path)
    finally:
        remove(draft)


def _resolved(path: Path) -> Path:
    """Return the path to write to: the target of a symbolic link, else the path itself.

    Raises:
        UsageError: for a device, a pipe, or anything else that cannot be replaced by a file.
    """
    if path.is_dir():
        return path
    found, folders = path.resolve(), Path(os.path.normpath(Path.cwd() / path)).parents
    device = DEVICES in folders and MEMORY not in folders
    if device or (found.exists() and not found.is_file()):
        raise UsageError(f"{path} is not a file that can be replaced. Give the name of a file.")
    return found if path.is_symlink() else path


def temporary(name: str) -> str:
    """Return a new temporary name for ``name`` that identifies this process and machine."""
    return f"{_prefix(Path(name))}{os.getpid()}.{this_process()}.{uuid.uuid4().hex[:8]}{END}"


def left_in(folder: Path) -> Iterator[Path]:
    """Yield the temporary files and folders that ended processes of this machine left in a folder."""
    yield from (path for path in sorted(folder.glob(f".*{END}")) if is_left(path))


def is_left(path: Path) -> bool:
    """Return whether a temporary file belongs to an ended process of this machine; False for unknown names."""
    if owned := OWNED.search(path.name):
        return is_gone(int(owned["pid"]), owned["machine"] + owned["birth"])
    if hosted := HOSTED.search(path.name):
        return path.name[: hosted.start()].endswith(f".{socket.gethostname()}") and is_gone(int(hosted["pid"]))
    if numbered := NUMBERED.fullmatch(path.name):
        return is_gone(int(numbered["pid"])) and _age(path) > UNTOUCHED
    return False


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_gone(pid: int, process: str = "") -> bool:
    """Return whether a process of this machine has ended; False for processes of other machines.

    Args:
        pid: its process id.
        process: what ``this_process`` returned there; empty for files of older versions, where only the id is checked.
    """
    if process and process[:8] != _machine():
        return False
    if not _is_alive(pid):
        return True
    born, now = process[8:], _birth(pid)
    return UNKNOWN not in (born, now) and born != "" and born != now


def this_process() -> str:
    """Return 16 hexadecimal digits: 8 for the machine, stable across restarts, and 8 for the start of this process."""
    return _machine() + _birth(os.getpid())


@functools.cache
def _machine() -> str:
    """Return a digest that identifies the machine or container; host names need not be unique."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        identity = ""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())  # process ids are per container
    except OSError:
        space = ""
    return _digits(socket.gethostname(), identity or str(uuid.getnode()), space)


def _birth(pid: int) -> str:
    """Return a digest of the start time of a process, which distinguishes processes with the same id.

    Only Linux reports it, in ticks since boot, which changes of the clock do not affect.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return _digits(boot, fields[19])
    except (OSError, IndexError):
        return UNKNOWN


def _is_alive(pid: int) -> bool:
    """Return whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _prefix(path: Path) -> str:
    name = path.name.lstrip(".")
    return f".{name if len(os.fsencode(name)) <= LONG_NAME else _digits(name)}."


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _digits(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]

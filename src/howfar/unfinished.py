"""Files that are complete or not there, and what killed processes left of them.

A file is written under a temporary name that tells whose it is: the process number, the machine, and when the process
was started. Another process that was given the same number later is told apart by its start, and another machine that
shares the folder by its own mark, so that nothing is removed while somebody may be writing it.
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
DEVICES, MEMORY = Path("/dev"), Path("/dev/shm")  # noqa: S108  # the latter is a file system in memory, for anything
LONG_NAME = 120  # bytes; file systems take 255
UNTOUCHED = 3600.0  # seconds after which a file of an older version, which does not tell its machine, is nobody's
OWNED = re.compile(r"\.(?P<pid>\d+)\.(?P<machine>[0-9a-f]{8})(?P<birth>[0-9a-f]{8})\.[0-9a-f]{8}(?:\.old)?\.tmp")
HOSTED = re.compile(r"\.(?P<pid>\d+)\.[0-9a-f]{2,8}(?:\.old)?\.tmp")  # older versions: name.host.pid.digits.tmp
UNKNOWN = 8 * "0"  # where the system does not show when a process was started
NUMBERED = re.compile(  # older versions: name.pid.tmp, with these names
    r"\.(?:[0-9a-f]{12}|[0-9a-f]{20}\.draft|.+\.safetensors)\.(?P<pid>\d+)\.tmp"
)


@contextmanager
def whole(path: Path, *, aside: Path | None = None, follow: bool = True) -> Iterator[Path]:
    """Give a temporary name for a file, or a new folder, that gets its own name once the block ends without an error.

    Args:
        path: the final name.
        aside: folder of the same disk where the unfinished file lies. Its owner removes what killed processes leave
            there, see ``left_in``. By default it is that of the final name, where what killed writers of the same file
            left is removed first.
        follow: whether a link is written through, to where it leads; otherwise the file takes its place.

    Raises:
        OSError: if the file was not written or cannot be renamed; the unfinished one is removed.
        UsageError: for a name of a device or pipe.
    """
    path = _meant(path) if follow or not path.is_symlink() else path
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*{END}") if aside is None else ():
        if is_left(left):
            remove(left)
    draft = (path.parent if aside is None else aside) / temporary(path.name)
    try:
        yield draft
        draft.replace(path)
    finally:
        remove(draft)


def _meant(path: Path) -> Path:
    """Return where a file is to be written: behind a link, to where it leads.

    Raises:
        UsageError: for a device, a pipe, or anything else that cannot be replaced by a file.
    """
    if path.is_dir():
        return path
    found, folders = path.resolve(), Path(os.path.normpath(Path.cwd() / path)).parents
    device = DEVICES in folders and MEMORY not in folders
    if device or (found.exists() and not found.is_file()):
        raise UsageError(f"{path} is no file that can be replaced. Give the name of a file.")
    return found if path.is_symlink() else path


def temporary(name: str) -> str:
    """Return a new name for what becomes ``name``; it tells which process of which machine it belongs to."""
    return f"{_prefix(Path(name))}{os.getpid()}.{this_process()}.{uuid.uuid4().hex[:8]}{END}"


def left_in(folder: Path) -> Iterator[Path]:
    """Yield the unfinished files and folders that gone processes of this machine left in a folder."""
    yield from (path for path in sorted(folder.glob(f".*{END}")) if is_left(path))


def is_left(path: Path) -> bool:
    """Return whether an unfinished file belongs to a process of this machine that is gone; unknown names do not."""
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
    """Return whether a process of this machine is gone; False for those of other machines, which cannot be asked.

    Args:
        pid: its number.
        process: what ``this_process`` returned there; older versions did not keep it, and the number alone is asked.
    """
    if process and process[:8] != _machine():
        return False
    if not _is_alive(pid):
        return True
    born, now = process[8:], _birth(pid)
    return UNKNOWN not in (born, now) and born != "" and born != now


def this_process() -> str:
    """Return 16 hexadecimal digits: 8 of this machine, the same after a restart, and 8 of the start of this process."""
    return _machine() + _birth(os.getpid())


@functools.cache
def _machine() -> str:
    """Return what tells machines, and containers on them, apart: their names alone may be equal."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        identity = ""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())  # of a container: numbers count within it
    except OSError:
        space = ""
    return _digits(socket.gethostname(), identity or str(uuid.getnode()), space)


def _birth(pid: int) -> str:
    """Return what tells a process from another one with its number: when it was started, as far as the system shows it.

    Only Linux does, in ticks since the system was started, which no change of the clock moves.
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

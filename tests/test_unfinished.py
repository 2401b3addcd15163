"""What killed processes left is removed, and nothing that somebody may still be writing."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from howfar import unfinished
from howfar.errors import UsageError
from howfar.unfinished import atomic_write, is_gone, is_left, left_in, temporary, this_process


@pytest.fixture(scope="module")
def dead() -> int:
    """Return the number of a process that is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def halfway(path: Path) -> None:
    """Fail while a file is being written."""
    with atomic_write(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError


def named(pid: int, process: str, name: str = "file") -> str:
    """Return the temporary name that a process gives."""
    return temporary(name).replace(f".{os.getpid()}.{this_process()}.", f".{pid}.{process}.")


def test_a_file_is_complete_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as draft:
        draft.write_text("old")
        assert not path.exists()
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    with pytest.raises(ZeroDivisionError):
        halfway(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with atomic_write(tmp_path / "folder") as draft:
        draft.mkdir()
        (draft / "in").touch()
    assert (tmp_path / "folder" / "in").exists()


def test_the_file_system_in_memory_is_no_device() -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("no file system in memory here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        with atomic_write(Path(folder) / "file") as draft:
            draft.write_text("content")
        assert (Path(folder) / "file").read_text() == "content"
    for device in (Path("/dev/null"), Path("/dev/shm/../unknown"), Path("/dev/unknown")):
        with pytest.raises(UsageError, match="not a file that can be replaced"), atomic_write(device):
            pass


def test_the_longest_of_names_leave_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125)
    with atomic_write(path) as draft:
        draft.touch()
    assert path.exists()


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, dead: int) -> None:
    left, mine, other = (
        tmp_path / named(pid, this_process(), name)
        for pid, name in ((dead, "file"), (os.getpid(), "file"), (dead, "another"))
    )
    for path in (left, mine, other):
        path.touch()
    with atomic_write(tmp_path / "file") as draft:
        draft.touch()
    assert {path.name for path in tmp_path.iterdir()} == {"file", mine.name, other.name}
    assert list(left_in(tmp_path)) == [other]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux shows when a process was started")
def test_a_process_number_that_is_used_again_is_another_process() -> None:
    machine, birth = this_process()[:8], this_process()[8:]
    earlier = "1" * 8 if birth != "1" * 8 else "2" * 8
    assert not is_gone(os.getpid(), machine + birth)
    assert is_gone(os.getpid(), machine + earlier)
    assert is_left(Path(named(os.getpid(), machine + earlier)))
    assert not is_gone(os.getpid(), machine + unfinished.UNKNOWN)


def test_other_machines_are_not_judged_by_the_processes_of_this_one(dead: int) -> None:
    elsewhere = "0" * 8 if this_process()[:8] != "0" * 8 else "1" * 8
    assert not is_gone(dead, elsewhere + this_process()[8:])
    assert not is_left(Path(named(dead, elsewhere + this_process()[8:])))
    assert not is_left(Path(f".key.another-machine.{dead}.aabbccdd.tmp"))


def test_where_a_start_is_not_shown_numbers_decide(monkeypatch: pytest.MonkeyPatch, dead: int) -> None:
    monkeypatch.setattr(unfinished, "_birth", lambda pid: unfinished.UNKNOWN)
    assert is_gone(dead, this_process())
    assert not is_gone(os.getpid(), this_process())


def test_names_of_older_versions_are_understood(tmp_path: Path, dead: int) -> None:
    host = socket.gethostname()
    assert is_left(Path(f".key.{host}.{dead}.aabbccdd.tmp"))
    assert is_left(Path(f".key.{host}.{dead}.aabbccdd.old.tmp"))
    assert not is_left(Path(f".key.{host}.{os.getpid()}.aabbccdd.tmp"))
    numbered = tmp_path / f".{'0' * 20}.draft.{dead}.tmp"
    numbered.touch()
    assert not is_left(numbered), "it may be of another machine"
    os.utime(numbered, (time.time() - 7200, time.time() - 7200))
    assert is_left(numbered)
    for name in (".notes.tmp", f".notes.{dead}.tmp"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
        assert not is_left(tmp_path / name), "somebody else's"

"""What is published of the studies: few small files, each whole, and nothing in them that is no one's business."""

import lzma
import re
from pathlib import Path

import pytest

from howfar.store import open_store
from howfar.tables.sound import sound_records

RESULTS = Path(__file__).parents[1] / "results"
FILES = sorted(RESULTS.glob("*.jsonl.xz"))
MOST, LARGEST = 30, 10_000_000  # files, bytes
PRIVATE = re.compile(rb"(?:/home/|/root/|/tmp/|/work/|/Users/)[\w/.-]*")


def test_the_folder_stays_small() -> None:
    files = [path for path in RESULTS.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert {path.parent for path in files} == {RESULTS}
    assert len(files) <= MOST
    assert sum(path.stat().st_size for path in files) <= LARGEST


def test_every_file_is_told_of() -> None:
    told = set(re.findall(r"^\| (`.+?`) \|", (RESULTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    names = {name for cell in told for name in re.findall(r"`([\w-]+)`", cell)}
    assert names == {path.name.removesuffix(".jsonl.xz") for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_whole_and_holds_no_path_of_a_machine(path: Path) -> None:
    store = open_store(path, reading=True)
    steps = store.steps()
    assert steps
    assert all(sound_records(store, step) for step in steps)
    found = PRIVATE.search(lzma.decompress(path.read_bytes()))
    assert found is None, found[0]

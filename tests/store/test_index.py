"""The index says what the records say, whatever happens to either."""

import json
import os
import time
from pathlib import Path

import pytest

from howfar.errors import HowfarError
from howfar.store import DamagedError, Record, Store
from howfar.store.index import NAME
from howfar.tables.distances import Distances

LONG = [0.1 * k for k in range(1000)]


def filled(root: Path, count: int = 5) -> Store:
    store = Store(root)
    for number in range(count):
        spec = {"number": number}
        result = {"value": number, "long": [*LONG, number]}
        store.save(Record("step", store.key("step", spec), spec, "done", result, {"seconds": 0.5}))
    age(root)
    list(store.records("step"))
    return store


def age(root: Path) -> None:
    """Make the records as old as the index wants them before it believes what it saw."""
    for path in root.glob("*/*/record.json"):
        os.utime(path, (time.time() - 10, time.time() - 10))


def test_listing_by_the_index_gives_the_same_records(tmp_path: Path) -> None:
    store = filled(tmp_path)
    records = list(Store(tmp_path).records("step"))
    assert records == [store.find("step", record.key) for record in records]
    assert [record.key for record in records] == sorted(record.key for record in records)
    assert all(record.result["long"][-1] == record.spec["number"] for record in records)


def test_long_parts_are_read_when_asked_for_and_short_ones_are_not(tmp_path: Path) -> None:
    filled(tmp_path)
    record = Store(tmp_path).records("step")[0]
    (tmp_path / "step" / record.key / "record.json").unlink()
    assert record.result["value"] == record.spec["number"]
    assert list(record.result) == ["value", "long"]
    assert len(record.result) == 2
    with pytest.raises(HowfarError, match="removed meanwhile"):
        record.result["long"]


def test_what_changed_is_read_again_and_what_was_noted_of_it_is_forgotten(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.index.note("kind", {"name": 1})
    record = store.records("step")[0]
    path = tmp_path / "step" / record.key / "record.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "result": {"value": 77}}).partition(', "sha256"')[0] + "}"
    )
    assert Store(tmp_path).records("step")[0].result == {"value": 77}
    assert Store(tmp_path).index.notes("kind") == {}
    path.write_text("{")
    with pytest.raises(HowfarError, match="damaged"):
        Store(tmp_path).records("step")[0]
    path.unlink()
    assert len(list(Store(tmp_path).records("step"))) == 4


def test_a_record_of_the_last_seconds_is_not_believed_unread(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(Record("step", "0" * 20, {}, "done", {"value": 1}, {}))
    list(store.records("step"))
    assert store.index.known("step") == {}


@pytest.mark.parametrize("harm", ["text", "half", "flip", "folder", "names"])
def test_a_spoilt_index_changes_no_number(tmp_path: Path, harm: str) -> None:
    before = [record.result["value"] for record in filled(tmp_path).records("step")]
    path = tmp_path / NAME
    content = path.read_bytes()
    if harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        place = content.index(b'"value"') + len(b'"value":')
        flipped = content[:place] + b"9" + content[place + 1 :]
        names = content.replace(
            b"CREATE TABLE record", b"CREATE TABLE \xb6\xb6cord"
        )  # SQLite quotes what it cannot read
        kinds = {"text": b"no database", "half": content[: len(content) // 2], "flip": flipped, "names": names}
        path.write_bytes(kinds[harm])
    for _ in range(2):
        assert [record.result["value"] for record in Store(tmp_path).records("step")] == before
    if harm != "folder":
        assert Store(tmp_path).index.known("step"), "a new index was made"


def test_distances_are_noted_and_believed(tmp_path: Path) -> None:
    def victim(key: str, sal: float) -> Record:
        layers = {
            name: {"rise": value, "fall": 0.0, "quality_drop": 0.0, "quality_rise": 0.0, "standard_error": 0.01,
                   "parameters": 1}
            for name, value in (("a", 0.1), ("b", sal))
        }  # fmt: skip
        epochs = [{"loss": 1.0, "test": {"accuracy": 0.5}, "sharpness": layers}]
        return Record("victim", key, {}, "done", {"metric": "accuracy", "epochs": epochs}, {})

    clean, poisoned = [victim("c", 1.0)], [victim("p", 0.2)]
    store = Store(tmp_path)
    first = Distances(store.index)
    found = first.of(clean, poisoned)
    assert found is not None
    assert found.values == [0.0]
    assert first.of(clean, clean) != found
    first.keep()
    assert Distances(Store(tmp_path).index).of(clean, [victim("p", float("nan"))]) == found, "taken from the notes"
    with pytest.raises(DamagedError, match="rise is nan"):
        Distances().of(clean, [victim("p", float("nan"))])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed on Linux only")
def test_nothing_of_the_store_is_held_open(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert len(list(store.records("step"))) == 5
    assert (tmp_path / NAME).exists()
    links = list(Path("/proc/self/fd").iterdir())
    held = [str(link.readlink()) for link in links if link.is_symlink()]
    assert [path for path in held if path.startswith(str(tmp_path))] == []


def test_an_index_that_is_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    root, mine = tmp_path / "runs", tmp_path / "mine.sqlite"
    filled(root)
    mine.write_bytes((root / NAME).read_bytes())
    before = mine.read_bytes()
    (root / NAME).unlink()
    (root / NAME).symlink_to(mine)
    filled(root, 7)
    assert mine.read_bytes() == before
    assert not (root / NAME).is_symlink()
    assert len(Store(root).records("step")) == 7

"""Only what a store made is listed, judged or removed."""

import shutil
from pathlib import Path

import pytest
import torch

from howfar.store import MARK, Record, Store, check, clean, merge, remove

from ..test_cli import howfar


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def filled(root: Path) -> Store:
    store = Store(root)
    for value in (1, 2):
        spec = {"value": value}
        store.save(
            Record("victim", store.key("victim", spec), spec, "done", {"quality": 0.5}, {}), {"x": torch.ones(3)}
        )
    return store


def cleared(store: Store) -> None:
    for finding in list(clean(store, failed=True, arrays=True, damaged=True, drafts=True)):
        remove(finding)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of somebody's own, two levels deep, with names that a store could take for its own."""
    for name in ("2023/summer", "2024/winter", f"victim/{'a' * 20}", f"old/{'b' * 20}"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.jpg").write_bytes(b"picture")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "command",
    [["store", "check"], ["store", "gc", "--damaged", "--drafts", "--arrays", "--failed"], ["report"], ["leaderboard"]],
)
def test_a_folder_that_is_no_store_is_refused_by_name_and_stays(photos: Path, command: list[str]) -> None:
    before = files(photos)
    done = howfar(*command, str(photos), cwd=photos.parent)
    assert done.returncode == 2
    assert f"{photos} is no store" in " ".join(done.stderr.split())
    assert "--runs" in done.stderr
    assert files(photos) == before


def test_what_lies_in_a_store_beside_its_records_stays(photos: Path) -> None:
    """A run with ``--runs .`` puts its records into a folder of other things."""
    before = files(photos)
    store = filled(photos)
    (photos / "figures" / "final").mkdir(parents=True)
    (photos / "figures" / "final" / "a.png").touch()
    (photos / "figures" / ".notes.draft").touch()
    (photos / "figures" / ".notes.tmp").touch()
    assert list(check(store)) == []
    assert store.recognized
    assert store.steps() == ["old", "victim"]
    cleared(store)
    store.sweep()
    kept = {Path("figures/final/a.png"), Path("figures/.notes.draft"), Path("figures/.notes.tmp")}
    assert before | kept <= files(photos)
    assert len(store.records("victim")) == 2


def test_a_copy_that_a_person_made_of_a_step_stays(tmp_path: Path) -> None:
    store = filled(tmp_path / "runs")
    shutil.copytree(tmp_path / "runs" / "victim", tmp_path / "runs" / "victim-before")
    shutil.copytree(tmp_path / "runs" / "victim", tmp_path / "runs" / "backup" / "victim")
    before = {path for path in files(store.root) if path.parts[0] != "victim"}
    assert list(check(store)) == []
    cleared(store)
    assert before <= files(store.root)
    other = Store(tmp_path / "other")
    assert len(merge(other, store)) == 2
    assert other.steps() == ["victim"]


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b'{"step":"victim","key"', None])
def test_what_is_damaged_beyond_reading_is_still_found(tmp_path: Path, content: bytes | None) -> None:
    store = filled(tmp_path)
    for record in store.records("victim"):
        path = tmp_path / "victim" / record.key / "record.json"
        path.unlink() if content is None else path.write_bytes(content)
    assert len([finding for finding in check(Store(tmp_path)) if finding.harm]) == 2
    cleared(store)
    assert store.keys("victim") == []


def test_new_stores_are_marked_at_once_and_older_ones_with_their_next_record(tmp_path: Path) -> None:
    assert (Store(tmp_path / "new").root / MARK).is_file()
    store = filled(tmp_path / "older")
    (store.root / MARK).unlink()
    assert Store(store.root).recognized, "by a record that lies where it says"
    assert not (store.root / MARK).exists(), "reading changes nothing"
    record = store.records("victim")[0]
    path = store.root / "victim" / record.key / "record.json"
    path.write_text(path.read_text()[:-30])
    assert Store(store.root).recognized, "also by a damaged one"
    filled(store.root)
    assert (store.root / MARK).is_file()
    (tmp_path / "taken" / "x").mkdir(parents=True)
    assert not Store(tmp_path / "taken").recognized

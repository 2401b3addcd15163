import json
import os
from pathlib import Path

import pytest
import torch

from howfar.errors import HowfarError
from howfar.store import Record, Store, write_text
from howfar.unfinished import temporary


def record(status: str = "done", **result: object) -> Record:
    return Record("step", Store.key("step", {"a": 1}), {"a": 1}, status, result, {})


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "runs")
    saved = store.save(record(value=0.1), {"x": torch.arange(5)})
    assert store.find("step", saved.key) == saved
    assert torch.equal(store.arrays("step", saved.key)["x"], torch.arange(5))
    assert list(store.records("step")) == [saved]
    assert store.done("step", saved.key)
    assert store.find("step", "0" * 20) is None


def test_keys_follow_content_not_order() -> None:
    assert Store.key("s", {"a": 1, "b": [1.5]}) == Store.key("s", {"b": [1.5], "a": 1})
    assert Store.key("s", {"a": 1}) != Store.key("t", {"a": 1})


def test_a_failure_gives_way_to_success_and_success_to_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.save(record("failed", error="no")).key
    assert not store.done("step", key)
    store.save(record("done", value=1))
    store.save(record("failed", error="again"))
    found = store.find("step", key)
    assert found is not None
    assert found.result == {"value": 1}


def test_half_written_drafts_are_invisible_and_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    import socket

    dead = tmp_path / "step" / f".{'0' * 20}.{socket.gethostname()}.999999999.ab12.tmp"
    mine = tmp_path / "step" / f".{'1' * 20}.{socket.gethostname()}.{os.getpid()}.ab12.tmp"
    for draft in (dead, mine):
        draft.mkdir(parents=True)
        (draft / "record.json").write_text("{")
    assert list(store.records("step")) == []
    store.sweep()
    assert not dead.exists()
    assert mine.exists(), "a living process may still be writing"


def test_leftovers_of_every_kind_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lease = store.claim("step", "0" * 20, "a step")
    assert lease is not None
    pid, gone = os.getpid(), 999999999
    renewal = temporary(f".{'0' * 20}.lease")
    names = {
        "step": [
            temporary("1" * 20), temporary("2" * 20).replace(".tmp", ".old.tmp"), renewal,
            temporary(f"{'3' * 20}.draft"), temporary("arrays.safetensors"),
        ],
        "surrogate": [temporary(f".{'4' * 20}.draft")],
        ".": [temporary("scratch"), temporary(".howfar-store")],
    }  # fmt: skip
    left = [tmp_path / folder / name.replace(f".{pid}.", f".{gone}.") for folder in names for name in names[folder]]
    left.append(tmp_path / "step" / f".{'5' * 20}.lease.{'0' * 32}.tmp")  # of an older version, and no lease next to it
    mine = [tmp_path / folder / name for folder in names for name in names[folder]]
    mine.append(tmp_path / "step" / f".{'0' * 20}.lease.{'0' * 32}.tmp")
    for path in (*left, *mine):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert {path.resolve() for path in store.abandoned()} == {path.resolve() for path in left}
    store.sweep()
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in mine), "a living process may still be writing"
    lease.give_back()


@pytest.mark.parametrize("damage", ["{", "[]", '{"step": 1}', "\x00"])
def test_damage_is_named_not_believed(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    key = store.save(record(), {"x": torch.zeros(3)}).key
    (tmp_path / "step" / key / "record.json").write_text(damage)
    with pytest.raises(HowfarError, match="is damaged"):
        store.find("step", key)
    (tmp_path / "step" / key / "arrays.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(HowfarError, match="is damaged"):
        store.arrays("step", key)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(HowfarError, match=r"No space left.*Free some space"):
        store.save(record(), {"x": torch.zeros(3)})
    assert list((tmp_path / "step").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HowfarError, match="--runs"):
        Store(tmp_path / "file" / "runs")


def test_text_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_text(path, "old")
    write_text(path, json.dumps({"new": "é"}))
    assert path.read_text(encoding="utf-8") == '{"new": "\\u00e9"}'
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(HowfarError, match="could not write"):
        write_text(tmp_path / "no" / "where.txt", "x")


@pytest.mark.parametrize("damage", [("0.25", "0.75"), ('"sha256":"', '"sha257":"'), ('"}', '"} ')])
def test_a_changed_record_is_not_believed(tmp_path: Path, damage: tuple[str, str]) -> None:
    store = Store(tmp_path)
    key = store.save(record(quality=0.25)).key
    path = tmp_path / "step" / key / "record.json"
    path.write_text(path.read_text().replace(*damage))
    with pytest.raises(HowfarError, match="is damaged"):
        store.find("step", key)


def test_flipped_bits_of_arrays_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.save(record(), {"x": torch.zeros(300)}).key
    path = tmp_path / "step" / key / "arrays.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(HowfarError, match="does not match its digest"):
        store.arrays("step", key)


def test_records_of_older_versions_have_no_seal_and_are_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    saved = store.save(record(quality=0.25))
    path = tmp_path / "step" / saved.key / "record.json"
    path.write_text(json.dumps(saved.__dict__))
    assert store.find("step", saved.key) == saved

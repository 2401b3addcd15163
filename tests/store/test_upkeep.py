"""Check, clear up, take in, compare: what happens to the numbers of a store."""

import json
import socket
from pathlib import Path

import pytest
import torch

from howfar.errors import HowfarError
from howfar.store import Record, Store, check, clean, differences, merge, remove


def filled(root: Path, **qualities: float) -> Store:
    store = Store(root)
    for name, quality in qualities.items():
        spec = {"protector": name}
        result = {"quality": quality, "epochs": [{"seconds": torch.rand(1).item()}]}
        store.save(Record("victim", store.key("victim", spec), spec, "done", result, {}), {"x": torch.ones(9)})
    return store


def folder(store: Store, name: str) -> Path:
    return store.root / "victim" / store.key("victim", {"protector": name})


def test_a_sound_store_has_no_findings(tmp_path: Path) -> None:
    assert list(check(filled(tmp_path, em=0.1, ops=0.2))) == []


def test_every_kind_of_damage_is_found_and_cleared_away(tmp_path: Path) -> None:
    names = ("sound", "cut", "flipped", "arrays", "empty", "moved")
    store = filled(tmp_path, **dict.fromkeys(names, 0.25))
    texts = {name: folder(store, name) / "record.json" for name in names}
    texts["cut"].write_text(texts["cut"].read_text()[:-20])
    texts["flipped"].write_text(texts["flipped"].read_text().replace("0.25", "0.65"))
    (folder(store, "arrays") / "arrays.safetensors").write_bytes(b"no")
    texts["empty"].unlink()
    folder(store, "moved").rename(store.root / "victim" / ("0" * 20))
    found = {finding.path.name for finding in check(store) if finding.harm}
    assert found == {"0" * 20, *(folder(store, name).name for name in ("cut", "flipped", "arrays", "empty"))}
    for finding in list(clean(store, damaged=True)):
        remove(finding)
    assert [record.spec["protector"] for record in store.records("victim")] == ["sound"]
    assert list(check(store)) == []


def test_clearing_up_takes_what_was_asked_for_and_no_more(tmp_path: Path) -> None:
    store = filled(tmp_path, em=0.1)
    store.save(Record("victim", "f" * 20, {}, "failed", {"error": "no"}, {}))
    dead = tmp_path / "victim" / f".{'1' * 20}.{socket.gethostname()}.999999999.ab.tmp"
    draft = store.draft("protect", "2" * 20)
    for path in (dead, draft):
        path.mkdir(parents=True)
    assert {finding.path for finding in clean(store)} == {dead}
    assert {finding.path for finding in clean(store, failed=True)} == {dead, tmp_path / "victim" / ("f" * 20)}
    assert {finding.path for finding in clean(store, drafts=True)} == {dead, draft}
    for finding in list(clean(store, arrays=True)):
        remove(finding)
    assert store.done("victim", folder(store, "em").name)
    assert not store.has_arrays("victim", folder(store, "em").name)
    assert not dead.exists()
    assert draft.exists()


def test_another_store_is_taken_in_once(tmp_path: Path) -> None:
    store, other = filled(tmp_path / "a", em=0.1), filled(tmp_path / "b", em=0.1, ops=0.2)
    assert len(merge(store, other)) == 1, "times do not count as results"
    assert len(merge(store, other)) == 0
    assert list(differences(store, other)) == []
    assert torch.equal(store.arrays("victim", folder(store, "ops").name)["x"], torch.ones(9))


def test_conflicting_records_are_named_and_nothing_is_taken(tmp_path: Path) -> None:
    store, other = filled(tmp_path / "a", em=0.1), filled(tmp_path / "b", em=0.3, ops=0.2)
    with pytest.raises(HowfarError) as caught:
        merge(store, other)
    assert str(folder(store, "em")) in str(caught.value)
    assert str(folder(other, "em")) in str(caught.value)
    assert len(list(store.records("victim"))) == 1
    apart = list(differences(store, other))
    assert sorted((a is not None, b is not None) for a, b in apart) == [(False, True), (True, True)]


def test_a_failure_is_replaced_by_the_success_of_another_store(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "a"), filled(tmp_path / "b", em=0.1)
    store.save(Record("victim", folder(other, "em").name, {"protector": "em"}, "failed", {"error": "no"}, {}))
    assert len(merge(store, other)) == 1
    assert json.loads((folder(store, "em") / "record.json").read_text())["status"] == "done"

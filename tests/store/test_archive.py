"""A store in one file: every command reads it like the store, and what was changed in it is refused."""

import hashlib
import json
import lzma
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch

from howfar.commands.common import opened
from howfar.errors import HowfarError, UsageError
from howfar.store import UNSEALED, Record, Store, archive, check, differences, finished, merge, open_store, packed
from howfar.store.archive import FORMAT, VERSION
from howfar.store.record import members_of, text_of
from howfar.store.seal import sealed, unsealed

from ..test_cli import TINY, inside


def record(value: float, step: str = "step", status: str = "done") -> Record:
    spec = {"value": value}
    return Record(step, Store.key(step, spec), spec, status, {"quality": value, "curve": [value] * 400}, {})


def filled(root: Path, *values: float) -> Store:
    store = Store(root)
    for value in values:
        store.save(record(value), {"x": torch.ones(3)})
    return store


def file(path: Path, *values: float) -> Path:
    path.write_bytes(packed(map(record, values)))
    return path


def lines_of(path: Path) -> list[bytes]:
    return lzma.decompress(path.read_bytes()).splitlines()


def written(path: Path, *lines: bytes, **head: object) -> Path:
    """Write a file of these records whose first line fits them, but for what ``head`` says."""
    body = b"".join(line + b"\n" for line in lines)
    digest = hashlib.sha256(body).hexdigest()
    about = {"format": FORMAT, "version": VERSION, "records": len(lines), "sha256": digest, **head}
    path.write_bytes(lzma.compress(json.dumps(about).encode() + b"\n" + body))
    return path


def with_members(**members: object) -> bytes:
    """Return the line of a record with other members, sealed again."""
    return sealed(json.dumps({**record(1.0).__dict__, **members}, separators=(",", ":"))).encode()


def test_the_same_records_give_the_same_bytes_in_any_order_and_come_back(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one", 0.1, 0.2, 0.3), filled(tmp_path / "other", 0.3, 0.1, 0.2)
    one.save(record(9.0, "another"))
    other.save(record(9.0, "another"))
    other.save(record(5.0, status="failed"))
    content = packed(finished(one, one.steps()))
    assert content == packed(finished(other, reversed(other.steps())))
    path = tmp_path / "runs.jsonl.xz"
    path.write_bytes(content)
    store = open_store(path, reading=True)
    assert store.place == str(path)
    assert store.steps() == ["another", "step"]
    assert list(differences(one, store)) == []
    assert [r.result["curve"] for r in store.records("step")] == [r.result["curve"] for r in one.records("step")]
    assert list(check(store)) == []
    key = record(0.1).key
    assert not store.has_arrays("step", key)
    assert packed(finished(store, store.steps())) == content


def test_records_lie_as_in_their_own_files_in_the_order_of_step_and_key(tmp_path: Path) -> None:
    store = filled(tmp_path / "runs", 0.1, 0.2, 0.3)
    (tmp_path / "file").write_bytes(packed(finished(store, ["step"])))
    head, *lines = lines_of(tmp_path / "file")
    assert json.loads(head)["records"] == 3
    assert lines == [(store.root / "step" / key / "record.json").read_bytes() for key in store.keys("step")]


def test_nothing_is_left_once_a_file_was_read(tmp_path: Path) -> None:
    store = open_store(file(tmp_path / "file", 1.0), reading=True)
    folder = store.root
    assert folder.is_dir()
    del store
    assert not folder.exists()


def test_a_file_is_only_read(tmp_path: Path) -> None:
    path = file(tmp_path / "file", 1.0)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="howfar store import"):
        open_store(path)
    store = open_store(path, reading=True)
    store.save(record(2.0))
    assert len(store.records("step")) == 1
    assert path.read_bytes() == before


def test_unpacked_it_is_a_store_that_takes_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    taken = merge(store, open_store(file(tmp_path / "file", 1.0, 2.0), reading=True))
    assert len(taken) == 2
    store.save(record(3.0))
    assert [finding.what for finding in check(Store(store.root))] == []
    assert len(Store(store.root).records("step")) == 3


def test_records_without_a_seal_are_told_apart_for_good(tmp_path: Path) -> None:
    store = filled(tmp_path / "runs", 1.0)
    path = store.root / "step" / record(1.0).key / "record.json"
    path.write_bytes(unsealed(path.read_bytes()))
    (tmp_path / "file").write_bytes(packed(finished(store, ["step"])))
    assert members_of(lines_of(tmp_path / "file")[1])["made"][UNSEALED] is True
    code, shown, _ = inside("store", "check", str(tmp_path / "file"), "--json")
    assert code == 0
    (found,) = json.loads(shown)
    assert found["path"] == f"{tmp_path / 'file'}/step/{record(1.0).key}", "not the temporary copy"


def test_what_lies_in_the_wrong_place_or_is_damaged_is_not_packed(tmp_path: Path) -> None:
    store = filled(tmp_path / "runs", 1.0, 2.0)
    first, second = store.keys("step")
    (store.root / "step" / first).rename(store.root / "step" / ("0" * 20))
    with pytest.raises(HowfarError, match=f"{'0' * 20}/record.json is damaged .it is in the place of another record"):
        list(finished(store, ["step"]))
    (store.root / "step" / ("0" * 20)).rename(store.root / "step" / first)
    path = store.root / "step" / second / "record.json"
    path.write_text(path.read_text().replace("1.0", "3.0").replace("2.0", "3.0"))
    with pytest.raises(HowfarError, match=f"{second}/record.json is damaged"):
        list(finished(store, ["step"]))


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = file(tmp_path / "file", 1.0, 2.0)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(HowfarError, match=r"damaged|not a packed store"):
            open_store(path, reading=True)


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    path = file(tmp_path / "file", 1.0, 2.0)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(HowfarError, match=r"damaged|not a packed store"):
            open_store(path, reading=True)


LINE = text_of(record(1.0)).encode()
FALSE: Mapping[str, tuple[list[bytes], dict[str, Any], str]] = {
    "too few records": ([LINE], {"records": 2}, "it holds 1 records, not 2"),
    "too many records": ([LINE], {"records": 0}, "it holds 1 records, not 0"),
    "no number": ([LINE], {"records": "1"}, "it holds 1 records, not 1"),
    "another digest": ([LINE], {"sha256": "0" * 64}, "its content does not match its digest"),
    "twice the same": ([LINE, LINE], {}, "record 2: it is out of order"),
    "no seal": ([unsealed(LINE)], {}, "record 1: it has no seal"),
    "a false seal": ([LINE.replace(b"1.0", b"2.0")], {}, "its content does not match its digest"),
    "another key": ([with_members(key="0" * 20)], {}, "its key is not the hash of its spec"),
    "another spec": ([with_members(spec={"value": 2.0})], {}, "its key is not the hash of its spec"),
    "a step that leads elsewhere": ([with_members(step="../step")], {}, "its step is not the name of a step"),
    "a hidden step": ([with_members(step=".leases")], {}, "its step is not the name of a step"),
    "a step that is none": ([with_members(step=["step"])], {}, "it is not a record"),
    "a key that leads elsewhere": ([with_members(key="../" + "0" * 17)], {}, "its key is invalid"),
    "a failure": ([with_members(status="failed")], {}, "it is not finished"),
    "no record": ([sealed('{"step":"step"}').encode()], {}, "it is not a record"),
    "no JSON": ([b"x" * 99], {}, "is damaged"),
    "deep": ([b"[" * 99999], {}, "is damaged"),
    "another version": ([LINE], {"version": 2}, "version 2 of its format"),
    "another format": ([LINE], {"format": "rows"}, "is not a packed store"),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_nobody_packed_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    lines, head, why = FALSE[name]
    path = written(tmp_path / "file", *lines, **head)
    with pytest.raises(HowfarError, match=why) as error:
        open_store(path, reading=True)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_other_files_are_no_packed_stores(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"text", LINE, lzma.compress(b"text\n"), lzma.compress(LINE, format=lzma.FORMAT_ALONE)):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is not a packed store"):
            opened(str(path))


def test_what_follows_the_end_is_noticed(tmp_path: Path) -> None:
    path = file(tmp_path / "file", 1.0)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(HowfarError, match="something follows its end"):
        open_store(path, reading=True)


def test_a_file_that_unpacks_to_too_much_is_not_unpacked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path / "file", *range(20))
    size = sum(map(len, lines_of(path)))
    for name in ("LARGEST", "LONGEST"):
        with monkeypatch.context() as patch:
            patch.setattr(archive, name, size // 40)
            with pytest.raises(HowfarError, match="unpacks to more than"):
                open_store(path, reading=True)
            with pytest.raises(HowfarError, match="Pack fewer steps"):
                packed([record(1.0)])
    head = lines_of(path)[0]
    path.write_bytes(lzma.compress(head + b"\n" + bytes(40 << 20)))
    assert path.stat().st_size < 1 << 17
    with pytest.raises(HowfarError, match="32 MiB per line"):
        open_store(path, reading=True)


def test_a_file_that_takes_much_memory_to_unpack_is_refused(tmp_path: Path) -> None:
    """Its header alone asks for a dictionary of 256 MiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 28}]
    content = lzma.decompress(packed([record(1.0)]))
    (tmp_path / "file").write_bytes(lzma.compress(content, filters=filters))
    with pytest.raises(HowfarError, match="is damaged"):
        open_store(tmp_path / "file", reading=True)


def test_a_bench_goes_on_from_a_file(tmp_path: Path) -> None:
    """Finished victims are not trained again, and a protected set is crafted again only for a new victim."""
    _, *flags = TINY
    with chdir(tmp_path):
        code, _, errors = inside("bench", *flags, "--runs", "runs")
        assert code == 0, errors
        assert inside("store", "pack", "runs", "-o", "runs.jsonl.xz", "--steps", "protect,victim")[0] == 0
        assert inside("leaderboard", "runs.jsonl.xz") == inside("leaderboard", "runs")
        assert inside("compare", "runs.jsonl.xz", "runs")[0] == 0
        for command in (
            ["report"], ["submit"], ["store", "check"], ["store", "export", "rows.csv", "--runs"],
            ["bench", *flags, "--dry-run", "--runs"],
        ):  # fmt: skip
            code, _, errors = inside(*command, "runs.jsonl.xz")
            assert code == 0, errors
        assert inside("store", "import", "runs.jsonl.xz", "--runs", "again")[0] == 0
        before = {path: path.stat().st_mtime_ns for path in Path("again").glob("*/*/record.json")}
        code, _, errors = inside("bench", *flags, "--runs", "again")
        assert code == 0, errors
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        assert not list(Path("again").glob("protect/*/arrays.safetensors")), "nothing was crafted"
        code, _, errors = inside("bench", *flags, "--runs", "again", "--defenses", "none,gray")
        assert code == 0, errors
        assert len(list(Path("again").glob("protect/*/arrays.safetensors"))) == len(Store("runs").keys("protect"))
        assert all(path.stat().st_mtime_ns == time for path, time in before.items() if "victim" in path.parts)
        assert len(Store("again").keys("victim")) == 2 * len(Store("runs").keys("victim"))


def test_packing_shows_what_it_would_write_and_names_what_is_not_there(tmp_path: Path) -> None:
    filled(tmp_path / "runs", 1.0, 2.0)
    output = tmp_path / "file.jsonl.xz"
    code, shown, _ = inside("store", "pack", str(tmp_path / "runs"), "-o", str(output), "--json", "--dry-run")
    assert code == 0
    assert json.loads(shown)["records"] == {"step": 2}
    assert not output.exists()
    code, again, _ = inside("store", "pack", str(tmp_path / "runs"), "-o", str(output), "--json")
    assert again == shown
    assert output.stat().st_size == json.loads(shown)["bytes"]
    code, _, errors = inside("store", "pack", str(tmp_path / "runs"), "-o", str(output), "--steps", "stepp")
    assert code == 2
    assert "no records of stepp" in errors


def test_records_that_lack_what_their_step_must_hold_are_refused_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.save(record(1.0, "victim"))
    code, _, errors = inside("store", "pack", str(store.root), "-o", str(tmp_path / "file"))
    assert code == 1
    assert record(1.0, "victim").key in errors.replace("\n", "")
    assert not (tmp_path / "file").exists()

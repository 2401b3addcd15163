"""A store in a bucket: the same records, one maker a step, and nothing half there."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from howfar.commands.common import opened
from howfar.errors import HowfarError, UsageError
from howfar.store import MARK, LeaseMonitor, Record, Store, absolute, check, is_url, merge, open_store
from howfar.store.objects import ObjectSlot
from howfar.store.record import RECORD
from howfar.store.remote import RemoteStore

from ..test_cli import TINY, howfar

KEY = "0" * 20


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return where a store may be, as one machine of several."""
    machine(monkeypatch, tmp_path / "one")
    return f"memory://{tmp_path.name}/runs"


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Go on as another machine, which has a copy of its own."""
    monkeypatch.setenv("HOWFAR_DATA", str(folder))


def record(value: float = 1.0, status: str = "done") -> Record:
    result = {"value": value} if status == "done" else {"error": "no"}
    return Record("step", Store.key("step", {"a": 1}), {"a": 1}, status, result, {})


def remote(url: str) -> RemoteStore:
    store = open_store(url)
    assert isinstance(store, RemoteStore)
    return store


def test_another_machine_finds_what_was_saved(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = remote(url).save(record(), {"x": torch.arange(5)})
    machine(monkeypatch, tmp_path / "two")
    store = remote(url)
    assert store.steps() == ["step"]
    assert store.find("step", saved.key) == saved
    assert store.complete("step", saved.key)
    assert torch.equal(store.arrays("step", saved.key)["x"], torch.arange(5))
    assert store.records("step") == [saved]
    assert [finding for finding in check(store) if finding.harm] == []
    assert store.find("step", KEY) is None
    assert store.records("other") == []


def test_a_failure_gives_way_and_what_is_finished_stays(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = remote(url).save(record(status="failed")).key
    machine(monkeypatch, tmp_path / "two")
    assert not remote(url).done("step", key)
    remote(url).save(record(2.0), {"x": torch.zeros(1)})
    machine(monkeypatch, tmp_path / "one")
    assert remote(url).find("step", key).result == {"value": 2.0}  # type: ignore[union-attr]
    assert remote(url).records("step")[0].result == {"value": 2.0}
    machine(monkeypatch, tmp_path / "three")
    remote(url).save(record(3.0), {"x": torch.ones(1)})
    assert remote(url).find("step", key).result == {"value": 2.0}, "who comes second takes over the first one's"  # type: ignore[union-attr]
    assert float(remote(url).arrays("step", key)["x"]) == 0.0


def test_damage_is_named_by_its_address(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = remote(url)
    key = store.save(record(), {"x": torch.zeros(3)}).key
    raw = store._files.cat_file(f"{store._prefix}/step/{key}/{RECORD}")
    store._files.pipe_file(f"{store._prefix}/step/{key}/{RECORD}", raw.replace(b"1.0", b"7.0"))
    machine(monkeypatch, tmp_path / "two")
    with pytest.raises(HowfarError, match=rf"{url}/step/{key}/record.json is damaged"):
        remote(url).find("step", key)
    assert not remote(url).done("step", key)
    store._files.pipe_file(f"{store._prefix}/step/{key}/{RECORD}", raw)
    store._files.pipe_file(store._arrays_of("step", key), b"other")
    with pytest.raises(HowfarError, match="damaged"):
        remote(url).arrays("step", key)


def test_a_lease_is_held_by_one_and_taken_over_only_when_it_is_stale(url: str) -> None:
    store = remote(url)
    lease = store.claim("step", KEY, "a step")
    assert lease is not None
    assert remote(url).claim("step", KEY, "a step") is None
    assert [claim.label for claim in remote(url).claims()] == ["a step"]
    slot, monitor = remote(url).slot("step", KEY), LeaseMonitor(seconds=0.0)
    monitor.stale(slot)
    assert not LeaseMonitor(seconds=60.0).frees(slot)
    stale = monitor.stale(slot)
    assert stale is not None
    assert slot.break_(stale)
    assert not slot.break_(stale), "of two who saw it, one broke it"
    assert store.claims() == []
    successor = remote(url).claim("step", KEY, "a step")
    assert successor is not None
    assert not slot.break_(stale), "the lease of a successor stays"
    lease.give_back()
    assert [claim.token for claim in store.claims()] == [successor.claim.token]
    successor.give_back()
    assert store.claims() == []
    assert store._files.find(f"{store._prefix}/.leases") == [], "nothing is left of leases that were given back"
    assert store.slot("step", KEY) == ObjectSlot(None, f"{store._prefix}/.leases/step/{KEY}")


def test_of_many_who_claim_at_once_one_gets_it(url: str) -> None:
    stores, got = [remote(url) for _ in range(8)], []
    start = threading.Barrier(len(stores))

    def claim(store: RemoteStore) -> None:
        start.wait()
        got.append(store.claim("step", KEY, "a step"))

    threads = [threading.Thread(target=claim, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leases = [lease for lease in got if lease is not None]
    assert len(leases) == 1
    leases[0].give_back()


def test_folders_and_urls_are_told_apart_and_copied_into_each_other(url: str, tmp_path: Path) -> None:
    folder = Store(tmp_path / "folder")
    folder.save(record(), {"x": torch.arange(3)})
    assert len(merge(remote(url), folder)) == 1
    assert len(merge(Store(tmp_path / "back"), remote(url))) == 1
    assert torch.equal(Store(tmp_path / "back").arrays("step", record().key)["x"], torch.arange(3))
    assert is_url(url)
    assert not is_url("C:/runs")
    assert absolute(url) == url
    assert Path(absolute("runs")).is_absolute()
    with pytest.raises(UsageError, match="cannot be opened"):
        open_store("nonsense://bucket/runs")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Serve a bucket of S3 on this machine."""
    pytest.importorskip("s3fs")
    server_of = pytest.importorskip("moto.server").ThreadedMotoServer
    server = server_of(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1", "HOWFAR_DATA": str(tmp_path / "one"), "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs/first"
    server.stop()


def test_two_machines_share_a_bucket_and_do_nothing_twice(bucket: str, tmp_path: Path) -> None:
    grid = [*TINY, "--seeds", "0-2", "--runs", bucket, "--json"]
    command = [sys.executable, "-m", "howfar", *grid]
    runs = [
        subprocess.Popen(
            command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "HOWFAR_DATA": str(tmp_path / name)},
        )
        for name in ("one", "two")
    ]  # fmt: skip
    outputs = [run.communicate(timeout=240) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    done = [line for _, errors in outputs for line in re.findall(r"^\S.* seed \d: \d.* s\b.*$", errors, re.MULTILINE)]
    store = open_store(bucket)
    assert len(store.records("victim")) == 6
    assert len(store.records("protect")) == 6
    assert store.claims() == []
    assert len(done) == 12, "each step was done by one of them"
    howfar(*[*grid[:-3], "--runs", str(tmp_path / "folder")], cwd=tmp_path)
    same = howfar("compare", bucket, str(tmp_path / "folder"), cwd=tmp_path)
    assert same.returncode == 0, same.stdout
    assert howfar("store", "check", bucket, cwd=tmp_path).returncode == 0


def test_a_bucket_of_other_things_is_no_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file(f"{url}/2023/summer/a.jpg", b"picture")
    assert not remote(url).recognized
    assert files.find(url) == [files._strip_protocol(f"{url}/2023/summer/a.jpg")], "looking leaves nothing behind"
    with pytest.raises(UsageError, match=f"{url} is no store"):
        opened(url)
    key = remote(url).save(record()).key
    machine(monkeypatch, tmp_path / "two")
    store = remote(url)
    assert store.recognized
    assert store.steps() == ["step"]
    assert list(check(store)) == []
    files.rm_file(f"{url}/{MARK}")
    assert remote(url).recognized, "older stores have no mark, and a record that lies where it says"
    assert remote(url).keys("step") == [key]


def test_a_follower_sees_what_others_made_and_keeps_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = remote(url).save(record(), {"x": torch.arange(5)}).key
    machine(monkeypatch, tmp_path / "two")
    follower = remote(url).follower()
    assert follower.find("step", key) is not None
    assert torch.equal(follower.arrays("step", key)["x"], torch.arange(5))
    other = Record("step", Store.key("step", {"a": 2}), {"a": 2}, "done", {}, {})
    assert follower.save(other) == other
    assert remote(url).find("step", other.key) is None


def test_what_a_killed_download_left_is_swept(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = remote(url).save(record(), {"x": torch.arange(5)}).key
    machine(monkeypatch, tmp_path / "two")
    store = remote(url)
    monkeypatch.setattr("howfar.unfinished.remove", lambda path: None)  # a killed process clears nothing up

    def killed(name: str, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store._files, "get_file", killed)
    with pytest.raises(KeyboardInterrupt):
        store.arrays("step", key)
    monkeypatch.undo()
    (left,) = store.root.rglob("*.tmp")
    left.rename(left.with_name(left.name.replace(f".{os.getpid()}.", ".999999999.")))
    store.sweep()
    assert list(store.root.rglob("*.tmp")) == []

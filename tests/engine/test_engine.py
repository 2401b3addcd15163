"""Where cells run: what dies, hangs or raises costs its own step and nothing else; nobody does a step twice."""

import os
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from howfar import engine
from howfar.engine import Event, InProcess, Pool, Processes, RunContext
from howfar.engine.data_parallel import END, DataParallel, follow, steps_of
from howfar.engine.graph import Graph
from howfar.engine.other_runs import LONGEST_SECONDS
from howfar.engine.worker import finished
from howfar.errors import HowfarError
from howfar.grid.estimate import memory
from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite
from howfar.store import LeaseMonitor, Record, Store
from howfar.training.process_group import ProcessGroup
from tests.engine import doings


def cells(seeds: str = "0-2", protectors: str = "random,ops") -> list[Experiment]:
    keys = {
        "protectors": protectors, "models": "linear", "defenses": "none", "seeds": seeds, "limit_train": 60,
        "limit_test": 30, "probe_images": 0, "train": {"epochs": 1, "precision": "float32"},
    }  # fmt: skip
    return make_suite("digits", keys).experiments()


def drive(pool: Pool, store: Store, experiments: list[Experiment]) -> list[Event]:
    todo, _ = engine.plan(experiments, store)
    try:
        return [event for event in engine.drive(pool, Graph(todo, {}), store) if event.status != "running"]
    finally:
        pool.close()


def test_long_steps_come_first_and_victims_after_their_set(tmp_path: Path) -> None:
    experiments = cells()
    todo, _ = engine.plan(experiments, Store(tmp_path))
    seconds = {step.key: 1.0 for step in todo}
    longest = next(step for step in todo if step.name == "victim" and step.experiment.seed == 2)
    seconds[longest.key] = 100.0
    graph = Graph(todo, seconds)
    order = []
    while (step := graph.next()) is not None:
        order.append(step)
        assert list(graph.over(step.key, failed=False)) == []
    assert len(order) == len(todo)
    assert not graph
    assert order[0].key == longest.needs
    assert order[1] is longest
    place = {step.key: number for number, step in enumerate(order)}
    assert all(place[step.needs] < place[step.key] for step in order if step.needs)


def test_a_fault_costs_its_own_step_and_nothing_else(tmp_path: Path) -> None:
    store, experiments = Store(tmp_path), cells("0-3", "clean")
    events = drive(Processes(RunContext(str(tmp_path), limit=15.0, work=doings.faulty), 2), store, experiments)
    ends = {event.key: event for event in events}
    assert len(ends) == len(events)
    for experiment in experiments:
        protect, victim = (ends[step.key] for step in experiment.steps())
        assert (protect.status == "failed") == (experiment.seed == 2)
        assert (victim.status == "done") == (experiment.seed == 0), "a worker's death is forgiven once"
        why = {
            0: "",
            1: "took longer than 15 s",
            2: "its protected set failed",
            3: "the worker died (signal 9)",
        }[experiment.seed]
        assert why in victim.note
        kept = store.find("victim", victim.key)
        assert kept is not None
        assert kept.status == victim.status
        assert kept.result.get("error", "") == victim.note
    assert "a plug-in's fault" in ends[experiments[2].steps()[0].key].note
    store.sweep()
    assert not store.claims()
    again = drive(InProcess(RunContext(str(tmp_path), work=doings.nothing)), store, experiments)
    assert {event.key for event in again} == {key for key, event in ends.items() if event.status == "failed"}


def test_two_runs_share_a_store_and_no_step_is_done_twice(tmp_path: Path) -> None:
    store, experiments = Store(tmp_path), cells("0-3")
    ends: list[list[Event]] = [[], []]

    def one(number: int) -> None:
        ends[number] = drive(Processes(RunContext(str(tmp_path), work=doings.counts), 1), Store(tmp_path), experiments)

    runs = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    steps = {step.key for e in experiments for step in e.steps()}
    begun = Counter(path.name.partition(".")[0] for path in (tmp_path / "begun").iterdir())
    assert set(begun) == steps
    assert set(begun.values()) == {1}
    assert all({event.key for event in end if event.status in ("done", "cached")} <= steps for end in ends)
    store.sweep()
    assert not store.claims()


def test_all_engines_keep_the_same_bytes(tmp_path: Path) -> None:
    experiments, kept = cells("0"), []
    for workers in (0, 2):
        store = Store(tmp_path / str(workers))
        events = list(engine.run(experiments, store, workers=workers, device=torch.device("cpu")))
        assert {event.status for event in events} - {"running"} == {"done"}
        kept.append({key: contents(store, step, key) for step in ("protect", "victim") for key in keys(store, step)})
    assert kept[0] == kept[1]


def keys(store: Store, step: str) -> list[str]:
    return [record.key for record in store.records(step)]


def contents(store: Store, step: str, key: str) -> tuple[Any, ...]:
    record = store.find(step, key)
    assert record is not None
    result = {**record.result, "epochs": [{**e, "seconds": 0} for e in record.result.get("epochs", [])]}
    arrays = store.root / step / key / "arrays.safetensors"
    return record.spec, result, arrays.read_bytes() if arrays.exists() else b""


def test_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    store, experiments = Store(tmp_path), cells("0", "random")
    drive(InProcess(RunContext(str(tmp_path), work=doings.nothing)), store, experiments)
    victim = experiments[0].steps()[1]
    path = tmp_path / "victim" / victim.key / "record.json"
    path.write_text(path.read_text().replace("0.5", "0.7"))
    events = drive(InProcess(RunContext(str(tmp_path), work=doings.nothing)), store, experiments)
    assert [event.key for event in events] == [victim.key]
    assert store.find("victim", victim.key).result == {"quality": 0.5}  # type: ignore[union-attr]


def test_a_lease_is_held_by_one_and_taken_over_only_when_it_is_stale(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lease = store.claim("victim", "a" * 20, "a victim")
    assert lease is not None
    assert store.claim("victim", "a" * 20, "a victim") is None
    path = store.slot("victim", "a" * 20)
    monitor = LeaseMonitor(seconds=0.0)
    monitor.stale(path)
    assert [claim.label for claim in store.claims()] == ["a victim"]
    assert LeaseMonitor(seconds=60.0).stale(path) is None
    stale = monitor.stale(path)
    assert stale is not None
    assert path.break_(stale)
    successor = store.claim("victim", "a" * 20, "a victim")
    assert successor is not None
    assert not path.break_(stale), "the lease of a successor stays"
    assert [claim.token for claim in store.claims()] == [successor.claim.token]
    lease.give_back()
    assert store.claims(), "who lost a lease cannot give back that of another"
    successor.give_back()
    store.sweep()
    assert not store.claims()


def test_the_lease_of_a_dead_process_of_this_machine_is_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lease = store.claim("victim", "a" * 20, "a victim")
    assert lease is not None
    path = tmp_path / "victim" / f".{'a' * 20}.lease"
    path.write_text(path.read_text().replace(f'"pid": {lease.claim.pid}', '"pid": 999999999'))
    store.sweep()
    assert not path.exists()


def test_an_unreadable_lease_is_somebodys_until_it_is_stale(tmp_path: Path) -> None:
    store = Store(tmp_path)
    slot, path = store.slot("victim", "a" * 20), tmp_path / "victim" / f".{'a' * 20}.lease"
    path.parent.mkdir()
    path.write_text("{")
    assert store.claim("victim", "a" * 20, "a victim") is None
    monitor = LeaseMonitor(seconds=0.0)
    monitor.stale(slot)
    stale = monitor.stale(slot)
    assert stale is not None
    assert slot.break_(stale)
    store.save(Record("victim", "a" * 20, {}, "done", {}, {}))


def test_a_lease_of_a_process_whose_number_is_used_again_is_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lease = store.claim("victim", "a" * 20, "a victim")
    assert lease is not None
    path = tmp_path / "victim" / f".{'a' * 20}.lease"
    text, process = path.read_text(), lease.claim.process
    elsewhere = "0" * 8 if process[:8] != "0" * 8 else "1" * 8
    path.write_text(text.replace(process, elsewhere + process[8:]).replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
    store.sweep()
    assert path.exists(), "a machine of the same name has processes of its own"
    if Path("/proc/self/stat").exists():
        path.write_text(text.replace(process, process[:8] + ("1" * 8 if process[8:] != "1" * 8 else "2" * 8)))
        store.sweep()
        assert not path.exists()


def test_a_step_of_another_run_is_waited_for_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where somebody sleeps or works, so the number of looks depends on no processor."""
    experiment = cells("0", "random")[0]
    protect, _ = experiment.steps()
    store, now, looks = Store(tmp_path), [0.0], [0]
    lease = store.claim("protect", protect.key, "another run")
    assert lease is not None

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 60:
            store.save(Record("protect", protect.key, {}, "done", {}, {}), {"x": torch.zeros(1)})

    def look(step: Any, store: Store) -> bool:
        looks[0] += 1
        return finished(step, store)

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep, perf_counter=lambda: now[0])
    monkeypatch.setattr("howfar.engine.in_process.time", clock)
    monkeypatch.setattr("howfar.engine.other_runs.time", clock)
    monkeypatch.setattr("howfar.engine.other_runs.finished", look)
    monkeypatch.setattr(LeaseMonitor, "frees", lambda self, slot: False)
    events = list(engine.drive(InProcess(RunContext(str(tmp_path))), Graph([protect], {}), store))
    lease.give_back()
    assert [event.status for event in events] == ["cached"]
    assert looks[0] <= 60 / LONGEST_SECONDS + 8, "it looked ever less often"


def test_a_pool_without_steps_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("howfar.engine.in_process.time.sleep", slept.append)
    assert list(InProcess(RunContext(str(tmp_path))).events(0.2)) == []
    assert list(DataParallel(RunContext(str(tmp_path)), ProcessGroup(2, 0, torch.device("cpu")), []).events(0.3)) == []
    assert slept == [0.2, 0.3]


def test_a_follower_that_alone_fails_ends_instead_of_letting_its_leader_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments = cells("0", "random")[:1]
    steps = steps_of(experiments)
    victim = next(step for step in steps if step.name == "victim")
    orders = iter([*(number for number in range(len(steps))), END] * 2)
    monkeypatch.setattr(ProcessGroup, "broadcast", lambda self, number: next(orders))
    monkeypatch.setattr("howfar.engine.data_parallel.PATIENCE", 0.0)
    monkeypatch.setattr("howfar.engine.data_parallel.POLL_SECONDS", 0.0)

    def broken(step: Any, store: Store, device: torch.device) -> Any:
        raise OSError("no such record here")

    context, store = RunContext(str(tmp_path), work=broken), Store(tmp_path)
    member = ProcessGroup(2, 1, torch.device("cpu"))
    follow(experiments, context, member)  # the leader holds no lease any more: it failed in the same way
    lease = store.claim("victim", victim.key, "the leader")
    assert lease is not None
    with pytest.raises(HowfarError, match=r"process 1 failed.*no such record here"):
        follow(experiments, context, member)
    lease.give_back()


def test_memory_is_asked_for_by_what_steps_themselves_took(tmp_path: Path) -> None:
    (experiment, *_), store = cells("0", "random"), Store(tmp_path)
    protect, victim = experiment.steps()
    for step, made in ((protect, {"step_peak_bytes": 7}), (victim, {"peak_bytes": 9})):
        store.save(Record(step.name, step.key, step.spec, "done", {}, made))
    assert memory([protect, victim], store) == {protect.key: 7}

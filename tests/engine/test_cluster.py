"""A cluster of three machines, played by this one: one is lost and one comes while it works."""

import os
from pathlib import Path
from typing import Any

import pytest

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
ray = pytest.importorskip("ray", reason="needs howfar[ray]")

from howfar import engine  # noqa: E402
from howfar.engine import RunContext  # noqa: E402
from howfar.engine.cluster import Cluster  # noqa: E402
from howfar.engine.graph import Graph  # noqa: E402
from howfar.store import Store  # noqa: E402
from tests.engine import doings  # noqa: E402
from tests.engine.test_engine import cells, contents, keys  # noqa: E402


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Any:
    from ray.cluster_utils import Cluster as Nodes

    # Workers of a cluster import the tests as well.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    found = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.mark.slow
def test_a_lost_machine_costs_nothing_and_a_new_one_helps(tmp_path: Path, nodes: Any) -> None:
    lost = nodes.add_node(num_cpus=1)
    nodes.add_node(num_cpus=1)
    store, experiments = Store(tmp_path), cells("0-4")
    todo, _ = engine.plan(experiments, store)
    pool = Cluster(RunContext(str(tmp_path), work=doings.slow), nodes.address)
    ended: list[str] = []
    try:
        for event in engine.drive(pool, Graph(todo, {}), store):
            if event.status == "running":
                continue
            assert event.status in ("done", "cached"), event.note
            ended.append(event.key)
            if len(ended) == 5:
                nodes.remove_node(lost, allow_graceful=False)
                nodes.add_node(num_cpus=1)
    finally:
        pool.close()
    assert sorted(ended) == sorted(step.key for step in todo)
    machines = {record.made["pid"] for record in store.records("victim")}
    assert len(machines) > 1


def test_ray_keeps_the_bytes_that_processes_keep(tmp_path: Path, nodes: Any) -> None:
    import torch

    experiments, kept = cells("0"), []
    for address in (None, nodes.address):
        store = Store(tmp_path / str(address is None))
        events = engine.run(experiments, store, workers=0, device=torch.device("cpu"), ray=address)
        assert {event.status for event in events} - {"running"} == {"done"}
        kept.append({key: contents(store, step, key) for step in ("protect", "victim") for key in keys(store, step)})
    assert kept[0] == kept[1]

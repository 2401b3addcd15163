"""Two processes that train one model: what one process alone would have learned."""

import itertools
import os
import socket
import subprocess
import sys

import pytest
import torch

from howfar.errors import UsageError
from howfar.store import Store
from howfar.training.process_group import ProcessGroup

pytest.importorskip("accelerate")
GRID = [
    "bench", "--dataset", "digits", "--protectors", "lsp[eps=64/255]", "--models", "lenet5,resnet8[width=4]",
    "--defenses", "none,cutout", "--seeds", "0", "--epochs", "3", "--limit-train", "301", "--limit-test", "100",
    "--set", "probe_images=20", "--set", "train.optimizer=adam", "--set", "train.lr=0.005", "--set",
    "train.batch_size=32", "--set", "train.precision=float32", "--device", "cpu", "--workers", "0",
]  # fmt: skip
LAUNCH = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port"]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    found = {}
    for name, launch in (("alone", []), ("together", [*LAUNCH, free_port()])):
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, *launch, "-m", "howfar", *GRID]
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("page: ") == 1, "one of them tells"
        found[name] = Store(folder / "runs")
    return found


def losses(store: Store, model: str, defense: str = "none") -> dict[str, list[float]]:
    return {
        record.spec["protector"]["label"]: [epoch["loss"] for epoch in record.result["epochs"]]
        for record in store.records("victim")
        if record.spec["model"]["label"] == model and record.spec["defense"]["label"] == defense
    }


def test_both_make_the_same_grid(stores: dict[str, Store]) -> None:
    alone, together = ([r.key for r in store.records("victim")] for store in stores.values())
    assert alone == together
    assert len(alone) == 8
    assert all(record.status == "done" for record in stores["together"].records("victim"))
    assert stores["together"].claims() == []


def test_without_batch_norms_the_same_is_learned(stores: dict[str, Store]) -> None:
    alone, together = (losses(store, "lenet5") for store in stores.values())
    assert alone.keys() == together.keys()
    for label, values in alone.items():
        assert values == pytest.approx(together[label], rel=1e-3), label
        assert values[-1] < 0.9 * values[0], "it learns"


def test_batch_norms_see_their_own_part_and_defenses_draw_their_own(stores: dict[str, Store]) -> None:
    for model, defense in (("resnet8[width=4]", "none"), ("lenet5", "cutout")):
        alone, together = (losses(store, model, defense) for store in stores.values())
        for label, values in alone.items():
            assert values != together[label]
            assert values == pytest.approx(together[label], rel=0.3), label


def test_every_image_is_somebodys_and_nobody_goes_without() -> None:
    teams = [ProcessGroup(3, rank, torch.device("cpu")) for rank in range(3)]
    shares = [list(range(10))[team.share(10)] for team in teams]
    assert list(itertools.chain(*shares)) == list(range(10))
    with pytest.raises(UsageError, match="Start fewer"):
        teams[0].share(2)

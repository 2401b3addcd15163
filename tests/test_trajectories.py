"""From a grid to which weights take another path."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from howfar import engine
from howfar.cli import main
from howfar.errors import HowfarError, UsageError
from howfar.grid.experiment import Experiment, TrajectoryOptions
from howfar.grid.overrides import make_suite
from howfar.probe import Trajectory
from howfar.store import Store
from howfar.store.record import ARRAYS
from howfar.tables.trajectories import divergences


def cells(orders: int = 3) -> list[Experiment]:
    suite = make_suite(
        "digits",
        {
            "protectors": "random,lsp[eps=64/255]", "models": "linear", "defenses": "none", "seeds": "0,1",
            "limit_train": 300, "limit_test": 100, "train": {"epochs": 4},
        },
    )  # fmt: skip
    return [
        replace(cell, trajectory=TrajectoryOptions(order=order))
        for cell in suite.experiments()
        for order in range(orders)
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[str]]:
    store = Store(tmp_path_factory.mktemp("runs"))
    experiments = cells()
    events = list(engine.run(experiments, store, workers=1, device=torch.device("cpu")))
    assert not [event for event in events if event.status == "failed"]
    return store, [cell.steps()[1].key for cell in experiments]


def test_a_strong_shortcut_moves_more_weights_than_noise(finished: tuple[Store, list[str]]) -> None:
    found = {entry.protector: entry for entry in divergences(*finished)}
    strong, noise = found["lsp[eps=64/255]"], found["random[eps=16/255]"]
    assert strong.parameters.value > noise.parameters.value + 0.2
    assert strong.filters.value > 0.8  # of 20: ten rows of weights, ten biases
    assert strong.layers.value == 1
    assert strong.by_layer["head.weight"].further > 2
    assert strong.by_layer["head.weight"].leaves is not None
    assert strong.seeds == 2
    assert strong.orders == 3


def test_runs_start_together_and_the_first_order_is_the_victims_own(finished: tuple[Store, list[str]]) -> None:
    store, keys = finished
    by_seed: dict[int, list[Trajectory]] = {}
    for key in keys:
        record = store.find("trajectory", key)
        assert record is not None
        assert len(record.result["moments"]) == 5
        by_seed.setdefault(record.spec["seed"], []).append(Trajectory.of(store.arrays("trajectory", key)))
    for runs in by_seed.values():
        assert all(torch.equal(run.weights()[0], runs[0].weights()[0]) for run in runs)
        assert len({run.weights()[-1].numpy().tobytes() for run in runs}) == len(runs)


def test_what_is_missing_or_too_little_is_named(finished: tuple[Store, list[str]], tmp_path: Path) -> None:
    store, keys = finished
    with pytest.raises(HowfarError, match="not in the store"):
        divergences(Store(tmp_path), keys)
    single = [cell.steps()[1].key for cell in cells(orders=1)]
    with pytest.raises(UsageError, match="orders 2 or more"):
        divergences(store, single)
    (store.root / "trajectory" / keys[0] / ARRAYS).rename(tmp_path / ARRAYS)
    try:
        with pytest.raises(HowfarError, match="not in the store"):
            divergences(store, keys)
    finally:
        (tmp_path / ARRAYS).rename(store.root / "trajectory" / keys[0] / ARRAYS)


def test_the_command_writes_tables_and_goes_on_from_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "trajectory", "--suite", "digits", "--models", "linear", "--defenses", "none", "--protectors", "lsp",
        "--seeds", "0", "--limit-train", "100", "--epochs", "2", "--orders", "2", "--runs", str(tmp_path), "--json",
    ]  # fmt: skip
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
    shown = capsys.readouterr()
    assert json.loads((tmp_path / "trajectory.json").read_text())[0]["protector"] == "lsp"
    assert "head.weight" in (tmp_path / "trajectory.md").read_text()
    assert '"by_layer"' in shown.out
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--orders", "1"])
    assert end.value.code == 2

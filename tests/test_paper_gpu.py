"""The benchmark for short visits to a GPU, by its smallest preset."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from howfar.store import open_store

ROOT = Path(__file__).parents[1]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 80), ("test", 20)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(tmp_path / "cifar10.npz", **arrays)
    return tmp_path / "cifar10.npz"


def run(images: Path, runs: Path, *more: str) -> tuple[str, list[str]]:
    """Return what a call prints, and the steps that it did."""
    call = [sys.executable, ROOT / "benchmarks" / "paper_gpu.py", "--data", images, "--runs", runs]
    done = subprocess.run(
        [*call, "--preset", "smallest", "--device", "cpu", *more], capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), [line.partition(":")[0] for line in done.stderr.splitlines() if "expected" in line]


def test_it_does_the_cells_by_worth_stops_in_time_and_goes_on(images: Path, tmp_path: Path) -> None:
    runs, output = tmp_path / "runs", tmp_path / "paper.jsonl.xz"
    message, done = run(images, runs, "--minutes", "0")
    assert (message, done) == ("20 steps left", [])
    message, done = run(images, runs, "--output", str(output))
    assert message == "all cells are done"
    victims = [step for step in done if not step.startswith("protect")]
    assert victims[:4] == [f"resnet18[width=4] on {name} / none seed 0" for name in ("clean", "random", "ops", "lsp")]
    assert {step.split(" on ")[0] for step in victims[4:8]} == {"airbench"}
    assert len(victims) == 16
    assert len(open_store(output, reading=True).records("victim")) == 16
    assert run(images, runs, "--minutes", "0") == ("all cells are done", [])

"""What the engine costs: seconds a cell that does nothing, and the speed-up of two workers on small real cells.

Cells that do nothing are claimed, run in worker processes, saved with a record and an array, and reported, as all are.
The speed-up is measured on one grid, in turns with one worker and with ``--workers``, best of ``--repeats``.
Run: ``python benchmarks/engine_overhead.py --cells 1000``.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from howfar import engine
from howfar.engine import Processes, RunContext
from howfar.engine.graph import Graph
from howfar.grid.experiment import Experiment, Step
from howfar.grid.overrides import make_suite
from howfar.protectors import Progress
from howfar.store import Record, Store


def nothing(step: Step, store: Store, device: torch.device) -> Iterator[Progress]:
    """Save a record with an array."""
    store.save(Record(step.name, step.key, step.spec, "done", {"quality": 0.5}, {}), {"x": torch.zeros(8)})
    yield Progress(1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    overhead = idle_seconds(options.cells, options.workers)
    best: dict[int, float] = {}
    for _ in range(options.repeats):
        for workers in (1, options.workers):
            best[workers] = min(best.get(workers, float("inf")), real_seconds(workers))
    for workers, seconds in best.items():
        print(f"{workers} worker(s): {seconds:.1f} s for a grid of small cells, start of the workers included")
    print(f"torch {torch.__version__}, cpu, {os.cpu_count()} cores")
    print(f"{1000 * overhead:.2f} ms a cell that does nothing, {options.workers} workers, {options.cells} cells")
    print(f"speed-up with {options.workers} workers: {best[1] / best[options.workers]:.2f}")


def idle_seconds(cells: int, workers: int) -> float:
    """Return the wall seconds a step that does nothing, from the first that ends to the last."""
    experiments = grid(f"0-{cells // 2 - 1}", protectors="clean", model="linear", epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        todo, _ = engine.plan(experiments, store)
        pool, ends = Processes(RunContext(store.place, work=nothing), workers), []
        try:
            for event in engine.drive(pool, Graph(todo, {}), store):
                if event.status != "running":
                    ends.append(time.perf_counter())
        finally:
            pool.close()
    return (ends[-1] - ends[workers]) / (len(ends) - 1 - workers)


def real_seconds(workers: int) -> float:
    """Return the wall seconds of a grid of small victims."""
    experiments = grid("0-3", protectors="random,ops", model="resnet8[width=8]", epochs=6)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for event in engine.run(experiments, Store(Path(folder)), workers=workers, device=torch.device("cpu")):
            if event.status == "failed":
                raise RuntimeError(event.note)
        return time.perf_counter() - start


def grid(seeds: str, *, protectors: str, model: str, epochs: int) -> list[Experiment]:
    keys = {
        "protectors": protectors, "models": model, "defenses": "none", "seeds": seeds, "limit_train": 1000,
        "limit_test": 100, "probe_images": 0, "train": {"epochs": epochs},
    }  # fmt: skip
    return make_suite("digits", keys).experiments()


if __name__ == "__main__":
    main()

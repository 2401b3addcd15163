"""The paper's own cells, in order of worth, in pieces of ten minutes: for whoever has a GPU for a short while.

Seven methods and six defenses against ResNet-18, ResNet-50, SENet-18 and ViT-small at full width, as published (50
epochs, batches of 256). The undefended ResNet-18 comes first, then the other networks, then the defenses. A cell begins
only if it ends in time by what cells like it took; the next call goes on where this one stopped. What is left behind is
one small file of records without images.
Run: ``python benchmarks/paper_gpu.py --data cifar10.npz --runs DIR --minutes 9 --output paper.jsonl.xz``.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from howfar import arrays, engine
from howfar.defend import DEFENSES, Chain
from howfar.errors import HowfarError
from howfar.grid.estimate import known_seconds, like
from howfar.grid.experiment import Experiment, Step
from howfar.grid.overrides import make_suite
from howfar.models import MODELS
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.steps import failed
from howfar.steps import run as run_step
from howfar.store import Store, packed, write_bytes

SAMPLE = 2048  # images of the training that tells how long a kind of cell takes
SECONDS = 10.0  # for a protector that trains nothing
SLACK = 1.15  # a cell may take so much longer than cells like it
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"suite": "paper"},
    "fast": {"suite": "paper-fast", "seeds": (0, 1, 2)},
    "smallest": {
        "suite": "paper", "protectors": ("random", "ops", "lsp"), "models": ("resnet18[width=4]", "airbench:4-4-4"),
        "defenses": ("none", "cutout"), "seeds": (0,), "held_out": 20, "probe_images": 0,
        "train": {"epochs": 2, "batch_size": 32},
    },
}  # fmt: skip


def by_worth(experiments: list[Experiment]) -> list[Experiment]:
    """Return the cells in the order in which they are wanted: seeds go round, then networks, then defenses."""
    models = list(dict.fromkeys(one.model.label for one in experiments))
    defenses = list(dict.fromkeys(one.defense.label for one in experiments))

    def rank(one: Experiment) -> tuple[bool, int, int, int]:
        model, defense = models.index(one.model.label), defenses.index(one.defense.label)
        return (bool(model and defense), one.seed, defense, model)

    return sorted(experiments, key=rank)


class Costs:
    """How long steps take: as the same kind of step took in this store, else by a short trial of it."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self.device = device
        self.known = known_seconds(("protect", "victim"), store)

    def of(self, step: Step) -> float:
        """Return the seconds that a step is expected to take."""
        kind = like(step.name, step.spec)
        if kind not in self.known:
            self.known[kind] = self._tried(step)
        return self.known[kind]

    def note(self, step: Step, seconds: float) -> None:
        """Take note of what a step took, finished or failed."""
        self.known[like(step.name, step.spec)] = seconds

    def _tried(self, step: Step) -> float:
        """Return what a trial says: passes over the images times the seconds of one over a few."""
        one, protector = step.experiment, step.experiment.protector.build()
        few = min(SAMPLE, one.counts[0])
        if step.name == "victim":
            return self._seconds_of_a_pass(one, few) * one.counts[0] / few * one.recipe.epochs
        if not protector.passes:
            return SECONDS
        surrogate = parse(str(one.protector.settings.get("surrogate", "resnet18")), MODELS, "model")
        undefended = replace(one, model=surrogate, defense=Chain.parse("none", DEFENSES))
        return SECONDS + self._seconds_of_a_pass(undefended, few) * one.counts[0] / few * protector.passes

    def _seconds_of_a_pass(self, one: Experiment, few: int) -> float:
        """Return the seconds of an epoch of a few clean images under the defense, and of nothing else."""
        short = replace(
            one, limit_train=few, protector=parse("clean", PROTECTORS, "protector"), alignment=0,
            recipe=replace(one.recipe, epochs=1), probe=replace(one.probe, images=0),
        )  # fmt: skip
        with TemporaryDirectory() as folder:
            store = Store(folder)
            for step in short.steps():
                start = time.perf_counter()
                arrays.finished(run_step(step, store, self.device))
            return time.perf_counter() - start


def steps_to_do(experiments: list[Experiment], store: Store) -> Iterator[Step]:
    """Yield what the store lacks, each protected set before the first victim that needs it."""
    begun = set[str]()
    for one in by_worth(experiments):
        protect, victim = one.steps()
        if store.done(victim.name, victim.key):
            continue
        if protect.key not in begun and not store.complete(protect.name, protect.key):
            begun.add(protect.key)
            yield protect
        yield victim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--runs", type=Path, required=True, help="store: records, and poisons that are there already")
    parser.add_argument("--output", type=Path, help="records without images, as of howfar store pack")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--limit", type=int, help="training images")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    end = time.perf_counter() + 60 * options.minutes
    limits = {"limit_train": options.limit, "limit_test": options.limit} if options.limit else {}
    experiments = make_suite("paper", PRESETS[options.preset], {"data_root": options.data, **limits}).experiments()
    store, device = Store(options.runs), engine.choose_device(options.device)
    costs, left = Costs(store, device), 0
    for step in steps_to_do(experiments, store):
        expected = SLACK * costs.of(step)
        if time.perf_counter() + expected > end or (step.needs and not store.complete("protect", step.needs)):
            left += 1
            continue
        start = time.perf_counter()
        try:
            arrays.finished(run_step(step, store, device))
        except HowfarError as error:
            failed(step, store, str(error))
        took = time.perf_counter() - start
        costs.note(step, took)
        print(f"{step.label}: {took:.0f} s, expected {expected / SLACK:.0f}", file=sys.stderr, flush=True)
    if options.output:
        records = [record for name in ("protect", "victim") for record in store.records(name)]
        write_bytes(options.output, packed(record for record in records if record.status == "done"))
    print(f"{left} steps left" if left else "all cells are done")


if __name__ == "__main__":
    main()

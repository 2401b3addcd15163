"""CPU-seconds to a clean test accuracy: the fast victim, a ResNet-18 by the same recipe, and the field's recipe.

Every row of the table is a training of its own from start to end, as a cycle of the learning rate has an end. The
field's recipe (APBench: ResNet-18 of width 64, SGD, batch 256, float32, 200 epochs, rate halved after 100) takes days
on a CPU. Its speed is measured here, in the same run; how many epochs it needs is *not* measured but given by
``--field``, and the page says from how many on the claim holds. Accuracy is that of plain images, without test-time
augmentation.
Run: ``python benchmarks/victim_speed.py --data FILE.npz`` with all of CIFAR-10; ``--quick`` takes a minute.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import Data, Splits
from howfar.data.npz import read_npz
from howfar.models import MODELS, build
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import RECIPES, Recipe, chosen, evaluate, train

TARGETS = (0.80, 0.86, 0.90)
CPU = torch.device("cpu")
FIELD = replace(RECIPES["sgd"], epochs=200, batch_size=256, schedule="step", precision="float32")
WHOLE = 50_000  # images of an epoch of the field


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        model: its label.
        epochs: of the recipe.
        seconds: CPU-seconds of the training alone.
        accuracy: on clean test images.
    """

    model: str
    epochs: int
    seconds: float
    accuracy: float


def trained(label: str, splits: Splits, recipe: Recipe) -> Row:
    """Train a network from its initial weights, and test it once."""
    task = classification()(splits.train)
    model = build(parse(label, MODELS, "model").build(), splits.train.shape, 10, generator=arrays.seeded(0, "weights"))
    start = time.process_time()
    for _ in train(model, splits.train, task, recipe):
        pass
    seconds = time.process_time() - start
    return Row(label, recipe.epochs, seconds, evaluate(model, splits.test, task)["accuracy"])


def field_speed(data: Data, *, batches: int) -> float:
    """Return how many images a CPU-second the field's recipe trains, from the median batch."""
    model = build(MODELS["resnet18"](), data.shape, 10, generator=arrays.seeded(0, "weights"))
    some = data.take(range(FIELD.batch_size))
    times = []
    for _ in range(batches + 1):
        start = time.process_time()
        list(train(model, some, classification()(data), replace(FIELD, epochs=1)))
        times.append(time.process_time() - start)
    return FIELD.batch_size / statistics.median(times[1:])  # the first one warms up


def fastest(rows: Sequence[Row], target: float) -> Row | None:
    """Return the cheapest training that reached the accuracy."""
    return min((row for row in rows if row.accuracy >= target), key=lambda row: row.seconds, default=None)


def epochs_of(text: str) -> dict[float, float]:
    """``"0.8=10,0.9=100"`` -> epochs by accuracy."""
    return {float(k): float(v) for k, _, v in (part.partition("=") for part in text.split(","))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz, best with all its images")
    parser.add_argument("--fast", nargs="*", default=["airbench:small=2,3,4,6", "airbench:medium=4,6,8,10"])
    parser.add_argument("--other", nargs="*", default=["resnet18[width=16]=4,8,16"], help="by the same recipe")
    parser.add_argument(
        "--field", type=epochs_of, default="0.80=10,0.86=30,0.90=100",
        help="epochs that the field's recipe is taken to need; 90 %% are reached once the rate is halved",
    )  # fmt: skip
    parser.add_argument("--batches", type=int, default=3, help="timed of the field's recipe")
    parser.add_argument("--quick", action="store_true", help="a few trainings of 5,000 images, to see that it works")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = read_npz(options.data, flip=True)
    if options.quick:
        splits = replace(splits, train=splits.train.take(range(5000)), test=splits.test.take(range(1000)))
        options.fast, options.other = ["airbench:small=2,4"], ["resnet18[width=8]=2"]
    speed = field_speed(splits.train, batches=options.batches)
    print(
        f"{len(splits.train)} + {len(splits.test)} images, one thread, {chosen('auto', CPU)}, torch {torch.__version__}"
    )
    print(f"the field's recipe: {speed:.1f} images/CPU-s, {WHOLE / speed:.0f} CPU-s an epoch, float32\n")
    print("| network | epochs | CPU-s | images/CPU-s | test accuracy |\n|-|-|-|-|-|", flush=True)
    groups: dict[str, list[Row]] = {"fast": [], "other": []}
    for name, rows in groups.items():
        for text in getattr(options, name):
            label, _, numbers = text.rpartition("=")
            for epochs in map(int, numbers.split(",")):
                row = trained(label, splits, replace(RECIPES["fast"], epochs=epochs))
                rows.append(row)
                rate = epochs * len(splits.train) / row.seconds
                print(f"| {label} | {epochs} | {row.seconds:.0f} | {rate:.0f} | {row.accuracy:.1%} |", flush=True)
    print()
    for target in TARGETS:
        first, second = (fastest(rows, target) for rows in groups.values())
        if first is None:
            print(f"{target:.0%}: not reached by the fast victim; give it more epochs")
            continue
        other = f"{second.model} {second.seconds:.0f} CPU-s" if second else "the other one does not reach it"
        print(f"{target:.0%}: {first.model} {first.seconds:.0f} CPU-s; {other}", end="")
        if target in options.field:
            field = options.field[target] * WHOLE / speed
            print(
                f"; the field {field:.0f} CPU-s at {options.field[target]:g} epochs: 1/{field / first.seconds:.0f}",
                end="",
            )
        print(f" (1/80 from {80 * first.seconds * speed / WHOLE:.1f} epochs of the field on)")


if __name__ == "__main__":
    main()

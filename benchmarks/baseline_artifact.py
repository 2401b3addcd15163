"""What the baseline of the released code alone does to UD under adversarial training and UEraser.

The release counts rise and fall from the mean training loss of the epoch. Under these defenses that is the loss of
other images (adversarial, strongly augmented) than those that are measured. Every victim is trained once; after each
epoch SAL is measured on the images of its loss (ours), on plain images from their own loss, and on plain images from
the training loss, as released. Run: ``python benchmarks/baseline_artifact.py --data FILE.npz``.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import Data, balanced
from howfar.data.npz import read_npz
from howfar.defend import DEFENSES, Chain, loss_inputs
from howfar.models import MODELS, build
from howfar.probe import Sharpness, sharpness
from howfar.protectors import PROTECTORS
from howfar.report.numbers import ranged
from howfar.score import unlearnable_distance
from howfar.spec import parse
from howfar.tasks import Task, classification
from howfar.training import Recipe, evaluate, train

WAYS = ("images of its loss (ours)", "plain images, own loss", "plain images, training loss (released)")
Readings = list[dict[str, Sharpness]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--model", default="resnet8[width=8]")
    parser.add_argument("--protectors", default="em,ops,random")
    parser.add_argument("--defenses", default="none,ueraser,at")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--images", type=int, default=128, help="of the probe set")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    splits = read_npz(options.data, flip=True)
    data, test = balanced(splits.train, options.train), balanced(splits.test, 1000)
    task = classification()(data)
    names = options.protectors.split(",")
    protected = {"clean": [data] * options.seeds}
    for name in names:
        protector = parse(name, PROTECTORS, "protector").build()
        seeds = [arrays.seeded(seed, "protect") for seed in range(options.seeds)]
        protected[name] = [protector.protect(data, task, generator=generator) for generator in seeds]
    print(
        f"{options.model}, {len(data)} images, {options.epochs} epochs, {options.seeds} seeds, "
        f"{options.images} probe images, torch {torch.__version__}, cpu"
    )
    print("| defense | protector | accuracy | " + " | ".join(f"UD: {way}" for way in WAYS) + " |")
    largest = 0.0
    for text in options.defenses.split(","):
        found = {name: [learned(options, text, sets[s], test, task, s) for s in range(options.seeds)]
                 for name, sets in protected.items()}  # fmt: skip
        for name in names:
            accuracy = sum(right for right, _ in found[name]) / options.seeds
            cells, values = [], []
            for way in range(len(WAYS)):
                clean, poisoned = ([ways[way] for _, ways in found[label]] for label in ("clean", name))
                distance = unlearnable_distance(clean, poisoned)
                cells.append(ranged(distance.ud))
                values.append(distance.ud.value)
            largest = max(largest, abs(values[2] - values[1]))
            print(f"| {text} | {name} | {accuracy:.3f} | {' | '.join(cells)} |", flush=True)
    print(f"the released baseline alone moves UD by up to {largest:.2f}")


def learned(
    options: argparse.Namespace, text: str, data: Data, test: Data, task: Task, seed: int
) -> tuple[float, list[Readings]]:
    """Return the accuracy of a victim and its readings in three ways."""
    defense, recipe = Chain.parse(text, DEFENSES).build(), Recipe(options.epochs, batch_size=64, crop=0, flip=False)
    probe = balanced(data, options.images)
    model = build(
        parse(options.model, MODELS, "model").build(),
        data.shape,
        task.outputs,
        generator=arrays.seeded(seed, "weights"),
    )
    ways: list[Readings] = [[], [], []]
    for epoch in train(model, data, task, recipe, around=defense.around, seed=seed):
        draws = arrays.seeded(seed, "probe", epoch.number)
        seen = loss_inputs(defense, model, task, probe, done=epoch.number / recipe.epochs, generator=draws)
        plain = sharpness(model, probe, task, mode="exact")
        shift = epoch.loss - evaluate(model, probe, task)["loss"]
        ways[0].append(sharpness(model, seen, task, mode="exact"))
        ways[1].append(plain)
        ways[2].append(dict(_shifted(plain, shift)))
    return evaluate(model, test, task)["accuracy"], ways


def _shifted(readings: dict[str, Sharpness], shift: float) -> Iterator[tuple[str, Sharpness]]:
    """Yield readings as they are when counted from a baseline that lies ``shift`` nats higher."""
    for name, reading in readings.items():
        yield name, replace(reading, rise=max(reading.rise - shift, 0.0), fall=max((reading.fall or 0.0) + shift, 0.0))


if __name__ == "__main__":
    main()

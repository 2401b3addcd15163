"""Which parts of the recipe ``fast`` help which network: each part removed alone, compared with plain SGD and AdamW.

Accuracy in % on clean test images, mean over seeds, without test-time augmentation.
Run: ``python benchmarks/recipe_parts.py --data cifar10.npz``.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import balanced
from howfar.data.npz import npz
from howfar.models import MODELS, build, fit_images
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import RECIPES, Recipe, evaluate, train

NETWORKS = "airbench:16-32-32,resnet8[width=8],senet18[width=8],mobilenetv2[width=8]"


def recipes(epochs: int) -> Iterator[tuple[str, Recipe]]:
    """Yield the recipes and their names."""
    fast = replace(RECIPES["fast"], epochs=epochs, batch_size=200)
    yield "`fast`", fast
    yield "… biases at the rate of all others", replace(fast, bias_rate=1.0)
    yield "… no label smoothing", replace(fast, smoothing=0.0)
    yield "… cosine in place of one-cycle", replace(fast, schedule="cosine")
    yield "… no weight averaging", replace(fast, average=0)
    yield "… flips at random", replace(fast, alternate=False)
    yield "… zeros in place of reflection", replace(fast, padding="zeros")
    yield "… a quarter of the learning rate", replace(fast, lr=fast.lr / 4)
    yield "… a quarter of the rate, biases as all others", replace(fast, lr=fast.lr / 4, bias_rate=1.0)
    yield "`sgd`, batch 100, lr 0.05", replace(RECIPES["sgd"], epochs=epochs, batch_size=100, lr=0.05)
    yield "`adamw`", replace(RECIPES["adamw"], epochs=epochs, batch_size=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--models", default=NETWORKS, help="separated by commas")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = npz(options.data, flip=True)
    images, test = balanced(splits.train, options.images), balanced(splits.test, 4000)
    task = classification()(images)
    networks = options.models.split(",")
    print(f"| recipe | {' | '.join(f'`{name}`' for name in networks)} |\n|-|{'-:|' * len(networks)}")
    for name, recipe in recipes(options.epochs):
        cells = []
        for network in networks:
            found, start = [], time.process_time()
            for seed in range(options.seeds):
                architecture = parse(network, MODELS, "model").build()
                model = build(architecture, images.shape, 10, generator=arrays.seeded(seed))
                fit_images(model, images)
                arrays.finished(train(model, images, task, recipe, seed=seed))
                found.append(100 * evaluate(model, test, task)["accuracy"])
            cells.append(f"{sum(found) / len(found):.1f} ({(time.process_time() - start) / len(found):.0f} s)")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Our training loop against the field's usual one and against the bare network, side by side.

Usual: a ``DataLoader`` with two workers (``--loaders``) that pads, crops and flips every image with PIL. Bare: forward
and backward on batches that lie ready in memory. All three train the same network on the same images with the same
optimizer in the same precision, in turns, so that a busy machine slows all of them down.
Run: ``python benchmarks/train_throughput.py --data FILE.npz``, or with ``--recipe fast --model airbench``.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from howfar import arrays
from howfar.data import Data
from howfar.data.npz import read_npz
from howfar.models import MODELS, build, fit_images
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import RECIPES, Recipe, chosen, train
from howfar.training.precision import autocast

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class PilImages(Dataset[tuple[torch.Tensor, int]]):
    """Images as the field's scripts hold them: PIL, augmented one at a time."""

    def __init__(self, data: Data) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.pixels]
        self.labels = data.targets["label"].tolist()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one padded, cropped, perhaps mirrored image in [0, 1]."""
        image = ImageOps.expand(self.images[index], border=4)
        left, top = np.random.default_rng().integers(0, 9, 2)
        image = image.crop((left, top, left + 32, top + 32))
        if np.random.default_rng().random() < 0.5:
            image = ImageOps.mirror(image)
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255), self.labels[index]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    with autocast("auto", DEVICE):
        loss = functional.cross_entropy(model(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def fresh(name: str, data: Data, recipe: Recipe) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = build(parse(name, MODELS, "model").build(), (3, 32, 32), 10, generator=arrays.seeded(0))
    fit_images(model, data)
    return model.to(DEVICE), recipe.optimizer_for(model, 1, recipe.batch_size)[0]


def ours(name: str, data: Data, recipe: Recipe) -> None:
    model, _ = fresh(name, data, recipe)
    for _ in train(model, data, classification()(data), recipe):
        pass


def usual(name: str, data: Data, recipe: Recipe, loader: "DataLoader[Any]") -> None:
    model, optimizer = fresh(name, data, recipe)
    model.train()
    for images, labels in loader:
        step(model, optimizer, images.to(DEVICE), labels.to(DEVICE))


def bare(name: str, data: Data, recipe: Recipe) -> None:
    model, optimizer = fresh(name, data, recipe)
    images = arrays.to_images(data.pixels[: recipe.batch_size], DEVICE)
    labels = data.targets["label"][: recipe.batch_size].to(DEVICE)
    for _ in range(len(data) // recipe.batch_size):
        step(model, optimizer, images, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--model", default="resnet18[width=16]")
    parser.add_argument("--recipe", default="sgd", choices=RECIPES)
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loaders", type=int, default=2, help="workers of the usual DataLoader")
    options = parser.parse_args()
    recipe = replace(RECIPES[options.recipe], epochs=1)
    batch = recipe.batch_size
    data = read_npz(options.data, flip=True).train.take(range(max(options.images // batch, 1) * batch))
    loader = DataLoader(PilImages(data), batch, shuffle=True, num_workers=options.loaders, persistent_workers=True)
    runs: dict[str, Callable[[], None]] = {
        "ours": lambda: ours(options.model, data, recipe),
        "usual": lambda: usual(options.model, data, recipe, loader),
        "bare": lambda: bare(options.model, data, recipe),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(options.rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    speed = {name: len(data) / statistics.median(seconds) for name, seconds in times.items()}
    print(
        f"{options.model}, {options.recipe}, batch {batch}, {chosen('auto', DEVICE)}, n = {len(data)} images, "
        f"{options.rounds} rounds, torch {torch.__version__},"
    )
    print(
        f"{DEVICE}, {torch.get_num_threads()} threads; images/s:", ", ".join(f"{k} {v:.0f}" for k, v in speed.items())
    )
    for other in ("usual", "bare"):
        ratios = [b / a for a, b in zip(times["ours"], times[other], strict=True)]
        print(f"ours ÷ {other}: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()

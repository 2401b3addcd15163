"""What probing SAL after every epoch adds to training, and how that compares with the released procedure.

Measures the throughput of training and one probe in turns, on the same network and images, and relates the probe to
an epoch of ``--epoch-images`` images. Forward-equivalents are counted, not timed: the floating-point operations of a
probe ÷ those of an image once through the network. Of the released procedure, every pass counts whole, 3 with
gradients; counted so, ours has no credit for what comes from memory.
Run: ``python benchmarks/ud_overhead.py --data FILE.npz --model resnet18[width=16]``.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from howfar import arrays
from howfar.data import balanced
from howfar.data.npz import read_npz
from howfar.grid.suite import Suite
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe import sharpness
from howfar.probe.surface import Move, Point, Surface
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import Recipe, train

FORWARD, TRAINING = 1, 3  # forward-equivalents of an image
RELEASED_PASSES = 2 * 10  # of a training and an evaluation pass each, per layer and epoch


class _Counting(Surface):
    """A surface that counts what is asked of it."""

    spent = 0

    def start(self, subset: int = 0) -> tuple[Point, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        _Counting.spent += self.count * TRAINING
        return super().start(subset)

    def at(self, moves: Sequence[Move], *, images: int | None = None) -> list[Point]:
        _Counting.spent += sum((images or self.count) * (TRAINING if move.gradient else FORWARD) for move in moves)
        return super().at(moves, images=images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--model", default="resnet18[width=16]")
    parser.add_argument("--train", type=int, default=2000, help="images of the epochs that are timed")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--epoch-images", type=int, default=50_000)
    parser.add_argument("--n", type=int, default=Suite.probe_images, help="probe images")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = balanced(read_npz(options.data, flip=True).train, options.train)
    task = classification()(data)
    architecture = parse(options.model, MODELS, "model").build()
    model = build(architecture, data.shape, task.outputs, generator=arrays.seeded(0)).to(device)
    probe = balanced(data, options.n)
    module: Any = sys.modules["howfar.probe.sharpness"]
    training, probing, spent, whole, peaks = [], [], [], [], []
    for epoch in train(model, data, task, Recipe(epochs=options.epochs)):
        module.Surface = Surface
        start = time.perf_counter()
        sharpness(model, probe, task)
        probing.append(time.perf_counter() - start)
        training.append(epoch.seconds / len(data))
        module.Surface, _Counting.spent = _Counting, 0
        sharpness(model, probe, task)
        whole.append(_Counting.spent)
        module.Surface = Surface
        image = arrays.to_images(probe.pixels[:1], device)
        spent.append(operations(partial(sharpness, model, probe, task)) / operations(partial(model, image)))
        peaks.append(cache_bytes(model, task, probe))
        print(
            f"epoch {epoch.number}: {1e3 * training[-1]:.2f} ms an image, "
            f"probe {probing[-1]:.2f} s, {spent[-1]:.0f} forwards ({whole[-1]} counted as whole passes)"
        )
    seconds, one = float(np.median(training)) * options.epoch_images, float(np.median(probing))
    layers = len(weight_names(model))
    released = layers * RELEASED_PASSES * (TRAINING + FORWARD) * options.epoch_images
    print(f"{options.model}, {layers} layers, {options.n} probe images, torch {torch.__version__}, {device}")
    print(f"kept activations: {max(peaks) / 2**20:.0f} MiB of {module.MEMORY / 2**20:.0f} MiB allowed")
    print(f"released procedure: {released / (TRAINING * options.epoch_images):.0f} times the training it measures")
    print(
        f"forward-equivalents, released ÷ ours: {released / max(spent):.0f} "
        f"({released / max(whole):.0f} with ours counted as whole passes)"
    )
    print(f"probing adds {100 * one / seconds:.1f} % to epochs of {options.epoch_images} images")


def operations(work: Callable[[], Any]) -> int:
    """Return the floating-point operations that ``work`` takes in convolutions and products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def cache_bytes(model: torch.nn.Module, task: Any, probe: Any) -> int:
    """Return the bytes of activations that a probe keeps."""
    names = set(weight_names(model))
    weights = {name: weight for name, weight in model.named_parameters() if name in names}
    with Surface(model, task, probe, weights).opened() as surface:
        surface.start()
        return sum(replay.bytes for replay in surface.kept or [])


if __name__ == "__main__":
    main()

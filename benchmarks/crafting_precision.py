"""Crafting in bf16 against float32: CPU-seconds, and what victims trained on the protected images reach.

Both are crafted from the same seeds; victims are ``airbench:small`` for 15 epochs, two for each protected set.
Run: ``python benchmarks/crafting_precision.py --data cifar10.npz``.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import Data
from howfar.data.npz import npz
from howfar.models import MODELS, build, fit_images
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.spec.syntax import split_list
from howfar.tasks import Task, classification
from howfar.training import RECIPES, evaluate, train
from howfar.training.precision import instructions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--protectors", default="tap[steps=20,epochs=10]")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = npz(options.data, flip=True)
    images, test = splits.train.take(range(options.images)), splits.test.take(range(2000))
    task = classification()(images)
    print("| protector | seed | precision | CPU-s | test accuracy, % |\n|-|-:|-|-:|-:|")
    for name in split_list(options.protectors):
        protector = parse(name, PROTECTORS, "protector").build()
        for seed in range(options.seeds):
            for precision in ("float32", "bf16"):
                flag(precision == "bf16")
                start = time.process_time()
                protected = protector.protect(images, task, generator=arrays.seeded(seed, "protect"))
                seconds = time.process_time() - start
                flag(True)
                accuracy = 100 * mean(quality(protected, test, task, draw) for draw in range(2))
                print(f"| `{name}` | {seed} | {precision} | {seconds:.1f} | {accuracy:.1f} |", flush=True)


def flag(bf16: bool) -> None:
    """Give the processor instructions for bf16, or none."""
    setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})  # noqa: B010
    instructions.cache_clear()


def quality(data: Data, test: Data, task: Task, seed: int) -> float:
    """Return what a victim reaches on clean test images."""
    model = build(MODELS["airbench"]("small"), data.shape, task.outputs, generator=arrays.seeded(seed))
    fit_images(model, data)
    recipe = replace(RECIPES["fast"], epochs=15, batch_size=100)
    arrays.finished(train(model, data, task, recipe, seed=seed))
    return evaluate(model, test, task)["accuracy"]


if __name__ == "__main__":
    main()

"""What layered images keep from a learner who rounds to two bits a value instead of cutting the others off.

``layered`` puts its stripes where the defense ``bdr`` cuts, at multiples of 64. Rounded to the nearest one, values part
midway between those. Segments of rooms of 64×64, learned as in ``across_tasks.py compressed``, tested on clean images.
Run: ``python studies/bits_elsewhere.py``.
"""

import argparse
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from across_tasks import retained

from howfar import arrays
from howfar.data import Data
from howfar.data.rooms import rooms
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.score import retention
from howfar.tasks import TASKS
from howfar.training import Recipe, evaluate, train

RECIPE = Recipe(12, batch_size=32, lr=0.05, crop=0, flip=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--protectors", default="layered")
    options = parser.parse_args()
    labels = ["clean", *options.protectors.split(",")]
    splits = rooms(size=64, train=1500, test=500, seed=2)
    task = TASKS["segment_semantic"]()(splits.train)
    found: dict[str, list[float]] = {label: [] for label in labels}
    for seed in range(options.seeds):
        for label in labels:
            data = PROTECTORS[label]().protect(splits.train, task, generator=arrays.seeded(seed, "noise"))
            model = build(
                MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(seed, "weights")
            )
            list(train(model, rounded(data), task, RECIPE, seed=seed))
            found[label].append(evaluate(model, splits.test, task)[task.metric])
            print(f"{label} seed {seed}: mIoU {100 * found[label][-1]:.1f} %", file=sys.stderr, flush=True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.seeds} seeds")
    for label in labels:
        kept = retention(found["clean"], found[label], chance=task.chance)
        print(f"{label}: mIoU {100 * np.mean(found[label]):.1f} %, retained {retained(kept)} %")


def rounded(data: Data) -> Data:
    """Return the images with every value at the nearest multiple of 64 below 256."""
    return data.with_pixels((data.pixels.short() + 32).clamp_(max=255).bitwise_and_(0xC0).to(torch.uint8))


if __name__ == "__main__":
    main()

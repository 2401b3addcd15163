"""What recording learning alignment after every epoch adds to training: CPU-seconds side by side in one run.

An epoch of ``--images`` images is timed and scaled to ``--epoch-images``; alignment is the median of five calls.
Run: ``python benchmarks/alignment_cost.py --data FILE.npz``.
"""

import argparse
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import alignment, arrays
from howfar.data import balanced
from howfar.data.npz import read_npz
from howfar.grid.suite import Suite
from howfar.models import MODELS, build
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import recipe_for, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--model", default="airbench:small")
    parser.add_argument("--images", type=int, default=5000, help="images of the epoch that is timed")
    parser.add_argument("--epoch-images", type=int, default=45_000)
    parser.add_argument("--n", type=int, default=Suite.alignment_images, help="images of the alignment")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = balanced(read_npz(options.data, flip=True).train, options.images)
    task, spec = classification()(data), parse(options.model, MODELS, "model")
    model = build(spec.build(), data.shape, task.outputs, generator=arrays.seeded(0))
    start = time.process_time()
    for _ in train(model, data, task, replace(recipe_for(spec.name), epochs=1)):
        pass
    epoch = (time.process_time() - start) * options.epoch_images / len(data)
    part = balanced(data, options.n)
    inverted, seconds = part.with_pixels(255 - part.pixels), []
    for _ in range(6):
        start = time.process_time()
        alignment(model, part, inverted, task)
        seconds.append(time.process_time() - start)
    once = statistics.median(seconds[1:])  # the first one warms up
    print(f"{options.model}, torch {torch.__version__}, one thread")
    print(
        f"epoch of {options.epoch_images} images {epoch:.1f} CPU-s, alignment on {options.n} {once:.2f} CPU-s", end=""
    )
    print(f": {100 * once / epoch:.1f} %")


if __name__ == "__main__":
    main()

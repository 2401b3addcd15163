"""What every defense costs, in epochs of plain training, side by side in one run.

Plain and defended epochs of the same network on the same images take turns; each counts with its fastest repetition, so
that a busy machine slows down both. What a defense does once (to the images, before or after training) is listed apart.
UEraser is measured in its first quarter, where it compares views; ``ueraser:lite`` is the rest.
Run: ``python benchmarks/defense_cost.py --data FILE.npz``.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import Data, held_back
from howfar.data.npz import read_npz
from howfar.defend import DEFENSES, Chain, Defense, Learner
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import Task, classification
from howfar.training import Around, Recipe, train, unchanged

IN_EVERY_BATCH = ("cutout", "cutmix", "mixup", "randaugment", "coin", "sharpen-dct", "jpeg")  # without gradients
NEEDS_OTHERS = ("diffusion-purify", "fine-tune", "transfer")  # a checkpoint, other data, another task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--n", type=int, default=1024, help="images an epoch")
    parser.add_argument("--epochs", type=int, default=10, help="of the training that one-time costs are spread over")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data, clean, _ = held_back(read_npz(options.data, flip=True).train, options.n, 1000)
    task, recipe = classification()(data), Recipe(epochs=1, batch_size=64, crop=0, flip=False)
    learner = Learner(task, recipe, 0, device, clean, parse("lsp", PROTECTORS, "protector").build())
    print(f"{options.model}, {len(data)} images an epoch, {options.threads} thread(s), torch {torch.__version__}")
    print("| defense | an epoch, ÷ plain | once, in plain epochs |\n|-|-|-|")
    worst = 0.0
    for name in (*(name for name in DEFENSES if name not in NEEDS_OTHERS), "ueraser:lite"):
        defense = Chain.parse(name, DEFENSES).build()
        plain, defended = [], []
        for _ in range(options.repeats):
            plain.append(epoch(options.model, task, data, recipe, unchanged, device))
            defended.append(epoch(options.model, task, data, recipe, defense.around, device))
        ratio = min(defended) / min(plain)
        once = seconds_once(defense, options.model, task, data, learner) / min(plain)
        print(f"| {name} | {ratio:.2f} | {once:.1f} |", flush=True)
        if name in IN_EVERY_BATCH:
            worst = max(worst, ratio + once / options.epochs - 1)
    print(f"defenses without gradients add at most {100 * worst:.0f} % to {options.epochs} epochs")


def epoch(model: str, task: Task, data: Data, recipe: Recipe, around: Around, device: torch.device) -> float:
    """Return the wall seconds of one epoch."""
    network = build(parse(model, MODELS, "model").build(), data.shape, task.outputs, generator=arrays.seeded(0))
    return next(train(network.to(device), data, task, recipe, around=around)).seconds


def seconds_once(defense: Defense, model: str, task: Task, data: Data, learner: Learner) -> float:
    """Return the wall seconds of what a defense does once."""
    network = build(parse(model, MODELS, "model").build(), data.shape, task.outputs, generator=arrays.seeded(0))
    network.to(learner.device)
    start = time.perf_counter()
    purified = defense.purify(data, learner)
    defense.before(network, purified, learner)
    defense.after(network, purified, learner)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

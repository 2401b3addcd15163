"""Does lowering SAL make data unlearnable, and does raising it bring learning back?

SAL is moved directly, by what the learner minimises: L + strength × (L at the raised weights − L), every layer moved
along its gradient by 5 % of its norm, with a positive strength to lower SAL (as sharpness-aware minimisation does) and
a negative one to raise it; and indirectly, by label smoothing and by ten times the weight decay. All of them on clean
and on protected images, three seeds. Finished cells are kept in ``--runs``.
Run: ``python studies/sal_causality.py --data FILE.npz``.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from drawn import code, study, table
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from howfar import arrays
from howfar.data import Data, balanced
from howfar.data.npz import read_npz
from howfar.models import MODELS, build
from howfar.models.build import weights_of
from howfar.probe import sharpness
from howfar.protectors import PROTECTORS
from howfar.report.numbers import plus_minus, ranged
from howfar.score.intervals import mean_estimate
from howfar.spec import parse
from howfar.store import Record, Store
from howfar.store.clock import circumstances
from howfar.tasks import Task, classification
from howfar.training import Around, Loss, Recipe, evaluate, train, unchanged

RADIUS = 0.05
STEP = "causality"  # of its records
PROTECTED = ("clean", "em", "ops", "lsp[eps=8/255]")


def sharpened(strength: float) -> Around:
    """Return training that lowers SAL for a positive strength, and raises it for a negative one."""

    def around(loss: Loss, done: float) -> Loss:
        def moved(task: Task, model: nn.Module, images: Tensor, target: Any, generator: Generator) -> Tensor:
            plain = loss(task, model, images, target, generator)
            weights = weights_of(model)
            slopes = torch.autograd.grad(plain.mean(), list(weights.values()), retain_graph=True)
            raised = {
                name: weight + RADIUS * weight.detach().norm() * slope / slope.norm().clamp_min(1e-12)
                for (name, weight), slope in zip(weights.items(), slopes, strict=True)
            }
            there = task.loss(functional_call(model, raised, (images,)), target)
            return plain + strength * (there - plain)

        return moved

    return around


def smoothed(loss: Loss, done: float) -> Loss:
    """Return training with a tenth of every label spread over all classes."""

    def moved(task: Task, model: nn.Module, images: Tensor, target: Any, generator: Generator) -> Tensor:
        return functional.cross_entropy(model(images), target, reduction="none", label_smoothing=0.1)

    return moved


PLAIN = "plain"
WAYS: dict[str, tuple[Around, Callable[[Recipe], Recipe]]] = {
    PLAIN: (unchanged, lambda recipe: recipe),
    "SAL lowered (strength 0.3)": (sharpened(0.3), lambda recipe: recipe),
    "SAL raised (strength -0.05)": (sharpened(-0.05), lambda recipe: recipe),
    "label smoothing 0.1": (smoothed, lambda recipe: recipe),
    "weight decay × 10": (unchanged, lambda recipe: replace(recipe, weight_decay=10 * recipe.weight_decay)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--runs", type=Path, default=Path("runs/causality"))
    parser.add_argument("--model", default="resnet8[width=8]")
    parser.add_argument("--protectors", default=",".join(PROTECTED))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--images", type=int, default=256, help="that SAL is measured on, of the training set")
    options = parser.parse_args()
    splits = read_npz(options.data, flip=False)
    data, test = balanced(splits.train, options.train), balanced(splits.test, 2000)
    task = classification()(data)
    store = Store(options.runs)
    for seed in range(options.seeds):
        for label in options.protectors.split(","):
            learned: Data | None = None
            for way in WAYS:
                spec = {"protector": label, "way": way, "seed": seed}
                key = store.key(STEP, spec)
                if not store.done(STEP, key):
                    if learned is None:
                        maker = parse(label, PROTECTORS, "protector").build()
                        learned = maker.protect(data, task, generator=arrays.seeded(seed, "protect"))
                    cell = measured(options, way, learned, test, task, seed)
                    store.save(Record(STEP, key, spec, "done", cell, circumstances()))
    print(
        f"{options.model}, {options.train} images, {options.epochs} epochs, {options.seeds} seeds, "
        f"SAL on {options.images} training images, torch {torch.__version__}"
    )
    print(effect(store))


def tables() -> dict[str, str]:
    """Return the table of docs/landscape.md, from the records of the study."""
    return {"landscape: causality": effect(study("causality"))}


def effect(store: Store) -> str:
    """Return SAL and accuracy of every way of training, and those of plain training with the same seeds."""
    columns = ["images", "training", "SAL, nats", "÷ plain", "accuracy, %", "change, points"]
    lines = []
    found: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for record in sorted(store.records(STEP), key=lambda record: _place(record.spec)):
        found.setdefault((record.spec["protector"], record.spec["way"]), []).append(record.result)
    for (label, way), cells in found.items():
        plain = found[label, PLAIN]
        ratios = [np.log(one["sal"] / other["sal"]) for one, other in zip(cells, plain, strict=True)]
        changes = [100 * (one["accuracy"] - other["accuracy"]) for one, other in zip(cells, plain, strict=True)]
        sal, accuracy = (float(np.mean([cell[kind] for cell in cells])) for kind in ("sal", "accuracy"))
        shown = "" if way == PLAIN else ranged(mean_estimate(ratios).mapped(math.exp, "log t"))
        change = "" if way == PLAIN else plus_minus(mean_estimate(changes), "+.1f", width=".1f")
        lines.append(
            [label if label == "clean" else code(label), way, f"{sal:.3f}", shown, f"{100 * accuracy:.1f}", change]
        )
    return table(columns, lines)


def _place(spec: Mapping[str, Any]) -> tuple[int, int, int]:
    return PROTECTED.index(spec["protector"]), list(WAYS).index(spec["way"]), spec["seed"]


def measured(
    options: argparse.Namespace, way: str, data: Data, test: Data, task: Task, seed: int
) -> dict[str, float]:  # fmt: skip
    """Train one network and return its mean SAL over layers, and its accuracy on clean test images."""
    around, change = WAYS[way]
    recipe = change(Recipe(epochs=options.epochs, batch_size=32, lr=0.05, crop=0, flip=False))
    architecture = parse(options.model, MODELS, "model").build()
    model = build(architecture, data.shape, task.outputs, generator=arrays.seeded(seed, "weights"))
    list(train(model, data, task, recipe, around=around, seed=seed))
    readings = sharpness(model, balanced(data, options.images), task, radius=RADIUS)
    return {
        "sal": float(np.mean([reading.sal for reading in readings.values()])),
        "accuracy": evaluate(model, test, task)["accuracy"],
        "fitted": evaluate(model, data, task)["accuracy"],
        "loss": evaluate(model, data, task)["loss"],
    }


if __name__ == "__main__":
    main()

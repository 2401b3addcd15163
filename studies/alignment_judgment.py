"""The judgment of docs/alignment.md: its victims, line by line. ``judgment.py`` answers the lines.

Finished victims stay in the store, so that the script goes on where it stopped.
Run: ``python studies/alignment_judgment.py --data cifar10.npz --runs DIR [--lines base,dose]``. The line ``data`` also
needs ``--cifar100 FILE`` (as .npz with coarse labels) and ``--photos FOLDER`` (one subfolder per class).
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import placebos
import steered
from drawn import run

from howfar import engine
from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite
from howfar.grid.presets import SUITES
from howfar.store import Store

METHODS = ("random", "random:class", "ops", "lsp", "ar", "pil", "cuda", "em:class")
WITH_EPS = ("random:class", "lsp", "pil", "em:class", "stripes", "carriers")
WITH_SHARE = ("ops", "lsp", "ar", "pil", "cuda", "em:class")
LEVELS, SHARES = (2, 4, 8, 16), (0.25, 0.5, 0.75, 1.0)
SMALL: dict[str, Any] = {
    "suite": "standard", "dataset": "cifar10", "protectors": METHODS, "defenses": ("none",),
    "models": ("airbench:16-32-32",), "limit_train": 10_000, "limit_test": 4000, "held_out": 1000,
    "probe_images": 64, "train": {"epochs": 6, "batch_size": 200},
}  # fmt: skip
ROOMS = "rooms[size=32,train=4000,test=1000]"
SGD: dict[str, Any] = {"recipe": "sgd", "train": {"epochs": 8, "batch_size": 100, "lr": 0.05}}
STEERED = (
    *(f"steered[weight={weight}]" for weight in (0, 10, 100)),
    *(f"steered[goal=lower,weight={weight}]" for weight in (1, 10)),
)
PLAIN = {"crop": 0, "flip": False}


def both(task: str) -> dict[str, tuple[str]]:
    """Return keys of a suite that craft against a task and train on it."""
    return {"source_tasks": (task,), "tasks": (task,)}


LINES: dict[str, tuple[dict[str, Any], ...]] = {
    "base": ({},),
    "placebos": ({"protectors": [f"placebo[change={name}]" for name in placebos.CHANGES]},),
    "dose": (
        {"protectors": [f"{name}[eps={level}/255]" for name in WITH_EPS for level in LEVELS]},
        {"protectors": [f"{name}[share={share}]" if share < 1 else name for name in WITH_SHARE for share in SHARES]},
    ),
    "defenses": ({"defenses": ("jpeg", "gray", "cutout", "mixup")},),
    "recipes": (
        {"train": {**SMALL["train"], **PLAIN}},
        {"recipe": "adamw", "train": {"epochs": 6, "batch_size": 100}},
        SGD,
        {"recipe": "sgd", "train": {**SGD["train"], **PLAIN}},
    ),
    "victims": (
        {**SGD, "models": ("resnet8[width=8]", "lenet5", "senet18[width=8]")},
        {**SGD, "models": ("lenet5",), "train": {**SGD["train"], "epochs": 24}},  # 33 % after eight epochs
    ),
    "steered": ({"protectors": STEERED},),
    "ueraser": ({"defenses": ("ueraser",)},),  # apart: each of its victims takes six times as long
    "data": (
        {"dataset": "cifar100", **both("classification[target=coarse]"), "train": {**SMALL["train"], "epochs": 20}},
        {"dataset": "photos", "train": {"epochs": 40, "batch_size": 100}},
        {"dataset": ROOMS, **both("class_scene"), "train": {**SMALL["train"], "epochs": 16}},
    ),
    "tasks": ({"suite": "crosstask"},),
}  # fmt: skip


def experiments(lines: list[str], seeds: str, places: Mapping[str, Path | None]) -> Iterator[Experiment]:
    """Yield the cells of these lines, seed by seed, so that all rows of a line grow together.

    Args:
        lines: keys of ``LINES``.
        seeds: such as ``0-2``.
        places: of ``cifar10``, ``cifar100`` and ``photos``; a data set without a place is left out.
    """
    for line in lines:
        found = [one for over in LINES[line] for one in cells(over, seeds, places)]
        yield from sorted(found, key=lambda one: one.seed)


def cells(over: Mapping[str, Any], seeds: str, places: Mapping[str, Path | None]) -> list[Experiment]:
    """Return the cells of one part of a line."""
    base: dict[str, Any] = {} if "suite" in over else SMALL
    suite = over.get("suite", "standard")
    name = {**SUITES[suite], **base, **over}["dataset"]
    if name in places and places[name] is None:
        return []
    where: dict[str, dict[str, Any]] = {
        "cifar10": {"data_root": places["cifar10"]},
        "cifar100": {"dataset": f"npz:{places['cifar100']}"},
        "photos": {"dataset": f"folder:{places['photos']},size=32"},
    }
    return make_suite(suite, base, over, {"seeds": seeds, **where.get(name, {})}).experiments()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--cifar100", type=Path, help="CIFAR-100 as .npz with coarse labels")
    parser.add_argument("--photos", type=Path, help="photographs, one subfolder per class")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--lines", default=",".join(LINES))
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--workers", type=int, default=0, help="must be 0 for the lines placebos and steered")
    options = parser.parse_args()
    places = {"cifar10": options.data, "cifar100": options.cifar100, "photos": options.photos}
    placebos.register()
    steered.register()
    for line in options.lines.split(","):
        found = list(experiments([line], options.seeds, places))
        run(found, Store(options.runs), device=engine.choose_device("auto"), workers=options.workers)


if __name__ == "__main__":
    main()

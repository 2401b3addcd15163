"""Seconds and agreement of the three modes of SAL, side by side, on clean and poisoned models early and late.

Trains the model on clean, LSP and OPS images; at an early and a late epoch runs ``reference``, ``exact``, one-step
``fast`` and default ``fast`` on the same probe images, in turns. ``exact`` runs ``reference`` too, for one of its
starts. Seconds are of the processor, not of the clock, so that other programs on the machine do not count; on a GPU of
the clock.
Run: ``python benchmarks/sal_speed.py --data FILE.npz --model resnet8 --n 512``.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from scipy.stats import spearmanr

from howfar import arrays
from howfar.data import balanced
from howfar.data.npz import read_npz
from howfar.models import MODELS, build
from howfar.probe import Sharpness, sharpness
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import Recipe, train

MODES: dict[str, dict[str, Any]] = {
    "reference": {"mode": "reference"},
    "exact": {"mode": "exact"},
    "fast (1 step)": {"mode": "fast", "steps": 1},
    "fast": {"mode": "fast"},
}
LEAST = 1e-3  # nats; below it, both are rounding
Readings = dict[str, dict[str, Sharpness]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lsp", default="lsp", help="e.g. lsp[eps=8/255]")
    parser.add_argument("--recipe", type=json.loads, default={}, help="JSON, as in a suite's train")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    train_set = balanced(read_npz(options.data, flip=True).train, options.train)
    task = classification()(train_set)
    seconds: dict[str, list[float]] = {name: [] for name in MODES}
    agreement: dict[str, list[tuple[float, float]]] = {name: [] for name in MODES}
    shortfalls: list[float] = []
    for protector in ("clean", options.lsp, "ops"):
        maker = parse(protector, PROTECTORS, "protector").build()
        data = maker.protect(train_set, task, generator=arrays.seeded(0, "protect"))
        model = build(parse(options.model, MODELS, "model").build(), data.shape, 10, generator=arrays.seeded(0))
        model.to(device)
        probe = balanced(data, options.n)
        for epoch in train(model, data, task, Recipe(epochs=options.epochs, **options.recipe)):
            if epoch.number not in (2, options.epochs):
                continue
            readings: Readings = {}
            for name, settings in MODES.items():
                start = clock()
                readings[name] = sharpness(model, probe, task, **settings)
                seconds[name].append(clock() - start)
            compare(f"{protector}, epoch {epoch.number}", readings, agreement, shortfalls)
    print(
        f"{options.model}, {options.n} probe images, torch {torch.__version__}, {device}, "
        f"{torch.get_num_threads()} threads"
    )
    total = {name: sum(values) for name, values in seconds.items()}
    for name in MODES:
        ranks, deviation = [r for r, _ in agreement[name]], np.median([d for _, d in agreement[name]])
        print(
            f"{name:>14}: {total[name]:7.2f} s, {total['reference'] / total[name]:6.1f} × faster than reference; "
            f"against exact: Spearman median {np.median(ranks):.3f}, least {min(ranks):.3f}, "
            f"median deviation {100 * deviation:.1f} %"
        )
    worst = 100 * max(shortfalls)
    print(
        f"exact below reference by at most {worst:.2f} % (rise or fall, where the reference's exceeds {LEAST:g} nats)"
    )


def compare(
    where: str, readings: Readings, agreement: dict[str, list[tuple[float, float]]], shortfalls: list[float]
) -> None:
    exact = np.array([reading.sal for reading in readings["exact"].values()])
    for name, found in readings.items():
        sal = np.array([reading.sal for reading in found.values()])
        rank, deviation = float(spearmanr(sal, exact)[0]), float(np.median(np.abs(sal / exact - 1)))
        agreement[name].append((rank, deviation))
        print(f"{where:>16} {name:>14}: Spearman {rank:.3f}, median deviation {100 * deviation:.1f} %")
    for side in ("rise", "fall"):
        ours = np.array([getattr(reading, side) or 0.0 for reading in readings["exact"].values()])
        theirs = np.array([getattr(reading, side) or 0.0 for reading in readings["reference"].values()])
        large = theirs > LEAST
        if large.any():
            shortfalls.append(float((1 - ours[large] / theirs[large]).max()))
            print(f"{where:>16} {side}: exact ÷ reference from {(ours[large] / theirs[large]).min():.3f}")


if __name__ == "__main__":
    main()

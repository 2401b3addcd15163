"""Time the protectors without a surrogate on 50,000 images, EM's network share, and memory against the data.

Images are random, as their content changes no cost. Every figure of memory comes from a process of its own.
Run: ``python benchmarks/protector_speed.py --n 50000``.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import Data
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.protectors.em import ErrorMinimizing
from howfar.spec import parse
from howfar.tasks import classification

LIMITS = {"ar": 15, "ops": 5, "cuda": 10, "lsp": 10, "pil": 300, "random": 10}  # seconds on two cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--em", type=int, default=2000, help="images for EM")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(anonymous_growth(options.memory, options.n))
        return
    data = images(options.n)
    task = classification()(data)
    print(f"{options.n} images of 3×32×32, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, limit in LIMITS.items():
        start = time.perf_counter()
        PROTECTORS[name]().protect(data, task, generator=arrays.seeded(0))
        print(f"{name:>8}: {time.perf_counter() - start:6.1f} s (wanted: {limit} s)")
    for name in ("ar", "ops", "cuda", "lsp", "pil"):
        small, large = (growth(name, count) for count in (options.n // 10, options.n))
        print(f"{name:>8}: memory of its own {small:.0f} MiB at {options.n // 10} images, {large:.0f} MiB at ten times")
    print(f"EM: {100 * em_share(options.em):.0f} % of the time in forward and backward passes (wanted: 90 %)")


def images(count: int) -> Data:
    pixels = arrays.empty_pixels((count, 3, 32, 32))
    generator = arrays.seeded(0)
    for part in arrays.chunks(count, 10_000):
        pixels[part] = torch.randint(256, pixels[part].shape, generator=generator, dtype=torch.uint8)
    return Data(pixels, {"label": torch.arange(count) % 10}, torch.arange(count))


def growth(name: str, count: int) -> float:
    command = [sys.executable, __file__, "--memory", name, "--n", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def anonymous_growth(name: str, count: int) -> float:
    """Return by how many MiB the memory that is no mapped file grows while a set on disk is protected."""
    arrays.IN_MEMORY_BYTES = 0  # every set lives in a mapped file
    data = images(count)
    task = classification()(data)
    before = peak = resident()
    for _ in parse(name, PROTECTORS, "protector").build().progress(data, task, generator=arrays.seeded(0)):
        peak = max(peak, resident())
    return (peak - before) / 2**20


def resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def em_share(count: int) -> float:
    """Return the time of bare forward and backward passes ÷ the time of EM that makes as many."""
    data = images(count)
    task = classification()(data)
    method = ErrorMinimizing(rounds=2, stop_error=0.0)
    model = build(parse(method.surrogate, MODELS, "model").build(), data.shape, 10, generator=arrays.seeded(0))
    batches = [arrays.to_images(part, torch.device("cpu")) for part in data.pixels.split(method.batch_size)]
    labels = data.targets["label"].split(method.batch_size)
    shares = []
    for _ in range(3):
        start = time.perf_counter()
        method.protect(data, task, generator=arrays.seeded(0))
        whole, start = time.perf_counter() - start, time.perf_counter()
        for _ in range(method.rounds):
            model.train()
            for batch, label in list(zip(batches, labels, strict=True))[: method.train_steps]:
                task.loss(model(batch), label).mean().backward()
            model.eval()
            for batch, label in zip(batches, labels, strict=True):
                for _ in range(20):
                    batch.requires_grad_()
                    torch.autograd.grad(task.loss(model(batch), label).sum(), batch)
                    batch.requires_grad_(False)
                with torch.no_grad():
                    model(batch)
        shares.append((time.perf_counter() - start) / whole)
    return sorted(shares)[1]


if __name__ == "__main__":
    main()

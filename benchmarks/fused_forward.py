"""Forward passes of a network whose weights change between them: plain, fused as landscapes use it, compiled, in bf16.

The ways take turns over the same batches on one core; a ratio above 1 is faster than plain. Compiling needs a C++
compiler. Run: ``python benchmarks/fused_forward.py``.
"""

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.models import MODELS, build
from howfar.models.build import channels_last
from howfar.probe.fuse import fused
from howfar.spec import parse

NETWORKS = ("lenet5", "resnet8", "resnet18[width=16]", "airbench:small")


def ways(model: nn.Module, images: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    def half(batch: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            scores: Tensor = model(batch)
        return scores.float()

    return {
        "plain": model, "fused": fused(model, images[:8]), "torch.compile": torch.compile(copy.deepcopy(model)),
        "bf16": half,
    }  # fmt: skip


@torch.no_grad()
def measured(name: str, rounds: int) -> None:
    shape = (3, 32, 32)
    model = build(parse(name, MODELS, "model").build(), shape, 10, generator=arrays.seeded(0)).eval()
    channels_last(model.requires_grad_(False))
    batches = torch.rand(512, *shape, generator=arrays.seeded(0)).to(memory_format=torch.channels_last).split(128)
    each = ways(model, batches[0])
    seconds: dict[str, list[float]] = {way: [] for way in each}
    outputs = {way: torch.cat([call(batch) for batch in batches]) for way, call in each.items()}
    for _ in range(rounds):
        for way, call in each.items():
            start = time.process_time()
            for batch in batches:
                call(batch)
            seconds[way].append(time.process_time() - start)
    for way, found in seconds.items():
        ratio = statistics.median(plain / this for plain, this in zip(seconds["plain"], found, strict=True))
        gap = float((outputs[way] - outputs["plain"]).abs().max() / outputs["plain"].abs().max())
        print(f"| {name} | {way} | {1e3 * statistics.median(found):.0f} | {ratio:.2f} | {gap:.0e} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"n = 512 images, {options.rounds} rounds, torch {torch.__version__}, 1 thread")
    print("| network | way | CPU-ms | plain ÷ this | largest difference ÷ largest score |\n| - | - | -: | -: | -: |")
    for name in NETWORKS:
        measured(name, options.rounds)


if __name__ == "__main__":
    main()

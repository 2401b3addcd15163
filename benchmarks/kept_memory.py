"""How much faster victims train if their process keeps freed memory, as the engine's workers do.

Both ways train the same batches, in turns, each in a process of its own with one thread; each counts with its faster
round. Run: ``python benchmarks/kept_memory.py``.
"""

import argparse
import os
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

BATCHES = """
import resource, sys, time
import torch
from howfar import MODELS, build
from howfar.engine.memory import keep_freed
size, batches, keep = map(int, sys.argv[1:])
assert not keep or keep_freed()
torch.set_num_threads(1)
model = build(MODELS["resnet8"](width=8), (3, size, size), 10, generator=torch.Generator().manual_seed(0))
model = model.to(memory_format=torch.channels_last)
images = torch.rand(32, 3, size, size).to(memory_format=torch.channels_last)
for batch in range(batches + 2):
    if batch == 2:
        start = time.perf_counter()
    model.zero_grad()
    model(images).logsumexp(1).mean().backward()
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="32,64,224")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for size in map(int, options.sizes.split(",")):
        batches = max(round(8 * (224 / size) ** 2), 8)
        found = [[trained(size, batches, keep=keep) for keep in (False, True)] for _ in range(options.rounds)]
        plain, kept = ([rounds[way] for rounds in found] for way in (0, 1))
        ratio = min(seconds for seconds, _ in plain) / min(seconds for seconds, _ in kept)
        memory = max(peak for _, peak in kept) / max(peak for _, peak in plain)
        print(f"{size}×{size}: {ratio:.2f} times as fast, with {memory:.2f} times the memory")


def trained(size: int, batches: int, *, keep: bool) -> tuple[float, float]:
    """Return seconds and the peak of memory of some batches."""
    command = [sys.executable, "-c", BATCHES, str(size), str(batches), str(int(keep))]
    seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(peak)


if __name__ == "__main__":
    main()

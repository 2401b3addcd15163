"""How many images a second carriers, stripes and waves protect, compared with random noise and EM in one run.

Rooms of 64×64 with the targets that are asked for; the best of several rounds. EM is timed on few images and one round.
Run: ``python benchmarks/carriers_speed.py``.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from howfar import arrays
from howfar.data import Data
from howfar.data.rooms import rooms
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import TASKS

SEGMENTS, KNOWN = "segment_semantic", "joint:class_scene+segment_semantic+depth_euclidean"
WANTED = 1000  # images a second on two cores
EM = "em[rounds=1,stop_error=0]"
ROWS = {
    "carriers": SEGMENTS,
    "stripes": SEGMENTS,
    "waves": SEGMENTS,
    "woven": SEGMENTS,
    "layered": SEGMENTS,
    "carriers[sharing=sum]": KNOWN,
    "random": SEGMENTS,
    EM: SEGMENTS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--em", type=int, default=256, help="images for EM")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = rooms(64, options.n, test=1, seed=3).train
    print(f"{options.n} rooms of 64×64, torch {torch.__version__}, {torch.get_num_threads()} threads")
    reached = {}
    for label, source in ROWS.items():
        part = data.take(range(options.em)) if label == EM else data
        rounds = 1 if label == EM else options.rounds
        reached[label] = len(part) / min(seconds(label, part, source) for _ in range(rounds))
        print(f"{label} ← {source}: {reached[label]:.0f} images/s")
    own, noise, em = (reached[label] for label in ("carriers", "random", EM))
    print(f"carriers: {own:.0f} images/s (wanted: {WANTED}); {own / noise:.2f} of random, {own / em:.0f} times EM")


def seconds(label: str, data: Data, source: str) -> float:
    task = parse(source, TASKS, "task").build()(data)
    protector = parse(label, PROTECTORS, "protector").build()
    start = time.perf_counter()
    protector.protect(data, task, generator=arrays.seeded(0))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

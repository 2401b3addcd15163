"""CPU-seconds until one protector against one defense is decided, compared with the usual fixed grid.

Our way: ``howfar bench`` with the fast victim. Seeds are added until the drop is known to ± 5 points at 95 % or its
side is decided. Crafting, all seeds, probes, tests and the start of processes are counted. The usual way: three
trainings of a full-width ResNet-18 for clean and three for protected images, 60 epochs each, in float32. Its speed is
measured here, in the same run; the trainings themselves would take days on a CPU and are *not* run.
Run: ``python benchmarks/time_to_verdict.py --data FILE.npz`` with all of CIFAR-10.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from victim_speed import WHOLE, field_speed

from howfar.data.npz import read_npz

TRAININGS, EPOCHS = 6, 60  # of the field


def children() -> float:
    """Return the CPU-seconds of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz, best with all its images")
    parser.add_argument("--protector", default="lsp")
    parser.add_argument("--defense", default="jpeg")
    parser.add_argument("--model", default="airbench:small")
    parser.add_argument("--epochs", default="4")
    parser.add_argument("--seeds", default="0-5", help="at most")
    parser.add_argument("--limit-train", default="all", help="fewer images, to see that it works")
    parser.add_argument("--runs", type=Path, help="keep the store here; finished steps are not counted again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    speed = field_speed(read_npz(options.data, flip=True).train, batches=2)
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or Path(folder)
        command = [
            sys.executable, "-m", "howfar", "bench", "--suite", "standard", "--workers", "1", "--json",
            "--dataset", f"npz:{options.data}[flip=true]", "--limit-train", options.limit_train, "--runs", str(runs),
            "--protectors", f"random,{options.protector}", "--defenses", options.defense, "--models", options.model,
            "--recipe", "own", "--epochs", options.epochs, "--seeds", options.seeds, "--until", "5",
        ]  # fmt: skip
        before = children()
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        ours = children() - before
    theirs = TRAININGS * EPOCHS * WHOLE / speed
    print("| protector | clean, % | poisoned, % | drop, points | seeds |\n|-|-|-|-|-|")
    for row in json.loads(found):
        half = 50 * (row["drop_high"] - row["drop_low"]) if row["drop_low"] is not None else float("nan")
        print(
            f"| {row['protector']} | {100 * row['clean']:.1f} | {100 * row['poisoned']:.1f} "
            f"| {100 * row['drop']:.1f} ± {half:.1f} | {row['seeds']} |"
        )
    print(f"\nours: {ours:.0f} CPU-s, crafting, seeds, probes and tests included; torch {torch.__version__}")
    print(
        f"the field's way: {speed:.1f} images/CPU-s, {TRAININGS} trainings of {EPOCHS} epochs, {theirs:.0f} CPU-s: "
        f"1/{theirs / ours:.0f}"
    )


if __name__ == "__main__":
    main()

"""Training and SAL of several tasks on one backbone against each of them alone, side by side in one run.

All victims take turns on the same rooms; every one counts with its fastest epoch, so that a busy machine slows all. SAL
is of the joint loss and counts processor seconds (on a GPU those of the clock).
Run: ``python benchmarks/joint_training.py --model resnet8 --size 64``.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from howfar import arrays
from howfar.data import DATASETS, Data
from howfar.models import MODELS, build
from howfar.probe import sharpness
from howfar.spec import parse
from howfar.tasks import TASKS, Task
from howfar.training import Recipe, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--tasks", default="class_scene+segment_semantic+depth_euclidean+normal")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--n", type=int, default=256, help="images an epoch")
    parser.add_argument("--probe", type=int, default=32, help="images for SAL")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = DATASETS["rooms"](size=options.size, train=options.n, test=1).train
    singles = options.tasks.split("+")
    joint = [f"joint[tasks={options.tasks},weighting={way}]" for way in ("uniform", "uncertainty", "gradients")]
    seconds: dict[str, list[float]] = {name: [] for name in (*singles, *joint)}
    probing: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(options.repeats):
        for name in seconds:
            task = parse(name, TASKS, "task").build()(data)
            architecture = parse(options.model, MODELS, "model").build()
            model = build(architecture, data.shape, task.outputs, generator=arrays.seeded(0)).to(device)
            epoch = next(train(model, task.prepare(data), task, Recipe(epochs=1, batch_size=32, crop=0, flip=False)))
            seconds[name].append(epoch.seconds)
            probing[name].append(seconds_of_sharpness(model, data.take(range(options.probe)), task))
    best = {name: min(values) for name, values in seconds.items()}
    dearest = max(best[name] for name in singles)
    print(
        f"{options.model}, {options.n} rooms of {options.size}×{options.size} an epoch, {options.threads} thread(s), "
        f"torch {torch.__version__}, {device}"
    )
    for name, value in best.items():
        print(
            f"| {name} | {options.n / value:.0f} images/s | {value / dearest:.2f} × the dearest single task | "
            f"SAL in {min(probing[name]):.2f} s |"
        )
    worst = max(best[name] for name in joint)
    print(
        f"joint training of {len(singles)} tasks costs {best[joint[0]] / dearest:.2f} × the dearest single task "
        f"(up to {worst / dearest:.2f} with another weighting)"
    )

    each, all_ = [min(probing[name]) for name in singles], min(probing[joint[0]])
    print(
        f"SAL over {len(singles)} tasks costs {all_ / max(each):.2f} × the dearest single task "
        f"(wanted: {1 + 0.5 * (len(singles) - 1):g}), {all_ / sum(each):.2f} × all of them one by one"
    )


def seconds_of_sharpness(model: nn.Module, data: Data, task: Task) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    sharpness(model, task.prepare(data), task)
    return clock() - start


if __name__ == "__main__":
    main()

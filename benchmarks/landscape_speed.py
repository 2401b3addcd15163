"""The loss over a plane of weights, against the field's usual way, side by side in one run.

Usual: all weights set from the plane, then a ``DataLoader`` with two workers over PIL images in batches of 128, one
grid point after the other (as the released code of Li et al., NeurIPS 2018, does). Both walk over the same places in
turns, a row of the grid at a time, so that a busy machine slows both; ``--rows`` of the usual way are enough, as every
row costs the same. Then the whole grid from a fifth of its places, a spline in between.
Run: ``python benchmarks/landscape_speed.py --mnist mnist.npz --cifar10 cifar10.npz``.
"""

import argparse
import copy
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch._C._profiler import _ExperimentalConfig
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

from howfar import arrays
from howfar.data import Data, balanced
from howfar.data.npz import read_npz
from howfar.models import MODELS, build
from howfar.probe import Plane, landscape, random_plane
from howfar.probe.refine import Refinement
from howfar.spec import parse
from howfar.store import Store
from howfar.tasks import classification
from howfar.training import Recipe, train

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class PilImages(Dataset[tuple[torch.Tensor, int]]):
    """Images as the field's scripts hold them: PIL, made tensors one at a time."""

    def __init__(self, data: Data) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy().squeeze()) for image in data.pixels]
        self.labels = data.targets["label"].tolist()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one image as the usual transforms do: copied, channels first, in [0, 1], normalised (by 0 and 1)."""
        picture = torch.from_numpy(np.array(self.images[index]))
        wide = picture[..., None] if picture.ndim == 2 else picture
        image = wide.permute(2, 0, 1).contiguous().float().div(255)
        mean, deviation = torch.zeros(len(image), 1, 1), torch.ones(len(image), 1, 1)
        return image.sub_(mean).div_(deviation), self.labels[index]


def usual(
    model: nn.Module, plane: Plane, places: list[tuple[float, float]], loader: "DataLoader[Any]"
) -> list[tuple[float, float]]:
    """Return loss and accuracy at every place."""
    pairs = []
    for place in places:
        values = plane.at(*place)
        for weight in model.parameters():
            piece, values = values[: weight.numel()], values[weight.numel() :]
            weight.data = piece.view_as(weight).clone().to(DEVICE)
        total, right = 0.0, 0
        with torch.no_grad():
            for images, labels in loader:
                found = model(images.to(DEVICE))
                total += float(functional.cross_entropy(found, labels.to(DEVICE), reduction="sum"))
                right += int((found.argmax(1) == labels.to(DEVICE)).sum())
        count = len(loader.dataset)  # type: ignore[arg-type]
        pairs.append((total / count, right / count))
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path, required=True, help="MNIST as .npz")
    parser.add_argument("--cifar10", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--points", type=int, default=51, help="of the grid along each axis")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rows", type=int, default=3, help="of the grid that the usual way is timed on")
    parser.add_argument("--stored", type=Path, help="a store with whole landscapes: how well do their parts tell them?")
    parser.add_argument("--loaders", type=int, default=2, help="workers of the usual DataLoader")
    options = parser.parse_args()
    print(
        f"{options.points} × {options.points} places, n = {options.images} images, torch {torch.__version__}, "
        f"{DEVICE}, {torch.get_num_threads()} threads, {options.loaders} workers of the DataLoader"
    )
    if options.stored:
        remade(options.stored)
    networks = (("lenet5", options.mnist), ("resnet8", options.cifar10))
    exact, sparse, errors = zip(*(measured(name, path, options) for name, path in networks), strict=True)
    print(
        f"faster than the usual way: {min(exact):.1f} times at every place itself, {min(sparse):.0f} times from a "
        f"fifth of them (RMSE at most {max(errors):.0e} of the range)"
    )


def remade(folder: Path) -> None:
    """Print how far stored surfaces are from what a fifth of their places tells."""
    store, errors = Store(folder), []
    for record in store.records("landscape"):
        kept = store.arrays("landscape", record.key)
        if kept["loss"].ndim != 2 or not kept["computed"].all():
            continue
        loss = kept["loss"].double().numpy()
        part, computed = Refinement(loss.shape, int(loss.size / 5)), np.zeros(loss.shape, bool)
        wanted = part.lattice()
        while wanted:
            computed[tuple(zip(*wanted, strict=True))] = True
            wanted = part.further(computed, np.where(computed, loss, 0.0))
        gap = part.filled(computed, np.where(computed, loss, 0.0)) - loss
        errors.append(100 * float(np.sqrt(np.mean(gap**2)) / np.ptp(loss)))
    print(
        f"{len(errors)} stored surfaces from a fifth of their places: RMSE {statistics.median(errors):.2f} % of the "
        f"range in the median, {max(errors):.2f} % at most"
    )


def measured(name: str, path: Path, options: argparse.Namespace) -> tuple[float, float, float]:
    """Print the figures of one network; return how many times faster the whole grid is, a fifth of it, and its RMSE."""
    splits = read_npz(path, flip=False)
    learned, data = balanced(splits.train, 2000), balanced(splits.test, options.images)
    task = classification()(learned)
    model = build(parse(name, MODELS, "model").build(), data.shape, task.outputs, generator=arrays.seeded(0)).to(DEVICE)
    list(train(model, learned, task, Recipe(epochs=3, batch_size=32, lr=0.05, crop=0, flip=False)))
    plane = random_plane(model, generator=arrays.seeded(0))
    row = np.linspace(-1, 1, options.points)
    loader = DataLoader(PilImages(data), 128, num_workers=options.loaders)
    other = copy.deepcopy(model).eval()
    seconds: dict[str, list[float]] = {"usual": [], "ours": []}
    gap = 0.0
    for number in np.linspace(0, options.points - 1, options.rows).round().astype(int):
        places = [(float(row[number]), float(column)) for column in row]
        start = time.perf_counter()
        theirs = np.array(usual(other, plane, places, loader))[:, 0]
        seconds["usual"].append(time.perf_counter() - start)
        start = time.perf_counter()
        ours = landscape(model, data, plane, [row[number]], row, task=task).loss[0]
        seconds["ours"].append(time.perf_counter() - start)
        gap = max(gap, float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1))))
    ratios = [a / b for a, b in zip(seconds["usual"], seconds["ours"], strict=True)]
    start = time.perf_counter()
    whole = landscape(model, data, plane, row, row, task=task)
    took = time.perf_counter() - start
    start = time.perf_counter()
    part = landscape(model, data, plane, row, row, task=task, share=0.2)
    less = time.perf_counter() - start
    error = np.abs(part.loss - whole.loss) / np.ptp(whole.loss)
    rmse, gain = float(np.sqrt(np.mean(error**2))), took / less * statistics.median(ratios)
    each = {kind: 1e3 * statistics.median(values) / options.points for kind, values in seconds.items()}
    print(
        f"{name} on {path.stem}: usual {each['usual']:.1f} ms a place, ours {each['ours']:.1f}; usual ÷ ours "
        f"{statistics.median(ratios):.1f} (from {min(ratios):.1f} to {max(ratios):.1f}); values agree to {gap:.0e}"
    )
    print(
        f"   whole grid {took:.1f} s; from {100 * part.computed.mean():.0f} % of its places {less:.1f} s, "
        f"{gain:.0f} times faster than the usual way; RMSE {rmse:.0e}, at most {error.max():.0e} of the range"
    )
    with profile(
        activities=[ProfilerActivity.CPU], experimental_config=_ExperimentalConfig(profile_all_threads=True)
    ) as seen:
        landscape(model, data, plane, row[:2], row[:2], task=task)
    spent = {entry.key: entry.self_cpu_time_total for entry in seen.key_averages()}
    most = sorted(spent, key=spent.__getitem__, reverse=True)[:4]
    parts = ", ".join(f"{name} {100 * spent[name] / sum(spent.values()):.0f} %" for name in most)
    print(f"   where our time goes: {parts}")
    return statistics.median(ratios), gain, rmse


if __name__ == "__main__":
    main()

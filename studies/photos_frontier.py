"""What noise on photographs costs the eye, and what it takes from a learner: protectors with and without the mask.

Photographs are those of a folder with ``train`` and ``test``, one subfolder a class; ``--originals`` holds some of the
training photographs, under the same names, as large as they were published: visibility is measured on them. Noise is
crafted, shaped and written as JPEG as ``howfar protect`` does it. Run:
``python studies/photos_frontier.py --data clothing_160 --originals clothing_originals``.
"""

import argparse
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.data import clustered
from howfar.photos.mask import LUMA
from howfar.photos.noise import NoiseSet, craft, together
from howfar.photos.picture import changed
from howfar.protectors import PROTECTORS, Draft
from howfar.score.color import difference
from howfar.score.visibility import ssim
from howfar.spec import parse
from howfar.spec.syntax import split_list
from howfar.store import Record, Store, open_store
from howfar.store.clock import circumstances

STEP = "photos-frontier"  # of its records
Pictures = list[Image.Image]
SHOWN, SMOOTH = 4, 4.0  # photographs a class whose visibility is measured; largest gradient of a smooth area
BATCH = 50
NATIVE = 120  # side of the photographs that learners get


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("clothing_160"))
    parser.add_argument("--originals", type=Path, default=Path("clothing_originals"))
    parser.add_argument("--photos", type=int, default=100, help="a class, to learn from")
    parser.add_argument("--protectors", default="clean,carriers[cell=2,mirrored=true]")
    parser.add_argument("--strengths", default="none,3", help="visibility as in howfar.photos.mask; none has no mask")
    parser.add_argument("--eps", default="8/255")
    parser.add_argument("--side", default="64", help="of the thumbnails that noise is crafted on, e.g. 64-128")
    parser.add_argument("--labels", default="folders", help="or clusters")
    parser.add_argument("--quality", default="95", help="of JPEG, e.g. 95,75")
    parser.add_argument("--sizes", default="64", help="that learners train at")
    parser.add_argument("--stem", type=int, default=2, help="stride of the network's first layer: 1 or 2")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--runs", type=Path, default=Path("runs/photos-frontier"))
    options = parser.parse_args()
    store = open_store(options.runs)
    learn, test = (photographed(options.data / part, limit) for part, limit in (("train", options.photos), ("test", 0)))
    for seed, name, strength, quality, size in itertools.product(
        options.seeds.split(","), split_list(options.protectors), options.strengths.split(","),
        options.quality.split(","), options.sizes.split(","),
    ):  # fmt: skip
        tried(learn, test, name, strength, quality, size, seed, options, store)


def tried(
    learn: dict[str, Image.Image], test: dict[str, Image.Image], name: str, strength: str, quality: str, size: str,
    seed: str, options: argparse.Namespace, store: Store,
) -> None:  # fmt: skip
    """Protect the photographs, train on them, and keep what was found."""
    clean = name == "clean"
    spec = {
        "photos": f"{options.data.name}-{options.photos}", "protector": name, "quality": int(quality),
        "strength": None if clean or strength == "none" else float(strength), "eps": None if clean else options.eps,
        "side": None if clean else options.side, "labels": None if clean else options.labels, "size": int(size),
        "stem": options.stem, "epochs": options.epochs, "seed": int(seed),
    }  # fmt: skip
    key = store.key(STEP, spec)
    if store.done(STEP, key):
        return
    labels, pictures, found = [Path(path).parent.name for path in learn], list(learn.values()), dict[str, Any]()
    if not clean:
        noises = noised(pictures, labels, name, options, seed=int(seed))
        found = seen(list(learn), noises, spec["strength"], options)
        pictures = [
            changed(image, noises.shaped(place, image, spec["strength"])) for place, image in enumerate(pictures)
        ]
    inputs = resized([after(image, int(quality)) for image in pictures], int(size))
    found["accuracy"] = learned(
        inputs, numbers(labels), resized(list(test.values()), int(size)),
        numbers([Path(path).parent.name for path in test]), options, seed=int(seed),
    )  # fmt: skip
    store.save(Record(STEP, key, spec, "done", found, circumstances()))
    print(*(value for value in spec.values()), {key: round(value, 3) for key, value in found.items()}, flush=True)


def photographed(folder: Path, limit: int) -> dict[str, Image.Image]:
    """Return the center squares of photographs by path, the first of every class."""
    found = {}
    for kind in sorted(folder.iterdir()):
        files = sorted(kind.iterdir())
        for path in files[:limit] if limit else files:
            found[str(path.relative_to(folder))] = square(Image.open(path)).resize(
                (NATIVE, NATIVE), Image.Resampling.BICUBIC
            )
    return found


def square(image: Image.Image) -> Image.Image:
    """Return the center square of a photograph."""
    length = min(image.size)
    left, top = ((extent - length) // 2 for extent in image.size)
    return image.convert("RGB").crop((left, top, left + length, top + length))


def noised(
    pictures: Sequence[Image.Image], labels: Sequence[str], name: str, options: argparse.Namespace, *, seed: int
) -> NoiseSet:  # fmt: skip
    """Return the noise of all photographs."""
    sides = [int(side) for side in options.side.split("-")]
    before = [resized(pictures, side) for side in sides]
    if options.labels == "clusters":
        labels = [str(number) for number in clustered(before[0], 10, seed=seed).tolist()]
    settings = {"eps": options.eps} if "eps" in parse(name, PROTECTORS, "protector").settings else {}
    protector = parse(name, PROTECTORS, "protector", **settings).build()
    cpu = torch.device("cpu")
    after = [
        arrays.finished(craft(pixels, labels, protector, seed=seed, device=cpu, draft=Draft())) for pixels in before
    ]
    return together(before, after)


def seen(
    names: Sequence[str], noises: NoiseSet, strength: float | None, options: argparse.Namespace
) -> dict[str, float]:  # fmt: skip
    """Return how visible the noise is on the originals: SSIM and color differences, on smooth areas and everywhere."""
    rows, kinds = [], dict[str, int]()
    for place, name in enumerate(names):
        path, kind = options.originals / name, Path(name).parent.name
        if not path.exists() or kinds.get(kind, 0) == SHOWN:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        original = square(Image.open(path))
        rows.append(compared(original, changed(original, noises.shaped(place, original, strength))))
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}


def compared(before: Image.Image, after: Image.Image) -> dict[str, float]:
    """Return the visibility of the change of one photograph."""
    first, second = np.asarray(before), np.asarray(after)
    luma = [pixels @ np.array(LUMA, np.float32) for pixels in (first, second)]
    gradient = ndimage.gaussian_gradient_magnitude(ndimage.gaussian_filter(luma[0], 1), 1)
    smooth = ndimage.maximum_filter(ndimage.gaussian_filter(gradient, 3), 9) < SMOOTH / 2
    eye, plain = difference(first, second), difference(first, second, degree=None)
    planes = [torch.from_numpy(plane / 255)[None, None].float() for plane in luma]

    def percentile(values: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
        return float(np.percentile(values[where], 99)) if where.sum() > 400 else float("nan")

    everywhere = np.ones_like(smooth)
    return {
        "ssim": float(ssim(*planes)), "smooth": float(smooth.mean()),
        "seen-smooth": percentile(eye, smooth), "seen": percentile(eye, everywhere),
        "ciede-smooth": percentile(plain, smooth), "ciede": percentile(plain, everywhere),
        "visible-smooth": float((eye > 2)[smooth].mean()) if smooth.sum() > 400 else float("nan"),
        "linf": float(np.abs(second.astype(int) - first).max()),
    }  # fmt: skip


def after(image: Image.Image, quality: int) -> Image.Image:
    """Return a photograph as its file holds it; below 95 as uploads write it, with less color."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 95 else 2)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def resized(pictures: Sequence[Image.Image], side: int) -> Tensor:
    """Return photographs at one size, (n, 3, side, side)."""
    found = [np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)) for image in pictures]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()


def numbers(labels: Sequence[str]) -> Tensor:
    """Return the number of each label."""
    kinds = sorted(set(labels))
    return torch.tensor([kinds.index(label) for label in labels])


def learned(
    inputs: Tensor, labels: Tensor, test: Tensor, expected: Tensor, options: argparse.Namespace, *, seed: int
) -> float:  # fmt: skip
    """Return the balanced accuracy of a network that was trained with flips and random resized crops."""
    count, side, rng = len(inputs), inputs.shape[-1], np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = network(int(labels.max()) + 1, options.stem)
    steps = options.epochs * (count // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005, weight_decay=0.001)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.005, total_steps=steps)
    model.train()
    for _ in range(options.epochs):
        order = torch.from_numpy(rng.permutation(count))
        for some in order[: count // BATCH * BATCH].split(BATCH):
            part = max(round(side * rng.uniform(0.5, 1) ** 0.5), 8)
            top, left = rng.integers(0, side - part + 1, 2)
            images = inputs[some, :, top : top + part, left : left + part].contiguous() / 64 - 2
            images = functional.interpolate(images, (side, side), mode="bilinear")
            images = images.flip(3) if rng.random() < 0.5 else images
            loss = functional.cross_entropy(model(images), labels[some], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part / 64 - 2).argmax(1) for part in test.split(100)])
    return float(np.mean([(found[expected == kind] == kind).float().mean() for kind in expected.unique()]))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images."""
        return functional.relu(self.body(images) + self.shortcut(images))


def network(classes: int, stride: int) -> nn.Module:
    """Return a ResNet-8: with a 5×5 stem of stride 2, as networks for photographs have one, or 3×3 of stride 1."""
    width = 8 * stride
    return nn.Sequential(
        nn.Conv2d(3, width, 1 + 2 * stride, stride, stride, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        Block(width, width), Block(width, 2 * width), Block(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes),
    )  # fmt: skip


if __name__ == "__main__":
    main()

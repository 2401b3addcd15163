"""The data sets of ``audit_roc.py``: sources of images at 32×32, their histories, and random parts of them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch.nn import functional

from howfar import arrays
from howfar.data import DATASETS, Data
from howfar.data.camvid import camvid
from howfar.data.npz import npz
from howfar.defend import DEFENSES, Learner
from howfar.photos.pairs import WAYS, read_images
from howfar.tasks import classification

SIDE = 32
DOCUMENTS = ("letter", "list", "table", "program", "poster", "form")
PICTURES = (
    "astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field.jpg", "ihc", "motorcycle_left",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
HISTORIES = ("as-is", "jpeg", "upscaled")
QUALITIES = (50, 75, 90)


@dataclass(frozen=True)
class Pool:
    """Images of one source.

    Attributes:
        pixels: at 32×32 (MNIST 28×28).
        labels: of every image.
    """

    pixels: torch.Tensor
    labels: torch.Tensor


def drawn(source: str, history: str, size: int, draw: int, folder: Path) -> Data:
    """Return a random part of a source: 2 to 10 of its classes, balanced or not, after its history.

    Args:
        source: an entry of ``SOURCES``.
        history: one of ``HISTORIES``.
        size: number of images.
        draw: number of the part.
        folder: with the archives of the sources.
    """
    pool = pool_of(source, folder)
    rng = np.random.default_rng([size, draw, *source.encode(), *history.encode()])
    kinds = pool.labels.unique().numpy()
    count = int(rng.integers(2, min(10, len(kinds), size // 12) + 1))
    members = {int(kind): np.flatnonzero(pool.labels.numpy() == kind) for kind in kinds}
    chosen = rng.permutation([kind for kind in members if len(members[kind]) >= 10])[:count]
    shares = rng.dirichlet(np.full(len(chosen), 3.0)) if draw % 2 else np.full(len(chosen), 1 / len(chosen))
    places, labels = [], []
    for label, (kind, share) in enumerate(zip(chosen, shares, strict=True)):
        many = min(max(round(share * size), 8), len(members[int(kind)]))
        places.append(rng.choice(members[int(kind)], many, replace=False))
        labels += [label] * many
    data = Data(pool.pixels[np.concatenate(places)], {"label": torch.tensor(labels)}, torch.arange(len(labels)))
    return aged(data, history, rng)


def aged(data: Data, history: str, rng: np.random.Generator) -> Data:
    """Return images that were compressed, or enlarged from half of their size."""
    if history == "jpeg":
        learner = Learner(classification()(data))
        compressed: Data = DEFENSES["jpeg"](quality=int(rng.choice(QUALITIES))).purify(data, learner)
        return compressed
    if history == "upscaled":
        images = data.pixels.float()
        small = functional.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
        large = functional.interpolate(small, images.shape[2:], mode="bicubic")
        return data.with_pixels(large.round().clamp(0, 255).to(torch.uint8))
    return data


@functools.cache
def pool_of(source: str, folder: Path) -> Pool:
    """Return all images of a source."""
    return SOURCES[source](folder)


def _archive(name: str, target: str = "label") -> Callable[[Path], Pool]:
    def load(folder: Path) -> Pool:
        train = npz(folder / name).train
        return Pool(train.pixels, train.targets[target].long())

    return load


def _digits(_: Path) -> Pool:
    train = DATASETS["digits"]().train
    large = functional.interpolate(train.pixels.float(), (SIDE, SIDE), mode="bicubic")
    return Pool(large.round().clamp(0, 255).to(torch.uint8), train.targets["label"].long())


def _rooms(_: Path) -> Pool:
    train = DATASETS["rooms"](train=4000, test=10, size=64).train
    return Pool(_scaled(train.pixels), train.targets["class_scene"].long())


def _documents(_: Path) -> Pool:
    labels = np.arange(400 * len(DOCUMENTS)) % len(DOCUMENTS)
    pages = [np.asarray(document(DOCUMENTS[label], arrays.rng_of(0, place))) for place, label in enumerate(labels)]
    return Pool(torch.from_numpy(np.stack(pages).transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels))


def document(kind: str, rng: np.random.Generator) -> Image.Image:
    """Return a drawn page with random words, margins and sizes of letters, reduced to 32×32."""
    paper = tuple(int(value) for value in rng.integers(225, 256, 3))
    page = Image.new("RGB", (160, 160), paper)
    pen, ink = ImageDraw.Draw(page), tuple(int(value) for value in rng.integers(0, 90, 3))
    size = float(rng.uniform(18, 34) if kind == "poster" else rng.uniform(7, 13))
    font, left, top = ImageFont.load_default(size), int(rng.integers(4, 24)), int(rng.integers(4, 24))
    step = size * float(rng.uniform(1.1, 1.6))
    for row in range(int((150 - top) / step)):
        down = top + row * step
        indent = {"program": 10 * int(rng.integers(0, 4)), "list": 12}.get(kind, 0)
        if kind == "letter" and rng.random() < 0.15:
            continue
        if kind == "table":
            for column in range(4):
                pen.text((left + 36 * column, down), str(rng.integers(1000)), ink, font)
            pen.line((left, down, 150, down), ink)
            continue
        if kind == "form":
            pen.text((left, down), _words(rng, 1), ink, font)
            pen.rectangle((left + 60, down, 150, down + 0.8 * step), outline=ink)
            continue
        if kind == "list":
            pen.ellipse((left, down + 3, left + 4, down + 7), fill=ink)
        pen.text((left + indent, down), _words(rng, int(rng.integers(2, 7))), ink, font)
    return page.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _words(rng: np.random.Generator, count: int) -> str:
    letters = "aabcdeeefghiiklmnoooprsttuvw"
    return " ".join("".join(rng.choice(list(letters), int(rng.integers(2, 9)))) for _ in range(count))


def _clothing(folder: Path) -> Pool:
    """Read the photographs, unpacked next to their archive."""
    files = sorted((folder / "clothing_160").rglob("*.jpg"))
    kinds = sorted({path.parent.name for path in files})
    images = read_images(files, SIDE, WAYS["as-is"], workers=1)
    labels = torch.tensor([kinds.index(path.parent.name) for path in files])
    return Pool(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), labels)


def _camvid(folder: Path) -> Pool:
    """Return crops of 48×48, reduced, whose label is the class of most of their pixels."""
    splits, rng = camvid(folder / "camvid_96x128.npz"), np.random.default_rng(0)
    pixels, labels = [], []
    for part in (splits.train, splits.test):
        for image, truth in zip(part.pixels, part.targets["segment_semantic"], strict=True):
            for down, right in zip(rng.integers(0, 49, 8), rng.integers(0, 81, 8), strict=True):
                found = torch.bincount(truth[down : down + 48, right : right + 48].flatten().long(), minlength=12)[:11]
                pixels.append(image[:, down : down + 48, right : right + 48])
                labels.append(int(found.argmax()))
    return Pool(_scaled(torch.stack(pixels)), torch.tensor(labels))


def _pictures(_: Path) -> Pool:
    """Return crops of the pictures of scikit-image and scikit-learn; the label is the picture."""
    images, labels = [], []
    for label, crops in enumerate(_crops()):
        images += crops
        labels += [label] * len(crops)
    return Pool(torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), torch.tensor(labels))


def _crops() -> Iterator[list[np.ndarray]]:
    import skimage
    import sklearn.datasets

    rng = np.random.default_rng(0)
    named = [Path(skimage.__file__).parent / "data" / name for name in PICTURES]
    files = [path if path.suffix else path.with_suffix(".png") for path in named]
    more = Path(sklearn.datasets.__file__).parent / "images"
    for path in (*files, more / "china.jpg", more / "flower.jpg"):
        picture = Image.open(path).convert("RGB")
        crops = []
        for _ in range(250):
            side = int(rng.integers(64, 161))
            left, top = int(rng.integers(picture.width - side)), int(rng.integers(picture.height - side))
            crop = picture.crop((left, top, left + side, top + side))
            crops.append(np.asarray(ImageOps.fit(crop, (SIDE, SIDE), Image.Resampling.LANCZOS)))
        yield crops


def _scaled(pixels: torch.Tensor) -> torch.Tensor:
    small = functional.interpolate(pixels.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


SOURCES: Mapping[str, Callable[[Path], Pool]] = {
    "cifar10": _archive("cifar10.npz"),
    "cifar100": _archive("cifar100_sample.npz", "coarse"),
    "mnist": _archive("mnist.npz"),
    "digits": _digits,
    "rooms": _rooms,
    "documents": _documents,
    "clothing": _clothing,
    "camvid": _camvid,
    "pictures": _pictures,
}
UNSEEN = ("clothing", "camvid", "pictures")  # never used for calibration

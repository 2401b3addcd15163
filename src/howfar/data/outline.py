"""Size and shape of a data set from settings, file names and file headers, for dry runs that load no data."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data import files
from howfar.data.camvid import SIZE as CAMVID_SIZE
from howfar.data.camvid import VOID as CAMVID_CLASSES
from howfar.data.camvid import images_of
from howfar.data.folder import check_headers, decoded
from howfar.data.folder import counted as counted_files
from howfar.data.hf import counted as counted_rows
from howfar.data.npz import read_outline
from howfar.data.rooms import outline_of
from howfar.data.taskonomy import counted as counted_views
from howfar.data.types import Data, Splits
from howfar.errors import UsageError
from howfar.spec import Spec

FEW = 4  # images of a sample


@dataclass(frozen=True, eq=False)
class Outline:
    """Size and shape of a data set.

    Attributes:
        sample: a few images with the true shape, the true types of targets and the first and last class of each. The
            pixels may be random.
        train: number of training images.
        test: number of test images.
        note: sentence on what is estimated; empty if nothing is.
        classes: number of classes of training images; 0 takes the number of their names.
    """

    sample: Splits
    train: int
    test: int
    note: str = ""
    classes: int = 0


def outline(dataset: Spec[Splits]) -> Outline:
    """Return the outline of a data set; data sets of plug-ins are loaded."""
    if dataset.name in OUTLINES and dataset.factory.__module__.startswith("howfar."):
        return Spec(dataset.name, dataset.settings, dataset.label, OUTLINES[dataset.name]).build()
    splits = dataset.build()
    return Outline(splits, len(splits.train), len(splits.test), f"'{dataset.name}' had to be loaded to know its size.")


def blank(
    shape: tuple[int, int, int], targets: Mapping[str, int], classes: Iterable[str] = (), *, flip: bool
) -> Splits:
    """Return a sample of random pixels.

    Args:
        shape: channels, height and width.
        targets: number of classes, by name of the target.
        classes: names of the classes.
        flip: whether images may be mirrored in training.
    """
    pixels: Pixels = torch.randint(0, 256, (FEW, *shape), dtype=torch.uint8, generator=arrays.seeded(0, "outline"))
    labels = {name: _ends(count) for name, count in targets.items()}
    parts = [Data(pixels, labels, torch.arange(first, first + FEW)) for first in (0, FEW)]
    return Splits(parts[0], parts[1], tuple(classes), flip)


def _ends(count: int) -> Tensor:
    """Return the first and the last class, alternating."""
    return torch.tensor([0, max(count - 1, 0)] * (FEW // 2))


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _digits(size: int = 16) -> Outline:
    return Outline(blank((1, size, size), {"label": 10}, _numbers(10), flip=False), 1347, 450)


def _rooms(
    size: int = 64, train: int = 4000, test: int = 1000, seed: int = 0, root: Path | None = None
) -> Outline:  # fmt: skip
    return Outline(outline_of(size, seed), train, test)


def _published(
    name: str, shape: tuple[int, int, int], targets: Mapping[str, int], counts: tuple[int, int], *, flip: bool
) -> Callable[..., Outline]:
    """Return the outline of a public data set of known size; the size of an ``.npz`` is read from the file."""

    def outlined(root: Path | None = None, download: bool = False) -> Outline:
        found = files.find(root, name, [f"{name}.npz", f"{name}_sample.npz"], download=download)
        if found is not None and found.suffix == ".npz":
            return _npz(found, flip)
        place = root or files.default_root(name)
        here = place.is_dir() and any(place.iterdir())
        note = "" if here or download else f"{name} is not in {place}: add --download, or point --data-root at it."
        return Outline(blank(shape, targets, _numbers(next(iter(targets.values()))), flip=flip), *counts, note)

    return outlined


def _npz(root: Path, flip: bool = True, name: str = "") -> Outline:
    sample, train, test, classes = read_outline(Path(root), flip=flip)
    return Outline(sample, train, test, classes=classes)


def _camvid(root: Path, height: int | None = None, width: int | None = None) -> Outline:
    size = None if height is None or width is None else (height, width)
    if root.is_dir():
        counts = [len(images_of(root, part)) for part in ("train", "test")]
        if not all(counts):
            raise UsageError(f"{root} holds no PNG in train or test. Give SegNet's CamVid folder, or an .npz.")
        shape = (3, *(size or CAMVID_SIZE))
    else:
        sample, *counts, _ = read_outline(root, flip=True)
        shape = sample.train.shape if size is None else (sample.train.shape[0], *size)
    splits = blank(shape, {}, flip=True)
    top = torch.arange(CAMVID_CLASSES, dtype=torch.uint8).repeat(math.ceil(shape[1] * shape[2] / CAMVID_CLASSES))
    maps = top[: shape[1] * shape[2]].reshape(1, *shape[1:]).repeat(FEW, 1, 1)
    parts = [Data(part.pixels, {"segment_semantic": maps}, part.ids) for part in (splits.train, splits.test)]
    return Outline(Splits(parts[0], parts[1], (), True), counts[0], counts[1])


def _folder(root: Path, size: int = 0, test_share: float = 0.2, flip: bool = True) -> Outline:
    paths, classes, train, test = counted_files(Path(root), test_share)
    image, gray = decoded(paths[0], size)
    checked = check_headers(paths, size)
    shape = (1 if gray else 3, image.shape[1], image.shape[2])
    targets = {"label": len(classes)} if classes else {}
    note = f"only {checked} of {len(paths)} file headers were read." if checked < len(paths) else ""
    note = "the number of channels is that of the first image." if gray and not note else note
    return Outline(blank(shape, targets, classes, flip=flip), train, test, note)


def _hf(
    name: str, size: int = 0, config: str = "", train: str = "train", test: str = "", image: str = "", label: str = "",
    flip: bool = True, download: bool = False,
) -> Outline:  # fmt: skip
    try:
        sample, classes, *counts = counted_rows(name, size, config, train, test, image, label, download=False)
    except UsageError:
        if not download:
            raise
        raise UsageError(
            f"'{name}' is not in the cache of Hugging Face, and a dry run downloads nothing. Leave out --dry-run."
        ) from None
    kinds = [key for key, values in sample.targets.items() if values.ndim == 1 and not values.is_floating_point()]
    splits = blank(sample.shape, dict.fromkeys(kinds, len(classes)), classes, flip=flip)
    return Outline(splits, counts[0], counts[1], "" if size else "the image shape is taken from the first image.")


def _taskonomy(
    root: Path, domains: Any = (), size: int = 64, split: Path | None = None, test_share: float = 0.2,
    skip_broken: bool = False, flip: bool = True,
) -> Outline:  # fmt: skip
    splits, train, test, estimated = counted_views(root, tuple(domains), size, split, test_share, flip=flip)
    note = "the number of views is estimated from some of the buildings." if estimated else ""
    return Outline(splits, train, test, note)


_COLOR, _GRAY = (3, 32, 32), (1, 28, 28)
OUTLINES: dict[str, Callable[..., Outline]] = {
    "digits": _digits,
    "rooms": _rooms,
    "cifar10": _published("cifar10", _COLOR, {"label": 10}, (50_000, 10_000), flip=True),
    "cifar100": _published("cifar100", _COLOR, {"label": 100, "coarse": 20}, (50_000, 10_000), flip=True),
    "mnist": _published("mnist", _GRAY, {"label": 10}, (60_000, 10_000), flip=False),
    "fashion-mnist": _published("fashion-mnist", _GRAY, {"label": 10}, (60_000, 10_000), flip=False),
    "svhn": _published("svhn", _COLOR, {"label": 10}, (73_257, 26_032), flip=False),
    "camvid": _camvid,
    "taskonomy": _taskonomy,
    "folder": _folder,
    "npz": _npz,
    "hf": _hf,
}

"""CamVid: road scenes with a class for every pixel."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from howfar import arrays
from howfar.data.npz import read_arrays, to_pixels
from howfar.data.pictures import read_picture, read_rgb
from howfar.data.tree import is_hidden
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError

VOID = 11  # of the eleven-class version
SIZE = (96, 128)  # of what is read from a folder


def camvid(root: Path, height: int | None = None, width: int | None = None) -> Splits:
    """CamVid, 367 + 233 road scenes in 11 classes (Brostow et al. 2009; SegNet's selection).

    Target ``segment_semantic``. The validation images are left alone.

    Args:
        root: an ``.npz`` with x_train, seg_train, x_test and seg_test, or SegNet's folder with ``train``,
            ``trainannot``, ``test`` and ``testannot``.
        height: to which images and classes are brought; None is 96 for a folder, and leaves an archive as it is.
        width: likewise; None is 128 for a folder.

    Raises:
        HowfarError: if files are missing or cannot be read.
        UsageError: if the folder is not SegNet's, or only one of height and width is given.
    """
    if (height is None) != (width is None):
        raise UsageError("give both height and width of CamVid's images, or neither.")
    size = None if height is None or width is None else (height, width)
    if root.is_dir():
        train, test = (_folder(root, part, size or SIZE) for part in ("train", "test"))
    else:
        table = read_arrays(root)
        missing = [
            f"{kind}_{part}" for part in ("train", "test") for kind in ("x", "seg") if f"{kind}_{part}" not in table
        ]
        if missing:
            raise HowfarError(
                f"{root} lacks {', '.join(missing)}, so it is no CamVid. Take npz:{root.name} for others."
            )
        found = [(table[f"x_{part}"], table[f"seg_{part}"]) for part in ("train", "test")]
        train, test = [(_resized(x, size), _resized(seg, size)) for x, seg in found] if size else found
    first = _data(root, *train, first_id=0)
    return Splits(first, _data(root, *test, first_id=len(first)), (), flip=True)


def _data(root: Path, images: NDArray[np.uint8], classes: NDArray[np.uint8], *, first_id: int) -> Data:
    pixels = to_pixels(images, str(root))
    if classes.shape != (len(pixels), *pixels.shape[2:]):
        raise HowfarError(f"{root}: {len(pixels)} images of {tuple(pixels.shape[2:])}, but classes {classes.shape}.")
    segments: Tensor = torch.from_numpy(np.where(classes >= VOID, arrays.VOID, classes).astype(np.uint8))
    return Data(pixels, {"segment_semantic": segments}, torch.arange(first_id, first_id + len(pixels)))


def _resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return images (averaged) or maps of classes (nearest) of another size."""
    way = Image.Resampling.BOX if images.ndim == 4 else Image.Resampling.NEAREST
    return np.stack(
        [np.asarray(Image.fromarray(image.astype(np.uint8)).resize(size[::-1], way), np.uint8) for image in images]
    )


def images_of(root: Path, part: str) -> list[Path]:
    """Return the images of a part of SegNet's folder, sorted."""
    return sorted(path for path in (root / part).glob("*.png") if not is_hidden(path.name))


def _folder(root: Path, part: str, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not (root / part).is_dir() or not (root / f"{part}annot").is_dir():
        raise UsageError(f"{root} has no folders {part} and {part}annot. Give SegNet's CamVid folder, or an .npz.")
    images: list[NDArray[np.uint8]] = []
    classes: list[NDArray[np.uint8]] = []
    for path in images_of(root, part):
        label = root / f"{part}annot" / path.name
        image, map_ = read_rgb(path)[0], read_picture(label)
        if map_.mode not in ("L", "P"):
            raise HowfarError(f"{label} is in mode {map_.mode}, no map of classes. Remove it with its twin.")
        images.append(np.asarray(image.resize(size[::-1], Image.Resampling.BOX), np.uint8))
        classes.append(np.asarray(map_.resize(size[::-1], Image.Resampling.NEAREST), np.uint8))
    if not images:
        raise UsageError(f"{root / part} holds no PNG. Give SegNet's CamVid folder, or an .npz.")
    return np.stack(images), np.stack(classes)

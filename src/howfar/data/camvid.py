"""CamVid: road scenes with per-pixel classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from howfar import arrays
from howfar.data.npz import read_arrays, to_pixels
from howfar.data.pictures import read_picture, read_rgb
from howfar.data.tree import is_hidden
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError
from howfar.spec import LARGEST_SIDE

BOX, NEAREST = Image.Resampling.BOX, Image.Resampling.NEAREST  # images are averaged, classes are not
VOID = 11  # of the eleven-class version
SIZE = (96, 128)  # of images read from a folder


Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


def camvid(root: Path, height: Side | None = None, width: Side | None = None) -> Splits:
    """CamVid, 367 + 233 road scenes in 11 classes (Brostow et al. 2009; SegNet's selection).

    Target ``segment_semantic``. The validation images are not used.

    Args:
        root: an ``.npz`` with x_train, seg_train, x_test and seg_test, or SegNet's folder with ``train``,
            ``trainannot``, ``test`` and ``testannot``.
        height: resize images and class maps to this height; None is 96 for a folder and keeps an archive's size.
        width: the same for the width; None is 128 for a folder.

    Raises:
        HowfarError: if files are missing or cannot be read.
        UsageError: if the folder is not SegNet's, or only one of height and width is given.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["camvid"]("CamVid", height=96, width=128).train  # doctest: +SKIP
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
                f"{root} lacks {', '.join(missing)}, so it is not CamVid. Use npz:{root.name} for other archives."
            )
        train, test = (_members(root, table, part, size) for part in ("train", "test"))
    first = _data(root, *train, first_id=0)
    return Splits(first, _data(root, *test, first_id=len(first)), (), flip=True)


def _members(
    root: Path, table: Mapping[str, NDArray[Any]], part: str, size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images and class maps of one split of an archive, checked and resized."""
    images, classes = table[f"x_{part}"], table[f"seg_{part}"]
    pixels = to_pixels(images, f"{root}: x_{part}")
    if not np.issubdtype(classes.dtype, np.integer) or classes.shape != (len(pixels), *pixels.shape[2:]):
        raise HowfarError(
            f"{root}: {len(pixels)} images of {tuple(pixels.shape[2:])}, but seg_{part} is {classes.dtype} of shape "
            f"{classes.shape}. Give an integer for every pixel."
        )
    if classes.min() < 0:
        raise HowfarError(f"{root}: seg_{part} has class {classes.min()}. Number classes from 0, with {VOID} for none.")
    classes = classes.clip(max=VOID).astype(np.uint8)
    if size is None:
        return images, classes
    colors = pixels.permute(0, 2, 3, 1).numpy()
    return _resized(colors[..., 0] if colors.shape[-1] == 1 else colors, size, BOX), _resized(classes, size, NEAREST)


def _data(root: Path, images: NDArray[np.uint8], classes: NDArray[np.uint8], *, first_id: int) -> Data:
    pixels = to_pixels(images, str(root))
    segments: Tensor = torch.from_numpy(np.where(classes >= VOID, arrays.VOID, classes).astype(np.uint8))
    return Data(pixels, {"segment_semantic": segments}, torch.arange(first_id, first_id + len(pixels)))


def _resized(images: NDArray[np.uint8], size: tuple[int, int], way: Image.Resampling) -> NDArray[np.uint8]:
    """Return resized images or class maps."""
    return np.stack([np.asarray(Image.fromarray(image).resize(size[::-1], way), np.uint8) for image in images])


def images_of(root: Path, part: str) -> list[Path]:
    """Return the image files of one split of SegNet's folder, sorted."""
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
            raise HowfarError(f"{label} is in mode {map_.mode}, which is not a class map. Remove it and its image.")
        images.append(np.asarray(image.resize(size[::-1], Image.Resampling.BOX), np.uint8))
        classes.append(np.asarray(map_.resize(size[::-1], Image.Resampling.NEAREST), np.uint8))
    if not images:
        raise UsageError(f"{root / part} holds no PNG. Give SegNet's CamVid folder, or an .npz.")
    return np.stack(images), np.stack(classes)

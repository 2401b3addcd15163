"""NumPy archives: ``x_train, y_train, x_test, y_test`` as uint8 images, channels last or first."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar import arrays
from howfar.data.files import refuse_bomb
from howfar.data.own import warn_of_gaps
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError

NEEDED = ("x_train", "x_test")
WRITE = "numpy.savez(FILE, x_train=images, y_train=classes, x_test=images, y_test=classes)"
REFILL = f"Write images into it with {WRITE}."
FEW = 2  # images of an archive in an outline
MOST_CLASSES = 100_000


def npz(root: Path, flip: bool = True, name: str = "") -> Splits:
    """Any ``.npz`` archive with x_train and x_test; ``y_train``, ``y_train_NAME``, ``seg_train``, ``classes`` optional.

    Args:
        root: the file. Images are uint8, (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels. ``y`` holds
            classes, (n,). ``y_train_NAME`` holds classes, (n,), per-pixel classes, (n, h, w), or per-pixel real values,
            (n, h, w) or (n, h, w, c). ``seg_train`` is short for ``y_train_segment_semantic``. 255 means no class, NaN
            no value.
        flip: whether images may be mirrored in training.
        name: what tables and captions call the data; empty takes the name of the file.

    Raises:
        UsageError: if the file is missing; HowfarError: if it is broken or lacks an array.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from howfar import DATASETS
        >>> file = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> images, labels = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 2
        >>> np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
        >>> DATASETS["npz"](file).train
        Data(20 images of 3×32×32; targets: label)
    """
    return read_npz(Path(root), flip=flip)


def read_npz(path: Path, *, flip: bool) -> Splits:
    """Read one archive; pickled arrays are rejected."""
    table = read_arrays(path)
    _classes(path, table.get("y_train"))
    return _splits(path, table, flip=flip)


def read_outline(path: Path, *, flip: bool) -> tuple[Splits, int, int, int]:
    """Return a few images of an archive and the numbers of training and test images and classes, without reading more.

    The sample holds the first images, and the smallest and the largest class.

    Raises:
        UsageError: if the file is missing; HowfarError: if it is broken or lacks an array.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not a file. Give the path of an .npz archive.")
    table: dict[str, NDArray[Any]] = {}
    counts: dict[str, int] = {}
    kinds = 0
    try:
        with zipfile.ZipFile(path) as members:
            for name in members.namelist():
                key = name.removesuffix(".npy")
                counts[key], table[key] = _head(members, name)
                if key == "y_train":
                    kinds = _classes(path, table[key])
                if table[key].ndim == 1 and np.issubdtype(table[key].dtype, np.integer) and len(table[key]) > FEW:
                    table[key] = np.array([table[key].min(), table[key].max()], table[key].dtype)
    except Exception as error:  # archives and array headers fail in many ways
        raise HowfarError(f"{path} is not a readable .npz archive ({error}). Save it again with numpy.savez.") from None
    splits = _splits(path, table, flip=flip)
    return splits, counts["x_train"], counts["x_test"], kinds


def _head(archive: zipfile.ZipFile, name: str) -> tuple[int, NDArray[Any]]:
    """Return the number of rows of an array in an archive, and its first two, or all if it has one column."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, kind = header(file)
        if kind.hasobject or not shape:
            raise ValueError("it holds something other than arrays of numbers")
        flat = len(shape) == 1
        if by_columns and not flat:
            raise ValueError("an array is in Fortran order")
        rows = shape[0] if flat else min(shape[0], FEW)
        raw = file.read(rows * math.prod(shape[1:]) * kind.itemsize)
    values = np.frombuffer(bytearray(raw), kind).reshape(rows, *shape[1:])  # torch warns of arrays in constant bytes
    return shape[0], values


def _classes(path: Path, values: NDArray[Any] | None) -> int:
    """Return the number of classes of training images, 0 if there are none; warns of numbers without images."""
    if values is None or values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        return 0
    return warn_of_gaps(torch.from_numpy(values.astype(np.int64)), f"{path}: y_train")


def _splits(path: Path, table: dict[str, NDArray[Any]], *, flip: bool) -> Splits:
    missing = [name for name in NEEDED if name not in table]
    empty = [name for name in NEEDED if name in table and table[name].shape[:1] == (0,)]
    if empty and not missing:
        raise HowfarError(f"{path}: {' and '.join(empty)} {'has' if len(empty) == 1 else 'have'} no images. {REFILL}")
    if missing:
        raise HowfarError(f"{path} lacks {', '.join(missing)}. Write it with {WRITE}.")
    train = _part(path, table, "train", first_id=0)
    test = _part(path, table, "test", first_id=len(train))
    if train.shape != test.shape:
        raise HowfarError(
            f"{path}: training images are {train.shape}, test images {test.shape}. Resize them to one size."
        )
    listed = table.get("classes", np.array([]))
    if listed.ndim != 1:
        raise HowfarError(f"{path}: classes has the shape {listed.shape}. Give a list with a name for every class.")
    names = [str(name) for name in listed]
    if not names and "label" in train.targets and "label" in test.targets:
        count = int(torch.cat([train.targets["label"], test.targets["label"]]).max()) + 1
        names = [str(k) for k in range(count)]
    return Splits(train, test, classes=tuple(names), flip=flip)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive; pickled ones are rejected."""
    if not path.is_file():
        raise UsageError(f"{path} is not a file. Give the path of an .npz archive.")
    try:
        with zipfile.ZipFile(path) as members:
            refuse_bomb(path, path.stat().st_size, sum(member.file_size for member in members.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            table = {name: archive[name] for name in archive.files}
        if not all(isinstance(values, np.ndarray) for values in table.values()):
            raise ValueError("it holds something other than arrays")
        return table
    except HowfarError:
        raise
    except Exception as error:  # archives and array headers fail in many ways
        raise HowfarError(f"{path} is not a readable .npz archive ({error}). Save it again with numpy.savez.") from None


def _part(path: Path, table: dict[str, NDArray[Any]], part: str, *, first_id: int) -> Data:
    pixels = to_pixels(table[f"x_{part}"], f"{path}: x_{part}")
    targets: dict[str, Tensor] = {}
    for name, values in table.items():
        if name == f"seg_{part}":
            targets["segment_semantic"] = _segments(values, pixels, f"{path}: {name}")
        if name == f"y_{part}" or name.startswith(f"y_{part}_"):
            key = name.removeprefix(f"y_{part}").lstrip("_") or "label"
            targets[key] = _target(values, pixels, f"{path}: {name}")
    return Data(pixels=pixels, targets=targets, ids=torch.arange(first_id, first_id + len(pixels)))


def _target(values: NDArray[Any], pixels: Tensor, where: str) -> Tensor:
    """Return one class per image, or one or several numbers per pixel, channels first."""
    if np.issubdtype(values.dtype, np.integer) and values.ndim == 1:
        if (values < 0).any():
            raise HowfarError(f"{where} must hold integers from 0, one per image. Convert it.")
        if values.size and int(values.max()) >= MOST_CLASSES:
            raise HowfarError(f"{where} goes up to {int(values.max())}. Number classes consecutively from 0.")
        return torch.from_numpy(values.astype(np.int64))
    if np.issubdtype(values.dtype, np.integer) and values.shape[1:] == pixels.shape[2:]:
        return _segments(values, pixels, where)
    if np.issubdtype(values.dtype, np.floating):
        maps = torch.from_numpy(values.astype(np.float32))
        maps = maps[:, None] if maps.ndim == 3 else maps
        if maps.ndim == 4 and maps.shape[1:3] == pixels.shape[2:]:
            maps = maps.permute(0, 3, 1, 2).contiguous()
        if maps.ndim == 4 and maps.shape[2:] == pixels.shape[2:]:
            return maps
    raise HowfarError(
        f"{where} must hold integers from 0, one per image or pixel, or real numbers for every pixel. Convert it."
    )


def _segments(values: NDArray[Any], pixels: Tensor, where: str) -> Tensor:
    is_map = np.issubdtype(values.dtype, np.integer) and values.shape == (len(pixels), *pixels.shape[2:])
    if not is_map or values.min() < 0 or values.max() > arrays.VOID:
        raise HowfarError(f"{where} must hold a class from 0 to 254 for every pixel, or 255 for none. Convert it.")
    return torch.from_numpy(values.astype(np.uint8))


def to_pixels(values: NDArray[Any], where: str) -> Tensor:
    """Return uint8 images in any supported layout as (n, channels, height, width)."""
    if values.dtype != np.uint8 or values.ndim not in (3, 4) or 0 in values.shape:
        fix = " For images in [0, 1]: (255 * x).round().astype('uint8')." if values.dtype.kind == "f" else ""
        raise HowfarError(
            f"{where} is {values.dtype} {values.shape}, but must be uint8 images, (n, h, w), (n, h, w, c) or (n, c, h, "
            f"w). Convert it.{fix}"
        )
    if values.ndim == 3:
        values = values[:, None]
    elif values.shape[-1] in (1, 3):
        values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    if values.shape[1] not in (1, 3):
        raise HowfarError(f"{where} has {values.shape[1]} channels. Use 1 or 3.")
    return torch.from_numpy(values)

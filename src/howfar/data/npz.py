"""NumPy archives: ``x_train, y_train, x_test, y_test`` as uint8 images, channels last or first."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError

NEEDED = ("x_train", "y_train", "x_test", "y_test")


def npz(root: Path, flip: bool = True) -> Splits:
    """Any ``.npz`` archive with x_train, y_train, x_test and y_test; ``classes`` and ``y_train_*`` are optional.

    Args:
        root: the file. Images are uint8, (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels.
        flip: whether learners may mirror the images.

    Raises:
        UsageError: where the file is missing; HowfarError: where it is broken or lacks an array.
    """
    return read_npz(Path(root), flip=flip)


def read_npz(path: Path, *, flip: bool) -> Splits:
    """Read one archive; pickled arrays are refused."""
    table = _arrays(path)
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise HowfarError(f"{path} lacks {', '.join(missing)}. Write it with numpy.savez({', '.join(NEEDED)}).")
    train = _part(path, table, "train", first_id=0)
    test = _part(path, table, "test", first_id=len(train))
    if train.shape != test.shape:
        raise HowfarError(f"{path}: training images are {train.shape}, test images {test.shape}. Make them equal.")
    count = int(torch.cat([train.targets["label"], test.targets["label"]]).max()) + 1
    names = [str(name) for name in table["classes"]] if "classes" in table else [str(k) for k in range(count)]
    return Splits(train, test, classes=tuple(names), flip=flip)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise UsageError(f"{path} is no file. Give the path of an .npz archive.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise HowfarError(f"{path} is no readable .npz archive ({error}). Save it anew with numpy.savez.") from None


def _part(path: Path, table: dict[str, NDArray[Any]], part: str, *, first_id: int) -> Data:
    targets: dict[str, Tensor] = {}
    for name, values in table.items():
        if name == f"y_{part}" or name.startswith(f"y_{part}_"):
            if not np.issubdtype(values.dtype, np.integer) or values.ndim != 1 or (values < 0).any():
                raise HowfarError(f"{path}: {name} must hold whole numbers from 0, one per image. Convert it.")
            key = name.removeprefix(f"y_{part}").lstrip("_") or "label"
            targets[key] = torch.from_numpy(values.astype(np.int64))
    pixels = to_pixels(table[f"x_{part}"], f"{path}: x_{part}")
    return Data(pixels=pixels, targets=targets, ids=torch.arange(first_id, first_id + len(pixels)))


def to_pixels(values: NDArray[Any], where: str) -> Tensor:
    """Return uint8 images of any usual layout as (n, channels, height, width)."""
    if values.dtype != np.uint8 or values.ndim not in (3, 4) or 0 in values.shape:
        raise HowfarError(f"{where} must be uint8 images, (n, h, w), (n, h, w, c) or (n, c, h, w). Convert it.")
    if values.ndim == 3:
        values = values[:, None]
    elif values.shape[-1] in (1, 3):
        values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    if values.shape[1] not in (1, 3):
        raise HowfarError(f"{where} has {values.shape[1]} channels. Only 1 and 3 can be used.")
    return torch.from_numpy(values)

"""Arrays of a user -> ``Data``: layout and range are detected, or refused if they are ambiguous."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data.types import Data
from howfar.errors import HowfarError, UsageError

Channels = Literal["first", "last"]
Scale = Literal[1, 255]
CHUNK = 4096  # images at a time
UNCLEAR = 64  # images that get no brighter may have white at 1, 15 or 16 instead of 255
MOST_CLASSES = 100_000


def data_of(
    X: Any, y: Any = None, *, channels: Channels | None = None, scale: Scale | None = None, ids: Any = None
) -> Data:
    """Return images and targets as ``Data``; see ``Data.from_arrays``."""
    if isinstance(X, DataLoader | Dataset):
        name = "loader.dataset" if isinstance(X, DataLoader) else "dataset"
        raise UsageError(f"the images are a {type(X).__name__}, not an array. Read it with Data.from_torch({name}).")
    if np.ndim(X) == 1 and np.ndim(y) > 2:
        raise HowfarError("the classes come before the images. Pass the images first: (X, y).")
    pixels = pixels_of(X, channels=channels, scale=scale)
    named = y if isinstance(y, Mapping) else {} if y is None else {"label": y}
    targets = {str(name): _target(values, pixels, str(name)) for name, values in named.items()}
    for name, column in targets.items():
        if len(column) != len(pixels):
            raise HowfarError(f"{len(pixels)} images but {len(column)} targets in '{name}'. Align them.")
    return Data(pixels, targets, torch.arange(len(pixels)) if ids is None else torch.as_tensor(ids).long().cpu())


def pixels_of(X: Any, *, channels: Channels | None = None, scale: Scale | None = None) -> Pixels:
    """Return images as bytes, (n, channels, height, width).

    Args:
        X: images, an array or a tensor.
        channels: where the channels are; None infers it from the shape.
        scale: value of white; None infers it from the values.

    Raises:
        HowfarError: if the layout or the range of the values is ambiguous or not supported.
    """
    values = X if isinstance(X, Tensor | np.ndarray) else np.asarray(X)
    last, white = layout_of(values, channels=channels, scale=scale)
    _, *sides = values.shape
    shape = (len(values), *(sides[-1:] + sides[:-1] if last else sides if len(sides) == 3 else [1, *sides]))
    pixels = arrays.empty_pixels(shape)
    for part in arrays.chunks(len(values), CHUNK):
        some = _tensor(values[part])
        some = some.movedim(-1, 1) if last else some.view(len(some), *shape[1:])
        pixels[part] = some if white is None else (some.double() * (255 / white)).round()
    return pixels


def layout_of(values: Any, *, channels: Channels | None, scale: Scale | None) -> tuple[bool, Scale | None]:
    """Return whether the channels are last, and the value of white, None for bytes; arguments as of ``pixels_of``."""
    return _channels_last(tuple(values.shape), channels), _white(values, scale)


def _channels_last(shape: tuple[int, ...], channels: Channels | None) -> bool:
    """Return whether images of this shape have their channels last; gray images without channels do not."""
    if shape[:1] == (0,):
        raise HowfarError("there are no images. Pass at least one.")
    if len(shape) not in (3, 4) or 0 in shape:
        raise HowfarError(
            f"images must have the shape (n, height, width), (n, channels, height, width) or (n, height, width, "
            f"channels), not {shape}. Reshape them."
        )
    if len(shape) == 3:
        return False
    if channels not in (None, "first", "last"):
        raise HowfarError(f"channels = {channels!r} is not a layout. Use 'first' or 'last'.")
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if channels is None and first and last:
        raise HowfarError(
            f"images of shape {shape} may have their channels first or last. Pass channels='first' or 'last'."
        )
    if not (last if channels == "last" else first if channels == "first" else first or last):
        raise HowfarError(
            f"images of shape {shape} do not have 1 or 3 channels{f' {channels}' if channels else ''}. Convert them to "
            "gray or RGB; an alpha channel can be cut off."
        )
    return channels == "last" or (channels is None and last)


def _white(values: Any, scale: Scale | None) -> Scale | None:
    """Return the value of white in floating-point images; None for bytes, which are kept.

    Raises:
        HowfarError: for values outside the range, or if the range is ambiguous.
    """
    if scale not in (None, 1, 255):
        raise HowfarError(f"scale = {scale!r} is not a value of white. Use 1 for images in [0, 1], 255 for [0, 255].")
    kind = str(values.dtype).removeprefix("torch.")
    if kind == "uint8":
        if scale == 1:
            raise HowfarError("images of type uint8 have white at 255, not at 1. Leave out scale.")
        if scale is None:
            _warn_of_dark(float(values.max()))
        return None
    if not kind.startswith(("int", "uint", "float", "bfloat")):
        raise HowfarError(f"images of type {kind} are not supported. Convert them to uint8 or floating-point numbers.")
    low, high, whole = _extremes(values)
    if not np.isfinite([low, high]).all():
        raise HowfarError("the images contain NaN or infinite values. Remove them.")
    if low < 0:
        raise HowfarError(
            f"the images have values from {low:.4g} to {high:.4g}, as after a normalization. Undo it: pass images in "
            "[0, 1] or [0, 255]."
        )
    if not kind.startswith(("float", "bfloat")):
        white: Scale = 255
        if scale is None:
            _warn_of_dark(high)
    else:
        white = scale or _inferred(high, whole=whole)
    if high > white:
        raise HowfarError(
            f"the images have values up to {high:.4g}, above {white}. Clip or rescale them to [0, {white}]."
        )
    return white


def _inferred(high: float, *, whole: bool) -> Scale:
    """Return the value of white in floating-point images whose largest value is known."""
    if (high <= 1 and not whole) or high == 0:
        return 1
    if high >= UNCLEAR:
        return 255
    what = "only 0 and 1" if whole and high == 1 else f"values up to {high:.4g}"
    raise HowfarError(
        f"the floating-point images have {what}, so the value of white is unclear. Divide them by it and pass scale=1, "
        "or pass scale=255."
    )


def _warn_of_dark(high: float) -> None:
    """Warn of integers that may have white below 255."""
    if 0 < high < UNCLEAR:
        warnings.warn(
            f"the images have integers up to {high:.0f} only, and white is taken to be 255. If it is {high:.0f}, pass "
            f"X / {high:.0f} with scale=1.",
            stacklevel=2,
        )


def _extremes(values: Any) -> tuple[float, float, bool]:
    """Return the smallest and the largest value, and whether all values are whole numbers."""
    low, high, whole = np.inf, -np.inf, True
    for part in arrays.chunks(len(values), CHUNK):
        some = _tensor(values[part]).double()
        low, high = min(low, float(some.min())), max(high, float(some.max()))
        if not np.isfinite([low, high]).all() or some.isnan().any():
            return np.nan, np.nan, False
        whole = whole and bool((some == some.round()).all())
    return low, high, whole


def _tensor(values: Any) -> Tensor:
    """Return a copy of an array as a tensor on the CPU, which also works for arrays that must not be written to."""
    return values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _target(values: Any, pixels: Pixels, name: str) -> Tensor:
    """Return the targets of one name: classes of images or pixels, or numbers.

    Raises:
        HowfarError: for texts, negative classes and other targets that no task can have.
    """
    column = values if isinstance(values, Tensor) else np.asarray(values)
    if not isinstance(column, Tensor) and column.dtype.kind not in "biuf":
        raise HowfarError(
            f"target '{name}' holds {column.dtype}, not numbers. Number the classes: "
            "classes, y = np.unique(y, return_inverse=True)."
        )
    found = _tensor(column)
    if found.is_floating_point():
        found = found.float()
        if found.ndim == 4 and found.shape[1:3] == pixels.shape[2:] != found.shape[2:]:
            found = found.movedim(-1, 1)
        elif found.ndim == 3 and found.shape[1:] == pixels.shape[2:]:
            found = found[:, None]
        return found.contiguous()
    if found.ndim == 1 or found.shape[1:] == (1,):  # Keras keeps a column of classes
        found = found.flatten().long()
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) < MOST_CLASSES:
            raise HowfarError(
                f"target '{name}' has classes from {int(found.min())} to {int(found.max())}. Number them from 0, and "
                "leave out images without a class."
            )
        warn_of_gaps(found, f"target '{name}'")
        return found
    if found.ndim == 3:
        if found.shape[1:] != pixels.shape[2:] or int(found.min()) < 0 or int(found.max()) > arrays.VOID:
            raise HowfarError(
                f"target '{name}' must hold a class from 0 to 254 for every pixel, or {arrays.VOID} for none. "
                "Convert it."
            )
        return found.to(torch.uint8)
    return found


def warn_of_gaps(classes: Tensor, what: str) -> int:
    """Warn of class numbers that no image has, as networks get an output for each; return the number of classes.

    Args:
        classes: of the training images.
        what: what holds them, for the warning.
    """
    known = classes.unique()
    if not len(known) or int(known.min()) < 0 or len(known) == int(known.max()) + 1:
        return len(known)
    fix = "y - 1" if int(known.min()) == 1 else "np.unique(y, return_inverse=True)[1]"
    warnings.warn(
        f"{what} has {len(known)} class{'es' * (len(known) > 1)} with numbers from {int(known.min())} to "
        f"{int(known.max())}. Numbers without images count as classes, too. If this is wrong, pass {fix}.",
        stacklevel=2,
    )
    return len(known)

"""``protect``: protect a user's images and return them in the same form."""

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from howfar import arrays
from howfar.data import Data, Splits
from howfar.data.own import data_of, layout_of
from howfar.errors import UsageError
from howfar.protectors.protector import Protector
from howfar.spec.syntax import number_text
from howfar.tasks import TASKS, Task

LEAST_SIDE = 8  # pixels; no network of MODELS takes smaller images
Images = TypeVar("Images", Tensor, NDArray[Any])


@overload
def protect(
    protector: str | Protector, X: Data, y: None = None, *, task: str | Task | None = None, seed: int = 0,
    device: str | torch.device = "cpu",
) -> Data: ...  # fmt: skip


@overload
def protect(
    protector: str | Protector, X: Images, y: Any = None, *, task: str | Task | None = None, seed: int = 0,
    channels: Literal["first", "last"] | None = None, scale: Literal[1, 255] | None = None, ids: Any = None,
    device: str | torch.device = "cpu",
) -> Images: ...  # fmt: skip


@overload
def protect(
    protector: str | Protector, X: Sequence[Any] | Dataset[Any], y: Any = None, *, task: str | Task | None = None,
    seed: int = 0, channels: Literal["first", "last"] | None = None, scale: Literal[1, 255] | None = None,
    ids: Any = None, device: str | torch.device = "cpu",
) -> Any: ...  # fmt: skip


def protect(
    protector: str | Protector, X: Any, y: Any = None, *, task: str | Task | None = None, seed: int = 0,
    channels: Literal["first", "last"] | None = None, scale: Literal[1, 255] | None = None, ids: Any = None,
    device: str | torch.device = "cpu", **unknown: Any,
) -> Any:  # fmt: skip
    """Return protected images in the form in which they were given: array or tensor, type, device, layout and range.

    The change is a multiple of 1/255 at every pixel, so that it survives saving with 8 bits. It is added to the images
    as they are.

    Args:
        protector: a name of ``PROTECTORS`` with its settings, as in ``"lsp[eps=8/255]"``, or a protector.
        X: images as ``Data.from_arrays`` takes them; or what ``bench`` takes: ``Data``, a pair ``(images, classes)``, a
            list of PIL images, or a torch data set. Of a pair, a pair comes back, of PIL images a list of them, gray
            or RGB. Of a torch data set with one target, ``Data.to_torch`` comes back, of any other data set ``Data``.
        y: classes or a ``dict`` of targets, as in ``Data.from_arrays``. Protectors that need no labels need none.
        task: the source task, or its name in ``TASKS``; None takes the classification of the images.
        seed: same seed, same noise.
        channels: as in ``Data.from_arrays``.
        scale: as in ``Data.from_arrays``.
        ids: as in ``Data.from_arrays``; the noise of an image depends on its id.
        device: where surrogates are trained.
        unknown: refused; settings belong to the name.

    Raises:
        UsageError: for an unknown protector or setting, or without classes where they are needed.
        HowfarError: for images or targets that cannot be used.

    Example:
        >>> import numpy as np
        >>> from howfar import protect
        >>> X, y = np.full((4, 16, 16, 3), 0.5, np.float32), [0, 1, 0, 1]
        >>> protected = protect("random[eps=8/255]", X, y, seed=0)
        >>> protected.dtype, protected.shape, float(abs(protected - X).max()) <= 8 / 255 + 1e-6
        (dtype('float32'), (4, 16, 16, 3), True)
    """
    from howfar.protectors import PROTECTORS  # which imports this file

    if unknown:
        name = next(iter(unknown))
        raise UsageError(
            f"protect has no argument '{name}'. Settings stand in the name: "
            f"'{_short(protector)}[{name}={_fit(unknown[name])}]'."
        )
    built = PROTECTORS[protector] if isinstance(protector, str) else protector
    made = built() if isinstance(built, type) else built
    if not isinstance(made, Protector):
        raise UsageError(
            f"the protector is a {type(made).__name__}, not a name or a protector. The order is protector, images, "
            "classes: protect('lsp', X, y)."
        )
    options: dict[str, Any] = {"channels": channels, "scale": scale}
    if y is None and isinstance(X, tuple | list) and len(X) == 2 and not _are_pictures(X):
        images, classes = X
        return protect(made, images, classes, task=task, seed=seed, ids=ids, device=device, **options), classes
    if isinstance(X, Splits):
        raise UsageError("Splits hold training and test images, of which only the first are protected: splits.train.")
    if isinstance(X, list | tuple) and not _are_pictures(X):
        X = np.asarray(X)
    data = _data(X, y, ids, options)
    if min(data.shape[1:]) < LEAST_SIDE:
        height, width = data.shape[1:]
        raise UsageError(
            f"images of {width}×{height} pixels are too small to protect. Use at least {LEAST_SIDE} a side."
        )
    source = _task(task, data)
    protected = made.protect(data, source, generator=arrays.seeded(seed), device=device)
    if isinstance(X, Dataset) and (protected.classes or len(protected.targets) == 1):
        return protected.to_torch()
    if isinstance(X, list | tuple):
        return [_picture(pixels) for pixels in protected.pixels]
    if not isinstance(X, Tensor | np.ndarray):
        return protected
    last, white = layout_of(X, channels=channels, scale=scale)
    return _changed(X, data, protected, last=last, white=white)


def _data(X: Any, y: Any, ids: Any, options: dict[str, Any]) -> Data:
    """Return images of any kind as ``Data``."""
    if isinstance(X, Tensor | np.ndarray):
        return data_of(X, y, ids=ids, **options)
    if isinstance(X, list | tuple):  # of pictures
        return data_of(Data.from_torch(X).pixels, y, channels="first", scale=255, ids=ids)
    if y is not None or ids is not None:
        raise UsageError(f"a {type(X).__name__} has its own classes and ids. Leave out y and ids.")
    return X if isinstance(X, Data) else Data.from_torch(X, **options)


def _are_pictures(X: Any) -> bool:
    return len(X) > 0 and all(isinstance(image, Image.Image) for image in X)


def _picture(pixels: Tensor) -> Image.Image:
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)


def _short(protector: Any) -> str:
    """Return a protector without its settings."""
    return re.split(r"[\[:]", protector)[0] if isinstance(protector, str) else "lsp"


def _fit(value: Any) -> str:
    """Return a setting as text; multiples of 1/255 in that form."""
    return number_text(value) if isinstance(value, int | float) else str(value)


def _task(task: str | Task | None, data: Data) -> Task | None:
    """Return the task; a name without settings is a factory of factories, as in ``TASKS``."""
    if not isinstance(task, str):
        return task
    found = TASKS[task]
    maker = found() if task in TASKS else found
    made: Task = maker(data)
    return made


def _changed(X: Any, data: Data, protected: Data, *, last: bool, white: int | None) -> Any:
    """Return the images with the change that protection made to their bytes."""
    changed: Any = torch.empty_like(X) if isinstance(X, Tensor) else np.empty_like(X)
    for part in arrays.chunks(len(data), 4096):
        after = _like(protected.pixels[part], X[part], last=last)
        if white is None:
            changed[part] = after
            continue
        noise = (after - _like(data.pixels[part], X[part], last=last)) * (white / 255)
        changed[part] = (X[part] + noise).clip(0, white)
    return changed


def _like(pixels: Tensor, images: Any, *, last: bool) -> Any:
    """Return bytes in the layout of the images, in a type in which differences do not overflow."""
    floating = isinstance(images, Tensor) and images.is_floating_point()
    moved = pixels.to(images.dtype if floating else torch.int16)
    moved = moved.movedim(1, -1) if last else moved.view(images.shape)
    return moved.to(images.device) if isinstance(images, Tensor) else moved.numpy()

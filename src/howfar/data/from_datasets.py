"""Data sets of torch and Hugging Face -> ``Data``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader

from howfar import arrays
from howfar.data.own import Channels, Scale, data_of
from howfar.data.pictures import read_picture, read_picture_bytes, to_rgb
from howfar.data.types import Data
from howfar.errors import HowfarError, UsageError, require

Item = tuple[Any, dict[str, Any]]  # image, targets by name


def from_torch(
    dataset: Any, *, targets: Sequence[str] = (), size: int = 0, channels: Channels | None = None,
    scale: Scale | None = None,
) -> Data:  # fmt: skip
    """Return all items of a map-style data set; see ``Data.from_torch``."""
    if isinstance(dataset, DataLoader):
        raise UsageError("a DataLoader draws batches, so it is no data set. Pass its data set: loader.dataset.")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise UsageError(f"{type(dataset).__name__} has no length or no items by number. Pass list(dataset).")
    items = (_item(dataset[index], targets) for index in range(len(dataset)))
    return _collected(items, len(dataset), size=size, channels=channels, scale=scale)


def from_huggingface(
    dataset: Any, *, image: str = "", targets: Sequence[str] = (), size: int = 0, channels: Channels | None = None,
    scale: Scale | None = None,
) -> Data:  # fmt: skip
    """Return all rows of a data set of Hugging Face; see ``Data.from_huggingface``."""
    require("datasets", "huggingface", "a data set of Hugging Face")
    if not hasattr(dataset, "features") or isinstance(dataset, Mapping):
        names = ", ".join(map(repr, dataset)) if isinstance(dataset, Mapping) else "'train'"
        raise UsageError(f"this is no single split of a data set. Pass one of its splits: dataset[NAME], with {names}.")
    picture = image or _image_column(dataset.features)
    for name in (picture, *targets):
        if name not in dataset.features:
            raise UsageError(f"the data set has no column '{name}'. There are: {', '.join(dataset.features)}.")
    chosen = _named(targets, dataset.features)
    kept = _undecoded(dataset.select_columns([picture, *chosen]))
    items = (
        (_picture(row[picture]), {name: _picture(row[column]) for column, name in chosen.items()}) for row in kept
    )  # fmt: skip
    return _collected(items, len(dataset), size=size, channels=channels, scale=scale)


def _undecoded(dataset: Any) -> Any:
    """Return the data set without decoded images: they are decoded here, in few formats and up to a size."""
    import datasets

    for name, kind in dataset.features.items():
        if isinstance(kind, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset


def _picture(value: Any) -> Any:
    """Return a decoded image, or another value itself."""
    if not (isinstance(value, Mapping) and set(value) == {"bytes", "path"}):
        return value
    if value["bytes"] is None:
        return read_picture(Path(value["path"]), upright=True)
    return read_picture_bytes(value["bytes"], str(value["path"] or "an image"))


def _image_column(features: Mapping[str, Any]) -> str:
    """Return the only column of images."""
    found = [name for name, kind in features.items() if type(kind).__name__ == "Image"]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} columns hold images, of {', '.join(features)}. Name the one to use: image=COLUMN."
        )
    return found[0]


def class_columns(dataset: Any, column: str = "") -> list[str]:
    """Return the columns of classes of a data set of Hugging Face; arguments as of ``class_names``."""
    return list(_named([column] if column else [], dataset.features))


def class_names(dataset: Any, column: str = "") -> list[str]:
    """Return the names of the classes of a data set of Hugging Face; empty if it has none, or several kinds.

    Args:
        dataset: one split.
        column: of the classes; empty takes the only one.
    """
    columns = class_columns(dataset, column)
    names = getattr(dataset.features.get(columns[0]), "names", None) if len(columns) == 1 else None
    return list(names or [])


def _named(columns: Sequence[str], features: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of the targets with their names; the only one is called ``label`` if it holds classes.

    Args:
        columns: as asked for; empty takes those of classes.
        features: of the data set.
    """
    found = list(columns) or [name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    found = found or [name for name in ("label", "labels") if name in features]
    if len(found) == 1 and type(features[found[0]]).__name__ in ("ClassLabel", "Value"):
        return {found[0]: "label"}
    return {name: name for name in found}


def _item(item: Any, names: Sequence[str]) -> Item:
    """Return image and targets of an item: an image, (image, target, ...), or a mapping."""
    if isinstance(item, Mapping):
        image = next((name for name in ("image", "img", "pixel_values") if name in item), None)
        if image is None:
            known = ", ".join(map(str, item))
            raise UsageError(f"the items have no 'image', only {known}. Rename it, or return a pair.")
        rest = {str(name): value for name, value in item.items() if name != image}
        return item[image], {name: rest[name] for name in names} if names else rest
    if not isinstance(item, tuple | list):
        return item, {}
    picture, *values = item
    if len(values) == 1 and isinstance(values[0], Mapping):
        return picture, {str(name): value for name, value in values[0].items()}
    if len(values) == 1 and (values[0] is None or isinstance(values[0], str)):
        raise UsageError(
            f"the target of an item is {values[0]!r}, not a number. Return the class as an integer from 0."
        )
    labels = list(names) or ["label"] * (len(values) == 1 and _is_class(values[0]))
    if not names and len(values) == 1 and not labels:
        shape = tuple(np.shape(values[0]))
        raise UsageError(
            f"the target of an item has the shape {shape}, so it is no class. Name it: targets=['NAME']; of a one-hot "
            "label, return the class: label.argmax()."
        )
    if len(labels) != len(values):
        raise UsageError(
            f"the items have {len(values)} targets besides the image, but {len(labels)} names. Name them: "
            "targets=['label', ...]."
        )
    return picture, dict(zip(labels, values, strict=True))


def _is_class(value: Any) -> bool:
    return np.ndim(value) == 0 if isinstance(value, int | float | np.generic | Tensor | np.ndarray) else False


def _collected(items: Iterable[Item], count: int, *, size: int, channels: Channels | None, scale: Scale | None) -> Data:
    """Return the items as one set; pictures become bytes, gray if all of them are."""
    if not count:
        raise UsageError("the data set is empty. Pass one with images.")
    images: Any = None
    columns: dict[str, list[Any]] = {}
    gray, shape = True, None
    for index, (image, targets) in enumerate(items):
        array, is_gray = _array(image, size)
        gray = gray and is_gray
        if isinstance(image, Image.Image):
            channels = "last"
        if images is None:
            shape = tuple(array.shape)
            images = _empty(count, array)
        if tuple(array.shape) != shape:
            raise HowfarError(
                f"image {index} has the shape {tuple(array.shape)}, image 0 {shape}. Resize them to one size: size=32 "
                "for pictures, else in the data set's transform."
            )
        images[index] = array
        for name, value in targets.items():
            columns.setdefault(name, []).append(np.asarray(value))
    values = images[..., :1] if gray else images
    stacked = {name: _stacked(name, column, count) for name, column in columns.items()}
    return data_of(values, stacked, channels=channels, scale=scale)


def _empty(count: int, first: Any) -> Any:
    """Return room for images like the first one; bytes of large sets lie on disk."""
    if str(first.dtype).removeprefix("torch.") == "uint8":
        return arrays.empty_pixels((count, *first.shape)).numpy()
    shape = (count, *first.shape)
    return torch.empty(shape, dtype=first.dtype) if isinstance(first, Tensor) else np.empty(shape, first.dtype)


def _array(image: Any, size: int) -> tuple[Any, bool]:
    """Return an image as array or tensor, a picture as bytes, (height, width, 3); and whether it is a gray picture."""
    if isinstance(image, Tensor):
        return image.detach().cpu(), False
    if not isinstance(image, Image.Image):
        return np.asarray(image), False
    picture, gray = to_rgb(image, "a picture")
    return np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS) if size else picture), gray


def _stacked(name: str, column: Sequence[Any], count: int) -> Any:
    """Return the targets of all images as one array."""
    if len(column) != count or len({value.shape for value in column}) > 1:
        raise HowfarError(
            f"target '{name}' is missing in some items, or its shape varies. Leave it out: targets=[...]."
        )
    return np.stack(column)

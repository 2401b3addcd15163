"""Data that a caller passes to ``bench``: split, named and kept in the folder of the store."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from howfar.data import Data, Splits, halves
from howfar.data.own import data_of
from howfar.errors import UsageError
from howfar.store import Store
from howfar.unfinished import atomic_write

TEST_SHARE = 0.2  # of every class, where no test images are given


def with_classes(images: Any, y: Any) -> tuple[Any, Any]:
    """Return images and classes that were given one by one."""
    if not isinstance(images, np.ndarray | torch.Tensor | list):
        raise UsageError(
            f"the second argument holds the classes of images in an array, but the first is a {type(images).__name__}. "
            "Name the others: bench(data, protectors=..., models=...)."
        )
    return images, y


def splits_of(dataset: Any) -> Splits:
    """Return images and classes split into training and test images.

    Args:
        dataset: ``Data``, ``(images, classes)`` or a torch data set.

    Raises:
        UsageError: if there are no classes, or it is none of these.
    """
    if isinstance(dataset, np.ndarray | torch.Tensor):
        raise UsageError("images alone have no classes. Pass images and classes: bench(X, y).")
    if (isinstance(dataset, tuple | list | Mapping) and len(dataset) != 2) or isinstance(dataset, Mapping):
        raise UsageError(f"a {type(dataset).__name__} of {len(dataset)} is no data set. Pass (images, classes).")
    if isinstance(dataset, tuple | list):
        data = data_of(*dataset)
    else:
        data = dataset if isinstance(dataset, Data) else Data.from_torch(dataset)
    data = replace(data, ids=torch.arange(len(data)))  # archives number the images
    if data.classes is None:
        raise UsageError(
            f"the images cannot be split by class: {data.why_no_classes} Or pass Splits(train, test, classes=(), "
            "flip=False)."
        )
    train, test = halves(data, TEST_SHARE, target=data.classes)
    return Splits(train, test, classes=(), flip=True)


def title_of(splits: Splits) -> str:
    """Return what tables call somebody's own data: ``your data (2,000 images, 10 classes)``."""
    target = splits.train.classes
    kinds = len(splits.train.targets[target].unique()) if target else 0
    images = f"{len(splits.train) + len(splits.test):,} images"
    return f"your data ({images}{f', {kinds} classes' if kinds else ''})"


def keep(splits: Splits, store: Store, name: str) -> str:
    """Write a data set to the folder of the store, and return what ``DATASETS`` reads it by.

    Raises:
        UsageError: for a store that is no folder, or a name that cannot be written in settings.
    """
    if not name.strip() or any(sign in name for sign in '"[]') or not name.isprintable():
        raise UsageError(f"name = {name!r} cannot be used. Take a text without quotes and brackets.")
    if not Path(store.place).is_dir():
        raise UsageError(f"{store.place} is no folder, so it cannot keep a data set. Pass the name of one.")
    parts = {"train": splits.train, "test": splits.test}
    numbered = [replace(part, ids=torch.arange(len(part))) for part in parts.values()]
    digest = "".join(part.digest()[:4] for part in numbered)
    path = (Path(store.place) / "own" / f"own-{digest}.npz").resolve()
    if not path.exists():
        arrays: dict[str, Any] = {"classes": np.array(splits.classes)} if splits.classes else {}
        for kind, part in parts.items():
            arrays[f"x_{kind}"] = part.pixels.numpy()
            arrays |= {_key(kind, target): values.numpy() for target, values in part.targets.items()}
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as draft, draft.open("wb") as file:
            np.savez(file, **arrays)
    return f'npz:"{path}"[name="{name}"{"" if splits.flip else ",flip=false"}]'


def _key(part: str, target: str) -> str:
    """Return the name of a target in an archive."""
    return f"y_{part}" if target == "label" else f"y_{part}_{target}"

"""Data sets of the Hugging Face Hub, or saved with ``save_to_disk``, by name."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from howfar.data.from_datasets import class_columns, class_names, from_huggingface
from howfar.data.subset import halves
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError, require
from howfar.spec import LARGEST_SIDE

FEW = 4  # images of a sample
TEST_SHARE = 0.2  # of every class, if there is no test split


def hf(
    name: str,
    size: Annotated[int, Field(ge=0, le=LARGEST_SIDE)] = 0,
    config: str = "",
    train: str = "train",
    test: str = "",
    image: str = "",
    label: str = "",
    flip: bool = True,
    download: bool = False,
) -> Splits:
    """A data set of the Hugging Face Hub, or a folder written by ``save_to_disk``; needs ``howfar[huggingface]``.

    Only files of data are read. No code of the data set is run.

    Args:
        name: e.g. ``uoft-cs/cifar10``, or the folder.
        size: resize the shorter side to this many pixels, then center-crop; 0 keeps images as they are.
        config: name of the configuration, if the data set has several.
        train: split of the training images.
        test: split of the test images; empty takes ``test``, else ``validation``, else a fifth of every class.
        image: column of the images; empty takes the only one.
        label: column of the classes; empty takes all of type ``ClassLabel``.
        flip: whether images may be mirrored in training.
        download: download the data set if it is not in the cache.

    Raises:
        UsageError: if the data set, a split or a column is missing; HowfarError: for images that cannot be used.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["hf"]("uoft-cs/cifar10", download=True).train  # doctest: +SKIP
    """
    parts = _chosen(name, config, train, test, download=download)
    first, *others = (_read(part, image, label, size) for part in parts)
    if others:
        second = replace(others[0], ids=others[0].ids + len(first))
    else:
        if first.classes is None:
            raise UsageError(f"{name} has no test split and no classes. Name a split: hf:{name}[test=SPLIT].")
        first, second = halves(first, TEST_SHARE, target=first.classes)
    if first.shape != second.shape:
        raise HowfarError(
            f"{name}: training images are {first.shape}, test images {second.shape}. Add a size: hf:{name}[size=32]."
        )
    return Splits(first, second, tuple(class_names(parts[0], label)), flip)


def counted(
    name: str, size: int, config: str, train: str, test: str, image: str, label: str, *, download: bool
) -> tuple[Data, list[str], int, int]:
    """Return the first images, the names of the classes, and the numbers of training and of test images.

    Other images are not decoded. Arguments and errors as of ``hf``.
    """
    parts = _chosen(name, config, train, test, download=download)
    sample = _read(parts[0].select(range(min(FEW, len(parts[0])))), image, label, size)
    names = class_names(parts[0], label)
    if len(parts) == 2:
        return sample, names, len(parts[0]), len(parts[1])
    labels = Counter(parts[0][class_columns(parts[0], label)[0]]) if sample.classes else {}
    held = sum(min(max(round(TEST_SHARE * count), 1), count - 1) for count in labels.values())  # as ``halves`` splits
    return sample, names, len(parts[0]) - held, held


def _read(part: Any, image: str, label: str, size: int) -> Data:
    return from_huggingface(part, image=image, targets=[label] if label else [], size=size)


def _chosen(name: str, config: str, train: str, test: str, *, download: bool) -> list[Any]:
    """Return the split of the training images, and that of the test images if there is one."""
    require("datasets", "huggingface", "a data set of Hugging Face")
    parts = _loaded(name, config, download=download)
    tested = test or next((part for part in ("test", "validation", "valid") if part in parts), "")
    for part in (train, *([tested] if tested else [])):
        if part not in parts:
            raise UsageError(f"{name} has no split '{part}'. There are: {', '.join(map(str, parts))}.")
    return [parts[part] for part in (train, *([tested] if tested else []))]


def _loaded(name: str, config: str, *, download: bool) -> Any:
    """Return the splits by name."""
    import datasets

    try:
        if Path(name).expanduser().is_dir():
            found = datasets.load_from_disk(str(Path(name).expanduser()))
        else:
            with nullcontext() if download else _offline():
                found = datasets.load_dataset(name, config or None)
    except Exception as error:  # files and network fail in many ways
        fix = "See whether the name is right." if download else "Add --download, or give a folder of save_to_disk."
        raise UsageError(f"could not load the data set '{name}' ({error}). {fix}") from None
    return found if isinstance(found, dict) else {"train": found}


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries of Hugging Face from asking the network; they read the environment only when imported."""
    import datasets.config
    import huggingface_hub.constants

    places: tuple[Any, ...] = (huggingface_hub.constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value

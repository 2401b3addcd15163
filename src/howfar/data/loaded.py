"""Data sets of this process: each is loaded once, and workers of one machine share the large ones."""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from howfar.arrays import canonical
from howfar.data import DATASETS, Splits, balanced, held_back, read_splits, write_splits
from howfar.spec import parse

LARGE = 32 * 2**20  # bytes of images above which a data set is memory-mapped by workers
Choice = tuple[str, int | None, int | None, int]  # data set, limits of training and test images, held-out images


@dataclass(frozen=True)
class MemoryMap:
    """A data set in a file for memory mapping.

    Attributes:
        path: the file.
        digests: of its splits.
    """

    path: Path
    digests: dict[str, str]


MemoryMaps = dict[Choice, MemoryMap]
_memory_maps: MemoryMaps = {}


def splits_of(choice: Choice) -> Splits:
    """Return a data set."""
    return _load(*choice)


def digests_of(choice: Choice) -> dict[str, str]:
    """Return the digests of the splits of a data set, loading it if necessary."""
    return _digests(*choice)


def write_memory_maps(choices: Iterable[Choice], folder: Path) -> MemoryMaps:
    """Write the larger of these data sets to memory-mapped files, of which workers share one copy per machine."""
    maps: MemoryMaps = {}
    for choice in set(choices):
        splits = splits_of(choice)
        parts = (splits.train, splits.test, splits.clean, splits.validation)
        if sum(part.pixels.nbytes for part in parts if part is not None) >= LARGE:
            digests = digests_of(choice)
            name = hashlib.sha256(canonical([list(choice), digests]).encode()).hexdigest()[:20]
            path = folder / f"{name}.safetensors"
            write_splits(splits, path)
            maps[choice] = MemoryMap(path, digests)
    return maps


def use_memory_maps(maps: MemoryMaps) -> None:
    """Use memory-mapped data sets in this process instead of loading them."""
    if maps == _memory_maps:
        return
    _memory_maps.clear()
    _memory_maps.update(maps)
    _load.cache_clear()
    _digests.cache_clear()


@functools.lru_cache(maxsize=2)
def _load(label: str, limit_train: int | None, limit_test: int | None, held_out: int) -> Splits:
    mapped = _memory_maps.get((label, limit_train, limit_test, held_out))
    if mapped is not None and mapped.path.exists():
        return read_splits(mapped.path)
    splits = parse(label, DATASETS, "dataset").build()
    splits = replace(splits, test=balanced(splits.test, limit_test))
    if not held_out:
        return replace(splits, train=balanced(splits.train, limit_train))
    train, clean, validation = held_back(splits.train, limit_train, held_out)
    return replace(splits, train=train, clean=clean, validation=validation)


@functools.lru_cache(maxsize=2)
def _digests(label: str, limit_train: int | None, limit_test: int | None, held_out: int) -> dict[str, str]:
    mapped = _memory_maps.get((label, limit_train, limit_test, held_out))
    if mapped is not None:
        return mapped.digests
    splits = _load(label, limit_train, limit_test, held_out)
    parts = {"train": splits.train, "test": splits.test, "clean": splits.clean, "validation": splits.validation}
    return {name: part.digest()[:20] for name, part in parts.items() if part is not None}

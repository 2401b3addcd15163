"""A memory-mapped cache of rows that can be filled in several runs."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar import arrays
from howfar.errors import HowfarError
from howfar.unfinished import atomic_write

PIECE = 256  # rows between two updates of the marks


class Rows:
    """One memory-mapped array per column, and a mark for every row: 0 missing, 1 complete, 2 broken.

    Args:
        folder: of this selection of views.
        count: number of rows.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.marks = self._open("marks", (count,), np.dtype(np.uint8))
        except OSError as error:
            raise HowfarError(f"cannot write to {folder} ({error.strerror}). Set HOWFAR_DATA elsewhere.") from None
        self.lock = threading.Lock()
        self.open: dict[str, NDArray[Any]] = {}

    def missing(self) -> Iterator[list[int]]:
        """Yield chunks of rows to read, including broken ones."""
        todo = np.flatnonzero(self.marks != 1).tolist()
        for part in arrays.chunks(len(todo), PIECE):
            yield todo[part]

    def write(self, row: int, values: Mapping[str, Tensor]) -> None:
        """Write one row."""
        for name, value in values.items():
            array = value.numpy()
            with self.lock:
                if name not in self.open:
                    self.open[name] = self._open(name, (self.count, *array.shape), array.dtype)
            if self.open[name].shape[1:] != array.shape:
                raise HowfarError(f"a file of {name} has a different length than the others.")
            self.open[name][row] = array

    def mark(self, rows: Iterable[int], faults: Mapping[int, str]) -> None:
        """Flush the rows to disk, then mark them."""
        for array in self.open.values():
            array.flush()  # type: ignore[attr-defined]
        for row in rows:
            self.marks[row] = 2 if row in faults else 1
        self.marks.flush()

    def columns(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return all columns, and the indices of complete rows."""
        found = {
            path.stem: torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
            for path in sorted(self.folder.glob("*.npy"))
            if path.stem != "marks"
        }
        return found, torch.from_numpy(np.flatnonzero(self.marks == 1))

    def _open(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        path = self.folder / f"{name}.npy"
        if path.is_file():
            return np.load(path, mmap_mode="r+", allow_pickle=False)
        with atomic_write(path) as draft:
            np.lib.format.open_memmap(draft, mode="w+", dtype=dtype, shape=shape).flush()
        return np.load(path, mmap_mode="r+", allow_pickle=False)

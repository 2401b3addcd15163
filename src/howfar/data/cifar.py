"""CIFAR-10 and CIFAR-100 from the official Python batches, an archive of them, or an ``.npz``."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar.data import files
from howfar.data.npz import read_npz
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_HASH = "md5:c58f30108f718f92721af3b95e74349a"
CIFAR100_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
CIFAR100_HASH = "md5:eb9058c3a382ffc7106e4002c42a8d85"


def cifar10(root: Path | None = None, download: bool = False) -> Splits:
    """CIFAR-10, 50,000 + 10,000 32×32 images of 10 classes (Krizhevsky 2009).

    Args:
        root: a folder that holds ``cifar-10-batches-py``, the ``.tar.gz`` or ``cifar10.npz``, or one of these.
        download: download the archive if it is missing.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["cifar10"](download=True).train  # doctest: +SKIP
    """
    source = _locate("cifar10", root, "cifar-10-batches-py", CIFAR10_URL, CIFAR10_HASH, download)
    if source.suffix == ".npz":
        return read_npz(source, flip=True)
    train = [_batch(source, "cifar-10-batches-py", f"data_batch_{k}") for k in range(1, 6)]
    test = [_batch(source, "cifar-10-batches-py", "test_batch")]
    names = _batch(source, "cifar-10-batches-py", "batches.meta")["label_names"]
    return _splits(source, train, test, {"label": "labels"}, names)


def cifar100(root: Path | None = None, download: bool = False) -> Splits:
    """CIFAR-100, 50,000 + 10,000 32×32 images; targets ``label`` (100 fine classes) and ``coarse`` (20).

    Args:
        root: a folder that holds ``cifar-100-python``, the ``.tar.gz`` or ``cifar100.npz``, or one of these.
        download: download the archive if it is missing.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["cifar100"](download=True).train  # doctest: +SKIP
    """
    source = _locate("cifar100", root, "cifar-100-python", CIFAR100_URL, CIFAR100_HASH, download)
    if source.suffix == ".npz":
        return read_npz(source, flip=True)
    train, test = ([_batch(source, "cifar-100-python", part)] for part in ("train", "test"))
    names = _batch(source, "cifar-100-python", "meta")["fine_label_names"]
    return _splits(source, train, test, {"label": "fine_labels", "coarse": "coarse_labels"}, names)


def _locate(name: str, root: Path | None, folder: str, url: str, checksum: str, download: bool) -> Path:
    archive = url.rpartition("/")[2]
    places = [folder, archive, f"{name}.npz", f"{name}_sample.npz"]
    found = files.find(root, name, places, download=download)
    if root is not None and found is None and root.name == folder:
        found = root
    if found is None and download:
        found = files.fetch(url, checksum, root or files.default_root(name))
    if found is None:
        raise files.missing(name, root, f"{folder}, {archive} or {name}.npz")
    return found


def _batch(source: Path, folder: str, name: str) -> dict[str, Any]:
    try:
        raw = (source / name).read_bytes() if source.is_dir() else files.tar_member(source, f"{folder}/{name}")
    except FileNotFoundError:
        raise HowfarError(f"{source} lacks {name}. Unpack the archive again, or use --download.") from None
    return read_batch(raw, f"{source}: {name}")


def read_batch(raw: bytes, where: str) -> dict[str, Any]:
    """Read one official batch, a pickled dictionary, without running any code from the file.

    Args:
        raw: the file's bytes.
        where: name of the file, for errors.

    Raises:
        HowfarError: if the file is broken or contains anything but arrays, lists, numbers and text.
    """
    try:
        content = _Reader(io.BytesIO(raw), encoding="latin1").load()
        if not isinstance(content, dict):
            raise HowfarError(f"is not a CIFAR batch: it holds a {type(content).__name__}. Fetch it again.")
        return {key: value.built() if isinstance(value, _Array) else value for key, value in content.items()}
    except HowfarError as error:
        raise HowfarError(f"{where} {error}") from None
    except Exception as error:  # unpicklers fail in many ways
        raise HowfarError(f"{where} is not a CIFAR batch or is cut short ({error}). Fetch it again.") from None


class _Reader(pickle.Unpickler):
    """Unpickler that builds placeholders for byte arrays and rejects everything else.

    NumPy never sees the content, because its own objects trust the state they are given: a few wrong bytes in a batch
    crash the process.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return {"ndarray": _Array, "dtype": _Type}[name]
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return _reconstruct
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of
        raise HowfarError(f"asks for {module}.{name}, which no CIFAR batch needs. Do not trust this file.")


class _Type:
    """Placeholder for a dtype."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, _: object) -> None:
        """Ignore the byte order, which bytes do not have."""


class _Array:
    """Placeholder for an array until the file is read."""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.kind, self.by_columns, self.raw = state

    def built(self) -> NDArray[np.uint8]:
        if not isinstance(self.kind, _Type) or self.kind.code != "u1":
            raise HowfarError("holds an array of something else than bytes. Fetch it again.")
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        values = np.frombuffer(raw, np.uint8)
        return values.reshape(self.shape, order="F" if self.by_columns else "C").copy()


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _Array:
        raise HowfarError("rebuilds something that is not an array. Do not trust this file.")
    return _Array()


def _bytes_of(text: str, _: str) -> bytes:
    return text.encode("latin1")  # how Python 3 writes bytes in the old protocol


def _splits(
    source: Path,
    train: list[dict[str, Any]],
    test: list[dict[str, Any]],
    keys: dict[str, str],
    names: list[str],
) -> Splits:
    first = _data(source, train, keys, 0)
    return Splits(first, _data(source, test, keys, len(first)), tuple(str(name) for name in names), flip=True)


def _data(source: Path, batches: list[dict[str, Any]], keys: dict[str, str], first_id: int) -> Data:
    rows: list[Any] = [batch.get("data") for batch in batches]
    if not all(isinstance(r, np.ndarray) and r.dtype == np.uint8 and r.ndim == 2 and r.shape[1] == 3072 for r in rows):
        raise HowfarError(f"{source}: a batch holds no (n, 3072) bytes of images. Fetch it again.")
    pixels = torch.from_numpy(np.concatenate(rows)).reshape(-1, 3, 32, 32)
    targets: dict[str, Tensor] = {}
    for target, key in keys.items():
        targets[target] = torch.tensor([int(label) for batch in batches for label in batch.get(key, ())])
    return Data(pixels=pixels, targets=targets, ids=torch.arange(first_id, first_id + len(pixels)))

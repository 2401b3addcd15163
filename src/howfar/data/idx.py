"""MNIST and Fashion-MNIST from IDX files, gzipped or not, or from an ``.npz``."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from howfar.data import files
from howfar.data.files import refuse_bomb
from howfar.data.npz import read_npz
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_HASHES = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_HASHES = {
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
DEBIAN_FASHION = Path("/usr/share/dataset-fashion-mnist")  # Debian's package dataset-fashion-mnist
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def mnist(root: Path | None = None, download: bool = False) -> Splits:
    """MNIST, 60,000 + 10,000 handwritten digits of 28×28 (LeCun, Cortes and Burges).

    Args:
        root: a folder with the four IDX files or ``mnist.npz``, or that file.
        download: download missing files.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["mnist"](download=True).train  # doctest: +SKIP
    """
    return _load("mnist", root, download, MNIST_URL, MNIST_HASHES, tuple("0123456789"))


def fashion_mnist(root: Path | None = None, download: bool = False) -> Splits:
    """Fashion-MNIST, 60,000 + 10,000 articles of clothing of 28×28 (Xiao et al. 2017, arXiv:1708.07747).

    Args:
        root: a folder with the four IDX files; None also looks for Debian's package ``dataset-fashion-mnist``.
        download: download missing files.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["fashion-mnist"](download=True).train  # doctest: +SKIP
    """
    if root is None and DEBIAN_FASHION.is_dir():
        root = DEBIAN_FASHION
    return _load("fashion-mnist", root, download, FASHION_URL, FASHION_HASHES, FASHION_CLASSES)


def _load(
    name: str, root: Path | None, download: bool, url: str, hashes: dict[str, str], classes: tuple[str, ...]
) -> Splits:
    found = files.find(
        root, name, [f"{name}.npz", *hashes, *(file.removesuffix(".gz") for file in hashes)], download=download
    )
    if found is not None and found.suffix == ".npz":
        return read_npz(found, flip=False)
    if found is not None and found == root:
        raise UsageError(f"{root} is a file, but no .npz. Point --data-root at the folder with {', '.join(hashes)}.")
    folder = root or files.default_root(name)
    paths = []
    for file, checksum in hashes.items():
        path = next((folder / n for n in (file, file.removesuffix(".gz")) if (folder / n).exists()), None)
        if path is None and not download:
            raise files.missing(name, root, file)
        paths.append(path or files.fetch(url + file, checksum, folder))
    train = _pair(paths[0], paths[1], 0)
    return Splits(train, _pair(paths[2], paths[3], len(train)), classes, flip=False)


def _pair(images: Path, labels: Path, first_id: int) -> Data:
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or classes.ndim != 1 or len(pixels) != len(classes):
        raise HowfarError(f"{images} and {labels} do not belong together. Fetch both again.")
    return Data(
        pixels=torch.from_numpy(pixels)[:, None],
        targets={"label": torch.from_numpy(classes.astype(np.int64))},
        ids=torch.arange(first_id, first_id + len(pixels)),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not.

    Raises:
        HowfarError: if it is another kind of file or truncated.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            zeros, kind, rank = struct.unpack(">HBB", file.read(4))
            if (zeros, kind) != (0, 8):
                raise ValueError("no IDX file of unsigned bytes")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            refuse_bomb(path, path.stat().st_size, math.prod(shape))
            raw = file.read(math.prod(shape) + 1)  # one more, to detect trailing bytes
        return np.frombuffer(raw, np.uint8).reshape(shape).copy()
    except (struct.error, ValueError, EOFError, OSError, OverflowError, MemoryError, zlib.error) as error:
        raise HowfarError(f"{path} is broken ({error}). Delete it and fetch it again.") from None

"""Street View House Numbers from the official MATLAB files, or an ``.npz``."""

from pathlib import Path

import numpy as np
import torch

from howfar.data import files
from howfar.data.npz import read_npz
from howfar.data.types import Data, Splits
from howfar.errors import HowfarError, UsageError

URL = "http://ufldl.stanford.edu/housenumbers/"
HASHES = {
    "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
}


def svhn(root: Path | None = None, download: bool = False) -> Splits:
    """Street View House Numbers, 73,257 + 26,032 32×32 images of digits (Netzer et al. 2011).

    Args:
        root: a folder with ``train_32x32.mat`` and ``test_32x32.mat`` or ``svhn.npz``, or that file.
        download: download missing files.

    Example:
        >>> from howfar import DATASETS
        >>> DATASETS["svhn"](download=True).train  # doctest: +SKIP
    """
    found = files.find(root, "svhn", ["svhn.npz", *HASHES], download=download)
    if found is not None and found.suffix == ".npz":
        return read_npz(found, flip=False)
    if found is not None and found == root:
        raise UsageError(f"{root} is a file, but no .npz. Point --data-root at the folder with {', '.join(HASHES)}.")
    folder = root or files.default_root("svhn")
    parts: list[Data] = []
    for file, checksum in HASHES.items():
        if not (folder / file).exists() and not download:
            raise files.missing("svhn", root, file)
        path = folder / file if (folder / file).exists() else files.fetch(URL + file, checksum, folder)
        files.check(path, checksum)  # SciPy's reader may crash on corrupt files
        parts.append(_read(path, first_id=len(parts[0]) if parts else 0))
    return Splits(parts[0], parts[1], classes=tuple("0123456789"), flip=False)


def _read(path: Path, first_id: int) -> Data:
    from scipy.io import loadmat

    try:
        table = loadmat(path, variable_names=["X", "y"])
        pixels = np.ascontiguousarray(table["X"].transpose(3, 2, 0, 1))
        labels = table["y"].flatten().astype(np.int64) % 10  # the files call the digit zero "10"
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HowfarError(f"{path} is not a readable SVHN file ({error}). Delete it and fetch it again.") from None
    return Data(
        pixels=torch.from_numpy(pixels),
        targets={"label": torch.from_numpy(labels)},
        ids=torch.arange(first_id, first_id + len(pixels)),
    )

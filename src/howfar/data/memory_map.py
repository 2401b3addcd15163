"""Data sets as memory-mapped files, so that the processes of a machine share one copy."""

import json
from pathlib import Path

from torch import Tensor

from howfar.data.types import Data, Splits
from howfar.errors import HowfarError
from howfar.unfinished import atomic_write

PARTS = ("train", "test", "clean", "validation")


def write_splits(splits: Splits, path: Path) -> None:
    """Write a data set to a file, unless it exists.

    Raises:
        HowfarError: if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if path.exists():
        return
    tensors: dict[str, Tensor] = {}
    for name in PARTS:
        part: Data | None = getattr(splits, name)
        if part is not None:
            targets = {f"{name}/target/{target}": values for target, values in part.targets.items()}
            tensors |= {f"{name}/pixels": part.pixels, f"{name}/ids": part.ids, **targets}
    about = {"classes": json.dumps(splits.classes), "flip": json.dumps(splits.flip)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, about)
    except (OSError, SafetensorError) as error:
        raise HowfarError(f"could not write {path} ({error}). Free some space or choose another --runs.") from None


def read_splits(path: Path) -> Splits:
    """Return a data set from its file, memory-mapped."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    parts = {name: _part(name, tensors) for name in PARTS if f"{name}/pixels" in tensors}
    return Splits(**parts, classes=tuple(json.loads(about["classes"])), flip=json.loads(about["flip"]))


def _part(name: str, tensors: dict[str, Tensor]) -> Data:
    start = f"{name}/target/"
    targets = {key.removeprefix(start): values for key, values in tensors.items() if key.startswith(start)}
    return Data(tensors[f"{name}/pixels"], targets, tensors[f"{name}/ids"])

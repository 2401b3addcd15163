"""A protected set in a folder: arrays, noise and a manifest.

``protected.safetensors`` holds ``pixels`` (uint8), ``noise`` (protected − clean, int16), ``ids`` and ``target/NAME``;
``manifest.json`` holds digests, method, seed, budget and versions. Reading executes no code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.score import visibility
from howfar.store import write_text
from howfar.unfinished import atomic_write

ARRAYS, MANIFEST = "protected.safetensors", "manifest.json"
FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class _Budget(_Part):
    linf: int


class _Settings(_Part):
    eps: float | None = None


class _Manifest(_Part):
    """Required fields of a manifest; it may have more."""

    format: Literal[1]
    images: int
    shape: list[int]
    digests: dict[str, str]
    clean_digest: str
    budget: _Budget
    settings: _Settings = _Settings()
    notes: dict[str, float] = {}
    target: str = "label"
    source_task: str | None = None
    norm: str | None = None
    granularity: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A protected set.

    Attributes:
        data: the protected images.
        noise: protected − clean, int16, in 1/255.
        manifest: its manifest.
    """

    data: Data
    noise: Tensor
    manifest: Mapping[str, Any]


def write(folder: Path, clean: Data, protected: Data, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write a protected set and return its manifest.

    Args:
        folder: new, or written by this function before.
        clean: the clean images, with the same ids in the same order.
        protected: the protected images.
        about: further fields of the manifest: method, seed, data set, versions.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    noise = protected.pixels.to(torch.int16) - clean.pixels.to(torch.int16)
    tensors = {"pixels": protected.pixels, "noise": noise, "ids": protected.ids}
    tensors |= {f"target/{name}": values for name, values in protected.targets.items()}
    manifest = {
        "format": FORMAT,
        **about,
        "images": len(protected),
        "shape": list(protected.shape),
        "clean_digest": clean.digest(),
        "digests": {name: arrays.digest(values) for name, values in tensors.items()},
        "budget": visibility(clean, protected).record(),
    }
    with atomic_write(folder / ARRAYS) as draft:
        save_file({name: values.contiguous() for name, values in tensors.items()}, draft)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def ours(folder: Path) -> bool:
    """Return whether a folder holds only a protected set, complete or partial."""
    return all(entry.name in (ARRAYS, MANIFEST) or entry.name.startswith(".") for entry in folder.iterdir())


def difference(folder: Path, wanted: Mapping[str, Any]) -> str:
    """Return how the protected set in a folder differs from a requested one; empty if it does not, or there is none.

    Args:
        folder: may hold a set.
        wanted: fields of the requested manifest; of mappings, only given keys are compared.
    """
    if not any((folder / name).exists() for name in (ARRAYS, MANIFEST)):
        return ""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for key, value in wanted.items():
            found = manifest.get(key)
            actual = {inner: found.get(inner) for inner in value} if isinstance(value, Mapping) else found
            if actual != value:
                return f"{key} is {actual}, not {value}"
    except (OSError, ValueError, AttributeError, RecursionError):
        return f"{MANIFEST} cannot be read"
    return ""


def cleared(folder: Path) -> None:
    """Remove the protected set in a folder, but not its draft."""
    for name in (MANIFEST, ARRAYS):  # the manifest first, since arrays alone are not a set
        (folder / name).unlink(missing_ok=True)


def read(folder: Path) -> Artifact:
    """Read a protected set.

    Raises:
        UsageError: if there is none, or only an export; HowfarError: if a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if folder.suffix == ".npz" and folder.is_file():
        raise UsageError(_exported(folder))
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} holds no {MANIFEST}. Give a folder written by howfar generate.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not (folder / ARRAYS).exists() and "files" in manifest and "digests" not in manifest:
            raise UsageError(_exported(folder))
        if not (folder / ARRAYS).exists() and "photos" in manifest:
            raise UsageError(f"{folder} holds photographs. Check them with howfar protect --check {folder}.")
        tensors = load_file(folder / ARRAYS)
        targets = {name.removeprefix("target/"): t for name, t in tensors.items() if name.startswith("target/")}
        _Manifest.model_validate(manifest)
        kinds = {"pixels": torch.uint8, "noise": torch.int16, "ids": torch.int64}
        for name, kind in kinds.items():
            if tensors[name].dtype != kind:
                raise ValueError(f"{name} are {tensors[name].dtype}, not {kind}")
        if tensors["noise"].shape != tensors["pixels"].shape:
            raise ValueError("noise and images differ in shape")
        if not tensors["pixels"].numel():
            raise ValueError("it holds no images")
        return Artifact(Data(tensors["pixels"], targets, tensors["ids"]), tensors["noise"], manifest)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HowfarError(f"{folder / MANIFEST}: {place}: {first['msg']}. Run howfar generate again.") from None
    except KeyError as error:
        raise HowfarError(f"{folder} is damaged (it lacks {error}). Run howfar generate again.") from None
    except (ValueError, TypeError, OSError, RecursionError, SafetensorError) as error:
        raise HowfarError(f"{folder} is damaged ({error}). Run howfar generate again.") from None


def _exported(place: Path) -> str:
    """Return the error for an export instead of a protected set."""
    return (
        f"{place} is an export, without the noise and digests that are validated. "
        "Give the folder that howfar generate wrote and howfar export read."
    )

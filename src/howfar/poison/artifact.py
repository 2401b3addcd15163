"""A protected set in a folder: arrays, noise and a manifest; and its validation.

``protected.safetensors`` holds ``pixels`` (uint8), ``noise`` (protected − clean, int16), ``ids`` and ``target/NAME``;
``manifest.json`` holds digests, method, seed, budget and versions. Reading executes no code.
"""

import json
from collections.abc import Iterator, Mapping
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
LEAST_CHANGED = 1000  # minimum number of changed values for checking their signs


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


def faults(artifact: Artifact, clean: Data | None = None) -> Iterator[str]:
    """Yield one sentence per fault.

    Args:
        artifact: the protected set.
        clean: the clean images; without them, protected − noise is used.
    """
    data, manifest = artifact.data, artifact.manifest
    tensors = {"pixels": data.pixels, "noise": artifact.noise, "ids": data.ids}
    tensors |= {f"target/{name}": values for name, values in data.targets.items()}
    for name, digest in manifest["digests"].items():
        if name not in tensors or arrays.digest(tensors[name]) != digest:
            yield f"'{name}' was changed: its digest differs."
    for name in sorted(set(tensors) - set(manifest["digests"])):
        yield f"'{name}' has no digest, so it cannot be verified."
    counts = [len(data), list(data.shape)]
    if [manifest["images"], manifest["shape"]] != counts:
        listed = f"{manifest['images']} of {'×'.join(map(str, manifest['shape']))}"
        yield f"the manifest lists {listed}; there are {len(data)} of {'×'.join(map(str, data.shape))}."
    before = data.pixels.to(torch.int16) - artifact.noise
    if int(before.min()) < 0 or int(before.max()) > 255:
        yield "protected − noise is outside 0…255, so noise and images do not match (shifted or shuffled noise)."
    if clean is not None:
        yield from _against(artifact, clean)
    if clean is not None and clean.shape == data.shape:
        order = {int(key): place for place, key in enumerate(clean.ids.tolist())}
        if all(int(key) in order for key in data.ids.tolist()):
            before = clean.pixels[torch.tensor([order[int(key)] for key in data.ids.tolist()])].to(torch.int16)
    change = data.pixels.to(torch.int16) - before
    yield from _budget(manifest, change)
    yield from _flat(data.pixels, before)
    if manifest.get("norm") == "L∞":
        yield from _signs(before, change)
    if manifest.get("granularity") == "sample":
        yield from _shared(manifest, data, artifact.noise)


def doubts(artifact: Artifact) -> Iterator[str]:
    """Yield warnings about imported noise: missing signs, and noise shared by a class.

    These are not faults, as the specification of imported noise is unknown.
    """
    data, manifest = artifact.data, artifact.manifest
    if manifest.get("norm") != "any":
        return
    change = artifact.noise
    yield from _signs(data.pixels.to(torch.int16) - change, change)
    labels = data.targets.get(manifest.get("target", "label"))
    kinds = len(data) if labels is None else len(labels.unique())
    rows, entries = manifest.get("settings", {}).get("rows"), manifest.get("notes", {}).get("entries", 0)
    if rows == "sample" or (rows != "class" and entries > kinds):
        yield from _shared(manifest, data, change)


def _against(artifact: Artifact, clean: Data) -> Iterator[str]:
    """Compare a protected set with the clean set by id."""
    data = artifact.data
    if len(clean) != len(data):
        yield (
            f"{len(data)} images were protected, but the clean set has {len(clean)}. "
            "Give the --limit-train with which the set was generated."
        )
    if clean.digest() != artifact.manifest["clean_digest"]:
        yield "the clean images are not the ones that were protected: their digest differs."
    places = {int(key): place for place, key in enumerate(clean.ids.tolist())}
    missing = [int(key) for key in data.ids.tolist() if int(key) not in places]
    if missing:
        yield f"{len(missing)} ids are not in the clean set, the first one {missing[0]}."
        return
    index = torch.tensor([places[int(key)] for key in data.ids.tolist()])
    for name, values in data.targets.items():
        known = clean.targets[name][index] if name in clean.targets else values
        if known.shape != values.shape:
            yield f"target '{name}' has the shape {tuple(values.shape[1:])}, the clean set's {tuple(known.shape[1:])}."
            continue
        differ = (values != known) & ~(values.isnan() & known.isnan())  # depth is NaN where there is no surface
        if wrong := int(differ.reshape(len(differ), -1).any(1).sum()):
            yield f"target '{name}' of {wrong} images differs from the clean set's (shifted or shuffled labels)."
    if data.shape != clean.shape:
        yield f"images are {data.shape}, the clean set's {clean.shape} (channels, height, width)."
        return
    change = data.pixels.to(torch.int16) - clean.pixels[index].to(torch.int16)
    wrong = int((change != artifact.noise).flatten(1).any(1).sum())
    if wrong:
        yield f"in {wrong} images protected − clean is not the stored noise (noise looked up by a wrong index)."


def _budget(manifest: Mapping[str, Any], change: Tensor) -> Iterator[str]:
    limit, largest = manifest["budget"]["linf"], int(change.abs().max())
    if largest > limit:
        yield f"the largest change is {largest}/255, but the manifest says {limit}/255."
    promised = manifest.get("settings", {}).get("eps")
    if manifest.get("norm") == "L∞" and promised is not None and largest > int(promised * 255 + 1e-6):
        yield f"the largest change is {largest}/255, above eps = {promised * 255:.4g}/255."


def _flat(pixels: Tensor, before: Tensor) -> Iterator[str]:
    flat = pixels.flatten(1)
    constant = (flat.amax(1) == flat.amin(1)) & (before.flatten(1).amax(1) != before.flatten(1).amin(1))
    if constant.any():
        first = int(constant.nonzero()[0])
        yield f"{int(constant.sum())} images became black or constant, the first one at index {first}."


def _signs(before: Tensor, change: Tensor) -> Iterator[str]:
    """Check that the noise has both signs, which clamped or truncated noise lacks."""
    limit = int(change.abs().max())
    moved = change[(before >= limit) & (before <= 255 - limit) & (change != 0)]
    if len(moved) < LEAST_CHANGED:
        return
    down = float((moved < 0).float().mean())
    if not 0.05 <= down <= 0.95:
        lost = "negative" if down < 0.05 else "positive"
        yield f"hardly any {lost} noise ({100 * min(down, 1 - down):.1f} %): it was clamped or truncated before adding."


def _shared(manifest: Mapping[str, Any], data: Data, noise: Tensor) -> Iterator[str]:
    """Check that the images of a class do not share their noise, for sample-wise methods."""
    labels = data.targets.get(manifest.get("target", "label"))
    if labels is None or labels.ndim != 1 or not noise.any():
        return
    for label in labels.unique():
        own = noise[labels == label]
        if len(own) > 2 and own[0].any() and bool((own == own[0]).all()):
            yield f"all images of class {int(label)} share one noise, although each should have its own."
            return

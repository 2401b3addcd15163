"""Validation of a protected set: digests, budget, flat images, signs and sharing of the noise."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.poison.artifact import Artifact

LEAST_CHANGED = 1000  # minimum number of changed values for checking their signs


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

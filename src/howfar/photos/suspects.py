"""Suspect images and their possible originals: folders, archives, data sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data import Data, clustered
from howfar.data import source as source_of
from howfar.data.tree import images_of, labels_by_folder
from howfar.errors import UsageError
from howfar.naming import paired
from howfar.photos.listing import labels_by_table, photographs
from howfar.photos.pairs import WAYS, read_images

CLUSTERS = 8  # used as labels if there are none


@dataclass(frozen=True)
class Suspects:
    """Resized images with labels.

    Attributes:
        data: the images, ``label`` among the targets.
        names: of their files; empty for data sets, which are paired by position.
        labeled: whether labels are given; otherwise they are clusters.
        left_out: reasons why images of the folder are skipped, by name.
    """

    data: Data
    names: list[str]
    labeled: bool
    left_out: Mapping[str, str] = field(default_factory=dict)


def suspects(source: str, *, size: int, labels: Path | None = None, seed: int = 0) -> Suspects:
    """Read images.

    Args:
        source: a folder, an ``.npz``, or the name of a data set, whose training images are used.
        size: side in pixels to which photographs of a folder, and larger images of a data set, are resized.
        labels: a CSV with name and label in every line; None takes the subfolders.
        seed: of clusters.
    """
    folder, left = Path(source), dict[str, str]()
    if folder.is_dir():
        tree = photographs(folder)
        names, left = tree.names, images_of(tree.left_out)
        known = labels_by_table(labels, names) if labels else labels_by_folder(names)
        images = read_images([folder / name for name in names], size, WAYS["as-is"], workers=arrays.cores())
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        kinds = sorted(set(known.values()))
        found = torch.tensor([kinds.index(known[name]) for name in names]) if known else None
    else:
        name = f"npz:{source}" if folder.suffix == ".npz" else source
        whole, names = source_of(name).build().train, []
        pixels, found = _shrunk(whole.pixels, size), whole.targets.get("label")
    given = clustered(pixels, CLUSTERS, seed=seed) if found is None else found.long()
    return Suspects(Data(pixels, {"label": given}, torch.arange(len(pixels))), names, found is not None, left)


def matched(reference: Suspects, suspect: Suspects) -> tuple[Data, Data]:
    """Return the images in both sets, originals first, in the same order and with the labels of the suspect.

    Raises:
        UsageError: if images cannot be paired, or names are ambiguous (``howfar.naming.paired``).
    """
    clean, data = reference.data, suspect.data
    if bool(reference.names) != bool(suspect.names):
        raise UsageError("suspect and reference must both be folders, or both be data sets.")
    if not suspect.names:
        if clean.pixels.shape != data.pixels.shape:
            raise UsageError(f"the reference has {len(clean)} images, the suspect {len(data)}. Give the same images.")
        return data.with_pixels(clean.pixels), data
    places, others = ({name: place for place, name in enumerate(each.names)} for each in (reference, suspect))
    pairs = [(places[name], others[copy]) for name, copy in paired(reference.names, suspect.names).items()]
    if not pairs:
        raise UsageError("no image of the suspect has the name of one of the reference.")
    first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
    return data.take(second).with_pixels(clean.pixels[first]), data.take(second)


def _shrunk(pixels: Pixels, size: int) -> Tensor:
    """Return images resized to ``size`` if they are larger."""
    if max(pixels.shape[2:]) <= size:
        return pixels
    small = arrays.empty_pixels((*pixels.shape[:2], size, size))
    for part in arrays.chunks(len(pixels), 512):
        images = functional.interpolate(pixels[part].float(), (size, size), mode="bilinear", antialias=True)
        small[part] = images.round().clamp(0, 255).to(torch.uint8)
    return small

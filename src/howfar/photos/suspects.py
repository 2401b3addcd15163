"""Images under suspicion, and the originals they may come from: folders, archives, data sets."""

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
from howfar.photos.pairs import WAYS, seen

CLUSTERS = 8  # that stand in for labels


@dataclass(frozen=True)
class Suspects:
    """Small images of one size with labels.

    Attributes:
        data: the images, ``label`` among the targets.
        names: of their files; none where order counts.
        labelled: whether somebody says what they show; else clusters stand in.
        left_out: images of a folder that are passed over, and why.
    """

    data: Data
    names: list[str]
    labelled: bool
    left_out: Mapping[str, str] = field(default_factory=dict)


def suspects(source: str, *, size: int, labels: Path | None = None, seed: int = 0) -> Suspects:
    """Read images.

    Args:
        source: a folder, an ``.npz``, or the name of a data set, of which the training images are taken.
        size: side in pixels that photographs of a folder, and larger images of a data set, are brought to.
        labels: a CSV with name and label in every line; None takes the subfolders.
        seed: of clusters.
    """
    folder, left = Path(source), dict[str, str]()
    if folder.is_dir():
        tree = photographs(folder)
        names, left = tree.names, images_of(tree.left_out)
        known = labels_by_table(labels, names) if labels else labels_by_folder(names)
        images = seen([folder / name for name in names], size, WAYS["as-is"], workers=arrays.cores())
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
    """Return the images that are in both, originals first, in one order and with the labels of the suspect.

    Raises:
        UsageError: if nothing says which belongs to which, or names leave it open (``howfar.naming.paired``).
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
    """Return images with no side above ``size``."""
    if max(pixels.shape[2:]) <= size:
        return pixels
    small = arrays.empty_pixels((*pixels.shape[:2], size, size))
    for part in arrays.chunks(len(pixels), 512):
        images = functional.interpolate(pixels[part].float(), (size, size), mode="bilinear", antialias=True)
        small[part] = images.round().clamp(0, 255).to(torch.uint8)
    return small

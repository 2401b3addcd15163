"""Noise for photographs of any size: crafted on thumbnails and upscaled.

Learners resize photographs to 32 to 224 pixels, which removes finer noise. So noise is crafted on thumbnails, which any
additive protector supports. Noise that is too fine is lost in resizing, and noise that is too coarse is not learned:
thumbnails of several sizes alternate in the squares of a checkerboard. Learners crop the center square, so the
thumbnails show that.
"""

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data import Data
from howfar.errors import UsageError
from howfar.photos.mask import shaped
from howfar.photos.picture import REST
from howfar.protectors import Draft, Progress, Protector
from howfar.tasks import TASKS

Pixels8 = NDArray[np.uint8]
BOARD = 8  # squares along each side of the checkerboard


@dataclass(frozen=True)
class NoiseSet:
    """Noise of all photographs at thumbnail size.

    Attributes:
        values: uint8, (n, 3, side, side), in 1/255, with an offset of ``REST``.
        limit: largest change, to which upscaled noise is clipped.
    """

    values: Tensor
    limit: int

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.values)

    def empty(self, place: int) -> bool:
        """Return whether a photograph has no noise, because it is not in the protected share."""
        return bool((self.values[place] == REST).all())

    def digest(self, place: int) -> str:
        """Return a digest of the noise of one photograph."""
        content = f"{self.limit}\0".encode() + self.values[place].contiguous().numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:20]

    def shaped(self, place: int, image: Image.Image, strength: float | None) -> Image.Image:
        """Return the noise of one photograph at its own size, with an offset of ``REST``; in grayscale if it is.

        Noise covers the center square and is mirrored beyond it.

        Args:
            place: of the photograph.
            image: the photograph, as returned by ``upright``.
            strength: as in ``shaped``; None adds the noise as it was crafted.
        """
        return shaped(enlarged(self.values[place], image.width, image.height, self.limit), self.limit, image, strength)


def enlarged(values: Tensor, width: int, height: int, limit: int) -> Pixels8:
    """Return noise at the size of a photograph, (height, width, 3): it covers the center square and is mirrored beyond.

    Args:
        values: uint8, (3, side, side), with an offset of ``REST``.
        width: of the photograph.
        height: of the photograph.
        limit: largest change.
    """
    length = min(width, height)
    small = values[None].contiguous(memory_format=torch.channels_last)
    # In 8 bits and channels last, this is ten times as fast as Pillow with the same result.
    large = functional.interpolate(small, (length, length), mode="bicubic", antialias=True)
    square = large[0].permute(1, 2, 0).clamp(REST - limit, REST + limit).numpy()
    beyond = [((extent - length) // 2, (extent - length + 1) // 2) for extent in (height, width)]
    return np.pad(square, (*beyond, (0, 0)), "symmetric")


def together(before: Sequence[Tensor], after: Sequence[Tensor]) -> NoiseSet:
    """Combine the noise of all sizes in a checkerboard at the largest size, clipped to ±127.

    Args:
        before: thumbnails of all photographs, uint8, (n, 3, side, side), size by size.
        after: protected thumbnails; the memory of the largest ones is reused.
    """
    sides = [pixels.shape[3] for pixels in before]
    side, limit = max(sides), 0
    values = after[sides.index(side)]
    row = torch.arange(side) * BOARD // side
    turns = (row[:, None] + row) % len(sides)
    for part in arrays.chunks(len(values), 32):
        whole = torch.full(values[part].shape, REST, dtype=torch.uint8)
        for turn, (old, new) in enumerate(zip(before, after, strict=True)):
            change = (new[part].short() - old[part]).clamp_(-127, 127)
            limit = max(limit, int(change.abs().max()))
            large = change.add_(REST).to(torch.uint8, memory_format=torch.channels_last)
            if large.shape[3] < side:
                large = functional.interpolate(large, (side, side), mode="bicubic")
            whole = torch.where(turns == turn, large, whole)
        values[part] = whole.clamp_(REST - limit, REST + limit)
    return NoiseSet(values, limit)


def check_noise(protector: Protector, labels: Sequence[str]) -> None:
    """Raise an error if a protector does not support photographs.

    Args:
        protector: the protector.
        labels: of the photographs; empty strings if unknown.

    Raises:
        UsageError: if it does not add noise, or needs labels that are missing.
    """
    if protector.norm not in ("L∞", "L2"):
        raise UsageError(
            f"{type(protector).__name__} does not add noise, so it cannot be upscaled. Choose carriers, em:class "
            "or another additive protector."
        )
    if protector.uses_labels and (not labels or "" in labels):
        raise UsageError("this protector needs labels: subfolders, --labels FILE.csv, or --labels clusters.")


def craft(
    pixels: Pixels, labels: Sequence[str], protector: Protector, *, seed: int, device: torch.device, draft: Draft
) -> Generator[Progress, None, Pixels]:  # fmt: skip
    """Protect thumbnails of all photographs.

    Args:
        pixels: thumbnails of one size.
        labels: of the photographs; empty strings if unknown.
        protector: an additive protector.
        seed: of all randomness.
        device: of surrogates.
        draft: keeps the state of long computations.

    Raises:
        UsageError: if the protector does not add noise, or needs labels that are missing.
    """
    check_noise(protector, labels)
    names = sorted(set(labels))
    index = {name: number for number, name in enumerate(names)}
    targets = {"label": torch.tensor([index[label] for label in labels])}
    data = Data(pixels, targets, torch.arange(len(labels)))
    if protector.uses_labels and len(names) == 1:  # classification needs another class: a copy that is dropped
        data = Data(torch.cat([pixels, pixels[:1]]), {"label": (torch.arange(len(labels) + 1) == len(labels)).long()},
                    torch.arange(len(labels) + 1))  # fmt: skip
    task = TASKS["classification" if data.targets["label"].any() else "autoencoding"]()(data)
    protected = yield from protector.progress(
        task.prepare(data), task, generator=arrays.seeded(seed, "photos"), device=device, draft=draft
    )
    return protected.pixels[: len(pixels)]

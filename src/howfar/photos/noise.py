"""Noise for photographs of any size: crafted on small versions of all of them, enlarged to each.

Learners see photographs at 32 to 224 pixels, whatever their size: noise that shall reach them is coarse. Crafted on
small versions, it is as fine as those, and any protector whose change is noise can make it. Too fine noise is lost on
the way to a learner's size, and a learner does not find what is too coarse: small versions of several sizes take turns
in the squares of a board. Learners see the middle square of a photograph, so the small versions show that.
"""

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data import Data
from howfar.errors import UsageError
from howfar.photos.picture import REST
from howfar.protect import Draft, Progress, Protector
from howfar.tasks import TASKS

SIDES = (64, 128, 224)  # of the small versions, pixels: those of learners, and half of the first
BOARD = 8  # squares along each side of the small versions


@dataclass(frozen=True)
class Plates:
    """Noise of all photographs at a small size.

    Attributes:
        values: uint8, (n, 3, side, side), in 1/255 above ``REST``.
        limit: largest change, which enlargement keeps to.
    """

    values: Tensor
    limit: int

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.values)

    def empty(self, place: int) -> bool:
        """Return whether a photograph gets no noise, as it is not in the share that is protected."""
        return bool((self.values[place] == REST).all())

    def digest(self, place: int) -> str:
        """Return a digest of all that decides the noise of one photograph."""
        content = f"{self.limit}\0".encode() + self.values[place].contiguous().numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:20]

    def enlarged(self, place: int, width: int, height: int, *, gray: bool) -> Image.Image:
        """Return the noise of one photograph at its own size, above ``REST``; of a gray one, that of its luminance.

        It lies on the middle square of the photograph, and mirrored beyond.
        """
        length = min(width, height)
        small = self.values[place, None].contiguous(memory_format=torch.channels_last)
        # In 8 bits, channels last, this is ten times as fast as Pillow, and the same.
        large = functional.interpolate(small, (length, length), mode="bicubic", antialias=True)
        square = large[0].permute(1, 2, 0).clamp(REST - self.limit, REST + self.limit).numpy()
        beyond = [((extent - length) // 2, (extent - length + 1) // 2) for extent in (height, width)]
        noise = Image.fromarray(np.pad(square, (*beyond, (0, 0)), "symmetric"))
        return noise.convert("L") if gray else noise


def together(before: Sequence[Tensor], after: Sequence[Tensor]) -> Plates:
    """Put the noise of all sizes into the squares of a board, at the largest size; more than ±127 is cut off.

    Args:
        before: small versions of all photographs, uint8, (n, 3, side, side), size by size.
        after: the same protected; the largest gives its memory away.
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
    return Plates(values, limit)


def check_noise(protector: Protector, labels: Sequence[str]) -> None:
    """Refuse a protector that cannot protect photographs.

    Args:
        protector: to be asked.
        labels: what each photograph shows; empty strings where nobody says.

    Raises:
        UsageError: if it filters instead of adding noise, or needs labels where there are none.
    """
    if protector.norm not in ("L∞", "L2"):
        raise UsageError(
            f"{type(protector).__name__} changes images otherwise than by noise, so it cannot be enlarged. Choose "
            "carriers, em:class or another one that adds noise."
        )
    if protector.uses_labels and (len(set(labels)) < 2 or "" in labels):
        raise UsageError("this protector needs labels: subfolders, --labels FILE.csv, or --labels clusters.")


def crafted(
    pixels: Pixels, labels: Sequence[str], protector: Protector, *, seed: int, device: torch.device, draft: Draft
) -> Generator[Progress, None, Pixels]:  # fmt: skip
    """Protect small versions of all photographs.

    Args:
        pixels: small versions of all photographs, of one size.
        labels: what each shows; empty strings where nobody says.
        protector: whose change is noise.
        seed: of all randomness.
        device: where a surrogate is trained.
        draft: keeps the state of long work.

    Raises:
        UsageError: if the protector filters instead of adding noise, or needs labels where there are none.
    """
    check_noise(protector, labels)
    names = sorted(set(labels))
    index = {name: number for number, name in enumerate(names)}
    targets = {"label": torch.tensor([index[label] for label in labels])}
    data = Data(pixels, targets, torch.arange(len(labels)))
    task = TASKS["classification" if len(names) > 1 else "autoencoding"]()(data)  # the second one asks for no labels
    protected = yield from protector.progress(
        task.prepare(data), task, generator=arrays.seeded(seed, "photos"), device=device, draft=draft
    )
    return protected.pixels

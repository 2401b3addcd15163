"""Noise for photographs of any size: crafted on small versions of all of them, enlarged to each.

Learners see photographs at 32 to 224 pixels, whatever their size: noise that shall reach them is coarse. Crafted on
small versions, it is as fine as those, and any protector whose change is noise can make it. Too fine noise is lost on
the way to a learner's size, and a learner does not find what is too coarse: small versions of several sizes take turns
in the squares of a board.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data import Data
from howfar.errors import UsageError
from howfar.photos.picture import Noise
from howfar.protect import Draft, Progress, Protector
from howfar.tasks import TASKS

SIDES = (64, 224)  # of the small versions, pixels: reach learners of 32 to 224
BOARD = 8  # squares along each side of a photograph
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow makes gray


@dataclass(frozen=True)
class Plates:
    """Small versions of all photographs, (n, 3, side, side) uint8, before and after protection, a pair a size."""

    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.pairs[0][0])

    @cached_property
    def limit(self) -> int:
        """Largest change, in 1/255, which enlargement keeps to."""
        parts = [(pair, part) for pair in self.pairs for part in arrays.chunks(len(self), 256)]
        return max(int((after[part].short() - before[part]).abs().max()) for (before, after), part in parts)

    def enlarged(self, place: int, width: int, height: int, *, gray: bool) -> Noise:
        """Return the noise of one photograph at its own size, rounded; of a gray one, that of its luminance."""
        noise: Noise = np.empty((1 if gray else 3, height, width), np.int16)
        for (before, after), where in zip(self.pairs, _squares(len(self.pairs), width, height), strict=True):
            small = (after[place].float() - before[place].float()).numpy()
            planes = np.tensordot(LUMA, small, 1)[None] if gray else small
            for own, plane in zip(noise, planes, strict=True):
                large = np.array(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))
                np.rint(large, out=large)
                np.clip(large, -self.limit, self.limit, out=large)
                np.copyto(own, large, where=where, casting="unsafe")
        return noise


def _squares(count: int, width: int, height: int) -> list[NDArray[np.bool_] | bool]:
    """Return where on a board each of several sizes has its squares, (height, width); one has all of them."""
    if count == 1:
        return [True]
    rows, columns = (np.arange(length) * BOARD // length for length in (height, width))
    turns = (rows[:, None] + columns) % count
    return [turns == turn for turn in range(count)]


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
    if protector.norm not in ("L∞", "L2"):
        raise UsageError(
            f"{type(protector).__name__} changes images otherwise than by noise, so it cannot be enlarged. Choose "
            "carriers, em:class or another one that adds noise."
        )
    names = sorted(set(labels))
    if protector.uses_labels and (len(names) < 2 or "" in names):
        raise UsageError("this protector needs labels: subfolders, --labels FILE.csv, or --labels clusters.")
    index = {name: number for number, name in enumerate(names)}
    targets = {"label": torch.tensor([index[label] for label in labels])}
    data = Data(pixels, targets, torch.arange(len(labels)))
    task = TASKS["classification" if len(names) > 1 else "autoencoding"]()(data)  # the second one asks for no labels
    protected = yield from protector.progress(
        task.prepare(data), task, generator=arrays.seeded(seed, "photos"), device=device, draft=draft
    )
    return protected.pixels

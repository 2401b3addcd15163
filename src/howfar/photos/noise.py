"""Noise for photographs of any size: crafted on small versions of all of them, enlarged to each.

Learners see photographs at 32 to 224 pixels, whatever their size: noise that shall reach them is coarse. Crafted on
small versions, it is as fine as those, and any protector whose change is noise can make it.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from howfar import arrays
from howfar.arrays import Pixels
from howfar.data import Data
from howfar.errors import UsageError
from howfar.photos.picture import Noise
from howfar.protect import Draft, Progress, Protector
from howfar.tasks import TASKS

SIDE = 64  # of the small versions, pixels
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow makes gray


@dataclass(frozen=True)
class Plates:
    """Noise of all photographs at their small size.

    Attributes:
        values: protected − clean, int16, (n, 3, side, side), in 1/255.
        limit: largest change after enlargement, in 1/255.
    """

    values: torch.Tensor
    limit: int

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.values)

    def enlarged(self, place: int, width: int, height: int, *, gray: bool) -> Noise:
        """Return the noise of one photograph at its own size, rounded; of a gray one, that of its luminance."""
        small = self.values[place].to(torch.float32).numpy()
        planes = np.tensordot(LUMA, small, 1)[None] if gray else small
        noise: Noise = np.empty((len(planes), height, width), np.int16)
        for number, plane in enumerate(planes):
            large = np.array(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))
            np.rint(large, out=large)
            noise[number] = np.clip(large, -self.limit, self.limit, out=large)
        return noise


def crafted(
    pixels: Pixels, labels: Sequence[str], protector: Protector, *, seed: int, device: torch.device, draft: Draft
) -> Generator[Progress, None, Plates]:  # fmt: skip
    """Craft the noise of all photographs.

    Args:
        pixels: small versions of all photographs.
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
    values = protected.pixels.to(torch.int16) - data.pixels.to(torch.int16)
    return Plates(values, int(values.abs().max()))

"""Difference of suspect images from their originals."""

from dataclasses import dataclass

import numpy as np

from howfar.audit.noise import alike
from howfar.data import Data
from howfar.score import Visibility, visibility

BANDS = {"low": (0.0, 0.125), "middle": (0.125, 0.25), "high": (0.25, 1.0)}  # cycles per pixel, of the larger axis


@dataclass(frozen=True)
class Difference:
    """Difference of clean and suspect images.

    Attributes:
        changed: share of changed images.
        budget: L∞ in 1/255, mean L2, share of pixels, PSNR in dB, SSIM; over all images.
        by_class: mean L2 norm of the change, images in [0, 1], by label.
        largest: minimum, median and maximum L∞ over changed images, in 1/255.
        bands: share of the energy of the change in each frequency band; the mean of an image counts as low.
        shared: similarity of a class's mean change between two halves, minus that of different classes: near 1 for
            class-wise noise, near 0 for sample-wise noise.
    """

    changed: float
    budget: Visibility
    by_class: dict[int, float]
    largest: tuple[int, int, int]
    bands: dict[str, float]
    shared: float


def difference(clean: Data, suspect: Data) -> Difference:
    """Return the difference of a suspect set from its originals.

    Args:
        clean: the originals, with target ``label``.
        suspect: the same images in the same order.
    """
    change = (suspect.pixels.numpy().astype(np.float64) - clean.pixels.numpy()) / 255
    labels = clean.targets["label"].numpy()
    norms = np.sqrt((change**2).sum((1, 2, 3)))
    largest = np.abs(change).max((1, 2, 3)) * 255
    touched = largest > 0
    own = largest[touched] if touched.any() else np.zeros(1)
    power = (np.abs(np.fft.fft2(change)) ** 2).sum((0, 1))
    rows, columns = (np.abs(np.fft.fftfreq(side)) for side in change.shape[2:])
    place = np.maximum(rows[:, None], columns[None])
    order = np.argsort(labels, kind="stable")
    one, other = order[::2], order[1::2]
    total = max(float(power.sum()), 1e-30)
    return Difference(
        changed=float(touched.mean()),
        budget=visibility(clean, suspect),
        by_class={int(label): float(norms[labels == label].mean()) for label in np.unique(labels)},
        largest=(round(own.min()), round(float(np.median(own))), round(own.max())),
        bands={
            name: float(power[(place >= low) & (place < high)].sum()) / total for name, (low, high) in BANDS.items()
        },
        shared=alike(change[one], labels[one], change[other], labels[other]) if touched.any() else 0.0,
    )

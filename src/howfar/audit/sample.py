"""The suspect images, and the quantities that detectors share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from howfar import arrays
from howfar.data import Data, balanced
from howfar.defend import DEFENSES, Learner
from howfar.tasks import classification

Values = NDArray[np.float32]
Places = NDArray[np.int64]
MOST = 512  # maximum number of images
CLASSES = 10  # maximum number of classes
LEAST = 8  # minimum number of images of a class
QUALITY = 10  # of the JPEG that removes most protection
DRAWS = 1000  # images that all splits of a small set hold together
SPLITS = 8  # maximum number of splits


@dataclass(frozen=True, eq=False)
class Sample:
    """Labeled images, and splits of them into two class-balanced halves.

    Attributes:
        data: the images, with target ``label``.
        seed: of the splits.
    """

    data: Data
    seed: int = 0

    @classmethod
    def of(cls, data: Data, *, seed: int = 0) -> "Sample":
        """Return at most ``MOST`` images of the largest classes, at most ``CLASSES`` of at least ``LEAST`` images."""
        labels = data.targets["label"]
        kinds, counts = labels.unique(return_counts=True)
        order = sorted(range(len(kinds)), key=lambda place: (-int(counts[place]), place))[:CLASSES]
        kept = kinds[sorted(place for place in order if int(counts[place]) >= LEAST)]
        chosen = data.take(torch.isin(labels, kept).nonzero().flatten())
        numbered = torch.searchsorted(kept, chosen.targets["label"])
        chosen = Data(chosen.pixels, {"label": numbered}, chosen.ids)
        return cls(balanced(chosen, MOST, seed=seed, target="label") if len(chosen) else chosen, seed)

    @cached_property
    def labels(self) -> Places:
        """Label of every image, from 0."""
        return self.data.targets["label"].numpy()

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def chance(self) -> float:
        """Accuracy of the most frequent label."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    @cached_property
    def splits(self) -> list[tuple[Places, Places]]:
        """Splits into two halves of every class; several ones of a small set, whose scores depend on the split."""
        rng = arrays.rng_of(self.seed, -1)
        count = min(max(DRAWS // len(self.labels), 1), SPLITS)
        return [self._split(rng) for _ in range(count)]

    def _split(self, rng: np.random.Generator) -> tuple[Places, Places]:
        first = np.zeros(len(self.labels), bool)
        for label in range(self.classes):
            members = rng.permutation(np.flatnonzero(self.labels == label))
            first[members[: len(members) // 2]] = True
        return np.flatnonzero(first), np.flatnonzero(~first)

    @cached_property
    def purified(self) -> "Sample":
        """The same images after strong JPEG compression, which removes most noise and keeps content."""
        learner = Learner(classification()(self.data))
        return Sample(DEFENSES["jpeg"](quality=QUALITY).purify(self.data, learner), self.seed)

    @cached_property
    def smooth(self) -> NDArray[np.uint8]:
        """The images after a 3×3 median filter."""
        return median(self.data.pixels.numpy())

    @cached_property
    def residuals(self) -> Values:
        """What the median filter removes, images in [0, 1]."""
        return unit(self.data.pixels.numpy()) - unit(self.smooth)


def similarity(sample: Sample) -> float:
    """Return the mean correlation of purified images of one class, which is near 1 for copies of one scene or form."""
    rows = unit(sample.purified.data.pixels.numpy()).reshape(len(sample.labels), -1)
    rows = rows - rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
    found = []
    for label in range(sample.classes):
        own = rows[sample.labels == label]
        found.append((float(np.square(own.sum(0)).sum()) - len(own)) / (len(own) * (len(own) - 1)))
    return float(np.mean(found))


def unit(pixels: NDArray[np.uint8]) -> Values:
    """Return images in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255)


def windows(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the nine pixels of the 3×3 window around every pixel; edges are repeated."""
    height, width = pixels.shape[2:]
    wide = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    return [wide[:, :, down : down + height, right : right + width] for down in range(3) for right in range(3)]


def median(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median of the 3×3 window around every pixel, (n, channels, height, width).

    The sorting network of Smith (1996) takes 19 exchanges.

    Example:
        >>> import numpy as np
        >>> median(np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3))[0, 0, 1].tolist()
        [3, 4, 5]
    """
    p = windows(pixels)
    exchanges = (
        (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3), (5, 8), (4, 7), (3, 6), (1, 4),
        (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
    )  # fmt: skip
    for low, high in exchanges:
        p[low], p[high] = np.minimum(p[low], p[high]), np.maximum(p[low], p[high])
    return p[4]

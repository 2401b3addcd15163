"""Training and test photographs of a learner, and their files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from howfar import arrays
from howfar.data import Data, halves
from howfar.data.outline import Outline, blank
from howfar.photos.pairs import WAYS, Pair, read_images

LEAST = 20  # photographs, in at least two kinds
LEAST_OF_KIND = 4  # photographs of a kind; smaller ones are left out
TESTED = 0.25  # share of the photographs


@dataclass(frozen=True)
class Trainable:
    """Photographs in two parts.

    Attributes:
        pairs: name of the original, name of the copy, label.
        labels: number of the label of each.
        train: places of those to learn from.
        test: places of those to be tested with.
        labeled: whether the labels tell anything apart.
        left_out: number of photographs of every kind that is too small.
    """

    pairs: Sequence[Pair]
    labels: list[int]
    train: list[int]
    test: list[int]
    labeled: bool
    left_out: Mapping[str, int]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> "Trainable":
        """Return the photographs of all kinds that are large enough; a quarter of each is for testing."""
        counts = Counter(label for *_, label in pairs)
        labeled = len(counts) > 1 and "" not in counts
        small = {kind: count for kind, count in counts.items() if labeled and count < LEAST_OF_KIND}
        kept = [pair for pair in pairs if pair[2] not in small]
        kinds = sorted({label for *_, label in kept})
        labels = torch.tensor([kinds.index(label) for *_, label in kept], dtype=torch.int64)
        places = Data(torch.zeros(len(kept), 1, 1, 1, dtype=torch.uint8), {"label": labels}, torch.arange(len(kept)))
        enough = len(kept) >= LEAST and (len(kinds) > 1 or not labeled)
        parts = halves(places, TESTED) if enough else (places, places.take([]))
        train, test = (part.ids.tolist() for part in parts)
        return cls(kept, labels.tolist(), train, test, labeled, small)

    @property
    def enough(self) -> bool:
        """Whether there is anything to train on and to test with."""
        return bool(self.test)

    @property
    def kinds(self) -> int:
        """Number of labels."""
        return len(set(self.labels))

    def outline(self, size: int) -> Outline:
        """Return what the data set will hold, at this side in pixels."""
        names = [str(number) for number in range(self.kinds)] if self.labeled else []
        sample = blank((3, size, size), {"label": self.kinds} if self.labeled else {}, names, flip=True)
        return Outline(sample, len(self.train), len(self.test))

    def write(self, photos: Path, protected: Path, originals: Path, copies: Mapping[str, Path], size: int) -> None:
        """Write the photographs as a learner sees them.

        Args:
            photos: folder of the originals.
            protected: folder of the copies.
            originals: ``.npz`` to write, with training and test images.
            copies: ``.npy`` to write by way, with the protected training images.
            size: side in pixels.
        """
        workers = arrays.cores()
        images = read_images([photos / name for name, *_ in self.pairs], size, WAYS["as-is"], workers=workers)
        labels = (("y", np.array(self.labels)),) if self.labeled else ()
        table = {
            f"{kind}_{part}": values[places]
            for part, places in (("train", self.train), ("test", self.test))
            for kind, values in (("x", images), *labels)
        }
        np.savez(originals, **table)
        for way, path in copies.items():
            files = [protected / self.pairs[place][1] for place in self.train]
            np.save(path, read_images(files, size, WAYS[way], workers=workers))

"""The suspect images in two halves, and quantities shared by detectors."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from howfar import arrays
from howfar.data import Data, balanced, halves
from howfar.defend import DEFENSES, Learner
from howfar.models import MODELS, build
from howfar.tasks import classification
from howfar.training import Recipe, evaluate, train

Values = NDArray[np.float64]
MOST = 2000  # maximum number of images
QUALITY = 10  # of the JPEG that removes most protection
EPOCHS = 8


@dataclass(frozen=True)
class Trained:
    """A small network trained on the first half for a few epochs.

    Attributes:
        model: the network.
        losses: mean training loss of every epoch, nats.
        accuracy: on the second half.
    """

    model: nn.Module
    losses: list[float]
    accuracy: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Labeled images in two class-balanced halves.

    Attributes:
        data: the images, with target ``label``.
        seed: of the split and of training.
    """

    data: Data
    seed: int = 0

    @classmethod
    def of(cls, data: Data, *, seed: int = 0) -> "Sample":
        """Return a class-balanced sample of at most ``MOST`` images."""
        return cls(balanced(data, MOST, seed=seed, target="label"), seed)

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.data.targets["label"].max()) + 1

    @property
    def chance(self) -> float:
        """Accuracy of the most frequent label."""
        counts = torch.bincount(self.data.targets["label"])
        return float(counts.max() / counts.sum())

    @cached_property
    def halves(self) -> tuple[Data, Data]:
        """Two disjoint halves."""
        return halves(self.data, 0.5, seed=self.seed)

    @cached_property
    def purified(self) -> "Sample":
        """The same images after strong JPEG compression, which removes most noise and keeps content."""
        learner = Learner(classification()(self.data))
        return Sample(DEFENSES["jpeg"](quality=QUALITY).purify(self.data, learner), self.seed)

    @cached_property
    def trained(self) -> Trained:
        """A small network trained on the first half."""
        first, second = self.halves
        task = classification()(self.data)
        generator = arrays.seeded(self.seed, "audit")
        model = build(MODELS["resnet8"](width=8), self.data.shape, task.outputs, generator=generator)
        recipe = Recipe(
            epochs=EPOCHS, batch_size=32, optimizer="adam", lr=0.005, crop=0, flip=False, precision="float32"
        )
        losses = [epoch.loss for epoch in train(model, first, task, recipe, seed=self.seed)]
        return Trained(model, losses, evaluate(model, second, task)["accuracy"])

    def evaluated(self, data: Data) -> float:
        """Return the accuracy of the trained network on changed images."""
        return evaluate(self.trained.model, data, classification()(self.data))["accuracy"]


def pixels_of(data: Data) -> Values:
    """Return images in [0, 1], (n, channels, height, width)."""
    return data.pixels.numpy().astype(np.float64) / 255


def labels_of(data: Data) -> NDArray[np.int64]:
    """Return the labels."""
    return data.targets["label"].numpy()


def residual(images: Values) -> Values:
    """Return the residuals of a 3×3 median filter."""
    from scipy.ndimage import median_filter

    removed: Values = images - median_filter(images, size=(1, 1, 3, 3), mode="nearest")
    return removed

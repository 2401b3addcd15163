"""Settings of the SAL probe in an experiment."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from torch import Generator, nn

from howfar.data import Data, balanced
from howfar.probe.reading import Sharpness
from howfar.probe.reference import Released
from howfar.probe.sharpness import VERSIONS, Mode, sharpness
from howfar.spec import Number
from howfar.tasks import Task


def _none_or_some(images: int) -> int:
    if images == 1:
        raise ValueError("one image has no standard error: take 0 for no probe, or at least 2")
    return images


ProbeImages = Annotated[int, Field(ge=0), AfterValidator(_none_or_some)]


@dataclass(frozen=True)
class Probe:
    """The settings of ``sharpness`` that change its result.

    Attributes:
        images: size of the probe set, a class-balanced subset of the learner's training images; 0 for no probe.
        radius: of the ball, relative to the norm of a layer's weights.
        mode: search algorithm for the extremes.
        steps: maximum number in ``fast``.
        baseline: measure from the epoch's training-mode loss, as in the released code; ``reference`` only. Where the
            released code has no such loss (mixup, cutmix), it takes the loss of one more pass, and so does howfar.
        augment: crop and flip the images at random in every pass, as in the released code; ``reference`` only.
    """

    images: ProbeImages = 256
    radius: Annotated[Number, Field(gt=0)] = 0.05
    mode: Mode = "fast"
    steps: Annotated[int, Field(ge=1)] = 12
    baseline: bool = False
    augment: bool = False

    @property
    def label(self) -> str:
        """Short description for tables."""
        steps = f", {self.steps} step{'s' * (self.steps > 1)}" if self.mode == "fast" else ""
        released = ", released baseline" * self.baseline + ", augmented" * self.augment
        return f"{self.mode}{steps}, radius {self.radius:g}, {self.images} images{released}"

    def key(self) -> dict[str, Any]:
        """Return the settings that identify a reading."""
        return {**asdict(self), "version": VERSIONS[self.mode]}

    def part(self, data: Data, task: Task) -> Data:
        """Return the probe set."""
        return balanced(data, min(self.images, len(data)), target=task.target)

    def measure(
        self, model: nn.Module, task: Task, part: Data, *, training_loss: float | None, generator: Generator
    ) -> dict[str, Sharpness]:
        """Return SAL of every layer.

        Args:
            model: after an epoch.
            task: defines loss and quality.
            part: the probe set, as returned by ``part``.
            training_loss: mean over the epoch in training mode, nats; None where the released code has none.
            generator: of the augmentation.
        """
        released = None
        if self.baseline or self.augment:
            crop = 4 if self.augment else 0
            released = Released(training_loss if self.baseline else None, crop=crop, flip=self.augment)
        return sharpness(
            model, part, task, radius=self.radius, mode=self.mode, steps=self.steps, released=released,
            generator=generator,
        )  # fmt: skip

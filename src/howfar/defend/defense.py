"""A defense: what a learner does to the images, in every batch, and to the network before and after training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

import torch
from torch import Generator, nn

from howfar import arrays
from howfar.arrays import Images, PerExample, Targets
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protect import Protector
from howfar.tasks import Task
from howfar.train import Around, Loss, Recipe, unchanged


@dataclass(frozen=True)
class Learner:
    """What a learner knows and has besides the images it trains on.

    Attributes:
        task: what it learns.
        recipe: how it trains.
        seed: of its own randomness.
        device: where it works.
        clean: a few clean images with targets, none of which anybody protected; None if it has none.
        method: how the images were protected, which only ``adaptive`` looks at (the seed stays unknown).
        given: the protected images as they came; only ``transfer`` looks back at them.
    """

    task: Task
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    clean: Data | None = None
    method: Protector | None = None
    given: Data | None = None

    @property
    def few(self) -> Data:
        """The clean images.

        Raises:
            UsageError: if there are none.
        """
        if self.clean is None or not len(self.clean):
            raise UsageError("this defense needs clean images, and none are held back. Give --set held_out=1000.")
        return self.clean

    def generator(self, *names: str) -> Generator:
        """Return randomness of its own."""
        return arrays.seeded(self.seed, "learner", *names)


Purify = Callable[[Data, Learner], Data]
Change = Callable[[nn.Module, Data, Learner], None]
View = Callable[[Task, Images, Targets, Generator], tuple[Images, Targets]]
Make = TypeVar("Make", bound=Callable[..., "Defense"])


def as_they_are(data: Data, learner: Learner) -> Data:
    """Return the images unchanged."""
    return data


def nothing(model: nn.Module, data: Data, learner: Learner) -> None:
    """Leave the network as it is."""


def published(**settings: object) -> Callable[[Make], Make]:
    """Mark an entry of the defenses' table with the published settings that are not its defaults: ``name[paper]``."""

    def marked(make: Make) -> Make:
        vars(make)["published"] = settings
        return make

    return marked


@dataclass(frozen=True)
class Defense:
    """What a learner does against protection.

    Attributes:
        purify: applied once to the whole training set.
        fits: whether ``purify`` learns from that set, so that what it does to an image depends on all others.
        around: what becomes of the loss in every batch; mixes, views and adversaries live here.
        before: changes the network in place before it is trained.
        after: changes it in place once it is.
        selects: take the network of the epoch that does best on clean validation images, not the last one.
        needs_clean: whether it takes a few clean images.
        needs_labels: whether it takes one class an image.
        moves_targets: whether it mixes targets or moves them with the images, which takes a single one.
        mixes: whether the loss has two targets an image. The paper's release reports no training loss then, and takes
            the loss of one more pass for the baseline of SAL.
        passes: about how many training passes an epoch takes, for estimates; plain training takes one.

    Example:
        >>> from howfar import DATASETS, DEFENSES
        >>> from howfar.tasks import classification
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> learner = Learner(classification()(data))
        >>> DEFENSES["jpeg"](quality=10).purify(data, learner)
        Data(100 images of 1×16×16; targets: label)
    """

    purify: Purify = as_they_are
    around: Around = unchanged
    before: Change = nothing
    after: Change = nothing
    fits: bool = False
    selects: bool = False
    needs_clean: bool = False
    needs_labels: bool = False
    moves_targets: bool = False
    mixes: bool = False
    passes: float = 1.0


def none() -> Defense:
    """No defense: plain training."""
    return Defense()


def chained(parts: Sequence[Defense]) -> Defense:
    """Return all of them, the first one nearest to the raw images."""

    def purify(data: Data, learner: Learner) -> Data:
        return reduce(lambda seen, part: part.purify(seen, learner), parts, data)

    def around(inner: Loss, done: float) -> Loss:
        return reduce(lambda loss, part: part.around(loss, done), reversed(parts), inner)

    def before(model: nn.Module, data: Data, learner: Learner) -> None:
        for part in parts:
            part.before(model, data, learner)

    def after(model: nn.Module, data: Data, learner: Learner) -> None:
        for part in parts:
            part.after(model, data, learner)

    if len(parts) == 1:
        return parts[0]
    return Defense(
        purify, around, before, after,
        fits=any(part.fits for part in parts),
        selects=any(part.selects for part in parts),
        needs_clean=any(part.needs_clean for part in parts),
        needs_labels=any(part.needs_labels for part in parts),
        moves_targets=any(part.moves_targets for part in parts),
        mixes=any(part.mixes for part in parts),
        passes=math.prod(part.passes for part in parts),
    )  # fmt: skip


def image_by_image(change: Callable[[Images], Images]) -> Purify:
    """Return a purifier from what happens to images in [0, 1]; the result is rounded to 8 bits.

    Args:
        change: returns as many images of the same shape.
    """

    def purify(data: Data, learner: Learner) -> Data:
        pixels = arrays.empty_pixels(data.pixels.shape)
        for part in arrays.chunks(len(data), 512):
            with torch.no_grad():
                changed = change(arrays.to_images(data.pixels[part], learner.device))
            pixels[part] = (changed.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        return data.with_pixels(pixels)

    return purify


def each_batch(view: View) -> Around:
    """Return what shows the network another view of every image in every batch."""

    def around(inner: Loss, done: float) -> Loss:
        def loss(
            task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
        ) -> PerExample:  # fmt: skip
            seen, meant = view(task, images, targets, generator)
            return inner(task, model, seen, meant, generator)

        return loss

    return around


def is_dense(targets: Targets) -> bool:
    """Return whether there is a target for every pixel."""
    return isinstance(targets, torch.Tensor) and targets.ndim > 2

"""The defense: purification of the images, a loss wrapper for every batch, changes of the network."""

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
from howfar.protectors import Protector
from howfar.tasks import Task
from howfar.training import Around, Loss, Recipe, unchanged


@dataclass(frozen=True)
class Learner:
    """Resources of a learner besides its training images.

    Attributes:
        task: what it learns.
        recipe: training recipe.
        seed: of its randomness.
        device: of its computations.
        clean: a few clean images with targets; None if it has none.
        method: the protector, used only by ``adaptive`` (the seed is unknown).
        given: the protected images before purification, used only by ``transfer``.
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
            raise UsageError("this defense needs clean images, and none are held out. Give --set held_out=1000.")
        return self.clean

    def generator(self, *names: str) -> Generator:
        """Return a generator for one purpose."""
        return arrays.seeded(self.seed, "learner", *names)


Purify = Callable[[Data, Learner], Data]
Change = Callable[[nn.Module, Data, Learner], None]
View = Callable[[Task, Images, Targets, Generator], tuple[Images, Targets]]
Make = TypeVar("Make", bound=Callable[..., "Defense"])


def identity(data: Data, learner: Learner) -> Data:
    """Return the images unchanged."""
    return data


def nothing(model: nn.Module, data: Data, learner: Learner) -> None:
    """Do not change the network."""


def published(**settings: object) -> Callable[[Make], Make]:
    """Mark an entry of ``DEFENSES`` with published settings that differ from its defaults, for ``name[paper]``."""

    def marked(make: Make) -> Make:
        vars(make)["published"] = settings
        return make

    return marked


@dataclass(frozen=True)
class Defense:
    """A defense of the learner.

    Attributes:
        purify: applied once to the training set.
        fits: whether ``purify`` is fitted to that set, so that its effect on an image depends on all others.
        around: wrapper around the loss in every batch, for mixing, augmentation and adversarial training.
        before: modifies the network in place before training.
        after: modifies it in place after training.
        selects: use the epoch with the best result on clean validation images instead of the last one.
        needs_clean: whether it needs clean images.
        needs_labels: whether it needs one class per image.
        moves_targets: whether it mixes targets or transforms them with the images, which supports a single target only.
        mixes: whether the loss has two targets per image. The paper's released code then has no training loss, and
            takes the loss of one more pass as the baseline of SAL.
        passes: cost of an epoch in training passes, for estimates; plain training takes one.
        ignores: whether the protected images are left out, so that it is run once, with the clean ones.

    Example:
        >>> from howfar import DATASETS, DEFENSES
        >>> from howfar.tasks import classification
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> learner = Learner(classification()(data))
        >>> DEFENSES["jpeg"](quality=10).purify(data, learner)
        Data(100 images of 1×16×16; targets: label)
    """

    purify: Purify = identity
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
    ignores: bool = False

    @property
    def uses_clean(self) -> bool:
        """Whether clean images must be held out, for the defense itself or to select an epoch."""
        return self.needs_clean or self.selects

    def __repr__(self) -> str:
        """Return the parts that do something, and the cost."""
        idle = {"purify": identity, "around": unchanged, "before": nothing, "after": nothing, "selects": False}
        used = [name for name, value in idle.items() if getattr(self, name) is not value]
        return f"Defense({', '.join(used) or 'nothing'}; {self.passes:g} passes per epoch)"


def none() -> Defense:
    """No defense: plain training.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["none"]().around)
        >>> len(list(epochs))
        2
    """
    return Defense()


def chained(parts: Sequence[Defense]) -> Defense:
    """Return the composition of defenses, the first one applied to the raw images."""

    def purify(data: Data, learner: Learner) -> Data:
        return reduce(lambda so_far, part: part.purify(so_far, learner), parts, data)

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
        ignores=any(part.ignores for part in parts),
    )  # fmt: skip


def image_by_image(change: Callable[[Images], Images]) -> Purify:
    """Return a purifier from a function of images in [0, 1]; the result is rounded to 8 bits.

    Args:
        change: returns images of the same shape.
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
    """Return a loss wrapper that transforms images and targets in every batch."""

    def around(inner: Loss, done: float) -> Loss:
        def loss(
            task: Task, model: nn.Module, images: Images, targets: Targets, generator: Generator
        ) -> PerExample:  # fmt: skip
            changed, moved = view(task, images, targets, generator)
            return inner(task, model, changed, moved, generator)

        return loss

    return around


def is_dense(targets: Targets) -> bool:
    """Return whether the target is dense."""
    return isinstance(targets, torch.Tensor) and targets.ndim > 2

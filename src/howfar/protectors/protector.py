"""The base class of all protectors, and helpers that they share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors.draft import Draft
from howfar.spec import Number, check
from howfar.tasks import OwnLoss, Task, task_of
from howfar.training import pgd

UNLABELED = OwnLoss(lambda output, target: torch.zeros(len(output)), target="none")  # label-free protectors ignore it


@dataclass(frozen=True)
class Progress:
    """Progress of a long computation, as yielded by its generator.

    Attributes:
        done: finished steps.
        total: maximum number of steps.
        note: text for progress displays, e.g. ``"error 0.04"``.
    """

    done: int
    total: int
    note: str = ""


Settings = Mapping[str, object]
Crafting = Generator[Progress, None, Data]


@dataclass(frozen=True)
class Protector(ABC):
    """Turns training images into unlearnable examples; the fields are the hyper-parameters.

    Attributes:
        norm: norm that bounds the perturbation.
        needs_labels: whether it needs the target of every image.
        cost: computational cost in words, for the table of methods.
        sources: supported targets of the source task: ``classes`` of images, ``maps`` of classes as well, or ``any``
            target with a loss.
        published: settings of the paper where the defaults are smaller; ``name[paper]`` takes them.
        share: share of the images that are protected, chosen by seed and id; the rest stay clean, and noise is crafted
            without them. A larger share includes every image of a smaller one.
    """

    norm: ClassVar[str]
    needs_labels: ClassVar[bool]
    cost: ClassVar[str]
    sources: ClassVar[Literal["classes", "maps", "any"]] = "classes"
    published: ClassVar[Settings] = {}

    share: Annotated[Number, Field(ge=0, le=1)] = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        """Raise ``UsageError`` for an invalid hyper-parameter."""
        check(self)

    @property
    def uses_labels(self) -> bool:
        """Whether it needs labels with these settings: class-wise noise always does."""
        return self.needs_labels or getattr(self, "granularity", "sample") == "class"

    def takes(self, target: Any) -> bool:
        """Return whether it can be crafted against this target."""
        if not self.uses_labels:
            return True
        is_integer = isinstance(target, Tensor) and not target.is_floating_point()
        if is_integer and target.ndim == 1:
            return True
        if getattr(self, "granularity", "") == "class" and self.sources == "any":
            return False
        return self.sources == "any" or (self.sources == "maps" and is_integer and target.ndim == 3)

    @property
    @abstractmethod
    def passes(self) -> float:
        """Upper bound of the forward-backward passes over the set, to estimate the cost in advance."""

    @abstractmethod
    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Protect images that are sorted by id; yields progress, returns the protected data.

        Args:
            data: clean images.
            task: the source task.
            generator: the only source of randomness.
            device: of surrogates.
            draft: keeps the state of long computations, so that they can be resumed.
        """

    @final
    def progress(
        self,
        data: Data,
        task: Task | None = None,
        *,
        generator: torch.Generator | None = None,
        device: str | torch.device = "cpu",
        draft: Draft | None = None,
    ) -> Crafting:
        """Protect ``data`` step by step; the result does not depend on the order of the images.

        Args:
            data: clean images.
            task: the source task that the protection is crafted against; None takes the classification of the images.
            generator: the only source of randomness: same seed, same bytes. None has seed 0.
            device: of surrogates.
            draft: keeps the state of long computations, so that they can be resumed.

        Raises:
            UsageError: without a task, if it needs the classes of the images and there are none.
        """
        generator = generator or arrays.seeded(0)
        if task is None and data.classes is None and not self.uses_labels:
            unlabeled = replace(data, targets={UNLABELED.target: torch.zeros(len(data), dtype=torch.int64)})
            work = self.progress(unlabeled, UNLABELED, generator=generator, device=device, draft=draft)
            return data.with_pixels((yield from work).pixels)
        task = task or task_of(data, None)
        order = data.ids.argsort()
        chosen = order[self._chosen(data.ids[order], generator.initial_seed())]
        if not len(chosen):
            return data
        unchanged = torch.equal(chosen, torch.arange(len(data)))  # then no copy is needed
        protected = yield from self.craft(
            data if unchanged else data.take(chosen), task,
            generator=generator, device=torch.device(device), draft=draft or Draft(),
        )  # fmt: skip
        if unchanged:
            return protected
        if len(chosen) == len(data):
            return protected.take(order.argsort())
        pixels = arrays.empty_pixels(data.pixels.shape).copy_(data.pixels)
        pixels[chosen] = protected.pixels
        return data.with_pixels(pixels)

    def _chosen(self, ids: arrays.Ids, seed: int) -> Tensor:
        """Return the indices of the protected images in sorted ``ids``, ascending."""
        if self.share == 1:
            return torch.arange(len(ids))
        draws = torch.tensor([arrays.rng_of(seed, key).random() for key in ids.tolist()])
        return draws.argsort(stable=True)[: round(self.share * len(ids))].sort().values

    @final
    def protect(
        self,
        data: Data,
        task: Task | None = None,
        *,
        generator: torch.Generator | None = None,
        device: str | torch.device = "cpu",
        draft: Draft | None = None,
    ) -> Data:
        """Return the protected data, with the same ids and targets. Arguments as in ``progress``."""
        work = self.progress(data, task, generator=generator, device=device, draft=draft)
        protected: Data = arrays.finished(work)
        return protected


def add_noise(data: Data, noise_of: Callable[[slice], Tensor], *, eps: float = 1.0, size: int = 2048) -> Crafting:
    """Add noise to ``data`` in chunks, so that memory stays bounded.

    Args:
        data: clean images.
        noise_of: returns the noise of a slice of the images, for images in [0, 1].
        eps: L∞ radius that holds after rounding.
        size: images of 32×32 per chunk, fewer if they are larger; does not affect the result.
    """
    size = max(size * 32**2 // math.prod(data.shape[1:]), 1)
    pixels = arrays.empty_pixels(data.pixels.shape)
    for part in arrays.chunks(len(data), size):
        pixels[part] = pgd.add_rounded(data.pixels[part], noise_of(part), eps=eps)
        yield Progress(part.stop, len(data))
    return data.with_pixels(pixels)


def patterned(patterns: Tensor, labels: Tensor) -> Tensor:
    """Return the noise of every image from the pattern of its class, or of the class of each pixel.

    Args:
        patterns: (classes, channels, height, width).
        labels: (n,), or (n, height, width) with 255 for no class and no noise.
    """
    if labels.ndim == 1:
        return patterns[labels]
    places = torch.arange(patterns[0, 0].numel()).view(patterns.shape[2:])
    classes = torch.where(labels == arrays.VOID, len(patterns), labels.long())
    with_none = torch.cat([patterns, torch.zeros_like(patterns[:1])]).transpose(0, 1).flatten(1)
    return lookup(with_none, classes * places.numel() + places)


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """Return the entries of a table (channels, entries) at an index, (n, channels, height, width)."""
    return torch.stack([channel.take(index) for channel in table], 1)


def class_count(labels: Tensor) -> int:
    """Return the number of classes of images or pixels."""
    return int(labels[labels != arrays.VOID].max()) + 1 if labels.ndim > 1 else int(labels.max()) + 1


def classes_of(data: Data, task: Task) -> Tensor:
    """Return the class of every image, (n,), or of every pixel, (n, height, width).

    Raises:
        UsageError: if the source task has neither.
    """
    labels = data.targets_of(task.target)
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.ndim not in (1, 3):
        raise UsageError(f"'{task.target}' has no classes of images or pixels. Choose another source task.")
    return labels


def labels_of(data: Data, task: Task) -> Tensor:
    """Return the class of every image.

    Raises:
        UsageError: if the source task has no classes.
    """
    labels = data.targets_of(task.target)
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        raise UsageError(
            f"this protection needs classes, but target '{task.target}' has none. Choose another source task."
        )
    return labels

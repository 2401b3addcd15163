"""One-pixel shortcut."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, labels_of
from howfar.spec import Spec, parse
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class OnePixelShortcut(Protector):
    """One-pixel shortcut, OPS (Wu et al., ICLR 2023, arXiv:2205.12141).

    For each class in turn, selects the pixel p and corner color v ∈ {0, 1}^channels with the largest
    mean|v − x_p| / std|v − x_p| over the class's images and channels; a pair (p, v) is used for one class only. Then
    sets x_p := v in every image of the class. Deterministic.

    As in the released code, which produced the published numbers, the divisor is the standard deviation pooled over
    images and channels (the paper's formula has the variance). Any number of classes and any shape.

    Attributes:
        pixels: pixels per class; 1 is the published method, more is its sparse extension.
        after: a protector that is applied first; these pixels then replace some of its result. With ``em`` this is the
            paper's CIFAR10-S. Pixels are searched on the clean images.

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> protected = protect("ops", X, y)
        >>> (protected != X).any(1).sum((1, 2)).unique()  # changed pixels per image
        tensor([1])
    """

    norm: ClassVar[str] = "L0"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"

    pixels: Annotated[int, Field(ge=1)] = 1
    after: str = "clean"

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Search for each class's pixels on the clean images, then set them."""
        labels = labels_of(data, task)
        channels, height, width = data.shape
        colors = torch.tensor(list(itertools.product((0.0, 1.0), repeat=channels)))
        if self.pixels > height * width or self.pixels * int(labels.max() + 1) > len(colors) * height * width:
            raise UsageError("more classes than pairs of pixel and color. Use fewer pixels per class or larger images.")
        before = _first(self.after).build()
        first = yield from before.craft(data, task, generator=generator, device=device, draft=draft)
        out = first.take(range(len(data))).pixels  # a copy, on disk where it is large
        taken = torch.zeros(len(colors), height * width, dtype=torch.bool)
        present = labels.unique().tolist()
        for done, label in enumerate(present, 1):
            members = (labels == label).nonzero().flatten()
            scores = separation(data, members, colors).masked_fill(taken, -torch.inf)
            best, color_of = scores.max(0)  # a pixel can hold one color only
            for pixel in best.topk(self.pixels).indices.tolist():
                color = color_of[pixel]
                taken[color, pixel] = True
                out[members, :, pixel // width, pixel % width] = (colors[color] * 255).to(torch.uint8)
            yield Progress(done, len(present))
        return data.with_pixels(out)


def nested(settings: Mapping[str, Any]) -> list[Spec[Protector]]:
    """Return the protector that is applied first, whose version becomes part of the key."""
    return [] if settings["after"] == "clean" else [_first(settings["after"])]


def _first(after: str) -> Spec[Protector]:
    from howfar.protectors import PROTECTORS  # PROTECTORS imports this file

    return parse(after, PROTECTORS, "protector")


def separation(data: Data, members: Tensor, colors: Tensor) -> Tensor:
    """Return mean|v − x_p| / std|v − x_p| for every color and pixel, (colors, height·width), from two moments.

    As v is 0 or 1, |v − x| is x or 1 − x, so the means of x and x² over the class suffice.
    """
    first = torch.zeros(data.shape, dtype=torch.float64)
    second = torch.zeros_like(first)
    for images in _pieces(data, members):
        first += images.sum(0)
        second += images.square().sum(0)
    mean, square = (moment.flatten(1) / len(members) for moment in (first, second))
    v = colors.double()[:, :, None]  # (colors, channels, 1) against (channels, height·width)
    distance = v + (1 - 2 * v) * mean
    squared = v + (1 - 2 * v) * (2 * v * mean + (1 - 2 * v) * square)
    pooled = distance.mean(1)
    deviation = (squared.mean(1) - pooled.square()).clamp(min=0).sqrt()
    return pooled / (deviation + 1e-6)


def _pieces(data: Data, members: Tensor) -> Iterator[Tensor]:
    for part in members.split(4096):
        yield data.pixels[part].double() / 255

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
from howfar.protect.draft import Draft
from howfar.protect.protector import Crafting, Progress, Protector, labels_of
from howfar.spec import Spec, parse
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class OnePixelShortcut(Protector):
    """One-pixel shortcut, OPS (Wu et al., ICLR 2023, arXiv:2205.12141).

    For each class in turn, the pixel p and corner colour v ∈ {0, 1}^channels with the largest
    mean|v − x_p| / std|v − x_p| over the class's images and channels; a pair (p, v) serves one class only.
    Then x_p := v in every image of the class. Deterministic.

    Follows the released code in dividing by the standard deviation pooled over images and channels, with which the
    published numbers were made (the paper's formula has the variance). Any number of classes and any shape.

    Attributes:
        pixels: how many pixels a class gets; 1 is the method, more is its sparse extension.
        after: a protector applied first, whose images keep all but these pixels; with ``em`` this is the paper's
            CIFAR10-S. Pixels are searched on the clean images.
    """

    norm: ClassVar[str] = "L0"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"

    pixels: Annotated[int, Field(ge=1)] = 1
    after: str = "clean"

    @property
    def passes(self) -> float:
        """No gradients at all."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Search each class's pixels on the clean images, then write them."""
        labels = labels_of(data, task)
        channels, height, width = data.shape
        colours = torch.tensor(list(itertools.product((0.0, 1.0), repeat=channels)))
        if self.pixels > height * width or self.pixels * int(labels.max() + 1) > len(colours) * height * width:
            raise UsageError("more classes than pairs of pixel and colour. Take fewer pixels a class or larger images.")
        before = _first(self.after).build()
        first = yield from before.craft(data, task, generator=generator, device=device, draft=draft)
        out = first.take(range(len(data))).pixels  # a copy, on disk where it is large
        taken = torch.zeros(len(colours), height * width, dtype=torch.bool)
        present = labels.unique().tolist()
        for done, label in enumerate(present, 1):
            members = (labels == label).nonzero().flatten()
            scores = separation(data, members, colours).masked_fill(taken, -torch.inf)
            best, colour_of = scores.max(0)  # a pixel can hold one colour only
            for pixel in best.topk(self.pixels).indices.tolist():
                colour = colour_of[pixel]
                taken[colour, pixel] = True
                out[members, :, pixel // width, pixel % width] = (colours[colour] * 255).to(torch.uint8)
            yield Progress(done, len(present))
        return data.with_pixels(out)


def nested(settings: Mapping[str, Any]) -> list[Spec[Protector]]:
    """Return the protector that is applied first, so that its version is part of the key."""
    return [] if settings["after"] == "clean" else [_first(settings["after"])]


def _first(after: str) -> Spec[Protector]:
    from howfar.protect import PROTECTORS  # the table names this very file

    return parse(after, PROTECTORS, "protector")


def separation(data: Data, members: Tensor, colours: Tensor) -> Tensor:
    """Return mean|v − x_p| / std|v − x_p| for every colour and pixel, (colours, height·width), from two moments.

    As v is 0 or 1, |v − x| is x or 1 − x, so the means of x and x² over the class suffice.
    """
    first = torch.zeros(data.shape, dtype=torch.float64)
    second = torch.zeros_like(first)
    for images in _pieces(data, members):
        first += images.sum(0)
        second += images.square().sum(0)
    mean, square = (moment.flatten(1) / len(members) for moment in (first, second))
    v = colours.double()[:, :, None]  # (colours, channels, 1) against (channels, height·width)
    distance = v + (1 - 2 * v) * mean
    squared = v + (1 - 2 * v) * (2 * v * mean + (1 - 2 * v) * square)
    pooled = distance.mean(1)
    deviation = (squared.mean(1) - pooled.square()).clamp(min=0).sqrt()
    return pooled / (deviation + 1e-6)


def _pieces(data: Data, members: Tensor) -> Iterator[Tensor]:
    for part in members.split(4096):
        yield data.pixels[part].double() / 255

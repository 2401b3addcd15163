"""Changes that are no protection: placebos, which a measure must not see, and wrong labels, which it must see."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data import Data
from howfar.defend.jpeg import compressed
from howfar.protectors import PROTECTORS
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector
from howfar.tasks import Task

VERSION = 1
Change = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # uint8 images, labels and draws -> uint8 images


def jpeg_90(pixels: Tensor, _: Tensor, __: torch.Generator) -> Tensor:
    return compressed(pixels, 90)


def color_jitter(pixels: Tensor, _: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of each image by up to 20 %."""
    images = arrays.to_images(pixels, torch.device("cpu"))
    brightness, contrast, saturation = 0.8 + 0.4 * torch.rand(3, len(images), 1, 1, 1, generator=generator)
    images = images * brightness
    images = contrast * images + (1 - contrast) * images.mean((1, 2, 3), keepdim=True)
    images = saturation * images + (1 - saturation) * images.mean(1, keepdim=True)
    changed: Tensor = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return changed


def crop(pixels: Tensor, _: Tensor, generator: torch.Generator) -> Tensor:
    """Cut each image to 7/8 of its sides at a random place and scale it back."""
    height, width = (side * 7 // 8 for side in pixels.shape[-2:])
    down, right = (
        torch.randint(side - cut + 1, (len(pixels),), generator=generator).tolist()
        for side, cut in zip(pixels.shape[-2:], (height, width), strict=True)
    )
    cut = torch.stack(
        [image[:, y : y + height, x : x + width] for image, y, x in zip(pixels, down, right, strict=True)]
    )
    scaled = functional.interpolate(cut.float(), pixels.shape[-2:], mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def mismatched(pixels: Tensor, _: Tensor, generator: torch.Generator) -> Tensor:
    """Permute half of the images, so that they get the labels of others: wrong labels, no placebo."""
    some = torch.randperm(len(pixels), generator=generator)[: len(pixels) // 2]
    changed = pixels.clone()
    changed[some] = pixels[some.roll(1)]
    return changed


def reordered(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Permute the images within each class: the same training set, but no image is paired with its original."""
    changed = pixels.clone()
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=generator)]
        changed[places] = pixels[places.roll(1)]
    return changed


CHANGES: dict[str, Change] = {
    "jpeg-90": jpeg_90, "color-jitter": color_jitter, "crop": crop, "mismatched": mismatched,
    "reordered": reordered,
}  # fmt: skip


@dataclass(frozen=True)
class Placebo(Protector):
    """A change of the images that is no protection.

    Attributes:
        change: a key of ``CHANGES``.
    """

    norm: ClassVar[str] = "none"
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[str] = "seconds"

    change: str = "jpeg-90"

    @property
    def passes(self) -> float:
        """No gradients at all."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Change the images, a few thousand at a time."""
        pixels, labels = arrays.empty_pixels(data.pixels.shape), data.targets[data.classes or "label"]
        for part in arrays.chunks(len(data), 2048):
            pixels[part] = CHANGES[self.change](data.pixels[part], labels[part], generator)
            yield Progress(part.stop, len(data))
        return data.with_pixels(pixels)


def register() -> None:
    """Add the placebos to the table of protectors, as a plug-in would."""
    PROTECTORS["placebo"] = Placebo

"""Convolution-based unlearnable data."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress, Protector, class_count, classes_of
from howfar.spec import Number
from howfar.tasks import Task

VERSION = 1


@dataclass(frozen=True)
class ConvolutionBased(Protector):
    """Convolution-based unlearnable dataset, CUDA (Sadasivan et al., CVPR 2023, arXiv:2303.04278).

    Every class has one k×k filter with entries from U(0, blur), one of which, at a random position, is set to 1. All
    channels of the class's images are convolved with it (zero padding), then each image is divided by its maximum.
    With per-pixel classes, every pixel is convolved with the filter of its class.

    Differs from the released code: a black image stays black instead of becoming NaN; the filter depends only on seed
    and class; rounds instead of truncating.

    Attributes:
        kernel: side of the filter, odd (published: 3 at 32×32, 9 at 224×224).
        blur: largest of the other entries (published: 0.3 at 32×32, 0.06 at 224×224).

    Example:
        >>> import torch
        >>> from howfar import protect
        >>> X, y = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2
        >>> same = X[:1].repeat(20, 1, 1, 1)
        >>> protected = protect("cuda", same, y)
        >>> torch.equal(protected[0], protected[2]), torch.equal(protected[0], protected[1])  # one filter per class
        (True, False)
    """

    norm: ClassVar[str] = "none"
    needs_labels: ClassVar[bool] = True
    cost: ClassVar[str] = "seconds"
    sources: ClassVar[Literal["classes", "maps", "any"]] = "maps"

    kernel: Annotated[int, Field(ge=1)] = 3
    blur: Annotated[Number, Field(ge=0, le=1)] = 0.3

    @property
    def passes(self) -> float:
        """No gradients."""
        return 0.0

    def craft(
        self, data: Data, task: Task, *, generator: torch.Generator, device: torch.device, draft: Draft
    ) -> Crafting:
        """Convolve the images of every class with its filter."""
        if self.kernel % 2 == 0:
            raise UsageError(f"cuda: kernel = {self.kernel} has no center. Use an odd number.")
        seed = arrays.draw_seed(generator)
        labels = classes_of(data, task)
        filters = torch.stack([self._filter(seed, label) for label in range(class_count(labels))]).to(device)
        pixels = arrays.empty_pixels(data.pixels.shape)
        for part in arrays.chunks(len(data), 1024 if labels.ndim == 1 else 128):
            blurred = blur(arrays.unit_images(data.pixels[part].to(device)), filters, labels[part].to(device))
            pixels[part] = (blurred * 255).round().to(torch.uint8).cpu()
            yield Progress(part.stop, len(data))
        return data.with_pixels(pixels)

    def _filter(self, seed: int, label: int) -> Tensor:
        rng = arrays.rng_of(seed, label)
        entries = rng.uniform(0, self.blur, self.kernel**2).astype(np.float32)
        entries[rng.integers(self.kernel**2)] = 1
        return torch.from_numpy(entries).view(self.kernel, self.kernel)


def blur(images: Tensor, filters: Tensor, labels: Tensor) -> Tensor:
    """Return images convolved with the filters of their classes, per image or per pixel.

    Args:
        images: (n, channels, height, width), in [0, 1].
        filters: (classes, side, side).
        labels: (n,), or (n, height, width) with 255 for no class; such pixels are unchanged.
    """
    if labels.ndim == 1:
        return convolve(images, filters[labels])
    n, channels, height, width = images.shape
    side = filters.shape[-1]
    flat = images.reshape(n * channels, 1, height, width)
    every = functional.conv2d(flat, filters[:, None], padding=side // 2).view(n, channels, len(filters), height, width)
    index = torch.where(labels == arrays.VOID, 0, labels.long())[:, None, None].expand(-1, channels, 1, -1, -1)
    chosen = every.gather(2, index)[:, :, 0]
    out = torch.where((labels == arrays.VOID)[:, None], images, chosen)
    return out / out.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)


def convolve(images: Tensor, filters: Tensor) -> Tensor:
    """Return each image convolved with its filter and divided by its maximum, in [0, 1].

    Args:
        images: (n, channels, height, width), in [0, 1].
        filters: (n, side, side), one per image.
    """
    n, channels, height, width = images.shape
    side = filters.shape[-1]
    kernels = filters.repeat_interleave(channels, 0)[:, None]
    flat = images.reshape(1, n * channels, height, width)
    out = functional.conv2d(flat, kernels, padding=side // 2, groups=n * channels).view(n, channels, height, width)
    return out / out.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)

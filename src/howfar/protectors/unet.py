"""The noise generator of DC and GUE: a small U-Net, and its application to a data set."""

from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar.arrays import Images, Targets
from howfar.data import Data
from howfar.models import Shape, build
from howfar.protectors.draft import Draft
from howfar.protectors.protector import Crafting, Progress
from howfar.protectors.surrogate import craft_batches, freeze
from howfar.tasks import Task


class NoiseNet(nn.Module):
    """U-Net with two levels (Ronneberger et al., MICCAI 2015, arXiv:1505.04597); its output is eps·tanh.

    Args:
        channels: of the input.
        width: channels at full resolution.
        eps: L∞ radius of the noise.
        outputs: channels of the noise; by default those of the input.
    """

    def __init__(self, channels: int, width: int, eps: float, outputs: int | None = None) -> None:
        super().__init__()
        self.eps = eps
        self.first, self.second = _block(channels, width), _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.up_second, self.up_first = _block(6 * width, 2 * width), _block(3 * width, width)
        self.out = nn.Conv2d(width, outputs or channels, 1)

    def forward(self, inputs: Tensor) -> Images:
        """Return noise for each image, (n, channels, height, width)."""
        full = self.first(inputs)
        half = self.second(functional.max_pool2d(full, 2))
        quarter = self.bottom(functional.max_pool2d(half, 2))
        half = self.up_second(torch.cat([_resized(quarter, half), half], 1))
        full = self.up_first(torch.cat([_resized(half, full), full], 1))
        noise: Tensor = self.eps * self.out(full).tanh()
        return noise


def noise_net(shape: Shape, width: int, eps: float, *, generator: torch.Generator) -> nn.Module:
    """Return a generator with seeded weights."""
    return build(lambda own, _: NoiseNet(own[0], width, eps), shape, 1, generator=generator)


def craft_generated(
    data: Data, task: Task, training: Callable[[nn.Module], Generator[Progress, None, None]], *, width: int, eps: float,
    generator: torch.Generator, device: torch.device, draft: Draft,
) -> Crafting:  # fmt: skip
    """Train a noise generator, which is kept in the draft, and craft its noise.

    Args:
        data: clean images.
        task: the source task.
        training: trains a new noise generator in place.
        width: of the noise generator.
        eps: as in ``craft_batches``.
        generator: as in ``craft_batches``.
        device: as in ``craft_batches``.
        draft: as in ``craft_batches``.
    """
    maker = noise_net(data.shape, width, eps, generator=generator).to(device)
    if not draft.reached("craft"):
        yield from training(maker)
    freeze(maker)

    def craft(images: Images, target: Targets, part: slice) -> Images:
        with torch.no_grad():
            noise: Images = maker(images)
            return noise

    return (
        yield from craft_batches(
            data, task, craft, eps=eps, generator=generator, device=device, draft=draft, maker=maker
        )
    )


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first in (inputs, outputs):
        layers += [nn.Conv2d(first, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _resized(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, like.shape[2:], mode="nearest")

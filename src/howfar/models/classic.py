"""The two smallest networks: a linear classifier and LeNet-5."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from howfar.models.build import Architecture, Shape

VERSION = 2


def linear(inputs: Annotated[int, Field(ge=0)] = 0) -> Architecture:
    """Linear classifier (softmax regression) on the pixels.

    Args:
        inputs: average-pool the image to at most about this many inputs first; 0 takes every pixel.
            The paper's linear model has 12: a 2×2 grid of three channels, or a 3×4 grid of one.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["linear"](), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        30730
    """
    return lambda shape, outputs: Linear(shape, outputs, inputs)


def lenet5() -> Architecture:
    """LeNet-5 with ReLU (LeCun et al. 1998, Gradient-based learning applied to document recognition).

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["lenet5"](), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        83126
    """
    return LeNet5


class Linear(nn.Module):
    """One weight matrix; see ``linear``."""

    def __init__(self, shape: Shape, outputs: int, inputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        each = max(inputs // channels, 1)
        rows = int(each**0.5)
        self.grid = (min(rows, height), min(each // rows, width)) if inputs else (height, width)
        self.head = nn.Linear(channels * self.grid[0] * self.grid[1], outputs)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        return [images]

    def forward(self, images: Tensor) -> Tensor:
        if self.grid != tuple(images.shape[2:]):
            images = functional.adaptive_avg_pool2d(images, self.grid)
        out: Tensor = self.head(images.flatten(1))
        return out


class LeNet5(nn.Module):
    """Two convolutions and three linear layers; the second convolution is padded for images under 12 pixels."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        border = 0 if min(height, width) >= 12 else 2
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=border)
        rows, columns = ((side // 2 - 4 + 2 * border) // 2 for side in (height, width))
        self.fc1 = nn.Linear(16 * rows * columns, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, outputs)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        first = functional.relu(self.conv1(images))
        return [first, functional.relu(self.conv2(functional.max_pool2d(first, 2)))]

    def forward(self, images: Tensor) -> Tensor:
        out = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        out = functional.max_pool2d(functional.relu(self.conv2(out)), 2)
        out = functional.relu(self.fc1(out.flatten(1)))
        last: Tensor = self.fc3(functional.relu(self.fc2(out)))
        return last

"""DenseNet for small images."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar.models.build import Architecture, Shape, Size

VERSION = 1
BLOCKS = (6, 12, 24, 16)


def densenet121(growth: Size = 32) -> Architecture:
    """DenseNet-121 for small images (Huang et al., CVPR 2017, arXiv:1608.06993).

    Args:
        growth: channels added by every layer (published: 32).

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["densenet121"](), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        6956298
    """
    return partial(DenseNet, growth=growth)


class Dense(nn.Module):
    """1×1 and 3×3 convolution, both pre-activated; the output is concatenated with the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(functional.relu(self.bn1(x)))
        return torch.cat([self.conv2(functional.relu(self.bn2(out))), x], 1)


class Transition(nn.Module):
    """Halve channels, height and width."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.bn(x))), 2, ceil_mode=True)


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between them, global average, linear head."""

    def __init__(self, shape: Shape, outputs: int, *, growth: int) -> None:
        super().__init__()
        channels = 2 * growth
        self.conv1 = nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        for number, count in enumerate(BLOCKS):
            for _ in range(count):
                layers.append(Dense(channels, growth))
                channels += growth
            if number + 1 < len(BLOCKS):
                layers.append(Transition(channels))
                channels //= 2
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, outputs)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        out, levels = self.conv1(images), []
        for layer in self.layers:
            if isinstance(layer, Transition):
                levels.append(out)
            out = layer(out)
        return [*levels, functional.relu(self.bn(out))]

    def forward(self, images: Tensor) -> Tensor:
        out = functional.relu(self.bn(self.layers(self.conv1(images))))
        scores: Tensor = self.head(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return scores

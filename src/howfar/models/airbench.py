"""The network of airbench, which is trained on CIFAR-10 in seconds."""

import re
from functools import partial
from typing import Annotated

from pydantic import AfterValidator
from torch import Tensor, nn
from torch.nn import functional

from howfar.models.build import Architecture, Shape
from howfar.models.whitening import Whitening

VERSION = 1
SIZES = {"small": (32, 64, 64), "medium": (32, 128, 128), "full": (64, 256, 256)}
SCALE = 9.0  # divisor of the features before the head
MOMENTUM = 0.4  # of the running statistics, as there are few training steps
LEAST = 14  # pixels: for smaller images, pooling rounds sizes up


def _known(size: str) -> str:
    widths(size)
    return size


def airbench(size: Annotated[str, AfterValidator(_known)] = "small") -> Architecture:
    """The network of cifar10-airbench, with fixed whitening (Jordan 2024, arXiv:2404.00498).

    Args:
        size: ``small`` (channels 32, 64, 64), ``medium`` (32, 128, 128), ``full`` (64, 256, 256, the published
            network), or three numbers of channels such as ``32-64-128``.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["airbench"]("small"), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        146466
    """
    return partial(AirBench, widths=widths(size))


def widths(size: str) -> tuple[int, ...]:
    """Return the channels of the three groups.

    Raises:
        ValueError: if it is neither a name nor three positive numbers.
    """
    if size in SIZES:
        return SIZES[size]
    if not re.fullmatch(r"[1-9]\d*-[1-9]\d*-[1-9]\d*", size):
        raise ValueError(f"write {', '.join(SIZES)} or three numbers of channels such as 32-64-128")
    return tuple(int(number) for number in size.split("-"))


class Group(nn.Module):
    """3×3 convolution, 2×2 max-pooling, 3×3 convolution; batch normalization and GELU after each."""

    def __init__(self, inputs: int, outputs: int, *, ceil: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=ceil)
        self.bn1 = nn.BatchNorm2d(outputs, momentum=MOMENTUM)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, momentum=MOMENTUM)

    def start_weights(self) -> None:
        """Initialize the first outputs as copies of the inputs."""
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight[: conv.in_channels].detach())

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.bn1(self.pool(self.conv1(x))))
        return functional.gelu(self.bn2(self.conv2(x)))


class AirBench(nn.Module):
    """Whitening, three groups, global maximum, linear head on features divided by 9.

    Differs from the released code: images are not standardized by constants of CIFAR-10 but centered by the whitening
    layer; batch normalizations learn a scale; the head has a bias.
    """

    def __init__(self, shape: Shape, outputs: int, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.whitening = Whitening(shape[0])
        inputs, groups = len(self.whitening.bias), list[Group]()
        for width in widths:
            groups.append(Group(inputs, width, ceil=min(shape[1:]) < LEAST))
            inputs = width
        self.groups = nn.Sequential(*groups)
        self.head = nn.Linear(inputs, outputs)

    def forward(self, images: Tensor) -> Tensor:
        out = self.groups(functional.gelu(self.whitening(images)))
        scores: Tensor = self.head(functional.adaptive_max_pool2d(out, 1).flatten(1) / SCALE)
        return scores

    def pyramid(self, images: Tensor) -> list[Tensor]:
        levels = [functional.gelu(self.whitening(images))]
        for group in self.groups:
            levels.append(group(levels[-1]))
        return levels[1:]

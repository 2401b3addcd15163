"""One residual network for all depths (He et al., CVPR 2016; 3×3 stem, no max-pooling, as usual for CIFAR)."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar.models.build import Architecture, Shape, Size

VERSION = 1


def resnet8(width: Size = 16) -> Architecture:
    """ResNet-8: three stages of one basic block (He et al., CVPR 2016, arXiv:1512.03385, section 4.2).

    Args:
        width: channels of the first stage; each further stage doubles them.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["resnet8"](width=8), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        19954
    """
    return partial(ResNet, block=Basic, depths=(1, 1, 1), base=width)


def resnet18(width: Size = 64) -> Architecture:
    """ResNet-18 for small images (He et al., CVPR 2016, arXiv:1512.03385).

    Args:
        width: channels of the first stage; the published network has 64.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["resnet18"](width=16), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        701466
    """
    return partial(ResNet, block=Basic, depths=(2, 2, 2, 2), base=width)


def resnet50(width: Size = 64) -> Architecture:
    """ResNet-50 for small images (He et al., CVPR 2016, arXiv:1512.03385).

    Args:
        width: channels of the first stage before expansion; the published network has 64.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["resnet50"](width=8), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        375762
    """
    return partial(ResNet, block=Bottleneck, depths=(3, 4, 6, 3), base=width)


def senet18(width: Size = 64) -> Architecture:
    """SENet-18: pre-activation blocks with squeeze and excitation (Hu et al., CVPR 2018, arXiv:1709.01507).

    Args:
        width: channels of the first stage; the published network has 64.

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["senet18"](width=8), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        177698
    """
    return partial(ResNet, block=SqueezeExcite, depths=(2, 2, 2, 2), base=width)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class Subsample(nn.Module):
    """Every ``stride``-th row and column.

    Before a 1×1 convolution this is equivalent to its stride. PyTorch's strided 1×1 convolution (oneDNN, in 2.13)
    writes out of bounds for channels-last input with fewer than 16 channels and a batch that threads cannot share
    evenly.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return functional.avg_pool2d(x, kernel_size=1, stride=self.stride)  # slices are slow to differentiate
        return x[..., :: self.stride, :: self.stride].clone()


class Basic(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolution, the last four times as wide, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class SqueezeExcite(nn.Module):
    """Pre-activation block whose channels are weighted by a small network on their means."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else nn.Sequential(Subsample(stride), _conv(inputs, width, 1))
        self.squeeze = nn.Conv2d(width, max(width // 16, 1), 1)
        self.excite = nn.Conv2d(max(width // 16, 1), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.bn1(x))
        kept = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        out = self.conv2(functional.relu(self.bn2(self.conv1(active))))
        means = functional.adaptive_avg_pool2d(out, 1)
        weights = self.excite(functional.relu(self.squeeze(means))).sigmoid()
        mixed: Tensor = out * weights + kept
        return mixed


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(Subsample(stride), _conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average, linear head."""

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        block: type[Basic] | type[Bottleneck] | type[SqueezeExcite],
        depths: Sequence[int],
        base: int,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(shape[0], base, 3)
        self.bn1 = nn.BatchNorm2d(base)
        stages, inputs = [], base
        for stage, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(block(inputs, base * 2**stage, stride))
                inputs = base * 2**stage * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, outputs)

    def forward(self, images: Tensor) -> Tensor:
        out = self.stages(functional.relu(self.bn1(self.conv1(images))))
        scores: Tensor = self.head(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return scores

    def pyramid(self, images: Tensor) -> list[Tensor]:
        levels = [functional.relu(self.bn1(self.conv1(images)))]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels[1:]

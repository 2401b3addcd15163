"""MobileNetV2 for small images."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from howfar.models.build import Architecture, Shape, Size

VERSION = 1
# expansion, channels at width 32, blocks, stride of the first block; two strides fewer than at 224×224, as is usual
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
LAST = 1280


def mobilenetv2(width: Size = 32) -> Architecture:
    """MobileNetV2 for small images (Sandler et al., CVPR 2018, arXiv:1801.04381).

    Args:
        width: channels of the first convolution; all others scale with it (published: 32).

    Example:
        >>> from howfar import MODELS, build
        >>> model = build(MODELS["mobilenetv2"](), (3, 32, 32), outputs=10)
        >>> sum(weight.numel() for weight in model.parameters())
        2237770
    """
    return partial(MobileNet, width=width)


class Inverted(nn.Module):
    """Expansion, depthwise 3×3 convolution, projection; a shortcut if the shape is unchanged."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.kept = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu6(self.bn1(self.conv1(x)))
        out = functional.relu6(self.bn2(self.conv2(out)))
        narrow: Tensor = self.bn3(self.conv3(out))
        return x + narrow if self.kept else narrow


class MobileNet(nn.Module):
    """Stem, inverted residual blocks, a wide 1×1 convolution, global average, linear head."""

    def __init__(self, shape: Shape, outputs: int, *, width: int) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(channels * width // 32, 1)

        self.conv1 = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for expansion, channels, count, stride in STAGES:
            for position in range(count):
                blocks.append(Inverted(inputs, scaled(channels), expansion, stride if position == 0 else 1))
                inputs = scaled(channels)
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(inputs, scaled(LAST), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(scaled(LAST))
        self.head = nn.Linear(scaled(LAST), outputs)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        out, levels = functional.relu6(self.bn1(self.conv1(images))), []
        for block in self.blocks:
            if block.conv2.stride != (1, 1):
                levels.append(out)
            out = block(out)
        return [*levels, functional.relu6(self.bn2(self.conv2(out)))]

    def forward(self, images: Tensor) -> Tensor:
        out = self.blocks(functional.relu6(self.bn1(self.conv1(images))))
        out = functional.relu6(self.bn2(self.conv2(out)))
        scores: Tensor = self.head(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return scores

"""Published backbones without their heads, whose weights are named as in timm and torchvision."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar.models.resnet import Subsample

HEAD_WIDTH = 64  # of an attention head in all ViTs of timm
# EfficientNet-Lite0: expansion, kernel, stride, channels and blocks of every stage.
LITE0 = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
TF_EPS, TF_MOMENTUM = 1e-3, 0.01  # batch normalization of networks from TensorFlow


class Backbone(nn.Module):
    """A network that returns features, (n, ``width``); ``side`` is the side at which images are shown to it."""

    width: int
    side = 96

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return feature maps from the finest to the coarsest."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the coarsest map."""
        return self.pyramid(images)[-1].mean((2, 3))


class ResNet(Backbone):
    """ResNet for ImageNet: 7×7 stem, max-pooling, four stages (He et al., CVPR 2016, arXiv:1512.03385)."""

    def __init__(self, base: int, depths: Sequence[int], *, bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        kind, inputs = (Bottleneck if bottleneck else Basic), base
        for stage, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                blocks.append(kind(inputs, base * 2**stage, 2 if stage > 0 and position == 0 else 1))
                inputs = base * 2**stage * kind.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages, self.width = len(depths), inputs

    def pyramid(self, images: Tensor) -> list[Tensor]:
        out, levels = functional.relu(self.bn1(self.conv1(images))), []
        out = functional.max_pool2d(out, 3, 2, 1)
        for stage in range(self.stages):
            out = getattr(self, f"layer{stage + 1}")(out)
            levels.append(out)
        return levels


class Basic(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + _shortcut(self, x))


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride) and 1×1 convolution, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _downsample(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + _shortcut(self, x))


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(Projection(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class Projection(nn.Conv2d):
    """A strided 1×1 convolution; see ``Subsample``."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)
        self.subsample = Subsample(stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.subsample(x))


def _shortcut(block: Basic | Bottleneck, x: Tensor) -> Tensor:
    shortcut: Tensor = x if block.downsample is None else block.downsample(x)
    return shortcut


class ViT(Backbone):
    """Vision transformer with a class token (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929), as in timm.

    Position embeddings are interpolated to the number of patches.
    """

    def __init__(self, width: int, depth: int, patch: int, grid: int) -> None:
        super().__init__()
        self.width, self.side = width, patch * min(grid, 6)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def _tokens(self, images: Tensor) -> tuple[Tensor, torch.Size]:
        patches = self.patch_embed["proj"](images)
        tokens = patches.flatten(2).transpose(1, 2) + self._positions(patches.shape[2:])
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], 1))), patches.shape[2:]

    def _positions(self, size: torch.Size) -> Tensor:
        own, grid = self.pos_embed[:, 1:], math.isqrt(self.pos_embed.shape[1] - 1)
        if tuple(size) == (grid, grid):
            return own
        maps = own.transpose(1, 2).unflatten(2, (grid, grid))
        return functional.interpolate(maps, tuple(size), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        tokens, size = self._tokens(images)
        return [tokens[:, 1:].transpose(1, 2).unflatten(2, tuple(size))]

    def forward(self, images: Tensor) -> Tensor:
        return self._tokens(images)[0][:, 0]


class Block(nn.Module):
    """Pre-norm attention and a two-layer network, each with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).reshape(n, tokens, 3, -1, HEAD_WIDTH)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        x = x + self.attn["proj"](mixed.reshape(n, tokens, width))
        hidden: Tensor = self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + hidden


class EfficientNetLite(Backbone):
    """EfficientNet-Lite0 from TensorFlow (Tan and Le, ICML 2019, arXiv:1905.11946), as timm's tf_efficientnet_lite0."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 32, 3, 2, bias=False), _norm(32)
        inputs, stages = 32, []
        for expansion, kernel, stride, width, count in LITE0:
            blocks = []
            for position in range(count):
                blocks.append(Inverted(inputs, width, expansion, kernel, stride if position == 0 else 1))
                inputs = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.width = 1280
        self.conv_head, self.bn2 = nn.Conv2d(inputs, self.width, 1, bias=False), _norm(self.width)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        out, levels = functional.relu6(self.bn1(_same(self.conv_stem, images))), []
        for stage in self.blocks:
            out = stage(out)
            levels.append(out)
        last = functional.relu6(self.bn2(self.conv_head(out)))
        return [levels[0], levels[1], levels[2], levels[4], last]


class Inverted(nn.Module):
    """Inverted residual block in timm's naming; without an expansion, timm calls its second convolution ``conv_pw``."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.kept = expansion > 1, stride == 1 and inputs == outputs
        depthwise = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        project = nn.Conv2d(inner, outputs, 1, bias=False)
        if self.expands:
            self.conv_pw, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), _norm(inner)
            self.conv_dw, self.bn2 = depthwise, _norm(inner)
            self.conv_pwl, self.bn3 = project, _norm(outputs)
        else:
            self.conv_dw, self.bn1 = depthwise, _norm(inner)
            self.conv_pw, self.bn2 = project, _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            out = functional.relu6(self.bn1(self.conv_pw(x)))
            out = functional.relu6(self.bn2(_same(self.conv_dw, out)))
            out = self.bn3(self.conv_pwl(out))
        else:
            out = self.bn2(self.conv_pw(functional.relu6(self.bn1(_same(self.conv_dw, x)))))
        found: Tensor = x + out if self.kept else out
        return found


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=TF_EPS, momentum=TF_MOMENTUM)


def _same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve with TensorFlow's padding ``same``, which may be larger at the right and the bottom."""
    sides = list[int]()
    for size in (x.shape[3], x.shape[2]):
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        sides += [total // 2, total - total // 2]
    found: Tensor = conv(functional.pad(x, sides))
    return found


def matching(tensors: Mapping[str, Tensor]) -> tuple[str, Callable[[], Backbone]] | None:
    """Return the name of the published network that tensors belong to, and its constructor; None if there is none.

    ResNets and ViTs may have any width and depth, which are read from the tensors.
    """

    def size(name: str, axis: int) -> int:
        return tensors[name].shape[axis] if name in tensors and tensors[name].ndim > axis else 0

    def count(stem: str) -> int:
        found = {name[len(stem) :].partition(".")[0] for name in tensors if name.startswith(stem)}
        return len(found)

    if "conv_stem.weight" in tensors:
        return "tf_efficientnet_lite0", EfficientNetLite
    if "layer1.0.conv1.weight" in tensors and size("conv1.weight", 0):
        depths = [count(f"layer{stage}.") for stage in range(1, 5)]
        if 0 in depths:
            return None
        bottleneck = "layer1.0.conv3.weight" in tensors
        blocks = 1 + sum(depths) * (3 if bottleneck else 2) + 1
        return f"ResNet-{blocks}", lambda: ResNet(size("conv1.weight", 0), depths, bottleneck=bottleneck)
    if "patch_embed.proj.weight" in tensors:
        width, patch = size("cls_token", 2), size("patch_embed.proj.weight", 3)
        grid = math.isqrt(max(size("pos_embed", 1) - 1, 0))
        if width and width % HEAD_WIDTH == 0 and patch and grid and count("blocks."):
            return f"ViT of width {width}", lambda: ViT(width, count("blocks."), patch, grid)
    return None

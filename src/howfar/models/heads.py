"""Heads for dense and joint tasks, on the feature maps of any backbone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from howfar.arrays import UNCERTAINTY, Heads, Outputs, PerPixel
from howfar.models.modes import in_eval_mode

VERSION = 1
WIDEST = 64  # maximum number of channels of a decoder
OWN = ("head", "fc1", "fc2", "fc3")  # modules of a backbone's own head


def with_heads(backbone: Any, shape: tuple[int, int, int], outputs: Outputs) -> nn.Module:
    """Return the backbone with a dense head, or several heads, instead of its own.

    Args:
        backbone: has a method ``pyramid(images)`` for feature maps from the finest to the coarsest. One with
            ``add_decoder`` has its own decoder for dense heads; its ``decoded`` is True once it is added.
        shape: channels, height and width of an image.
        outputs: ``PerPixel``, or ``Heads`` by name.
    """
    heads = outputs.values() if isinstance(outputs, Heads) else [outputs]
    if hasattr(backbone, "add_decoder") and any(isinstance(head, PerPixel) and head.skips for head in heads):
        backbone.add_decoder()
    channels = channels_of(without_head(backbone), shape)
    return Several(backbone, channels, outputs) if isinstance(outputs, Heads) else Dense(backbone, channels, outputs)


def without_head(backbone: nn.Module) -> nn.Module:
    """Return the network after removing its own head in place."""
    for name in OWN:
        if hasattr(backbone, name):
            delattr(backbone, name)
    return backbone


def channels_of(backbone: nn.Module, shape: tuple[int, int, int]) -> list[int]:
    """Return the number of channels of every stage, from a forward pass of a zero image."""
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    with in_eval_mode(backbone), torch.no_grad():
        return [level.shape[1] for level in _pyramid(backbone, torch.zeros(1, *shape, device=device))]


def backbone_of(model: Any) -> Any:
    """Return the backbone of a network with dense or joint heads; other networks themselves."""
    return model.backbone if isinstance(model, Dense | Several) else model


class Only(nn.Module):
    """A network with one head that returns a tensor instead of a dictionary."""

    def __init__(self, several: nn.Module) -> None:
        super().__init__()
        self.several = several

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.several(images)["only"]
        return scores


def _pyramid(backbone: Any, images: Tensor) -> list[Tensor]:
    levels: list[Tensor] = backbone.pyramid(images)
    return levels


class Decoder(nn.Module):
    """A light U-Net decoder from the coarsest to the finest map, with skip connections (Ronneberger et al. 2015).

    The finest stage has only 1×1 convolutions, so that a head is cheap compared with the backbone.
    """

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.skips = not isinstance(outputs, PerPixel) or outputs.skips
        used = channels if self.skips else channels[-1:]
        width = min(used[0], WIDEST) if self.skips else min(max(used[0] // 2, 1), WIDEST)
        self.narrow = nn.ModuleList(nn.Conv2d(count, width, 1) for count in used)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in used[1:])
        self.norm = nn.ModuleList(nn.BatchNorm2d(width) for _ in used[1:])
        self.out = nn.Conv2d(width, int(outputs), 1)

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        used = levels if self.skips else levels[-1:]
        x: Tensor = self.narrow[-1](used[-1])
        for k in range(len(used) - 2, -1, -1):
            x = functional.relu(self.norm[k](self.mix[k](functional.relu(x))))
            x = functional.interpolate(x, used[k].shape[2:], mode="bilinear") + self.narrow[k](used[k])
        return _enlarged(self.out(functional.relu(x)), size)


class Pointwise(nn.Module):
    """A 1×1 convolution on the finest map, for networks with their own decoder."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(channels[0], int(outputs), 1)

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        return _enlarged(self.out(levels[0]), size)


def _enlarged(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return scores if scores.shape[2:] == size else functional.interpolate(scores, size, mode="bilinear")


def _head(backbone: Any, channels: list[int], outputs: int) -> nn.Module:
    """Return the head for a task: pooled, pointwise on the backbone's own decoder, or with a decoder."""
    if not isinstance(outputs, PerPixel):
        return Pooled(channels, outputs)
    own = getattr(backbone, "decoded", False) and outputs.skips  # its own decoder uses finer stages
    return Pointwise(channels, outputs) if own else Decoder(channels, outputs)


class Pooled(nn.Module):
    """Global average pooling of the coarsest map, then a linear layer."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels[-1], outputs)

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        scores: Tensor = self.linear(functional.adaptive_avg_pool2d(levels[-1], 1).flatten(1))
        return scores


class Dense(nn.Module):
    """A backbone with one decoder; returns (n, outputs, height, width)."""

    def __init__(self, backbone: Any, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = _head(backbone, channels, outputs)

    def forward(self, images: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        scores: Tensor = self.head(_pyramid(self.backbone, images), size)
        return scores


class Several(nn.Module):
    """A backbone with one head per task; returns one tensor per task, by name.

    ``uniform`` adds the losses. ``uncertainty`` learns a weight for each (Kendall et al., CVPR 2018, section 3.2).
    ``gradients`` scales every task's gradient at the shared features to the mean norm over tasks (GradNorm with equal
    rates, Chen et al., ICML 2018, solved in every batch).
    """

    def __init__(self, backbone: Any, channels: list[int], outputs: Heads) -> None:
        super().__init__()
        self.backbone, self.weighting = backbone, outputs.weighting
        self.heads = nn.ModuleDict({name: _head(backbone, channels, count) for name, count in outputs.items()})
        if self.weighting == "uncertainty":
            self.uncertainty = nn.Parameter(torch.zeros(len(outputs)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        size = (images.shape[2], images.shape[3])
        levels = _pyramid(self.backbone, images)
        count = len(self.heads)
        copies = [levels] * count
        if self.weighting == "gradients" and torch.is_grad_enabled() and self.training:
            flat = _Equal.apply(count, *levels)
            copies = [list(flat[k * len(levels) : (k + 1) * len(levels)]) for k in range(count)]
        found = {name: head(own, size) for (name, head), own in zip(self.heads.items(), copies, strict=True)}
        return found | ({UNCERTAINTY: self.uncertainty} if self.weighting == "uncertainty" else {})


class _Equal(torch.autograd.Function):
    """Identity for every task in the forward pass, gradients of equal norm in the backward pass."""

    @staticmethod
    def forward(ctx: Any, count: int, *levels: Tensor) -> Any:
        ctx.count = count
        return tuple(level.view_as(level) for _ in range(count) for level in levels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        size = len(gradients) // ctx.count
        tasks = [gradients[k * size : (k + 1) * size] for k in range(ctx.count)]
        norms = [torch.stack([g.float().square().sum() for g in task]).sum().sqrt() for task in tasks]
        mean = torch.stack(norms).mean()
        scaled = [
            [g * (mean / norm.clamp_min(1e-12)).to(g.dtype) for g in task]
            for task, norm in zip(tasks, norms, strict=True)
        ]
        return None, *(sum(parts) for parts in zip(*scaled, strict=True))

"""Heads for dense tasks and for several tasks at once, on the stages of any backbone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from howfar.arrays import UNCERTAINTY, Heads, Outputs, PerPixel
from howfar.models.modes import in_eval_mode

VERSION = 1
WIDEST = 64  # channels of a decoder, at most
OWN = ("head", "fc1", "fc2", "fc3")  # what a backbone's own output needs beyond its feature maps


def with_heads(backbone: Any, shape: tuple[int, int, int], outputs: Outputs) -> nn.Module:
    """Return the backbone with a dense head, or several heads, in place of its own.

    Args:
        backbone: offers ``pyramid(images)``, feature maps from the finest to the coarsest. One with
            ``add_decoder`` brings its own decoder for dense heads, and its ``decoded`` says whether it has.
        shape: channels, height and width of an image.
        outputs: ``PerPixel``, or ``Heads`` by name.
    """
    heads = outputs.values() if isinstance(outputs, Heads) else [outputs]
    if hasattr(backbone, "add_decoder") and any(isinstance(head, PerPixel) and head.skips for head in heads):
        backbone.add_decoder()
    channels = channels_of(without_head(backbone), shape)
    return Several(backbone, channels, outputs) if isinstance(outputs, Heads) else Dense(backbone, channels, outputs)


def without_head(backbone: nn.Module) -> nn.Module:
    """Return the network without the layers of its own output, which are removed in place."""
    for name in OWN:
        if hasattr(backbone, name):
            delattr(backbone, name)
    return backbone


def channels_of(backbone: nn.Module, shape: tuple[int, int, int]) -> list[int]:
    """Return the number of channels of every stage, from a look at an empty image; nothing is changed."""
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    with in_eval_mode(backbone), torch.no_grad():
        return [level.shape[1] for level in _pyramid(backbone, torch.zeros(1, *shape, device=device))]


def backbone_of(model: Any) -> Any:
    """Return what a network shares with others of its kind: all but the heads of dense and joint ones."""
    return model.backbone if isinstance(model, Dense | Several) else model


class Only(nn.Module):
    """A network of one head that returns its tensor alone."""

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
    """From the coarsest map up to every pixel, each finer stage joining in: a light U-Net (Ronneberger et al. 2015).

    At the finest stage there is no convolution wider than a pixel, so that a head costs little beside the backbone.
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
    """A convolution of one pixel on the finest map, for networks with a decoder of their own."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(channels[0], int(outputs), 1)

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        return _enlarged(self.out(levels[0]), size)


def _enlarged(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return scores if scores.shape[2:] == size else functional.interpolate(scores, size, mode="bilinear")


def _head(backbone: Any, channels: list[int], outputs: int) -> nn.Module:
    """Return the head for a task: pooled, or dense by the backbone's own decoder or by one of ours."""
    if not isinstance(outputs, PerPixel):
        return Pooled(channels, outputs)
    own = getattr(backbone, "decoded", False) and outputs.skips  # a decoder of its own looks at finer stages
    return Pointwise(channels, outputs) if own else Decoder(channels, outputs)


class Pooled(nn.Module):
    """Mean over the coarsest map, then a linear layer."""

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
    """A backbone with a head for every task; returns a tensor a task, by name.

    ``uniform`` adds the losses up. ``uncertainty`` learns a weight for each (Kendall et al., CVPR 2018, section 3.2).
    ``gradients`` lets every task pull equally hard at the shared features: its gradient there is scaled to the mean
    norm over tasks (GradNorm with equal rates, Chen et al., ICML 2018, solved anew in every batch).
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
    """The same features for every task; backwards, gradients of equal norm."""

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

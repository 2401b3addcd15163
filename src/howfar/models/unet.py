"""A U-Net for dense tasks, with its own encoder or on any network."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator
from torch import Tensor, nn
from torch.nn import functional

from howfar.models.build import Architecture, Shape
from howfar.models.heads import channels_of, without_head
from howfar.spec import parse

VERSION = 1


def _levels(widths: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)+", widths):
        raise ValueError("write two or more numbers of channels, one per level, such as 32-64-128-128")
    return widths


def _network(backbone: str | None) -> str | None:
    if backbone is not None:
        _encoder(backbone)
    return backbone


def _encoder(backbone: str) -> Architecture:
    from howfar.models import MODELS

    return parse(backbone, MODELS, "model").build()


def unet(
    widths: Annotated[str, AfterValidator(_levels)] = "32-64-128-128",
    backbone: Annotated[str | None, AfterValidator(_network)] = None,
) -> Architecture:
    """U-Net with additive skips, for dense tasks (Ronneberger et al., MICCAI 2015, arXiv:1505.04597).

    Joint dense tasks share encoder and decoder, and each has its own last convolution.

    Args:
        widths: channels of every level, from the finest to the coarsest; each level halves height and width.
        backbone: a network used as the encoder, such as ``resnet8[width=16]``; the decoder then has the channels of its
            stages, and ``widths`` is not used.

    Example:
        >>> from howfar import MODELS, build
        >>> from howfar.arrays import PerPixel
        >>> model = build(MODELS["unet"](), (3, 32, 32), outputs=PerPixel(5))
        >>> sum(weight.numel() for weight in model.parameters())
        997861
    """

    def architecture(shape: Shape, outputs: int) -> nn.Module:
        if backbone is None:
            numbers = [int(width) for width in widths.split("-")]
            return UNet(Encoder(shape[0], numbers), numbers, outputs)
        encoder = without_head(_encoder(backbone)(shape, 1))
        return UNet(encoder, channels_of(encoder, shape), outputs)

    return architecture


class Stage(nn.Sequential):
    """Two 3×3 convolutions, each with batch normalization and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip


class Encoder(nn.Module):
    """One stage per level, with 2×2 max-pooling between levels."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            Stage(inputs, outputs) for inputs, outputs in zip((channels, *widths), widths, strict=False)
        )

    def pyramid(self, images: Tensor) -> list[Tensor]:
        levels: list[Tensor] = []
        for stage in self.stages:
            levels.append(stage(functional.max_pool2d(levels[-1], 2) if levels else images))
        return levels


class Decoder(nn.Module):
    """From the coarsest level up: 1×1 convolution, upsampling, addition of the finer level, and a stage."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        finer, coarser = widths[:-1], widths[1:]
        self.up = nn.ModuleList(nn.Conv2d(below, own, 1) for own, below in zip(finer, coarser, strict=True))
        self.stages = nn.ModuleList(Stage(own, own) for own in finer)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        found = [levels[-1]]
        for up, stage, level in zip(reversed(self.up), reversed(self.stages), reversed(levels[:-1]), strict=True):
            enlarged = functional.interpolate(up(found[0]), level.shape[2:], mode="bilinear")
            found.insert(0, stage(enlarged + level))
        return found


class UNet(nn.Module):
    """An encoder, with a decoder if there is a dense head.

    Dense heads use the finest level of the decoder, others the coarsest level of the encoder.
    """

    def __init__(self, encoder: Any, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.encoder, self.widths = encoder, tuple(widths)
        self.decoder: nn.Module | None = None
        self.head = nn.Linear(widths[-1], outputs)

    @property
    def decoded(self) -> bool:
        """Whether ``pyramid`` returns decoded maps."""
        return self.decoder is not None

    def add_decoder(self) -> None:
        """Add the decoder, which image-level tasks do not need."""
        self.decoder = Decoder(self.widths)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        levels: list[Tensor] = self.encoder.pyramid(images)
        return levels if self.decoder is None else list(self.decoder(levels))

    def forward(self, images: Tensor) -> Tensor:
        coarsest = self.encoder.pyramid(images)[-1]
        scores: Tensor = self.head(functional.adaptive_avg_pool2d(coarsest, 1).flatten(1))
        return scores

"""Random crop and flip of a batch in one gather."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Pictures


def crop_flip(
    pixels: Pictures, *, crop: int, flip: bool, generator: Generator, reflect: bool = False
) -> Pictures:  # fmt: skip
    """Return each image shifted by up to ``crop`` pixels and, with ``flip``, half of them mirrored.

    Args:
        pixels: (n, channels, height, width), of any dtype, on any device; differentiable.
        crop: largest shift in pixels, as by padding with ``crop`` and random cropping.
        flip: mirror each image with probability 1/2.
        generator: on the CPU, so that shifts are the same on all devices.
        reflect: reflection padding instead of zero padding.
    """
    moves = Moves.drawn(pixels.shape, crop=crop, flip=flip, generator=generator, reflect=reflect)
    return moves.of_images(pixels)


@dataclass(frozen=True)
class Moves:
    """Random shifts and flips of a batch, applicable to images and target maps.

    Attributes:
        padding: of the image before the gather, in pixels.
        source: index in the padded image of each output pixel, (n, height·width); None for the identity.
        mirrored: which images are mirrored, (n,).
    """

    padding: int
    source: Tensor | None
    mirrored: Tensor

    @classmethod
    def drawn(
        cls, shape: torch.Size, *, crop: int, flip: bool, generator: Generator, reflect: bool = False,
        mirrored: Tensor | None = None,
    ) -> "Moves":  # fmt: skip
        """Draw moves for images of this shape; arguments as in ``crop_flip``.

        With ``flip``, ``mirrored`` sets which images are mirrored, (n,); None draws them.
        """
        n, _, height, width = shape
        if not crop and not flip:
            return cls(0, None, torch.zeros(n, dtype=torch.bool))
        rows = torch.arange(height).expand(n, height)
        columns = torch.arange(width).expand(n, width)
        if not flip:
            mirrored = torch.zeros(n, dtype=torch.bool)
        elif mirrored is None:
            mirrored = torch.rand(n, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
        padding = 0 if reflect else crop
        if crop:
            shift = torch.randint(2 * crop + 1, (2, n, 1), generator=generator)
            rows, columns = rows + shift[0], columns + shift[1]
            if reflect:
                rows, columns = _reflected(rows - crop, height), _reflected(columns - crop, width)
        return cls(padding, (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).view(n, -1), mirrored)

    @property
    def linear(self) -> Tensor:
        """Linear map of the image plane of every image, (n, 2, 2); see ``Task.transformed``."""
        across = torch.where(self.mirrored, -1.0, 1.0)
        return torch.diag_embed(torch.stack([across, torch.ones_like(across)], 1))

    def of_images(self, pixels: Pictures, fill: float | int = 0) -> Pictures:
        """Return the moved images, padded with ``fill``."""
        if self.source is None:
            return pixels
        n, channels, height, width = pixels.shape
        if self.padding:
            pixels = functional.pad(pixels, (self.padding,) * 4, value=fill)
        # One flat index per output position, shared by the channels: channels-last in, channels-last out.
        flat = self.source[:, :, None].to(pixels.device)
        out = pixels.permute(0, 2, 3, 1).reshape(n, -1, channels).gather(1, flat.expand(-1, -1, channels))
        return out.view(n, height, width, channels).permute(0, 3, 1, 2)

    def of_map(self, target: Tensor) -> Tensor:
        """Return a target map, (n, ..., height, width), moved with the images and padded with missing values."""
        if target.ndim < 3 or self.source is None:
            return target
        fill = arrays.missing_value(target)
        return self.of_images(target[:, None], fill)[:, 0] if target.ndim == 3 else self.of_images(target, fill)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Return indices reflected at the border, without repeating the border."""
    inside = (size - 1) - ((size - 1) - places.abs()).abs()
    return inside.clamp(0, size - 1)  # for shifts by more than the whole image

"""Random crop and flip of a whole batch in one gather."""

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
        pixels: (n, channels, height, width), of any type, on any device; gradients pass through.
        crop: largest shift in pixels, as padding by ``crop`` and cropping back.
        flip: mirror each image with probability 1/2.
        generator: on the CPU, so that a GPU sees the same shifts.
        reflect: let the image's own border move in, reflected, in place of zeros.
    """
    moves = Moves.drawn(pixels.shape, crop=crop, flip=flip, generator=generator, reflect=reflect)
    return moves.of_images(pixels)


@dataclass(frozen=True)
class Moves:
    """How every image of a batch is moved, so that maps can move along.

    Attributes:
        padding: pixels around the image before it is looked up.
        source: place in the padded image that each pixel comes from, (n, height·width); None where nothing moves.
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

        With ``flip``, ``mirrored`` says which images are mirrored, (n,), where that is not to be drawn.
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
        """What happens to the plane of every image, (n, 2, 2); see ``Task.transformed``."""
        across = torch.where(self.mirrored, -1.0, 1.0)
        return torch.diag_embed(torch.stack([across, torch.ones_like(across)], 1))

    def of_images(self, pixels: Pictures, fill: float | int = 0) -> Pictures:
        """Return the images moved; ``fill`` moves in."""
        if self.source is None:
            return pixels
        n, channels, height, width = pixels.shape
        if self.padding:
            pixels = functional.pad(pixels, (self.padding,) * 4, value=fill)
        # One flat index an output position, shared by the channels: channels-last in, channels-last out.
        flat = self.source[:, :, None].to(pixels.device)
        out = pixels.permute(0, 2, 3, 1).reshape(n, -1, channels).gather(1, flat.expand(-1, -1, channels))
        return out.view(n, height, width, channels).permute(0, 3, 1, 2)

    def of_map(self, target: Tensor) -> Tensor:
        """Return a map of the images, (n, ..., height, width), moved with them; places without an answer move in."""
        if target.ndim < 3 or self.source is None:
            return target
        fill = arrays.unanswered(target)
        return self.of_images(target[:, None], fill)[:, 0] if target.ndim == 3 else self.of_images(target, fill)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Return places beyond the border as far inside it; the border itself is not repeated."""
    inside = (size - 1) - ((size - 1) - places.abs()).abs()
    return inside.clamp(0, size - 1)  # for shifts by more than the whole image

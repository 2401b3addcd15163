"""Random crop and flip of a whole batch in one gather."""

import torch
from torch import Generator
from torch.nn import functional

from howfar.arrays import Pictures


def crop_flip(pixels: Pictures, *, crop: int, flip: bool, generator: Generator) -> Pictures:
    """Return each image shifted by up to ``crop`` pixels (zeros move in) and, with ``flip``, half of them mirrored.

    Args:
        pixels: (n, channels, height, width), of any type, on any device; gradients pass through.
        crop: largest shift in pixels, as padding by ``crop`` and cropping back.
        flip: mirror each image with probability 1/2.
        generator: on the CPU, so that a GPU sees the same shifts.
    """
    n, channels, height, width = pixels.shape
    if not crop and not flip:
        return pixels
    device = pixels.device
    rows = torch.arange(height).expand(n, height)
    columns = torch.arange(width).expand(n, width)
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    if crop:
        shift = torch.randint(2 * crop + 1, (2, n, 1), generator=generator)
        rows, columns = rows + shift[0], columns + shift[1]
        pixels = functional.pad(pixels, (crop, crop, crop, crop))
    # One flat index an output position, shared by the channels: channels-last in, channels-last out.
    padded = pixels.shape[3]
    flat = (rows[:, :, None] * padded + columns[:, None, :]).view(n, -1, 1).to(device)
    source = pixels.permute(0, 2, 3, 1).reshape(n, -1, channels)
    out = source.gather(1, flat.expand(-1, -1, channels))
    return out.view(n, height, width, channels).permute(0, 3, 1, 2)

"""Just noticeable noise at every pixel of a photograph, in luminance and in color.

A published model of just-noticeable differences: noise is weakened until its CIEDE2000 difference from the local color
is the same everywhere, and may be stronger where texture hides it (Chou and Li 1995, with the overlap of luminance
adaptation and texture masking of Yang et al. 2005).
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from howfar.photos.picture import REST, eight_bits, is_gray
from howfar.score.color import Floats, ciede2000, lab, xyz

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as in JPEG
# Columns: what one unit of luminance, blue-yellow and red-green adds to red, green and blue. Colors keep the luminance.
AXES = np.array([[1, 0, 1], [1, -LUMA[2] / LUMA[1], -LUMA[0] / LUMA[1]], [1, 1, 0]], np.float32)
TO_AXES = np.linalg.inv(AXES)
# Share of the visible difference that luminance, blue-yellow and red-green may use: at the frequencies that reach
# learners, the eye sees luminance best and blue-yellow worst. Photographs without color have luminance alone.
WEIGHTS, GRAY_WEIGHTS = (0.0, 1.0, 0.5), (0.5, 0.0, 0.0)
LEVELS, STEP = 32, 2.0  # of the table of differences per channel; step of its finite differences, in 1/255
LEAST = 0.2  # smallest CIEDE2000 difference of a step of 1/255 that is counted on
OVERLAP = 0.3  # of the two kinds of masking
FINE = 4  # steps per 1/255 of an amplitude in bytes
STRIP = 256  # rows at once, which bounds the memory
SMALL = 64  # pixels; photographs with a smaller side are not reduced
EDGES = np.array(
    [
        [[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]],
        [[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]],
        [[0, 0, 1, 0, 0], [0, 0, 3, 8, 0], [-1, -3, 0, 3, 1], [0, -8, -3, 0, 0], [0, 0, -1, 0, 0]],
        [[0, 1, 0, -1, 0], [0, 3, 0, -3, 0], [0, 8, 0, -8, 0], [0, 3, 0, -3, 0], [0, 1, 0, -1, 0]],
    ],
    np.float32,
) / 16  # fmt: skip
AROUND = np.array(
    [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]], np.float32
) / 32  # fmt: skip


def forgiven(image: Image.Image) -> Tensor:
    """Return the amplitude of noise, in 1/255, that makes a CIEDE2000 difference of 1 where nothing hides it.

    Args:
        image: RGB.

    Returns:
        Amplitudes along the three ``AXES``, (3, height, width), at half the size of the photograph.
    """
    small = image if min(image.size) < SMALL else image.reduce(2)
    pixels = np.asarray(small)
    luma = torch.from_numpy(pixels @ np.array(LUMA, np.float32))
    per_step = torch.from_numpy(steps())[:, _places(pixels)]
    found: Tensor = hidden(luma) / per_step
    return found


def hidden(luma: Tensor) -> Tensor:
    """Return how many times more noise than on a smooth area of the same luminance stays unseen, (height, width).

    Args:
        luma: of a photograph, 0 to 255, (height, width).
    """
    padded = functional.pad(luma[None, None], (2, 2, 2, 2), mode="replicate")
    kernels = torch.from_numpy(np.concatenate([EDGES, AROUND[None]]))[:, None]
    *edges, around = functional.conv2d(padded, kernels)[0]
    steepest = torch.stack(edges).abs_().amax(0)
    adaptation = torch.where(
        around <= 127, 17 * (1 - (around.clamp(min=0) / 127).sqrt()) + 3, 3 / 128 * (around - 127) + 3
    )
    texture = (steepest * (0.0001 * around + 0.115) + 0.5 - 0.01 * around).clamp_(min=0)
    above: Tensor = (texture - OVERLAP * torch.minimum(texture, adaptation)) / adaptation
    return 1 + above


@functools.cache
def steps() -> Floats:
    """Return the CIEDE2000 difference of one 1/255 along each axis for every color, (3, ``LEVELS`` ** 3)."""
    centers = (np.arange(LEVELS, dtype=np.float32) + 0.5) * 256 / LEVELS
    colors = np.stack(np.meshgrid(centers, centers, centers, indexing="ij"), -1).reshape(-1, 3)
    found = []
    for axis in AXES.T:
        below, above = (lab(xyz(np.clip(colors + sign * STEP * axis, 0, 255))) for sign in (-1, 1))
        found.append(np.maximum(ciede2000(below, above) / (2 * STEP), LEAST))
    return np.stack(found)


def _places(pixels: NDArray[np.uint8]) -> Tensor:
    """Return the place of the color of every pixel in the table, (height, width)."""
    red, green, blue = np.moveaxis(pixels // (256 // LEVELS), -1, 0).astype(np.int64)
    return torch.from_numpy((red * LEVELS + green) * LEVELS + blue)


def shaped(noise: NDArray[np.uint8], limit: int, image: Image.Image, strength: float | None) -> Image.Image:
    """Return noise as strong as the eye forgives at every pixel of a photograph, in grayscale if that is.

    Args:
        noise: at the size of the photograph, (height, width, 3), with an offset of ``REST``.
        limit: largest change of the noise, and of the result, in 1/255.
        image: the photograph, as returned by ``upright``.
        strength: largest CIEDE2000 difference that noise makes on smooth areas; None returns the noise as it is.
    """
    gray = is_gray(image)
    if strength is None:
        plain = Image.fromarray(noise)
        return plain.convert("L") if gray else plain
    weights = GRAY_WEIGHTS if gray or not np.ptp(noise[::8, ::8], 2).any() else WEIGHTS
    amplitude = _amplitude(eight_bits(image).convert("RGB"), strength, weights)
    height, width = noise.shape[:2]
    large = functional.interpolate(amplitude, (height, width), mode="bilinear")[0].permute(1, 2, 0).numpy()
    result = np.empty(noise.shape[: 2 if gray else 3], np.uint8)
    for top in range(0, height, STRIP):
        rows = slice(top, top + STRIP)
        part = (noise[rows].astype(np.float32) - REST) @ (TO_AXES.T / limit)
        part = part.clip(-1, 1, out=part) * large[rows]
        part = part[..., 0] / FINE if gray else part @ (AXES.T / FINE)
        result[rows] = np.rint(part, out=part).clip(-limit, limit) + REST
    return Image.fromarray(result)


def _amplitude(image: Image.Image, strength: float, weights: tuple[float, float, float]) -> Tensor:
    """Return the amplitudes in bytes, in 1/255/``FINE``, (1, 3, height, width), for a fast change of size."""
    found = forgiven(image) * (strength * FINE * torch.tensor(weights))[:, None, None]
    return found.clamp_(max=255).round_().to(torch.uint8)[None].contiguous(memory_format=torch.channels_last)

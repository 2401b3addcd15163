"""Maps as pictures: targets, predictions, and protected images."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.tables.page import Protected

Values = NDArray[np.generic]
GOLDEN = 0.6180339887  # neighboring classes get hues far apart
VOID = 255
GAIN = 10  # by how much differences are amplified
DECADES = 6.0  # of power that a spectrum spans from black to white


def picture(name: str, values: Values, like: Values | None = None) -> NDArray[np.uint8]:
    """Return maps of one target as RGB pictures, (n, height, width, 3).

    Args:
        name: of the target; it decides how numbers become colors.
        values: (n, height, width) classes, or (n, channels, height, width) numbers or pixels.
        like: true values that give the scale, so that truth and predictions compare; None takes the maps themselves.
    """
    if values.ndim == 3:
        return _palette()[values.astype(np.int64)]
    if values.dtype == np.uint8:
        return _colors(values.astype(np.uint8))
    numbers = values.astype(np.float32)
    if name == "normal":
        low, high = -1.0, 1.0
    else:
        scale = numbers if like is None else like.astype(np.float32)
        low, high = (float(v) for v in np.nanquantile(scale, (0.01, 0.99)))
    shares = np.clip((numbers - low) / max(high - low, 1e-6), 0, 1)
    gray = np.nan_to_num(shares, nan=0.0).transpose(0, 2, 3, 1)
    if gray.shape[-1] == 2:
        gray = np.concatenate([gray[..., 1:], np.full_like(gray[..., :1], 0.5), gray[..., :1]], -1)
    rgb = np.repeat(gray, 3, -1) if gray.shape[-1] == 1 else gray
    return (rgb * 255).round().astype(np.uint8)


def sheet(rows: list[NDArray[np.uint8]]) -> str:
    """Return rows of pictures, each (n, height, width, 3), one above the other, as a PNG data URL."""
    from PIL import Image

    padded = [np.pad(row, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=128) for row in rows]
    whole = np.concatenate([np.concatenate(list(row), 1) for row in padded], 0)
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Compared:
    """Clean and protected images, one row each, and what lies between them, as PNG data URLs.

    Attributes:
        clean: the images.
        protected: the same after protection.
        difference: amplified by ``GAIN`` around gray.
        spectrum: log power of the clean images, left, and of the difference; the lowest frequency is in the center.
    """

    clean: str
    protected: str
    difference: str
    spectrum: str


def compared(entry: Protected) -> Compared | None:
    """Return pictures of what a protector did; None where no images were kept, or none was changed."""
    spectra = entry.spectra
    if entry.clean is None or entry.protected is None or spectra is None:
        return None
    change = entry.protected.astype(np.float64) - entry.clean
    amplified = (GAIN * change + 128).clip(0, 255).astype(np.uint8)
    rows = [sheet([_colors(images)]) for images in (entry.clean, entry.protected, amplified)]
    shades = np.concatenate([((1 + one / DECADES).clip(0, 1) * 255).round().astype(np.uint8) for one in spectra], 1)
    return Compared(rows[0], rows[1], rows[2], sheet([_colors(shades[None, None])]))


def _colors(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (n, channels, height, width) as RGB, (n, height, width, 3)."""
    last = images.transpose(0, 2, 3, 1)
    return np.repeat(last, 3, -1) if last.shape[-1] == 1 else last


def _palette() -> NDArray[np.uint8]:
    """Return one color for each of 256 classes; 255, which is none, is black."""
    import colorsys

    colors = [colorsys.hsv_to_rgb(k * GOLDEN % 1, 0.55 + 0.3 * (k % 2), 0.95 - 0.25 * (k % 3)) for k in range(256)]
    found = (np.array(colors) * 255).round().astype(np.uint8)
    found[VOID] = 0
    return found

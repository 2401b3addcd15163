"""Maps as pictures: what a target looks like, and what networks say of it."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.generic]
GOLDEN = 0.6180339887  # neighbouring classes get hues far apart
VOID = 255


def picture(name: str, values: Values, like: Values | None = None) -> NDArray[np.uint8]:
    """Return maps of one target as RGB pictures, (n, height, width, 3).

    Args:
        name: of the target; it decides how numbers become colours.
        values: (n, height, width) classes, or (n, channels, height, width) numbers or pixels.
        like: true values that give the scale, so that truth and answers look alike; None takes the maps themselves.
    """
    if values.ndim == 3:
        return _palette()[values.astype(np.int64)]
    if values.dtype == np.uint8:
        colours = values.transpose(0, 2, 3, 1)
        return np.repeat(colours, 3, -1).astype(np.uint8) if colours.shape[-1] == 1 else colours.astype(np.uint8)
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


def _palette() -> NDArray[np.uint8]:
    """Return one colour for each of 256 classes; 255, which is none, is black."""
    import colorsys

    colours = [colorsys.hsv_to_rgb(k * GOLDEN % 1, 0.55 + 0.3 * (k % 2), 0.95 - 0.25 * (k % 3)) for k in range(256)]
    found = (np.array(colours) * 255).round().astype(np.uint8)
    found[VOID] = 0
    return found

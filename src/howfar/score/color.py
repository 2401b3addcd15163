"""Perceptual color differences: CIELAB, CIEDE2000 and S-CIELAB, for sRGB images."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32
)
WHITE = TO_XYZ.sum(1)
OPPONENT = np.array([[0.279, 0.72, -0.107], [-0.449, 0.29, -0.077], [0.086, -0.59, 0.501]], np.float32)
# Weight and spread in degrees of the Gaussians that luminance, red-green and blue-yellow are blurred with.
KERNELS = (
    ((0.921, 0.0283), (0.105, 0.133)),
    ((0.531, 0.0392), (0.330, 0.494)),
    ((0.488, 0.0536), (0.371, 0.386)),
)
DEGREE = 40.0  # pixels per degree: a display with 96 pixels per inch seen from 60 cm
TWENTY_FIVE_7 = 25.0**7


def xyz(rgb: NDArray[np.generic]) -> Floats:
    """Return the CIE XYZ values of sRGB colors of 0 to 255, (..., 3)."""
    values = np.asarray(rgb, np.float32) / 255
    linear = np.where(values > 0.04045, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4, values / 12.92)
    return np.asarray(linear @ TO_XYZ.T, np.float32)


def lab(colors: Floats) -> Floats:
    """Return the CIELAB values of XYZ values, (..., 3)."""
    ratio = colors / WHITE
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).astype(np.float32)


def ciede2000(first: Floats, second: Floats) -> Floats:
    """Return the CIEDE2000 differences of CIELAB values, (..., 3) each (Sharma, Wu and Dalal 2005)."""
    (light_1, a_1, b_1), (light_2, a_2, b_2) = (np.moveaxis(one.astype(np.float64), -1, 0) for one in (first, second))
    mean = (np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean**7 / (mean**7 + TWENTY_FIVE_7))
    chroma_1, chroma_2 = np.hypot(stretch * a_1, b_1), np.hypot(stretch * a_2, b_2)
    hue_1, hue_2 = (np.arctan2(b, stretch * a) % (2 * np.pi) for a, b in ((a_1, b_1), (a_2, b_2)))
    gray = chroma_1 * chroma_2 == 0
    turn = np.where(gray, 0, (hue_2 - hue_1 + np.pi) % (2 * np.pi) - np.pi)
    across = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(turn / 2)
    hue = np.where(gray, hue_1 + hue_2, hue_1 + turn / 2)
    light, chroma = (light_1 + light_2) / 2, (chroma_1 + chroma_2) / 2
    weight = (
        1
        - 0.17 * np.cos(hue - np.radians(30))
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.radians(6))
        - 0.20 * np.cos(4 * hue - np.radians(63))
    )
    bright = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    per_chroma, per_hue = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    degrees = np.degrees(hue) % 360
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + TWENTY_FIVE_7)) * np.sin(
        np.radians(60 * np.exp(-(((degrees - 275) / 25) ** 2)))
    )  # fmt: skip
    parts = ((light_2 - light_1) / bright, (chroma_2 - chroma_1) / per_chroma, across / per_hue)
    total = sum(part**2 for part in parts) + rotation * parts[1] * parts[2]
    return np.asarray(np.sqrt(np.maximum(total, 0)), np.float32)


def difference(before: NDArray[np.uint8], after: NDArray[np.uint8], *, degree: float | None = DEGREE) -> Floats:
    """Return the color difference at every pixel of two photographs, (height, width).

    1 is the smallest difference that is noticed between large areas side by side.

    Args:
        before: sRGB, (height, width, 3).
        after: the same for the other one.
        degree: pixels per degree of the visual field, for S-CIELAB (Zhang and Wandell 1997): both photographs are
            blurred as the eye does it, colors more than luminance, before CIEDE2000 compares them. The luminance kernel
            of weight −0.108 and 4.3° is left out; it makes dark areas negative. None compares pixel by pixel.
    """
    colors = [xyz(image) for image in (before, after)]
    first, second = (lab(one if degree is None else _seen(one, degree)) for one in colors)
    return ciede2000(first, second)


def _seen(colors: Floats, degree: float) -> Floats:
    """Return XYZ values as the eye resolves them."""
    from scipy import ndimage

    planes = np.moveaxis(colors @ OPPONENT.T, -1, 0)
    blurred = [
        sum(
            weight / sum(each for each, _ in kernels)
            * ndimage.gaussian_filter(plane, spread * degree / np.sqrt(2), mode="nearest", truncate=3)
            for weight, spread in kernels
        )
        for plane, kernels in zip(planes, KERNELS, strict=True)
    ]  # fmt: skip
    return np.asarray(np.stack(blurred, -1) @ np.linalg.inv(OPPONENT).T, np.float32)

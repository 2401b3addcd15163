"""One photograph at its own size: decoded with all that belongs to it, changed, and encoded again."""

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from howfar.data.pictures import read_picture
from howfar.errors import HowfarError
from howfar.score.visibility import WINDOW

DEEP_PPM = re.compile(rb"P[36]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s+(\d{1,6})\s")
SSIM_SIDE = 512  # pixels; a mean over more hardly differs, and takes a tenth of a second a megapixel
FIRST = "the first frame was taken; what phones keep beside it (HDR, depth) was left out"
UNREAD = "its EXIF data cannot be read and were left out"
REST = 128  # stands for no change in a picture of noise: one of ±127 fits


@dataclass(frozen=True)
class Change:
    """What was done to one photograph, after rounding (and, for JPEG, after encoding).

    Attributes:
        width: pixels.
        height: pixels.
        linf: largest change of any value, in 1/255.
        square: mean of the squared change, in 1/255².
        ssim: structural similarity of luminance, in the middle of a large photograph; None where it was not asked for,
            and of photographs with a side below 11 pixels, which hold no window of it.
    """

    width: int
    height: int
    linf: float
    square: float
    ssim: float | None


def upright(path: Path, *, least: int = 0) -> Image.Image:
    """Return a photograph as a person sees it, in a mode whose values can be changed.

    Args:
        path: of the file.
        least: if above 0, a smaller version will do, with sides of so many pixels at least.

    Raises:
        HowfarError: if it cannot be read, or only with a loss that nobody asked for.
    """
    _refuse_deep_colour(path)
    image = read_picture(path, least=least)
    several = image.info.get("frames", 1) > 1
    if several and image.info.get("format") != "MPO":
        raise HowfarError(f"{path} has several frames. Take its single pictures.")
    if image.info.get("bits", 8) > 8 and image.mode not in ("I;16", "L"):
        raise HowfarError(f"{path} has colours of 16 bits, of which only 8 would be left. Convert it to 8 bits.")
    turned = ImageOps.exif_transpose(image)
    turned.info = {**image.info}
    if turned.mode == "I;16" and "transparency" in image.info:
        raise HowfarError(f"{path} has a transparent gray of 16 bits, which cannot be kept. Convert it to 8 bits.")
    if turned.mode in ("1", "L", "RGB") and "transparency" in image.info:  # noise would move the transparent color
        turned = turned.convert("RGBA" if turned.mode == "RGB" else "LA")
    elif turned.mode in ("P", "PA"):
        turned = turned.convert("RGBA" if "transparency" in image.info or turned.mode == "PA" else "RGB")
    elif turned.mode == "1":
        turned = turned.convert("L")
    elif turned.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "I;16"):
        raise HowfarError(f"{path} is in mode {turned.mode}, which cannot be protected. Convert it to RGB.")
    notes = [FIRST] if several else []
    turned.info["notes"] = [*notes, *([UNREAD] if image.info.get("dropped") else [])]
    return turned


def glimpse(path: Path, sides: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Return the middle of a photograph as small squares, (3, side, side); of JPEG, no more than needed is decoded.

    Raises:
        HowfarError: as ``upright``.
    """
    image = upright(path, least=max(2 * min(sides), max(sides)))
    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode == "I;16" else image
    rgb = image.convert("RGB")
    length = min(rgb.size)
    left, top = ((extent - length) / 2 for extent in rgb.size)
    middle = (left, top, left + length, top + length)
    largest = rgb.resize((max(sides),) * 2, Image.Resampling.BOX, middle, reducing_gap=2.0)
    small = [largest.resize((side, side), Image.Resampling.BOX) for side in sides]
    return [np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1)) for square in small]


def is_gray(image: Image.Image) -> bool:
    """Return whether a photograph has no colours, and so takes one plane of noise."""
    return image.mode in ("L", "LA", "I;16")


def changed(image: Image.Image, noise: Image.Image) -> Image.Image:
    """Return a photograph with noise added; what cannot be seen (alpha) and black ink stay.

    Args:
        image: as ``upright`` gives it.
        noise: of its size, in 1/255 above ``REST``; L if the photograph is gray, RGB if not.
    """
    if image.mode == "I;16":
        total = np.asarray(image, np.int32) + (np.asarray(noise, np.int32) - REST) * 257
        return Image.fromarray(total.clip(0, 65535).astype(np.uint16))
    if image.mode == noise.mode:
        return ImageChops.add(image, noise, 1, -REST)
    if image.mode == "CMYK":
        noise = noise.point([min(2 * REST - value, 255) for value in range(256)] * 3)  # more ink is darker
    bands = list(image.split())
    for number, plane in enumerate(noise.split()):
        bands[number] = ImageChops.add(bands[number], plane, 1, -REST)
    return Image.merge(image.mode, bands)


def measured(before: Image.Image, after: Image.Image, *, with_ssim: bool) -> Change:
    """Return how far two photographs of one size and mode are apart."""
    if before.mode == "I;16":
        apart = np.subtract(np.asarray(after), np.asarray(before), dtype=np.int32) / 257
        linf, square = float(np.abs(apart).max()), float(np.square(apart).mean())
    else:
        counts = np.sum([band.histogram() for band in ImageChops.difference(before, after).split()], 0)
        linf, square = float(counts.nonzero()[0].max()), float(counts @ np.arange(256) ** 2 / counts.sum())
    return Change(before.width, before.height, linf, square, _ssim(before, after) if with_ssim else None)


def _ssim(before: Image.Image, after: Image.Image) -> float | None:
    from skimage.metrics import structural_similarity

    if min(before.size) < WINDOW:
        return None
    left, top = (max(extent - SSIM_SIDE, 0) // 2 for extent in before.size)
    middle = (left, top, before.width - left, before.height - top)
    first, second = (
        np.asarray(image).astype(np.float32) / 257
        if image.mode == "I;16"
        else np.asarray(image.convert("L"), np.float32)
        for image in (before.crop(middle), after.crop(middle))
    )
    return float(
        structural_similarity(
            first, second, data_range=255.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def keep_times(source: Path, output: Path) -> None:
    """Give a file the times of another one."""
    about = source.stat()
    os.utime(output, ns=(about.st_atime_ns, about.st_mtime_ns))


def _refuse_deep_colour(path: Path) -> None:
    """Raise HowfarError for PNG and PPM with colours of 16 bits, of which Pillow would silently read 8."""
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except OSError as error:
        raise HowfarError(f"{path} cannot be read ({error.strerror}). Repair or remove it.") from None
    deep = DEEP_PPM.match(head)
    if deep and int(deep[1]) > 255:
        raise HowfarError(f"{path} has colours of 16 bits, of which only 8 would be left. Convert it to 8 bits.")
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 26:
        depth, colour = struct.unpack(">BB", head[24:26])
        if depth == 16 and colour != 0:
            raise HowfarError(f"{path} has colours of 16 bits, of which only 8 would be left. Convert it to 8 bits.")

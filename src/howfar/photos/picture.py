"""One photograph at full size: decoding, adding noise, measuring the change."""

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from howfar.data.pictures import read_picture, read_picture_bytes
from howfar.errors import HowfarError
from howfar.score.visibility import WINDOW, ssim

DEEP_PPM = re.compile(rb"P[36]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s+(\d{1,6})\s")
SSIM_SIDE = 512  # pixels; a larger crop hardly changes the mean, and takes a tenth of a second per megapixel
HEAD = 200  # bytes of a file that tell its depth
FIRST = "only the first frame was used; additional frames (HDR, depth) were dropped"
UNREAD = "its EXIF data could not be read and were dropped"
LEAST_SIDE = 8  # pixels; one for every square of noise of one size, see ``photos.noise.BOARD``
REST = 128  # value for no change in a noise image, which allows ±127


@dataclass(frozen=True)
class Change:
    """Change of one photograph, after rounding (and, for JPEG, after encoding).

    Attributes:
        width: pixels.
        height: pixels.
        linf: largest change of any value, in 1/255.
        square: mean of the squared change, in 1/255².
        ssim: structural similarity of luminance, in the center of a large photograph; None if not requested, or if a
            side is below 11 pixels, the window size.
    """

    width: int
    height: int
    linf: float
    square: float
    ssim: float | None


def upright(path: Path, *, least: int = 0) -> Image.Image:
    """Return a photograph rotated upright, in a mode that supports adding noise.

    Args:
        path: of the file.
        least: if above 0, allow a reduced version with sides of at least this many pixels.

    Raises:
        HowfarError: if it cannot be read, or not without loss.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise HowfarError(f"{path} cannot be read ({error.strerror}). Repair or remove it.") from None
    _refuse_deep_color(head, str(path))
    return _ready(read_picture(path, least=least), str(path))


def upright_bytes(content: bytes, name: str) -> Image.Image:
    """Return the same for the bytes of a file; ``name`` stands in its errors."""
    _refuse_deep_color(content[:HEAD], name)
    return _ready(read_picture_bytes(content, name), name)


def _ready(image: Image.Image, path: str) -> Image.Image:
    several = image.info.get("frames", 1) > 1
    if several and image.info.get("format") != "MPO":
        raise HowfarError(f"{path} has several frames. Extract single images.")
    if image.info.get("bits", 8) > 8 and image.mode not in ("I;16", "L"):
        raise HowfarError(f"{path} has 16 bits per channel, of which 8 would be lost. Convert it to 8 bits.")
    turned = ImageOps.exif_transpose(image)
    turned.info = {**image.info}
    if turned.mode == "I;16" and "transparency" in image.info:
        raise HowfarError(f"{path} has a transparent 16-bit gray value, which cannot be kept. Convert it to 8 bits.")
    if turned.mode in ("1", "L", "RGB") and "transparency" in image.info:  # noise would change the transparent color
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


def thumbnails(path: Path, sides: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Return the center square of a photograph at several sizes, (3, side, side); JPEG is decoded at reduced size.

    Raises:
        HowfarError: as ``upright``.
    """
    image = upright(path, least=max(2 * min(sides), max(sides)))
    if min(image.size) < LEAST_SIDE:
        raise HowfarError(
            f"{path} has {image.width}×{image.height} pixels. Noise needs {LEAST_SIDE} on each side. Enlarge it or "
            "leave it out."
        )
    rgb = eight_bits(image).convert("RGB")
    length = min(rgb.size)
    left, top = ((extent - length) / 2 for extent in rgb.size)
    middle = (left, top, left + length, top + length)
    largest = rgb.resize((max(sides),) * 2, Image.Resampling.BOX, middle, reducing_gap=2.0)
    small = [largest.resize((side, side), Image.Resampling.BOX) for side in sides]
    return [np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1)) for square in small]


def eight_bits(image: Image.Image) -> Image.Image:
    """Return a photograph with 8 bits per channel."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode == "I;16" else image


def is_gray(image: Image.Image) -> bool:
    """Return whether a photograph is grayscale and takes one noise channel."""
    return image.mode in ("L", "LA", "I;16")


def changed(image: Image.Image, noise: Image.Image) -> Image.Image:
    """Return a photograph with noise added; alpha and black ink do not change.

    Args:
        image: as returned by ``upright``.
        noise: of the same size, in 1/255 with an offset of ``REST``; L for grayscale photographs, else RGB.
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
    """Return the difference of two photographs of equal size and mode."""
    if before.mode == "I;16":
        apart = np.subtract(np.asarray(after), np.asarray(before), dtype=np.int32) / 257
        linf, square = float(np.abs(apart).max()), float(np.square(apart).mean())
    else:
        counts = np.sum([band.histogram() for band in ImageChops.difference(before, after).split()], 0)
        linf, square = float(counts.nonzero()[0].max()), float(counts @ np.arange(256) ** 2 / counts.sum())
    return Change(before.width, before.height, linf, square, _ssim(before, after) if with_ssim else None)


def _ssim(before: Image.Image, after: Image.Image) -> float | None:
    if min(before.size) < WINDOW:
        return None
    left, top = (max(extent - SSIM_SIDE, 0) // 2 for extent in before.size)
    middle = (left, top, before.width - left, before.height - top)
    first, second = (
        np.asarray(image).astype(np.float32) / 65535
        if image.mode == "I;16"
        else np.asarray(image.convert("L"), np.float32) / 255
        for image in (before.crop(middle), after.crop(middle))
    )
    return float(ssim(torch.from_numpy(first)[None, None], torch.from_numpy(second)[None, None]))


def keep_times(source: Path, output: Path) -> None:
    """Copy the timestamps of a file."""
    about = source.stat()
    os.utime(output, ns=(about.st_atime_ns, about.st_mtime_ns))


def _refuse_deep_color(head: bytes, path: str) -> None:
    """Raise HowfarError for PNG and PPM with 16 bits per channel, of which Pillow would silently read 8."""
    deep = DEEP_PPM.match(head)
    if deep and int(deep[1]) > 255:
        raise HowfarError(f"{path} has 16 bits per channel, of which 8 would be lost. Convert it to 8 bits.")
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 26:
        depth, color = struct.unpack(">BB", head[24:26])
        if depth == 16 and color != 0:
            raise HowfarError(f"{path} has 16 bits per channel, of which 8 would be lost. Convert it to 8 bits.")

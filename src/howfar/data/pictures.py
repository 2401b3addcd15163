"""Image files from outside: only formats that decode without running anything, and no more pixels than can be meant."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from howfar.errors import HowfarError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF")  # not EPS: Pillow hands it to Ghostscript
LARGEST = 100_000_000  # pixels
GRAY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})


def read_picture(
    path: Path, *, upright: bool = False, least: int = 0
) -> Image.Image:  # fmt: skip
    """Return the (first) image in a file, decoded, in the mode it has; ``info["frames"]`` says how many there are.

    Args:
        path: of the file.
        upright: turn it as its EXIF orientation says.
        least: if above 0, a smaller version will do, with sides of so many pixels at least.

    Raises:
        HowfarError: for what is no such image, is cut short, or would not fit into memory.
    """
    formats = _formats(path)
    try:
        with Image.open(path, formats=formats) as raw:
            if raw.width * raw.height > LARGEST:
                raise ValueError(f"{raw.width}×{raw.height} pixels, more than {LARGEST // 1_000_000} million")
            if least:
                raw.draft(None, (least, least))
            frames = getattr(raw, "n_frames", 1)
            raw.load()
            raw.info["frames"] = frames
            return ImageOps.exif_transpose(raw) if upright else raw.copy()
    except Exception as error:  # decoders fail in many ways
        raise HowfarError(f"{path} is no readable image ({error}). Repair or remove it.") from None


def _formats(path: Path) -> tuple[str, ...]:
    """Return the formats that a file may have; HEIF is read where its reader is installed."""
    if path.suffix.lower() not in (".heic", ".heif"):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise HowfarError(f"{path} is HEIC. Install howfar[heic], or convert it.") from None
    register_heif_opener()
    return ("HEIF",)


def read_rgb(path: Path) -> tuple[Image.Image, bool]:
    """Return an image upright, in 8-bit RGB, and whether its file is gray.

    16 bits become 8 by their share of the full scale; transparency is dropped.

    Raises:
        HowfarError: as ``read_picture``, and for modes that do not say what is white.
    """
    image = read_picture(path, upright=True)
    gray = image.mode in GRAY
    if gray and image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise HowfarError(f"{path} has more than 16 bits a pixel. Save it with 8 or 16.")
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    try:
        return image.convert("RGB"), gray
    except ValueError:
        raise HowfarError(f"{path} is in mode {image.mode}, which has no one meaning in RGB. Convert it.") from None

"""Image files from outside: only formats that decode without running anything, and no more pixels than can be meant."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from howfar.errors import HowfarError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF")  # not EPS: Pillow hands it to Ghostscript
LARGEST = 100_000_000  # pixels
BITS = 0x0102  # a tag of TIFF
INNER = {0x8769, 0x8825}  # groups of tags: EXIF's own, GPS
TAGS = INNER | {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298}  # what is no layout
GRAY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})


def read_picture(
    path: Path, *, upright: bool = False, least: int = 0
) -> Image.Image:  # fmt: skip
    """Return the (first) image in a file, decoded, in the mode it has.

    Its ``info`` says the number of ``frames``, the ``format``, and the ``bits`` of a color; ``exif`` is there for TIFF
    too, and ``dropped`` says that it could not be read and was left out.

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
            raw.info |= {"frames": frames, "format": raw.format, "bits": _bits(raw)}
            _mend_exif(raw)
            return ImageOps.exif_transpose(raw) if upright else raw.copy()
    except Exception as error:  # decoders fail in many ways
        raise HowfarError(f"{path} is no readable image ({error}). Repair or remove it.") from None


def _bits(image: Image.Image) -> int:
    """Return how many bits of a color a file holds; Pillow reads 8 of more, without a word."""
    found = getattr(image, "tag_v2", {}).get(BITS) or image.info.get("bit_depth") or 8
    return int(max(found)) if isinstance(found, tuple | list) else int(found)


def _mend_exif(image: Image.Image) -> None:
    """Put the EXIF of a TIFF where other formats have it, and leave out what cannot be read or written again."""
    try:
        if image.format != "TIFF" and image.info.get("exif"):  # what Pillow has read before raises nothing any more
            whole = Image.Exif()
            whole.load(image.info["exif"])
            whole.tobytes()
        found = image.getexif()
        if image.format == "TIFF":
            kept = Image.Exif()
            for tag in TAGS & set(found):
                kept[tag] = found.get_ifd(tag) if tag in INNER else found[tag]
            if len(kept):
                image.info["exif"] = kept.tobytes()
    except Exception:  # it may be anything at all
        for name in ("exif", "Raw profile type exif"):
            image.info.pop(name, None)
        image.info["dropped"] = "EXIF"


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

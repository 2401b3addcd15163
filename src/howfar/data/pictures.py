"""Untrusted image files: only formats that decode without running code, and a limited number of pixels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from howfar.errors import HowfarError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF")  # not EPS, which Pillow passes to Ghostscript
LARGEST = 100_000_000  # pixels
ORIENTATION, SIDEWAYS = 0x0112, range(5, 9)  # EXIF tag, and its values for which width and height are swapped
BITS = 0x0102  # TIFF tag BitsPerSample
INNER = {0x8769, 0x8825}  # sub-IFDs: EXIF, GPS
TAGS = INNER | {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298}  # tags other than layout
GRAY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})


def read_picture(
    path: Path, *, upright: bool = False, least: int = 0
) -> Image.Image:  # fmt: skip
    """Return the (first) image in a file, decoded, in its own mode.

    Its ``info`` holds the number of ``frames``, the ``format``, and the ``bits`` per channel. ``exif`` is set for TIFF,
    too, and ``dropped`` is set if EXIF could not be read and was removed.

    Args:
        path: of the file.
        upright: apply the EXIF orientation.
        least: if above 0, allow a reduced version with sides of at least this many pixels.

    Raises:
        HowfarError: if the file is not a supported image, is truncated, or is too large.
    """
    return _decoded(path, str(path), _formats(path), upright=upright, least=least)


def extent(path: Path) -> tuple[int, int]:
    """Return width and height of an image when it is upright, from its header; pixels are not read.

    Raises:
        HowfarError: if the file is not a supported image.
    """
    try:
        with Image.open(path, formats=_formats(path)) as raw:
            turned = raw.getexif().get(ORIENTATION, 1) in SIDEWAYS
            return raw.size[::-1] if turned else raw.size
    except HowfarError:
        raise
    except Exception as error:  # decoders fail in many ways
        raise HowfarError(f"{path} is not a readable image ({error}). Repair or remove it.") from None


def read_picture_bytes(content: bytes, name: str) -> Image.Image:
    """Return the (first) image in the bytes of a file, rotated upright; as ``read_picture``.

    Args:
        content: of the file.
        name: of the image, for errors.
    """
    return _decoded(io.BytesIO(content), name, FORMATS, upright=True, least=0)


def _decoded(
    source: Path | io.BytesIO, name: str, formats: tuple[str, ...], *, upright: bool, least: int
) -> Image.Image:  # fmt: skip
    try:
        with Image.open(source, formats=formats) as raw:
            if raw.width * raw.height > LARGEST:
                raise ValueError(f"{raw.width}×{raw.height} pixels, more than {LARGEST // 1_000_000} million")
            if least:
                raw.draft(None, (least, least))
            frames = getattr(raw, "n_frames", 1)
            raw.load()
            raw.info |= {"frames": frames, "format": raw.format, "bits": _bits(raw)}
            _repair_exif(raw)
            return ImageOps.exif_transpose(raw) if upright else raw.copy()
    except Exception as error:  # decoders fail in many ways
        raise HowfarError(f"{name} is not a readable image ({error}). Repair or remove it.") from None


def _bits(image: Image.Image) -> int:
    """Return the bits per channel of a file; Pillow silently reduces more than 8 to 8."""
    found = getattr(image, "tag_v2", {}).get(BITS) or image.info.get("bit_depth") or 8
    return int(max(found)) if isinstance(found, tuple | list) else int(found)


def _repair_exif(image: Image.Image) -> None:
    """Move the EXIF of a TIFF to where other formats have it, and drop EXIF that cannot be read or written."""
    try:
        if image.format != "TIFF" and image.info.get("exif"):  # reload: Pillow reports errors only once
            exif = Image.Exif()
            exif.load(image.info["exif"])
            exif.tobytes()
        found = image.getexif()
        if image.format == "TIFF":
            kept = Image.Exif()
            for tag in TAGS & set(found):
                kept[tag] = found.get_ifd(tag) if tag in INNER else found[tag]
            if len(kept):
                image.info["exif"] = kept.tobytes()
    except Exception:  # malformed EXIF fails in many ways
        for name in ("exif", "Raw profile type exif"):
            image.info.pop(name, None)
        image.info["dropped"] = "EXIF"


def _formats(path: Path) -> tuple[str, ...]:
    """Return the allowed formats of a file; HEIF needs its reader installed."""
    if path.suffix.lower() not in (".heic", ".heif"):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise HowfarError(f"{path} is HEIC. Install howfar[heic], or convert it.") from None
    register_heif_opener()
    return ("HEIF",)


def read_rgb(path: Path) -> tuple[Image.Image, bool]:
    """Return an image rotated upright, in 8-bit RGB, and whether its file is grayscale.

    16-bit values are scaled to 8 bits; transparency is dropped.

    Raises:
        HowfarError: as ``read_picture``, and for modes without a defined white level.
    """
    return to_rgb(read_picture(path, upright=True), str(path))


def to_rgb(image: Image.Image, name: str) -> tuple[Image.Image, bool]:
    """Return an image in 8-bit RGB, and whether it was grayscale; as ``read_rgb``.

    Args:
        image: in any mode.
        name: of the image, for errors.
    """
    gray = image.mode in GRAY
    if gray and image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise HowfarError(f"{name} has more than 16 bits per pixel. Save it with 8 or 16.")
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    try:
        return image.convert("RGB"), gray
    except ValueError:
        raise HowfarError(f"{name} is in mode {image.mode}, which has no unique RGB conversion. Convert it.") from None

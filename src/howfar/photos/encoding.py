"""Encoding of protected photographs, with the metadata of the original."""

import io
import struct
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from PIL import Image, ImageCms

from howfar.errors import HowfarError

Metadata = Literal["keep", "strip-gps", "strip-all"]
GPS, ORIENTATION, XMP = 0x8825, 0x0112, 700
KINDS = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".png": "png", ".webp": "webp", ".tif": "tiff",
    ".tiff": "tiff",
}  # fmt: skip
NO_PLACE = "its GPS position was removed (--metadata keep keeps it)"
RUNS = 3  # zlib's Z_RLE
SPACES = {"L": b"GRAY", "LA": b"GRAY", "I;16": b"GRAY", "CMYK": b"CMYK"}  # of color profiles, by mode
PROHIBITED = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED"
STATEMENT = (
    '<rdf:Description rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" '
    f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" plus:DataMining="{PROHIBITED}"/>'
)
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


@dataclass(frozen=True)
class Encoding:
    """Output format of protected photographs.

    Attributes:
        kind: ``png``, ``webp`` and ``tiff`` are lossless, ``jpeg`` is not; ``auto`` keeps JPEG as JPEG and writes
            everything else without loss, in its own format or as PNG.
        quality: of JPEG.
        metadata: what to keep of EXIF and XMP; the color profile is always kept.
        opt_out: add the XMP statement that data mining is prohibited (IPTC/PLUS).
    """

    kind: Literal["auto", "png", "webp", "tiff", "jpeg"] = "auto"
    quality: int = 95
    metadata: Metadata = "strip-gps"
    opt_out: bool = False

    def suffix(self, name: str) -> str:
        """Return the suffix of the copy of a file; with ``auto``, a file whose format is kept keeps its own."""
        own = PurePosixPath(name).suffix
        if self.kind == "auto":
            return own if own.lower() in KINDS else ".png"
        return {"png": ".png", "webp": ".webp", "tiff": ".tif", "jpeg": ".jpg"}[self.kind]

    def of(self, name: str) -> "Encoding":
        """Return the format of the copy of a file, which is not ``auto``."""
        chosen: Any = KINDS.get(PurePosixPath(name).suffix.lower(), "png")
        return replace(self, kind=chosen) if self.kind == "auto" else self

    @classmethod
    def parse(cls, text: str, metadata: Metadata, *, opt_out: bool) -> "Encoding":
        """Return the encoding for ``auto``, ``png``, ``webp``, ``tiff``, or ``jpeg:95``."""
        kind, _, quality = text.partition(":")
        kinds = {
            "auto": "auto",
            "png": "png",
            "webp": "webp",
            "tiff": "tiff",
            "tif": "tiff",
            "jpeg": "jpeg",
            "jpg": "jpeg",
        }
        if kind not in kinds or (
            quality and (kinds[kind] != "jpeg" or not (quality.isascii() and quality.isdecimal()))
        ):
            raise HowfarError(
                f"unknown format '{text}'. Choose auto, png, webp, tiff, or jpeg with a quality, as in jpeg:95."
            )
        chosen: Any = kinds[kind]
        number = int(quality) if quality else 95
        if not 1 <= number <= 100:
            raise HowfarError(f"quality {number} is out of range. Use 1 to 100.")
        return cls(chosen, number, metadata, opt_out)


def encoded(image: Image.Image, original: Image.Image, encoding: Encoding) -> bytes:
    """Return the encoded photograph, with the metadata of the original.

    Raises:
        HowfarError: if the format does not support it, such as WebP above 16,383 pixels per side.
    """
    try:
        return _encoded(image, original, encoding)
    except (ValueError, OSError, TypeError, SyntaxError, struct.error, OverflowError) as error:
        raise HowfarError(f"it cannot be written as {encoding.kind} ({error}). Choose another --format.") from None


def _encoded(image: Image.Image, original: Image.Image, encoding: Encoding) -> bytes:
    extra: dict[str, Any] = {}
    profile = original.info.get("icc_profile") or b""
    if image.mode == "CMYK" and encoding.kind in ("png", "webp"):
        image, profile = _in_rgb(image, profile)
    space = SPACES.get(image.mode, b"RGB ") if encoding.kind != "webp" else b"RGB "
    # A profile of another color space would give wrong colors; None stops Pillow from taking the image's own.
    extra["icc_profile"] = profile if profile[16:20] == space else None
    exif = _exif(original, encoding.metadata)
    if exif:
        extra["exif"] = exif
    xmp = _xmp(original, encoding)
    file = io.BytesIO()
    if encoding.kind == "png":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        if xmp:
            text.add_itxt("XML:com.adobe.xmp", xmp)
        # Noise has no matches for deflate: Z_RLE makes files a sixth smaller, and is faster.
        image.save(file, "PNG", compress_level=1, compress_type=RUNS, pnginfo=text, **extra)
        return file.getvalue()
    if xmp:
        extra["xmp"] = xmp.encode()
    if encoding.kind == "webp":
        image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB").save(
            file, "WEBP", lossless=True, quality=0, method=0, exact=True, **extra
        )
    elif encoding.kind == "tiff":
        tags = Image.Exif()
        tags.load(extra.pop("exif", b""))
        if xmp:
            tags[XMP] = extra.pop("xmp")
        image.save(file, "TIFF", exif=tags, **extra)  # uncompressed: Pillow cannot compress a TIFF with a GPS IFD
    else:
        flat = image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "LA" else "RGB")
        flat.save(file, "JPEG", quality=encoding.quality, subsampling=0, **extra)
    return file.getvalue()


def _in_rgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, bytes]:
    """Return a CMYK photograph in sRGB and its profile, converted by its own profile if that is valid."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        found = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        found = None
    return (image.convert("RGB"), b"") if found is None else (found, srgb.tobytes())


def decoded(content: bytes, like: Image.Image) -> Image.Image:
    """Return the decoded photograph, in the mode of another one."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image if image.mode == like.mode else image.convert(like.mode)


def has_place(original: Image.Image) -> bool:
    """Return whether the metadata of a photograph say where it was taken."""
    exif = Image.Exif()
    exif.load(original.info.get("exif") or b"")
    return GPS in exif or "GPS" in _packet(original)


def _exif(original: Image.Image, metadata: Metadata) -> bytes:
    """Return the EXIF data to keep, without the orientation, which is already applied."""
    if metadata == "strip-all" or not original.info.get("exif"):
        return b""
    exif = Image.Exif()
    exif.load(original.info["exif"])
    exif.pop(ORIENTATION, None)
    if metadata == "strip-gps":
        exif.pop(GPS, None)
    return exif.tobytes()


def _packet(original: Image.Image) -> str:
    """Return the XMP of a photograph."""
    found = original.info.get("xmp") or original.info.get("XML:com.adobe.xmp") or ""
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def _xmp(original: Image.Image, encoding: Encoding) -> str:
    text = _packet(original)
    if encoding.metadata == "strip-all" or (encoding.metadata == "strip-gps" and "GPS" in text):
        text = ""
    if not encoding.opt_out or PROHIBITED in text:
        return text
    head, end, tail = text.rpartition("</rdf:RDF>")
    return f"{head}{STATEMENT}{end}{tail}" if end else PACKET.format(STATEMENT)

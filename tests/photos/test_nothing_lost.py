"""What a photograph holds besides its pixels stays, or the photograph is refused; one bad file costs itself alone."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from howfar.data.pictures import read_rgb
from howfar.errors import HowfarError
from howfar.photos import checked
from howfar.photos.encoding import Encoding, encoded
from howfar.photos.picture import FIRST, UNREAD, changed, upright

from ..test_cli import inside
from .test_photos import REST, run, scene


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for label in ("cats", "dogs"):
        (tmp_path / "album" / label).mkdir(parents=True)
        for number in range(2):
            scene(40, 30, seed=number).save(tmp_path / "album" / label / f"{number}.png")
    return tmp_path / "album"


def tiff16(path: Path) -> None:
    """Write a TIFF of 16 bits a color, which Pillow reads as one of 8."""
    import struct

    pixels = np.linspace(0, 65535, 8 * 6 * 3).astype("<u2").tobytes()
    tags = [(256, 3, 1, 8), (257, 3, 1, 6), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 256),
            (277, 3, 1, 3), (278, 3, 1, 6), (279, 4, 1, len(pixels)), (284, 3, 1, 1)]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        head += struct.pack("<HHI", tag, kind, count) + struct.pack(
            "<HH" if short else "<I", *([value, 0] if short else [value])
        )
    raw = (head + bytes(4)).ljust(200, b"\0") + struct.pack("<HHH", 16, 16, 16)
    path.write_bytes(raw.ljust(256, b"\0") + pixels)


def test_colors_of_16_bits_are_refused_in_every_format(tmp_path: Path) -> None:
    tiff16(tmp_path / "deep.tif")
    assert Image.open(tmp_path / "deep.tif").mode == "RGB", "Pillow says nothing"
    values = np.linspace(0, 65535, 8 * 6 * 3).astype(">u2").tobytes()
    (tmp_path / "deep.ppm").write_bytes(b"P6\n# a comment\n8 6\n65535\n" + values)
    for name in ("deep.tif", "deep.ppm"):
        with pytest.raises(HowfarError, match="16 bits per channel"):
            upright(tmp_path / name)


@pytest.mark.parametrize(("mode", "key"), [("RGB", (255, 0, 255)), ("L", 7)])
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_a_transparent_color_stays_transparent(mode: str, key: Any, kind: str, tmp_path: Path) -> None:
    image = scene(40, 30).convert(mode)
    image.paste(key, (0, 0, 20, 15))
    image.save(tmp_path / "a.png", transparency=key)
    before = np.asarray(Image.open(tmp_path / "a.png").convert("RGBA"))[..., 3]
    original = upright(tmp_path / "a.png")
    after = changed(
        original, Image.new("L" if mode == "L" else "RGB", (40, 30), (REST + 3,) * 3 if mode == "RGB" else REST + 3)
    )
    raw = encoded(after, original, Encoding.parse(kind, "keep", opt_out=False))
    found = np.asarray(Image.open(io.BytesIO(raw)).convert("RGBA"))[..., 3]
    assert (before == 0).sum() >= 300
    assert np.array_equal(found, before)


def test_exif_of_a_tiff_stays(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x013B], exif[0x010F] = "Ann Artist", "Maker"
    scene(40, 30).save(tmp_path / "a.tif", exif=exif)
    original = upright(tmp_path / "a.tif")
    for kind in ("png", "webp", "tiff", "jpeg:95"):
        for metadata in ("keep", "strip-gps", "strip-all"):
            raw = encoded(original, original, Encoding.parse(kind, metadata, opt_out=False))
            found = Image.open(io.BytesIO(raw)).getexif()
            assert (found.get(0x013B) == "Ann Artist") == (metadata != "strip-all"), (kind, metadata)
            assert (found.get(0x010F) == "Maker") == (metadata != "strip-all"), (kind, metadata)


def test_a_profile_stays_with_its_colors_alone(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = {space: bytearray(srgb) for space in (b"CMYK", b"GRAY")}
    for space, profile in other.items():
        profile[16:20] = space
    for mode, profile in (("CMYK", other[b"CMYK"]), ("L", other[b"GRAY"]), ("RGB", srgb)):
        scene(40, 30).convert(mode).save(tmp_path / "a.tif", icc_profile=bytes(profile))
        original = upright(tmp_path / "a.tif")
        for kind in ("png", "webp", "tiff", "jpeg:95"):
            raw = encoded(original, original, Encoding.parse(kind, "keep", opt_out=False))
            read = Image.open(io.BytesIO(raw))
            found = read.info.get("icc_profile", b"")
            space = {"L": b"GRAY", "CMYK": b"CMYK"}.get(read.mode, b"RGB ")
            assert found == b"" or found[16:20] == space, (mode, kind)
            if mode == read.mode:
                assert found == bytes(profile), (mode, kind)


def test_the_first_frame_of_a_phones_picture_is_taken_and_said(album: Path, tmp_path: Path) -> None:
    scene(90, 61, 4).save(album / "cats" / "hdr.jpg", "MPO", save_all=True, append_images=[scene(45, 30, 5)])
    how = ("-p", "random:class", "--side", "16", "--format", "png")
    code, _, message = inside("protect", str(album), "-o", str(tmp_path / "out"), *how)
    assert code == 0, message
    assert f"cats/hdr.jpg: {FIRST}" in message
    written = np.asarray(Image.open(tmp_path / "out" / "cats" / "hdr.png").convert("RGB")).astype(int)
    assert np.abs(written - np.asarray(Image.open(album / "cats" / "hdr.jpg"))).max() == 8
    scene(40, 30).save(album / "cats" / "moving.tif", save_all=True, append_images=[scene(40, 30, 1)])
    with pytest.raises(HowfarError, match="several frames"):
        run(album, tmp_path / "other")


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_exif_that_cannot_be_read_costs_the_exif_alone(kind: str, album: Path, tmp_path: Path) -> None:
    path = album / "cats" / f"b.{kind}"
    scene(40, 30, 9).save(path, exif=b"Exif\0\0garbage, no TIFF")
    assert read_rgb(path)[0].size == (40, 30)
    manifest = run(album, tmp_path / "out")
    assert manifest["counts"]["protected"] == 5
    assert next(e["notes"] for e in manifest["photos"] if e["name"] == f"cats/b.{kind}") == [UNREAD]


def test_names_that_are_no_utf_8_survive(album: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        scene(40, 30, 9).save(album / "cats" / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    for _ in range(2):
        code, _, message = inside(
            "protect", str(album), "-o", str(tmp_path / "out"), "-p", "random:class", "--side", "16"
        )
        assert code == 0, message
    assert (tmp_path / "out" / "cats" / os.fsdecode(b"caf\xe9.jpg")).is_file()
    assert name in {
        Path(e["name"]).name for e in json.loads((tmp_path / "out" / "manifest.json").read_text())["photos"]
    }
    assert checked(tmp_path / "out", album) == []
    album.rename(tmp_path / os.fsdecode(b"\xe9"))
    assert inside("protect", str(tmp_path / os.fsdecode(b"\xe9")), "-o", str(tmp_path / "o2"), "--side", "16")[0] == 0


def test_a_picture_that_the_format_cannot_hold_is_that_files_fault(album: Path, tmp_path: Path) -> None:
    scene(17000, 20).save(album / "cats" / "pano.jpg")
    with pytest.raises(HowfarError, match=r"pano\.jpg: it cannot be written as webp .*--broken skip"):
        run(album, tmp_path / "stop", kind="webp")
    for broken, status in (("skip", "skipped"), ("copy", "copied")):
        manifest = run(album, tmp_path / broken, kind="webp", broken=broken)
        assert manifest["counts"] == {"protected": 4, "unchanged": 0, "copied": 0, "skipped": 0} | {status: 1}
        assert run(album, tmp_path / broken, kind="webp", broken=broken)["redone"] == {}
    for wrong in ("jpeg:²", "jpeg:٣", "jpeg:1e9"):
        with pytest.raises(HowfarError, match="unknown format"):
            Encoding.parse(wrong, "keep", opt_out=False)

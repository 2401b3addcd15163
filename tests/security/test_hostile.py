"""Files that were made to do harm: pickles, bombs, archives that reach out of their folder, odd images."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.data import DATASETS, files
from howfar.data.idx import read_idx
from howfar.data.npz import read_arrays
from howfar.data.pictures import read_picture, read_rgb
from howfar.errors import HowfarError
from howfar.poison import artifact
from howfar.store import Record, Store

from ..test_cli import TINY, inside


class Payload:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.mark}",))


def planted(mark: Path, kind: str) -> bytes:
    """Return a file of a kind that leaves the mark when it is read carelessly."""
    load = Payload(mark)
    file = io.BytesIO()
    match kind:
        case "pickle":
            return pickle.dumps(load)
        case "batch":
            return pickle.dumps({"data": load, "labels": [0]}, protocol=2)
        case "npy":
            np.save(file, np.array([load], dtype=object), allow_pickle=True)
        case "npz":
            np.savez(file, x_train=np.array([load], dtype=object), x_test=np.zeros((1, 2, 2), np.uint8))
        case "pt":
            torch.save(load, file)
        case "eps":  # Pillow hands these to Ghostscript, which runs programs
            return (
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch " + str(mark).encode() + b") (w) file\n"
            )
    return file.getvalue()


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz", "pt", "eps"])
def test_no_input_of_the_command_line_runs_what_it_holds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    raw = planted(mark, kind)
    batches, archive = tmp_path / "cifar-10-batches-py", tmp_path / "cifar-10-python.tar.gz"
    batches.mkdir()
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]
    with tarfile.open(archive, "w:gz") as tar:
        for name in names:
            (batches / name).write_bytes(planted(mark, "batch") if kind == "pickle" else raw)
            tar.add(batches / name, f"cifar-10-batches-py/{name}")
    for name in ("f.npz", "f.npy", "f.pt", "f.pth", "f.toml", "f.json"):
        (tmp_path / name).write_bytes(raw)
    record = f"runs/victim/{'0' * 20}"
    for folder in ("photos/a", "photos/b", "noise", "set", "net", "camvid/train", "camvid/trainannot", record):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("photos/a/0.png", "photos/b/0.jpg", "noise/0.png", "set/manifest.json", "set/protected.safetensors",
                 "net/config.json", "net/diffusion_pytorch_model.bin", "camvid/train/0.png", "camvid/trainannot/0.png",
                 f"{record}/record.json", f"{record}/arrays.safetensors"):  # fmt: skip
        (tmp_path / name).write_bytes(raw)
    bench = [word for word in TINY if word not in ("--dataset", "digits")]
    protectors = [word if word != "lsp" else None for word in TINY]
    commands = [
        *([*bench, "--dataset", data] for data in ("npz:f.npz", "folder:photos", "camvid:camvid", "camvid:f.npz")),
        [*bench, "--dataset", "cifar10", "--data-root", str(batches)],
        [*bench, "--dataset", "cifar10", "--data-root", str(archive)],
        [*bench, "--dataset", "cifar10", "--data-root", "f.npz"],
        *([word or f"import:{name}" for word in protectors] for name in ("f.npz", "f.npy", "f.pt", "f.pth", "noise")),
        [word if word != "none" else "diffusion-purify[checkpoint=net]" for word in TINY],
        [*TINY, "--config", "f.toml"],
        ["validate", "set"], ["export", "set", "-o", "out"], ["leaderboard", "runs"], ["report", "runs"],
        ["store", "check", "runs"], ["store", "import", "runs", "--runs", "other"], ["compare", "runs", "runs"],
        ["ud", "photos", "photos"],
    ]  # fmt: skip
    for command in commands:
        code, _, errors = inside(*command)
        assert code != 0, command
        assert "Traceback" not in errors, command
    assert not mark.exists()


def test_the_plants_do_run_where_one_is_careless(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    pickle.loads(planted(mark, "pickle"))
    assert mark.exists(), "or else the test above shows nothing"


def test_archives_cannot_reach_out_and_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("secret")
    links = tmp_path / "links.tar"
    with tarfile.open(links, "w") as tar:
        for name, kind in (("a/link", tarfile.SYMTYPE), ("a/hard", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(tmp_path / "secret")
            tar.addfile(entry)
        entry = tarfile.TarInfo("../outside")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    for name in ("a/link", "a/hard"):
        with pytest.raises(HowfarError, match="holds no"):
            files.tar_member(links, name)
    assert files.tar_member(links, "../outside") == b"abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["links.tar", "secret"], "nothing is extracted"

    monkeypatch.setattr(files, "LARGE", 1 << 20)
    bomb = tmp_path / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz") as tar:
        for name in ("first", "wanted"):
            entry = tarfile.TarInfo(name)
            entry.size = 4 << 20
            tar.addfile(entry, io.BytesIO(bytes(4 << 20)))
    with pytest.raises(HowfarError, match="like a zip bomb"):
        files.tar_member(bomb, "wanted")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(4 << 20))
    with pytest.raises(HowfarError, match="like a zip bomb"):
        read_arrays(tmp_path / "bomb.npz")
    header = b"\0\0\x08\x03" + struct.pack(">III", 1 << 11, 1 << 11, 1 << 11)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(header + bytes(1 << 20)))
    with pytest.raises(HowfarError, match="like a zip bomb"):
        read_idx(tmp_path / "bomb.gz")


def test_an_array_that_claims_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x_train.npy", file.getvalue())
    with pytest.raises(HowfarError, match="not a readable"):
        read_arrays(tmp_path / "a.npz")


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 40_000])
def test_image_bombs_are_refused_before_they_are_decoded(side: int, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(HowfarError, match=r"bomb.png is not a readable image .*(more than 100 million|bomb)"):
        read_picture(tmp_path / "bomb.png")


def test_every_mode_of_an_image_becomes_rgb_or_is_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 16).astype(np.uint8).reshape(4, 4)
    colors = np.stack([ramp, 255 - ramp, ramp // 2], -1)
    whole = Image.fromarray(colors)
    for mode, kind in (("L", "png"), ("1", "png"), ("P", "png"), ("LA", "png"), ("RGBA", "png"), ("CMYK", "tiff"),
                       ("CMYK", "jpeg"), ("P", "gif"), ("YCbCr", "tiff"), ("RGBA", "webp"), ("L", "bmp")):  # fmt: skip
        path = tmp_path / f"{mode}.{kind}"
        whole.convert(mode).save(path)
        image, gray = read_rgb(path)
        assert (image.mode, image.size) == ("RGB", (4, 4)), mode
        assert gray == (mode in ("1", "L", "LA")), mode
        if mode in ("RGBA", "YCbCr") and kind in ("png", "tiff"):
            assert np.abs(np.asarray(image).astype(int) - colors).max() <= 3, mode
    wide = ramp.astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image, gray = read_rgb(tmp_path / "wide.png")
    assert gray
    assert np.array_equal(np.asarray(image)[..., 0], ramp), "16 bits become 8 by their share of the whole"
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "real.tiff")
    Image.fromarray(ramp.astype(np.int32) * 100_000).save(tmp_path / "32.tiff")
    with pytest.raises(HowfarError, match="16 bits"):
        read_rgb(tmp_path / "32.tiff")


def test_moving_images_give_their_first_frame_and_turned_ones_stand_upright(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    for kind in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], lossless=True)
        assert np.asarray(read_rgb(tmp_path / f"a.{kind}")[0])[0, 0].tolist() == [255, 0, 0] if kind != "gif" else True
    turned = Image.new("RGB", (6, 4), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert read_rgb(tmp_path / "turned.jpg")[0].size == (4, 6)


def test_a_manifest_of_brackets_is_damaged_like_any_other(tmp_path: Path) -> None:
    (tmp_path / artifact.MANIFEST).write_text("[" * 100_000)
    with pytest.raises(HowfarError, match="damaged"):
        artifact.read(tmp_path)
    store = Store(tmp_path / "runs")
    key = store.save(Record("step", "0" * 20, {}, "done", {}, {})).key
    (tmp_path / "runs" / "step" / key / "record.json").write_text("[" * 100_000)
    with pytest.raises(HowfarError, match="damaged"):
        store.find("step", key)


def test_names_of_files_cannot_lead_out_of_a_data_set(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (4, 4)).save(outside / "0.png")
    photos = tmp_path / "photos"
    for name in ("a", "b"):
        (photos / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (4, 4)).save(photos / name / f"{number}.png")
    (photos / "a" / "loop").symlink_to(photos, target_is_directory=True)
    splits = DATASETS["folder"](root=photos)
    assert len(splits.train) + len(splits.test) == 8

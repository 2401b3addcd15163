"""Right files of every kind that howfar reads, made in memory."""

import functools
import io
import json
import os
import pickle
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from howfar.cli import main
from howfar.data import DATASETS
from howfar.poison import artifact
from howfar.protectors import Draft
from howfar.store import Record, Store
from howfar.store.seal import unsealed

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)
VICTIM = '"label":"lsp'  # what tells the victim of protected images from the clean one


def picture(kind: str, mode: str = "RGB", **options: Any) -> Callable[[], bytes]:
    """Return what makes an image file of a format and mode."""

    def make() -> bytes:
        file = io.BytesIO()
        whole = Image.fromarray(IMAGE)
        if mode == "I;16":
            whole = Image.fromarray(IMAGE[..., 0].astype(np.uint16) * 257)
        elif mode != "RGB":
            whole = whole.convert(mode)
        whole.save(file, kind, **options)
        return file.getvalue()

    return make


def described() -> bytes:
    """Return a JPEG with EXIF, XMP, a profile and a comment."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8825)[1] = "N"
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return picture("JPEG", exif=exif, xmp=b"<x:xmpmeta/>", icc_profile=profile, comment="words", quality=90)()


def saved(save: Callable[..., object], value: object, **options: Any) -> Callable[[], bytes]:
    """Return what saves a value into a file and returns its bytes."""

    def make() -> bytes:
        file = io.BytesIO()
        save(file, value, **options)
        return file.getvalue()

    return make


def batch() -> bytes:
    """Return a batch of CIFAR-10."""
    content = {"data": RNG.integers(0, 256, (2, 3072), dtype=np.uint8), "labels": [0, 1], "label_names": ["a", "b"]}
    return pickle.dumps(content, protocol=2)


def archive() -> bytes:
    """Return CIFAR-10's archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]:
            raw = batch()
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return file.getvalue()


def idx_bytes() -> bytes:
    """Return an IDX file of three 4×5 images."""
    return b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 4, 5)) + bytes(60)


def arrays_of(*names: str) -> Callable[[], bytes]:
    """Return what makes an archive of images and what belongs to them."""

    def make() -> bytes:
        file = io.BytesIO()
        images, classes = RNG.integers(0, 9, (4, 6, 6, 3), dtype=np.uint8), np.array([0, 1, 0, 1])
        maps = RNG.integers(0, 9, (4, 6, 6), dtype=np.uint8)
        table = {name: images if name[0] == "x" else maps if name[:3] == "seg" else classes for name in names}
        np.savez_compressed(file, **table)
        return file.getvalue()

    return make


@functools.cache
def rooms() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that stays until the process ends, in memory where the machine has such a file system."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    return tempfile.TemporaryDirectory(dir=place, prefix="howfar-fuzz-", ignore_cleanup_errors=True)


def room(name: str) -> Path:
    """Return a place in that folder."""
    return Path(rooms().name) / name


def howfar(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; returns exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main(list(arguments))
        except SystemExit as stop:
            return int(stop.code or 0), output.getvalue(), errors.getvalue()
    raise AssertionError("a command ended without an exit code")


def archive_of_images(path: Path, *, count: int = 24, classes: int = 2, side: int = 8) -> Path:
    """Write a data set of tiny random images and return its file."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % classes
    images = (rng.integers(0, 120, (count, side, side, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:12], y_test=labels[:12])
    return path


GRID = (
    "--protectors", "lsp", "--models", "linear", "--defenses", "none,gray", "--seeds", "0-1", "--epochs", "1",
    "--set", "probe_images=4", "--set", "held_out=0", "--set", "alignment_images=4", "--workers", "0",
)  # fmt: skip


@functools.cache
def store() -> Path:
    """Return a real store: LSP on two classes of tiny images, two seeds, two defenses, one epoch."""
    place = room("store")
    data = archive_of_images(place / "data.npz")
    code, _, errors = howfar("bench", "--dataset", f"npz:{data}", *GRID, "--runs", str(place / "runs"))
    if code:
        raise AssertionError(errors)
    return place / "runs"


@functools.cache
def victim() -> Path:
    """Return the folder of one victim of protected images, below the store."""
    places = sorted(store().glob("victim/*/record.json"))
    return next(path.parent for path in places if VICTIM in path.read_text(encoding="utf-8"))


def record_of(step: str) -> Callable[[], bytes]:
    """Return what makes the JSON of a real record without its seal, so that changes of it are not seen at once."""

    def make() -> bytes:
        place = victim() if step == "victim" else next(iter(sorted((store() / step).iterdir())))
        return unsealed((place / "record.json").read_bytes())

    return make


@functools.cache
def row() -> bytes:
    """Return a row of a leaderboard, as howfar submit writes it."""
    folder = room("rows")
    code, _, errors = howfar("submit", str(store()), "-o", str(folder))
    if code:
        raise AssertionError(errors)
    return next(path for path in sorted(folder.glob("*.json")) if "lsp" in path.name).read_bytes()


@functools.cache
def photographs() -> Path:
    """Return a folder of three tiny photographs in two subfolders, and its protected copy next to it."""
    place = room("photos")
    for name, kind in (("a/1.png", "PNG"), ("a/2.jpg", "JPEG"), ("b/1.png", "PNG")):
        path = place / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(kind)())
    code, _, errors = howfar("protect", str(place / "in"), "-o", str(place / "out"), "--workers", "1", "--side", "8")
    if code:
        raise AssertionError(errors)
    return place


@functools.cache
def stored(file_name: str) -> bytes:
    """Return one of the files of a small record."""
    with tempfile.TemporaryDirectory() as folder:
        record = Record("step", "0" * 20, {"a": 1}, "done", {"value": 1.5, "list": [1, 2]}, {})
        Store(folder).save(record, {"x": torch.arange(12.0)})
        return (Path(folder) / "step" / record.key / file_name).read_bytes()


@functools.cache
def crafted(file_name: str) -> bytes:
    """Return one of the files of a protected set."""
    with tempfile.TemporaryDirectory() as folder:
        splits = DATASETS["digits"]()
        clean = splits.train.take(torch.arange(6))
        noise = torch.full_like(clean.pixels, 2)
        protected = clean.with_pixels((clean.pixels // 2 + noise).to(torch.uint8))
        artifact.write(Path(folder), clean, protected, {"target": "label", "protector": {"name": "random"}})
        return (Path(folder) / file_name).read_bytes()


def parts() -> dict[str, Any]:
    """Return what a draft keeps: a tensor, a generator, a network and its optimizer."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    generator = torch.Generator()
    generator.manual_seed(0)
    return {"noise": torch.zeros(4), "generator": generator, "network": network, "optimizer": optimizer}


def draft() -> bytes:
    """Return the state of an interrupted crafting."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Draft(Path(folder) / "draft", every=0)
        whole.enter("stage", **parts())
        whole.keep(2, 0.5)
        return (Path(folder) / "draft").read_bytes()


def claim() -> bytes:
    """Return a lease."""
    about = {"step": "victim", "key": "0" * 20, "label": "x", "host": "h", "pid": 1, "token": "t", "started": 1.0}
    return json.dumps({**about, "process": ""}).encode()


def index() -> bytes:
    """Return the index of the store."""
    howfar("leaderboard", str(store()))
    return (store() / ".index.sqlite").read_bytes()


def copied(source: Path, target: Path) -> Path:
    """Copy a folder and return the copy."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target

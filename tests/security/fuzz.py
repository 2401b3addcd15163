"""Every reader of foreign files, on files that were right until some of their bytes were changed.

A reader may read what it gets or refuse it with howfar's own error; nothing else may escape, and nothing may run.
``python -m tests.security.fuzz --seconds 600`` prints a table and keeps what escaped under ``corpus/``, where the tests
find it again.
"""

import argparse
import functools
import gzip
import io
import json
import pickle
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from howfar import artefact
from howfar.data import DATASETS, cifar, domains, idx, pictures
from howfar.data.camvid import camvid
from howfar.data.npz import npz
from howfar.data.svhn import svhn
from howfar.errors import HowfarError
from howfar.protect.imported import read_array
from howfar.store import Record, Store
from howfar.suite import make_suite, read_suite

CORPUS = Path(__file__).parent / "corpus"
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)
EDGES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"{", b"[")
say = functools.partial(print, file=sys.stdout, flush=True)
INTERVAL = 5.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Reader:
    """Something that reads a file.

    Attributes:
        suffix: what names of its files end with.
        seed: the bytes of a right one.
        read: reads one.
    """

    suffix: str
    seed: Callable[[], bytes]
    read: Callable[[Path], object]


def picture(kind: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
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


def saved(save: Callable[..., object], value: object, **options: object) -> Callable[[], bytes]:
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


def stored(file_name: str) -> Callable[[], bytes]:
    """Return what makes one of the files of a record."""

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            record = Record("step", "0" * 20, {"a": 1}, "done", {"value": 1.5, "list": [1, 2]}, {})
            Store(folder).save(record, {"x": torch.arange(12.0)})
            return (Path(folder) / "step" / record.key / file_name).read_bytes()

    return make


def read_stored(path: Path) -> object:
    """Read a record of which one file was changed."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "step" / ("0" * 20)
        whole.mkdir(parents=True)
        for name in ("record.json", "arrays.safetensors"):
            (whole / name).write_bytes(path.read_bytes() if path.name.endswith(name) else stored(name)())
        store = Store(folder)
        found = [len(str(dict(record.result))) for record in store.records("step")]
        return found, store.arrays("step", "0" * 20)


def crafted(file_name: str) -> Callable[[], bytes]:
    """Return what makes one of the files of a protected set."""

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            splits = DATASETS["digits"]()
            clean = splits.train.take(torch.arange(6))
            noise = torch.full_like(clean.pixels, 2)
            protected = clean.with_pixels((clean.pixels // 2 + noise).to(torch.uint8))
            artefact.write(Path(folder), clean, protected, {"target": "label", "protector": {"name": "random"}})
            return (Path(folder) / file_name).read_bytes()

    return make


def read_crafted(path: Path) -> object:
    """Read and check a protected set of which one file was changed."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (artefact.ARRAYS, artefact.MANIFEST):
            content = path.read_bytes() if path.name.endswith(name) else crafted(name)()
            (Path(folder) / name).write_bytes(content)
        return list(artefact.faults(artefact.read(Path(folder))))


def read_svhn(path: Path) -> object:
    """Read a folder in which both files are this one: nothing but the published files gets to SciPy's reader."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("train", "test"):
            (Path(folder) / f"{part}_32x32.mat").write_bytes(path.read_bytes())
        return svhn(root=Path(folder))


READERS = {
    "CIFAR batch": Reader("", batch, lambda path: cifar.read_batch(path.read_bytes(), str(path))),
    "CIFAR archive": Reader(".tar.gz", archive, lambda path: cifar.cifar10(path)),
    "IDX": Reader("", idx_bytes, idx.read_idx),
    "IDX, gzipped": Reader(".gz", lambda: gzip.compress(idx_bytes(), mtime=0), idx.read_idx),
    "SVHN": Reader(".mat", lambda: b"", read_svhn),
    "npz:": Reader(
        ".npz",
        arrays_of("x_train", "y_train", "x_test", "y_test"),
        npz,
    ),
    "camvid:": Reader(
        ".npz",
        arrays_of("x_train", "seg_train", "x_test", "seg_test"),
        lambda path: camvid(path, height=3, width=3),
    ),
    "import: .npy": Reader(".npy", saved(np.save, np.zeros((2, 3, 4, 4), np.float32)), read_array),
    "import: .pt": Reader(".pt", saved(lambda file, value: torch.save(value, file), torch.zeros(9)), read_array),
    "Taskonomy vector": Reader(
        ".npy", saved(np.save, np.zeros(365, np.float32)), lambda path: domains.decoded("class_scene", path, 8)
    ),
    "Taskonomy depth": Reader(".png", picture("PNG", "I;16"), lambda path: domains.decoded("depth_euclidean", path, 8)),
    **{
        f"image: {kind} {mode}": Reader(f".{kind.lower()}", picture(kind, mode), pictures.read_rgb)
        for kind, mode in (
            ("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGBA"),
            ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "I;16"), ("GIF", "P"), ("PPM", "RGB"),
        )
    },
    "record": Reader("record.json", stored("record.json"), read_stored),
    "arrays of a record": Reader("arrays.safetensors", stored("arrays.safetensors"), read_stored),
    "protected set": Reader(artefact.ARRAYS, crafted(artefact.ARRAYS), read_crafted),
    "its manifest": Reader(artefact.MANIFEST, crafted(artefact.MANIFEST), read_crafted),
    "--config": Reader(
        ".toml",
        lambda: b'dataset = "digits"\nprotectors = "em,lsp"\nseeds = "0-1"\n[train]\nepochs = 2\nlr = 0.1\n',
        lambda path: make_suite(None, read_suite(path)),
    ),
}  # fmt: skip


def mutated(seed: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to four changes."""
    raw = bytearray(seed)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, max(len(raw), 1)))
        match rng.integers(0, 6):
            case 0 if raw:
                raw[min(place, len(raw) - 1)] ^= 1 << int(rng.integers(0, 8))
            case 1:
                edge = EDGES[rng.integers(0, len(EDGES))]
                raw[place : place + len(edge)] = edge
            case 2:
                del raw[place:]
            case 3:
                raw[place:place] = rng.bytes(int(rng.integers(1, 9)))
            case 4:
                raw[place:place] = raw[place : place + int(rng.integers(1, 65))] * int(rng.integers(1, 40))
            case _:
                del raw[place : place + int(rng.integers(1, 33))]
    return bytes(raw)


def outcome(reader: Reader, raw: bytes, folder: Path) -> str:
    """Return ``read``, ``refused``, or the name of what escaped."""
    path = folder / f"file{reader.suffix}"
    path.write_bytes(raw)
    try:
        reader.read(path)
    except HowfarError as error:
        return "refused" if str(error).strip() else "refused without a word"
    except Exception as error:  # what this is all about
        return type(error).__name__
    return "read"


def kept() -> Iterator[tuple[str, Path]]:
    """Yield the readers' names and the files that escaped them once."""
    for path in sorted(CORPUS.glob("*/*")):
        yield path.parent.name, path


def folder_of(name: str) -> str:
    """Return the name of a reader as the name of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, end, counts = (
        np.random.default_rng(options.seed),
        time.monotonic() + options.seconds,
        Counter[tuple[str, str]](),
    )
    seeds = {name: reader.seed() for name, reader in READERS.items()}
    with tempfile.TemporaryDirectory() as folder:
        shown = time.monotonic()
        while time.monotonic() < end:
            for name, reader in READERS.items():
                raw = mutated(seeds[name], rng)
                (Path(folder) / "latest").write_bytes(raw)  # a reader that kills the process leaves its input behind
                found = outcome(reader, raw, Path(folder))
                counts[name, found] += 1
                if found not in ("read", "refused"):
                    place = CORPUS / folder_of(name) / f"{found}-{counts[name, found]}"
                    if counts[name, found] <= 3:
                        place.parent.mkdir(parents=True, exist_ok=True)
                        place.write_bytes(raw)
            if time.monotonic() - shown > INTERVAL:
                shown = time.monotonic()
                say(f"{sum(counts.values())} inputs, {end - shown:.0f} s to go")
    say("| reader | inputs | read | refused | anything else |\n| - | -: | -: | -: | - |")
    for name in READERS:
        found = {what: count for (whose, what), count in counts.items() if whose == name}
        others = ", ".join(f"{count} {what}" for what, count in found.items() if what not in ("read", "refused"))
        say(
            f"| {name} | {sum(found.values())} | {found.get('read', 0)} | {found.get('refused', 0)} | {others or '–'} |"
        )
    say(json.dumps({"inputs": sum(counts.values()), "escaped": sum(n for (_, what), n in counts.items()
                      if what not in ("read", "refused"))}))  # fmt: skip


if __name__ == "__main__":
    main()

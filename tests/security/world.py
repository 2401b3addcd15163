"""A small world for calls of the command line: photographs, archives, stores, and bystanders that nobody may touch."""

import functools
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from howfar.store.seal import sealed, unsealed

from . import seeds
from .fuzz import mutated
from .seeds import howfar, room
from .structured import edited

ODD = ("a b.png", "[red].png", "-rf.png", "é.png", "e\u0301.png", "line\nbreak.png", "\x1b[31m.png", ".hidden.png",
    "x" * 200,
       "Train/1.png", "a/1.PNG", "a/1.jpg", "no suffix", "b/" + "d/" * 20 + "deep.png", b"raw-\xff.png")  # fmt: skip
JUNK: tuple[Any, ...] = (None, True, -1, 0, 1.5, 1e308, 2**70, "", "x", "../../x", "\x1b[31m", [], {}, [None], {"a": 1})
Stamps = dict[bytes, tuple[int, ...]]


def pictures(folder: Path, count: int, *, side: int = 8) -> None:
    """Write tiny pictures of two kinds into two subfolders."""
    rng = np.random.default_rng(2)
    for number in range(count):
        kind = number % 2
        pixels = (rng.integers(0, 100, (side, side + number % 3, 3)) + 120 * kind).astype(np.uint8)
        path = folder / "ab"[kind] / f"{number}.{('png', 'jpg', 'webp', 'png', 'tiff')[number % 5]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@functools.cache
def template() -> Path:
    """Return the world as every episode begins: ``in`` to read, ``here`` to work in, and bystanders."""
    place = room("template")
    inside, here = place / "in", place / "here"
    for name in ("bystanders/deep", "home", "tmp", "data", "in", "here"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(("a.txt", "deep/b.png", "runs", "manifest.json", "deep/.howfar-store")):
        (place / "bystanders" / name).write_bytes(bytes([number]) * 999)
    pictures(inside / "photos", 8, side=12)
    pictures(inside / "many", 44)
    pictures(inside / "plain", 18)
    seeds.archive_of_images(inside / "t.npz")
    seeds.archive_of_images(inside / "u.npz", count=40, classes=2, side=28)
    np.save(inside / "noise.npy", np.full((2, 8, 8, 3), 3 / 255, np.float32))
    (inside / "labels.csv").write_text(
        "".join(
            f"{path.relative_to(inside / 'photos')},{path.parent.name}\n"
            for path in sorted((inside / "photos").glob("*/*"))
        )
    )
    (inside / "suite.toml").write_text(
        'dataset = "npz:../in/t.npz"\nprotectors = "lsp"\nmodels = "linear"\ndefenses = "none"\nseeds = "0-1"\n'
        "probe_images = 4\nalignment_images = 0\nheld_out = 0\n[train]\nepochs = 1\n"
    )
    (inside / "notes.txt").write_text("words\n")
    shutil.copytree(seeds.store(), here / "runs")
    shutil.copytree(seeds.store(), here / "other")
    (here / "runs" / "notes.txt").write_text("mine\n")
    before = Path.cwd()
    os.chdir(here)
    try:
        for command in (
            ("generate", "-d", "npz:../in/t.npz", "-p", "lsp", "-o", "../in/set"),
            ("submit", "runs", "-o", "../in/rows"),
            ("store", "pack", "runs", "-o", "../in/packed.jsonl.xz"),
            ("protect", "../in/many", "-o", "../in/hidden", "-p", "lsp", "--side", "8", "--workers", "1"),
            ("protect", "../in/photos", "-o", "out", "-p", "lsp", "--side", "8", "--workers", "1"),
            ("export", "../in/set", "-o", "../in/exported"),
        ):
            code, _, errors = howfar(*command)
            if code:
                raise AssertionError(errors)
    finally:
        os.chdir(before)
    return place


def fresh() -> Path:
    """Return the world as it was in the beginning, and stand in ``here``."""
    os.chdir("/")
    place = room("world")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template(), place, symlinks=True)
    os.chdir(place / "here")
    return place


def stamps(place: Path) -> Stamps:
    """Return size, time and number of every file and folder of the world."""
    found: Stamps = {}
    left = [os.fsencode(place)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                state = entry.stat(follow_symlinks=False)
                folder = entry.is_dir(follow_symlinks=False)
                found[entry.path] = (-1,) if folder else (state.st_size, state.st_mtime_ns, state.st_ino)
                if folder:
                    left.append(entry.path)
    return found


def changed(before: Stamps, after: Stamps) -> list[bytes]:
    """Return what was made, removed or written."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def disturbed(place: Path, dice: random.Random) -> str:
    """Change something in the world, as editors, disks and other programs do; returns what."""
    files = [path for part in ("in", "here") for path in sorted((place / part).rglob("*")) if path.is_file()]
    records = [path for path in files if path.name == "record.json"]
    texts = [path for path in files if path.suffix in (".json", ".jsonl", ".toml", ".csv") and path not in records]
    path = dice.choice(dice.choice([part for part in (files, records, texts) if part]))
    how = dice.choice(("bytes", "json", "json", "sealed", "remove", "odd", "empty", "link", "folder"))
    try:
        if how == "bytes":
            path.write_bytes(mutated(path.read_bytes(), dice))
        elif how in ("json", "sealed") and path.suffix == ".json":
            whole = json.loads(unsealed(path.read_bytes()))
            change = edited(
                whole, [[dice.randrange(2000), dice.choice(("replace", "remove", "add", "twice")), dice.choice(JUNK)]]
            )
            text = json.dumps(change, separators=(",", ":"))
            path.write_text(sealed(text) if how == "sealed" and isinstance(change, dict) else text)
        elif how == "remove":
            path.unlink()
        elif how == "odd":
            folder = dice.choice(
                [place / "in" / "photos", place / "in" / "many", place / "here" / "runs", place / "here"]
            )
            name = os.fsencode(folder) + b"/" + os.fsencode(dice.choice(ODD))
            os.makedirs(os.path.dirname(name), exist_ok=True)  # noqa: PTH103, PTH120  # bytes
            shutil.copyfile(path, name)
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "link":
            target = dice.choice([path.parent, place / "nowhere", dice.choice(files), place / "bystanders" / "a.txt"])
            path.unlink()
            path.symlink_to(target)
        else:
            whole = dice.random() < 0.2 and path.parent.parent != place  # the folder that a call stands in remains
            shutil.rmtree(path.parent) if whole else (path.unlink(), path.mkdir())
    except (OSError, ValueError):
        return "nothing"
    return how

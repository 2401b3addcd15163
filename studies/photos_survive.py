"""Which protection of photographs reaches a learner: protectors × the size it trains at × what uploads do.

Photographs are images of a data set, enlarged (bicubic) to ``--native`` pixels, so that classes are known; they are
protected and verified by the commands themselves. Finished cells are kept under ``--work``, and what was found in
``--runs``.
Run: ``python studies/photos_survive.py --data cifar10.npz``.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from PIL import Image

from howfar.data import balanced
from howfar.data.npz import npz
from howfar.report.numbers import plus_minus
from howfar.score import from_json, ssim_text
from howfar.spec.syntax import split_list
from howfar.store import Record, Store, open_store
from howfar.store.clock import circumstances

STEP = "photos"  # of its records
WAYS = ("as-is", "jpeg-75", "halved", "screenshot")
PROTECTORS = "random,random[granularity=class],lsp,em:class,carriers[cell=2,mirrored=true]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("cifar10.npz"), help="images with classes, as .npz")
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--native", type=int, default=256, help="side of the photographs")
    parser.add_argument("--protectors", default=PROTECTORS)
    parser.add_argument("--strength", default="mid")
    parser.add_argument("--format", default="png")
    parser.add_argument("--side", default="64", help="of the small versions that noise is crafted on, e.g. 64,224")
    parser.add_argument("--sizes", default="32,64", help="that learners train at")
    parser.add_argument("--ways", default=",".join(WAYS), help="of uploading, at the first size")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--work", type=Path, default=Path("survive"))
    parser.add_argument("--runs", type=Path, default=Path("runs/photos"))
    parser.add_argument("--finished", action="store_true", help="show what the records hold, and try nothing")
    options = parser.parse_args()
    store = open_store(options.runs, reading=options.finished)
    if not options.finished:
        photos = options.work / f"photos-{options.data.stem}-{options.photos}-{options.native}"
        if not photos.exists():
            photographed(options.data, options.photos, options.native, photos)
        for protector in split_list(options.protectors):
            for number, size in enumerate(options.sizes.split(",")):
                tried(photos, protector, size, options.ways if number == 0 else WAYS[0], options, store)
    show([{**record.spec, **record.result} for record in sorted(store.records(STEP), key=_place)])


def _place(record: Record) -> list[str]:
    return [str(record.spec[name]) for name in ("photos", "protector", "side", "strength", "format", "size")]


def photographed(source: Path, count: int, side: int, folder: Path) -> None:
    """Write enlarged images, one subfolder a class."""
    data = balanced(npz(source).train, count, target="label")
    new = folder.with_suffix(".tmp")
    for place, (pixels, label) in enumerate(zip(data.pixels, data.targets["label"].tolist(), strict=True)):
        path = new / f"class-{label}" / f"{place:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        image.resize((side, side), Image.Resampling.BICUBIC).save(path, compress_level=1)
    new.rename(folder)


def tried(photos: Path, protector: str, size: str, ways: str, options: argparse.Namespace, store: Store) -> None:
    """Protect the photographs, verify the protection at one size, and keep what was found."""
    name = "".join(
        letter if letter.isalnum() else "-"
        for letter in f"{protector} {options.side} {options.strength} {options.format}"
    )
    spec = {
        "photos": photos.name, "protector": protector, "strength": options.strength, "format": options.format,
        "side": options.side, "size": int(size),
    }  # fmt: skip
    key = store.key(STEP, spec)
    if store.done(STEP, key):
        return
    out = options.work / name
    how = ("--strength", options.strength, "--format", options.format, "--side", options.side)
    howfar("protect", photos, "-o", out, "-p", protector, *how)
    seen = json.loads((out / "manifest.json").read_text())
    told = howfar(
        "verify", photos, out, "--size", size, "--ways", ways, "--defenses", "none", "--tasks", "", "--shares", "",
        "--seeds", options.seeds, "--runs", options.work / f"runs-{size}", "--json",
    )  # fmt: skip
    found = {**{kind: seen[kind] for kind in ("linf", "psnr", "ssim")}, "losses": json.loads(told)["losses"]}
    store.save(Record(STEP, key, spec, "done", found, circumstances()))
    print(*spec.values(), file=sys.stderr, flush=True)


def howfar(*words: object) -> str:
    """Run a command; returns what it prints."""
    command = [sys.executable, "-m", "howfar", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def show(rows: list[dict[str, Any]]) -> None:
    """Print drops in points, with half of their 95 % intervals."""
    columns = ("photographs", "protector", "side, strength, file", "learner's size", "SSIM", "clean", *WAYS)
    print(f"| {' | '.join(columns)} |\n|{' - |' * len(columns)}")
    for row in rows:
        losses = {loss["way"]: loss for loss in row["losses"]}
        drops = [drop(losses.get(way)) for way in WAYS]
        clean = f"{100 * np.mean([loss['clean'] for loss in losses.values()]):.0f} %"
        made = f"{row['side']}, {row['strength']}, {row['format']}"
        head = (row["photos"], row["protector"], made, row["size"], ssim_text(row["ssim"]))
        print(f"| {' | '.join(map(str, (*head, clean, *drops)))} |")


def drop(loss: dict[str, Any] | None) -> str:
    """Return a drop as a person reads it."""
    return "–" if loss is None else plus_minus(from_json(loss, loss["seeds"], "t"), ".1f", 100)


if __name__ == "__main__":
    main()

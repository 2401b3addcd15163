"""What protectors crafted against segments take from every task, under every defense: docs/cross-task-protector.md.

All lines are variants of the suite ``crosstask``, whose own cells are the line ``tasks`` of ``alignment_judgment.py``.
Finished victims stay in the store, so that the script goes on where it stopped.
Run: ``python studies/across_tasks.py --runs DIR [--lines defended,large] [--seeds 0-2]``. The line ``roads`` also needs
``--camvid FILE``.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from drawn import run

from howfar import engine
from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite
from howfar.store import Store

SEGMENTS, SCENE = "segment_semantic", "class_scene"
KNOWN = "joint:class_scene+segment_semantic+depth_euclidean"
UNSEEN = "rooms[size=32,train=2000,test=400,seed=2]"  # held-out rooms, of another seed than the suite's
LARGE = "rooms[size=64,train=2000,test=400,seed=2]"
CAMVID = "camvid:{data}[height=32,width=48]"
OWN = tuple(f"{name}@{SEGMENTS}" for name in ("stripes", "woven", "layered"))
BARE: dict[str, Any] = {"tasks": (SCENE, SEGMENTS), "probe_images": 0, "alignment_images": 0}

LINES: dict[str, dict[str, Any]] = {
    "best": {  # what these tasks allow: four times the images, twice the width and epochs
        "dataset": "rooms[size=32,train=8000,test=400]",
        "protectors": ("clean",),
        "models": ("airbench:64-128-256",),
        "dense_models": ("unet:48-96-192",),
        "train": {"airbench": {"epochs": 20}, "unet": {"epochs": 16}},
        "probe_images": 0,
        "alignment_images": 0,
    },
    "choices": {
        **BARE,
        "protectors": (
            *(f"{name}@{SEGMENTS}" for name in ("waves", "woven", "stripes[eps=2/255]", "stripes[eps=4/255]")),
            f"carriers[tile=2]@{SEGMENTS}", f"carriers@{SCENE}", "taught-carriers",
            *(f"{name}@{KNOWN}" for name in ("carriers[sharing=sum]", "em[rounds=10]", "mtl-ue")),
        ),
    },
    "defended": {
        **BARE,
        "dataset": UNSEEN,
        "protectors": OWN,
        "defenses": ("none", "bdr", "bdr[rounding=true]", "jpeg", "resize", "adaptive"),
        "held_out": 200,
    },
    "large": {
        **BARE,
        "dataset": LARGE,
        "protectors": (*OWN, f"em@{SCENE}"),
        "defenses": ("none", "bdr[rounding=true]", "jpeg"),
    },
    "joint": {
        **BARE,
        "tasks": (KNOWN,),
        "protectors": ("random", "ops", "lsp", "em:class", "cuda", f"stripes@{SEGMENTS}", f"layered@{SEGMENTS}"),
    },
    "roads": {
        **BARE,
        "dataset": CAMVID,
        "tasks": (SEGMENTS, "edge_texture", "colorization"),
        "source_tasks": (SEGMENTS,),
        "protectors": ("random", "random:class", "lsp", "em[rounds=10]", "stripes", "layered", "taught-stripes"),
        "train": {"unet": {"epochs": 40, "batch_size": 32}},
    },
}  # fmt: skip


def experiments(line: str, seeds: str, camvid: Path | None = None) -> Iterator[Experiment]:
    """Yield the cells of a line, seed by seed, so that all rows grow together; none of CamVid without its file."""
    over = dict(LINES[line])
    if "camvid" in over.get("dataset", ""):
        if camvid is None:
            return
        over["dataset"] = over["dataset"].format(data=camvid)
    yield from sorted(make_suite("crosstask", over, {"seeds": seeds}).experiments(), key=lambda one: one.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--lines", default=",".join(LINES))
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--camvid", type=Path, help="CamVid as .npz")
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    for line in options.lines.split(","):
        found = list(experiments(line, options.seeds, options.camvid))
        run(found, Store(options.runs), device=engine.choose_device("auto"), workers=options.workers)


if __name__ == "__main__":
    main()

"""Every protector against an undefended victim: accuracy, drop, UD, budget and cost in one table.

Cells are kept in ``--runs``: an interrupted run goes on where it stopped, and from finished records the table is drawn
again. Published accuracies (ResNet-18, whole CIFAR-10) are listed as well: compare the order, not the values.
Run: ``python studies/protectors.py --data FILE.npz``.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from drawn import code, page_of, run, study, table
from scipy.stats import spearmanr

from howfar import engine
from howfar.grid.overrides import make_suite
from howfar.report.numbers import plus_minus, ranged
from howfar.score import psnr_text, ssim_text
from howfar.store import Record, Store
from howfar.tables import CLEAN, collect
from howfar.tables.leaderboard import Row
from howfar.tables.page import Page
from howfar.tables.published import CIFAR10

NAMES = (
    "random", "random:class", "lsp", "ar", "ops", "ops[after=em]", "cuda", "pil", "ntga", "tap", "aap", "sep",
    "sep:features", "hypo", "delusive", "delusive:p1", "delusive:p2", "delusive:p4", "delusive:p5", "entf", "em",
    "em:class", "rem", "sem", "aue", "mi-ue", "pue", "tue", "dc", "gue", "cp", "cp:class", "uc",
)  # fmt: skip
# Accuracy in % of an undefended ResNet-18 on CIFAR-10, see ``howfar.tables.published``; None where none is public.
PUBLISHED: dict[str, float | None] = {name: 100 * CIFAR10[name] if name in CIFAR10 else None for name in NAMES}
SMALL = "resnet8[width=8]"
OTHERS = ("vit-small[width=64,depth=4,heads=4]", "mobilenetv2[width=8]", "densenet121[growth=4]")
CHANCE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--runs", type=Path, default=Path("runs/protectors"))
    parser.add_argument("--protectors", default=",".join(PUBLISHED))
    parser.add_argument("--models", default=SMALL)
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--epochs", default="20")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--lr", default="0.05")
    parser.add_argument("--train", default="2000", help="training images; 'all' takes all")
    parser.add_argument("--probe", type=int, default=64, help="images for SAL and UD; 0 leaves both out")
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    flags = {
        "dataset": "cifar10", "data_root": options.data, "protectors": options.protectors, "models": options.models,
        "defenses": "none", "seeds": options.seeds, "limit_train": options.train, "probe_images": options.probe,
        "train": {"epochs": options.epochs, "optimizer": options.optimizer, "lr": options.lr},
    }  # fmt: skip
    experiments = make_suite("standard", flags).experiments()
    store, device = Store(options.runs), engine.choose_device("auto")
    run(experiments, store, device=device, workers=options.workers)
    page = collect(store, [e.steps()[1].key for e in experiments])
    print(f"{options.models}, {page.groups[0].train_images} images, torch {torch.__version__}, {device}\n")
    print(effect(page))
    cost = {entry.protector: entry.seconds.value for entry in page.protected}
    print(table(["protector", "milliseconds an image"], [[n, f"{1000 * cost[n]:.1f}"] for n in sorted(cost)]))
    ours, theirs = zip(*published(page), strict=True)
    print(f"Spearman of our order with the published one over {len(ours)} rows: {spearmanr(ours, theirs)[0]:.2f}")


def tables() -> dict[str, str]:
    """Return the tables of docs/protectors.md, from the records of the study."""
    store = study("protectors")
    known = {record.spec["protector"]["label"] for record in study("standard").records("victim")}
    short = page_of(
        store,
        lambda record: (
            _setup(record) == (SMALL, 20, 2000) and record.spec["protector"]["label"] not in known - {CLEAN, "random"}
        ),
    )
    pages = {name: page_of(store, lambda record, name=name: _setup(record)[0] == name) for name in OTHERS}  # type: ignore[misc]
    return {
        "protectors: 2,000 images": effect(short),
        "protectors: transfer": transfer(pages),
    }


def _setup(record: Record) -> tuple[str, int, int]:
    return record.spec["model"]["label"], record.spec["recipe"]["epochs"], record.result["train_images"]


def published(page: Page) -> list[tuple[float, float]]:
    """Return pairs of our accuracy and the published one, in %."""
    found = ((100 * row.poisoned, PUBLISHED.get(row.protector)) for row in page.rows)
    return [(ours, theirs) for ours, theirs in found if theirs is not None]


def effect(page: Page) -> str:
    """Return accuracy, drop, UD and what is to be seen of every protector."""
    rows = sorted(page.rows, key=lambda row: (row.model, row.poisoned, row.protector))
    seen = any(row.ssim is not None for row in rows)  # records of older versions hold another SSIM
    columns = ["protector", "poisoned, %", "drop, points", "half", "UD", "L∞", "L2", "PSNR", "SSIM", "published, %"]
    lines = [
        [
            code(row.protector), f"{100 * row.poisoned:.1f}", _drop(row), _halved(row),
            ranged(row.ud.mean if row.ud else None),
            f"{row.linf}", f"{row.l2:.2f}", psnr_text(row.psnr, row.linf), ssim_text(row.ssim),
            "–" if (known := PUBLISHED.get(row.protector)) is None else f"{known:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    kept = [number for number, name in enumerate(columns) if seen or name != "SSIM"]
    return table([columns[number] for number in kept], [[line[number] for number in kept] for line in lines])


def transfer(pages: Mapping[str, Page]) -> str:
    """Return what protected sets do to networks that they were not crafted on."""
    found = {(name, row.protector): row for name, page in pages.items() for row in page.rows}
    protectors = sorted({label for _, label in found}, key=lambda label: found[next(iter(pages)), label].poisoned)
    lines = [["clean", *(cell for name in pages for cell in (f"{100 * found[name, CLEAN].clean:.1f}", ""))]]
    for label in protectors:
        rows = [found[name, label] for name in pages]
        cells = (
            (f"{100 * row.poisoned:.1f}", f"**{_drop(row)}**" if _halved(row) == "yes" else _drop(row)) for row in rows
        )
        lines += [[code(label), *(cell for pair in cells for cell in pair)]] if label != CLEAN else []
    columns = (column for name in pages for column in (name.partition("[")[0], "drop"))
    return table(["protector", *columns], lines)


def _drop(row: Row) -> str:
    return plus_minus(row.drop, ".1f", 100)


def _halved(row: Row) -> str:
    """Return whether at least half of what there was to lose is lost."""
    if row.protector == CLEAN:
        return "–"
    return "yes" if row.drop.value >= (row.clean - CHANCE) / 2 else "no"


if __name__ == "__main__":
    main()

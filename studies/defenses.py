"""Every defense against every protector: quality, price, worst case, APBench's numbers, cheapest ensemble.

Cells are kept in ``--runs``: an interrupted run goes on where it stopped; finished records give the tables
again in seconds. ``howfar bench --suite cifar10-core`` is the same matrix at the published size, for a GPU.
Run: ``python studies/defenses.py --data FILE.npz``.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from drawn import code, run, study, table
from scipy.stats import spearmanr

from howfar import engine
from howfar.defend import DEFENSES
from howfar.grid.overrides import make_suite
from howfar.grid.runnable import check_data
from howfar.report.numbers import plus_minus
from howfar.report.profile import lines as ranking
from howfar.score.intervals import mean_estimate
from howfar.score.worst_case import BASELINES
from howfar.store import Record, open_store
from howfar.tables import CLEAN, collect
from howfar.tables.names import Names
from howfar.tables.page import Page
from howfar.tables.profiles import Profile

PROTECTORS = "random,em,sem,tap,lsp[eps=8/255],ar,ops,cuda"  # LSP in the size of the others, as in all suites
# APBench's leaderboard of June 2023: accuracy in % of a ResNet-18 on CIFAR-10. Its UEraser is the one with the maximum
# all through; its Gaussian blur is numerically the identity and left out.
COLUMNS = ("none", "cutout", "cutmix", "mixup", "bdr", "gray", "jpeg", "ueraser", "at")
PUBLISHED: dict[str, tuple[float, ...]] = {
    "em": (20.78, 18.79, 22.28, 31.14, 37.94, 92.03, 80.72, 93.61, 82.51),
    "rem": (17.47, 21.96, 26.22, 43.07, 58.60, 92.27, 85.44, 92.43, 77.46),
    "tap": (6.27, 9.88, 14.21, 15.46, 70.75, 11.01, 84.08, 79.05, 79.92),
    "lsp": (13.06, 14.96, 17.69, 18.77, 53.86, 64.70, 80.14, 92.83, 81.38),
    "ar": (11.74, 10.95, 12.60, 14.15, 36.14, 35.17, 84.75, 90.12, 81.15),
    "ops": (14.69, 52.98, 64.72, 49.27, 37.32, 19.88, 78.48, 77.99, 14.95),
}
NEEDS_OTHERS = (
    "diffusion-purify",
    "fine-tune",
    "transfer",
    "mix",
)  # a checkpoint, other data, another task, no defense
NOTES = {"fine-tune": "fine-tune (from CIFAR-100 images)", "clean-only": "clean-only (500 clean images alone)"}
MARGIN = 0.02  # an ensemble may stay that far below the best of all defenses
MOST = 7  # members of an ensemble


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--pretrain", default="cifar100", help="data set that fine-tune learns first; '' leaves it out")
    parser.add_argument("--runs", type=Path, default=Path("runs/defenses"))
    parser.add_argument("--protectors", default=PROTECTORS)
    parser.add_argument("--defenses", default="", help="default: all")
    parser.add_argument("--model", default="resnet8[width=8]")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--epochs", default="8")
    parser.add_argument("--train", default="8000", help="training images; 'all' takes all")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--finished", action="store_true", help="show what the records hold, and run nothing")
    options = parser.parse_args()
    every = [name for name in DEFENSES if name not in NEEDS_OTHERS]
    every += [f"fine-tune[data={options.pretrain}]"] if options.pretrain else []
    flags = {
        "dataset": "cifar10", "data_root": options.data, "protectors": options.protectors, "models": options.model,
        "defenses": options.defenses or ",".join(every), "seeds": options.seeds, "limit_train": options.train,
        "limit_test": 2000, "held_out": 1000, "probe_images": 0,
        "train": {
            "epochs": options.epochs, "batch_size": 64, "optimizer": "adam", "lr": 0.005, "crop": 0, "flip": False,
            "precision": "float32",  # so that cells from a GPU are comparable with cells from a CPU
        },
    }  # fmt: skip
    experiments = make_suite("standard", flags).experiments()
    check_data(experiments)
    store, device = open_store(options.runs, reading=options.finished), engine.choose_device("auto")
    if not options.finished:
        run(experiments, store, device=device, workers=options.workers)
    keys = [e.steps()[1].key for e in experiments]
    page = collect(store, keys)
    (profile,) = page.profiles
    records = [record for record in store.records("victim") if record.key in set(keys) and record.status == "done"]
    seeds = page.groups[0].seeds
    print(
        f"{options.model}, {page.groups[0].train_images} images, {options.epochs} epochs, seeds {seeds}, "
        f"torch {torch.__version__}, {device}"
    )
    for text in (matrix(profile, records), worst(profile), with_published(profile)):
        print(text)
    show_ensemble(profile, relative_seconds(page))


def tables() -> dict[str, str]:
    """Return the tables of docs/defenses.md, from the records of the study."""
    store = study("defenses")
    (profile,) = collect(store, brief=True).profiles
    return {
        "defenses: matrix": matrix(profile, store.records("victim")),
        "defenses: worst case": worst(profile),
        "defenses: APBench": with_published(profile),
    }


def matrix(profile: Profile, records: Sequence[Record]) -> str:
    """Return quality in %, mean over seeds ± half of its 95 % interval; the best of every column in bold."""
    found: dict[tuple[str, str], list[float]] = {}
    labels = Names(records)
    for record in records:
        cell = labels.row(record.spec), labels.tables(record.spec)["defense"]
        found.setdefault(cell, []).append(record.result["quality"])
    names = [CLEAN, *(name for name in profile.quality if name != CLEAN)]
    rivals = [defense for defense in profile.defenses if defense not in BASELINES]
    best = {name: max(rivals, key=lambda one: profile.quality[name].get(one, 0.0)) for name in names}
    lines = []
    for defense in profile.defenses:
        cells = [_mean(found[name, defense]) if (name, defense) in found else "–" for name in names]
        bold = [f"**{cell}**" if best[name] == defense else cell for name, cell in zip(names, cells, strict=True)]
        lines.append([NOTES.get(defense.partition(":")[0], defense), *bold])
    return table(["defense", "clean (its price)", *map(code, names[1:])], lines)


def _mean(values: Sequence[float]) -> str:
    return plus_minus(mean_estimate(values), ".1f", 100)


def worst(profile: Profile) -> str:
    """Return the ranking by protection kept."""
    lines = [[code(name), kept, gets, by] for name, kept, gets, by, *_ in ranking(profile) if name != CLEAN]
    return table(["protector", "protection kept", "the learner gets, in %", "by"], lines)


def with_published(profile: Profile) -> str:
    """Return our numbers above APBench's, and the rank correlation of the order of defenses."""
    lines = []
    for name, row in profile.quality.items():
        published = PUBLISHED.get(name.partition("[")[0].replace("sem", "rem"))
        if published is None or not set(COLUMNS) <= set(row):
            continue
        ours = [100 * row[defense] for defense in COLUMNS]
        rank = float(spearmanr(ours, published)[0])
        lines.append([code(name), "howfar", *(f"{value:.1f}" for value in ours), f"{rank:.2f}"])
        lines.append(["", "APBench", *(f"{value:.1f}" for value in published), ""])
    return table(["protector", "whose", *COLUMNS, "Spearman"], lines)


def relative_seconds(page: Page) -> dict[str, float]:
    """Return the wall time of a victim under each defense, in victims without defense."""
    seconds = {group.defense: float(np.mean([series.seconds for series in group.series])) for group in page.groups}
    return {name: value / seconds["none"] for name, value in seconds.items()}


def show_ensemble(profile: Profile, cost: Mapping[str, float]) -> None:
    """Print the cheapest defenses that stay within two points of the best of all, for every protector."""
    quality = {
        name: {defense: value for defense, value in row.items() if defense not in BASELINES}
        for name, row in profile.quality.items()
    }
    others = [name for name in profile.defenses if name not in ("none", *BASELINES) and name in cost]
    best = {name: max(row.values()) for name, row in quality.items()}
    enough = [
        {defense for defense, value in row.items() if value >= best[name] - MARGIN} for name, row in quality.items()
    ]
    sets = (("none", *chosen) for size in range(MOST) for chosen in combinations(others, size))
    reaching = [chosen for chosen in sets if all(good.intersection(chosen) for good in enough)]
    if not reaching:
        print(f"\nno {MOST} defenses stay within {100 * MARGIN:.0f} points of the best of all for every protector")
        return
    cheapest = min(reaching, key=lambda chosen: sum(cost[name] for name in chosen))
    gaps = {name: best[name] - max(row[d] for d in cheapest if d in row) for name, row in quality.items()}
    whole = sum(cost[name] for name in ("none", *others))
    total = sum(cost[name] for name in cheapest)
    print(f"\ncheapest ensemble within {100 * MARGIN:.0f} points of the best of all: {', '.join(cheapest)}")
    print(f"largest gap {100 * max(gaps.values()):.1f} points ({max(gaps, key=lambda name: gaps[name])})")
    print(f"costs {total:.1f} trainings without defense; all {len(others) + 1} defenses {whole:.1f}")


if __name__ == "__main__":
    main()

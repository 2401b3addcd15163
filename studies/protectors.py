"""Every protector against an undefended victim: accuracy, drop, UD, budget and cost in one table.

Cells are kept in ``--runs``: an interrupted run goes on where it stopped, and from finished records the table is drawn
again in seconds. Published accuracies (ResNet-18, whole CIFAR-10) stand beside: compare the order, not the values.
Run: ``python studies/protectors.py --data FILE.npz``.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from scipy.stats import spearmanr

from howfar import engine
from howfar.report import Row
from howfar.report.numbers import ends, half
from howfar.results import collect
from howfar.score import psnr_text, ssim_text
from howfar.store import Store
from howfar.suite import make_suite

# Accuracy in % of an undefended ResNet-18 on CIFAR-10 (APBench's leaderboard of June 2023; ISS for SEP; the authors'
# releases for PIL and Delusive); None where no such number is public.
PUBLISHED: dict[str, float | None] = {
    "random": None, "random:class": None, "lsp": 13.06, "ar": 11.74, "ops": 14.69, "ops[after=em]": None, "cuda": None,
    "pil": 12.77, "ntga": 22.76, "tap": 6.27, "aap": None, "sep": 3.85, "sep:features": None, "hypo": 70.38,
    "delusive": 15.14, "delusive:p1": 37.87, "delusive:p2": 74.24, "delusive:p4": 23.69, "delusive:p5": 11.76,
    "entf": None, "em": 20.78, "em:class": None, "rem": 17.47, "sem": None, "aue": None, "mi-ue": None, "pue": None,
    "tue": None, "dc": 15.19, "gue": None, "cp": None, "cp:class": None, "uc": None,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as .npz")
    parser.add_argument("--runs", type=Path, default=Path("runs/protectors"))
    parser.add_argument("--protectors", default=",".join(PUBLISHED))
    parser.add_argument("--models", default="resnet8[width=8]")
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
    workers = engine.choose_workers(options.workers, device)
    for event in engine.run(experiments, store, workers=workers, device=device):
        if event.status in ("done", "failed"):
            print(f"{event.status}: {event.step} {event.seconds:.0f} s {event.note}", file=sys.stderr, flush=True)
    page = collect(store, [e.steps()[1].key for e in experiments])
    cost = {entry.protector: entry.seconds_per_image for entry in page.protected}
    print(f"{options.models}, {page.groups[0].train_images} images, torch {torch.__version__}, {device}")
    for row in sorted(page.rows, key=lambda row: (row.model, row.poisoned)):
        show(row, cost.get(row.protector, 0.0), PUBLISHED.get(row.protector))
    both = [(row.poisoned, known) for row in page.rows if (known := PUBLISHED.get(row.protector)) is not None]
    rank = float(spearmanr([ours for ours, _ in both], [theirs for _, theirs in both])[0])
    print(f"Spearman of our order with the published one over {len(both)} rows: {rank:.2f}")


def show(row: Row, seconds: float, known: float | None) -> None:
    """Print a line of the table."""
    halved = row.clean - row.poisoned >= (row.clean - 0.1) / 2
    reach = half(row.drop_low, row.drop_high, ".1f", 100)
    ud = "–" if row.ud is None else f"{row.ud:.2f}{ends(row.ud_low, row.ud_high)}"
    published = "–" if known is None else f"{known:.1f}"
    print(
        f"| {row.protector} | {row.model} | {100 * row.clean:.1f} | {100 * row.poisoned:.1f} | "
        f"{100 * row.drop:.1f}{reach} | {'yes' if halved else 'no'} | {ud} | {row.linf} | {row.l2:.2f} | "
        f"{psnr_text(row.psnr, row.linf)} | {ssim_text(row.ssim)} | {1000 * seconds:.1f} | {published} |"
    )


if __name__ == "__main__":
    main()

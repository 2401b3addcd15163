"""Do protected images lower the SAL of the layers, and does what SAL does go along with what is lost?

Reads finished victims, trains nothing. SAL of the victim of protected images ÷ SAL of the clean victim of the same
seed, geometric mean over layers and epochs; each on the images that it learns from.
Run: ``python studies/sal_lowered.py``.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from drawn import code, study, table

from howfar.probe import Sharpness
from howfar.report.numbers import ranged
from howfar.score import rank_correlation
from howfar.score.intervals import mean_estimate
from howfar.store import Record, Store, open_store
from howfar.tables.distances import readings_of
from howfar.tables.groups import drops_of, grouped
from howfar.tables.names import CLEAN

FLOOR = 1e-6  # nats; smaller SALs count as this


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("results/standard.jsonl.xz"))
    parser.add_argument("--model", default="airbench")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    store = open_store(options.runs, reading=True)
    text, rank = lowered(store, options.model, options.epochs)
    print(f"{text}\nSpearman of SAL ÷ clean with the drop over protectors: {rank}")


def tables() -> dict[str, str]:
    """Return the table of docs/paper.md."""
    return {"paper: SAL lowered": lowered(study("standard"))[0]}


def lowered(store: Store, model: str = "airbench", epochs: int = 4) -> tuple[str, str]:
    """Return what every protector does to SAL, and how that goes along with the drop."""
    victims = [
        record
        for record in store.records("victim")
        if record.status == "done"
        and record.spec["model"]["label"] == model
        and record.spec["recipe"]["epochs"] == epochs
        and record.result["epochs"][0]["sharpness"]
    ]
    (cells,) = grouped(victims)
    clean = cells.runs.pop(CLEAN)
    lines, logs, drops = [], [], []
    for label, runs in cells.runs.items():
        seeds = sorted(set(runs) & set(clean))
        pairs = [(clean[seed], runs[seed]) for seed in seeds]
        found = np.array([logarithms(first, second) for first, second in pairs])  # seeds, epochs, layers
        logs.append(found.mean((1, 2)).tolist())
        drops.append(drops_of([first for first, _ in pairs], [second for _, second in pairs]))
        last = found[:, -1].mean(1).tolist()
        lines.append((float(np.mean(logs[-1])), label, drops[-1], logs[-1], last, float((found < 0).mean())))
    rank = rank_correlation(*([[float(np.mean(row))] for row in rows] for rows in (logs, drops))).rank
    columns = [
        "protector",
        "drop, points",
        "SAL ÷ clean, all epochs",
        "last epoch",
        "layers and epochs with lower SAL, %",
    ]
    rows = [
        [code(label), f"{100 * np.mean(lost):.1f}", ratio(whole), ratio(last), f"{100 * lower:.0f}"]
        for _, label, lost, whole, last, lower in sorted(lines)
    ]
    return table(columns, rows), ranged(rank)


def ratio(logs: list[float]) -> str:
    """Return a geometric mean with its interval over seeds."""
    return ranged(mean_estimate(logs).mapped(math.exp, "log t"))


def logarithms(clean: Record, poisoned: Record) -> list[list[float]]:
    """Return the logarithm of the ratio of two victims' SAL, (epochs, layers)."""
    return [
        [_log(two[name]) - _log(one[name]) for name in one]
        for one, two in zip(readings_of(clean), readings_of(poisoned), strict=True)
    ]


def _log(reading: Sharpness) -> float:
    return float(np.log(max(reading.sal, FLOOR)))


if __name__ == "__main__":
    main()

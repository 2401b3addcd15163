"""Which definition of learning alignment ranks runs by their drop, beside its rivals: the choice of docs/alignment.md.

Every candidate gives one number a run. The table shows Spearman's rank correlation with the drop over all runs of a
store that holds the victims of one network and defense, clean ones among them.
Run: ``python studies/alignment.py --runs DIR``.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from howfar.results.cells import Cells, grouped, readings_of
from howfar.results.names import CLEAN
from howfar.score import CleanRuns
from howfar.store import Record, Store

COSINE, ERROR, UNBIASED, CLEAN_NORM, PROTECTED_NORM = range(5)  # places in a record
NETWORK = "network"
Epoch = Mapping[str, list[float | None]]
Weigh = Callable[[list[float | None]], float]


def mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def of_layers(place: int, weigh: Weigh = lambda _: 1.0) -> Callable[[Epoch], float]:
    """Return what takes the mean over layers, weighed."""

    def value(epoch: Epoch) -> float:
        found = [(one[place], weigh(one)) for name, one in epoch.items() if name != NETWORK]
        known = [(cosine, weight) for cosine, weight in found if cosine is not None]
        total = sum(weight for _, weight in known)
        return sum(cosine * weight for cosine, weight in known) / total if total else math.nan

    return value


def of_network(place: int) -> Callable[[Epoch], float]:
    """Return what takes all layers together."""
    return lambda epoch: math.nan if epoch[NETWORK][place] is None else float(epoch[NETWORK][place] or 0.0)


DEFINITIONS = {
    "layers": of_layers(COSINE),
    "layers, weighed by the clean gradient's norm": of_layers(COSINE, lambda one: one[CLEAN_NORM] or 0.0),
    "layers, unbiased": of_layers(UNBIASED),
    "network": of_network(COSINE),
    "network, unbiased": of_network(UNBIASED),
}


def scores(record: Record) -> dict[str, float]:
    """Return every candidate of a run."""
    epochs = [epoch["alignment"] for epoch in record.result["epochs"]]
    quarter = epochs[: max(len(epochs) // 4, 1)]
    found = {name: mean(map(value, epochs)) for name, value in DEFINITIONS.items()}
    return found | {f"{name}, first quarter": mean(map(value, quarter)) for name, value in DEFINITIONS.items()}


def rivals(cells: Cells, seed: int, record: Record) -> dict[str, float]:
    """Return what is to be beaten."""
    readings, clean = readings_of(record), readings_of(cells.runs[CLEAN][seed])
    losses = [epoch["loss"] for epoch in record.result["epochs"]]
    if not readings[0]:
        return {"training loss, last epoch": losses[-1]}
    sal = [sum(one.sal for one in layers.values()) for layers in readings]
    return {
        "UD": CleanRuns([clean]).distance([readings]).value,
        "SAL ÷ training loss": mean(a / b for a, b in zip(sal, losses, strict=True)),
        "training loss, last epoch": losses[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--save", type=Path, help="write what was found of every run as JSON")
    options = parser.parse_args()
    victims = [record for record in Store(options.runs).records("victim") if record.status == "done"]
    (cells,) = grouped(victims)
    rows, drops, found = list[dict[str, object]](), [], dict[str, list[float]]()
    by_protector: dict[str, list[tuple[float, float]]] = {}
    for label, runs in cells.runs.items():
        for seed, record in sorted(runs.items()):
            if label == CLEAN:
                continue
            drop = cells.runs[CLEAN][seed].result["quality"] - record.result["quality"]
            scored = scores(record) | rivals(cells, seed, record)
            rows.append(
                {
                    "protector": label,
                    "seed": seed,
                    "drop": round(drop, 5),
                    **{n: round(v, 4) for n, v in scored.items()},
                }
            )
            drops.append(drop)
            by_protector.setdefault(label, []).append((drop, scored["layers"]))
            for name, value in scored.items():
                found.setdefault(name, []).append(value)
    if options.save:
        options.save.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{len(drops)} runs, {len(by_protector)} protectors\n\n| candidate | Spearman with drop |\n|-|-:|")
    for name, values in sorted(found.items(), key=lambda item: -abs(spearmanr(item[1], drops).statistic)):
        print(f"| {name} | {spearmanr(values, drops).statistic:.2f} |")
    print("\n| protector | drop, points | alignment (layers) |\n|-|-:|-:|")
    for label, pairs in sorted(by_protector.items(), key=lambda item: -np.mean([drop for drop, _ in item[1]])):
        print(f"| {label} | {100 * np.mean([d for d, _ in pairs]):.1f} | {np.mean([v for _, v in pairs]):.2f} |")


if __name__ == "__main__":
    main()

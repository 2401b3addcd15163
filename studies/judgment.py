"""What the runs of the judgment in docs/alignment.md come to so far: ranking, families and early prediction.

Run: ``python studies/judgment.py --full STORE --small STORE``; a store is a folder or a file of ``howfar store pack``.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from alignment import rivals
from drawn import signs
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from howfar.score import learning_alignment
from howfar.store import Record, open_store
from howfar.tables.cells import Cells, cosines_of, drops_of, grouped
from howfar.tables.names import CLEAN

FAMILIES = {
    "error-minimizing": ("em", "em:class", "rem", "sem", "pue", "tue", "gue", "cp", "uc"),
    "error-maximizing": ("tap", "aap", "sep", "ntga", "delusive", "delusive:p4", "delusive:p5", "hypo", "entf"),
    "shortcuts": ("random:class", "ops", "lsp", "ar", "pil", "cuda", "stripes", "waves", "layered", "woven",
                  "carriers"),
    "generators": ("dc", "mi-ue", "aue"),
}  # fmt: skip
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Run:
    """One victim.

    Attributes:
        drop: against the clean victim of the same seed, in the metric's own units.
        quality: of the victim.
        scores: by name of the measure; ``alignment`` and its rivals, over the whole run.
        early: the same after the first quarter of the epochs, and what else is known by then.
    """

    drop: float
    quality: float
    scores: dict[str, float]
    early: dict[str, float]


def runs_of(cells: Cells) -> dict[str, list[Run]]:
    """Return the runs of every protector that share a seed with a clean one."""
    found = {}
    for label, (clean, protected) in cells.rows().items():
        if label != CLEAN:
            found[label] = [_run(before, after) for before, after in zip(clean, protected, strict=True)]
    return found


def _run(clean: Record, record: Record) -> Run:
    epochs, metric = record.result["epochs"], record.result["metric"]
    quarter, cosines = max(len(epochs) // 4, 1), cosines_of(record)
    before, after = ((one[quarter - 1].get("validation") or one[quarter - 1]["test"])[metric]
                     for one in (clean.result["epochs"], epochs))  # fmt: skip
    (drop,) = drops_of([clean], [record])
    return Run(
        drop,
        record.result["quality"],
        {"alignment": learning_alignment(cosines), **_rivals(clean, record, len(epochs))},
        {
            "alignment": learning_alignment(cosines[:quarter]),
            "clean validation accuracy": before - after,
            **_rivals(clean, record, quarter),
        },
    )


def _rivals(clean: Record, record: Record, epochs: int) -> dict[str, float]:
    """Return what else is known of the first epochs of a run."""
    loss = record.result["epochs"][epochs - 1].get("originals", {}).get("loss")
    return {"loss on the clean originals": math.nan if loss is None else loss, **rivals(clean, record, epochs)}


def rank(one: Sequence[float], other: Sequence[float]) -> float:
    known = [(a, b) for a, b in zip(one, other, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return float(spearmanr(*zip(*known, strict=True)).statistic) if len(known) > 2 else math.nan


def interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return 95 % of the rank correlation from a bootstrap over the pairs."""
    rng, pairs = np.random.default_rng(0), np.array([one, other]).T
    draws = [rank(*pairs[rng.integers(len(pairs), size=len(pairs))].T) for _ in range(DRAWS)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def measures(runs: dict[str, list[Run]]) -> list[str]:
    return list(next(iter(runs.values()))[0].scores)


def ranked(runs: dict[str, list[Run]]) -> dict[str, tuple[float, tuple[float, float]]]:
    """Return, by measure, the rank correlation of protectors' mean score with their mean drop."""
    drops = [float(np.mean([run.drop for run in one])) for one in runs.values()]
    found = {}
    for name in measures(runs):
        scores = [float(np.mean([run.scores[name] for run in one])) for one in runs.values()]
        found[name] = rank(scores, drops), interval(scores, drops)
    return found


def early_error(runs: Iterable[tuple[str, Run]], name: str) -> float:
    """Return the mean absolute error, in the metric's units, with which a measure of the first quarter tells the drop.

    A monotone function is fitted to all other protectors; the one that is left out is predicted.
    """
    pairs = [(label, run.early[name], run.drop) for label, run in runs if math.isfinite(run.early[name])]
    errors = []
    for label in {label for label, _, _ in pairs}:
        known = sorted((x, y) for other, x, y in pairs if other != label)
        x, y = np.array(known).T
        fits = (isotonic_regression(y, increasing=rising).x for rising in (True, False))
        best = min(fits, key=lambda fit: float(((fit - y) ** 2).sum()))
        errors += [abs(float(np.interp(value, x, best)) - drop) for one, value, drop in pairs if one == label]
    return float(np.mean(errors))


def table_of(store: Path, **wanted: str) -> list[Cells]:
    """Return the tables of a store whose names are as wanted: ``model``, ``defense``."""
    victims = [record for record in open_store(store, reading=True).records("victim") if record.status == "done"]
    return [one for one in grouped(victims) if all(one.labels[key] == value for key, value in wanted.items())]


def number(value: float) -> str:
    return signs(f"{value:.2f}")


def _ranking(title: str, runs: dict[str, list[Run]], wanted: float) -> None:
    print(f"\n{title}: {len(runs)} protectors, {sum(map(len, runs.values()))} runs")
    for name, (value, (low, high)) in ranked(runs).items():
        print(f"| {name} | {number(value)} (95 % CI {number(low)} to {number(high)}, n = {len(runs)}) |", wanted)


def show(found: list[Run]) -> str:
    """Return the mean of every measure over runs."""
    return " ".join(number(float(np.mean([run.scores[name] for run in found]))) for name in found[0].scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", type=Path, help="full-size victims")
    parser.add_argument("--small", type=Path, help="victims of studies/alignment_judgment.py")
    options = parser.parse_args()
    if options.full:
        (cells,) = table_of(options.full, defense="none")
        runs = runs_of(cells)
        for label, found in sorted(runs.items(), key=lambda item: -np.mean([run.drop for run in item[1]])):
            print(
                f"| {label} | {100 * np.mean([run.quality for run in found]):.1f} |",
                show(found),
                len(found),
            )
        _ranking("ranking", runs, 0.9)
        for family, names in FAMILIES.items():
            members = {label: found for label, found in runs.items() if label in names}
            if len(members) > 2:
                _ranking(family, members, 0.7)
        for name in next(iter(runs.values()))[0].early:
            pairs = [(label, run) for label, found in runs.items() for run in found]
            print(f"| {name}, first quarter | {100 * early_error(pairs, name):.1f} points |")
    if options.small:
        for cells in table_of(options.small):
            runs = runs_of(cells)
            if len(runs) > 3:
                _ranking(str(cells.labels), runs, 0.8)
            for label, found in runs.items():
                print(f"| {label} | {100 * np.mean([run.drop for run in found]):.1f} | {show(found)} |")


if __name__ == "__main__":
    main()

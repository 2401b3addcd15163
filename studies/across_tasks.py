"""A protector that holds across tasks: choices, ablations, judgement and frontier, a table each.

Choices are made on drawn rooms of one seed at 32×32, judgements on rooms of another seed at 64×64 and on CamVid. Cells
are kept in ``--runs``: an interrupted study goes on where it stopped, and studies share what they have in common.
Run: ``python studies/across_tasks.py sharing``; ``--finished --runs results/choices.jsonl.xz`` shows the records alone.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from across_studies import STUDIES
from drawn import run

from howfar import engine
from howfar.commands import terminal
from howfar.grid.runnable import check_data
from howfar.report.crosstask import as_markdown
from howfar.report.numbers import plus_minus
from howfar.score import Estimate, retention, ssim_text
from howfar.store import Record, open_store
from howfar.tables import collect
from howfar.tables.crosstask import matrices
from howfar.tables.distances import Distances
from howfar.tables.matrix import Matrix
from howfar.tables.names import CLEAN, Names
from howfar.tables.page import Protected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--runs", type=Path, default=Path("runs/choices"))
    parser.add_argument("--data", type=Path, default=Path("camvid_96x128.npz"), help="CamVid, for its study")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--finished", action="store_true", help="show what the records hold, and run nothing")
    options = parser.parse_args()
    experiments = STUDIES[options.study].experiments(options.data)
    store, device = open_store(options.runs, reading=options.finished), engine.choose_device("auto")
    if not options.finished:
        check_data(experiments)
        run(experiments, store, device=device, workers=options.workers)
    keys = {cell.steps()[1].key for cell in experiments}
    victims = [record for record in store.records("victim") if record.key in keys and record.status == "done"]
    found = matrices(victims, Distances(store.index), brief=True, least=1)
    print(f"torch {torch.__version__}, {device}\n\n{as_markdown(found)}")
    if len({matrix.defense for matrix in found}) > 1:
        show(worst_cases(found, by_seed(victims)))
    show(prices(collect(store, list(keys), brief=True).protected))


def show(lines: Iterable[Sequence[str]]) -> None:
    columns, *rows = lines
    print(terminal.markdown(columns, rows))


def prices(protected: Sequence[Protected]) -> Iterator[Sequence[str]]:
    """Yield a table of what is to be seen of every protector, and what an image costs."""
    yield "protector", "L∞ in 1/255", "L2", "PSNR in dB", "SSIM", "milliseconds an image"
    for one in sorted(protected, key=lambda one: one.seconds.value):
        seen = one.visibility
        if seen["linf"]:
            numbers = f"{seen['linf']}", f"{seen['l2']:.2f}", f"{seen['psnr']:.1f}", ssim_text(seen["ssim"])
            yield one.protector, *numbers, f"{1000 * one.seconds.value:.1f}"


def by_seed(victims: Sequence[Record]) -> dict[tuple[str, str, str], dict[int, float]]:
    """Return qualities of single tasks, seed by seed, by defense, row and task."""
    names = Names(victims)
    found: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for record in victims:
        tables = names.tables(record.spec)
        found[tables["defense"], names.crafted_for(record.spec), tables["task"]][record.spec["seed"]] = record.result[
            "quality"
        ]
    return found


def worst_cases(
    found: Sequence[Matrix], qualities: Mapping[tuple[str, str, str], Mapping[int, float]]
) -> Iterator[list[str]]:
    """Yield a table of what is retained under every defense, in percent of what it leaves of clean images, ± 95 %.

    The last column is the share of the undefended drop that is kept if the learner takes the defense that serves it
    best on the test images, and which that is. Drops are from clean images without a defense, so what a defense costs
    is the learner's loss; what lies below chance counts as chance.
    """
    plain = next(matrix for matrix in found if matrix.defense == "none")
    tried = [plain, *(m for m in found if m is not plain and m.model == plain.model)]
    yield ["protector", "task", *(matrix.defense for matrix in tried), "kept at worst"]
    for label, row in plain.results.items():
        for column in (column for column in plain.columns if column.name in row):
            cells = {m.defense: m.results.get(label, {}).get(column.name) for m in tried}
            sign = 1 if column.higher_is_better else -1
            got = {n: sign * c.protected for n, c in cells.items() if c}
            worst, floor = max(got, key=lambda name: got[name]), max(got["none"], sign * column.chance)
            best, clean = qualities[worst, label, column.name], qualities["none", CLEAN, column.name]
            seeds = sorted(set(best) & set(clean))
            pairs = [[sign * values[seed] for seed in seeds] for values in (clean, best)]
            small = np.mean(pairs[0]) - floor <= 0.1 * abs(row[column.name].clean - column.chance)
            kept = "–" if small else f"{lost(retention(*pairs, chance=floor))} ({worst})"
            yield [label, column.name, *(retained(cell.retention) if cell else "–" for cell in cells.values()), kept]


def lost(kept: Estimate) -> str:
    """Return what is not retained; below chance is all of it."""
    return "100" if kept.value < 0 else retained(kept.mapped(lambda share: 1 - share))


def retained(kept: Estimate) -> str:
    """Return what is retained, in percent; there is no interval where clean images are not told apart from chance."""
    if kept.ends is None and kept.n > 1:
        return f"{100 * kept.value:.0f}, no interval"
    return plus_minus(kept, ".0f", 100)


if __name__ == "__main__":
    main()

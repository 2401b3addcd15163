"""Which definition of learning alignment ranks runs by their drop, and its rivals: the choice of docs/alignment.md.

Every candidate gives one number a run. The table shows Spearman's rank correlation with the drop over all runs of a
store that holds the victims of one network and defense, clean ones among them.
Run: ``python studies/alignment.py --runs DIR``.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from drawn import code, study, table
from scipy.stats import spearmanr

from howfar.errors import HowfarError
from howfar.score import CleanRuns
from howfar.store import Record, Store, open_store
from howfar.store.clock import circumstances
from howfar.tables.distances import readings_of
from howfar.tables.groups import drops_of, grouped
from howfar.tables.names import CLEAN

COSINE, ERROR, UNBIASED, CLEAN_NORM, PROTECTED_NORM = range(5)  # places in a record
NETWORK = "network"
STEP = "alignment"  # of its records
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
    "layers, weighted by the norm of the clean gradient": of_layers(COSINE, lambda one: one[CLEAN_NORM] or 0.0),
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


def rivals(clean: Record, record: Record, epochs: int | None = None) -> dict[str, float]:
    """Return what is to be beaten, from the first epochs of a run; NaN for a UD that is not defined.

    Args:
        clean: the clean victim of the same seed.
        record: of the run.
        epochs: how many; None takes all.
    """
    readings, before = readings_of(record)[:epochs], readings_of(clean)[:epochs]
    losses = [epoch["loss"] for epoch in record.result["epochs"]][:epochs]
    if not readings[0]:
        return {"training loss, last epoch": losses[-1]}
    sal = [sum(one.sal for one in layers.values()) for layers in readings]
    try:
        distance = CleanRuns([before]).distance([readings]).ud.value
    except HowfarError:  # no layer of the clean model is learnable
        distance = math.nan
    return {
        "UD": distance,
        "SAL ÷ training loss": mean(a / b for a, b in zip(sal, losses, strict=True)),
        "training loss, last epoch": losses[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--save", type=Path, help="store to keep what was found of every run in")
    options = parser.parse_args()
    records = list(found(open_store(options.runs, reading=True)))
    for record in records if options.save else ():
        Store(options.save).save(record)
    print(f"{len(records)} runs, {len({record.spec['protector'] for record in records})} protectors\n")
    print(candidates(records), by_protector(records), sep="\n")


def found(store: Store) -> Iterator[Record]:
    """Yield a record of every run on protected images: its drop, and what every candidate and rival says of it."""
    victims = [record for record in store.records("victim") if record.status == "done"]
    (cells,) = grouped(victims)
    for label, runs in cells.runs.items():
        for seed, record in sorted(runs.items()) if label != CLEAN else ():
            clean = cells.runs[CLEAN][seed]
            (drop,) = drops_of([clean], [record])
            spec, scored = {"protector": label, "seed": seed}, scores(record) | rivals(clean, record)
            result = {"drop": round(drop, 5), **{name: round(value, 4) for name, value in scored.items()}}
            yield Record(STEP, store.key(STEP, spec), spec, "done", result, circumstances())


def tables() -> dict[str, str]:
    """Return the tables of docs/alignment.md, from the records of the study."""
    records = study("alignment").records(STEP)
    return {"alignment: candidates": candidates(records), "alignment: by protector": by_protector(records)}


def candidates(records: Sequence[Record]) -> str:
    """Return how every candidate and rival ranks runs by their drop; rivals in italics."""
    drops = [record.result["drop"] for record in records]
    names = [name for name in records[0].result if name != "drop"]
    ranks = {name: float(spearmanr([r.result[name] for r in records], drops)[0]) for name in names}
    return table(
        ["candidate", "Spearman with drop"],
        [
            [name if name.startswith((NETWORK, "layers")) else f"*{name}*", f"{rank:.2f}"]
            for name, rank in sorted(ranks.items(), key=lambda item: -abs(item[1]))
        ],
    )


def by_protector(records: Sequence[Record]) -> str:
    """Return drop and alignment of every protector, means over seeds."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        pairs.setdefault(record.spec["protector"], []).append((record.result["drop"], record.result["layers"]))
    means = {label: np.mean(values, axis=0) for label, values in pairs.items()}
    return table(
        ["protector", "drop, points", "alignment"],
        [
            [code(label), f"{100 * drop:.1f}", f"{aligned:.2f}"]
            for label, (drop, aligned) in sorted(means.items(), key=lambda item: -item[1][0])
        ],
    )


if __name__ == "__main__":
    main()

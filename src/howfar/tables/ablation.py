"""Ablation of UD: one training run, many probe settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from howfar.arrays import canonical
from howfar.errors import HowfarError, UsageError
from howfar.grid.experiment import Experiment
from howfar.probe import Probe, Sharpness
from howfar.score import CleanRuns, Correlation, Estimate, rank_correlation, to_json
from howfar.score.drop import drop
from howfar.score.intervals import pooled
from howfar.score.unlearnable_distance import Readings, mean_distance
from howfar.store import Record, Store
from howfar.tables.names import CLEAN, Names, shared
from howfar.tables.sound import sound_record

STARTS = 20  # random starts of k-means
CLOSE = 0.03  # difference of UD up to which two settings agree
Rule = Literal["per-epoch", "pooled", "counting parameters", "k-means, random start", "SAL ÷ training loss"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Reading:
    """SAL of one layer in an ablation; see ``howfar.score.unlearnable_distance.Reading``."""

    sal: float
    standard_error: float
    parameters: int


@dataclass(frozen=True)
class Variant:
    """UD of all protectors under one setting.

    Attributes:
        probe: settings of the probe.
        rule: choice of β, of what is counted, or of the normalization of SAL.
        ud: mean UD over seeds, by protector.
        starts: smallest and largest UD over starts, for ``k-means, random start`` only.
        correlation: rank correlation of drop and UD over protectors; None with fewer than three.
        moved: largest |ΔUD| from the first line, over pairs of protector and seed.
        close: number of pairs whose UD is within 0.03 of the first line's.
        pairs: number of pairs.
    """

    probe: str
    rule: Rule
    ud: dict[str, Estimate]
    starts: dict[str, tuple[float, float]]
    correlation: Correlation | None
    moved: float
    close: int
    pairs: int


def ablated(experiments: Sequence[Experiment], store: Store) -> list[Variant]:
    """Return the table; its first line is the setting that others are compared with.

    Args:
        experiments: finished, of one model, defense, task and data set, with the same variants.
        store: source of the records.

    Raises:
        HowfarError: if a run is missing.
    """
    records = []
    for step in (experiment.steps()[1] for experiment in experiments):
        record = sound_record(store, step.name, step.key)
        if record is None:
            raise HowfarError(f"{step.label} is not finished. Run the same command again.")
        records.append(record)
    return compared(records)


def compared(records: Sequence[Record]) -> list[Variant]:
    """Return the table of finished records; see ``ablated``.

    Raises:
        UsageError: for records that differ in more than protector and seed, versions included.
    """
    if len({canonical(shared(record.spec)) for record in records}) > 1:
        raise UsageError("the records differ in model, defense, task, data or version. Give those of one victim.")
    runs = _runs(records)
    first_spec = records[0].spec
    probes = [_label(spec) for spec in (first_spec["probe"], *first_spec["variants"])]
    seeds = sorted({seed for _, seed in runs})
    names = sorted({name for name, _ in runs} - {CLEAN})
    drops = [[_drop(runs[CLEAN, seed], runs[name, seed]) for seed in seeds] for name in names]
    lines: list[Variant] = []
    first: list[list[float]] | None = None
    for index, probe in enumerate(probes):
        readings = {run: _readings(epochs, index) for run, epochs in runs.items()}
        for rule in RULES if index == 0 else RULES[:1]:
            scaled = readings if rule != "SAL ÷ training loss" else _relative(readings, runs)
            starts = _random_starts(readings, names, seeds) if rule == "k-means, random start" else {}
            found = {name: each.mean(1).tolist() for name, each in starts.items()}
            found = found or _distances(scaled, names, seeds, rule)
            line = _line(probe, rule, found, drops, first or list(found.values()))
            first = first or list(found.values())
            means = {name: values.mean(0) for name, values in starts.items()}
            lines.append(replace(line, starts={name: (float(m.min()), float(m.max())) for name, m in means.items()}))
    return lines


def _line(
    probe: str, rule: Rule, found: Mapping[str, list[float]], drops: list[list[float]], first: list[list[float]]
) -> Variant:  # fmt: skip
    values = list(found.values())
    spread = pooled(values)
    moved = np.abs(np.array(values) - np.array(first))
    return Variant(
        probe=probe,
        rule=rule,
        ud={name: mean_distance(each, spread=spread) for name, each in found.items()},
        starts={},
        correlation=rank_correlation(drops, values) if len(found) > 2 else None,
        moved=float(moved.max()),
        close=int((moved <= CLOSE).sum()),
        pairs=moved.size,
    )


def as_rows(lines: Sequence[Variant]) -> list[dict[str, Any]]:
    """Return the table as JSON values."""
    return [_written(line) for line in lines]


def _written(line: Variant) -> dict[str, Any]:
    parts = {"ud": "value", "low": "low", "high": "high"}
    uds = {key: {name: getattr(ud, part) for name, ud in line.ud.items()} for key, part in parts.items()}
    ranks = line.correlation
    written: dict[str, Any] = to_json({
        "probe": line.probe, "rule": line.rule, **uds, "starts": line.starts,
        "correlation": ranks and {**to_json(ranks.rank), "monotone": ranks.monotone},
        "moved": line.moved, "close": line.close, "pairs": line.pairs,
    })  # fmt: skip
    return written


Epochs = list[dict[str, Any]]


def _label(spec: Mapping[str, Any]) -> str:
    return Probe(**{name: value for name, value in spec.items() if name != "version"}).label


def _runs(records: Sequence[Record]) -> dict[tuple[str, int], Epochs]:
    runs: dict[tuple[str, int], Epochs] = {}
    names = Names(records)
    for record in records:
        runs[names.row(record.spec), record.spec["seed"]] = [
            {**epoch, "quality": record.result["quality"], "higher_is_better": record.result["higher_is_better"]}
            for epoch in record.result["epochs"]
        ]
    for name in {name for name, _ in runs}:
        for seed in {seed for _, seed in runs}:
            if (name, seed) not in runs:
                raise UsageError(f"{name} has no run with seed {seed}. Run the same command again.")
    return runs


def _drop(clean: Epochs, poisoned: Epochs) -> float:
    last, other = clean[-1], poisoned[-1]
    return drop([last["quality"]], [other["quality"]], higher_is_better=last["higher_is_better"]).value


def _readings(epochs: Epochs, index: int) -> list[dict[str, Reading]]:
    """Return SAL of probe number ``index``."""
    found: list[dict[str, Reading]] = []
    for epoch in epochs:
        layers = {name: Sharpness.recorded(values) for name, values in epoch["sharpness"].items()}
        if index:
            other = {name: (sal, error) for name, (sal, error) in epoch["variants"][index - 1].items()}
        else:
            other = {name: (full.sal, full.standard_error) for name, full in layers.items()}
        found.append({name: Reading(*pair, layers[name].parameters) for name, pair in other.items()})
    return found


def _relative(
    readings: dict[tuple[str, int], list[dict[str, Reading]]], runs: dict[tuple[str, int], Epochs]
) -> dict[tuple[str, int], list[dict[str, Reading]]]:
    """Return SAL relative to the epoch's training loss."""

    def scaled(reading: Reading, loss: float) -> Reading:
        return replace(reading, sal=reading.sal / loss, standard_error=reading.standard_error / loss)

    return {
        run: [
            {name: scaled(reading, epoch["loss"]) for name, reading in layers.items()}
            for layers, epoch in zip(found, runs[run], strict=True)
        ]
        for run, found in readings.items()
    }


Measured = Mapping[tuple[str, int], list[dict[str, Reading]]]  # SAL by protector and seed


def _distances(
    readings: Measured, names: Sequence[str], seeds: Sequence[int], rule: Rule
) -> dict[str, list[float]]:  # fmt: skip
    """Return UD of every seed, by protector."""
    beta: Literal["per-epoch", "pooled"] = "pooled" if rule == "pooled" else "per-epoch"
    weight: Literal["layers", "parameters"] = "parameters" if rule == "counting parameters" else "layers"
    clean = {seed: CleanRuns(readings[CLEAN, seed], beta=beta, weight=weight) for seed in seeds}
    return {name: [clean[seed].distance(readings[name, seed]).ud.value for seed in seeds] for name in names}


def _random_starts(
    readings: Measured, names: Sequence[str], seeds: Sequence[int]
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """Return UD with β from k-means with a single random start, by protector, (seeds, starts)."""
    betas = {seed: [_random_beta(readings[CLEAN, seed], start) for start in range(STARTS)] for seed in seeds}
    clean = {seed: [CleanRuns(readings[CLEAN, seed], beta=beta) for beta in betas[seed]] for seed in seeds}
    return {
        name: np.array([[runs.distance(readings[name, seed]).ud.value for runs in clean[seed]] for seed in seeds])
        for name in names
    }


def _random_beta(clean: Readings, start: int) -> float:
    from sklearn.cluster import KMeans

    centers = [
        KMeans(2, init="random", n_init=1, random_state=start)
        .fit([[reading.sal] for reading in epoch.values()])
        .cluster_centers_.mean()
        for epoch in clean
    ]
    return float(np.mean(centers))

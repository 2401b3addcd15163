"""One training, many ways to measure it -> how much UD owes to the way."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from howfar.errors import HowfarError
from howfar.experiment import Experiment
from howfar.probe import Probe, Sharpness
from howfar.results import CLEAN
from howfar.score import Correlation, rank_correlation, unlearnable_distance
from howfar.score.drop import drop
from howfar.score.unlearnable_distance import Readings
from howfar.store import Store

STARTS = 20  # random starts of k-means that are tried
CLOSE = 0.03  # of UD: two ways to measure agree
Rule = Literal["per-epoch", "pooled", "counting parameters", "k-means, random start", "SAL ÷ training loss"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Reading:
    """SAL of one layer as an ablation keeps it; see ``howfar.score.unlearnable_distance.Reading``."""

    sal: float
    standard_error: float
    parameters: int


@dataclass(frozen=True)
class Line:
    """UD of all protectors, measured in one way.

    Attributes:
        probe: how SAL was measured.
        rule: how β was found, what was counted, or what SAL was taken relative to.
        ud: mean UD over seeds by protector.
        low: lower end of its 95 % interval; of ``k-means, random start``, the smallest UD of all starts.
        high: upper end, or the largest.
        correlation: rank correlation of drop and UD over protectors; None with fewer than three.
        moved: largest |ΔUD| against the first line, over pairs of protector and seed.
        close: number of pairs whose UD is the first line's to 0.03.
        pairs: number of pairs.
    """

    probe: str
    rule: Rule
    ud: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    correlation: Correlation | None
    moved: float
    close: int
    pairs: int


def varied(
    base: Probe, *, radii: Sequence[float], steps: Sequence[int], modes: Sequence[str], images: Sequence[int],
    released: bool = False,
) -> tuple[Probe, ...]:  # fmt: skip
    """Return ``base`` with one setting changed at a time.

    Args:
        base: not among them.
        radii: of the ball.
        steps: of ``fast``.
        modes: other modes.
        images: sizes of the probe set.
        released: add ``reference`` with what the released code does beyond the definition.
    """
    found: list[Probe] = [replace(base, radius=radius) for radius in radii]
    found += [replace(base, steps=count) for count in steps]
    found += [replace(base, mode=mode) for mode in modes]  # type: ignore[arg-type]
    found += [replace(base, images=count) for count in images]
    if released:
        reference = replace(base, mode="reference")
        found += [reference, replace(reference, baseline=True), replace(reference, augment=True)]
        found += [replace(reference, baseline=True, augment=True)]
    return tuple(probe for probe in dict.fromkeys(found) if probe != base)


def ablated(experiments: Sequence[Experiment], store: Store) -> list[Line]:
    """Return the table; the first line is the setting that all others are held against.

    Args:
        experiments: of one model, defense, task and data set, finished, all with the same variants.
        store: where their records are.

    Raises:
        HowfarError: if a run is missing.
    """
    runs = _runs(experiments, store)
    probes = (experiments[0].probe, *experiments[0].variants)
    seeds = sorted({seed for _, seed in runs})
    names = sorted({name for name, _ in runs} - {CLEAN})
    drops = [[_drop(runs[CLEAN, seed], runs[name, seed]) for seed in seeds] for name in names]
    lines: list[Line] = []
    first: list[list[float]] | None = None
    for index, probe in enumerate(probes):
        readings = {cell: _readings(epochs, index) for cell, epochs in runs.items()}
        for rule in RULES if index == 0 else RULES[:1]:
            scaled = readings if rule != "SAL ÷ training loss" else _relative(readings, runs)
            found = [_distances(scaled, name, seeds, rule) for name in names]
            first = first or [values for values, *_ in found]
            moved = np.abs(np.array([values for values, *_ in found]) - np.array(first))
            lines.append(
                Line(
                    probe=probe.label,
                    rule=rule,
                    ud={name: float(np.mean(values)) for name, (values, *_) in zip(names, found, strict=True)},
                    low={name: low for name, (_, low, _) in zip(names, found, strict=True)},
                    high={name: high for name, (*_, high) in zip(names, found, strict=True)},
                    correlation=rank_correlation(drops, [values for values, *_ in found]) if len(names) > 2 else None,
                    moved=float(moved.max()),
                    close=int((moved <= CLOSE).sum()),
                    pairs=moved.size,
                )
            )
    return lines


def as_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the table as JSON values."""
    return [asdict(line) for line in lines]


Epochs = list[dict[str, Any]]


def _runs(experiments: Sequence[Experiment], store: Store) -> dict[tuple[str, int], Epochs]:
    runs = {}
    for experiment in experiments:
        step = experiment.steps()[1]
        record = store.find(step.name, step.key)
        if record is None or record.status != "done":
            raise HowfarError(f"{step.label} is not finished. Run the same command again.")
        runs[experiment.protector.label, experiment.seed] = [
            {**epoch, "quality": record.result["quality"], "higher_is_better": record.result["higher_is_better"]}
            for epoch in record.result["epochs"]
        ]
    return runs


def _drop(clean: Epochs, poisoned: Epochs) -> float:
    last, other = clean[-1], poisoned[-1]
    return drop([last["quality"]], [other["quality"]], higher_is_better=last["higher_is_better"]).value


def _readings(epochs: Epochs, index: int) -> list[dict[str, Reading]]:
    """Return SAL as the probe number ``index`` measured it."""
    found: list[dict[str, Reading]] = []
    for epoch in epochs:
        layers = {name: Sharpness(**values) for name, values in epoch["sharpness"].items()}
        if index:
            other = {name: (sal, error) for name, (sal, error) in epoch["variants"][index - 1].items()}
        else:
            other = {name: (full.sal, full.standard_error) for name, full in layers.items()}
        found.append({name: Reading(*pair, layers[name].parameters) for name, pair in other.items()})
    return found


def _relative(
    readings: dict[tuple[str, int], list[dict[str, Reading]]], runs: dict[tuple[str, int], Epochs]
) -> dict[tuple[str, int], list[dict[str, Reading]]]:
    """Return SAL in units of the epoch's training loss."""

    def scaled(reading: Reading, loss: float) -> Reading:
        return replace(reading, sal=reading.sal / loss, standard_error=reading.standard_error / loss)

    return {
        cell: [
            {name: scaled(reading, epoch["loss"]) for name, reading in layers.items()}
            for layers, epoch in zip(found, runs[cell], strict=True)
        ]
        for cell, found in readings.items()
    }


def _distances(
    readings: dict[tuple[str, int], list[dict[str, Reading]]], name: str, seeds: list[int], rule: Rule
) -> tuple[list[float], float, float]:
    """Return UD of every seed, and an interval of their mean."""
    clean: list[Readings] = [readings[CLEAN, seed] for seed in seeds]
    poisoned: list[Readings] = [readings[name, seed] for seed in seeds]
    if rule == "k-means, random start":
        draws = np.array([_random_starts(c, p) for c, p in zip(clean, poisoned, strict=True)])
        means = draws.mean(0)
        return draws.mean(1).tolist(), float(means.min()), float(means.max())
    beta: Literal["per-epoch", "pooled"] = "pooled" if rule == "pooled" else "per-epoch"
    weight: Literal["layers", "parameters"] = "parameters" if rule == "counting parameters" else "layers"
    pairs = zip(clean, poisoned, strict=True)
    values = [unlearnable_distance(c, p, beta=beta, weight=weight).value for c, p in pairs]
    whole = unlearnable_distance(clean, poisoned, beta=beta, weight=weight)
    return values, whole.low, whole.high


def _random_starts(clean: Readings, poisoned: Readings) -> list[float]:
    """Return UD with β from k-means that starts once, anywhere, as the released code does."""
    from sklearn.cluster import KMeans

    values = []
    for start in range(STARTS):
        centres = [
            KMeans(2, init="random", n_init=1, random_state=start)
            .fit([[reading.sal] for reading in epoch.values()])
            .cluster_centers_.mean()
            for epoch in clean
        ]
        values.append(unlearnable_distance(clean, poisoned, beta=float(np.mean(centres))).value)
    return values

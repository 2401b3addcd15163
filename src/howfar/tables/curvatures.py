"""Records of curvature -> correlation of SAL with gradient and Hessian, by protector."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from howfar.arrays import canonical
from howfar.score import Estimate, to_json
from howfar.score.correlation import mean_correlation
from howfar.score.intervals import mean_estimate
from howfar.store import Record, Store
from howfar.tables.groups import Spreads
from howfar.tables.names import CLEAN, Names, shared
from howfar.tables.sound import sound_record


@dataclass(frozen=True)
class CurvatureSummary:
    """Curvature of the loss around the victims of one protector, and what SAL has to do with it.

    Attributes:
        model: the victim.
        protector: its label.
        seeds: how many.
        converged: share of layers and seeds whose eigenvalues settled.
        top: largest eigenvalue of the whole network, nats per squared unit.
        trace: of the whole Hessian.
        ratio: SAL ÷ SAL of the clean victim of the same seed, geometric mean over layers; the interval is of its
            logarithm over seeds.
        lower: share of layers whose SAL is below that of the clean victim.
        layers: by layer SAL (nats), norm of the gradient, largest eigenvalue and trace.
        linear: Spearman's correlation over layers of SAL with radius × norm of the gradient; mean over seeds and its
            interval by Fisher's z.
        quadratic: of SAL with radius² × largest eigenvalue ÷ 2.
        taylor: of SAL with the sum of both.
    """

    model: str
    protector: str
    seeds: int
    converged: float
    top: Estimate
    trace: Estimate
    ratio: Estimate
    lower: Estimate
    layers: dict[str, dict[str, Estimate]]
    linear: Estimate
    quadratic: Estimate
    taylor: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found: dict[str, Any] = to_json(self)
        return found


def curvatures(store: Store, keys: Iterable[str]) -> list[CurvatureSummary]:
    """Return one entry per victim and protector.

    Args:
        store: where the readings are.
        keys: of those that count.
    """
    tables: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for one in measured(store, keys):
        tables[one.victim][one.protector].append(one)
    return [summary for rows in tables.values() for summary in _summaries(rows)]


@dataclass(frozen=True)
class Measured:
    """A reading of the curvature of one network.

    Attributes:
        victim: all that identifies the victim and the way to measure, except for its training images and its seed.
        model: name of the victim.
        protector: name of what its training images were protected by.
        record: the reading.
    """

    victim: str
    model: str
    protector: str
    record: Record


def measured(store: Store, keys: Iterable[str]) -> list[Measured]:
    """Return the readings of some keys; names tell apart what differs in its specification, versions included."""
    records = [record for key in keys if (record := sound_record(store, "curvature", key))]
    paths = {record.key: sound_record(store, "trajectory", record.spec["trajectory"]) for record in records}
    names = Names(path for path in paths.values() if path)
    found = []
    for record in records:
        spec, path = record.spec, paths[record.key]
        settings = {key: spec[key] for key in ("dataset", "model", "settings", "version")}
        victim = canonical([settings, shared(path.spec) if path else {}])
        model = names.tables(path.spec)["model"] if path else spec["model"]
        found.append(Measured(victim, model, names.row(path.spec) if path else spec["protector"], record))
    return found


@dataclass(frozen=True)
class _Seeds:
    """What single seeds say of one protector.

    Attributes:
        seeds: in their order.
        ratio: logarithm of SAL ÷ SAL of the clean victim, mean over layers in which both are above 0.
        lower: share of layers with a lower SAL.
        ranks: Spearman's correlations over layers of SAL with slope, curve and both.
    """

    seeds: list[int]
    ratio: list[float]
    lower: list[float]
    ranks: tuple[list[float], list[float], list[float]]


def _summaries(rows: Mapping[str, Sequence[Measured]]) -> Iterator[CurvatureSummary]:
    """Yield every protector of one victim."""
    clean = {one.record.spec["seed"]: one.record.result["layers"] for one in rows[CLEAN]}
    found = {name: _by_seed([one.record for one in row], clean) for name, row in rows.items()}
    ratios = Spreads((name, each.seeds, each.ratio) for name, each in found.items())
    shares = Spreads((name, each.seeds, each.lower) for name, each in found.items())
    for name, row in rows.items():
        each = found[name]
        ratio = mean_estimate(each.ratio, spread=ratios.of(name, each.seeds))
        lower = mean_estimate(each.lower, spread=shares.of(name, each.seeds))
        yield _summary(row, each, ratio, lower)


def _by_seed(records: Sequence[Record], clean: Mapping[int, Mapping[str, Any]]) -> _Seeds:
    from scipy.stats import spearmanr

    ratio, lower = [], []
    ranks: tuple[list[float], list[float], list[float]] = ([], [], [])
    for record in records:
        layers = {name: layer for name, layer in record.result["layers"].items() if name}
        reference = clean[record.spec["seed"]]
        pairs = [(layer["sal"], reference[name]["sal"]) for name, layer in layers.items()]
        logs = [math.log(own / clean) for own, clean in pairs if own > 0 and clean > 0]
        ratio.append(float(np.mean(logs)) if logs else math.nan)
        lower.append(float(np.mean([own < clean for own, clean in pairs])))
        sal = [layer["sal"] for layer in layers.values()]
        slope = np.array([layer["radius"] * layer["gradient"] for layer in layers.values()])
        curve = np.array([layer["radius"] ** 2 * abs(layer["eigenvalues"][0]) / 2 for layer in layers.values()])
        for values, guess in zip(ranks, (slope, curve, slope + curve), strict=True):
            values.append(float(spearmanr(sal, guess)[0]) if len(sal) > 1 else math.nan)
    return _Seeds([record.spec["seed"] for record in records], ratio, lower, ranks)


def _summary(row: Sequence[Measured], each: _Seeds, ratio: Estimate, lower: Estimate) -> CurvatureSummary:
    records = [one.record for one in row]
    layers = [layer for layer in records[0].result["layers"] if layer]
    by_seed = [record.result["layers"] for record in records]
    settled = [layer["converged"] for found in by_seed for layer in found.values()]
    linear, quadratic, taylor = (mean_correlation(values, len(layers)) for values in each.ranks)
    return CurvatureSummary(
        model=row[0].model,
        protector=row[0].protector,
        seeds=len(records),
        converged=float(np.mean(settled)),
        top=mean_estimate([found[""]["eigenvalues"][0] for found in by_seed]),
        trace=mean_estimate([found[""]["trace"] for found in by_seed]),
        ratio=ratio.mapped(math.exp, "log t"),
        lower=lower,
        layers={
            layer: {
                "sal": mean_estimate([found[layer]["sal"] for found in by_seed]),
                "gradient": mean_estimate([found[layer]["gradient"] for found in by_seed]),
                "eigenvalue": mean_estimate([found[layer]["eigenvalues"][0] for found in by_seed]),
                "trace": mean_estimate([found[layer]["trace"] for found in by_seed]),
            }
            for layer in layers
        },
        linear=linear,
        quadratic=quadratic,
        taylor=taylor,
    )

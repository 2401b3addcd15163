"""Records of trajectories -> which weights diverge because the data was protected."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.arrays import canonical
from howfar.errors import HowfarError, UsageError
from howfar.probe import Trajectory
from howfar.score import Estimate, differing, distances, groups_that_differ, paths, to_json
from howfar.score.intervals import mean_estimate
from howfar.store import Record, Store
from howfar.tables.groups import Spreads
from howfar.tables.names import CLEAN, Names, shared
from howfar.tables.sound import sound_record

Floats = NDArray[np.float64]
SHARES = ("parameters", "filters", "layers", "turns_back", "clean_turns_back")


@dataclass(frozen=True)
class Layer:
    """One weight tensor on its path.

    Attributes:
        differing: share of its parameters that end elsewhere because of the data, false discoveries controlled.
        further: distance of clean and poisoned end ÷ distance of two clean ends.
        longer: length of the poisoned path ÷ of the clean one.
        leaves: share of the training after which the paths are further apart than clean ones ever are; None where
            they never are. Median over seeds and orders.
        turns_back: share of runs whose path came nearer to the clean end than it ends up.
    """

    differing: float
    further: float
    longer: float
    leaves: float | None
    turns_back: float


@dataclass(frozen=True)
class Divergence:
    """One protector: how far the weights of its victims diverge from those of clean victims.

    Attributes:
        model: the victim.
        protector: its label.
        seeds: of initial weights and noise.
        orders: of batches, for each seed, of clean and of poisoned runs.
        parameters: share of parameters that differ, over seeds.
        filters: share of filters (rows of a weight tensor) that differ, over seeds.
        layers: share of weight tensors that differ, over seeds.
        turns_back: share of parameters whose poisoned path came nearer to the clean end than it ends up.
        clean_turns_back: the same of clean runs with another order of batches: what to hold it against.
        by_layer: in the order of the network.
    """

    model: str
    protector: str
    seeds: int
    orders: int
    parameters: Estimate
    filters: Estimate
    layers: Estimate
    turns_back: Estimate
    clean_turns_back: Estimate
    by_layer: dict[str, Layer]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found: dict[str, Any] = to_json(self)
        return found


@dataclass(frozen=True)
class _Seed:
    """What one seed shows."""

    parameters: float
    filters: float
    layers: float
    turns_back: float
    clean_turns_back: float
    by_layer: dict[str, Layer]


def divergences(store: Store, keys: Iterable[str], *, rate: float = 0.05) -> list[Divergence]:
    """Return one entry per victim and protector, from finished trajectories.

    Args:
        store: where the trajectories are.
        keys: of the trajectories that count; clean and protected ones, at least two orders of batches each.
        rate: of false discoveries.

    Raises:
        HowfarError: if a run is missing, or lost its weights.
        UsageError: for a single order of batches.
    """
    records: list[Record] = []
    for key in keys:
        record = sound_record(store, "trajectory", key)
        if record is None or not store.has_arrays("trajectory", key):
            raise HowfarError(f"the trajectory {key} is not in the store. Run the same command again.")
        records.append(record)
    alike = {record.key: _without_order(record) for record in records}
    names = Names(alike.values())
    tables: dict[str, dict[str, dict[int, list[Record]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for record in records:
        same = alike[record.key]
        tables[canonical(shared(same.spec))][names.row(same.spec)][record.spec["seed"]].append(record)
    return [
        one
        for rows in tables.values()
        for one in _divergences(store, names.tables(_any(rows[CLEAN], alike).spec)["model"], rows, rate)
    ]


def _without_order(record: Record) -> Record:
    """Return a record whose specification leaves out the order of batches, over which rows are averaged."""
    walk = {key: value for key, value in record.spec["walk"].items() if key != "order"}
    return replace(record, spec={**record.spec, "walk": walk})


def _any(seeds: Mapping[int, list[Record]], alike: Mapping[str, Record]) -> Record:
    return alike[next(iter(seeds.values()))[0].key]


def _divergences(
    store: Store, model: str, rows: Mapping[str, Mapping[int, list[Record]]], rate: float
) -> list[Divergence]:  # fmt: skip
    """Compare every protector of one table with its clean runs."""
    found: dict[str, tuple[list[int], int, list[_Seed]]] = {}
    for name, poisoned in rows.items():
        clean, seeds = rows[CLEAN], sorted(set(rows[CLEAN]) & set(poisoned))
        if name == CLEAN or not seeds:
            continue
        orders = min(min(len(clean[seed]), len(poisoned[seed])) for seed in seeds)
        if orders < 2:
            raise UsageError("one batch order cannot show the effect of chance. Take --orders 2 or more.")
        each = [
            _compared(_loaded(store, clean[seed][:orders]), _loaded(store, poisoned[seed][:orders]), rate)
            for seed in seeds
        ]
        found[name] = seeds, orders, each
    spreads = {
        share: Spreads((name, seeds, [getattr(one, share) for one in each]) for name, (seeds, _, each) in found.items())
        for share in SHARES
    }
    return [
        Divergence(
            model=model,
            protector=name,
            seeds=len(seeds),
            orders=orders,
            by_layer={layer: _averaged([one.by_layer[layer] for one in each]) for layer in each[0].by_layer},
            **{
                share: mean_estimate([getattr(one, share) for one in each], spread=spreads[share].of(name, seeds))
                for share in SHARES
            },
        )
        for name, (seeds, orders, each) in found.items()
    ]


def _loaded(store: Store, records: Sequence[Record]) -> list[Trajectory]:
    ordered = sorted(records, key=lambda record: record.spec["walk"]["order"])
    return [Trajectory.of(store.arrays("trajectory", record.key)) for record in ordered]


def _compared(clean: list[Trajectory], poisoned: list[Trajectory], rate: float) -> _Seed:
    """Compare runs from the same initial weights, pairs with the same order of batches."""
    names = clean[0].parameters
    sizes = [clean[0].start[name].numel() for name in names]
    layers = np.repeat(np.arange(len(names)), sizes)
    rows = [len(clean[0].start[name]) for name in names]
    filters = np.repeat(np.arange(sum(rows)), np.repeat(sizes, rows) // np.repeat(rows, rows))
    ones = [run.weights().double().numpy() for run in clean]
    others = [run.weights().double().numpy() for run in poisoned]
    test = differing(np.stack([w[-1] for w in ones]), np.stack([w[-1] for w in others]), layers, rate=rate)
    pairs = [(i, j) for i in range(len(ones)) for j in range(i)]
    between = [distances(ones[i] - ones[j], layers) for i, j in pairs]
    reference = np.max(between, axis=0)
    each = np.arange(len(layers))
    found = [paths(one, other, layers, reference=reference) for one, other in zip(ones, others, strict=True)]
    moments = len(ones[0]) - 1
    by_layer = {}
    for index, name in enumerate(names):
        left = [float(one.leaves[index]) / moments for one in found if one.leaves[index] >= 0]
        by_layer[name] = Layer(
            differing=float(test.by_layer[index]),
            further=_ratio([one.apart[-1, index] for one in found], [gap[-1, index] for gap in between]),
            longer=_ratio([o.poisoned_length[index] for o in found], [o.clean_length[index] for o in found]),
            leaves=float(np.median(left)) if len(left) * 2 > len(found) else None,
            turns_back=float(np.mean([one.turns_back[index] for one in found])),
        )
    return _Seed(
        parameters=test.share,
        filters=float(groups_that_differ(test.p_values, filters, rate=rate).mean()),
        layers=test.layer_share,
        turns_back=float(
            np.mean([paths(one, other, each).turns_back.mean() for one, other in zip(ones, others, strict=True)])
        ),
        clean_turns_back=float(np.mean([paths(ones[i], ones[j], each).turns_back.mean() for i, j in pairs])),
        by_layer=by_layer,
    )


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return float(np.mean(above) / max(float(np.mean(below)), 1e-12))


def _averaged(layers: Sequence[Layer]) -> Layer:
    left = [layer.leaves for layer in layers if layer.leaves is not None]
    return Layer(
        differing=float(np.mean([layer.differing for layer in layers])),
        further=float(np.mean([layer.further for layer in layers])),
        longer=float(np.mean([layer.longer for layer in layers])),
        leaves=float(np.median(left)) if len(left) * 2 > len(layers) else None,
        turns_back=float(np.mean([layer.turns_back for layer in layers])),
    )

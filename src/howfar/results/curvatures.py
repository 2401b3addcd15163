"""Records of curvature -> what SAL has to do with gradient and Hessian, by protector."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from howfar.report.scenery import Cut, Cuts
from howfar.results.cells import CLEAN
from howfar.results.trajectories import Mean, Table
from howfar.store import Record, Store

MEASURES = ("sal", "gradient", "eigenvalue", "trace")


@dataclass(frozen=True)
class Bend:
    """How the loss bends around the victims of one protector.

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
        linear: Spearman's correlation over layers of SAL with radius × norm of the gradient.
        quadratic: of SAL with radius² × largest eigenvalue ÷ 2.
        taylor: of SAL with the sum of both.
    """

    model: str
    protector: str
    seeds: int
    converged: float
    top: Mean
    trace: Mean
    ratio: Mean
    lower: Mean
    layers: dict[str, dict[str, Mean]]
    linear: Mean
    quadratic: Mean
    taylor: Mean

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def table(self) -> Table:
        """Return headings and one line a layer."""
        head = ["SAL, nats", "gradient norm", "largest eigenvalue", "trace"]
        lines = [[name, *(_shown(values[measure]) for measure in MEASURES)] for name, values in self.layers.items()]
        return [f"{self.protector} on {self.model}: layer", *head], lines


def bends(store: Store, keys: Iterable[str]) -> list[Bend]:
    """Return one entry a victim and protector.

    Args:
        store: where the readings are.
        keys: of those that count.
    """
    found: dict[tuple[str, str], list[Record]] = {}
    for key in keys:
        record = store.find("curvature", key)
        if record is not None:
            found.setdefault((record.spec["model"], record.spec["protector"]), []).append(record)
    clean = {
        (model, record.spec["seed"]): record.result["layers"]
        for (model, protector), records in found.items()
        for record in records
        if protector == CLEAN
    }
    return [_bend(*names, records, clean) for names, records in found.items()]


def cuts(store: Store, keys: Iterable[str]) -> list[Cuts]:
    """Return the loss along lines through every layer, an entry a victim and seed.

    Args:
        store: where the readings are.
        keys: of those that count; readings whose lines were not kept are left out.
    """
    found: dict[tuple[str, int], dict[str, dict[str, Cut]]] = {}
    for key in keys:
        record = store.find("curvature", key)
        if record is None or not store.has_arrays("curvature", key):
            continue
        lines = store.arrays("curvature", key)
        layers = found.setdefault((record.spec["model"], record.spec["seed"]), {})
        for name in filter(None, record.result["layers"]):
            here = lines[f"gradient:{name}"][len(lines[f"gradient:{name}"]) // 2]
            layers.setdefault(name, {})[record.spec["protector"]] = Cut(
                distances=lines[f"distances:{name}"].tolist(),
                gradient=(lines[f"gradient:{name}"] - here).tolist(),
                random=(lines[f"random:{name}"] - here).tolist(),
            )
    return [Cuts(f"{model} · seed {seed}", layers) for (model, seed), layers in found.items()]


def overview(found: Sequence[Bend]) -> Table:
    """Return headings and one line a protector."""
    head = ["victim", "protector", "SAL ÷ clean", "layers with lower SAL, %", "largest eigenvalue", "trace",
            "SAL ~ gradient", "SAL ~ eigenvalue", "SAL ~ both",
            "converged, %", "seeds"]  # fmt: skip
    return head, [
        [
            one.model, one.protector, _range(one.ratio), str(one.lower),
            *(_shown(mean) for mean in (one.top, one.trace, one.linear, one.quadratic, one.taylor)),
            f"{100 * one.converged:.0f}", str(one.seeds),
        ]
        for one in found
    ]  # fmt: skip


def _range(mean: Mean) -> str:
    ends = "" if mean.low is None or mean.high is None else f" ({mean.low:.2f}–{mean.high:.2f})"
    return f"{mean.value:.2f}{ends}"


def _shown(mean: Mean) -> str:
    """Return a mean with half of its interval; a dash where there is none, as of a single layer."""
    if math.isnan(mean.value):
        return "–"
    reach = "" if mean.low is None or mean.high is None else f" ± {(mean.high - mean.low) / 2:.2g}"
    return f"{mean.value:.3g}{reach}"


def _bend(
    model: str, protector: str, records: Sequence[Record], clean: Mapping[tuple[str, int], Mapping[str, Any]]
) -> Bend:  # fmt: skip
    wholes = [record.result["layers"][""] for record in records]
    names = [name for name in records[0].result["layers"] if name]
    by_seed = [[record.result["layers"][name] for name in names] for record in records]
    settled = [layer["converged"] for record in records for layer in record.result["layers"].values()]
    linear: list[float] = []
    quadratic: list[float] = []
    taylor: list[float] = []
    for layers in by_seed:
        sal = [layer["sal"] for layer in layers]
        slope = np.array([layer["radius"] * layer["gradient"] for layer in layers])
        curve = np.array([layer["radius"] ** 2 * abs(layer["eigenvalues"][0]) / 2 for layer in layers])
        for ranks, guess in ((linear, slope), (quadratic, curve), (taylor, slope + curve)):
            ranks.append(float(spearmanr(sal, guess)[0]) if len(sal) > 1 else math.nan)
    references = [clean[model, record.spec["seed"]] for record in records]
    logs = [
        [float(np.log(layer["sal"] / reference[name]["sal"])) for name, layer in zip(names, layers, strict=True)]
        for reference, layers in zip(references, by_seed, strict=True)
    ]
    ratio = Mean.of([float(np.mean(one)) for one in logs])
    ends = [None if end is None else float(np.exp(end)) for end in (ratio.low, ratio.high)]
    return Bend(
        model=model,
        protector=protector,
        seeds=len(records),
        converged=float(np.mean(settled)),
        top=Mean.of([whole["eigenvalues"][0] for whole in wholes]),
        trace=Mean.of([whole["trace"] for whole in wholes]),
        ratio=Mean(float(np.exp(ratio.value)), ends[0], ends[1]),
        lower=Mean.of([float(np.mean(np.array(one) < 0)) for one in logs]),
        layers={
            name: {
                "sal": Mean.of([layers[i]["sal"] for layers in by_seed]),
                "gradient": Mean.of([layers[i]["gradient"] for layers in by_seed]),
                "eigenvalue": Mean.of([layers[i]["eigenvalues"][0] for layers in by_seed]),
                "trace": Mean.of([layers[i]["trace"] for layers in by_seed]),
            }
            for i, name in enumerate(names)
        },
        linear=Mean.of(linear),
        quadratic=Mean.of(quadratic),
        taylor=Mean.of(taylor),
    )

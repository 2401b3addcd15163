"""Unlearnable distance (UD) ("How Far Are We from True Unlearnability?", ICLR 2025)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from howfar.errors import HowfarError, UsageError
from howfar.score.intervals import percentile_interval

VERSION = 1
DRAWS = 1000


@runtime_checkable
class Reading(Protocol):
    """SAL of one layer: what ``howfar.sharpness`` returns, or a record of it."""

    @property
    def sal(self) -> float: ...
    @property
    def standard_error(self) -> float: ...
    @property
    def parameters(self) -> int: ...


Readings = Sequence[Mapping[str, Reading]]  # one mapping from layer to reading for every epoch


@dataclass(frozen=True)
class Distance:
    """Unlearnable distance: low is unlearnable, 1 is like clean, above 1 happens.

    Attributes:
        value: learnable layers of the poisoned model ÷ of the clean model, over all epochs.
        low: lower end of the interval.
        high: upper end.
        beta: the threshold, nats.
        clean_layers: learnable layers of the clean model, per epoch (weighted, if so asked).
        poisoned_layers: the same of the poisoned model.
        clean_margins: SAL − β of every layer of the clean model, nats, one mapping an epoch; mean over seeds.
        poisoned_margins: the same of the poisoned model.
    """

    value: float
    low: float
    high: float
    beta: float
    clean_layers: tuple[float, ...]
    poisoned_layers: tuple[float, ...]
    clean_margins: tuple[dict[str, float], ...] = ()
    poisoned_margins: tuple[dict[str, float], ...] = ()


def unlearnable_distance(
    clean: Readings | Sequence[Readings],
    poisoned: Readings | Sequence[Readings],
    *,
    beta: Literal["per-epoch", "pooled"] | float = "per-epoch",
    weight: Literal["layers", "parameters"] = "layers",
    confidence: float = 0.95,
) -> Distance:
    """Return UD of one pair of runs, or the mean UD of several pairs (one a seed).

    A layer is learnable in an epoch when its SAL exceeds β. β is the midpoint of the two centres of exact
    one-dimensional 2-means on the clean SALs: of each epoch, then averaged (as released), or of all epochs pooled.

    The interval is a bootstrap over probe images (each SAL is redrawn with its standard error, β included) and,
    with several pairs, over seeds.

    Args:
        clean: readings of the clean run, one mapping an epoch; or a list of such runs.
        poisoned: readings of the poisoned run, the same epochs and layers; or a list.
        beta: how β is found, or its value in nats.
        weight: count layers, or the parameters in them.
        confidence: of the interval.

    Raises:
        HowfarError: if no clean layer is learnable, or a reading is not finite.
        UsageError: if runs, epochs or layers do not match.
    """
    clean_runs, poisoned_runs = _as_runs(clean), _as_runs(poisoned)
    if len(clean_runs) != len(poisoned_runs):
        raise UsageError(f"{len(clean_runs)} clean runs but {len(poisoned_runs)} poisoned ones. Pair them by seed.")
    pairs = [_Pair(c, p, beta, weight) for c, p in zip(clean_runs, poisoned_runs, strict=True)]
    points = [pair.point() for pair in pairs]
    rng = np.random.default_rng(0)  # the draws are part of the definition: same readings, same interval
    draws = np.array([pair.draw(rng, DRAWS) for pair in pairs])
    chosen = rng.integers(len(pairs), size=(len(pairs), DRAWS))
    low, high = percentile_interval(np.take_along_axis(draws, chosen, axis=0).mean(0).tolist(), confidence)
    layers = np.array([point[2:] for point in points]).mean(0)
    return Distance(
        value=float(np.mean([point[0] for point in points])),
        low=low,
        high=high,
        beta=float(np.mean([point[1] for point in points])),
        clean_layers=tuple(layers[0].tolist()),
        poisoned_layers=tuple(layers[1].tolist()),
        clean_margins=_margins(pairs, [pair.clean for pair in pairs], points),
        poisoned_margins=_margins(pairs, [pair.poisoned for pair in pairs], points),
    )


def two_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the midpoint of the two centres of exact 2-means along the last axis.

    In one dimension the best clusters are the two sides of a cut of the sorted values: try all cuts.
    """
    ordered = np.sort(values, axis=-1)
    n = ordered.shape[-1]
    if n < 2:
        return ordered[..., 0]
    left = np.arange(1, n)
    sums = ordered.cumsum(-1)
    below = sums[..., :-1] / left
    above = (sums[..., -1:] - sums[..., :-1]) / (n - left)
    # Least within-cluster scatter is most between-cluster scatter.
    cut = (left * (n - left) * (above - below) ** 2).argmax(-1, keepdims=True)
    middle: NDArray[np.float64] = np.take_along_axis((below + above) / 2, cut, axis=-1)[..., 0]
    return middle


class _Pair:
    """SALs of one clean and one poisoned run as arrays, (epochs, layers)."""

    def __init__(self, clean: Readings, poisoned: Readings, beta: str | float, weight: str) -> None:
        if len(clean) != len(poisoned) or not clean:
            raise UsageError(f"{len(clean)} clean epochs against {len(poisoned)}. Train both equally long, at least 1.")
        self.names = list(clean[0])
        if not self.names:
            raise HowfarError("no layer was probed, so there is no UD. Train with probe_images above 0.")
        for epoch, (a, b) in enumerate(zip(clean, poisoned, strict=True), 1):
            if set(a) != set(self.names) or set(b) != set(self.names):
                raise UsageError(
                    f"epoch {epoch}: clean and poisoned model have different layers. Use one architecture."
                )
        self.beta = beta
        self.clean, self.clean_error = self._arrays(clean, "clean")
        self.poisoned, self.poisoned_error = self._arrays(poisoned, "poisoned")
        sizes = [clean[0][name].parameters if weight == "parameters" else 1 for name in self.names]
        self.weights = np.array(sizes, dtype=np.float64)

    def _arrays(self, readings: Readings, which: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        for epoch, layers in enumerate(readings, 1):
            for name in self.names:
                if not math.isfinite(layers[name].sal):
                    raise HowfarError(
                        f"SAL of layer {name} in epoch {epoch} of the {which} run is not finite. Retrain."
                    )
        sal = [[layers[name].sal for name in self.names] for layers in readings]
        error = [[layers[name].standard_error for name in self.names] for layers in readings]
        return np.array(sal, dtype=np.float64), np.array(error, dtype=np.float64)

    def threshold(self, clean: NDArray[np.float64]) -> NDArray[Any]:
        """Return β for SALs of shape (..., epochs, layers)."""
        if self.beta == "per-epoch":
            return np.asarray(two_means(clean).mean(-1))
        if self.beta == "pooled":
            return two_means(clean.reshape(*clean.shape[:-2], -1))
        return np.broadcast_to(np.float64(self.beta), clean.shape[:-2])

    def counts(self, sal: NDArray[np.float64], beta: NDArray[Any]) -> NDArray[np.float64]:
        """Return the weight of learnable layers, (..., epochs)."""
        counted: NDArray[np.float64] = (sal > beta[..., None, None]) @ self.weights
        return counted

    def point(self) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]:
        beta = self.threshold(self.clean)
        clean, poisoned = self.counts(self.clean, beta), self.counts(self.poisoned, beta)
        if clean.sum() == 0:
            raise HowfarError(
                f"no layer of the clean model has SAL above {float(beta):.4g}, so UD has no denominator. "
                "Train the clean model for longer, or widen the radius."
            )
        return float(poisoned.sum() / clean.sum()), float(beta), clean, poisoned

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        shape = (count, *self.clean.shape)
        clean = self.clean + self.clean_error * rng.standard_normal(shape)
        poisoned = self.poisoned + self.poisoned_error * rng.standard_normal(shape)
        beta = self.threshold(clean)
        above = np.maximum(self.counts(clean, beta).sum(-1), self.weights.min())
        ratio: NDArray[np.float64] = self.counts(poisoned, beta).sum(-1) / above
        return ratio


def _margins(
    pairs: list[_Pair], sals: list[NDArray[np.float64]], points: list[Any]
) -> tuple[dict[str, float], ...]:  # fmt: skip
    """Return SAL − β by epoch and layer, mean over the pairs."""
    mean = np.mean([sal - point[1] for sal, point in zip(sals, points, strict=True)], axis=0)
    return tuple(dict(zip(pairs[0].names, epoch.tolist(), strict=True)) for epoch in mean)


def _as_runs(readings: Readings | Sequence[Readings]) -> list[Readings]:
    if not readings:
        raise UsageError("no readings at all. Probe at least one epoch.")
    return [readings] if isinstance(readings[0], Mapping) else list(readings)  # type: ignore[list-item, arg-type]

"""Unlearnable distance (UD) ("How Far Are We from True Unlearnability?", ICLR 2025)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from howfar.errors import HowfarError, UsageError, unknown
from howfar.score.estimate import Estimate
from howfar.score.intervals import Spread, mean_estimate

VERSION = 2
Rule = Literal["per-epoch", "pooled"]  # by which β is found
Weight = Literal["layers", "parameters"]
DRAWS = 1000  # of all SALs, for the noise that the choice of probe images leaves


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
        ud: learnable layers of the poisoned model ÷ of the clean model, over all epochs; mean over seeds. Its interval
            does not reach below 0, the smallest possible value.
        beta: the threshold, nats.
        probe_error: standard error of the value that comes from the choice of probe images. Scatter between seeds
            contains it where each seed has probe images of its own.
        values: UD of every seed.
        clean_layers: learnable layers of the clean model, per epoch (weighted, if so asked).
        poisoned_layers: the same of the poisoned model.
        clean_margins: SAL − β of every layer of the clean model, nats, one mapping per epoch; mean over seeds.
        poisoned_margins: the same of the poisoned model.
    """

    ud: Estimate
    beta: float
    probe_error: float
    values: tuple[float, ...]
    clean_layers: tuple[float, ...]
    poisoned_layers: tuple[float, ...]
    clean_margins: tuple[dict[str, float], ...] = ()
    poisoned_margins: tuple[dict[str, float], ...] = ()

    def __repr__(self) -> str:
        """Return value, interval and n; the margins of all layers and epochs are left out."""
        return f"Distance({self.ud.text}, beta = {self.beta:.4f} nats)"


def unlearnable_distance(
    clean: Readings | Sequence[Readings],
    poisoned: Readings | Sequence[Readings],
    *,
    beta: Rule | float = "per-epoch",
    weight: Weight = "layers",
    confidence: float = 0.95,
    spread: Spread | None = None,
) -> Distance:
    """Return UD of one pair of runs, or the mean UD of several pairs (one per seed).

    A layer is learnable in an epoch when its SAL exceeds β. β is the midpoint of the two centers of exact
    one-dimensional 2-means on the clean SALs: of each epoch, then averaged (as released), or of all epochs pooled.

    The interval is Student's t over the UDs of single seeds. It is about other seeds of initial weights, batches and
    noise; the noise of the probe images is reported apart from it (each SAL is redrawn with its standard error, β
    included). Near 0, where UD is skewed, three seeds alone promise too much: give the ``spread`` of a table.

    Args:
        clean: readings of the clean run, one mapping per epoch; or a list of such runs.
        poisoned: readings of the poisoned run, the same epochs and layers; or a list.
        beta: how β is found, or its value in nats.
        weight: count layers, or the parameters in them.
        confidence: of the interval.
        spread: of the UDs of all protectors of the same victim, from ``howfar.score.intervals.pooled``.

    Raises:
        HowfarError: if no clean layer is learnable, or a reading is not finite.
        UsageError: if runs, epochs or layers do not match.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
        >>> X, y = torch.rand(40, 3, 16, 16), torch.arange(40) % 2
        >>> from howfar import sharpness, unlearnable_distance
        >>> clean, poisoned = ([sharpness(model, (images, y))] for images in (X, X / 2))  # one reading per epoch
        >>> unlearnable_distance(clean, poisoned).ud.value >= 0, unlearnable_distance(clean, clean).ud.value
        (True, 1.0)
    """
    if isinstance(clean, Mapping) or isinstance(poisoned, Mapping):
        raise UsageError("readings are a list with one mapping per epoch. For a single epoch, pass [readings].")
    return CleanRuns(clean, beta=beta, weight=weight).distance(poisoned, confidence=confidence, spread=spread)


class CleanRuns:
    """Clean runs with their β, prepared once so that many poisoned runs can be compared with them."""

    def __init__(
        self,
        clean: Readings | Sequence[Readings],
        *,
        beta: Rule | float = "per-epoch",
        weight: Weight = "layers",
    ) -> None:
        """Find β of every clean run; arguments and errors as for ``unlearnable_distance``."""
        if isinstance(beta, str) and beta not in get_args(Rule):
            raise unknown("rule for beta", beta, get_args(Rule))
        if not isinstance(beta, str) and not math.isfinite(beta):
            raise UsageError(f"beta = {beta} is no threshold. Give a number of nats, or 'per-epoch'.")
        if weight not in get_args(Weight):
            raise unknown("weight", weight, get_args(Weight))
        rng = np.random.default_rng(0)  # the draws are part of the definition: same readings, same error
        self._runs = [_Clean(run, beta, weight, rng) for run in _as_runs(clean)]

    def distance(
        self, poisoned: Readings | Sequence[Readings], *, confidence: float = 0.95, spread: Spread | None = None
    ) -> Distance:
        """Return UD of poisoned runs, paired with the clean ones in their order."""
        runs = _as_runs(poisoned)
        if len(runs) != len(self._runs):
            raise UsageError(f"{len(self._runs)} clean runs but {len(runs)} poisoned ones. Pair them by seed.")
        pairs = [(clean, clean.partner(run)) for clean, run in zip(self._runs, runs, strict=True)]
        counts = np.array([(clean.layers, clean.counts(run.sal, clean.beta)) for clean, run in pairs])
        values = (counts[:, 1].sum(-1) / counts[:, 0].sum(-1)).tolist()
        layers = counts.mean(0)
        return Distance(
            ud=mean_distance(values, confidence, spread=spread),
            beta=float(np.mean([clean.beta for clean, _ in pairs])),
            probe_error=float(np.mean([clean.draws(run) for clean, run in pairs], axis=0).std()),
            values=tuple(values),
            clean_layers=tuple(layers[0].tolist()),
            poisoned_layers=tuple(layers[1].tolist()),
            clean_margins=_margins([(clean, clean.run.sal) for clean, _ in pairs]),
            poisoned_margins=_margins([(clean, run.sal) for clean, run in pairs]),
        )


def mean_distance(values: Sequence[float], confidence: float = 0.95, *, spread: Spread | None = None) -> Estimate:
    """Return the mean UD of several seeds with Student's t interval, cut at 0, below which no UD lies.

    Arguments are those of ``howfar.score.intervals.mean_estimate``.
    """
    return mean_estimate(values, confidence, spread=spread).within(0.0, math.inf)


def two_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the midpoint of the two centers of exact 2-means along the last axis.

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


class _Run:
    """SAL of one run and its standard errors as arrays, (epochs, layers)."""

    def __init__(self, readings: Readings, names: Sequence[str], which: str) -> None:
        for epoch, layers in enumerate(readings, 1):
            if set(layers) != set(names):
                raise UsageError(
                    f"epoch {epoch}: clean and poisoned model have different layers. Use one architecture."
                )
        rows = [[layers[name] for name in names] for layers in readings]
        wrong = next((one for layers in readings for one in layers.values() if not isinstance(one, Reading)), None)
        if wrong is not None:
            raise UsageError(f"a reading is a {type(wrong).__name__}. Pass what sharpness returns, epoch by epoch.")
        self.sal = np.array([[reading.sal for reading in row] for row in rows], dtype=np.float64)
        self.error = np.array([[reading.standard_error for reading in row] for row in rows], dtype=np.float64)
        lost = np.argwhere(~np.isfinite(self.sal))
        if len(lost):
            epoch, layer = lost[0]
            raise HowfarError(
                f"SAL of layer {names[layer]} in epoch {epoch + 1} of the {which} run is not finite. Retrain."
            )


class _Clean:
    """One clean run: its learnable layers, and ``DRAWS`` times what they could have been."""

    def __init__(self, readings: Readings, beta: str | float, weight: str, rng: np.random.Generator) -> None:
        self.names = list(readings[0]) if readings else []
        if not self.names:
            raise HowfarError("no layer was probed, so there is no UD. Train with probe_images above 0.")
        self.run = _Run(readings, self.names, "clean")
        sizes = [readings[0][name].parameters if weight == "parameters" else 1 for name in self.names]
        self._rule, self._weights = beta, np.array(sizes, dtype=np.float64)
        self.beta = float(self._threshold(self.run.sal))
        self.layers = self.counts(self.run.sal, np.float64(self.beta))
        if self.layers.sum() == 0:
            raise HowfarError(
                f"no layer of the clean model has SAL above {self.beta:.4g}, so UD has no denominator. "
                "Train the clean model for longer, or widen the radius."
            )
        shape = (DRAWS, *self.run.sal.shape)
        redrawn = self.run.sal + self.run.error * rng.standard_normal(shape)
        self._betas = self._threshold(redrawn)
        self._above = np.maximum(self.counts(redrawn, self._betas).sum(-1), self._weights.min())
        noise = rng.standard_normal(shape)  # of the poisoned run, whichever it will be
        self._least, self._most = noise.min(0), noise.max(0)
        self._noise = np.ascontiguousarray(np.moveaxis(noise, 0, -1))

    def partner(self, readings: Readings) -> _Run:
        """Return the poisoned run to be compared with this one."""
        if len(readings) != len(self.run.sal):
            raise UsageError(
                f"{len(self.run.sal)} clean epochs against {len(readings)}. Train both equally long, at least 1."
            )
        return _Run(readings, self.names, "poisoned")

    def counts(self, sal: NDArray[np.float64], beta: NDArray[Any] | float) -> NDArray[np.float64]:
        """Return the weight of the layers with SAL above β: (..., epochs, layers) -> (..., epochs)."""
        counted: NDArray[np.float64] = (sal > np.asarray(beta)[..., None, None]) @ self._weights
        return counted

    def draws(self, poisoned: _Run) -> NDArray[np.float64]:
        """Return UD of a poisoned run with all SALs redrawn, (DRAWS,).

        A layer that no draw brings near β is counted once for all of them; only the others are drawn.
        """
        always = poisoned.sal + poisoned.error * self._least > self._betas.max()
        never = poisoned.sal + poisoned.error * self._most <= self._betas.min()
        open_ = ~(always | never)
        sal, error = poisoned.sal[open_][:, None], poisoned.error[open_][:, None]
        weights = np.broadcast_to(self._weights, open_.shape)
        drawn = weights[open_] @ (sal + error * self._noise[open_] > self._betas)
        ratio: NDArray[np.float64] = (weights[always].sum() + drawn) / self._above
        return ratio

    def _threshold(self, sal: NDArray[np.float64]) -> NDArray[Any]:
        """Return β for SALs of shape (..., epochs, layers)."""
        if self._rule == "per-epoch":
            return np.asarray(two_means(sal).mean(-1))
        if self._rule == "pooled":
            return np.asarray(two_means(sal.reshape(*sal.shape[:-2], -1)))
        return np.broadcast_to(np.float64(self._rule), sal.shape[:-2])


def _margins(runs: Sequence[tuple[_Clean, NDArray[np.float64]]]) -> tuple[dict[str, float], ...]:
    """Return SAL − β by epoch and layer, mean over the runs."""
    mean = np.mean([sal - clean.beta for clean, sal in runs], axis=0)
    return tuple(dict(zip(runs[0][0].names, epoch.tolist(), strict=True)) for epoch in mean)


def _as_runs(readings: Readings | Sequence[Readings]) -> list[Readings]:
    if not readings:
        raise UsageError("no readings at all. Probe at least one epoch.")
    return [readings] if isinstance(readings[0], Mapping) else list(readings)  # type: ignore[list-item, arg-type]

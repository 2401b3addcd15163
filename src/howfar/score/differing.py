"""Parameters whose final values differ because of the data, and not because of the batch order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.errors import UsageError

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Differing:
    """A test of every parameter and every layer, false discoveries controlled.

    Attributes:
        parameters: which parameters differ, (parameters,).
        layers: which layers do, (layers,).
        by_layer: share of each layer's parameters that differ, (layers,).
        p_values: of every parameter.
        effect: |mean poisoned − mean clean| ÷ mean distance of two clean runs, (parameters,).
    """

    parameters: Bools
    layers: Bools
    by_layer: Floats
    p_values: Floats
    effect: Floats

    def __repr__(self) -> str:
        """Return how many parameters and layers differ; the arrays are left out."""
        return (
            f"Differing({int(self.parameters.sum())} of {self.parameters.size} parameters and {int(self.layers.sum())} "
            f"of {self.layers.size} layers)"
        )

    @property
    def share(self) -> float:
        """Share of parameters that differ."""
        return float(self.parameters.mean())

    @property
    def layer_share(self) -> float:
        """Share of layers that differ."""
        return float(self.layers.mean())


def differing(
    clean: Floats, poisoned: Floats, layers: Sequence[int] | NDArray[np.int64], *, rate: float = 0.05
) -> Differing:
    """Test the end of every parameter's path over runs that differ in the order of batches only.

    All runs start from the same weights. A parameter differs if the mean over poisoned runs is further from the mean
    over clean runs than runs of one kind are from each other: a two-sample t-test whose variances are drawn towards
    those of the other parameters of the layer (Smyth, Statistical Applications in Genetics and Molecular Biology 3,
    2004), as a few runs know little of a variance. Benjamini and Hochberg's procedure (JRSS B 57, 1995) keeps the
    expected share of false discoveries below ``rate``. A layer differs by Simes' test of its parameters, again with
    Benjamini and Hochberg's procedure.

    Args:
        clean: last weights of the clean runs, (runs, parameters).
        poisoned: the same of the poisoned runs.
        layers: which layer each parameter belongs to, from 0.
        rate: of false discoveries.

    Raises:
        UsageError: for less than two runs of a kind, or shapes that do not match.
    """
    from scipy import stats

    one, other = np.asarray(clean, np.float64), np.asarray(poisoned, np.float64)
    belongs = np.asarray(layers)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1:] != other.shape[1:] or one.shape[1:] != belongs.shape:
        raise UsageError(f"runs of shape {one.shape} and {other.shape} do not fit {belongs.shape} parameters.")
    if min(len(one), len(other)) < 2:
        raise UsageError("the scatter between runs is not known from one run. Train at least two of each kind.")
    freedom = len(one) + len(other) - 2
    scatter = (one.var(0, ddof=1) * (len(one) - 1) + other.var(0, ddof=1) * (len(other) - 1)) / freedom
    gap = np.abs(other.mean(0) - one.mean(0))
    p_values = np.ones_like(gap)
    for layer in range(int(belongs.max()) + 1):
        mine = belongs == layer
        variance, more = _moderated(scatter[mine], freedom)
        error = np.sqrt(variance * (1 / len(one) + 1 / len(other)))
        ratio = np.divide(gap[mine], error, out=np.where(gap[mine] > 0, np.inf, 0.0), where=error > 0)
        p_values[mine] = 2 * stats.t.sf(ratio, freedom + more)
    found = stats.false_discovery_control(p_values) <= rate
    return Differing(
        parameters=found,
        layers=groups_that_differ(p_values, belongs, rate=rate),
        by_layer=np.array([found[belongs == layer].mean() for layer in range(int(belongs.max()) + 1)]),
        p_values=p_values,
        effect=gap / np.maximum(_between(one), np.finfo(np.float64).tiny),
    )


def groups_that_differ(p_values: Floats, groups: NDArray[np.int64], *, rate: float = 0.05) -> Bools:
    """Return which groups of parameters differ: Simes' test of each, then Benjamini and Hochberg's procedure.

    Args:
        p_values: of every parameter.
        groups: which one each belongs to, from 0: a layer, or a filter.
        rate: of false discoveries.
    """
    from scipy import stats

    order = np.lexsort((p_values, groups))
    parts = np.split(p_values[order], np.cumsum(np.bincount(groups))[:-1])
    simes = np.array([(part * len(part) / np.arange(1, len(part) + 1)).min() for part in parts])
    found: Bools = stats.false_discovery_control(simes) <= rate
    return found


def _between(runs: Floats) -> Floats:
    """Return the mean distance of two runs, for every parameter."""
    pairs = [(i, j) for i in range(len(runs)) for j in range(i)]
    mean: Floats = np.mean([np.abs(runs[i] - runs[j]) for i, j in pairs], axis=0)
    return mean


def _moderated(scatter: Floats, freedom: int) -> tuple[Floats, float]:
    """Return variances drawn towards a common one, and how many degrees of freedom that one is worth.

    Smyth 2004, section 6.2: the scatter of the logarithms beyond what ``freedom`` explains says how much the
    variances truly differ.
    """
    from scipy.special import digamma, polygamma

    known = scatter[scatter > 0]
    if len(known) < 2:
        return scatter, 0.0
    logs = np.log(known)
    beyond = float(logs.var(ddof=1) - polygamma(1, freedom / 2))
    center = float(logs.mean() - digamma(freedom / 2) + np.log(freedom / 2))
    if beyond <= 0:  # all variances are alike
        return np.full_like(scatter, np.exp(center)), 1e6
    prior = 2 * _inverse_trigamma(beyond)
    common = np.exp(center + digamma(prior / 2) - np.log(prior / 2))
    drawn: Floats = (prior * common + freedom * scatter) / (prior + freedom)
    return drawn, prior


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value, by Newton's method on 1/trigamma, which is convex."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        known = float(polygamma(1, x))
        step = known * (1 - known / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x

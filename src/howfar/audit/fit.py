"""Fit the calibration to data sets that are known to be clean, noisy or protected; ``studies/audit_roc.py`` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from howfar.audit.calibration import PASSED, Calibration

RATE = 0.05  # false-alarm rate of a single detector's threshold
STRENGTH = 1.0  # inverse strength of the L2 penalty
LEAST = 0.03  # minimum scale of a detector


@dataclass(frozen=True)
class Case:
    """A data set with known ground truth.

    Attributes:
        source: the underlying data set.
        size: nominal number of images.
        family: kind of protection; empty for clean and noisy sets.
        scores: by detector.
    """

    source: str
    size: int
    family: str
    scores: Mapping[str, float]


def fit(cases: Sequence[Case]) -> Calibration:
    """Fit a calibration; its power is cross-validated over sources.

    Args:
        cases: protected and unprotected sets of every size, of at least two sources.
    """
    whole = fitted(cases)
    hits: dict[int, list[bool]] = {size: [] for size in whole.sizes}
    for source in sorted({case.source for case in cases}):
        part = fitted([case for case in cases if case.source != source])
        for case in cases:
            if case.source == source and case.family:
                hits[case.size].append(part.suspicion(case.scores, case.size) > 1)
    return Calibration(**{**whole.__dict__, "found": [float(np.mean(hits[size])) for size in whole.sizes]})


def fitted(cases: Sequence[Case]) -> Calibration:
    """Fit a calibration without its power."""
    sizes, names = sorted({case.size for case in cases}), list(cases[0].scores)
    free = {size: [case for case in cases if case.size == size and not case.family] for size in sizes}
    columns = {name: [np.array([case.scores[name] for case in free[size]]) for size in sizes] for name in names}

    def each(of: str, share: float) -> list[float]:
        return [float(np.quantile(values, share)) for values in columns[of]]

    empty = Calibration(
        sizes=sizes,
        middle={name: each(name, 0.5) for name in names},
        scale={
            name: [max((high - low) / 2, LEAST) for low, high in zip(each(name, 0.1), each(name, 0.9), strict=True)]
            for name in names
        },
        thresholds={name: each(name, 1 - RATE) for name in names},
        weights=dict.fromkeys(names, 1.0), limits=[1.0] * (len(sizes) - 1), unprotected=[0] * (len(sizes) - 1),
        found=[0.0] * len(sizes), families={},
    )  # fmt: skip
    inputs = np.array([list(empty.standard(case.scores, case.size).values()) for case in cases])
    truth = np.array([bool(case.family) for case in cases])
    weights = _weights(inputs, truth)
    part = Calibration(**{**empty.__dict__, "weights": dict(zip(names, map(float, weights), strict=True))})
    bounds = [_limit(part, [*free[low], *free[high]]) for low, high in pairwise(sizes)]
    kinds = [case.family for case in cases if case.family]
    return Calibration(
        **{
            **part.__dict__,
            "limits": [limit for limit, _ in bounds],
            "unprotected": [count for _, count in bounds],
            "families": _families(names, inputs[truth], kinds),
        }
    )


def _limit(part: Calibration, cases: Sequence[Case]) -> tuple[float, int]:
    """Return the limit on the combined score of unprotected sets, and the smallest number of sets of a source."""
    scores: dict[str, list[float]] = {}
    for case in cases:
        scores.setdefault(case.source, []).append(part.combined(case.scores, case.size))
    highest = [sorted(values)[-1 - min(PASSED, len(values) - 1)] for values in scores.values()]
    return max(*highest, 1e-3), min(map(len, scores.values()))


def _weights(inputs: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weights of a logistic regression in which no weight is negative, both classes counting the same."""
    from scipy.optimize import minimize

    signs = np.where(truth, 1.0, -1.0)
    share = np.where(truth, truth.mean(), 1 - truth.mean())

    def loss(parameters: NDArray[np.float64]) -> float:
        margins = signs * (inputs @ parameters[:-1] + parameters[-1])
        return float((np.logaddexp(0, -margins) / share).sum() / 2 + (parameters[:-1] ** 2).sum() / (2 * STRENGTH))

    start = np.ones(inputs.shape[1] + 1)
    bounds = [*[(0.0, None)] * inputs.shape[1], (None, None)]
    weights: NDArray[np.float64] = minimize(loss, start, bounds=bounds).x[:-1]
    return weights


def _families(
    names: Sequence[str], inputs: NDArray[np.float64], kinds: Sequence[str]
) -> dict[str, tuple[dict[str, float], float]]:
    """Return the multinomial logit of the kinds of protection."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=5000).fit(inputs, kinds)
    return {
        str(name): (dict(zip(names, map(float, row), strict=True)), float(offset))
        for name, row, offset in zip(model.classes_, model.coef_, model.intercept_, strict=True)
    }

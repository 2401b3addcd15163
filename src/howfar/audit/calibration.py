"""Calibration of detector scores on data sets that are known to be clean, noisy or protected.

A set counts as protected if its combined score exceeds that of all but one of the unprotected sets of every calibration
source, among those of the next smaller and the next larger number of images. If a clean set is drawn like the n sets of
one of these sources, this happens with a probability of at most 2 ÷ (n + 1) (conformal prediction: Vovk, Gammerman and
Shafer, 2005). The maximum over the sources keeps this for each of them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from howfar.errors import HowfarError

RATE = 0.05  # false-alarm rate of a single detector's threshold
STRENGTH = 1.0  # inverse strength of the L2 penalty
LARGEST = 1e6  # upper bound of all numbers in a calibration file
LEAST = 0.03  # minimum scale of a detector
PASSED = 1  # unprotected sets of a source that may exceed the limit


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


@dataclass(frozen=True)
class Calibration:
    """Parameters that turn scores into a verdict.

    Attributes:
        sizes: numbers of images, ascending; the lists below have one entry for each, or for each pair of neighbors.
        middle: median score of unprotected sets, by detector.
        scale: half-width of the central 80 % of unprotected sets, by detector.
        thresholds: score exceeded by ``RATE`` of the unprotected sets, by detector.
        weights: of the standardized scores in the combined score, by detector; none is negative.
        limits: combined score above which a set between one size and the next counts as protected.
        unprotected: number of unprotected sets of one source behind each limit.
        found: share of protected sets that are found if their source is left out of the calibration.
        families: weights and intercept of every kind of protection, a multinomial logit.
    """

    sizes: list[int]
    middle: dict[str, list[float]]
    scale: dict[str, list[float]]
    thresholds: dict[str, list[float]]
    weights: dict[str, float]
    limits: list[float]
    unprotected: list[int]
    found: list[float]
    families: dict[str, tuple[dict[str, float], float]]

    def suspicion(self, scores: Mapping[str, float], size: int) -> float:
        """Return the combined score ÷ its limit; above 1, a set looks protected."""
        return self.combined(scores, size) / self.limits[self._between(size)]

    def combined(self, scores: Mapping[str, float], size: int) -> float:
        """Return the combined score, from 0."""
        return sum(self.weights[name] * value for name, value in self.standard(scores, size).items())

    def false_alarms(self, size: int) -> tuple[float, int]:
        """Return the bound on the rate of false alarms for a source, and the number of its sets behind the bound."""
        count = self.unprotected[self._between(size)]
        return (PASSED + 1) / (count + 1), count

    def power(self, size: int) -> float:
        """Return the share of protected sets that are found at a number of images."""
        place = self._between(size)
        return min(self.found[place], self.found[place + 1]) if size < self.sizes[-1] else self.found[-1]

    def enough(self, power: float) -> int | None:
        """Return the smallest number of images from which on ``power`` is reached; None if it never is."""
        found = None
        for size, share in zip(reversed(self.sizes), reversed(self.found), strict=True):
            if share < power:
                break
            found = size
        return found

    def above(self, scores: Mapping[str, float], size: int) -> list[str]:
        """Return the detectors above their own threshold."""
        return [name for name, score in scores.items() if score > self._at(self.thresholds[name], size)]

    def family(self, scores: Mapping[str, float], size: int) -> tuple[str, float]:
        """Return the most likely kind of protection, and its probability among known kinds."""
        values = self.standard(scores, size)
        logits = {
            name: offset + sum(weights[each] * values[each] for each in weights)
            for name, (weights, offset) in self.families.items()
        }
        best = max(logits, key=lambda name: logits[name])
        return best, 1 / sum(math.exp(value - logits[best]) for value in logits.values())

    def standard(self, scores: Mapping[str, float], size: int) -> dict[str, float]:
        """Return the log-scaled excess of every score over unprotected sets, so that no detector dominates."""
        return {
            name: math.log1p(
                max((scores[name] - self._at(self.middle[name], size)) / self._at(self.scale[name], size), 0.0)
            )
            for name in self.weights
        }

    def _at(self, values: Sequence[float], size: int) -> float:
        """Return a value between those of the next sizes, linear in the logarithm of the size."""
        return float(np.interp(math.log(max(size, 1)), np.log(self.sizes), values))

    def _between(self, size: int) -> int:
        """Return the place of the pair of neighboring sizes that a size lies between."""
        inner = self.sizes[1:-1]
        return sum(size >= each for each in inner)

    def as_json(self) -> str:
        """Return the content of the calibration file."""
        return json.dumps(asdict(self), indent=1) + "\n"


@cache
def calibrated() -> Calibration:
    """Return the calibration shipped with the package.

    Raises:
        HowfarError: if its file is damaged.
    """
    try:
        values = json.loads(files("howfar.audit").joinpath("calibration.json").read_text(encoding="utf-8"))
        found = TypeAdapter(Calibration).validate_python(values)
        _check(found)
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise HowfarError(f"howfar's audit calibration is damaged ({error}). Install howfar again.") from error


def _check(found: Calibration) -> None:
    """Raise ``ValueError`` unless the parts of a calibration fit each other."""
    tables = [found.middle, found.scale, found.thresholds]
    weights = [found.weights, *(each for each, _ in found.families.values())]
    names = [*map(set, tables), *map(set, weights)]
    if not found.families or any(each != set(found.weights) for each in names):
        raise ValueError("its detectors are inconsistent")
    count, rows = len(found.sizes), [row for table in tables for row in table.values()]
    lengths = {len(row) for row in (*rows, found.found)}, {len(found.limits), len(found.unprotected)}
    if count < 2 or found.sizes != sorted(set(found.sizes)) or lengths != ({count}, {count - 1}):
        raise ValueError("its sizes are inconsistent")
    numbers = [
        *found.sizes,
        *found.limits,
        *found.unprotected,
        *found.found,
        *(one for _, one in found.families.values()),
    ]
    numbers += [value for row in rows for value in row] + [value for one in weights for value in one.values()]
    positive = [*found.sizes, *found.limits, *(value for row in found.scale.values() for value in row)]
    if not all(abs(value) < LARGEST for value in numbers) or min(positive) <= 0 or min(found.weights.values()) < 0:
        raise ValueError("its numbers are out of range")


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

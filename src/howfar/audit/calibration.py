"""Calibration of detector scores on data sets that are known to be clean, noisy or protected."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from pydantic import TypeAdapter

from howfar.errors import HowfarError

RATE = 0.05  # allowed false-alarm rate on unprotected sets
STRENGTH = 1.0  # inverse strength of the L2 penalty
FLOOR = 0.4  # lower bound of the threshold on the suspicion
LARGEST = 1e6  # upper bound of all numbers in a calibration file
LEAST = 0.03  # minimum scale of a detector


@dataclass(frozen=True)
class Case:
    """A data set with known ground truth.

    Attributes:
        base: the underlying data set.
        family: kind of protection; empty for clean and noisy sets.
        scores: by detector.
    """

    base: str
    family: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """Parameters that turn scores into a verdict.

    Attributes:
        middle: median score of unprotected sets, by detector.
        scale: half-width of the central 80 % of unprotected sets, by detector.
        thresholds: score exceeded by ``RATE`` of the unprotected sets, by detector.
        weights: of the standardized scores in the suspicion, by detector.
        offset: intercept of the suspicion, a logit.
        threshold: suspicion above which a set counts as protected.
        families: weights and intercept of every kind of protection, a multinomial logit.
        false_alarms: false-alarm rate on unprotected sets, with their base left out of the calibration.
        cases: number of data sets used for fitting.
    """

    middle: dict[str, float]
    scale: dict[str, float]
    thresholds: dict[str, float]
    weights: dict[str, float]
    offset: float
    threshold: float
    families: dict[str, tuple[dict[str, float], float]]
    false_alarms: float
    cases: int

    def suspicion(self, scores: Mapping[str, float]) -> float:
        """Return the combined score for protection, from 0 to 1."""
        return 1 / (1 + math.exp(-self._sum(scores, self.weights, self.offset)))

    def family(self, scores: Mapping[str, float]) -> tuple[str, float]:
        """Return the most likely kind of protection, and its probability among known kinds."""
        logits = {name: self._sum(scores, weights, offset) for name, (weights, offset) in self.families.items()}
        best = max(logits, key=lambda name: logits[name])
        return best, 1 / sum(math.exp(value - logits[best]) for value in logits.values())

    def _sum(self, scores: Mapping[str, float], weights: Mapping[str, float], offset: float) -> float:
        return offset + sum(weights[name] * self._standard(name, scores[name]) for name in weights)

    def _standard(self, name: str, score: float) -> float:
        """Return the log-scaled excess of a score over unprotected sets, so that no detector dominates."""
        return math.log1p(max((score - self.middle[name]) / self.scale[name], 0.0))

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
        tables = [
            found.middle,
            found.scale,
            found.thresholds,
            found.weights,
            *(each for each, _ in found.families.values()),
        ]
        if not found.families or any(set(table) != set(tables[0]) for table in tables):
            raise ValueError("its detectors are inconsistent")
        numbers = [
            *(value for table in tables for value in table.values()),
            *(each for _, each in found.families.values()),
        ]
        if not all(abs(value) < LARGEST for value in numbers) or min(found.scale.values()) <= 0:
            raise ValueError("its numbers are out of range")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise HowfarError(f"howfar's audit calibration is damaged ({error}). Install howfar again.") from error


def fit(cases: Sequence[Case]) -> Calibration:
    """Fit a calibration; its false-alarm rate is cross-validated over bases.

    Args:
        cases: protected and unprotected sets of at least two bases.
    """
    whole = _fitted(cases)
    alarms = [
        part.suspicion(case.scores) > part.threshold
        for base in sorted({case.base for case in cases})
        for part in [_fitted([case for case in cases if case.base != base])]
        for case in cases
        if case.base == base and not case.family
    ]
    return Calibration(**{**whole.__dict__, "false_alarms": float(np.mean(alarms))})


def _fitted(cases: Sequence[Case]) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    free = [case for case in cases if not case.family]
    names = list(cases[0].scores)
    columns = {name: np.array([case.scores[name] for case in free]) for name in names}
    spread = {name: np.quantile(values, (0.1, 0.9)) for name, values in columns.items()}
    empty = Calibration(
        middle={name: float(np.median(values)) for name, values in columns.items()},
        scale={name: float(max((high - low) / 2, LEAST)) for name, (low, high) in spread.items()},
        thresholds={name: float(np.quantile(values, 1 - RATE)) for name, values in columns.items()},
        weights=dict.fromkeys(names, 0.0), offset=0.0, threshold=0.5, families={}, false_alarms=RATE, cases=len(cases),
    )  # fmt: skip
    inputs = np.array([[empty._standard(name, case.scores[name]) for name in names] for case in cases])
    truth = np.array([bool(case.family) for case in cases])
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=5000).fit(inputs, truth)
    weights = dict(zip(names, map(float, model.coef_[0]), strict=True))
    part = Calibration(**{**empty.__dict__, "weights": weights, "offset": float(model.intercept_[0])})
    threshold = float(np.quantile([part.suspicion(case.scores) for case in free], 1 - RATE))
    kinds = np.array([case.family for case in cases])
    kind = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=5000).fit(inputs[truth], kinds[truth])
    families = {
        str(name): (dict(zip(names, map(float, row), strict=True)), float(offset))
        for name, row, offset in zip(kind.classes_, kind.coef_, kind.intercept_, strict=True)
    }
    return Calibration(**{**part.__dict__, "threshold": max(threshold, FLOOR), "families": families})

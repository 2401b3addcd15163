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

import numpy as np
from pydantic import TypeAdapter

from howfar.errors import HowfarError

LARGEST = 1e6  # upper bound of all numbers in a calibration file
PASSED = 1  # unprotected sets of a source that may exceed the limit


@dataclass(frozen=True)
class Calibration:
    """Parameters that turn scores into a verdict.

    Attributes:
        sizes: numbers of images, ascending; the lists below have one entry for each, or for each pair of neighbors.
        middle: median score of unprotected sets, by detector.
        scale: half-width of the central 80 % of unprotected sets, by detector.
        thresholds: score exceeded by 5 % of the unprotected sets, by detector.
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

"""SAL of one layer, or of one filter."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from howfar.arrays import PerExample


@dataclass(frozen=True)
class Sharpness:
    """Extremes of the loss when one layer's weights are perturbed within a ball.

    Attributes:
        rise: largest loss in the ball − loss, nats.
        fall: loss − smallest loss in the ball, nats.
        quality_drop: quality − quality at the largest loss; None in mode ``reference``.
        quality_rise: quality at the smallest loss − quality; None in mode ``reference``.
        standard_error: of ``sal`` as a mean over images, nats; NaN for a single image.
        parameters: number of weights in the layer.
        converged: in ``exact``, whether the first search settled and no other one found more; in ``reference``, whether
            all losses were finite; None in ``fast``.
    """

    rise: float
    fall: float
    quality_drop: float | None
    quality_rise: float | None
    standard_error: float
    parameters: int
    converged: bool | None = None

    def __repr__(self) -> str:
        """Return SAL with its standard error, rise and fall on one line."""
        error = f" ± {self.standard_error:.2g}" if math.isfinite(self.standard_error) else ""
        settled = "" if self.converged is None else ", converged" if self.converged else ", not converged"
        return (
            f"Sharpness(SAL {self.sal:.3g}{error} nats, standard error; rise {self.rise:.3g}, fall {self.fall:.3g}; "
            f"{self.parameters} weights{settled})"
        )

    @property
    def sal(self) -> float:
        """Sharpness-aware learnability: the larger of rise and fall, nats."""
        return max(self.rise, self.fall)

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> "Sharpness":
        """Return the reading stored in a record.

        Older versions did not measure a fall that could not exceed the rise: it counts as 0, which keeps SAL the same.
        """
        return cls(**{**values, "fall": values["fall"] or 0.0})

    @classmethod
    def of(
        cls, rise: PerExample, fall: PerExample, *, quality_drop: float, quality_rise: float, parameters: int,
        converged: bool | None = None,
    ) -> "Sharpness":  # fmt: skip
        """Return the reading for loss differences per image, nats, (images,) each."""
        up, down = float(rise.mean()), float(fall.mean())
        larger = rise if up >= down else fall
        error = float(larger.std()) / math.sqrt(len(larger)) if len(larger) > 1 else math.nan
        return cls(up, down, quality_drop, quality_rise, error, parameters, converged)

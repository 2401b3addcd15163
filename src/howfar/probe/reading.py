"""What SAL says of one layer, or of one filter."""

import math
from dataclasses import dataclass

from howfar.arrays import PerExample


@dataclass(frozen=True)
class Sharpness:
    """What a move of one layer's weights inside its ball does to the loss.

    Attributes:
        rise: largest loss in the ball − loss, nats.
        fall: loss − smallest loss in the ball, nats; None where ``fast`` saw that it cannot exceed the rise.
        quality_drop: quality − quality at the point of the largest loss; None in mode ``reference``.
        quality_rise: quality at the point of the smallest loss − quality; None where ``fall`` is, or in ``reference``.
        standard_error: of ``sal`` as a mean over images, nats; NaN for a single image, whose spread is unknown.
        parameters: number of weights in the layer.
        converged: whether the search settled; ``fast`` does not ask.
    """

    rise: float
    fall: float | None
    quality_drop: float | None
    quality_rise: float | None
    standard_error: float
    parameters: int
    converged: bool | None = None

    @property
    def sal(self) -> float:
        """Sharpness-aware learnability: the larger of rise and fall, nats."""
        return self.rise if self.fall is None else max(self.rise, self.fall)

    @classmethod
    def of(
        cls, rise: PerExample, fall: PerExample | None, *, quality_drop: float, quality_rise: float | None,
        parameters: int, converged: bool | None = None,
    ) -> "Sharpness":  # fmt: skip
        """Return the reading for differences of the loss per image, nats, (images,) each."""
        up, down = float(rise.mean()), None if fall is None else float(fall.mean())
        larger = rise if fall is None or up >= float(fall.mean()) else fall
        error = float(larger.std()) / math.sqrt(len(larger)) if len(larger) > 1 else math.nan
        return cls(up, down, quality_drop, quality_rise, error, parameters, converged)

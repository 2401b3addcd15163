"""Learning alignment: how much of what a run learned from protected images their clean originals would have taught."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from howfar.errors import UsageError
from howfar.score.estimate import Estimate
from howfar.score.intervals import Spread, mean_estimate


@runtime_checkable
class Measured(Protocol):
    """What ``howfar.alignment`` returns for a layer."""

    @property
    def cosine(self) -> float:
        """Cosine of the gradients."""


Cosines = Sequence[Mapping[str, Measured | float | None]]  # one mapping from layer to cosine for every epoch


def learning_alignment(cosines: Cosines) -> float:
    """Return the mean cosine over the epochs of a run and the layers of its network, from −1 to 1.

    1 means that every step on the protected images was a step on the clean ones; 0 that what was learned has nothing
    to do with them; negative values that it was unlearned. Layers whose gradient vanished are left out.

    Args:
        cosines: results of ``howfar.alignment`` after every epoch, or their cosines, by layer; None or NaN where a
            gradient was 0.

    Raises:
        UsageError: if there is not one cosine.

    Example:
        >>> round(learning_alignment([{"conv": 0.9, "head": 0.5}, {"conv": 0.1, "head": None}]), 2)
        0.4
    """
    if isinstance(cosines, Mapping):
        raise UsageError("cosines are a list with one mapping per epoch. For a single epoch, pass [cosines].")
    epochs = []
    for layers in cosines:
        found = [value.cosine if isinstance(value, Measured) else value for value in layers.values()]
        known = [value for value in found if value is not None and math.isfinite(value)]
        if known:
            epochs.append(sum(known) / len(known))
    if not epochs:
        raise UsageError("no epoch has a gradient to compare. Train with --set alignment_images=192.")
    return sum(epochs) / len(epochs)


def mean_alignment(values: Sequence[float], confidence: float = 0.95, *, spread: Spread | None = None) -> Estimate:
    """Return the mean learning alignment of several seeds with Student's t interval, cut at −1 and 1.

    Arguments are those of ``howfar.score.intervals.mean_estimate``.
    """
    return mean_estimate(values, confidence, spread=spread).within(-1.0, 1.0)

"""Advice on open verdicts: how many photographs and seeds would decide."""

import math

from howfar.photos.losses import Loss
from howfar.tables.decisions import BROKEN, QUANTILE

PART = 0.65  # of the distance to the threshold that seeds and test photographs may each take
MOST_PHOTOGRAPHS, MOST_SEEDS = 20_000, 30  # beyond which nobody can be advised
LONGER = "Train longer (--epochs), use more photographs, or give other photographs to pretrain on (--pretrain)"


def advice(loss: Loss, photographs: int) -> str:
    """Return a sentence on what would decide an open verdict; empty if it is decided.

    Photographs and seeds are those at which the interval of the retention would leave out one half, if the mean
    qualities stay as they are: the error of n test photographs falls with √n, that of n seeds too.

    Args:
        loss: of the photographs as they are.
        photographs: number of photographs that were given, those for testing included.
    """
    found = loss.decision
    if found.outcome != "cannot tell":
        return ""
    if found.lack == "learning" or loss.retention is None:
        return _learning(loss, photographs)
    if loss.retention.ends is None:
        return f"{loss.drop.n} seed{'s' * (loss.drop.n > 1)} give no interval here: add seeds (--seeds 0-4)."
    gap = abs(BROKEN - min(max(loss.retention.value, 0.0), 1.0))
    low, high = loss.retention.ends
    seeds = loss.drop.n * _ratio((high - low) / 2, gap)
    images = photographs * _ratio(QUANTILE * (loss.error or 0.0), gap) if loss.error is not None else 4 * photographs
    if not gap or seeds > MOST_SEEDS or images > MOST_PHOTOGRAPHS:
        return (
            "What remains is so close to half of what the originals teach that no reasonable number of photographs or "
            "seeds would decide it."
        )
    return f"{_listed(images, seeds, loss, photographs)} would decide it if the loss stays as it is."


def _learning(loss: Loss, photographs: int) -> str:
    """Return what helps where networks hardly learned the originals."""
    gain = loss.clean - loss.chance
    if gain <= 0 or not 0 < loss.clean < 1:
        return f"{LONGER}."
    error = QUANTILE * math.sqrt(loss.clean * (1 - loss.clean) / loss.test_images)
    images = photographs * _ratio(error, gain)
    if images <= photographs or images > MOST_PHOTOGRAPHS:
        return f"{LONGER}."
    return f"{LONGER}. At this accuracy, about {_round(images)} photographs would show that anything is learned."


def _ratio(error: float, gap: float) -> float:
    """Return by how much a number must grow for its error to fit into its part of the distance; at least 1."""
    return max((error / (PART * gap)) ** 2, 1.0) if gap else math.inf


def _listed(images: float, seeds: float, loss: Loss, photographs: int) -> str:
    parts = []
    if images > photographs or seeds <= loss.drop.n:
        parts.append(f"about {_round(max(images, 1.2 * photographs))} photographs")
    if seeds > loss.drop.n:
        parts.append(f"{math.ceil(seeds)} seeds (--seeds 0-{math.ceil(seeds) - 1})")
    text = " and ".join(parts)
    return text[0].upper() + text[1:]


def _round(count: float) -> int:
    """Return a number rounded up to two digits.

    Example:
        >>> _round(241.0), _round(1234.0)
        (250, 1300)
    """
    step = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return int(math.ceil(count / step) * step)

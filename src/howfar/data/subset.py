"""Class-balanced subsets and splits: seeded, and the same whatever the order of the images."""

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.data.types import Data
from howfar.errors import HowfarError, UsageError


def balanced(data: Data, limit: int | None, *, seed: int = 0, target: str | None = None) -> Data:
    """Return ``limit`` images, as evenly spread over the classes as the data allow.

    Args:
        data: any set; without classes images are drawn at random.
        limit: how many images; None or more than there are: all of them.
        seed: which images.
        target: the classes to balance; None takes the data's own. Where it is no class, the data's own count.

    Raises:
        UsageError: if ``limit`` is smaller than the number of classes.
    """
    if limit is None or limit >= len(data):
        return data
    labels = _labels(data, target)
    if labels is None:
        return data.take(_shuffled(data, torch.arange(len(data)), seed)[:limit].sort().values)
    count = len(labels.unique())
    if limit < count:
        raise UsageError(f"{limit} images cannot hold {count} classes. Take at least {count}.")
    ranks = torch.empty(len(data), dtype=torch.int64)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        ranks[_shuffled(data, members, seed)] = torch.arange(len(members))
    # Rank first, label second: every class gives its first image before any gives its second.
    order = np.lexsort((data.ids.numpy(), labels.numpy(), ranks.numpy()))
    return data.take(torch.from_numpy(order[:limit].copy()).sort().values)


def halves(data: Data, share: float, *, seed: int = 0, target: str = "label") -> tuple[Data, Data]:
    """Split off ``share`` of every class: returns (the rest, the share).

    Raises:
        HowfarError: if a class has fewer than two images.
    """
    labels = data.targets[target]
    inside = torch.zeros(len(data), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        if len(members) < 2:
            raise HowfarError(
                f"class {int(label)} has one image only, so it cannot serve in training and test. Add images to it."
            )
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        inside[_shuffled(data, members, seed)[:count]] = True
    return data.take((~inside).nonzero().flatten()), data.take(inside.nonzero().flatten())


def held_back(
    data: Data, limit: int | None, count: int, *, target: str | None = None
) -> tuple[Data, Data | None, Data | None]:
    """Return a training set, and two disjoint halves of ``count`` images that are kept back from it.

    The training set is the one that ``balanced`` gives, as long as enough other images are left.

    Args:
        data: all training images.
        limit: size of the training set; None takes all that is left.
        count: images to keep back, but never more than a fifth of all; odd ones count for the second half. None are
            kept back where that is too few to show every class in both halves.
        target: as in ``balanced``.
    """
    count = min(count, len(data) // 5)
    labels = _labels(data, target)
    if count < 2 * (1 if labels is None else len(labels.unique())):
        return balanced(data, limit, target=target), None, None
    chosen = balanced(data, limit, target=target)
    others = _without(data, chosen)
    kept = balanced(others if len(others) >= count else data, count, seed=1, target=target)
    if len(others) < count:
        chosen = balanced(_without(data, kept), limit, target=target)
    first = balanced(kept, count // 2, seed=2, target=target)
    return chosen, first, _without(kept, first)


def _labels(data: Data, target: str | None) -> Tensor | None:
    """Return the classes to balance; None where there are none."""
    for name in (target, data.classes):
        if name in data.targets and data.targets[name].ndim == 1 and not data.targets[name].is_floating_point():
            return data.targets[name]
    return None


def _without(data: Data, gone: Data) -> Data:
    return data.take((~torch.isin(data.ids, gone.ids)).nonzero().flatten())


def _shuffled(data: Data, positions: Tensor, seed: int) -> Tensor:
    by_id = positions[data.ids[positions].argsort()]
    return by_id[torch.randperm(len(by_id), generator=arrays.seeded(seed, "subset"))]

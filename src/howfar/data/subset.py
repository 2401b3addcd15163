"""Class-balanced subsets and splits: seeded and independent of the order of the images."""

import numpy as np
import torch
from torch import Tensor

from howfar import arrays
from howfar.data.types import Data
from howfar.errors import HowfarError, UsageError


def balanced(data: Data, limit: int | None, *, seed: int = 0, target: str | None = None) -> Data:
    """Return a subset of ``limit`` images, balanced over the classes as far as possible.

    Args:
        data: any set; without classes, images are drawn at random.
        limit: number of images; None or more than available takes all.
        seed: of the choice.
        target: name of the classes to balance; None, or a target that is not a class, selects ``data.classes``.

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
        raise UsageError(f"{limit} images cannot hold {count} classes. Use at least {count}.")
    ranks = torch.empty(len(data), dtype=torch.int64)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        ranks[_shuffled(data, members, seed)] = torch.arange(len(members))
    # By rank, then label: the first image of every class precedes the second of any.
    order = np.lexsort((data.ids.numpy(), labels.numpy(), ranks.numpy()))
    return data.take(torch.from_numpy(order[:limit].copy()).sort().values)


def halves(data: Data, share: float, *, seed: int = 0, target: str = "label") -> tuple[Data, Data]:
    """Split off ``share`` of every class; returns (rest, share).

    Raises:
        HowfarError: if a class has fewer than two images.
    """
    labels = data.targets[target]
    inside = torch.zeros(len(data), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        if len(members) < 2:
            raise HowfarError(
                f"class {int(label)} has only one image, so it cannot be in training and test set. Add images to it."
            )
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        inside[_shuffled(data, members, seed)[:count]] = True
    return data.take((~inside).nonzero().flatten()), data.take(inside.nonzero().flatten())


def held_back(
    data: Data, limit: int | None, count: int, *, target: str | None = None
) -> tuple[Data, Data | None, Data | None]:
    """Return a training set, and two disjoint halves of ``count`` held-out images.

    The training set is that of ``balanced`` if enough other images remain.

    Args:
        data: all training images.
        limit: size of the training set; None takes all remaining images.
        count: number of images to hold out, at most a fifth of all; if odd, the second half is larger. None are held
            out if they are too few for every class to be in both halves.
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
    """Return the classes to balance; None if there are none."""
    for name in (target, data.classes):
        if name in data.targets and data.targets[name].ndim == 1 and not data.targets[name].is_floating_point():
            return data.targets[name]
    return None


def _without(data: Data, gone: Data) -> Data:
    return data.take((~torch.isin(data.ids, gone.ids)).nonzero().flatten())


def _shuffled(data: Data, positions: Tensor, seed: int) -> Tensor:
    by_id = positions[data.ids[positions].argsort()]
    return by_id[torch.randperm(len(by_id), generator=arrays.seeded(seed, "subset"))]

"""COIN (Li et al., AAAI 2025, arXiv:2311.18403)."""

from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from howfar.arrays import Images, Targets
from howfar.defend.defense import Defense, each_batch, is_dense
from howfar.spec import Number
from howfar.tasks import Task

VERSION = 2


def coin(distance: Annotated[Number, Field(gt=0)] = 2.0) -> Defense:
    """COIN: resamples every pixel from a random nearby position per batch (Li et al., AAAI 2025, arXiv:2311.18403).

    Designed against multiplicative noise such as CUDA. Bilinear interpolation with SciPy's ``wrap`` at the border;
    dense targets take the nearest pixel. Differs from the released code: values are not rounded down to 8 bits.

    Args:
        distance: largest displacement along each axis, in pixels.

    Example:
        >>> from howfar import DATASETS, DEFENSES, MODELS, Recipe, build, train
        >>> data = DATASETS["digits"]().train.take(range(100))
        >>> model = build(MODELS["linear"](), data.shape, outputs=10)
        >>> recipe = Recipe(epochs=2, crop=0, flip=False)
        >>> epochs = train(model, data, recipe=recipe, around=DEFENSES["coin"]().around)
        >>> len(list(epochs))
        2
    """
    return Defense(around=each_batch(partial(_displace, distance=distance)), moves_targets=True)


def _displace(
    task: Task, images: Images, targets: Targets, generator: Generator, *, distance: float
) -> tuple[Images, Targets]:
    n, _, height, width = images.shape
    shift = (torch.rand(2, n, height, width, generator=generator) * 2 - 1) * distance
    rows = _wrapped(torch.arange(height)[:, None] + shift[0], height).to(images.device)
    columns = _wrapped(torch.arange(width) + shift[1], width).to(images.device)
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    corners = [
        _taken(images, top + i, left + j) * ((down if i else 1 - down) * (right if j else 1 - right))
        for i in (0, 1)
        for j in (0, 1)
    ]
    if is_dense(targets):
        dense = targets if targets.ndim == 4 else targets[:, None]
        moved = _taken(dense, rows.round(), columns.round())
        targets = moved if targets.ndim == 4 else moved[:, 0]
    return torch.stack(corners).sum(0), targets


def _wrapped(places: Tensor, size: int) -> Tensor:
    """Return positions wrapped into [0, size − 1] with period size − 1, as in SciPy's ``wrap``."""
    period = max(size - 1, 1)
    return torch.where((places < 0) | (places > size - 1), places % period, places)


def _taken(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the values at these positions, (n, height, width) each; one past the last has weight 0."""
    n, channels, height, width = images.shape
    flat = (rows.long() % height) * width + columns.long() % width
    source = images.permute(0, 2, 3, 1).reshape(n, -1, channels)
    out = source.gather(1, flat.view(n, -1, 1).expand(-1, -1, channels))
    return out.view(n, height, width, channels).permute(0, 3, 1, 2)

"""Sequential test of whether each layer is learnable, on as few images as needed."""

import math
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor, nn

from howfar.data import Data
from howfar.errors import UsageError
from howfar.models.build import PAPER, Kind, weights_of
from howfar.probe.modes import SUBSET, fast
from howfar.probe.precision import precise
from howfar.probe.recorded import MEMORY
from howfar.probe.search import Search
from howfar.probe.surface import Move, Surface
from howfar.tasks import Criterion, Pair, Task, given
from howfar.training import explained


@dataclass(frozen=True)
class Decision:
    """Result of the test SAL > β for one layer.

    Attributes:
        learnable: whether SAL > β; None if undecided.
        low: lower confidence bound of SAL, nats.
        high: upper confidence bound, nats.
        images: number of images used for this layer.
    """

    learnable: bool | None
    low: float
    high: float
    images: int


@explained
@precise
def decide(
    model: nn.Module,
    data: Data | Pair,
    task: Task | Criterion | None = None,
    *,
    beta: float,
    radius: float = 0.05,
    confidence: float = 0.95,
    first: int = 64,
    steps: int = 4,
    include: Collection[Kind] = PAPER,
    generator: Generator | None = None,
) -> dict[str, Decision]:
    """Decide for every layer whether its SAL exceeds β, on a subset that doubles until all layers are decided.

    A maximum over weights is biased upward if it is measured on the images it was found on, and downward if it is
    measured on other images. So the subset is split in halves: the maximum found on each half is measured on that half
    (upper bound) and on the other one (lower bound), with normal confidence limits of the mean over images. With k
    interim tests, each limit is taken at 1 − (1 − confidence) / (2k) (Bonferroni), which keeps the overall level.

    Args:
        model: on the device to compute on; weights, mode and gradients are restored.
        data: images to draw from; all of them are the largest subset; or ``(X, y)``, network inputs and targets.
        task: defines the loss; or a loss (``Task.from_loss``). None classifies.
        beta: the threshold, nats.
        radius: of the ball, relative to the norm of the layer.
        confidence: probability that the decision on a layer is right.
        first: size of the first subset.
        steps: of the search, as in ``sharpness`` with mode ``fast``.
        include: kinds of parameters, as in ``sharpness``.
        generator: of the order of the images; None has seed 0.

    Raises:
        UsageError: for fewer than 8 images or a confidence outside (0, 1).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
        >>> X, y = torch.rand(40, 3, 16, 16), torch.arange(40) % 2
        >>> from howfar import decide
        >>> sorted(decide(model, (X, y), beta=1.0))
        ['0.weight', '3.weight']
    """
    data, task = given(model, data, task)
    if len(data) < 8 or first < 8 or not 0 < confidence < 1:
        raise UsageError(
            f"a decision needs at least 8 images and a confidence between 0 and 1, not {len(data)} images, "
            f"a first subset of {first}, and {confidence}."
        )
    order = torch.randperm(len(data), generator=generator or Generator().manual_seed(0))
    sizes = [min(first, len(data))]
    while sizes[-1] < len(data):
        sizes.append(min(2 * sizes[-1], len(data)))
    limit = NormalDist().inv_cdf(1 - (1 - confidence) / (2 * len(sizes)))
    decisions: dict[str, Decision] = {}
    weights = weights_of(model, include)
    for size in sizes:
        parts = (data.take(order[0:size:2]), data.take(order[1:size:2]))
        for name, (low, high) in _bounds(model, task, parts, weights, radius, steps, limit).items():
            learnable = True if low > beta else False if high <= beta else None
            decisions[name] = Decision(learnable, low, high, size)
        weights = {name: weight for name, weight in weights.items() if decisions[name].learnable is None}
        if not weights:
            break
    return {name: decisions[name] for name, _ in model.named_parameters() if name in decisions}


def _bounds(
    model: nn.Module, task: Task, halves: tuple[Data, Data], weights: dict[str, nn.Parameter], radius: float,
    steps: int, limit: float,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Return confidence bounds of SAL, from the extremes of each half measured on itself and on the other half."""
    with ExitStack() as stack:
        surfaces = [
            stack.enter_context(Surface(model, task, half, weights, memory=MEMORY // 2).opened()) for half in halves
        ]
        starts = [surface.start(surface.proper_subset_size(SUBSET)) for surface in surfaces]
        found: list[dict[str, Search]] = []
        for surface, (start, slopes, correction) in zip(surfaces, starts, strict=True):
            rises, falls = fast(surface, start, slopes, radius, steps, correction)
            found.append({n: _larger(rises[n], falls[n]) for n in weights})
        own: dict[str, list[Tensor]] = {name: [] for name in weights}
        other: dict[str, list[Tensor]] = {name: [] for name in weights}
        for here, there in ((0, 1), (1, 0)):
            points = surfaces[there].at([Move(name, found[here][name].at) for name in weights])
            for (name, search), point in zip(found[here].items(), points, strict=True):
                own[name].append(search.sign * (search.best.losses - search.start.losses))
                other[name].append(search.sign * (point.losses - starts[there][0].losses))
    return {
        name: (_limit(torch.cat(other[name]), -limit), _limit(torch.cat(own[name]), limit)) for name in weights
    }  # fmt: skip


def _larger(rise: Search, fall: Search) -> Search:
    return rise if rise.value >= fall.value else fall


def _limit(values: Tensor, quantile: float) -> float:
    return float(values.mean()) + quantile * float(values.std()) / math.sqrt(len(values))

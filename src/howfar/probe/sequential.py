"""Whether each layer is learnable, from as few images as that takes."""

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
from howfar.probe.modes import LEAD, fast
from howfar.probe.precision import precise
from howfar.probe.search import Search
from howfar.probe.surface import MEMORY, Move, Surface
from howfar.tasks import Task


@dataclass(frozen=True)
class Decision:
    """On which side of β a layer is.

    Attributes:
        learnable: whether SAL > β; None where the images did not suffice.
        low: lower confidence bound of SAL, nats.
        high: upper confidence bound, nats.
        images: how many were looked at for this layer.
    """

    learnable: bool | None
    low: float
    high: float
    images: int


@precise
def decide(
    model: nn.Module,
    task: Task,
    data: Data,
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

    A maximum over weights that is found and measured on the same images is too high, one that is found on some and
    measured on others is too low. So the subset is cut in halves: what each half finds is measured on itself (upper
    bound) and on the other (lower bound), with normal confidence limits of the mean over images. With k looks at the
    data, each limit is taken at 1 − (1 − confidence) / (2k) (Bonferroni), so all looks together keep the level.

    Args:
        model: on the device where the work is done; weights, mode and gradients are put back.
        task: gives the loss.
        data: images to draw from; its size is the cap.
        beta: the threshold, nats.
        radius: of the ball, relative.
        confidence: with which the decision on each layer is right.
        first: size of the first subset.
        steps: of the search, as in ``sharpness`` with mode ``fast``.
        include: kinds of parameters, as in ``sharpness``.
        generator: of the order of the images.

    Raises:
        UsageError: for less than 8 images or a confidence outside (0, 1).
    """
    if len(data) < 8 or first < 8 or not 0 < confidence < 1:
        raise UsageError(
            f"a decision needs 8 images at least and a confidence between 0 and 1, not {len(data)} images, "
            f"{first} at first, and {confidence}."
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
    """Return confidence bounds of SAL, from what each half finds on itself and on the other half."""
    with ExitStack() as stack:
        surfaces = [
            stack.enter_context(Surface(model, task, half, weights, memory=MEMORY // 2).opened()) for half in halves
        ]
        starts = [surface.start(surface.lead(LEAD)) for surface in surfaces]
        found: list[dict[str, Search]] = []
        for surface, (start, slopes, tilt) in zip(surfaces, starts, strict=True):
            rises, falls = fast(surface, start, slopes, radius, steps, tilt)
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

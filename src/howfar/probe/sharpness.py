"""Sharpness-aware learnability (SAL) of every layer ("How Far Are We from True Unlearnability?", ICLR 2025)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.models.build import weight_names
from howfar.probe.reference import Released, reference_layer
from howfar.probe.search import Search, advance, begin
from howfar.probe.surface import Point, Surface
from howfar.tasks import Task

VERSION = 2
MEMORY = 2**30  # bytes for kept activations
RELEASED_BATCH, GPU_BATCH, CPU_BATCH = 256, 512, 64  # a CPU is fastest while activations stay in its caches
LINEAR = 0.05  # a rise within this share of its linear prediction needs no second step
SETTLED = 0.005  # relative gain below which `exact` calls a search settled
MOST_STEPS = 12  # of `exact`


@dataclass(frozen=True)
class Sharpness:
    """What a move of one layer's weights inside its ball does to the loss.

    Attributes:
        rise: largest loss in the ball − loss, nats.
        fall: loss − smallest loss in the ball, nats; None where ``fast`` saw that it cannot exceed the rise.
        quality_drop: quality − quality at the point of the largest loss; None in mode ``reference``.
        quality_rise: quality at the point of the smallest loss − quality; None where ``fall`` is, or in ``reference``.
        standard_error: of ``sal`` as a mean over images, nats; 0 in mode ``reference``, which keeps no images apart.
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


def sharpness(
    model: nn.Module,
    task: Task,
    data: Data,
    *,
    radius: float = 0.05,
    mode: Literal["fast", "exact", "reference"] = "fast",
    steps: int = 2,
    batch_size: int | None = None,
    memory: int = MEMORY,
    generator: Generator | None = None,
    released: Released | None = None,
) -> dict[str, Sharpness]:
    """Return rise, fall and SAL of every convolution and linear layer, on a fixed, unaugmented probe set.

    L is the mean loss of the eval-mode model over ``data``. For the weight w of a layer, all others frozen,
    rise = max over ‖δ‖₂ ≤ radius·‖w‖₂ of L(w + δ) − L(w), and fall likewise downwards. Every weight, the model's
    mode and its gradients are put back, also after an error.

    ``fast`` takes the first step of all layers from one backward pass, then runs again only what lies behind a
    layer; a second step is taken where the first was not nearly linear, and the fall is left out where the rise
    exceeds the linear bound radius·‖w‖·‖∇L‖. ``exact`` goes on, from two starts, until the value settles.
    ``reference`` is the released algorithm: ten passes of SGD each way.

    Args:
        model: on the device where the work is done.
        task: gives loss and quality.
        data: the probe set, as the learner sees it.
        radius: of the ball, relative to the norm of the layer's weights.
        mode: how the extremes are searched.
        steps: of ``fast``, at most; 1 costs half of 2.
        batch_size: images at a time, at most; None takes what is fast. Only in ``reference`` is it part of the
            algorithm (256 in the release).
        memory: bytes for kept activations; with less, more is computed again.
        generator: of the augmentation that ``released`` asks for.
        released: in ``reference``, reproduce what the released code does beyond the definition.

    Raises:
        UsageError: for an empty probe set or a radius of 0; HowfarError: if a loss is not finite.
    """
    if not len(data) or not 0 < radius < math.inf:
        raise UsageError(f"SAL needs images and a positive radius, not {len(data)} images and radius {radius}.")
    if batch_size is None:
        on_gpu = next(model.parameters()).device.type == "cuda"
        batch_size = RELEASED_BATCH if mode == "reference" else GPU_BATCH if on_gpu else CPU_BATCH
    names = set(weight_names(model))
    weights = {name: weight for name, weight in model.named_parameters() if name in names}
    with Surface(model, task, data, weights, batch_size=batch_size, memory=memory).opened() as surface:
        if mode == "reference":
            draws = generator or Generator().manual_seed(0)
            return _reference(model, task, data, weights, radius, batch_size, released, draws)
        start, slopes = surface.start()
        if not math.isfinite(start.loss):
            raise HowfarError(
                f"the loss of the model is {start.loss}, so nothing can be measured. Lower the learning rate."
            )
        if mode == "exact":
            rises, falls = _exact(surface, start, slopes, radius)
        else:
            rises, falls = _fast(surface, start, slopes, radius, steps)
    return {name: _summary(weights[name], rises[name], falls.get(name), mode) for name in weights}


Searches = dict[str, Search]


def _fast(
    surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, steps: int
) -> tuple[Searches, Searches]:
    """Return one search a layer upwards, and one downwards where the fall may be the larger."""
    rises = {search.name: search for search in begin(surface, start, slopes, radius, +1.0)}
    falls: Searches = {}
    todo = list(rises.values())
    for step in range(steps):
        advance(surface, todo, gradient=step + 1 < steps, tolerance=SETTLED)
        if step == 0:
            bound = {name: rise.radius * float(slopes[name].norm()) for name, rise in rises.items()}
            open_falls = {name: slopes[name] for name, rise in rises.items() if rise.value < bound[name]}
            falls = {search.name: search for search in begin(surface, start, open_falls, radius, -1.0)}
            advance(surface, list(falls.values()), gradient=False, tolerance=SETTLED)
            todo = [rise for name, rise in rises.items() if abs(rise.value - bound[name]) > LINEAR * bound[name]]
        todo = [rise for rise in todo if not rise.settled]
        if not todo:
            break
    return rises, falls


def _exact(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float) -> tuple[Searches, Searches]:
    """Return the better of two climbs (along the slope and against it) and one descent a layer, all settled."""
    best: dict[float, Searches] = {}
    against = {name: -slope for name, slope in slopes.items()}
    groups = [begin(surface, start, slopes, radius, +1.0), begin(surface, start, slopes, radius, -1.0)]
    for searches in groups:
        _settle(surface, searches)
        best[searches[0].sign] = {search.name: search for search in searches}
    other = begin(surface, start, against, radius, +1.0)
    advance(surface, other, gradient=True, tolerance=SETTLED)
    promising = [search for search in other if search.value > 0.5 * best[1.0][search.name].value]
    _settle(surface, promising)
    for search in promising:
        if search.value > best[1.0][search.name].value:
            best[1.0][search.name] = search
    return best[1.0], best[-1.0]


def _settle(surface: Surface, searches: list[Search]) -> None:
    todo = [search for search in searches if not search.settled]
    while todo:
        advance(surface, todo, gradient=True, tolerance=SETTLED)
        todo = [search for search in todo if not search.settled and search.points < MOST_STEPS]


def _summary(weight: nn.Parameter, rise: Search, fall: Search | None, mode: str) -> Sharpness:
    larger = rise if fall is None or rise.value >= fall.value else fall
    differences = larger.best.losses - larger.start.losses
    if not torch.isfinite(differences).all():
        raise HowfarError(f"the loss around layer {rise.name} is not finite. Lower the learning rate or the radius.")
    count = len(differences)
    return Sharpness(
        rise=rise.value,
        fall=None if fall is None else fall.value,
        quality_drop=float((rise.start.qualities - rise.best.qualities).mean()),
        quality_rise=None if fall is None else float((fall.best.qualities - fall.start.qualities).mean()),
        standard_error=float(differences.std()) / math.sqrt(count) if count > 1 else 0.0,
        parameters=weight.numel(),
        converged=None if mode == "fast" else rise.settled and (fall is None or fall.settled),
    )


def _reference(
    model: nn.Module, task: Task, data: Data, weights: dict[str, nn.Parameter], radius: float, batch_size: int,
    released: Released | None, generator: Generator,
) -> dict[str, Sharpness]:  # fmt: skip
    readings = {}
    for name, weight in weights.items():
        found = reference_layer(
            model, task, data, weight, radius=radius, batch_size=batch_size, released=released, generator=generator
        )
        readings[name] = Sharpness(
            rise=found.highest - found.start,
            fall=found.start - found.lowest,
            quality_drop=None,
            quality_rise=None,
            standard_error=0.0,
            parameters=weight.numel(),
            converged=not found.diverged,
        )
    return readings

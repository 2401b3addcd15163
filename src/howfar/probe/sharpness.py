"""Sharpness-aware learnability (SAL) of every layer ("How Far Are We from True Unlearnability?", ICLR 2025)."""

import math
from collections.abc import Collection
from typing import Literal, get_args

import torch
from torch import Generator, nn

from howfar.data import Data
from howfar.errors import HowfarError, UsageError, unknown
from howfar.models.build import PAPER, Kind, weights_of
from howfar.probe.channels import channel_sharpness
from howfar.probe.modes import SUBSET, exact, fast
from howfar.probe.precision import precise
from howfar.probe.reading import Sharpness
from howfar.probe.recorded import MEMORY
from howfar.probe.reference import Released, reference_layer
from howfar.probe.search import Climb, Descent
from howfar.probe.surface import Surface
from howfar.tasks import Criterion, Pair, Task, given
from howfar.training import explained

Mode = Literal["fast", "exact", "reference"]
Granularity = Literal["layer", "channel"]

VERSIONS = {"fast": 7, "exact": 9, "reference": 7}
RELEASED_BATCH = 256
CHANNEL_STEPS = 4  # at most: all filters of a layer take the same number of steps


@explained
@precise
def sharpness(
    model: nn.Module,
    data: Data | Pair,
    task: Task | Criterion | None = None,
    *,
    radius: float = 0.05,
    mode: Mode = "fast",
    steps: int = 12,
    granularity: Granularity = "layer",
    include: Collection[Kind] = PAPER,
    batch_size: int | None = None,
    memory: int = MEMORY,
    generator: Generator | None = None,
    released: Released | None = None,
) -> dict[str, Sharpness]:
    """Return rise, fall and SAL of every convolution and linear layer, on a fixed, unaugmented probe set.

    L is the mean loss of the eval-mode model over ``data``. For the weight w of a layer, all others frozen,
    rise = max over ‖δ‖₂ ≤ radius·‖w‖₂ of L(w + δ) − L(w), and fall = L(w) − min over the same ball of L(w + δ).
    Weights, buffers, modes, gradients, flags and hooks are restored, also after an error or an interrupt.

    ``fast`` takes the first step of all layers from one backward pass, then reruns only the part of the network that
    depends on a layer. Further steps use a subset of the images, and the last one uses all. ``exact`` continues from
    several starts, including the results of ``fast`` and of ``reference``, and keeps the largest value. ``reference``
    is the released algorithm: ten passes of SGD in each direction, every pass in a new order from ``generator``.

    Per channel, each filter is perturbed alone in its own ball, and the names of the readings end in the filter's
    index. For single parameters see ``parameter_sharpness``.

    Args:
        model: on the device to compute on.
        data: the probe set, as the learner trains on it; or ``(X, y)``, network inputs and targets.
        task: defines loss and quality; or a loss (``Task.from_loss``). None classifies.
        radius: of the ball, relative to the norm of the layer's weights.
        mode: search algorithm for the extremes.
        steps: maximum number in ``fast``; a settled layer takes no more. 1 costs half as much as 2.
        granularity: per layer (as in the paper) or per output channel; the latter is always ``fast``.
        include: kinds of parameters that count as layers: ``weights``, ``biases``, ``norms``, ``tokens``.
        batch_size: maximum number of images at a time; None takes a fast one. It affects results only in ``reference``
            (256 in the released code).
        memory: maximum memory for kept activations, in bytes; with less, more is recomputed.
        generator: in ``reference``, of the order of every pass and of the augmentation that ``released`` asks for.
        released: in ``reference``, reproduce details of the released code beyond the definition.

    Raises:
        UsageError: for an empty probe set, a radius of 0, or channels in another mode than ``fast``;
        HowfarError: if a loss is not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
        >>> X, y = torch.rand(40, 3, 16, 16), torch.arange(40) % 2
        >>> from howfar import sharpness
        >>> sorted(sharpness(model, (X, y)))
        ['0.weight', '3.weight']
    """
    for kind, name, known in (("mode", mode, get_args(Mode)), ("granularity", granularity, get_args(Granularity))):
        if name not in known:
            raise unknown(kind, name, known)
    if granularity == "channel" and mode != "fast":
        raise UsageError(f"SAL of channels has no mode '{mode}'. Use mode='fast'.")
    if not isinstance(radius, int | float) or not 0 < radius < math.inf:
        raise UsageError(f"SAL needs a positive radius, such as 0.05, not {radius!r}.")
    data, task = given(model, data, task)
    weights = weights_of(model, include)
    surface = Surface(model, task, data, weights, batch_size=batch_size, memory=memory)
    with surface.opened(fold=mode != "reference"):
        draws = generator or Generator().manual_seed(0)
        if mode == "reference":
            return _reference(model, task, data, weights, radius, batch_size or RELEASED_BATCH, released, draws)
        start, slopes, correction = surface.start(surface.proper_subset_size(SUBSET))
        if not math.isfinite(start.loss):
            raise HowfarError(
                f"the loss of the model is {start.loss}, so nothing can be measured. Lower the learning rate."
            )
        if granularity == "channel":
            return channel_sharpness(surface, start, slopes, radius=radius, steps=min(steps, CHANNEL_STEPS))
        rises, falls = fast(surface, start, slopes, radius, steps, correction)
        if mode == "exact":
            references = {
                name: reference_layer(
                    model, task, data, weight, radius=radius, batch_size=RELEASED_BATCH, released=None, generator=draws
                )
                for name, weight in weights.items()
            }
            rises, falls = exact(surface, start, slopes, radius, correction, (rises, falls), references)
    return {name: _reading(weights[name], rises[name], falls[name], mode) for name in weights}


def _reading(weight: nn.Parameter, rise: Climb, fall: Descent, mode: str) -> Sharpness:
    start = rise.start
    up, down = rise.best.losses - start.losses, start.losses - fall.best.losses
    if not torch.isfinite(up).all() or not torch.isfinite(down).all():
        raise HowfarError(f"the loss around layer {rise.name} is not finite. Lower the learning rate or the radius.")
    return Sharpness.of(
        up,
        down,
        quality_drop=float((start.qualities - rise.best.qualities).nanmean()),
        quality_rise=float((fall.best.qualities - start.qualities).nanmean()),
        parameters=weight.numel(),
        converged=None if mode == "fast" else rise.settled and fall.settled,
    )


def _reference(
    model: nn.Module, task: Task, data: Data, weights: dict[str, nn.Parameter], radius: float, batch_size: int,
    released: Released | None, generator: Generator,
) -> dict[str, Sharpness]:  # fmt: skip
    return {
        name: reference_layer(
            model, task, data, weight, radius=radius, batch_size=batch_size, released=released, generator=generator
        ).reading()
        for name, weight in weights.items()
    }

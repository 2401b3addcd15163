"""Learning alignment: cosine of the gradients on protected images and on their clean originals, layer by layer."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError, unknown
from howfar.models import in_eval_mode
from howfar.models.build import PAPER, Kind, weights_of
from howfar.probe.precision import precise
from howfar.probe.restore import restored
from howfar.tasks import Criterion, Pair, Task, given
from howfar.training import explained

VERSION = 1
GROUPS = 8  # of images, one gradient each; the jackknife leaves out one group at a time
BATCH = 64  # images per backward pass, at most
NETWORK = "network"  # the key of all layers together
GRANULARITIES = ("layer", "channel", NETWORK)


@dataclass(frozen=True)
class Alignment:
    """Cosine of the loss gradients on protected images and on their clean originals.

    Attributes:
        cosine: from −1 to 1; at 1, a gradient step on protected images has the direction of one on clean images. NaN
            if a gradient is 0.
        standard_error: of ``cosine`` over images (jackknife over groups); NaN if undefined.
        unbiased: the same cosine from inner products of different groups only, which per-image noise does not
            attenuate; may lie outside [−1, 1]. NaN if a squared norm estimated this way is not positive.
        clean_norm: norm of the gradient on the clean images, nats per unit of weight.
        protected_norm: norm of the gradient on the protected images.
    """

    cosine: float
    standard_error: float
    unbiased: float
    clean_norm: float
    protected_norm: float

    def __repr__(self) -> str:
        """Return the cosine with its standard error, and the norms of the gradients."""
        return (
            f"Alignment(cosine {self.cosine:.3f} ± {self.standard_error:.2g}, standard error; gradients "
            f"{self.clean_norm:.3g} and {self.protected_norm:.3g})"
        )


@explained
@precise
def alignment(
    model: nn.Module,
    clean: Data | Pair,
    protected: Data | Pair,
    task: Task | Criterion | None = None,
    *,
    by: Literal["layer", "channel", "network"] = "layer",
    include: Collection[Kind] = PAPER,
) -> dict[str, Alignment]:
    """Return the alignment of the gradients on protected images with those on the same images before protection.

    Losses are means over the images, in eval mode and without augmentation. If a defense changes the images in every
    batch, apply it to both sets with the same random draws (``howfar.defend.loss_inputs``). Images are paired by id,
    so their order does not matter. Memory: 16 gradients of the network.

    Args:
        model: on the device to compute on; weights, mode and gradients are restored.
        clean: original images with their targets; or ``(X, y)``, network inputs and targets.
        protected: the same images after protection, with the targets that the learner gets; likewise.
        task: defines the loss; or a loss (``Task.from_loss``). None classifies.
        by: one result per layer, per output channel (``conv1.weight[3]``), or for the whole ``network``.
        include: kinds of parameters, as in ``sharpness``. Frozen parameters are left out.

    Raises:
        UsageError: if the ids differ, there are fewer than two images, ``by`` is unknown, or no trainable weight is
            included.

    Example:
        >>> from howfar import DATASETS, MODELS, PROTECTORS, alignment, arrays, build
        >>> from howfar.tasks import classification
        >>> clean = DATASETS["digits"]().train.take(range(64))
        >>> task = classification()(clean)
        >>> protected = PROTECTORS["random"]().protect(clean, task, generator=arrays.seeded(0))
        >>> model = build(MODELS["linear"](), clean.shape, 10, generator=arrays.seeded(0))
        >>> round(alignment(model, clean, protected, task)["head.weight"].cosine, 2)
        1.0
    """
    if by not in GRANULARITIES:
        raise unknown("granularity", by, GRANULARITIES)
    (clean, task), (protected, _) = given(model, clean, task), given(model, protected, task)
    if by == "channel":
        found = products(model, task, clean, protected, include=include)
        return {f"{name}[{row}]": _measured(gram) for name, grams in found.items() for row, gram in enumerate(grams)}
    layers = layers_and_network(model, task, clean, protected, include=include)
    whole = {NETWORK: layers.pop(NETWORK)}
    return whole if by == NETWORK else layers


def layers_and_network(
    model: nn.Module, task: Task, clean: Data, protected: Data, *, include: Collection[Kind] = PAPER
) -> dict[str, Alignment]:
    """Return the alignment per layer, and of the whole network under ``NETWORK``; arguments as in ``alignment``."""
    layers = {name: grams.sum(0) for name, grams in products(model, task, clean, protected, include=include).items()}
    whole = torch.stack(list(layers.values())).sum(0)
    return {name: _measured(gram) for name, gram in {**layers, NETWORK: whole}.items()}


@precise
def products(
    model: nn.Module, task: Task, clean: Data, protected: Data, *, include: Collection[Kind] = PAPER
) -> dict[str, Tensor]:
    """Return the Gram matrices of group gradients, by layer.

    Returns:
        (channels, 2 · groups, 2 · groups) float64: first the groups of clean images, then those of protected images.
        The gradient of a group is its contribution to the gradient of the mean loss over all images.
    """
    clean, protected = _paired(clean, protected, task.target)
    groups = min(GROUPS, len(clean))
    weights = {name: weight for name, weight in weights_of(model, include).items() if weight.requires_grad}
    if not weights:
        raise UsageError(f"no trainable parameter of kind {', '.join(include) or 'none'} is left. Include weights.")
    same = torch.equal(clean.pixels, protected.pixels) and clean.targets.keys() == protected.targets.keys() and all(
        torch.equal(clean.targets[name], protected.targets[name]) for name in clean.targets
    )  # fmt: skip
    with restored(model, weights.values()), in_eval_mode(model):
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for weight in weights.values():
            weight.requires_grad_(True)
        first = _gradients(model, task, clean, weights, groups)
        second = first if same else _gradients(model, task, protected, weights, groups)
    found = {}
    for name in weights:
        rows = torch.cat([first[name], second[name]]).transpose(0, 1)  # (channels, 2 · groups, weights of a channel)
        found[name] = torch.stack([arrays.float64(row) @ arrays.float64(row).T for row in rows]).cpu()
    return found


def _paired(clean: Data, protected: Data, target: str) -> tuple[Data, Data]:
    """Return both sets in the same order, which depends on ids and classes only and balances classes over groups."""
    if len(clean) < 2:
        raise UsageError(f"alignment needs at least two images, not {len(clean)}.")
    first, second = (data.take(data.ids.argsort()) for data in (clean, protected))
    if not torch.equal(first.ids, second.ids):
        raise UsageError("the clean and the protected images have different ids. Pass the same images in both sets.")
    order = torch.randperm(len(first), generator=arrays.seeded(0, "alignment"))
    labels = first.targets.get(target)
    if labels is not None and labels.ndim == 1 and not labels.is_floating_point():
        order = order[labels[order].argsort(stable=True)]
    return first.take(order), second.take(order)


def _gradients(
    model: nn.Module, task: Task, data: Data, weights: Mapping[str, nn.Parameter], groups: int
) -> dict[str, Tensor]:
    """Return the gradients of the mean loss by layer, (groups, channels, weights per channel)."""
    device = next(iter(weights.values())).device
    targets = data.targets_of(task.target)
    found: dict[str, list[Tensor]] = {name: [] for name in weights}
    for group in range(groups):
        rows = torch.arange(group, len(data), groups)
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            images = arrays.to_images(data.pixels[part], device)
            loss = task.loss(model(images), arrays.at(targets, part, device)).sum() / len(data)
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for so_far, gradient in zip(total.values(), gradients, strict=True):
                if gradient is not None:
                    so_far += gradient
        for name, gradient in total.items():
            found[name].append(gradient.flatten(1) if gradient.ndim > 1 else gradient.view(-1, 1))
    return {name: torch.stack(parts) for name, parts in found.items()}


def _measured(gram: Tensor) -> Alignment:
    """Return the alignment from the Gram matrix of groups, (2 · groups, 2 · groups)."""
    groups = len(gram) // 2
    clean, both, protected = gram[:groups, :groups], gram[:groups, groups:], gram[groups:, groups:]
    value = _cosine(both.sum(), clean.sum(), protected.sum())
    without = torch.stack([_without(part) for part in (both, clean, protected)])  # one group at a time
    values = [_cosine(*column) for column in without.T]
    error = math.sqrt((groups - 1) / groups * sum((one - sum(values) / groups) ** 2 for one in values))
    apart = [part.sum() - part.trace() for part in (both, clean, protected)]
    unbiased = _cosine(*apart) if groups > 1 and min(apart[1], apart[2]) > 0 else math.nan
    norms = [math.sqrt(max(float(part.sum()), 0.0)) for part in (clean, protected)]
    return Alignment(value, error, unbiased, *norms)


def _without(part: Tensor) -> Tensor:
    """Return the sums of a matrix that leave out one index, as row and as column, at a time."""
    return part.sum() - part.sum(0) - part.sum(1) + part.diagonal()


def _cosine(both: Tensor, first: Tensor, second: Tensor) -> float:
    length = math.sqrt(float(first.clamp_min(0)) * float(second.clamp_min(0)))
    return float(both) / length if length > 0 else math.nan

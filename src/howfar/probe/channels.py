"""SAL of every output channel: each filter is perturbed alone in its own ball, all filters of a layer in parallel."""

import torch
from torch import Tensor, nn

from howfar.probe.reading import Sharpness
from howfar.probe.surface import Point, Surface


def channel_sharpness(
    surface: Surface, start: Point, slopes: dict[str, Tensor], *, radius: float, steps: int
) -> dict[str, Sharpness]:
    """Return one reading per filter, by names such as ``conv1.weight[3]``.

    The radius of a filter is ``radius`` times its own norm. Climbs are those of mode ``fast``. The fall is measured at
    the edge of the ball against the gradient.

    Args:
        surface: the loss.
        start: loss and quality at the unperturbed weights.
        slopes: gradients of all layers there.
        radius: relative to the norm of the filter.
        steps: of the climb.
    """
    readings = {}
    for layer, slope in slopes.items():
        dim = _filter_dimension(surface.model, surface.weights[layer])
        slope = slope.movedim(dim, 0)
        lengths = radius * _norm(surface.weights[layer].detach().movedim(dim, 0))
        best, quality = start.losses.expand(len(slope), -1), start.qualities.expand(len(slope), -1)
        toward = slope
        for step in range(steps):
            more = step + 1 < steps
            losses, qualities, turned = surface.filters(layer, dim, _to_edge(toward, lengths), gradient=more)
            better = losses.mean(1, keepdim=True) > best.mean(1, keepdim=True)
            best, quality = torch.where(better, losses, best), torch.where(better, qualities, quality)
            toward = toward if turned is None else turned
        low, low_quality, _ = surface.filters(layer, dim, _to_edge(-slope, lengths), gradient=False)
        for number in range(len(slope)):
            rise, fall = best[number] - start.losses, start.losses - low[number]
            readings[f"{layer}[{number}]"] = Sharpness.of(
                rise, fall,
                quality_drop=float((start.qualities - quality[number]).nanmean()),
                quality_rise=float((low_quality[number] - start.qualities).nanmean()),
                parameters=slope[number].numel(),
            )  # fmt: skip
    return readings


def _filter_dimension(model: nn.Module, weight: nn.Parameter) -> int:
    """Return the dimension of a weight that counts output channels."""
    owner = next(module for module in model.modules() if any(weight is own for own in module.parameters(False)))
    transposed = isinstance(owner, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    return 1 if transposed and weight.ndim > 1 else 0


def _norm(filters: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(filters.reshape(len(filters), -1), dim=1)
    return norms


def _to_edge(toward: Tensor, lengths: Tensor) -> Tensor:
    share = lengths / _norm(toward).clamp_min(1e-30)
    return toward * share.view(-1, *[1] * (toward.ndim - 1))

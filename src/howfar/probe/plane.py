"""Lines and planes through the weights of a network, along which its loss is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from howfar.errors import UsageError


@dataclass(frozen=True, eq=False)
class Plane:
    """Weights = origin + coordinates · axes.

    Attributes:
        names: of the weights (and buffers, where those move too), in the order of the columns.
        origin: where the coordinates are 0, float32, (parameters,).
        axes: one or two directions, (axes, parameters); they need not be orthogonal.
    """

    names: tuple[str, ...]
    origin: Tensor
    axes: Tensor

    def at(self, *coordinates: float) -> Tensor:
        """Return the weights at a place, (parameters,)."""
        return self.origin + torch.tensor(coordinates, dtype=self.origin.dtype) @ self.axes

    def project(self, path: Tensor) -> Tensor:
        """Return the coordinates of the nearest places to some weights: (moments, parameters) to (moments, axes)."""
        gram = self.axes.double() @ self.axes.double().T
        along = (path - self.origin).double() @ self.axes.double().T
        found: Tensor = torch.linalg.solve(gram, along.T).T.float()
        return found

    def missed(self, path: Tensor) -> float:
        """Return the share of a path's squared distance from the origin that lies outside the plane."""
        away = (path - self.origin).double()
        seen = self.project(path).double() @ self.axes.double()
        return float((away - seen).square().sum() / away.square().sum().clamp_min(1e-30))


def flat(model: nn.Module, names: Sequence[str] | None = None) -> Tensor:
    """Return the weights of a network in one row, float32, (parameters,); buffers too where they are named."""
    weights = dict(model.named_parameters()) if names is None else model.state_dict()
    chosen = _known(weights, names)
    return torch.cat([weights[name].detach().float().cpu().flatten() for name in chosen])


def pca_plane(
    paths: Sequence[Tensor], names: Sequence[str], *, origin: Tensor | None = None
) -> tuple[Plane, tuple[float, float]]:
    """Return the plane of the two directions along which paths spread most, and what share each explains.

    Principal components of all moments together, so that every path has its place on one plane (Li et al.,
    Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 7).

    Args:
        paths: (moments, parameters) each.
        names: of the weights.
        origin: where the coordinates are 0; None takes the mean of all moments, which lies on the plane.
    """
    moments = torch.cat(list(paths)).double()
    centred = moments - moments.mean(0)
    if len(moments) < 3 or not centred.square().sum() > 0:
        raise UsageError("a plane needs paths of at least three different moments. Keep more of them.")
    # Few moments, many weights: the small matrix of inner products has the same spectrum.
    values, rows = torch.linalg.eigh(centred @ centred.T)
    axes = rows[:, [-1, -2]].T @ centred
    lengths = axes.norm(dim=1, keepdim=True).clamp_min(1e-30)
    shares = (values[[-1, -2]] / values.clamp_min(0).sum()).clamp_min(0).tolist()
    middle = moments.mean(0) if origin is None else origin.double()
    return Plane(tuple(names), middle.float(), (axes / lengths).float()), (shares[0], shares[1])


def random_plane(model: nn.Module, *, axes: int = 2, generator: Generator) -> Plane:
    """Return random directions around a network, each filter as long as the network's own filter.

    Filter-wise normalisation makes pictures of networks comparable whose weights are scaled differently without any
    effect; biases and the weights of normalisations stay where they are (Li et al., NeurIPS 2018, section 4).
    """
    weights = dict(model.named_parameters())
    directions = []
    for _ in range(axes):
        pieces = []
        for weight in weights.values():
            own = weight.detach().float().cpu()
            if own.ndim < 2:
                pieces.append(torch.zeros(own.numel()))
                continue
            drawn = torch.randn(own.shape, generator=generator)
            sizes = [t.flatten(1).norm(dim=1) for t in (own, drawn)]
            scale = (sizes[0] / sizes[1].clamp_min(1e-10)).view(-1, *[1] * (own.ndim - 1))
            pieces.append((drawn * scale).flatten())
        directions.append(torch.cat(pieces))
    return Plane(tuple(weights), flat(model), torch.stack(directions))


def line(start: Tensor, end: Tensor, names: Sequence[str]) -> Plane:
    """Return the line from one network, at 0, to another, at 1."""
    return Plane(tuple(names), start, (end - start)[None])


def weight_plane(model: nn.Module, *weights: tuple[str, int]) -> Plane:
    """Return the plane of single weights: a layer's name and the number of the weight in it, counted in rows."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    axes = torch.zeros(len(weights), sum(sizes.values()))
    for axis, (name, number) in zip(axes, weights, strict=True):
        _known(sizes, [name])
        if not 0 <= number < sizes[name]:
            raise UsageError(f"{name} has {sizes[name]} weights, no number {number}.")
        axis[sum(list(sizes.values())[: list(sizes).index(name)]) + number] = 1
    return Plane(tuple(sizes), flat(model), axes)


def layer_plane(model: nn.Module, name: str, directions: Tensor) -> Plane:
    """Return the plane of some directions of one layer, (axes, its weights): a gradient, or Hessian eigenvectors."""
    weights = dict(model.named_parameters())
    _known(weights, [name])
    if directions.shape[1:] != (weights[name].numel(),):
        raise UsageError(f"directions of shape {tuple(directions.shape)} do not fit the weights of {name}.")
    return Plane((name,), flat(model, [name]), directions.float())


def _known(weights: Mapping[str, object], names: Sequence[str] | None) -> Sequence[str]:
    chosen = list(weights) if names is None else names
    if unknown := set(chosen) - set(weights):
        raise UsageError(f"no weight '{sorted(unknown)[0]}'. There are: {', '.join(weights)}.")
    return chosen

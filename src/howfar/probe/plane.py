"""Lines and planes in the weight space of a network, on which its loss is evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from howfar.errors import UsageError


@dataclass(frozen=True, eq=False)
class Plane:
    """Weights = origin + coordinates · axes.

    Attributes:
        names: of the weights (and buffers, if included), in the order of the columns.
        origin: weights at coordinates 0, float32, (parameters,).
        axes: one or two directions, (axes, parameters); they need not be orthogonal.
    """

    names: tuple[str, ...]
    origin: Tensor
    axes: Tensor

    def __repr__(self) -> str:
        """Return the numbers of axes, weight tensors and parameters; the weights are left out."""
        return f"Plane({len(self.axes)} axes; {len(self.names)} weight tensors, {self.origin.numel()} parameters)"

    def at(self, *coordinates: float) -> Tensor:
        """Return the weights at the given coordinates, (parameters,)."""
        return self.origin + torch.tensor(coordinates, dtype=self.origin.dtype) @ self.axes

    def project(self, path: Tensor) -> Tensor:
        """Return the coordinates of the orthogonal projections: (checkpoints, parameters) to (checkpoints, axes)."""
        gram = self.axes.double() @ self.axes.double().T
        along = (path - self.origin).double() @ self.axes.double().T
        found: Tensor = torch.linalg.solve(gram, along.T).T.float()
        return found

    def unexplained(self, path: Tensor) -> float:
        """Return the share of a trajectory's squared distance from the origin that lies outside the plane."""
        offset = (path - self.origin).double()
        inside = self.project(path).double() @ self.axes.double()
        return float((offset - inside).square().sum() / offset.square().sum().clamp_min(1e-30))


def flat(model: nn.Module, names: Sequence[str] | None = None) -> Tensor:
    """Return the flattened weights of a network, float32, (parameters,); buffers too if they are named."""
    weights = dict(model.named_parameters()) if names is None else model.state_dict()
    chosen = _known(weights, names)
    return torch.cat([weights[name].detach().float().cpu().flatten() for name in chosen])


def pca_plane(
    paths: Sequence[Tensor], names: Sequence[str], *, origin: Tensor | None = None
) -> tuple[Plane, tuple[float, float]]:
    """Return the plane of the first two principal components of trajectories, and the variance explained by each.

    All checkpoints are analyzed together, so that all trajectories can be projected onto one plane (Li et al.,
    Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 7).

    Args:
        paths: trajectories, (checkpoints, parameters) each.
        names: of the weights.
        origin: weights at coordinates 0; None takes the mean of all checkpoints, which lies on the plane.
    """
    moments = torch.cat(list(paths)).double()
    centered = moments - moments.mean(0)
    if len(moments) < 3 or not centered.square().sum() > 0:
        raise UsageError("a plane needs at least three different checkpoints. Keep more of them.")
    # Few checkpoints, many weights: the Gram matrix is small and has the same spectrum.
    values, rows = torch.linalg.eigh(centered @ centered.T)
    axes = rows[:, [-1, -2]].T @ centered
    lengths = axes.norm(dim=1, keepdim=True).clamp_min(1e-30)
    shares = (values[[-1, -2]] / values.clamp_min(0).sum()).clamp_min(0).tolist()
    middle = moments.mean(0) if origin is None else origin.double()
    return Plane(tuple(names), middle.float(), (axes / lengths).float()), (shares[0], shares[1])


def random_plane(model: nn.Module, *, axes: int = 2, generator: Generator | None = None) -> Plane:
    """Return random filter-normalized directions around a network.

    Every filter of a direction has the norm of the network's own filter, which makes plots comparable between networks
    that differ only in the scale of their weights. Biases and the weights of normalization layers are not perturbed
    (Li et al., NeurIPS 2018, section 4). Without a generator, the directions are those of seed 0.
    """
    generator = generator or Generator().manual_seed(0)
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
    """Return the line from one network (at 0) to another (at 1)."""
    return Plane(tuple(names), start, (end - start)[None])


def weight_plane(model: nn.Module, *weights: tuple[str, int]) -> Plane:
    """Return the plane of single weights, each given by layer name and index in the flattened layer."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    axes = torch.zeros(len(weights), sum(sizes.values()))
    for axis, (name, number) in zip(axes, weights, strict=True):
        _known(sizes, [name])
        if not 0 <= number < sizes[name]:
            raise UsageError(f"{name} has {sizes[name]} weights, so there is no number {number}.")
        axis[sum(list(sizes.values())[: list(sizes).index(name)]) + number] = 1
    return Plane(tuple(sizes), flat(model), axes)


def layer_plane(model: nn.Module, name: str, directions: Tensor) -> Plane:
    """Return the plane of given directions of one layer, (axes, weights), such as Hessian eigenvectors."""
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

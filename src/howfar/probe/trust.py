"""Trust-region step: the minimum on a ball of a quadratic fitted to the gradients so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 16  # number of latest samples that are used
DEPENDENT = 1e-12  # relative squared norm below which a direction counts as linearly dependent


@dataclass(frozen=True)
class Sample:
    """A displacement from the unperturbed weights, and the gradient of the loss there."""

    move: Tensor
    gradient: Tensor


def lowest(here: Sample, others: Sequence[Sample], *, radius: float, trust: float) -> tuple[Tensor, float]:
    """Return the minimizer of a quadratic model of the loss, and the predicted fall from ``here``.

    The Hessian comes from differences of gradients (symmetric rank-one updates; Nocedal and Wright, Numerical
    Optimization, 2nd ed., section 6.2); unexplored directions get the mean curvature of explored ones. Everything is
    computed in the subspace of the samples, where the constrained problem is solved exactly (section 4.3).

    Args:
        here: the best sample so far.
        others: earlier samples.
        radius: of the ball around a displacement of 0.
        trust: radius of the trust region around ``here``.
    """
    others = others[-KEPT:]
    columns = [here.gradient, here.move]
    columns += [other.move - here.move for other in others] + [other.gradient - here.gradient for other in others]
    matrix = torch.stack([column.flatten() for column in columns], dim=1).double()
    norms = matrix.norm(dim=0).clamp_min(1e-30)
    values, vectors = torch.linalg.eigh((matrix / norms).T @ (matrix / norms))
    kept = values > DEPENDENT * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    # Coordinates of the columns in the orthonormal basis matrix / norms @ vectors / √values.
    inside = (values.sqrt()[:, None] * vectors.T * norms).cpu().numpy()
    slope, at = inside[:, 0], inside[:, 1]
    moves, changes = inside[:, 2 : 2 + len(others)], inside[:, 2 + len(others) :]
    hessian = _curvature(moves.T, changes.T, len(slope))
    step = _on_ball(slope - hessian @ at, hessian, radius) - at
    length = float(np.linalg.norm(step))
    step *= min(1.0, trust / max(length, 1e-30))
    predicted = -float(slope @ step + step @ hessian @ step / 2)
    weights = torch.from_numpy(at + step).to(vectors)
    move = ((matrix / norms) @ (vectors @ (weights / values.sqrt()))).to(here.move).view_as(here.move)
    return move * min(1.0, radius / max(float(move.norm()), 1e-30)), predicted


Small = NDArray[np.float64]


def _curvature(moves: Small, changes: Small, size: int) -> Small:
    pairs = [
        (s, y) for s, y in zip(moves, changes, strict=True) if float(s @ s) > 0
    ]  # rounding may leave a zero displacement
    along = [max(float(s @ y) / float(s @ s), 0.0) for s, y in pairs]
    hessian = np.eye(size) * (sum(along) / len(along) if along else 0.0)
    for s, y in pairs:
        rest = y - hessian @ s
        share = float(rest @ s)
        if abs(share) > 1e-6 * float(np.linalg.norm(rest) * np.linalg.norm(s)):
            hessian += np.outer(rest, rest) / share
    return hessian


def _on_ball(slope: Small, hessian: Small, radius: float) -> Small:
    """Return x with ‖x‖ ≤ radius that minimizes slope·x + x·hessian·x / 2."""
    values, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ slope
    if values[0] > 0 and np.linalg.norm(along / values) <= radius:
        inside: Small = vectors @ (-along / values)
        return inside
    low = max(0.0, -float(values[0]))
    high = low + 2 * float(np.linalg.norm(along)) / radius

    def too_long(shift: float) -> float:
        return float(np.linalg.norm(along / np.maximum(values + shift, 1e-300))) - radius

    floor = low + 1e-12 * max(high, 1.0)
    if (
        too_long(floor) <= 0
    ):  # hard case: the gradient is nearly orthogonal to the most negative curvature, so follow that to the boundary
        x = -along / np.maximum(values + floor, 1e-300)
        x[0] += np.copysign(np.sqrt(max(radius**2 - float(x @ x), 0.0)), x[0])
    else:
        from scipy.optimize import brentq

        x = -along / np.maximum(values + brentq(too_long, floor, max(high, 2 * floor), xtol=1e-9 * high), 1e-300)
    edge: Small = vectors @ x
    return edge

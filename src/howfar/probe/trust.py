"""The smallest value on a ball of the quadratic that fits the gradients seen so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 16  # of the places seen, the last ones
DEPENDENT = 1e-12  # directions whose squared share in all others is smaller add nothing


@dataclass(frozen=True)
class Seen:
    """A place, as the move that leads to it, and the gradient of the loss there."""

    move: Tensor
    gradient: Tensor


def lowest(here: Seen, others: Sequence[Seen], *, radius: float, trust: float) -> tuple[Tensor, float]:
    """Return the move that a quadratic model of the loss likes best, and the fall it promises from ``here``.

    The curvature comes from differences of gradients (symmetric rank-one updates; Nocedal and Wright, Numerical
    Optimization, 2nd ed., section 6.2); directions nobody tried get the mean curvature of those tried. All of it
    happens in the few directions that appear, where the ball's constraint is solved exactly (section 4.3).

    Args:
        here: the best place so far.
        others: places seen before.
        radius: of the ball around a move of 0.
        trust: how far from ``here`` the model is believed.
    """
    others = others[-KEPT:]
    columns = [here.gradient, here.move]
    columns += [seen.move - here.move for seen in others] + [seen.gradient - here.gradient for seen in others]
    matrix = torch.stack([column.flatten() for column in columns], dim=1).double()
    norms = matrix.norm(dim=0).clamp_min(1e-30)
    values, vectors = torch.linalg.eigh((matrix / norms).T @ (matrix / norms))
    kept = values > DEPENDENT * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    # An orthonormal basis is matrix / norms @ vectors / √values; these are the columns in it.
    inside = (values.sqrt()[:, None] * vectors.T * norms).cpu().numpy()
    slope, at = inside[:, 0], inside[:, 1]
    moves, turns = inside[:, 2 : 2 + len(others)], inside[:, 2 + len(others) :]
    bent = _curvature(moves.T, turns.T, len(slope))
    step = _on_ball(slope - bent @ at, bent, radius) - at
    length = float(np.linalg.norm(step))
    step *= min(1.0, trust / max(length, 1e-30))
    promised = -float(slope @ step + step @ bent @ step / 2)
    weights = torch.from_numpy(at + step).to(vectors)
    move = ((matrix / norms) @ (vectors @ (weights / values.sqrt()))).to(here.move).view_as(here.move)
    return move * min(1.0, radius / max(float(move.norm()), 1e-30)), promised


Small = NDArray[np.float64]


def _curvature(moves: Small, turns: Small, size: int) -> Small:
    pairs = [(s, y) for s, y in zip(moves, turns, strict=True) if float(s @ s) > 0]  # rounding may leave no move
    along = [max(float(s @ y) / float(s @ s), 0.0) for s, y in pairs]
    bent = np.eye(size) * (sum(along) / len(along) if along else 0.0)
    for s, y in pairs:
        rest = y - bent @ s
        share = float(rest @ s)
        if abs(share) > 1e-6 * float(np.linalg.norm(rest) * np.linalg.norm(s)):
            bent += np.outer(rest, rest) / share
    return bent


def _on_ball(slope: Small, bent: Small, radius: float) -> Small:
    """Return x with ‖x‖ ≤ radius that minimises slope·x + x·bent·x / 2."""
    values, vectors = np.linalg.eigh(bent)
    along = vectors.T @ slope
    if values[0] > 0 and np.linalg.norm(along / values) <= radius:
        inside: Small = vectors @ (-along / values)
        return inside
    low = max(0.0, -float(values[0]))
    high = low + 2 * float(np.linalg.norm(along)) / radius

    def too_long(shift: float) -> float:
        return float(np.linalg.norm(along / np.maximum(values + shift, 1e-300))) - radius

    floor = low + 1e-12 * max(high, 1.0)
    if too_long(floor) <= 0:  # the slope hardly touches the most downward bend: follow that one to the edge
        x = -along / np.maximum(values + floor, 1e-300)
        x[0] += np.copysign(np.sqrt(max(radius**2 - float(x @ x), 0.0)), x[0])
    else:
        from scipy.optimize import brentq

        x = -along / np.maximum(values + brentq(too_long, floor, max(high, 2 * floor), xtol=1e-9 * high), 1e-300)
    edge: Small = vectors @ x
    return edge

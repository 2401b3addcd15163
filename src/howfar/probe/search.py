"""Projected normalised gradient steps on the ball around one layer's weights, for many layers in step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.probe.surface import Point, Surface


@dataclass
class Search:
    """The search for the largest (or smallest) loss in the ball of one layer.

    Attributes:
        name: the layer.
        sign: +1 climbs, −1 descends.
        radius: of the ball, absolute.
        best: the best point so far; the start counts.
        step: length of the next step; halved when a descent overshoots.
        gain: of the last step over the best before it, nats.
        settled: whether the last step gained next to nothing.
        points: how many points were evaluated.
    """

    name: str
    sign: float
    radius: float
    best: Point
    start: Point
    at: Tensor
    slope: Tensor
    step: float
    gain: float = 0.0
    settled: bool = False
    points: int = 0

    @property
    def value(self) -> float:
        """Rise or fall found so far, nats, at least 0."""
        return self.sign * (self.best.loss - self.start.loss)

    def proposal(self) -> Tensor:
        """Return the next move.

        Climbing, the loss bends upwards where it matters, so the best answer to a slope is the point of the ball
        farthest along it (one power iteration). Descending, the minimum may lie inside: step, then project.
        """
        norm = float(self.slope.norm())
        if norm == 0 or self.radius == 0:
            return torch.zeros_like(self.at)
        if self.sign > 0:
            return self.slope * (self.radius / norm)
        move = self.at - self.slope * (self.step / norm)
        return move * min(1.0, self.radius / max(float(move.norm()), 1e-30))

    def accept(self, move: Tensor, point: Point, tolerance: float) -> None:
        """Take note of where ``move`` led."""
        before = self.value
        self.points += 1
        self.gain = self.sign * (point.loss - self.best.loss)
        if self.gain > 0:
            self.best, self.at = point, move
        if point.gradient is not None:
            if self.gain > 0 or self.sign > 0:
                self.slope = point.gradient
            else:
                self.step /= 4  # overshot: shorter steps from the best point so far
        overshot = self.sign < 0 and self.gain <= 0 and self.step > 0.01 * self.radius
        self.settled = not overshot and self.gain <= tolerance * max(before, 1e-12) and self.points > 1


def begin(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, sign: float) -> list[Search]:
    """Return one search a layer, standing at the weights themselves."""
    searches = []
    for name, slope in slopes.items():
        length = radius * float(surface.weights[name].norm())
        searches.append(Search(name, sign, length, start, start, torch.zeros_like(slope), slope, step=length))
    return searches


def advance(surface: Surface, searches: Sequence[Search], *, gradient: bool, tolerance: float) -> None:
    """Take one step of every search; layers share what lies in front of them."""
    moves = [(search.name, search.proposal()) for search in searches]
    points = surface.at(moves, gradient=gradient)
    for search, (_, move), point in zip(searches, moves, points, strict=True):
        search.accept(move, point, tolerance)

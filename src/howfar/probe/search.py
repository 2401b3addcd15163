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
        start: where the weights stand.
        best: the best point so far; the start counts.
        at: the move that leads to it.
        slope: gradient there, or at the start as long as ``at`` is 0.
        step: length of the next descent, in units of the gradient; 0 before the first.
        settled: whether the last step gained next to nothing.
        points: how many points were evaluated.
    """

    name: str
    sign: float
    radius: float
    start: Point
    best: Point
    at: Tensor
    slope: Tensor
    step: float = 0.0
    settled: bool = False
    points: int = 0

    @property
    def value(self) -> float:
        """Rise or fall found so far, nats, at least 0."""
        return self.sign * (self.best.loss - self.start.loss)

    def proposal(self) -> Tensor:
        """Return the next move.

        Climbing, the loss bends upwards where it matters, so the best answer to a slope is the point of the ball
        farthest along it (a power iteration). Descending, the minimum may lie inside: step, then project.
        """
        direction = self.slope if self.sign > 0 else -self._free(self.at, self.slope)
        norm = float(direction.norm())
        if norm == 0 or self.radius == 0:
            return torch.zeros_like(self.at)
        if self.sign > 0:
            return direction * (self.radius / norm)
        move = self.at + direction * (self.step or self.radius / norm)
        return move * min(1.0, self.radius / max(float(move.norm()), 1e-30))

    def accept(self, move: Tensor, point: Point, tolerance: float) -> None:
        """Take note of where ``move`` led."""
        before, gain = self.value, self.sign * (point.loss - self.best.loss)
        self.points += 1
        retry = False
        if self.sign < 0 and point.gradient is not None:
            retry = gain <= 0 and self.step != 0
            self.step = self._bent(move, point.gradient, shorter=gain <= 0)
        if gain > 0:
            self.best, self.at = point, move
            self.slope = self.slope if point.gradient is None else point.gradient
        self.settled = not retry and gain <= tolerance * max(before, 1e-12) and self.points > 1

    def _free(self, move: Tensor, slope: Tensor) -> Tensor:
        """Return what of a slope the ball leaves free: on its surface, the part that points out of it falls away."""
        outward = -float((move * slope).sum())
        if outward <= 0 or float(move.norm()) < 0.999 * self.radius:
            return slope
        return slope + move * (outward / float(move.square().sum()))

    def _bent(self, move: Tensor, gradient: Tensor, *, shorter: bool) -> float:
        """Return the step that the curvature between the last two points asks for (Barzilai and Borwein 1988)."""
        moved, turned = move - self.at, self._free(move, gradient) - self._free(self.at, self.slope)
        length, bend = float(moved.square().sum()), float((moved * turned).sum())
        last = self.step or self.radius / max(float(self.slope.norm()), 1e-30)
        if bend <= 0 or length == 0:
            return last / 4 if shorter else 2 * last
        return min(length / bend, last / 4) if shorter and self.step else length / bend


def begin(surface: Surface, start: Point, slopes: dict[str, Tensor], radius: float, sign: float) -> list[Search]:
    """Return one search a layer, standing at the weights themselves."""
    searches = []
    for name, slope in slopes.items():
        length = radius * float(surface.weights[name].norm())
        searches.append(Search(name, sign, length, start, start, torch.zeros_like(slope), slope))
    return searches


def advance(surface: Surface, searches: Sequence[Search], *, gradient: bool, tolerance: float) -> None:
    """Take one step of every search; layers share what lies in front of them."""
    moves = [(search.name, search.proposal()) for search in searches]
    points = surface.at(moves, gradient=gradient)
    for search, (_, move), point in zip(searches, moves, points, strict=True):
        search.accept(move, point, tolerance)

"""The search for the largest and the smallest loss on the ball around one layer's weights, many layers in step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from howfar.probe.surface import Move, Point, Surface
from howfar.probe.trust import Seen, lowest

SETTLED = 0.02  # a step that promises a smaller relative gain is the last one
CAREFUL = 0.5  # downwards, half of that: a quadratic through few gradients promises too little
NEGLIGIBLE = 0.1  # falls below this share of the rise need not be known to the same relative precision
BELIEVED = 0.5  # share of its promise that a step must keep for the model to be believed farther


@dataclass
class Search(ABC):
    """One search on the ball of one layer.

    Attributes:
        name: the layer.
        radius: of the ball, absolute.
        start: where the weights stand.
        slope: gradient at the best point; before the first step, at the start.
        best: the best point so far; the start counts.
        at: the move that leads to it.
        first: loss at the first point, minus that of the start, nats.
        opening: the first move, where something is known already.
        settled: whether nothing more is to be gained.
        points: how many points were evaluated.
    """

    sign: ClassVar[float]

    name: str
    radius: float
    start: Point
    slope: Tensor
    opening: Tensor | None = None
    best: Point = field(init=False)
    at: Tensor = field(init=False)
    first: float = 0.0
    settled: bool = False
    points: int = 0

    def __post_init__(self) -> None:
        """Stand at the weights themselves."""
        self.best, self.at = self.start, torch.zeros_like(self.slope)

    @property
    def value(self) -> float:
        """Rise or fall found so far, nats, at least 0."""
        return self.sign * (self.best.loss - self.start.loss)

    @property
    @abstractmethod
    def young(self) -> bool:
        """Whether too little was seen yet for a promise to be believed."""

    @property
    @abstractmethod
    def precision(self) -> float:
        """A gain that is not worth a step, nats."""

    @abstractmethod
    def further(self, norm: float) -> tuple[Tensor, float]:
        """Return a move from the best point, whose slope has a norm above 0, and the gain it promises in nats."""

    @abstractmethod
    def missed(self, move: Tensor, point: Point, promised: float) -> None:
        """Learn from a move that gained nothing."""

    def proposal(self) -> tuple[Tensor, float]:
        """Return the next move, and the gain it promises in nats."""
        norm = float(self.slope.norm())
        if self.points == 0 and self.opening is not None:
            return self.opening, norm * self.radius
        if norm == 0 or self.radius == 0:
            return torch.zeros_like(self.at), 0.0
        return self.further(norm)

    def reached(self, move: Tensor, point: Point, promised: float) -> None:
        """Go to a better point."""
        self.best, self.at = point, move
        self.slope = self.slope if point.gradient is None else point.gradient

    def accept(self, move: Tensor, point: Point, promised: float, *, last: bool) -> None:
        """Take note of where ``move`` led."""
        if self.points == 0:
            self.first = point.loss - self.start.loss
        self.points += 1
        self.settled = self.settled or last
        if self.sign * (point.loss - self.best.loss) > 0:
            self.reached(move, point, promised)
        else:
            self.missed(move, point, promised)


@dataclass
class Climb(Search):
    """Upwards the loss bends up where it matters, so the largest loss lies on the edge.

    Each move goes to the edge along the slope of the last one: a power iteration (Golub and Van Loan, Matrix
    Computations, section 8.2). Where that overshoots, the next goes halfway.
    """

    sign: ClassVar[float] = 1.0
    short: float = 1.0

    @property
    def young(self) -> bool:
        """Whether not one point has been seen."""
        return self.points == 0

    @property
    def precision(self) -> float:
        """A gain that is not worth a step, nats."""
        return SETTLED * max(self.value, 1e-12)

    def further(self, norm: float) -> tuple[Tensor, float]:
        """Return the point of the edge along the slope, or one on the way there."""
        towards = self.slope * (self.radius / norm)
        if self.short < 1:
            towards = self.at + self.short * (towards - self.at)
            towards = towards * (self.radius / max(float(towards.norm()), 1e-30))
        # The slope alone promises half of what a step gains where the loss bends up.
        return towards, 2 * float((self.slope * (towards - self.at)).sum())

    def missed(self, move: Tensor, point: Point, promised: float) -> None:
        """Go a shorter way next time."""
        self.short /= 3

    def reached(self, move: Tensor, point: Point, promised: float) -> None:
        """Go to a better point, and all the way to the edge from there."""
        super().reached(move, point, promised)
        self.short = 1.0


@dataclass
class Descent(Search):
    """Downwards the minimum may lie inside: every move minimises a quadratic fitted to all gradients seen.

    Attributes:
        rise: what the first move of the climb gave, nats; says how the loss bends along the slope.
        trust: how far the quadratic is believed.
        seen: gradients so far, the best point's included.
    """

    sign: ClassVar[float] = -1.0
    rise: float = 0.0
    trust: float = 0.0
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trust = 2 * self.radius
        self.seen = [Seen(self.at, self.slope), *self.seen]

    @property
    def young(self) -> bool:
        """Whether the quadratic knows hardly a direction, or nothing of these images yet."""
        return self.points < 2 or len(self.seen) < 3

    @property
    def precision(self) -> float:
        """A gain that is not worth a step, nats."""
        return CAREFUL * SETTLED * max(self.value, NEGLIGIBLE * self.rise, 1e-12)

    def further(self, norm: float) -> tuple[Tensor, float]:
        """Return the lowest point of the quadratic; the first time, of the parabola along the slope."""
        if self.points == 0:
            linear = norm * self.radius
            bend = 2 * (self.rise - linear)
            share = min(1.0, linear / bend) if bend > 0 else 1.0
            return self.slope * (-share * self.radius / norm), share * linear - share**2 * bend / 2
        others = [seen for seen in self.seen if seen.move is not self.at]
        return lowest(Seen(self.at, self.slope), others, radius=self.radius, trust=self.trust)

    def missed(self, move: Tensor, point: Point, promised: float) -> None:
        """Believe the quadratic less far; forget it, where a step that it called the last one lost a lot."""
        if self.settled and point.loss - self.best.loss > self.precision:
            self.settled, self.seen = False, []
        self._remember(move, point)
        self.trust = float((move - self.at).norm()) / 3

    def reached(self, move: Tensor, point: Point, promised: float) -> None:
        """Go to a better point, and believe the quadratic farther where it was right."""
        self._remember(move, point)
        if self.best.loss - point.loss > BELIEVED * promised:
            self.trust = max(self.trust, 2 * float((move - self.at).norm()))
        super().reached(move, point, promised)

    def _remember(self, move: Tensor, point: Point) -> None:
        if point.gradient is not None:
            self.seen.append(Seen(move, point.gradient))


def advance(
    surface: Surface, searches: Sequence[Search], *, gradient: bool = True, images: int | None = None,
    tilt: Mapping[str, Tensor] | None = None,
) -> None:  # fmt: skip
    """Take one step of every search; layers share what lies in front of them.

    Args:
        surface: the loss.
        searches: standing somewhere on it.
        gradient: whether steps follow; a search that can gain next to nothing more asks for none and is settled.
        images: how many images to look at, as in ``Surface.at``.
        tilt: gradient of all images minus that of these, by layer. Added to their loss, it makes the few speak for all
            (as in SVRG; Johnson and Zhang, NeurIPS 2013).
    """
    steps = [(search, *search.proposal()) for search in searches]
    last = [not search.young and promised <= search.precision for search, _, promised in steps]
    points = surface.at(
        [
            Move(search.name, change, gradient=gradient and not done)
            for (search, change, _), done in zip(steps, last, strict=True)
        ],
        images=images,
    )
    if tilt is not None:
        points = [_tilted(point, change, tilt[s.name]) for (s, change, _), point in zip(steps, points, strict=True)]
    for (search, change, promised), done, point in zip(steps, last, points, strict=True):
        search.accept(change, point, promised, last=done)


def _tilted(point: Point, change: Tensor, slope: Tensor) -> Point:
    gradient = None if point.gradient is None else point.gradient + slope
    return Point(point.losses + float((slope * change).sum()), point.qualities, gradient)

"""Search for the largest and the smallest loss in the ball around one layer's weights, in parallel over layers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from howfar.probe.surface import Move, Point, Surface
from howfar.probe.trust import Sample, lowest

SETTLED = 0.02  # a step with a smaller predicted relative gain is the last one
CAREFUL = 0.5  # factor for descents: a quadratic fitted to few gradients predicts too small a gain
NEGLIGIBLE = 0.1  # falls below this share of the rise are not refined to the same relative precision
BELIEVED = 0.5  # ratio of actual to predicted gain above which the trust region grows


@dataclass
class Search(ABC):
    """One search in the ball of one layer.

    Attributes:
        name: the layer.
        radius: of the ball, absolute.
        start: loss and quality at the unperturbed weights.
        slope: gradient at the best point; before the first step, at the start.
        best: the best point so far, including the start.
        at: its displacement from the start.
        first: loss at the first point minus loss at the start, nats.
        opening: displacement of the first point, if an earlier search found one.
        settled: whether no further gain is expected.
        points: number of evaluated points.
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
        """Start at the unperturbed weights."""
        self.best, self.at = self.start, torch.zeros_like(self.slope)

    @property
    def value(self) -> float:
        """Rise or fall found so far, nats, at least 0."""
        return self.sign * (self.best.loss - self.start.loss)

    @property
    @abstractmethod
    def undersampled(self) -> bool:
        """Whether too few points were evaluated to rely on the predicted gain."""

    @property
    @abstractmethod
    def precision(self) -> float:
        """Gain below which the search stops, nats."""

    @abstractmethod
    def further(self, norm: float) -> tuple[Tensor, float]:
        """Return the next displacement and its predicted gain in nats; ``norm`` is that of the gradient, above 0."""

    @abstractmethod
    def reject(self, move: Tensor, point: Point, predicted: float) -> None:
        """Update the state after a step without gain."""

    def proposal(self) -> tuple[Tensor, float]:
        """Return the next displacement and its predicted gain in nats."""
        norm = float(self.slope.norm())
        if self.points == 0 and self.opening is not None:
            return self.opening, norm * self.radius
        if norm == 0 or self.radius == 0:
            return torch.zeros_like(self.at), 0.0
        return self.further(norm)

    def accept(self, move: Tensor, point: Point, predicted: float) -> None:
        """Move to a better point."""
        self.best, self.at = point, move
        self.slope = self.slope if point.gradient is None else point.gradient

    def update(self, move: Tensor, point: Point, predicted: float, *, last: bool) -> None:
        """Process the evaluated point of a step."""
        if self.points == 0:
            self.first = point.loss - self.start.loss
        self.points += 1
        self.settled = self.settled or last
        if self.sign * (point.loss - self.best.loss) > 0:
            self.accept(move, point, predicted)
        else:
            self.reject(move, point, predicted)


@dataclass
class Climb(Search):
    """Search for the largest loss, which lies on the boundary where the loss is convex.

    Each step goes to the boundary along the last gradient, which is a power iteration (Golub and Van Loan, Matrix
    Computations, section 8.2). After an overshoot the next step is shorter.
    """

    sign: ClassVar[float] = 1.0
    short: float = 1.0

    @property
    def undersampled(self) -> bool:
        """Whether no point has been evaluated."""
        return self.points == 0

    @property
    def precision(self) -> float:
        """Gain below which the search stops, nats."""
        return SETTLED * max(self.value, 1e-12)

    def further(self, norm: float) -> tuple[Tensor, float]:
        """Return the boundary point along the gradient, or after an overshoot one on the way to it."""
        toward = self.slope * (self.radius / norm)
        if self.short < 1:
            toward = self.at + self.short * (toward - self.at)
            toward = toward * (self.radius / max(float(toward.norm()), 1e-30))
        # Where the loss is convex, the gradient alone predicts half of the gain.
        return toward, 2 * float((self.slope * (toward - self.at)).sum())

    def reject(self, move: Tensor, point: Point, predicted: float) -> None:
        """Shorten the next step."""
        self.short /= 3

    def accept(self, move: Tensor, point: Point, predicted: float) -> None:
        """Move to a better point, and reset the step to full length."""
        super().accept(move, point, predicted)
        self.short = 1.0


@dataclass
class Descent(Search):
    """Search for the smallest loss, which may lie inside: every step minimizes a quadratic fitted to all gradients.

    Attributes:
        rise: gain of the first step of the climb, nats; determines the curvature along the gradient.
        trust: radius of the trust region of the quadratic.
        samples: displacements and gradients so far, including those of the best point.
    """

    sign: ClassVar[float] = -1.0
    rise: float = 0.0
    trust: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trust = 2 * self.radius
        self.samples = [Sample(self.at, self.slope), *self.samples]

    @property
    def undersampled(self) -> bool:
        """Whether there are fewer than two points on these images, or fewer than three gradients."""
        return self.points < 2 or len(self.samples) < 3

    @property
    def precision(self) -> float:
        """Gain below which the search stops, nats."""
        return CAREFUL * SETTLED * max(self.value, NEGLIGIBLE * self.rise, 1e-12)

    def further(self, norm: float) -> tuple[Tensor, float]:
        """Return the minimum of the quadratic; in the first step, that of the parabola along the gradient."""
        if self.points == 0:
            linear = norm * self.radius
            curvature = 2 * (self.rise - linear)
            share = min(1.0, linear / curvature) if curvature > 0 else 1.0
            return self.slope * (-share * self.radius / norm), share * linear - share**2 * curvature / 2
        others = [sample for sample in self.samples if sample.move is not self.at]
        return lowest(Sample(self.at, self.slope), others, radius=self.radius, trust=self.trust)

    def reject(self, move: Tensor, point: Point, predicted: float) -> None:
        """Shrink the trust region; discard the samples if a step predicted to be the last one lost much."""
        if self.settled and point.loss - self.best.loss > self.precision:
            self.settled, self.samples = False, []
        self._remember(move, point)
        self.trust = float((move - self.at).norm()) / 3

    def accept(self, move: Tensor, point: Point, predicted: float) -> None:
        """Move to a better point, and grow the trust region if the prediction was good."""
        self._remember(move, point)
        if self.best.loss - point.loss > BELIEVED * predicted:
            self.trust = max(self.trust, 2 * float((move - self.at).norm()))
        super().accept(move, point, predicted)

    def _remember(self, move: Tensor, point: Point) -> None:
        if point.gradient is not None:
            self.samples.append(Sample(move, point.gradient))


def advance(
    surface: Surface, searches: Sequence[Search], *, gradient: bool = True, images: int | None = None,
    correction: Mapping[str, Tensor] | None = None,
) -> None:  # fmt: skip
    """Take one step of every search; the searches share the computation of preceding layers.

    Args:
        surface: the loss.
        searches: the searches to advance.
        gradient: whether further steps follow. A search whose predicted gain is below its precision evaluates no
            gradient and is settled.
        images: size of the subset, as in ``Surface.at``.
        correction: gradients on all images minus those on the subset, by layer; SVRG gradient correction (Johnson and
            Zhang, NeurIPS 2013).
    """
    steps = [(search, *search.proposal()) for search in searches]
    last = [not search.undersampled and predicted <= search.precision for search, _, predicted in steps]
    points = surface.at(
        [
            Move(search.name, change, gradient=gradient and not done)
            for (search, change, _), done in zip(steps, last, strict=True)
        ],
        images=images,
    )
    if correction is not None:
        points = [
            _corrected(point, change, correction[s.name]) for (s, change, _), point in zip(steps, points, strict=True)
        ]
    for (search, change, predicted), done, point in zip(steps, last, points, strict=True):
        search.update(change, point, predicted, last=done)


def _corrected(point: Point, change: Tensor, slope: Tensor) -> Point:
    gradient = None if point.gradient is None else point.gradient + slope
    return Point(point.losses + float((slope * change).sum()), point.qualities, gradient)

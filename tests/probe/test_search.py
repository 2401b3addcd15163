from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.models import build
from howfar.probe import sharpness
from howfar.probe.modes import MOST_STEPS, _best, _until_settled
from howfar.probe.search import CAREFUL, NEGLIGIBLE, SETTLED, Climb, Descent, Search, advance
from howfar.probe.surface import Move, Point, Surface
from howfar.probe.trust import KEPT, Sample, _curvature, _on_ball, lowest
from howfar.tasks import Task
from howfar.training import Recipe, train

from ..conftest import TestTask, make_data
from .test_reference import small
from .test_sharpness import Flat, Squared


@pytest.mark.parametrize("seed", range(8))
def test_the_quadratic_is_minimised_on_the_ball_as_by_dense_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(2, 2))
    hessian = half + half.T  # of any signs
    slope = rng.normal(size=2) * 0.5
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 801), np.linspace(-1, 1, 801)), -1).reshape(-1, 2)
    grid = grid[(grid**2).sum(1) <= 1]
    value = grid @ slope + ((grid @ hessian) * grid).sum(1) / 2
    x = _on_ball(slope, hessian, 1.0)
    assert np.linalg.norm(x) <= 1 + 1e-6
    assert x @ slope + x @ hessian @ x / 2 <= value.min() + 1e-5


def test_a_slope_without_any_downward_bend_in_it_still_leaves_the_saddle() -> None:
    x = _on_ball(np.array([0.0, 1.0]), np.diag([-1.0, 2.0]), 1.0)
    assert abs(x[0]) > 0.9


def test_a_quadratic_is_minimised_in_as_many_steps_as_it_has_dimensions() -> None:
    generator = arrays.seeded(0)
    half = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    hessian, slope = half @ half.T + torch.eye(5), torch.randn(5, generator=generator, dtype=torch.float64)
    answer = -torch.linalg.solve(hessian, slope)
    here, others = Sample(torch.zeros(5, dtype=torch.float64), slope), []
    for _ in range(8):
        move, predicted = lowest(here, others, radius=100.0, trust=200.0)
        others.append(here)
        here = Sample(move, slope + hessian @ move)
    assert torch.allclose(here.move, answer, atol=1e-6)
    assert predicted < 1e-9


def test_a_place_seen_twice_does_no_harm() -> None:
    here = Sample(torch.ones(3), torch.tensor([1.0, 0.0, 0.0]))
    move, _ = lowest(here, [here, Sample(torch.zeros(3), torch.zeros(3))], radius=2.0, trust=1.0)
    assert torch.isfinite(move).all()


@pytest.mark.parametrize(
    ("slope", "curvatures", "answer"),
    [
        ((-6, -16), (1, 3), (3, 4)),  # convex, minimum outside: shifted by 1, 6 ÷ (1 + 1) and 16 ÷ (3 + 1)
        ((-3, -4), (1, 2), (3, 2)),  # convex, minimum inside: no shift
        ((-6, -20), (-1, 2), (3, 4)),  # a saddle: shifted by 3
        ((-6, -20), (-1, -1), (5 * 6 / 436**0.5, 5 * 20 / 436**0.5)),  # along the slope to the edge
        ((0, -9), (-1, 2), (4, 3)),  # a saddle without any slope along the downward curvature: shifted by 1
        ((0, 0), (-2, 1), (5, 0)),
    ],
)
def test_minima_on_a_ball_of_radius_5_are_those_worked_out_by_hand(
    slope: tuple[float, ...], curvatures: tuple[float, ...], answer: tuple[float, ...]
) -> None:
    found = _on_ball(np.array(slope, float), np.diag(curvatures).astype(float), 5.0)
    assert np.abs(found) == pytest.approx(np.array(answer), abs=1e-6)
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    again = _on_ball(turned @ np.array(slope, float), turned @ np.diag(curvatures) @ turned.T, 5.0)
    assert np.abs(turned.T @ again) == pytest.approx(np.array(answer), abs=1e-3)


def test_curvature_is_that_of_the_moves_and_their_mean_elsewhere() -> None:
    moves = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 0]])
    turns = np.array([[2.0, 0, 0], [0, 8.0, 0], [1.0, 1.0, 1.0]])
    assert _curvature(moves, turns, 3) == pytest.approx(np.diag([2.0, 4.0, 3.0])), "a move of no length says nothing"
    assert not _curvature(moves[:0], turns[:0], 3).any()
    down = _curvature(np.array([[1.0, 0]]), np.array([[-2.0, 1.0]]), 2)
    assert down == pytest.approx(np.array([[-2.0, 1.0], [1.0, -0.5]])), "yyᵀ ÷ (s·y), negative curvature counts as flat"


def at(*place: float, slope: Sequence[float]) -> Sample:
    return Sample(torch.tensor(place), torch.tensor(slope))


def test_the_promise_is_the_fall_of_the_quadratic() -> None:
    """The slope is 1 at 0, and 3 at 1: a curvature of 2, and a minimum of −1/4 at −1/2."""
    here, other = at(0.0, 0.0, slope=[1.0, 0.0]), at(1.0, 0.0, slope=[3.0, 0.0])
    for radius, trust, end, fall in ((2.0, 4.0, -0.5, 0.25), (2.0, 0.25, -0.25, 0.1875), (0.25, 4.0, -0.25, 0.1875)):
        move, predicted = lowest(here, [other], radius=radius, trust=trust)
        assert move.tolist() == pytest.approx([end, 0.0], abs=1e-6)
        assert predicted == pytest.approx(fall, abs=1e-6)
    move, predicted = lowest(at(0.5, 0.0, slope=[2.0, 0.0]), [other], radius=2.0, trust=0.25)
    assert move.tolist() == pytest.approx([0.25, 0.0], abs=1e-6), "the trust counts from the best place"
    assert predicted == pytest.approx(0.25 * 2 - 0.25**2, abs=1e-6)
    move, predicted = lowest(at(0.5, 0.0, slope=[0.0, 1.0]), [], radius=0.5, trust=9.0)
    assert move.tolist() == pytest.approx([0.0, -0.5], abs=1e-6), "nothing is known of the curvature: to the edge"
    assert predicted == pytest.approx(0.5, abs=1e-6)


def test_the_quadratic_forgets_the_oldest_places() -> None:
    """A curvature of 2 along x, and of 8 along y, which counts as the mean of the others once it is forgotten."""
    here = at(0.0, 0.0, slope=[1.0, 1.0])
    oldest, last = at(0.0, 1.0, slope=[1.0, 9.0]), at(1.0, 0.0, slope=[3.0, 1.0])
    for kept, fall in ((KEPT - 1, 1 / 4 + 1 / 16), (KEPT, 1 / 4 + 1 / 4)):
        assert lowest(here, [oldest] + [last] * kept, radius=2.0, trust=4.0)[1] == pytest.approx(fall, abs=1e-6)


def point(loss: float, *slope: float) -> Point:
    losses = torch.full((2,), loss, dtype=torch.float64)
    return Point(losses, losses, torch.tensor(slope) if slope else None)


def climb() -> Climb:
    return Climb("w", 2.0, point(1.0), torch.tensor([3.0, 4.0]))


def test_a_climb_goes_along_the_slope_to_the_edge_and_shorter_after_a_miss() -> None:
    search = climb()
    assert (search.undersampled, search.value) == (True, 0)
    move, predicted = search.proposal()
    assert move.tolist() == pytest.approx([1.2, 1.6])
    assert predicted == pytest.approx(2 * 5 * 2), "twice slope times move"
    search.update(move, point(4.0, 0.0, 1.0), predicted, last=False)
    assert (search.first, search.value, search.points, search.undersampled) == (3, 3, 1, False)
    assert search.precision == pytest.approx(3 * SETTLED)
    move, predicted = search.proposal()
    assert move.tolist() == pytest.approx([0.0, 2.0])
    assert predicted == pytest.approx(2 * 0.4)
    search.update(move, point(3.0, 9.0, 9.0), predicted, last=False)
    assert (search.first, search.value, search.at.tolist()) == (3, 3, pytest.approx([1.2, 1.6]))
    move, predicted = search.proposal()
    third = torch.tensor([0.8, 1.6 + 0.4 / 3])  # a third of the way from (1.2, 1.6) to (0, 2)
    expected = third * 2 / third.norm()
    assert move.tolist() == pytest.approx(expected.tolist())
    assert predicted == pytest.approx(2 * (float(expected[1]) - 1.6))
    search.update(move, point(2.0), predicted, last=False)
    assert search.short == pytest.approx(1 / 9)
    search.update(torch.tensor([2.0, 0.0]), point(5.0), 1.0, last=True)
    assert (search.short, search.value, search.settled) == (1, 4, True)
    assert search.slope.tolist() == [0.0, 1.0], "no slope was asked for there: the last one stays"


def test_a_search_without_slope_stays_and_one_with_an_opening_takes_it_first() -> None:
    still = Climb("w", 2.0, point(1.0), torch.zeros(2))
    assert still.precision == pytest.approx(SETTLED * 1e-12)
    move, predicted = still.proposal()
    assert (move.tolist(), predicted) == ([0.0, 0.0], 0.0)
    narrow = Climb("w", 0.0, point(1.0), torch.ones(2))
    assert (narrow.proposal()[0].tolist(), narrow.proposal()[1]) == ([0.0, 0.0], 0.0)
    opened = Climb("w", 2.0, point(1.0), torch.tensor([3.0, 4.0]), opening=torch.tensor([0.0, -2.0]))
    move, predicted = opened.proposal()
    assert (move.tolist(), predicted) == ([0.0, -2.0], pytest.approx(10.0))
    opened.update(move, point(1.0), predicted, last=False)
    assert opened.short == pytest.approx(1 / 3), "as high as the start is not higher"
    assert opened.proposal()[0].tolist() != [0.0, -2.0]


@pytest.mark.parametrize(
    ("rise", "share", "predicted"),
    [(6.0, 0.25, 0.25), (2.5, 1.0, 1.5), (1.0, 1.0, 3.0), (2.0, 1.0, 2.0), (4.0, 0.5, 0.5)],
)
def test_a_descent_begins_with_the_parabola_that_the_climb_found(rise: float, share: float, predicted: float) -> None:
    """A slope of 2 over a radius of 1; what the climb gained beyond 2 is half of the curvature."""
    search = Descent("w", 1.0, point(9.0), torch.tensor([0.0, 2.0]), rise=rise)
    move, gain = search.proposal()
    assert move.tolist() == pytest.approx([0.0, -share])
    assert gain == pytest.approx(predicted)


def test_a_descent_trusts_its_quadratic_as_far_as_it_was_right() -> None:
    search = Descent("w", 1.0, point(9.0), torch.tensor([0.0, 2.0]), rise=6.0)
    assert search.trust == 2
    assert search.precision == pytest.approx(CAREFUL * SETTLED * NEGLIGIBLE * 6)
    search.update(torch.tensor([0.0, -0.25]), point(8.8, 0.0, 0.5), 0.25, last=False)
    assert search.value == pytest.approx(0.2)
    assert search.trust == 2, "a step of 1/4 says nothing of farther ones"
    assert search.precision == pytest.approx(CAREFUL * SETTLED * NEGLIGIBLE * 6)
    assert search.undersampled
    move, predicted = search.proposal()
    assert move.tolist() == pytest.approx([0.0, -0.25 - 0.5 / 6], abs=1e-5), "the slope falls by 1.5 over 1/4, so 6"
    assert predicted == pytest.approx(0.5**2 / 12, abs=1e-5)
    search.update(move, point(8.9, 0.0, 0.1), predicted, last=False)
    assert not search.undersampled
    assert search.trust == pytest.approx(0.5 / 6 / 3, abs=1e-5), "a third of a step that rejected"
    assert search.at.tolist() == [0.0, -0.25]
    assert len(search.samples) == 3
    search.update(torch.tensor([0.0, -0.75]), point(7.0, 1.0, 0.0), 3.0, last=False)
    assert search.trust == pytest.approx(1.0), "twice a step that kept more than half of its promise"
    search.update(torch.tensor([0.0, 0.75]), point(6.0, 1.0, 0.0), 2.0, last=False)
    assert search.trust == pytest.approx(1.0), "half is not more than half"
    search.update(torch.tensor([0.0, 0.5]), point(6.02), 0.01, last=True)
    assert (search.settled, len(search.samples)) == (True, 5), "a loss below the precision of 0.03: nothing to learn"
    assert search.precision == pytest.approx(CAREFUL * SETTLED * 3)
    search.update(torch.tensor([0.0, 0.5]), point(6.5, 2.0, 2.0), 0.01, last=True)
    assert not search.settled
    assert [sample.gradient.tolist() for sample in search.samples] == [[2.0, 2.0]], (
        "the quadratic was wrong: all but this goes"
    )


class Told(Surface):
    """A surface of one height and slope that takes note of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[Move], int | None]] = []

    def at(self, moves: Sequence[Move], *, images: int | None = None) -> list[Point]:
        self.asked.append((moves, images))
        return [point(2.0, 1.0, 1.0) if move.gradient else point(2.0) for move in moves]


def test_searches_take_one_step_together_on_corrected_losses() -> None:
    surface, searches = Told(), [climb(), Climb("v", 2.0, point(1.0), torch.tensor([1.0, 0.0]))]
    correction = {"w": torch.tensor([1.0, 1.0]), "v": torch.tensor([-1.0, 5.0])}
    advance(surface, searches, images=2, correction=correction)
    (moves, images), *_ = surface.asked
    assert [(move.layer, move.gradient) for move in moves] == [("w", True), ("v", True)]
    assert images == 2
    assert [search.best.losses.tolist() for search in searches[:1]] == [pytest.approx([2.0 + 1.2 + 1.6] * 2)]
    assert searches[0].slope.tolist() == [2.0, 2.0]
    assert searches[0].best.qualities.tolist() == [2.0, 2.0]
    assert searches[1].value == 0, "the correction takes 2 off the loss"
    advance(surface, searches, gradient=False)
    assert [move.gradient for move in surface.asked[1][0]] == [False, False]
    assert surface.asked[1][1] is None
    assert [search.points for search in searches] == [2, 2]


def test_a_search_that_can_gain_next_to_nothing_asks_for_no_slope_and_is_settled() -> None:
    surface, done = Told(), climb()
    done.update(torch.tensor([1.2, 1.6]), point(4.0, 3e-9, 4e-9), 1.0, last=False)
    searches: list[Search] = [done, climb()]
    advance(surface, searches)
    assert [move.gradient for move in surface.asked[0][0]] == [False, True]
    assert [search.settled for search in searches] == [True, False]


class Restless(Told):
    """A surface that is higher with every look, by a slope that turns round and round."""

    def at(self, moves: Sequence[Move], *, images: int | None = None) -> list[Point]:
        self.asked.append((moves, images))
        turn = len(self.asked)
        return [point(float(turn), float(np.cos(turn)), float(np.sin(turn))) for _ in moves]


def test_searches_go_on_until_they_settle_or_have_taken_their_steps() -> None:
    surface, endless, done = Restless(), climb(), climb()
    done.settled = True
    _until_settled(surface, [endless, done])
    assert (endless.points, endless.settled, done.points) == (MOST_STEPS, False, 0)
    assert {len(moves) for moves, _ in surface.asked} == {1}
    calm = climb()
    _until_settled(Told(), [calm])
    assert calm.settled
    assert 2 < calm.points < MOST_STEPS, "nothing is higher than its first step, and ever shorter ones promise less"


@pytest.mark.parametrize(
    ("known", "best", "settled"), [(5.0, 4.0, False), (2.01, 1.01, True), (1.5, 1.0, True)], ids=str
)
def test_the_best_search_counts_as_settled_where_no_other_start_found_more(
    known: float, best: float, settled: bool
) -> None:
    other = climb()
    other.best = point(known)
    found = _best(Told(), {"w": [climb(), climb()]}, {"w": other})["w"]
    assert found.value == pytest.approx(best), "every step gains 1"
    assert found.settled is settled
    assert (found is other) == (known > 2)


class Surface2d(nn.Module):
    """Two weights, and the loss that a function gives for how far they have moved."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1, bias=False)
        nn.init.constant_(self.head.weight, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        moved = self.head(torch.eye(2))[:, 0] - 1
        return moved.expand(len(images), 2)


class LossOf(TestTask):
    """The loss of every image is the same function of two numbers."""

    def __init__(self, function: object) -> None:
        self.function = function

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        values: Tensor = self.function(output[:, 0], output[:, 1])  # type: ignore[operator]
        return values

    quality = loss


RADIUS = 0.05 * 2**0.5  # of the ball around two weights of 1


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_fall_from_a_saddle_is_found_where_it_exceeds_the_rise(mode: str) -> None:
    """The slope points up a valley, the loss falls four times as steeply across: fast used to leave the fall out."""
    saddle = LossOf(lambda x, y: 2 + (x + 0.01).square() - 4 * (y + 0.0001).square())
    angle = torch.linspace(0, 2 * torch.pi, 10_001, dtype=torch.float64)
    around = saddle.function(RADIUS * angle.cos(), RADIUS * angle.sin())  # type: ignore[operator]
    start = 2 + 0.01**2 - 4 * 0.0001**2
    reading = sharpness(Surface2d(), make_data(16, (1, 8, 8), 3), saddle, mode=mode)["head.weight"]  # type: ignore[arg-type]
    assert reading.fall == pytest.approx(start - float(around.min()), rel=0.02)
    assert reading.fall > 2 * reading.rise
    assert reading.sal == reading.fall


def test_a_higher_maximum_from_another_start_is_taken_and_said() -> None:
    """Along the slope the edge is 0.6 high, against it 1.4; a search from the slope alone would call 0.6 settled."""

    def steep(x: Tensor, y: Tensor) -> Tensor:
        share = (x + y) / (2**0.5 * RADIUS)
        return 3 + 0.1 * share + share.square() - 0.5 * share**3

    data = make_data(16, (1, 8, 8), 3)
    reading = sharpness(Surface2d(), data, LossOf(steep), mode="exact")["head.weight"]
    assert reading.rise == pytest.approx(1.4, rel=1e-3)
    assert reading.converged is False
    plain = sharpness(Surface2d(), data, LossOf(lambda x, y: 1 + x + 0 * y), mode="exact")["head.weight"]
    assert plain.rise == pytest.approx(RADIUS, rel=1e-3)
    assert plain.converged is True


@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_exact_is_the_largest_of_all_modes(digits: Splits, task: Task, radius: float) -> None:
    """At the larger radius the loss has several maxima around a layer, and searches end in different ones."""
    model = build(small, digits.train.shape, 10, generator=arrays.seeded(0))
    list(train(model, digits.train.take(range(300)), task, Recipe(epochs=6, batch_size=32, crop=0, flip=False)))
    probe = balanced(digits.train, 144)
    fast, exact, reference = (
        sharpness(model, probe, task, mode=mode, radius=radius, generator=arrays.seeded(4))
        for mode in ("fast", "exact", "reference")
    )
    for name, reading in exact.items():
        for other, slack in ((fast, 0.0), (reference, 2e-5)):  # the reference runs the network unfolded
            assert reading.rise >= other[name].rise - slack * (1 + other[name].rise), name
            assert reading.fall >= other[name].fall - slack, name


def test_fast_is_close_to_exact_where_few_images_mislead() -> None:
    """More weights than the images that lead the search: their own slope fits them, and not the others."""
    generator = arrays.seeded(3)
    pixels = torch.randint(0, 256, (512, 3, 10, 10), generator=generator, dtype=torch.uint8)
    data = Data(pixels, {"label": torch.randint(0, 3, (512,), generator=generator)}, torch.arange(512))
    model = Flat(300)
    with torch.no_grad():
        model.head.weight.copy_(torch.randn(1, 300, generator=generator) / 10)
        model.head.weight.sub_(model.head.weight.mean())
    fast, exact = (sharpness(model, data, Squared(), mode=mode)["head.weight"] for mode in ("fast", "exact"))  # type: ignore[arg-type]
    assert fast.sal >= 0.98 * exact.sal
    assert fast.fall == pytest.approx(exact.fall, rel=0.1)

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.models import build
from howfar.probe import sharpness
from howfar.probe.trust import Seen, _on_ball, lowest
from howfar.tasks import Task
from howfar.train import Recipe, train

from ..conftest import TestTask, make_data
from .test_reference import small
from .test_sharpness import Flat, Squared


@pytest.mark.parametrize("seed", range(8))
def test_the_quadratic_is_minimised_on_the_ball_as_by_dense_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(2, 2))
    bent = half + half.T  # of any signs
    slope = rng.normal(size=2) * 0.5
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 801), np.linspace(-1, 1, 801)), -1).reshape(-1, 2)
    grid = grid[(grid**2).sum(1) <= 1]
    value = grid @ slope + ((grid @ bent) * grid).sum(1) / 2
    x = _on_ball(slope, bent, 1.0)
    assert np.linalg.norm(x) <= 1 + 1e-6
    assert x @ slope + x @ bent @ x / 2 <= value.min() + 1e-5


def test_a_slope_without_any_downward_bend_in_it_still_leaves_the_saddle() -> None:
    x = _on_ball(np.array([0.0, 1.0]), np.diag([-1.0, 2.0]), 1.0)
    assert abs(x[0]) > 0.9


def test_a_quadratic_is_minimised_in_as_many_steps_as_it_has_dimensions() -> None:
    generator = arrays.seeded(0)
    half = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    bent, slope = half @ half.T + torch.eye(5), torch.randn(5, generator=generator, dtype=torch.float64)
    answer = -torch.linalg.solve(bent, slope)
    here, others = Seen(torch.zeros(5, dtype=torch.float64), slope), []
    for _ in range(8):
        move, promised = lowest(here, others, radius=100.0, trust=200.0)
        others.append(here)
        here = Seen(move, slope + bent @ move)
    assert torch.allclose(here.move, answer, atol=1e-6)
    assert promised < 1e-9


def test_a_place_seen_twice_does_no_harm() -> None:
    here = Seen(torch.ones(3), torch.tensor([1.0, 0.0, 0.0]))
    move, _ = lowest(here, [here, Seen(torch.zeros(3), torch.zeros(3))], radius=2.0, trust=1.0)
    assert torch.isfinite(move).all()


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
    reading = sharpness(Surface2d(), saddle, make_data(16, (1, 8, 8), 3), mode=mode)["head.weight"]  # type: ignore[arg-type]
    assert reading.fall == pytest.approx(start - float(around.min()), rel=0.02)
    assert reading.fall > 2 * reading.rise
    assert reading.sal == reading.fall


def test_a_higher_maximum_from_another_start_is_taken_and_said() -> None:
    """Along the slope the edge is 0.6 high, against it 1.4; a search from the slope alone would call 0.6 settled."""

    def steep(x: Tensor, y: Tensor) -> Tensor:
        share = (x + y) / (2**0.5 * RADIUS)
        return 3 + 0.1 * share + share.square() - 0.5 * share**3

    data = make_data(16, (1, 8, 8), 3)
    reading = sharpness(Surface2d(), LossOf(steep), data, mode="exact")["head.weight"]
    assert reading.rise == pytest.approx(1.4, rel=1e-3)
    assert reading.converged is False
    plain = sharpness(Surface2d(), LossOf(lambda x, y: 1 + x + 0 * y), data, mode="exact")["head.weight"]
    assert plain.rise == pytest.approx(RADIUS, rel=1e-3)
    assert plain.converged is True


@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_exact_is_the_largest_of_all_modes(digits: Splits, task: Task, radius: float) -> None:
    """At the larger radius the loss has several maxima around a layer, and searches end in different ones."""
    model = build(small, digits.train.shape, 10, generator=arrays.seeded(0))
    list(train(model, task, digits.train.take(range(300)), Recipe(epochs=6, batch_size=32, crop=0, flip=False)))
    probe = balanced(digits.train, 144)
    fast, exact, reference = (
        sharpness(model, task, probe, mode=mode, radius=radius, generator=arrays.seeded(4))
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
    fast, exact = (sharpness(model, Squared(), data, mode=mode)["head.weight"] for mode in ("fast", "exact"))  # type: ignore[arg-type]
    assert fast.sal >= 0.98 * exact.sal
    assert fast.fall == pytest.approx(exact.fall, rel=0.1)

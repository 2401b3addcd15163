"""Points, gradients and parts of the images against sums written out."""

import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.probe import modes
from howfar.probe.search import Climb
from howfar.probe.surface import Move, Point, Surface
from howfar.tasks import Task, classification

from ..conftest import make_data

DATA = make_data(100, (1, 3, 4), 3)
TASK = classification()(DATA)
SIZE, LAYERS = 32, ("first", "head")


class Two(nn.Module):
    """Two layers, the second of which reads the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 5), nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.first(images.flatten(1)).tanh())
        return out


@pytest.fixture
def model() -> Two:
    generator, model = arrays.seeded(1), Two()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return model


def surface_of(model: Two) -> Surface:
    return Surface(
        model, TASK, DATA, {f"{name}.weight": getattr(model, name).weight for name in LAYERS}, batch_size=SIZE
    )


def slopes_of(model: nn.Module, task: Task, images: Tensor, target: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    for weight in weights:
        weight.requires_grad_()
    found = torch.autograd.grad(task.loss(model(images), target).mean(), weights)
    for weight in weights:
        weight.requires_grad_(False)
    return found


def test_parts_fill_whole_batches_and_lead_only_where_they_are_not_all(model: Two) -> None:
    surface = surface_of(model)
    assert [surface.subset_size(images) for images in (1, 32, 33, 96, 97, 500)] == [32, 32, 64, 96, 100, 100]
    assert [surface.proper_subset_size(images) for images in (1, 33, 96, 97, 500)] == [32, 64, 96, 0, 0]


def test_start_gives_losses_gradients_and_what_the_leading_images_lack(model: Two) -> None:
    with surface_of(model).opened() as surface:
        images, targets = (torch.cat(parts) for parts in zip(*surface.batches(), strict=True))
        assert targets.tolist() != DATA.targets["label"].tolist(), "in an order of its own"
        assert sorted(targets.tolist()) == sorted(DATA.targets["label"].tolist())
        point, slopes, correction = surface.start(64)
        plain, none = surface.start()[1:]
        weights = model.first.weight, model.head.weight
        whole, leading = (slopes_of(model, TASK, images[:n], targets[:n], *weights) for n in (100, 64))
        with torch.no_grad():
            output = model(images)
        assert torch.allclose(point.losses, TASK.loss(output, targets).double(), atol=1e-5)
        assert torch.equal(point.qualities, TASK.quality(output, targets).double())
        assert point.loss == pytest.approx(float(point.losses.mean()))
    for name, all_of_them, few in zip(slopes, whole, leading, strict=True):
        assert torch.allclose(slopes[name], all_of_them, atol=1e-6)
        assert torch.equal(slopes[name], plain[name])
        assert torch.allclose(correction[name], all_of_them - few, atol=1e-6)
        assert float(correction[name].abs().max()) > 1e-3
    assert none == {}


@pytest.mark.parametrize("steps", [1, 2])
def test_fast_goes_along_the_slope_and_once_more_along_that_of_few_images(
    model: Two, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second direction comes from 64 images, with the gradient corrected to that of all images."""
    monkeypatch.setattr(modes, "SUBSET", 50)
    with surface_of(model).opened() as surface:
        images, targets = (torch.cat(parts) for parts in zip(*surface.batches(), strict=True))
        start, slopes, correction = surface.start(surface.proper_subset_size(50))
        rises, falls = modes.fast(surface, start, slopes, 0.1, steps, correction)

        def loss(weight: Tensor, move: Tensor, n: int = 100) -> tuple[float, Tensor]:
            kept = weight.clone()
            weight.add_(move)
            with torch.no_grad():
                losses = TASK.loss(model(images[:n]), targets[:n])
            (slope,) = slopes_of(model, TASK, images[:n], targets[:n], weight)
            weight.copy_(kept)
            return float(losses.double().mean()), slope

        for name, slope in slopes.items():
            weight = model.get_parameter(name)
            radius, none = 0.1 * float(weight.norm()), torch.zeros_like(weight)
            here = loss(weight, none)[0]
            up = radius * slope / slope.norm()
            if steps == 2:
                turned = loss(weight, up, 64)[1] + correction[name]
                up = radius * turned / turned.norm()
            rise = loss(weight, up)[0] - here
            assert rises[name].radius == pytest.approx(radius)
            assert rises[name].value == pytest.approx(rise, abs=1e-5)
            linear = float(slope.norm()) * radius
            curvature = 2 * (rise - linear)
            down = -min(1.0, linear / curvature if curvature > 0 else 1.0) * radius * slope / slope.norm()
            assert falls[name].value == pytest.approx(max(here - loss(weight, down)[0], 0.0), abs=1e-5)
            assert (rises[name].points, falls[name].points) == (1, 1)


def test_a_descent_knows_what_those_on_few_images_have_seen(model: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "SUBSET", 50)
    with surface_of(model).opened() as surface:
        start, slopes, correction = surface.start(surface.proper_subset_size(50))
        climbs = modes._climbs(surface, start, slopes, 0.1)
        falls = modes._descents_on_subset(surface, modes._descents(climbs, slopes, start), correction, steps=3)
    for name, fall in falls.items():
        assert (fall.start, fall.points) == (start, 0)
        assert torch.equal(fall.slope, slopes[name])
        assert fall.opening is not None
        assert 0 < float(fall.opening.norm()) <= climbs[name].radius * (1 + 1e-5)
        places = [sample.move for sample in fall.samples]
        assert len(places) >= 3, "the start of both, and what was tried but is not the best"
        assert not any(place is fall.opening for place in places), "the best comes anew, of all images"


def test_a_loss_counts_as_even_where_the_climb_gains_more_than_twice_its_slope(model: Two) -> None:
    slopes = {"w": torch.tensor([3.0, 4.0])}
    losses = torch.zeros(2, dtype=torch.float64)
    climb = Climb("w", 0.5, Point(losses, losses), slopes["w"])
    for first, even in ((5.1, True), (5.0, False), (4.9, False)):
        climb.first = first
        assert modes._even(climb, slopes) is even


@pytest.mark.parametrize("part", [None, 64])
def test_a_move_leads_to_the_losses_and_the_gradient_of_its_images(model: Two, part: int | None) -> None:
    change = torch.randn(5, 12, generator=arrays.seeded(2))
    still = torch.zeros(3, 5)
    with surface_of(model).opened() as surface:
        images, targets = (torch.cat(parts)[:part] for parts in zip(*surface.batches(), strict=True))
        moved, stayed = surface.at(
            [Move("first.weight", change, gradient=True), Move("head.weight", still)], images=part
        )
        assert surface.at([]) == []
        with torch.no_grad():
            start = model(images)
            model.first.weight.add_(change)
            output = model(images)
        (slope,) = slopes_of(model, TASK, images, targets, model.first.weight)
        with torch.no_grad():
            model.first.weight.sub_(change)
    assert torch.allclose(moved.losses, TASK.loss(output, targets).double(), atol=1e-5)
    assert torch.equal(moved.qualities, TASK.quality(output, targets).double())
    assert moved.gradient is not None
    assert torch.allclose(moved.gradient, slope, atol=1e-5)
    assert torch.allclose(stayed.losses, TASK.loss(start, targets).double(), atol=1e-5)
    assert stayed.gradient is None


@pytest.mark.parametrize("replays", [True, False])
def test_filters_move_one_at_a_time(model: Two, *, replays: bool) -> None:
    moves = torch.randn(5, 12, generator=arrays.seeded(3))
    with surface_of(model).opened() as surface:
        surface.replays = replays
        images, targets = (torch.cat(parts) for parts in zip(*surface.batches(), strict=True))
        losses, qualities, turned = surface.filters("first.weight", 0, moves, gradient=True)
        again = surface.filters("first.weight", 0, moves, gradient=False)
        assert losses.shape == qualities.shape == (5, 100)
        assert turned is not None
        for number in range(5):
            kept = model.first.weight.clone()
            model.first.weight[number] += moves[number]
            output = model(images)
            (slope,) = slopes_of(model, TASK, images, targets, model.first.weight)
            model.first.weight.copy_(kept)
            assert torch.allclose(losses[number], TASK.loss(output, targets).double(), atol=1e-5)
            assert torch.equal(qualities[number], TASK.quality(output, targets).double())
            assert torch.allclose(turned[number], slope[number], atol=1e-5)
        assert torch.allclose(again[0], losses, atol=1e-5)
        assert torch.equal(again[1], qualities)
        assert again[2] is None

import math

import pytest
import torch
from torch import nn

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe import parameter_sharpness, sharpness
from howfar.probe.second_order import _extremes, signs
from howfar.tasks import Task, classification

from ..conftest import TestTask, make_data


@pytest.fixture(scope="module")
def probe(digits: Splits) -> Data:
    return balanced(digits.train, 40)


@pytest.mark.parametrize("name", ["lenet5", "resnet8[width=4]"])
def test_channels_equal_a_loop_over_filters(name: str, probe: Data, task: Task) -> None:
    model = network(name, probe)
    found = sharpness(model, probe, task, granularity="channel", steps=1)
    images, target = arrays.to_images(probe.pixels, torch.device("cpu")), probe.targets["label"]
    model.eval()
    start = task.loss(model(images), target)
    checked = 0
    for layer, weight in model.named_parameters():
        if layer not in weight_names(model):
            continue
        (slope,) = torch.autograd.grad(task.loss(model(images), target).mean(), weight)
        for number in range(0, len(weight), 3):
            kept = weight.detach().clone()
            with torch.no_grad():
                weight[number] += 0.05 * kept[number].norm() * slope[number] / slope[number].norm().clamp_min(1e-30)
                rise = float((task.loss(model(images), target) - start).mean())
                weight.copy_(kept)
            reading = found[f"{layer}[{number}]"]
            assert reading.rise == pytest.approx(max(rise, 0.0), abs=2e-6)
            assert reading.parameters == weight[number].numel()
            checked += 1
    assert checked > 10
    assert len(found) == sum(len(w) for n, w in model.named_parameters() if n in weight_names(model))


def test_falls_and_qualities_of_channels_equal_a_loop_over_filters() -> None:
    """Each filter one step down the slope and two up it: to the edge, and to the edge along the slope found there."""
    data = make_data(40, (1, 4, 5), 3)
    task = classification()(data)
    model = nn.Sequential(nn.Flatten(), nn.Linear(20, 4), nn.Tanh(), nn.Linear(4, 3))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=arrays.seeded(weight.numel())))
    weight = model[1].weight
    found = sharpness(model, data, task, granularity="channel", steps=2, radius=0.3)
    images, target = arrays.to_images(data.pixels, torch.device("cpu")), data.targets["label"]
    start = task.loss(model(images), target)
    quality = task.quality(model(images), target).double()
    (slope,) = torch.autograd.grad(start.mean(), weight)
    start = start.detach()

    def moved(number: int, towards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        kept = weight.detach().clone()
        with torch.no_grad():
            weight[number] += 0.3 * kept[number].norm() * towards / towards.norm()
        loss, other = task.loss(model(images), target), task.quality(model(images), target).double()
        (turned,) = torch.autograd.grad(loss.mean(), weight)
        with torch.no_grad():
            weight.copy_(kept)
        return loss.detach(), other, turned[number]

    turns = 0
    for number in range(4):
        reading = found[f"1.weight[{number}]"]
        first, second = moved(number, slope[number]), moved(number, moved(number, slope[number])[2])
        best = max(first, second, key=lambda one: float(one[0].mean()))
        turns += best is second
        low = moved(number, -slope[number])
        rise, fall = best[0] - start, start - low[0]
        assert reading.rise == pytest.approx(float(rise.mean()), abs=1e-5)
        assert reading.fall == pytest.approx(float(fall.mean()), abs=1e-5)
        assert reading.quality_drop == pytest.approx(float((quality - best[1]).mean()), abs=1e-6)
        assert reading.quality_rise == pytest.approx(float((low[1] - quality).mean()), abs=1e-6)
        larger = rise if rise.mean() >= fall.mean() else fall
        assert reading.standard_error == pytest.approx(float(larger.std()) / 40**0.5, rel=1e-4)
    assert turns > 0


def test_a_second_step_finds_channels_no_lower(probe: Data, task: Task) -> None:
    model = network("lenet5", probe)
    one, two = (sharpness(model, probe, task, granularity="channel", steps=steps) for steps in (1, 2))
    assert all(two[name].rise >= one[name].rise for name in one)
    assert any(two[name].rise > one[name].rise for name in one)


def test_output_channels_of_a_transposed_convolution_are_its_second_dimension() -> None:
    data = make_data(8, (1, 8, 8), 2)
    model = nn.Sequential(nn.ConvTranspose2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * 64, 2))
    found = sharpness(model, data, classification()(data), granularity="channel")
    assert [name for name in found if name.startswith("0.")] == [f"0.weight[{number}]" for number in range(3)]


def test_channels_know_only_fast(probe: Data, task: Task) -> None:
    with pytest.raises(UsageError, match="mode='fast'"):
        sharpness(network("lenet5", probe), probe, task, granularity="channel", mode="exact")


def test_kinds_of_parameters_can_be_included(probe: Data, task: Task) -> None:
    vit = build(MODELS["vit-small"](width=16, depth=1, heads=2), probe.shape, 10, generator=arrays.seeded(0))
    assert set(weight_names(vit, ["tokens"])) == {"token", "positions"}
    assert set(weight_names(vit, ["norms"])) == {
        f"{norm}.{part}" for norm in ("blocks.0.norm1", "blocks.0.norm2", "norm") for part in ("weight", "bias")
    }
    every = ("weights", "biases", "norms", "tokens")
    assert set(weight_names(vit, every)) == {name for name, _ in vit.named_parameters()}
    readings = sharpness(vit, probe, task, include=every, mode="exact")
    assert readings["blocks.0.norm1.weight"].sal > 0
    assert readings["blocks.0.norm1.bias"].sal == 0  # still 0, so its ball is a point


class Tiny(nn.Module):
    """A network so small that its whole Hessian can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.two(torch.tanh(self.one(images.flatten(1))))
        return out


def test_second_order_against_the_exact_hessian() -> None:
    data = make_data(16, (1, 1, 2), 2)
    task = classification()(data)
    torch.manual_seed(0)
    model = Tiny()
    images, target = arrays.to_images(data.pixels, torch.device("cpu")), data.targets["label"]
    found = parameter_sharpness(model, data, task, draws=4000)
    for name, weight in model.named_parameters():
        if name not in found:
            continue

        def loss(w: torch.Tensor, name: str = name) -> torch.Tensor:
            return task.loss(torch.func.functional_call(model, {name: w}, (images,)), target).mean()

        hessian = torch.autograd.functional.hessian(loss, weight.detach()).reshape(weight.numel(), -1)  # type: ignore[no-untyped-call]
        diagonal = hessian.diagonal().view_as(weight)
        slope = torch.func.grad(loss)(weight.detach())
        assert torch.allclose(found[name].gradient, slope, atol=1e-6)
        assert torch.allclose(found[name].curvature, diagonal, atol=0.02 * float(diagonal.abs().max()) + 2e-3)
        room = 0.05 * weight.detach().abs()
        t = torch.linspace(-1, 1, 2001).view(-1, 1, 1) * room
        change = t * slope + t.square() * found[name].curvature / 2
        assert torch.allclose(found[name].rise, change.max(0).values, atol=1e-6)
        assert torch.allclose(found[name].fall, -change.min(0).values, atol=1e-6)
        assert torch.equal(found[name].sal, torch.maximum(found[name].rise, found[name].fall))


def test_the_largest_change_of_a_parabola_is_at_an_end_or_at_its_top() -> None:
    """Weights of ±2, of which a radius of 0.5 makes ±1: slope·t + curvature·t² ÷ 2 over |t| ≤ 1."""
    slope, curvature = torch.tensor([2.0, -2.0, 2.0, 2.0, 2.0, 0.0]), torch.tensor([0.0, 6.0, -1.0, -2.0, -8.0, -4.0])
    found = _extremes(torch.tensor([2.0, -2.0] * 3), slope, curvature, 0.5)
    assert found.rise.tolist() == pytest.approx([2.0, 5.0, 1.5, 1.0, 0.25, 0.0])
    assert found.fall.tolist() == pytest.approx([2.0, 1 / 3, 2.5, 3.0, 6.0, 2.0])
    assert found.sal.tolist() == pytest.approx([2.0, 5.0, 2.5, 3.0, 6.0, 2.0])
    drawn = signs(torch.zeros(40, 50), arrays.seeded(0))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(drawn.mean())) < 0.1


class Separate(nn.Module):
    """Every parameter meets its own pixel, so the Hessian of a sum of squares is diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, (1, 4), bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) * self.conv.weight.flatten()


def test_one_draw_is_exact_where_the_hessian_is_diagonal() -> None:
    data = make_data(6, (1, 1, 4), 2)

    class Squares(TestTask):
        outputs = 4

        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return output.square().sum(1)

        quality = loss

    found = parameter_sharpness(Separate(), data, Squares(), draws=1)["conv.weight"]
    pixels = arrays.unit_images(data.pixels).flatten(1)
    assert torch.allclose(found.curvature.flatten(), 2 * pixels.square().mean(0), rtol=1e-5)
    assert found.sal.shape == (1, 1, 1, 4)


def test_attention_has_a_second_order_too(probe: Data, task: Task) -> None:
    vit = build(MODELS["vit-small"](width=16, depth=1, heads=2), probe.shape, 10, generator=arrays.seeded(0))
    found = parameter_sharpness(vit, probe, task, draws=2)
    assert set(found) == set(weight_names(vit))
    assert all(math.isfinite(float(layer.sal.sum())) and float(layer.sal.max()) > 0 for layer in found.values())


def network(name: str, data: Data) -> nn.Module:
    from howfar.spec import parse

    return build(parse(name, MODELS, "model").build(), data.shape, 10, generator=arrays.seeded(1))


class Undecided(nn.Module):
    """Looks at its own values while it runs, which cannot be vectorized."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 6), nn.Linear(6, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.first(images.flatten(1))
        return self.head(hidden if float(hidden.sum()) > -1e9 else -hidden)


def test_filters_move_one_by_one_where_vectorising_fails() -> None:
    data = make_data(8, (3, 2, 2), 3)
    model, task = Undecided(), classification()(data)
    with pytest.warns(UserWarning, match="one after the other"):
        found = sharpness(model, data, task, granularity="channel")
    plain = nn.Sequential(nn.Flatten(), model.first, model.head)
    twin = sharpness(plain, data, task, granularity="channel")
    assert [r.sal for r in found.values()] == pytest.approx([r.sal for r in twin.values()], rel=1e-4)

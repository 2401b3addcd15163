import copy
import math

import pytest
import torch
from torch import nn

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.errors import HowfarError, UsageError
from howfar.models import MODELS, build
from howfar.probe import sharpness
from howfar.probe.reading import Sharpness
from howfar.tasks import Task
from howfar.training import Recipe, train

from ..conftest import TestTask, make_data


class Squared(TestTask):
    """Squared error of one output: with a linear model, L is a quadratic with a known maximum on a ball."""

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output[:, 0] - target.float()).square()

    def quality(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return -self.loss(output, target)


class Flat(nn.Module):
    """One weight matrix without bias on the pixels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, 1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(images.flatten(1))
        return out


def quadratic(radius: float) -> tuple[Flat, Data, float, float]:
    """Return model, data, and the true rise and fall by dense search over the ball (two weights: a circle)."""
    torch_generator = arrays.seeded(0)
    pixels = torch.randint(0, 256, (32, 1, 1, 2), generator=torch_generator, dtype=torch.uint8)
    data = Data(
        pixels=pixels, targets={"label": torch.randint(0, 3, (32,), generator=torch_generator)}, ids=torch.arange(32)
    )
    model = Flat(2)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, -2.0]]))
    x = arrays.unit_images(pixels).flatten(1).double()
    y = data.targets["label"].double()
    angle = torch.linspace(0, 2 * torch.pi, 100_001, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1) * radius * 5**0.5
    w = torch.tensor([1.0, -2.0], dtype=torch.float64)
    start = (x @ w - y).square().mean()
    around = (x @ (w + circle).T - y[:, None]).square().mean(0)  # the minimum lies outside this small ball
    return model, data, float(around.max() - start), float(start - around.min())


@pytest.mark.parametrize("radius", [0.05, 0.2])
def test_linear_model_with_quadratic_loss_has_the_known_answer(radius: float) -> None:
    model, data, rise, fall = quadratic(radius)
    found = sharpness(model, data, Squared(), radius=radius, mode="exact")["head.weight"]
    assert found.rise == pytest.approx(rise, rel=1e-3)
    assert found.fall == pytest.approx(fall, rel=1e-3)
    assert found.sal == max(found.rise, found.fall)
    assert found.parameters == 2
    assert found.quality_drop == pytest.approx(found.rise, rel=1e-6)


def test_a_reading_is_the_mean_of_each_side_with_the_standard_error_of_the_larger() -> None:
    rise, fall = torch.tensor([1.0, 3.0, 5.0]).double(), torch.tensor([2.0, 2.0, 8.0]).double()
    found = Sharpness.of(rise, fall, quality_drop=0.1, quality_rise=0.2, parameters=7, converged=True)
    assert (found.rise, found.fall, found.sal, found.converged) == (3, 4, 4, True)
    assert (found.quality_drop, found.quality_rise, found.parameters) == (0.1, 0.2, 7)
    assert found.standard_error == pytest.approx(12**0.5 / 3**0.5), "2, 2, 8 scatter by √12"
    values = {**found.__dict__, "rise": 4.5, "fall": None, "quality_rise": None}
    assert Sharpness.recorded(values).sal == 4.5, "older versions left out a fall below the rise"
    assert Sharpness.recorded(found.__dict__) == found
    even = Sharpness.of(rise[:2], torch.tensor([2.0, 2.0]).double(), quality_drop=0, quality_rise=0, parameters=1)
    assert even.standard_error == pytest.approx(1), "1 and 3, as rise and fall are equal"
    assert even.converged is None
    assert math.isnan(Sharpness.of(rise[:1], fall[:1], quality_drop=0, quality_rise=0, parameters=1).standard_error)


@pytest.fixture(scope="module")
def trained(digits: Splits, task: Task) -> nn.Module:
    model = build(MODELS["resnet8"](width=4), digits.train.shape, 10, generator=arrays.seeded(0))
    list(train(model, digits.train, task, Recipe(epochs=2, batch_size=32, crop=0, flip=False)))
    return model


def test_every_weight_mode_and_gradient_is_put_back(trained: nn.Module, digits: Splits, task: Task) -> None:
    model = copy.deepcopy(trained)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sharpness(model, digits.train.take(range(64)), task)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_are_put_back_after_an_error(trained: nn.Module, digits: Splits, task: Task) -> None:
    class Breaking(TestTask):
        calls = 0

        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > 4:
                raise RuntimeError("in the middle of a layer")
            return task.loss(output, target)

        quality = staticmethod(task.quality)

    model = copy.deepcopy(trained)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="in the middle"):
        sharpness(model, digits.train.take(range(64)), Breaking())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_exact_finds_at_least_what_fast_finds(trained: nn.Module, digits: Splits, task: Task) -> None:
    probe = balanced(digits.train, 128)
    fast, exact = (sharpness(trained, probe, task, mode=mode) for mode in ("fast", "exact"))  # type: ignore[arg-type]
    for name in fast:
        assert exact[name].rise >= fast[name].rise * (1 - 1e-6)
        assert (exact[name].fall or 0) >= (fast[name].fall or 0) * (1 - 1e-6)


def test_batches_change_nothing_but_rounding(trained: nn.Module, digits: Splits, task: Task) -> None:
    probe = digits.train.take(range(96))
    small, large = (sharpness(trained, probe, task, batch_size=size) for size in (17, 1000))
    for name in small:
        assert small[name].sal == pytest.approx(large[name].sal, rel=1e-3)
    assert sharpness(trained, probe, task) == sharpness(trained, probe, task)


def test_standard_error_shrinks_with_the_probe_set(trained: nn.Module, digits: Splits, task: Task) -> None:
    few, many = (sharpness(trained, digits.train.take(range(n)), task)["head.weight"] for n in (64, 1024))
    assert few.standard_error > 2 * many.standard_error


def test_senseless_requests_are_refused(trained: nn.Module, digits: Splits, task: Task) -> None:
    with pytest.raises(UsageError, match="positive radius"):
        sharpness(trained, digits.train, task, radius=0.0)
    with pytest.raises(UsageError, match="there are no images"):
        sharpness(trained, digits.train.take([]), task)
    broken = copy.deepcopy(trained)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(HowfarError, match="loss of the model is nan"):
        sharpness(broken, digits.train.take(range(32)), task)


def test_any_shape_works() -> None:
    data = make_data(12, (1, 9, 13), 3)
    from howfar.tasks import classification

    task = classification()(data)
    model = build(MODELS["vit-small"](width=16, depth=2, heads=2), data.shape, 3, generator=arrays.seeded(0))
    assert len(sharpness(model, data, task)) == 10


def test_reference_never_beats_exact_by_more_than_two_percent(trained: nn.Module, digits: Splits, task: Task) -> None:
    probe = balanced(digits.train, 128)
    exact, reference = (sharpness(trained, probe, task, mode=mode) for mode in ("exact", "reference"))  # type: ignore[arg-type]
    largest = max(reading.sal for reading in exact.values())
    for name in exact:
        for side in ("rise", "fall"):
            theirs = getattr(reference[name], side)
            if theirs > 0.01 * largest:
                assert getattr(exact[name], side) >= 0.98 * theirs, (name, side)

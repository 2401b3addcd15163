"""Probes of somebody's own network, tensors and loss, without ``Data``, ``Task`` or ``Recipe``."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar import Data, Task, alignment, curvature, decide, evaluate, landscape, sharpness, train, unlearnable_distance
from howfar.data import Inputs, Splits
from howfar.errors import HowfarError, UsageError
from howfar.probe import parameter_sharpness, random_plane, slices
from howfar.tasks import classification

from .conftest import make_data


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 10)
    )


@pytest.fixture
def few(digits: Splits) -> Data:
    return digits.train.take(range(40))


def normalized(data: Data) -> Tensor:
    return (data.pixels.float() / 255 - 0.3) / 0.4


class Normalizing(nn.Module):
    """The same network for images in [0, 1], so that ``Data`` can be measured with it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - 0.3) / 0.4)


def weighted(output: Tensor, target: Tensor) -> Tensor:
    return ((output - 1) ** 2).sum() / len(output)


def test_sal_of_tensors_is_that_of_the_same_images_as_data(net: nn.Module, few: Data) -> None:
    X, y = normalized(few), few.targets["label"]
    own = sharpness(net, (X, y), functional.cross_entropy)
    ours = sharpness(Normalizing(net), few, classification()(few))
    assert list(own) == ["0.weight", "4.weight"]
    for name, reading in own.items():
        assert reading.rise == pytest.approx(ours[f"net.{name}"].rise, rel=1e-3)
        assert reading.fall == pytest.approx(ours[f"net.{name}"].fall, rel=1e-3)


@pytest.mark.parametrize("mode", ["exact", "reference"])
def test_every_mode_takes_tensors(net: nn.Module, few: Data, mode: Any) -> None:
    pair = normalized(few), few.targets["label"]
    own = sharpness(net, pair, functional.cross_entropy, mode=mode)
    ours = sharpness(Normalizing(net), few, mode=mode)
    assert own["4.weight"].rise == pytest.approx(ours["net.4.weight"].rise, rel=1e-3)


def test_numpy_lists_and_double_precision_are_inputs_too(net: nn.Module, few: Data) -> None:
    X, y = normalized(few), few.targets["label"]
    expected = sharpness(net, (X, y))
    for pair in [(X.double().numpy(), y.numpy()), (X.tolist(), y.tolist()), (X, y.int())]:
        found = sharpness(net, pair)
        assert found["4.weight"].sal == pytest.approx(expected["4.weight"].sal, rel=1e-4)


def test_the_loss_is_the_one_that_the_user_gave(net: nn.Module, few: Data) -> None:
    X, y = normalized(few), few.targets["label"]
    with torch.no_grad():
        output = net.eval()(X)
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.2)
    assert evaluate(net, (X, y), smoothed)["loss"] == pytest.approx(float(smoothed(output, y)), rel=1e-5)
    assert evaluate(net, (X, y), weighted)["loss"] == pytest.approx(float(weighted(output, y)), rel=1e-5)
    assert evaluate(net, (X, y))["accuracy"] == pytest.approx(float((output.argmax(1) == y).float().mean()))


@pytest.mark.parametrize(
    "loss",
    [
        functional.cross_entropy,
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="sum"),
        lambda output, target: functional.cross_entropy(output, target),
        lambda output, target: functional.cross_entropy(output, target, reduction="none"),
        lambda output, target: [functional.cross_entropy(output, target)][0],
    ],
)
def test_losses_of_every_form_give_one_number_an_example(loss: Any) -> None:
    output, target = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    found = Task.from_loss(loss).loss(output, target)
    assert torch.allclose(found, functional.cross_entropy(output, target, reduction="none"))


def test_a_dense_loss_ignores_missing_pixels_in_each_image() -> None:
    """One pixel has a target in the first image, four in the second: means are taken image by image."""
    output = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[0, 255], [255, 255]], [[1, 2], [0, 1]]])
    found = Task.from_loss(nn.CrossEntropyLoss(ignore_index=255)).loss(output, target)
    logs = -output.log_softmax(1)
    second = (logs[1, 1, 0, 0] + logs[1, 2, 0, 1] + logs[1, 0, 1, 0] + logs[1, 1, 1, 1]) / 4
    assert torch.allclose(found, torch.stack([logs[0, 0, 0, 0], second]))


def test_a_loss_of_pixels_needs_no_images(few: Data) -> None:
    """Plain vectors, and targets with several numbers each."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    X, y = torch.randn(30, 6), torch.randn(30, 2)
    found = sharpness(net, (X, y), nn.MSELoss())
    assert all(reading.sal > 0 for reading in found.values())
    with torch.no_grad():
        assert evaluate(net, (X, y), nn.MSELoss())["loss"] == pytest.approx(float(functional.mse_loss(net(X), y)))


def test_several_targets_reach_the_loss_by_name() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    X = torch.randn(20, 4)
    y = {"kind": torch.arange(20) % 2, "angle": torch.randn(20)}

    def both(output: Tensor, target: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(output[:, :2], target["kind"]) + (output[:, 2] - target["angle"]).abs().mean()

    with torch.no_grad():
        expected = float(both(net(X), y))
    assert evaluate(net, (X, y), both)["loss"] == pytest.approx(expected, rel=1e-5)
    assert sharpness(net, (X, y), both)["weight"].sal > 0


def test_a_quality_is_measured_where_the_loss_is_largest(net: nn.Module, few: Data) -> None:
    X, y = normalized(few), few.targets["label"]
    task = Task.from_loss(functional.cross_entropy, lambda output, target: (output.argmax(1) == target).float())
    expected = sharpness(net, (X, y))["4.weight"]
    found = sharpness(net, (X, y), task)["4.weight"]
    assert found.quality_drop == pytest.approx(expected.quality_drop)
    assert evaluate(net, (X, y), task).keys() == {"loss", "quality"}
    assert np.isnan(sharpness(net, (X, y), functional.cross_entropy)["4.weight"].quality_drop)


def test_every_probe_takes_tensors_and_a_loss(net: nn.Module, few: Data) -> None:
    X, y = normalized(few), few.targets["label"]
    pair, loss = (X, y), functional.cross_entropy
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert curvature(net, pair, loss, layers=["4.weight"], iterations=8)["4.weight"].trace > 0
    assert slices(net, pair, loss, layers=["4.weight"], points=3)["4.weight"].gradient.shape == (3,)
    assert parameter_sharpness(net, pair, loss, draws=1)["4.weight"].rise.shape == (10, 196)
    assert decide(net, pair, loss, beta=1e9)["4.weight"].learnable is False
    found = landscape(net, pair, random_plane(net, generator=torch.Generator().manual_seed(0)), [0.0], [0.0], task=loss)
    assert float(found.loss[0, 0]) == pytest.approx(evaluate(net, pair, loss)["loss"], rel=1e-4)
    assert alignment(net, pair, pair, loss)["4.weight"].cosine == pytest.approx(1)
    assert alignment(net, pair, (X, y.roll(1)), loss)["4.weight"].cosine < 0.9
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def epochs(net: nn.Module, X: Tensor, y: Tensor) -> Iterator[None]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        net.train()
        for batch in torch.arange(len(X)).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(net(X[batch]), y[batch]).backward()
            optimizer.step()
        yield


def test_ud_of_a_training_loop_of_ones_own(digits: Splits, net: nn.Module) -> None:
    data = digits.train.take(range(300))
    X, y = normalized(data), data.targets["label"]
    start = {name: value.clone() for name, value in net.state_dict().items()}
    readings = []
    for images in (X, X + y.view(-1, 1, 1, 1) / 2):  # a shortcut: brightness tells the class
        net.load_state_dict(start)
        readings.append(
            [sharpness(net, (images[:64], y[:64]), functional.cross_entropy) for _ in epochs(net, images, y)]
        )
    assert 0 <= unlearnable_distance(*readings).ud.value <= 2
    assert unlearnable_distance(readings[0], readings[0]).ud.value == 1


def test_without_a_task_images_are_classified(net: nn.Module, few: Data) -> None:
    task = classification()(few)
    assert sharpness(net, few) == sharpness(net, few, task)
    one, other = (list(train(net.requires_grad_(), few, *task_))[-1].loss for task_ in ((), (task,)))
    assert one > other  # the second training continues the first


def test_refusals_say_what_to_do(net: nn.Module, few: Data) -> None:
    y = few.targets["label"]
    with pytest.raises(HowfarError, match=r"floating-point.*Data.from_arrays"):
        sharpness(net, (few.pixels, y))
    with pytest.raises(HowfarError, match="40 images but 39 entries in 'label'"):
        sharpness(net, (normalized(few), y[:39]))
    with pytest.raises(UsageError, match="holds floating-point numbers"):
        sharpness(net, (normalized(few), y.float()))
    several = replace(make_data(n=9), targets={"a": torch.zeros(9), "b": torch.zeros(9)})
    with pytest.raises(UsageError, match=r"Task.from_loss\(loss, target=NAME\)"):
        sharpness(net, several, functional.mse_loss)
    with pytest.raises(UsageError, match=r"shape \(1, 10\) for one example"):
        sharpness(net, (normalized(few), y), lambda output, target: output)


def test_inputs_say_what_they_are(few: Data) -> None:
    found = Inputs.of((normalized(few), few.targets["label"]), "label", torch.float32)
    assert repr(found) == "Inputs(40 inputs of 1×16×16; targets: label)"
    assert len(found.take([3, 1])) == 2

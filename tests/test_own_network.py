"""Probes of somebody's own network, tensors and loss, without ``Data``, ``Task`` or ``Recipe``."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar import (
    Data,
    Task,
    alignment,
    curvature,
    decide,
    evaluate,
    landscape,
    sharpness,
    train,
    unlearnable_distance,
)  # fmt: skip
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


class Heads(nn.Module):
    """A network that returns more than one tensor."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.head, self.form = nn.Linear(4, 3), form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.head(x))


def _pair() -> tuple[Tensor, Tensor]:
    return torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


@pytest.mark.parametrize("form", [lambda output: (output, output), lambda output: {0: output}])
def test_a_loss_that_takes_the_tensor_out_is_enough(form: Any) -> None:
    def loss(output: Any, target: Tensor) -> Tensor:
        return functional.cross_entropy(output[0], target)

    plain = Heads(lambda output: output)
    net = Heads(form)
    net.load_state_dict(plain.state_dict())
    expected = sharpness(plain, _pair(), functional.cross_entropy)["head.weight"].sal
    assert sharpness(net, _pair(), loss)["head.weight"].sal == pytest.approx(expected, rel=1e-4)


def test_a_network_without_layers_names_what_it_has() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())
    X, y = _pair()
    for work in (sharpness, curvature, lambda net, pair: alignment(net, pair, pair)):
        with pytest.raises(UsageError, match=r"no parameters of kind weights to measure\. Pass include=\('norms',\)\."):
            work(net, (X, y))
    assert sharpness(net, (X, y), include=("norms",))["0.weight"].sal > 0


WRONG = """
import sys
import warnings
from types import SimpleNamespace
import torch
from howfar import Data, alignment, curvature, evaluate, protect, sharpness, train
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
class Heads(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.head, self.form = nn.Linear(4, 3), form
    def forward(self, x):
        return self.form(self.head(x))

X, y = torch.rand(12, 4), torch.arange(12) % 3
net, pair = nn.Linear(4, 3), (X, y)
def told(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"

def all_of(loss, net):
    works = (lambda: sharpness(net, pair, loss), lambda: curvature(net, pair, loss),
             lambda: alignment(net, pair, pair, loss), lambda: list(train(net, pair, loss)))
    print(" / ".join(sorted({told(work) for work in works})))

for form in (lambda o: (o, o), lambda o: {"logits": o}, lambda o: SimpleNamespace(logits=o)):
    all_of(cross_entropy, Heads(form))
    all_of(None, Heads(form))
    print(told(lambda: evaluate(Heads(form), pair)))
all_of(lambda o, t: float(cross_entropy(o, t)), net)
all_of(lambda o, t: cross_entropy(o, t).detach(), net)
all_of(lambda o, t: None, net)
print(told(lambda: sharpness(net, (X, y.float()), cross_entropy)))
known = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) % 2)
for data in (known, DataLoader(known)):
    print(told(lambda: sharpness(net, data)))
    print(told(lambda: Data.from_arrays(data)))
    print(told(lambda: protect("ops", data)))
print(told(lambda: Data.from_torch(DataLoader(known))))
images = torch.rand(4, 3, 8, 8)
for seed in ("a", -1, 1.5):
    print(told(lambda: protect("random", images, seed=seed)))
print(told(lambda: protect("lsp", images, eps=8 / 255)))
"""
WAY = (
    "Return one tensor from forward, or pass a loss that does: lambda output, target: torch.nn.functional.cross_entropy"
)


def test_wrong_networks_losses_and_data_are_explained() -> None:
    """In a process of its own, where nothing checks types before the functions are called."""
    done = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, check=True)
    lines = [line.removeprefix("UsageError: ") for line in done.stdout.splitlines()]
    outputs = [("tuple", "output[0]"), ("dict", "output['logits']"), ("SimpleNamespace", "output.logits")]
    assert lines[:9] == [
        f"the network returns a {kind}, not a tensor, and the loss does not take it. {WAY}({part}, target)."
        for kind, part in outputs
        for _ in range(3)
    ]
    gradient = "which has no gradient. Return the tensor: leave out .item(), float() and .numpy()."
    assert lines[9:] == [
        f"the loss returns a float, {gradient}",
        "the loss has no gradient. Compute it from the outputs by functions of torch, without .detach() and outside "
        "torch.no_grad().",
        f"the loss returns a NoneType, {gradient}",
        "the targets are floating-point numbers, and the loss takes classes. Pass integers from 0: y.long().",
        "the data are a TensorDataset. Pass Data.from_torch(dataset), or inputs and targets (X, y).",
        "the images are a TensorDataset, not an array. Read it with Data.from_torch(dataset).",
        "no error",
        "the data are a DataLoader, which draws batches. Pass Data.from_torch(loader.dataset), or (X, y).",
        "the images are a DataLoader, not an array. Read it with Data.from_torch(loader.dataset).",
        "a DataLoader draws batches, so it is no data set. Pass its data set: loader.dataset.",
        "a DataLoader draws batches, so it is no data set. Pass its data set: loader.dataset.",
        "seed = 'a' is not a seed. Use a whole number from 0.",
        "seed = -1 is not a seed. Use a whole number from 0.",
        "seed = 1.5 is not a seed. Use a whole number from 0.",
        "protect has no argument 'eps'. Settings stand in the name: 'lsp[eps=8/255]'.",
    ]

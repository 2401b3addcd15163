"""A network is left as it was found: values, modes, flags, gradients and hooks, also after errors and interrupts."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.models import MODELS, build
from howfar.probe import alignment, curvature, decide, parameter_sharpness, sharpness, slices
from howfar.tasks import classification

from ..conftest import TestTask, make_data


class Counting(nn.Module):
    """A layer that writes into a buffer, and puts a new one in its place, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x.detach().mean()
        return x


def prepared(data: Data) -> nn.Module:
    """Return a network in mixed modes, partly frozen, with gradients and hooks, whose buffers change when it runs."""
    body = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0))
    model = nn.Sequential(OrderedDict(count=Counting(), body=body, tied=nn.Linear(3, 3, bias=False)))
    model.train()
    body.bn1.eval()
    body.conv1.weight.requires_grad_(False)
    for place, parameter in enumerate(model.parameters()):
        if place % 2 and parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, float("nan") if place % 4 == 1 else 0.5)
    body.head.register_forward_hook(lambda module, args, output: output)
    body.conv1.register_forward_pre_hook(lambda module, args: None)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """Return everything that must not change; tensors as bytes, with their identity."""
    found: dict[str, Any] = {}
    for kind, several in (("weight", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in several:
            found[f"{kind} {name}"] = id(tensor), tensor.detach().clone().numpy().tobytes()
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        found[f"flag {name}"] = parameter.requires_grad
        found[f"grad {name}"] = None if grad is None else (id(grad), grad.clone().numpy().tobytes())
    for name, module in model.named_modules():
        found[f"mode {name}"] = module.training
        found[f"attributes {name}"] = sorted(vars(module))
        found[f"hooks {name}"] = {key: list(value.items()) for key, value in vars(module).items() if "_hooks" in key}
    return found


class Failing(TestTask):
    """Cross-entropy that raises at a call of its own."""

    def __init__(self, at: float, error: BaseException, where: str) -> None:
        self.at, self.error, self.where, self.calls = at, error, where, 0
        self.outputs = 3

    def _count(self, where: str) -> None:
        if where == self.where:
            self.calls += 1
            if self.calls > self.at:
                raise self.error

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        self._count("loss")
        return nn.functional.cross_entropy(output, target, reduction="none")

    def quality(self, output: Tensor, target: Tensor) -> Tensor:
        self._count("quality")
        return (output.argmax(1) == target).float()


PROBES: dict[str, Callable[..., Any]] = {
    "fast": lambda *args: sharpness(*args),
    "exact": lambda *args: sharpness(*args, mode="exact"),
    "reference": lambda *args: sharpness(*args, mode="reference"),
    "channels": lambda *args: sharpness(*args, granularity="channel"),
    "alignment": lambda model, data, task: alignment(model, data, data.with_pixels(255 - data.pixels), task),
    "decide": lambda *args: decide(*args, beta=0.1, first=16),
    "second order": lambda *args: parameter_sharpness(*args, draws=1),
    "curvature": lambda *args: curvature(*args, layers=["body.head.weight"], iterations=3, draws=2, top=1),
    "slices": lambda *args: slices(*args, layers=["body.head.weight"], points=3, draws=1),
}
ONCE = ("second order", "curvature")  # they take the loss of all images once
ERRORS = [RuntimeError("in the middle"), KeyboardInterrupt()]


@pytest.fixture
def data() -> Data:
    return make_data(24, (3, 8, 8), 3)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_is_restored_at_the_end(name: str, data: Data) -> None:
    model = prepared(data)
    before = state(model)
    task = Failing(math.inf, RuntimeError(), "loss")
    PROBES[name](model, data, task)
    assert task.calls
    assert state(model) == before


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_is_restored_after_an_error(name: str, error: BaseException, at: int, data: Data) -> None:
    model = prepared(data)
    before = state(model)
    with pytest.raises(type(error)):
        PROBES[name](model, data, Failing(0 if name in ONCE else at, error, "loss"))
    assert state(model) == before


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_is_restored_where_the_network_itself_fails(data: Data) -> None:
    """In the very first pass, in the middle of one, and in each of the ways that the network is run."""
    task = classification()(data)
    for at in range(8):
        model = prepared(data)
        calls = [0]

        def stop(module: nn.Module, args: Any, calls: list[int] = calls, at: int = at) -> None:
            calls[0] += 1
            if calls[0] > at:
                raise KeyboardInterrupt

        model.body.stages[1].register_forward_pre_hook(stop)  # type: ignore[union-attr, index]
        before = state(model)
        with pytest.raises(KeyboardInterrupt):
            sharpness(model, data, task)
        assert state(model) == before


def test_a_first_batch_without_targets_leaves_the_mode_and_the_flags(data: Data) -> None:
    model = prepared(data)
    before = state(model)
    bad = Data(data.pixels, {"other": data.targets["label"]}, data.ids)
    careless = replace(classification()(data), prepare=lambda data: data)
    with pytest.raises(KeyError):
        sharpness(model, bad, careless)
    assert state(model) == before

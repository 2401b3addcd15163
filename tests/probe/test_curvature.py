"""Curvature against exact Hessians of small networks."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe import curvature
from howfar.tasks import Task, classification

from ..conftest import make_data


class Small(nn.Module):
    """Two layers with a smooth unit between, small enough for the whole Hessian."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(shape[0], 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.two = nn.Linear(3, outputs)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.two(self.norm(self.one(x)).tanh().mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, Task, Data]:
    data = make_data(24, (3, 8, 8), 3)
    model = build(Small, data.shape, 3, generator=arrays.seeded(0))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    return model, classification()(data), data


def exact(model: nn.Module, task: Task, data: Data, names: list[str]) -> np.ndarray[Any, Any]:
    """Return the Hessian by forward-over-reverse differentiation of the flat weights."""
    model.eval()
    images = arrays.to_images(data.pixels, torch.device("cpu"))
    target = data.answers(task.target)
    weights = dict(model.named_parameters())
    sizes = [weights[name].numel() for name in names]

    def loss(flat: Tensor) -> Tensor:
        pieces = {
            name: piece.view_as(weights[name]) for name, piece in zip(names, flat.split(sizes), strict=True)
        }  # fmt: skip
        return task.loss(functional_call(model, pieces, (images,)), target).mean()

    flat = torch.cat([weights[name].detach().flatten() for name in names])
    return torch.func.hessian(loss)(flat).detach().double().numpy()  # type: ignore[no-any-return]


def test_eigenvalues_trace_and_vectors_are_those_of_the_exact_hessian(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, data = case
    names = weight_names(model)
    found = curvature(model, task, data, top=3, iterations=100, draws=6, tolerance=1e-4)
    assert set(found) == {*names, ""}
    for name, reading in found.items():
        whole = exact(model, task, data, [name] if name else names)
        values = np.linalg.eigvalsh(whole)
        largest = values[np.abs(values).argsort()[::-1][:3]]
        assert reading.converged
        assert reading.eigenvalues == pytest.approx(sorted(largest, reverse=True), abs=1e-3 * np.abs(values).max())
        for value, vector in zip(reading.eigenvalues, reading.vectors.double().numpy(), strict=True):
            assert np.linalg.norm(whole @ vector - value * vector) <= 2e-3 * np.abs(values).max()
        assert abs(reading.trace - np.trace(whole)) <= 4 * reading.trace_error
        assert reading.parameters == len(whole)


def test_density_is_one_in_sum_and_the_trace_in_mean(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, data = case
    (reading,) = curvature(model, task, data, layers=[""], iterations=60, draws=16).values()
    places, density = np.array(reading.places), np.array(reading.density)
    assert np.trapezoid(density, places) == pytest.approx(1, abs=0.01)
    mean = np.trapezoid(density * places, places)
    assert mean == pytest.approx(reading.trace / reading.parameters, abs=4 * reading.trace_error / reading.parameters)
    assert min(reading.density_error) >= 0


def test_standard_error_covers_the_eigenvalue_of_more_images(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, _ = case
    many = make_data(640, (3, 8, 8), 3)
    truth = curvature(model, task, many, layers=["two.weight"], top=1)["two.weight"].eigenvalues[0]
    inside = 0
    for part in range(10):
        some = many.take(range(64 * part, 64 * part + 64))
        reading = curvature(model, task, some, layers=["two.weight"], top=1)["two.weight"]
        inside += abs(reading.eigenvalues[0] - truth) <= 3 * reading.standard_errors[0]
    assert inside >= 7


def test_a_search_cut_short_says_so_and_all_is_put_back(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, data = case
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reading = curvature(model, task, data, layers=["one.weight"], iterations=2, tolerance=1e-6)["one.weight"]
    assert not reading.converged
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    with pytest.raises(UsageError, match="no layer 'three'"):
        curvature(model, task, data, layers=["three"])


def test_graphs_that_do_not_fit_are_made_anew_with_the_same_result(
    case: tuple[nn.Module, Task, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module = importlib.import_module("howfar.probe.hessian")
    model, task, data = case
    kept = curvature(model, task, data, layers=[""], iterations=20)[""]
    monkeypatch.setattr(module, "MEMORY", 0)
    anew = curvature(model, task, data, layers=[""], iterations=20)[""]
    assert anew.eigenvalues == kept.eigenvalues
    assert anew.trace == kept.trace


@pytest.mark.parametrize("name", ["resnet8", "vit-small"])
def test_networks_of_the_table_have_curvature(name: str) -> None:
    sizes = {"resnet8": {"width": 2}, "vit-small": {"width": 8, "depth": 1, "heads": 1}}
    data = make_data(16, (3, 8, 8), 3)
    model = build(MODELS[name](**sizes[name]), data.shape, 3, generator=arrays.seeded(0))
    found = curvature(model, classification()(data), data, iterations=10, draws=2)
    assert all(math.isfinite(reading.trace) for reading in found.values())

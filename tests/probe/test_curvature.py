"""Curvature against exact Hessians of small networks."""

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor, nn
from torch.func import functional_call

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe import curvature
from howfar.probe.hessian import Hessian, _activations, lanczos, tridiagonal_eigen
from howfar.probe.surface import Surface
from howfar.tasks import Task, classification

from ..conftest import make_data

module = importlib.import_module("howfar.probe.curvature")  # the package has a function of that name


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
    target = data.targets_of(task.target)
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
    found = curvature(model, data, task, top=3, iterations=100, draws=6, tolerance=1e-4)
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
    (reading,) = curvature(model, data, task, layers=[""], iterations=60, draws=16).values()
    places, density = np.array(reading.places), np.array(reading.density)
    assert trapezoid(density, places) == pytest.approx(1, abs=0.01)
    mean = trapezoid(density * places, places)
    assert mean == pytest.approx(reading.trace / reading.parameters, abs=4 * reading.trace_error / reading.parameters)
    assert min(reading.density_error) >= 0


class Known(Hessian):
    """A matrix in the place of a network's Hessian, in as many parts as images."""

    def __init__(self, *parts: Any) -> None:
        self.matrices = [torch.tensor(part, dtype=torch.float32) for part in parts]
        self.size, self.device = len(self.matrices[0]), torch.device("cpu")

    def parts(self, vector: Tensor) -> Any:
        yield from (matrix @ vector for matrix in self.matrices)


def test_lanczos_finds_the_tridiagonal_form() -> None:
    drawn = torch.randn(7, 7, generator=arrays.seeded(0)).numpy()
    whole = drawn + drawn.T
    start = torch.randn(7, generator=arrays.seeded(1))
    diagonal, off_diagonal, basis, _ = lanczos(Known(whole), start, 50)
    rows = basis.double().numpy()
    assert (len(diagonal), len(off_diagonal), basis.shape) == (7, 6, (7, 7))
    assert rows @ rows.T == pytest.approx(np.eye(7), abs=1e-5)
    form = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    assert rows @ whole @ rows.T == pytest.approx(form, abs=1e-4)
    assert rows[0] == pytest.approx((start / start.norm()).numpy(), abs=1e-6)
    assert tridiagonal_eigen(diagonal, off_diagonal)[0] == pytest.approx(np.linalg.eigvalsh(whole), abs=1e-4)
    short = lanczos(Known(whole), start, 3)
    assert short[0] == pytest.approx(diagonal[:3], abs=1e-5)
    assert short[1] == pytest.approx(off_diagonal[:2], abs=1e-5)
    assert short[2].shape == (3, 7)
    assert short[3] == pytest.approx(off_diagonal[2], abs=1e-5)


def test_lanczos_ends_where_nothing_new_comes_or_the_largest_have_settled() -> None:
    start = torch.tensor([1.0, 1.0, 0.0, 0.0])
    diagonal, off_diagonal, basis, last = lanczos(Known(np.diag([4.0, 2.0, 1.0, 1.0])), start, 4)
    assert (diagonal.tolist(), off_diagonal.tolist()) == (pytest.approx([3, 3]), pytest.approx([1]))
    assert (basis.shape, last) == ((2, 4), 0)
    spread = Known(np.diag([100.0, -90.0, *np.linspace(1, 2, 58)]))
    everything = torch.ones(60)
    lengths = [len(lanczos(spread, everything, 60, settled=settled, top=1)[0]) for settled in (0.0, 1e-6, 1e-2)]
    assert 60 >= lengths[0] > lengths[1] > lengths[2]
    assert [len(lanczos(spread, everything, 60, settled=9.0, top=top)[0]) for top in (1, 4)] == [2, 5]
    diagonal, off_diagonal, _, last = lanczos(spread, everything, 60, settled=1e-2, top=2)
    values, rows = tridiagonal_eigen(diagonal, off_diagonal)
    chosen = np.abs(values).argsort()[::-1][:2]
    assert values[chosen] == pytest.approx([100, -90], rel=1e-3)
    assert (last * np.abs(rows[-1, chosen]) <= 1).all(), "a hundredth of the largest"
    before = tridiagonal_eigen(diagonal[:-1], off_diagonal[:-1])
    chosen = np.abs(before[0]).argsort()[::-1][:2]
    assert (off_diagonal[-1] * np.abs(before[1][-1, chosen]) > 1).any(), "and no step earlier"


def test_the_error_of_an_eigenvalue_is_that_of_the_sum_of_its_parts() -> None:
    parts = [np.diag([value, 0.0]) for value in (1.0, 2.0, 3.0)]
    assert module._error(Known(*parts), torch.tensor([1.0, 0.0])) == pytest.approx(3**0.5), "they scatter by 1"
    assert module._error(Known(*parts), torch.tensor([0.6, 0.8])) == pytest.approx(0.36 * 3**0.5)
    assert math.isnan(module._error(Known(parts[0]), torch.tensor([1.0, 0.0])))


def test_a_density_is_made_of_bells_of_a_hundredth_of_the_span() -> None:
    one, other = (np.array([0.0, 2.0]), np.array([0.25, 0.75])), (np.array([1.0]), np.array([1.0]))
    places, found = module._density([one, other])
    assert (len(places), places[0], places[-1]) == (128, pytest.approx(-0.08), pytest.approx(2.08))
    assert found.shape == (2, 128)
    for nodes, weights, density in (*((*one, found[0]),), (*other, found[1])):
        expected = sum(
            weight * np.exp(-((places - node) ** 2) / (2 * 0.02**2)) / (0.02 * (2 * math.pi) ** 0.5)
            for node, weight in zip(nodes, weights, strict=True)
        )
        assert density == pytest.approx(expected, abs=1e-9)
    places, found = module._density([(np.array([3.0]), np.array([1.0]))] * 2)
    assert places[[0, -1]] == pytest.approx([3, 3])
    assert np.isfinite(found).all(), "a spectrum of a single value"


def test_measured_numbers_are_those_of_a_known_matrix() -> None:
    whole = np.diag([5.0, -8.0, 3.0, 1.0, 0.5])
    found = module._measured(
        Known(whole / 4, whole * 3 / 4), top=2, iterations=20, draws=3, tolerance=1e-3, generator=arrays.seeded(0)
    )
    assert found.eigenvalues == (pytest.approx(5, abs=1e-3), pytest.approx(-8, abs=1e-3)), "by size, then by value"
    assert found.vectors.abs().tolist() == [pytest.approx(row, abs=1e-3) for row in np.eye(5)[:2].tolist()]
    assert found.standard_errors == (pytest.approx(2.5, abs=1e-2), pytest.approx(4, abs=1e-2)), "halves of itself"
    assert max(found.residuals) <= 8e-3
    assert found.converged
    assert found.trace == pytest.approx(1.5, abs=1e-4), "random signs are exact on a diagonal"
    assert found.trace_error == pytest.approx(0, abs=1e-4)
    assert found.parameters == 5
    assert trapezoid(found.density, found.places) == pytest.approx(1, abs=0.02)
    full = drawn_symmetric(5)
    readings = [
        module._measured(Known(full), top=9, iterations=2, draws=4, tolerance=1e-3, generator=arrays.seeded(seed))
        for seed in (0, 0, 1)
    ]
    assert readings[0].eigenvalues == readings[1].eigenvalues != readings[2].eigenvalues
    assert not readings[0].converged
    assert len(readings[0].eigenvalues) == 2
    draws = arrays.seeded(0)
    torch.randn(5, generator=draws)
    signs = [(2 * torch.randint(0, 2, (5,), generator=draws, dtype=torch.int8) - 1).double().numpy() for _ in range(4)]
    traces = [sign @ full @ sign for sign in signs]
    assert readings[0].trace == pytest.approx(np.mean(traces), rel=1e-5)
    assert readings[0].trace_error == pytest.approx(np.std(traces, ddof=1) / 2, rel=1e-4)


def drawn_symmetric(size: int) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(0).normal(size=(size, size))
    return drawn + drawn.T


def test_activations_are_counted_in_bytes_of_all_images(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, data = case
    surface = Surface(model, task, data, dict(model.named_parameters()))
    assert _activations(surface) == 24 * 4 * (3 * 64 + 3 * 64 + 3), "convolution, normalization and head, in float32"
    assert not any(module._forward_hooks for module in model.modules())


def test_standard_error_covers_the_eigenvalue_of_more_images(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, _ = case
    many = make_data(640, (3, 8, 8), 3)
    truth = curvature(model, many, task, layers=["two.weight"], top=1)["two.weight"].eigenvalues[0]
    inside = 0
    for part in range(10):
        some = many.take(range(64 * part, 64 * part + 64))
        reading = curvature(model, some, task, layers=["two.weight"], top=1)["two.weight"]
        inside += abs(reading.eigenvalues[0] - truth) <= 3 * reading.standard_errors[0]
    assert inside >= 7


def test_a_search_cut_short_says_so_and_all_is_put_back(case: tuple[nn.Module, Task, Data]) -> None:
    model, task, data = case
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reading = curvature(model, data, task, layers=["one.weight"], iterations=2, tolerance=1e-6)["one.weight"]
    assert not reading.converged
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    with pytest.raises(UsageError, match="no layer 'three'"):
        curvature(model, data, task, layers=["three"])


def test_graphs_that_do_not_fit_are_made_anew_with_the_same_result(
    case: tuple[nn.Module, Task, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task, data = case
    kept = curvature(model, data, task, layers=[""], iterations=20)[""]
    monkeypatch.setattr("howfar.probe.hessian.MEMORY", 0)
    anew = curvature(model, data, task, layers=[""], iterations=20)[""]
    assert anew.eigenvalues == kept.eigenvalues
    assert anew.trace == kept.trace


@pytest.mark.parametrize("name", ["resnet8", "vit-small"])
def test_networks_of_the_table_have_curvature(name: str) -> None:
    sizes = {"resnet8": {"width": 2}, "vit-small": {"width": 8, "depth": 1, "heads": 1}}
    data = make_data(16, (3, 8, 8), 3)
    model = build(MODELS[name](**sizes[name]), data.shape, 3, generator=arrays.seeded(0))
    found = curvature(model, data, classification()(data), iterations=10, draws=2)
    assert all(math.isfinite(reading.trace) for reading in found.values())

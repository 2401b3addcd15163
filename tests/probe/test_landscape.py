"""Planes against numpy and scikit-learn; surfaces against closed forms."""

import copy

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.probe import (
    Plane,
    along,
    bend,
    curvature,
    curve,
    flat,
    landscape,
    layer_plane,
    line,
    pca_plane,
    random_plane,
    sharpness,
    slices,
    trajectory,
    weight_plane,
)
from howfar.probe.landscape import re_estimate
from howfar.probe.refine import Refinement
from howfar.tasks import TASKS, classification
from howfar.train import Recipe, evaluate

from ..conftest import make_data

DATA = make_data(60, (3, 8, 8), 4)
TASK = classification()(DATA)


def network(name: str = "resnet8", seed: int = 0) -> nn.Module:
    sizes = {"resnet8": {"width": 2}}
    return build(MODELS[name](**sizes.get(name, {})), DATA.shape, 4, generator=arrays.seeded(seed))


class Bowl(nn.Module):
    """Two weights whose loss is a quadratic bowl, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, images: Tensor) -> Tensor:
        return (3 * self.place[0] ** 2 + self.place[1] ** 2).expand(len(images), 1)


class Height:
    """The output is the loss."""

    target, outputs, metric, higher_is_better, chance, quality_chance = "label", 1, "height", False, 0.0, 0.0

    def prepare(self, data: Data) -> Data:
        return data

    def transformed(self, target: Tensor, linear: Tensor) -> Tensor:
        return target

    def answer(self, output: Tensor) -> Tensor:
        return output

    def quality(self, output: Tensor, target: Tensor) -> Tensor:
        return output[:, 0]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return output[:, 0]

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        return torch.stack([output.sum(), torch.tensor(float(len(output)))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        return {"height": float(statistics[0] / statistics[1])}


def test_a_quadratic_bowl_has_its_known_surface() -> None:
    model = Bowl()
    rows = np.linspace(-1, 1, 5), np.linspace(-2, 3, 6)
    found = landscape(model, Height(), DATA, weight_plane(model, ("place", 0), ("place", 1)), *rows)  # type: ignore[arg-type]
    a, b = np.meshgrid(*rows, indexing="ij")
    assert found.loss == pytest.approx(3 * (1 + a) ** 2 + (b - 2) ** 2, abs=1e-5)
    assert found.quality == pytest.approx(found.loss, abs=1e-5)
    assert model.place.tolist() == [1.0, -2.0]


def test_pca_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    paths = [torch.tensor(rng.normal(size=(9, 40)) * np.linspace(3, 0.1, 40), dtype=torch.float32) for _ in range(2)]
    plane, explained = pca_plane(paths, ["w"])
    truth = PCA(2).fit(np.concatenate([p.numpy() for p in paths]).astype(float))
    assert explained == pytest.approx(tuple(truth.explained_variance_ratio_), rel=1e-5)
    for path in paths:
        theirs = truth.transform(path.numpy().astype(float))
        ours = plane.project(path).numpy()
        signs = np.sign((theirs * ours).sum(0))
        assert ours == pytest.approx(theirs * signs, abs=1e-4)
        residual = path.numpy() - truth.inverse_transform(theirs)
        share = (residual**2).sum() / ((path.numpy() - truth.mean_) ** 2).sum()
        assert plane.missed(path) == pytest.approx(share, rel=1e-4)


def test_projection_on_slanted_axes_is_the_nearest_place() -> None:
    rng = np.random.default_rng(1)
    axes, origin, path = rng.normal(size=(2, 7)), rng.normal(size=7), rng.normal(size=(5, 7))
    plane = Plane(("w",), *(torch.tensor(x, dtype=torch.float32) for x in (origin, axes)))
    truth = np.linalg.lstsq(axes.T, (path - origin).T, rcond=None)[0].T
    assert plane.project(torch.tensor(path, dtype=torch.float32)).numpy() == pytest.approx(truth, abs=1e-4)
    assert plane.at(1.0, -2.0).numpy() == pytest.approx(origin + axes[0] - 2 * axes[1], abs=1e-5)


def test_filter_normalised_directions_do_not_see_how_a_relu_pair_is_scaled() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 5, 3, bias=False), nn.Linear(5, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(functional.relu(self.one(x)).mean((2, 3)))
            return out

    model = Pair()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled.one.weight.mul_(10)
        scaled.two.weight.div_(10)
    rows = np.linspace(-1, 1, 3), np.linspace(-1, 1, 3)
    one, other = (
        landscape(net, TASK, DATA, random_plane(net, generator=arrays.seeded(3)), *rows) for net in (model, scaled)
    )
    assert one.loss == pytest.approx(other.loss, rel=1e-4)
    for weight, piece in zip(
        model.parameters(),
        random_plane(model, axes=1, generator=arrays.seeded(3)).axes[0].split([135, 20]),
        strict=True,
    ):
        lengths = piece.view_as(weight).flatten(1).norm(dim=1)
        assert lengths == pytest.approx(weight.detach().flatten(1).norm(dim=1), rel=1e-4)


@pytest.mark.parametrize("norms", ["frozen", "re-estimated"])
def test_ends_of_a_line_are_the_networks_and_all_is_put_back(norms: str) -> None:
    one, other = network(seed=0), network(seed=1)
    trajectory(one, TASK, DATA, Recipe(epochs=1, batch_size=20), seed=0)
    one.train()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    names = [name for name, _ in one.named_parameters()]
    found = landscape(one, TASK, DATA, line(flat(one), flat(other), names), [0.0, 0.5, 1.0], norms=norms)  # type: ignore[arg-type]
    assert one.training
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    if norms == "frozen":
        assert found.loss[0] == pytest.approx(evaluate(one, TASK, DATA)["loss"], rel=1e-5)
        assert found.quality[0] == pytest.approx(evaluate(one, TASK, DATA)["accuracy"])
    else:
        re_estimate(other, DATA)
        assert found.loss[-1] == pytest.approx(evaluate(other.eval(), TASK, DATA)["loss"], rel=1e-4)


def test_re_estimated_statistics_are_those_of_the_images() -> None:
    model = network()
    images = arrays.to_images(DATA.pixels, torch.device("cpu"))
    re_estimate(model.eval(), DATA)
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        seen = model.conv1(images)  # type: ignore[operator]
    assert torch.allclose(first.running_mean, seen.mean((0, 2, 3)), atol=1e-5)  # type: ignore[arg-type]
    assert first.momentum == 0.1
    assert not first.training


def test_clean_and_poisoned_paths_share_a_plane_of_any_task() -> None:
    rooms_like = make_data(20, (3, 8, 8), 4)
    task = TASKS["autoencoding"]()(rooms_like)
    model = build(MODELS["resnet8"](width=2), rooms_like.shape, task.outputs, generator=arrays.seeded(0))
    path = trajectory(model, task, task.prepare(rooms_like), Recipe(epochs=4, batch_size=10))
    plane, explained = pca_plane([path.weights()], path.parameters)
    assert 0.5 < sum(explained) <= 1
    ends = plane.project(path.weights())
    rows = [np.linspace(float(c.min()), float(c.max()), 3) for c in ends.T]
    found = landscape(model, task, rooms_like, plane, *rows)
    assert found.metric == "PSNR"
    assert np.isfinite(found.loss).all()


def test_along_the_leading_eigenvector_the_loss_bends_as_it_says() -> None:
    model = network()
    trajectory(model, TASK, DATA, Recipe(epochs=2, batch_size=20))
    reading = curvature(model, TASK, DATA, layers=["head.weight"], top=1)["head.weight"]
    step = 0.1
    found = landscape(model, TASK, DATA, layer_plane(model, "head.weight", reading.vectors), [-step, 0.0, step])
    bend = (found.loss[0] - 2 * found.loss[1] + found.loss[2]) / step**2
    assert bend == pytest.approx(reading.eigenvalues[0], rel=0.05)


def test_a_fifth_of_the_places_gives_the_same_picture() -> None:
    rows = np.linspace(-2, 2, 31), np.linspace(-1, 3, 31)
    plane = weight_plane(Bowl(), ("place", 0), ("place", 1))
    whole, part = (
        landscape(Bowl(), Height(), DATA, plane, *rows, share=share)
        for share in (1.0, 0.2)  # type: ignore[arg-type]
    )
    assert part.computed.mean() <= 0.2
    assert whole.computed.all()
    assert part.computed[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert part.loss[part.computed] == pytest.approx(whole.loss[part.computed])
    assert np.sqrt(np.mean((part.loss - whole.loss) ** 2)) < 1e-4 * np.ptp(whole.loss), "it is smooth"


def test_more_places_are_asked_for_where_the_surface_bends() -> None:
    computed, values = np.zeros((41, 41), bool), np.zeros((41, 41))
    x, y = np.meshgrid(*[np.linspace(-1, 1, 41)] * 2, indexing="ij")
    truth = np.tanh(12 * (x - 0.4)) + 0.1 * y
    part = Refinement(computed.shape, 330)
    wanted = part.lattice()
    while wanted:
        for index in wanted:
            computed[index], values[index] = True, truth[index]
        wanted = part.further(computed, values)
    assert computed.sum() == 330
    steep = np.abs(x - 0.4) < 0.25
    assert computed[steep].mean() > 1.5 * computed[~steep].mean()
    assert np.sqrt(np.mean((part.filled(computed, values) - truth) ** 2)) < 0.01 * np.ptp(truth)


def test_a_curve_joins_two_networks_over_lower_ground_than_the_line() -> None:
    one, other = network("linear", seed=0), network("linear", seed=1)
    for seed, model in enumerate((one, other)):
        trajectory(model, TASK, DATA, Recipe(epochs=3, batch_size=20), seed=seed)
    with torch.no_grad():  # the second one is far from the first, over a hill of the loss
        other.head.weight.mul_(-8)  # type: ignore[union-attr, operator]
    start, end = flat(one), flat(other)
    plane = curve(one, TASK, DATA, start, end, steps=100, lr=0.1, generator=arrays.seeded(0))
    t = np.linspace(0, 1, 11)
    bent = along(one, TASK, DATA, plane, bend(t))
    straight = landscape(one, TASK, DATA, line(start, end, plane.names), t)
    assert bent.loss[[0, -1]] == pytest.approx(straight.loss[[0, -1]], rel=1e-4)
    assert bent.loss[1:-1].mean() < 0.9 * straight.loss[1:-1].mean()


def test_a_slice_shows_what_sal_is() -> None:
    model = network()
    trajectory(model, TASK, DATA, Recipe(epochs=2, batch_size=20))
    before = [weight.clone() for weight in model.parameters()]
    found = slices(model, TASK, DATA, points=41)
    assert list(found) == list(sharpness(model, TASK, DATA))
    for one in found.values():
        here = one.gradient[20]
        inside = np.abs(one.distances) <= 1 + 1e-9
        seen = max(one.gradient[inside].max() - here, here - one.gradient[inside].min())
        assert seen <= one.reading.sal * 1.02 + 1e-5  # no line finds more than the search in the ball
        assert seen >= 0.7 * one.reading.sal
        assert np.abs(one.random[:, inside] - here).max() < seen + 1e-5
        assert one.random.shape == (3, 41)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))


def test_slices_prepare_the_images_for_all_that_they_measure() -> None:
    """SAL was measured before the task had made its target, and failed for tasks that make their own."""
    task = TASKS["autoencoding"]()(DATA)
    model = build(MODELS["resnet8"](width=4), DATA.shape, task.outputs, generator=arrays.seeded(0))
    raw = slices(model, task, DATA, points=5, draws=1)
    prepared = slices(model, task, task.prepare(DATA), points=5, draws=1)
    assert {name: one.reading for name, one in raw.items()} == {name: one.reading for name, one in prepared.items()}
    assert all(np.array_equal(one.gradient, prepared[name].gradient) for name, one in raw.items())


def test_frozen_statistics_move_along_if_the_plane_moves_them() -> None:
    one, other = network(seed=0), network(seed=1)
    for seed, model in enumerate((one, other)):
        trajectory(model, TASK, DATA, Recipe(epochs=1, batch_size=20), seed=seed)
    names = [name for name, value in one.state_dict().items() if value.is_floating_point()]
    found = landscape(one, TASK, DATA, line(flat(one, names), flat(other, names), names), [0.0, 1.0])
    assert found.loss[0] == pytest.approx(evaluate(one, TASK, DATA)["loss"], rel=1e-4)
    assert found.loss[1] == pytest.approx(evaluate(other, TASK, DATA)["loss"], rel=1e-4)


def test_senseless_planes_are_refused() -> None:
    model = network()
    with pytest.raises(UsageError, match="2 axes"):
        landscape(model, TASK, DATA, random_plane(model, generator=arrays.seeded(0)), [0.0])
    with pytest.raises(UsageError, match="no weight 'tail'"):
        weight_plane(model, ("tail", 0))
    with pytest.raises(UsageError, match="three different moments"):
        pca_plane([torch.zeros(2, 5)], ["w"])
    with pytest.raises(UsageError, match="that the plane moves"):
        landscape(model, TASK, DATA, line(torch.zeros(3), torch.ones(3), ["other"]), [0.0])

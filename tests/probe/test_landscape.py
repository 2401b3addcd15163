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
    curvature,
    curve,
    curve_coordinates,
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
from howfar.probe.evaluators import re_estimate
from howfar.probe.refine import Refinement
from howfar.tasks import TASKS, classification
from howfar.training import Recipe, evaluate

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

    def predict(self, output: Tensor) -> Tensor:
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
    found = landscape(model, DATA, weight_plane(model, ("place", 0), ("place", 1)), *rows, task=Height())  # type: ignore[arg-type]
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
        assert plane.unexplained(path) == pytest.approx(share, rel=1e-4)


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
        landscape(net, DATA, random_plane(net, generator=arrays.seeded(3)), *rows, task=TASK) for net in (model, scaled)
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
    trajectory(one, DATA, TASK, Recipe(epochs=1, batch_size=20), seed=0)
    one.train()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    names = [name for name, _ in one.named_parameters()]
    found = landscape(one, DATA, line(flat(one), flat(other), names), [0.0, 0.5, 1.0], task=TASK, norms=norms)  # type: ignore[arg-type]
    assert one.training
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    if norms == "frozen":
        assert found.loss[0] == pytest.approx(evaluate(one, DATA, TASK)["loss"], rel=1e-5)
        assert found.quality[0] == pytest.approx(evaluate(one, DATA, TASK)["accuracy"])
    else:
        re_estimate(other, DATA)
        assert found.loss[-1] == pytest.approx(evaluate(other.eval(), DATA, TASK)["loss"], rel=1e-4)


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


def test_statistics_are_means_over_batches_and_training_goes_on_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howfar.probe.evaluators.NORM_BATCH", 25)  # 60 images: three batches of 20
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    model[0].running_mean.fill_(7)  # type: ignore[union-attr, operator]
    re_estimate(model, DATA)
    images = arrays.to_images(DATA.pixels, torch.device("cpu")).split(20)
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in images]).mean(0)
    variance = torch.stack([batch.var((0, 2, 3)) for batch in images]).mean(0)
    assert torch.allclose(model[0].running_mean, mean, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(model[0].running_var, variance, atol=1e-6)  # type: ignore[arg-type]
    assert (model[0].momentum, model[0].training, model[1].training) == (0.3, False, False)
    plain = nn.Sequential(nn.Conv2d(3, 2, 1), nn.InstanceNorm2d(2)).eval()
    re_estimate(plain, DATA)
    assert not plain.training


def test_clean_and_poisoned_paths_share_a_plane_of_any_task() -> None:
    rooms_like = make_data(20, (3, 8, 8), 4)
    task = TASKS["autoencoding"]()(rooms_like)
    model = build(MODELS["resnet8"](width=2), rooms_like.shape, task.outputs, generator=arrays.seeded(0))
    path = trajectory(model, task.prepare(rooms_like), task, Recipe(epochs=4, batch_size=10))
    plane, explained = pca_plane([path.weights()], path.parameters)
    assert 0.5 < sum(explained) <= 1
    ends = plane.project(path.weights())
    rows = [np.linspace(float(c.min()), float(c.max()), 3) for c in ends.T]
    found = landscape(model, rooms_like, plane, *rows, task=task)
    assert found.metric == "PSNR"
    assert np.isfinite(found.loss).all()


def test_along_the_leading_eigenvector_the_loss_bends_as_it_says() -> None:
    model = network()
    trajectory(model, DATA, TASK, Recipe(epochs=2, batch_size=20))
    reading = curvature(model, DATA, TASK, layers=["head.weight"], top=1)["head.weight"]
    step = 0.1
    found = landscape(model, DATA, layer_plane(model, "head.weight", reading.vectors), [-step, 0.0, step], task=TASK)
    second = (found.loss[0] - 2 * found.loss[1] + found.loss[2]) / step**2
    assert second == pytest.approx(reading.eigenvalues[0], rel=0.05)


def test_a_fifth_of_the_places_gives_the_same_picture() -> None:
    rows = np.linspace(-2, 2, 31), np.linspace(-1, 3, 31)
    plane = weight_plane(Bowl(), ("place", 0), ("place", 1))
    whole, part = (
        landscape(Bowl(), DATA, plane, *rows, task=Height(), share=share)
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


def test_a_lattice_has_both_ends_and_the_next_places_lie_apart_where_doubt_is_largest() -> None:
    part = Refinement((21, 5), 40)
    rows, columns = part.axes  # 0.8 · 40 = 32 places: 5 a side at most
    assert rows.tolist() == [0, 5, 10, 15, 20]
    assert columns.tolist() == [0, 1, 2, 3, 4]
    assert part.lattice()[:6] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (5, 0)]
    assert len(part.lattice()) == 25
    assert Refinement((9, 9), 3).axes[0].tolist() == [0, 8], "two a side at least"
    computed, values = np.zeros((21, 5), bool), np.zeros((21, 5))
    for index in part.lattice():
        computed[index] = True
    assert part.further(computed, values) == [], "no doubt about a flat surface"
    values[10] = 1.0  # a ridge
    values[~computed] = 99
    found = part.further(computed, values)
    assert len(found) == 1, "an eighth of a fifth of 40, and one at least"
    smooth, linear = part.filled(computed, values), part.filled(computed, values, smooth=False)
    doubt = np.where(computed, 0, np.abs(smooth - linear))
    assert doubt[found[0]] == doubt.max() > 0
    assert linear[:, 2] == pytest.approx(np.interp(np.arange(21), [0, 5, 10, 15, 20], [0, 0, 1, 0, 0]))
    assert smooth.max() <= 1
    assert smooth.min() >= 0, "what a spline overshoots is cut off"
    computed[found[0]], values[found[0]] = True, 0.9
    again = part.filled(computed, values)
    assert again[found[0]] == 0.9
    assert again[10, 2] == 1.0
    wide = Refinement((41, 41), 800)
    seen, heights = np.zeros((41, 41), bool), np.zeros((41, 41))
    for index in wide.lattice():
        seen[index], heights[index] = True, np.sin(index[0]) * np.cos(index[1])
    several = wide.further(seen, heights)
    assert len(several) == 19, "an eighth of a fifth of 800, cut off"
    gaps = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(several) for b in several[:i]]
    assert min(gaps) >= 1.5
    assert not any(seen[index] for index in several)
    assert wide.further(np.ones((41, 41), bool), heights) == [], "no room is left"
    few = Refinement((41, 41), int(seen.sum()) + 3)
    assert len(few.further(seen, heights)) <= 3


def test_a_line_and_planes_of_weights_are_where_they_are_said_to_be() -> None:
    model = Bowl()
    model.other = nn.Parameter(torch.arange(6.0).view(2, 3))
    plane = weight_plane(model, ("other", 4), ("place", 1))
    assert plane.names == ("place", "other")
    assert plane.axes.tolist() == [[0, 0, 0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0]]
    assert plane.origin.tolist() == [1, -2, 0, 1, 2, 3, 4, 5]
    for number in (-1, 2):
        with pytest.raises(UsageError, match=f"place has 2 weights, so there is no number {number}"):
            weight_plane(model, ("place", number))
    layer = layer_plane(model, "other", torch.ones(1, 6, dtype=torch.float64))
    assert (layer.names, layer.origin.tolist(), layer.axes.dtype) == (("other",), [0, 1, 2, 3, 4, 5], torch.float32)
    with pytest.raises(UsageError, match=r"shape \(1, 5\) do not fit the weights of other"):
        layer_plane(model, "other", torch.ones(1, 5))
    between = line(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 8.0]), ["place"])
    assert between.at(0.5).tolist() == [2, 5]
    assert between.project(torch.tensor([[3.0, 8.0], [1.0, 2.0]])).tolist() == [[1], [0]]
    assert between.unexplained(torch.tensor([[3.0, 8.0]])) == pytest.approx(0, abs=1e-9)
    assert between.unexplained(torch.tensor([[4.0, 1.0]])) == pytest.approx(1), "at a right angle"
    assert between.unexplained(torch.tensor([[1.0, 2.0]])) == 0, "where it starts"


def test_paths_on_a_plane_have_coordinates_around_their_mean_or_an_origin() -> None:
    path = torch.tensor([[1.0, 0, 0, 5], [-1, 0, 0, 5], [0, 2, 0, 5], [0, -2, 0, 5]])
    plane, explained = pca_plane([path[:2], path[2:]], ["w"])
    assert explained == (pytest.approx(0.8), pytest.approx(0.2))
    assert plane.origin.tolist() == pytest.approx([0, 0, 0, 5])
    assert plane.axes.abs().tolist() == [pytest.approx([0, 1, 0, 0], abs=1e-6), pytest.approx([1, 0, 0, 0], abs=1e-6)]
    assert plane.project(path).abs().tolist() == [
        pytest.approx(row, abs=1e-5) for row in ([0, 1], [0, 1], [2, 0], [2, 0])
    ]
    moved, same = pca_plane([path], ["w"], origin=torch.tensor([0.0, 1.0, 0.0, 5.0]))
    assert same == pytest.approx(explained)
    assert moved.project(path[2:])[:, 0].abs().tolist() == pytest.approx([1, 3], abs=1e-5)


def test_random_directions_leave_biases_and_are_drawn_anew() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    plane = random_plane(model, axes=3, generator=arrays.seeded(0))
    assert plane.axes.shape == (3, 12 + 3 + 3 + 3)
    assert not plane.axes[:, 12:].any()
    lengths = plane.axes[:, :12].view(3, 3, 4).norm(dim=2)
    assert torch.allclose(lengths, model[0].weight.norm(dim=1).detach().expand(3, 3), atol=1e-5)
    assert float(torch.corrcoef(plane.axes[:, :12]).triu(1).max()) < 0.9
    assert len(random_plane(model, generator=arrays.seeded(0)).axes) == 2


def test_a_curve_joins_two_networks_over_lower_ground_than_the_line() -> None:
    one, other = network("linear", seed=0), network("linear", seed=1)
    for seed, model in enumerate((one, other)):
        trajectory(model, DATA, TASK, Recipe(epochs=3, batch_size=20), seed=seed)
    with torch.no_grad():  # the second one is far from the first, over a hill of the loss
        other.head.weight.mul_(-8)  # type: ignore[union-attr, operator]
    start, end = flat(one), flat(other)
    plane = curve(one, DATA, start, end, task=TASK, steps=100, lr=0.1, generator=arrays.seeded(0))
    t = np.linspace(0, 1, 11)
    curved = along(one, DATA, plane, curve_coordinates(t), task=TASK)
    straight = landscape(one, DATA, line(start, end, plane.names), t, task=TASK)
    assert curved.loss[[0, -1]] == pytest.approx(straight.loss[[0, -1]], rel=1e-4)
    assert curved.loss[1:-1].mean() < 0.9 * straight.loss[1:-1].mean()


def test_a_slice_shows_what_sal_is() -> None:
    model = network()
    trajectory(model, DATA, TASK, Recipe(epochs=2, batch_size=20))
    before = [weight.clone() for weight in model.parameters()]
    found = slices(model, DATA, TASK, points=41)
    assert list(found) == list(sharpness(model, DATA, TASK))
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
    raw = slices(model, DATA, task, points=5, draws=1)
    prepared = slices(model, task.prepare(DATA), task, points=5, draws=1)
    assert {name: one.reading for name, one in raw.items()} == {name: one.reading for name, one in prepared.items()}
    assert all(np.array_equal(one.gradient, prepared[name].gradient) for name, one in raw.items())


def test_frozen_statistics_move_along_if_the_plane_moves_them() -> None:
    one, other = network(seed=0), network(seed=1)
    for seed, model in enumerate((one, other)):
        trajectory(model, DATA, TASK, Recipe(epochs=1, batch_size=20), seed=seed)
    names = [name for name, value in one.state_dict().items() if value.is_floating_point()]
    found = landscape(one, DATA, line(flat(one, names), flat(other, names), names), [0.0, 1.0], task=TASK)
    assert found.loss[0] == pytest.approx(evaluate(one, DATA, TASK)["loss"], rel=1e-4)
    assert found.loss[1] == pytest.approx(evaluate(other, DATA, TASK)["loss"], rel=1e-4)


def test_senseless_planes_are_refused() -> None:
    model = network()
    with pytest.raises(UsageError, match="2 axes"):
        landscape(model, DATA, random_plane(model, generator=arrays.seeded(0)), [0.0], task=TASK)
    with pytest.raises(UsageError, match="no weight 'tail'"):
        weight_plane(model, ("tail", 0))
    with pytest.raises(UsageError, match="three different checkpoints"):
        pca_plane([torch.zeros(2, 5)], ["w"])
    with pytest.raises(UsageError, match="of the plane"):
        landscape(model, DATA, line(torch.zeros(3), torch.ones(3), ["other"]), [0.0], task=TASK)

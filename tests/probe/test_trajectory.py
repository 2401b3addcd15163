"""Paths of weights: complete, paired, and the same after they were kept."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from howfar import arrays
from howfar.errors import HowfarError, UsageError
from howfar.models import MODELS, build
from howfar.probe import Trajectory, trajectory
from howfar.probe.trajectory import following, is_checkpoint
from howfar.tasks import classification
from howfar.training import Batch, Recipe, evaluate, train

from ..conftest import make_data

DATA = make_data(40, (3, 8, 8), 4)
TASK = classification()(DATA)
RECIPE = Recipe(epochs=3, batch_size=10, lr=0.05)


def network() -> torch.nn.Module:
    return build(MODELS["resnet8"](width=2), DATA.shape, 4, generator=arrays.seeded(0))


def test_the_last_moment_is_the_trained_network() -> None:
    one, other = network(), network()
    found = trajectory(one, DATA, TASK, RECIPE, seed=3)
    losses = [epoch.loss for epoch in train(other, DATA, TASK, RECIPE, seed=3)]
    assert found.steps == (0, 4, 8, 12)
    assert found.losses[1:] == pytest.approx(losses)
    assert math.isnan(found.losses[0])
    fresh = network()
    assert all(torch.equal(found.state(0)[name], fresh.state_dict()[name]) for name in found.start)
    fresh.load_state_dict(found.state(-1), strict=False)
    assert evaluate(fresh, DATA, TASK)["loss"] == pytest.approx(evaluate(other, DATA, TASK)["loss"], rel=1e-4)
    assert found.weights().shape == (4, sum(weight.numel() for weight in fresh.parameters()))
    assert torch.equal(found.weights("head.bias")[0], fresh.head.bias) is False  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no weight 'tail'"):
        found.weights("tail")


def test_moments_every_few_batches_and_in_half_precision() -> None:
    fine = trajectory(network(), DATA, TASK, RECIPE, every=3)
    assert fine.steps == (0, 3, 6, 9, 12)
    half = trajectory(network(), DATA, TASK, RECIPE, every=3, half=True)
    gap = (half.weights()[-1] - fine.weights()[-1]).abs()
    assert 0 < gap.max() <= 1e-3 * (fine.weights()[-1] - fine.weights()[0]).abs().max()
    assert all(values.dtype == torch.float16 for values in half.moved.values())


def test_equal_seeds_part_by_the_data_alone() -> None:
    one, again = (trajectory(network(), DATA, TASK, RECIPE, seed=1) for _ in range(2))
    assert torch.equal(one.weights(), again.weights())
    other = trajectory(network(), DATA, TASK, RECIPE, seed=2)
    assert torch.equal(other.weights()[0], one.weights()[0])
    assert not torch.equal(other.weights()[-1], one.weights()[-1])


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    found = trajectory(network(), DATA, TASK, RECIPE)
    save_file(found.arrays(), tmp_path / "path.safetensors")
    again = Trajectory.of(load_file(tmp_path / "path.safetensors"))
    assert again.parameters == found.parameters
    assert again.steps == found.steps
    assert torch.equal(again.weights(), found.weights())
    assert set(again.state(1)) == set(found.state(1))


def test_entries_keep_their_order_however_many_there_are_and_losses_are_means_of_images() -> None:
    names = [f"layer.{number}" for number in range(12)]
    path = Trajectory(
        start={name: torch.tensor([float(place)]) for place, name in enumerate(names)},
        moved={name: torch.tensor([[0.0], [place / 4]]) for place, name in enumerate(names)},
        parameters=tuple(names[:11]),
        steps=(0, 7),
        losses=(math.nan, 0.25),
    )
    assert len(path) == 2
    again = Trajectory.of(dict(sorted(path.arrays().items(), reverse=True)))
    assert list(again.start) == list(again.moved) == names
    assert (again.parameters, again.steps, again.losses[1]) == (path.parameters, (0, 7), 0.25)
    assert again.weights()[1].tolist() == [1.25 * place for place in range(11)]
    assert again.weights("layer.3", "layer.1").tolist() == [[3, 1], [3.75, 1.25]]
    assert again.state(1)["layer.11"].tolist() == [11 * 1.25], "a buffer is no weight, and part of the state"


def test_moments_lie_at_every_so_many_batches_or_at_the_ends_of_epochs() -> None:
    recipe = Recipe(epochs=2, batch_size=16, lr=0.05)  # 40 images: two batches of 16, one of 8
    seen: list[Batch] = []
    work = following(network(), DATA, TASK, recipe, every=2)
    while True:
        try:
            seen.append(next(work))
        except StopIteration as end:
            found = end.value
            break
    losses, images = [float(step.loss) for step in seen], [step.images for step in seen]
    assert found.steps == (0, 2, 4, 6)
    for moment in range(3):
        part = slice(2 * moment, 2 * moment + 2)
        assert found.losses[moment + 1] == pytest.approx(sum(losses[part]) / sum(images[part]))
    assert [step.number for step in seen if is_checkpoint(step, 0)] == [3, 6]
    assert [step.number for step in seen if is_checkpoint(step, 4)] == [4]


def test_divergence_is_named() -> None:
    with pytest.raises(HowfarError, match="diverged"):
        trajectory(network(), DATA, TASK, Recipe(epochs=3, batch_size=10, lr=1e12))

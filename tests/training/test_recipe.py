from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from howfar import arrays
from howfar.data import Splits
from howfar.errors import UsageError
from howfar.grid.overrides import make_suite
from howfar.models import MODELS, build
from howfar.tasks import Task, classification, smoothed
from howfar.tasks.joint import Joint
from howfar.training import RECIPES, Recipe, evaluate, plain, recipe_for, steps, train
from howfar.training.augment import crop_flip
from howfar.training.averaging import Averaging
from howfar.training.recipe import one_cycle

from ..conftest import make_data

FAST = RECIPES["fast"]


def net() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=arrays.seeded(0))
    return model


def test_results_from_before_the_newer_fields_keep_their_keys() -> None:
    assert Recipe(epochs=2).key() == {
        "epochs": 2, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128, "optimizer": "sgd",
        "schedule": "cosine", "crop": 4, "flip": True, "precision": "auto",
    }  # fmt: skip
    assert Recipe(smoothing=0.1).key() == {**Recipe().key(), "smoothing": 0.1}
    recipes = [cell.recipe for name in ("digits", "controls") for cell in make_suite(name).experiments()]
    assert {len(recipe.key()) for recipe in recipes} == {10}


def test_a_cycle_rises_to_one_and_falls() -> None:
    assert [one_cycle(done) for done in (0.0, 0.23, 1.0)] == pytest.approx([0.2, 1, 0.07])
    assert one_cycle(0.1) < one_cycle(0.2) > one_cycle(0.9)


def test_rates_of_nesterov_are_those_of_airbench_at_every_batch_size() -> None:
    for images in (250.0, 500.0, 1000.0):
        optimizer, _ = replace(FAST, schedule="constant").optimizer_for(net(), 10, images)
        rest, biases = optimizer.param_groups
        # airbench sums the loss over the batch: 11.5 / 7,850.7 an image
        assert rest["lr"] / images == pytest.approx(11.5 / (1024 * (1 + 1 / 0.15)))
        assert biases["lr"] == pytest.approx(64 * rest["lr"])
        assert [part.shape for part in biases["params"]] == [(4,)]


@pytest.mark.parametrize("change", [{"lr": 1.0}, {"bias_rate": 8.0}])
def test_decay_depends_on_no_rate(change: dict[str, float]) -> None:
    left = []
    for recipe in (FAST, replace(FAST, **change)):
        model = net()
        optimizer, _ = replace(recipe, schedule="constant").optimizer_for(model, 1, 1024.0)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        optimizer.step()
        left.append([float((p.detach() / b).mean()) for p, b in zip(model.parameters(), before, strict=True)])
    assert left[0] == pytest.approx(left[1], rel=1e-5)
    assert left[0] == pytest.approx([1 - 1.85 * 0.0153 / (1 + 1 / 0.15)] * 6, rel=1e-5)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        replace(FAST, momentum=1.0)


def test_smoothing_changes_the_training_loss_alone() -> None:
    data = make_data()
    task = classification()(data)
    output = torch.randn(24, 3, generator=arrays.seeded(1))
    label = data.targets["label"]
    soft = smoothed(task, 0.2)
    assert torch.allclose(soft.loss(output, label).mean(), functional.cross_entropy(output, label, label_smoothing=0.2))
    seen: list[Task] = []

    def loss(task: Task, *rest: object) -> torch.Tensor:
        seen.append(task)
        return plain(task, *rest)  # type: ignore[arg-type]

    model = build(MODELS["linear"](), data.shape, 3, generator=arrays.seeded(0))
    list(steps(model, data, task, Recipe(epochs=1, smoothing=0.2), loss=loss))
    assert [task.smoothing for task in seen] == [0.2]  # type: ignore[attr-defined]
    assert task.smoothing == 0  # type: ignore[attr-defined]
    joined = smoothed(Joint({"one": task}), 0.2)
    assert joined.tasks["one"].smoothing == 0.2  # type: ignore[attr-defined]


def test_reflected_shifts_are_windows_of_the_reflected_image() -> None:
    pixels = make_data(40, (3, 9, 6)).pixels
    out = crop_flip(pixels, crop=2, flip=False, generator=arrays.seeded(0), reflect=True)
    padded = functional.pad(pixels.float(), (2, 2, 2, 2), "reflect").to(torch.uint8)
    places = set()
    for image, source in zip(out, padded, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(image, source[:, y : y + 9, x : x + 6])]
        places.add(found[0])
    assert len(places) > 10


def test_alternating_flips_show_each_image_both_ways_in_turns() -> None:
    data = make_data(30, (1, 8, 8))
    original = arrays.unit_images(data.pixels)
    seen: list[torch.Tensor] = []

    def loss(task: Task, model: nn.Module, images: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(images)
        return plain(task, model, images, *rest)  # type: ignore[arg-type]

    recipe = Recipe(epochs=4, crop=0, alternate=True, batch_size=30)
    list(train(net_of(data), data, classification()(data), recipe, loss=loss))
    epochs = []
    for images in seen:
        straight = {k for k in range(30) if any(torch.equal(original[k], image) for image in images)}
        mirrored = {k for k in range(30) if any(torch.equal(original[k].flip(2), image) for image in images)}
        assert straight | mirrored == set(range(30))
        assert not straight & mirrored
        epochs.append(mirrored)
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3] == set(range(30)) - epochs[0]
    assert 5 < len(epochs[0]) < 25


def net_of(data: object) -> nn.Module:
    return build(MODELS["linear"](), data.shape, 3, generator=arrays.seeded(0))  # type: ignore[attr-defined]


def moved(model: nn.Module, averaging: Averaging, total: int) -> Iterator[torch.Tensor]:
    for number in range(1, total + 1):
        with torch.no_grad():
            model.weight += number  # type: ignore[operator]
        averaging.step(number)
        yield model.weight.detach().clone()


def test_averaging_moves_network_and_average_to_each_other() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    path = [float(weight) for weight in moved(model, Averaging(model, 2, 5), 5)]
    slow, fast, expected = 0.0, 0.0, []
    for number in range(1, 6):
        fast += number
        if number % 2 == 0:
            kept = 0.95**2 * (number / 5) ** 3
            slow = slow * kept + fast * (1 - kept)
            fast = slow
        expected.append(slow if number == 5 else fast)
    assert path == pytest.approx(expected)


def test_every_network_has_a_recipe_of_its_own_and_any_can_be_named() -> None:
    own = {name: recipe_for(name) for name in ("airbench", "vit-small", "unet", "resnet18")}
    assert own == {n: RECIPES[r] for n, r in zip(own, ("fast", "adamw", "dense", "sgd"), strict=True)}
    assert recipe_for("airbench", "sgd", {"lr": "1/20"}) == Recipe(lr=0.05)
    with pytest.raises(UsageError, match="fast"):
        recipe_for("airbench", "fsat")
    with pytest.raises(UsageError, match=r"train\.lr"):
        recipe_for("airbench", "own", {"lr": "much"})


def test_a_suite_takes_another_recipe_without_its_own_settings() -> None:
    (first, *_) = make_suite("controls", {"models": "airbench"}).experiments()
    assert first.recipe == Recipe(epochs=10, batch_size=32, lr=0.05, crop=0, flip=False)
    suite = make_suite("controls", {"models": "airbench,resnet8", "recipe": "own", "train": {"epochs": "3"}})
    assert {cell.model.name: cell.recipe for cell in suite.experiments()} == {
        "airbench": replace(FAST, epochs=3), "resnet8": Recipe(epochs=3),
    }  # fmt: skip
    with pytest.raises(UsageError, match="recipe"):
        make_suite("controls", {"recipe": "fsat"})


def test_airbench_learns_digits_by_the_fast_recipe(digits: Splits, task: Task) -> None:
    recipe = replace(FAST, epochs=6, batch_size=50, crop=0, flip=False)
    model = build(MODELS["airbench"]("8-16-16"), digits.train.shape, 10, generator=arrays.seeded(0))
    list(train(model, digits.train, task, recipe))
    assert evaluate(model, digits.test, task)["accuracy"] > 0.85

import pytest
import torch
from torch.nn import functional

from howfar import arrays
from howfar.data import Splits
from howfar.errors import HowfarError, UsageError
from howfar.models import MODELS, build
from howfar.tasks import Task
from howfar.training import Recipe, evaluate, train
from howfar.training.augment import crop_flip

from ..conftest import make_data


def test_crop_flip_gives_windows_of_the_padded_image_or_its_mirror() -> None:
    pixels = make_data(40, (3, 9, 6)).pixels
    out = crop_flip(pixels, crop=2, flip=True, generator=arrays.seeded(0))
    padded = functional.pad(pixels, (2, 2, 2, 2))
    mirrored = 0
    for image, source in zip(out, padded, strict=True):
        windows = {(y, x): source[:, y : y + 9, x : x + 6] for y in range(5) for x in range(5)}
        straight = any(torch.equal(image, window) for window in windows.values())
        flipped = any(torch.equal(image, window.flip(2)) for window in windows.values())
        assert straight or flipped
        mirrored += flipped
    assert 8 < mirrored < 32


def test_without_crop_and_flip_nothing_moves() -> None:
    pixels = make_data().pixels
    assert torch.equal(crop_flip(pixels, crop=0, flip=False, generator=arrays.seeded(0)), pixels)


def test_training_learns_and_repeats_bit_for_bit(digits: Splits, task: Task) -> None:
    runs = []
    for _ in range(2):
        model = build(MODELS["resnet8"](width=4), digits.train.shape, 10, generator=arrays.seeded(0))
        epochs = list(train(model, digits.train, task, Recipe(epochs=4, batch_size=32, crop=1, flip=False), seed=3))
        runs.append((model, [epoch.loss for epoch in epochs]))
    assert runs[0][1] == runs[1][1]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0].parameters(), runs[1][0].parameters(), strict=True))
    assert runs[0][1][-1] < runs[0][1][0] / 2
    assert evaluate(runs[0][0], digits.test, task)["accuracy"] > 0.85


def test_evaluation_does_not_depend_on_batches_and_puts_the_mode_back(digits: Splits, task: Task) -> None:
    model = build(MODELS["lenet5"](), digits.train.shape, 10, generator=arrays.seeded(0))
    model.train()
    first, second = (evaluate(model, digits.test, task, batch_size=size) for size in (7, 1000))
    assert first["accuracy"] == second["accuracy"]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
    assert model.training


def test_a_last_batch_of_one_image_does_not_stop_batchnorm() -> None:
    data = make_data(17, (3, 8, 8))
    from howfar.tasks import classification

    model = build(MODELS["resnet8"](width=2), data.shape, 3, generator=arrays.seeded(0))
    assert len(list(train(model, data, classification()(data), Recipe(epochs=1, batch_size=16)))) == 1


def test_divergence_is_an_error_that_tells_the_cure(digits: Splits, task: Task) -> None:
    model = build(MODELS["lenet5"](), digits.train.shape, 10, generator=arrays.seeded(0))
    with pytest.raises(HowfarError, match="Lower the learning rate"):
        list(train(model, digits.train, task, Recipe(epochs=3, lr=1e6)))


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_schedule_runs(schedule: str, optimizer: str) -> None:
    data = make_data(16, (1, 8, 8), 2)
    from howfar.tasks import classification

    model = build(MODELS["linear"](), data.shape, 2, generator=arrays.seeded(0))
    recipe = Recipe(epochs=2, lr=0.01, schedule=schedule, optimizer=optimizer)  # type: ignore[arg-type]
    rates = [epoch.learning_rate for epoch in train(model, data, classification()(data), recipe)]
    assert (rates[-1] < 1e-9) == (schedule == "cosine")


def test_the_papers_recipe() -> None:
    recipe = Recipe.paper()
    assert (recipe.lr, recipe.momentum, recipe.weight_decay, recipe.batch_size, recipe.epochs) == (
        0.1, 0.9, 5e-4, 256, 50,
    )  # fmt: skip


def test_senseless_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="epochs"):
        Recipe(epochs=0)

"""Each defense gives back what it is known to give back: victims trained on protected images, judged on clean ones."""

from functools import cache
from pathlib import Path

import pytest

from howfar import arrays
from howfar.data import DATASETS, Splits, balanced
from howfar.data.npz import read_npz
from howfar.defend import DEFENSES, Chain, Learner
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import Recipe, evaluate, train


def accuracy(splits: Splits, protector: str, defense: str, recipe: Recipe) -> float:
    """Return the accuracy on clean test images of a thin ResNet-8."""
    task, made = classification()(splits.train), Chain.parse(defense, DEFENSES).build()
    method = parse(protector, PROTECTORS, "protector").build()
    protected = method.protect(splits.train, task, generator=arrays.seeded(0, "protect"))
    data = made.purify(protected, Learner(task, recipe))
    model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0, "weights"))
    for _ in train(model, data, task, recipe, around=made.around, seed=0):
        pass
    return evaluate(model, splits.test, task)["accuracy"]


@cache
def on_digits(defense: str) -> float:
    return accuracy(DATASETS["digits"](), "ops", defense, Recipe(epochs=8, batch_size=32, lr=0.05, crop=0, flip=False))


@pytest.mark.parametrize("defense", ["cutmix", "cutout", "median"])
def test_a_shortcut_of_one_pixel_is_cut_out(defense: str) -> None:
    assert on_digits(defense) > on_digits("none") + 0.2  # measured: none 0.44, the others 0.87 to 0.96


@cache
def on_photographs(shared: Path, protector: str, defense: str) -> float:
    splits = read_npz(shared / "cifar10.npz", flip=True)
    small = Splits(balanced(splits.train, 4000), balanced(splits.test, 1000), splits.classes, splits.flip)
    return accuracy(small, protector, defense, Recipe(epochs=10, batch_size=64, lr=0.1, crop=0, flip=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protector", "defense"),
    [
        ("lsp[eps=8/255]", "orthogonal-projection:momentum"),
        ("ops", "orthogonal-projection"),
        ("ops", "orthogonal-projection:momentum"),
        ("lsp[eps=8/255]", "jpeg"),
        ("ops", "jpeg"),
        ("lsp[eps=8/255]", "gray"),
        ("ar", "gray"),
        ("em", "jpeg"),
    ],
)
def test_a_known_weakness_gives_back_ten_points(protector: str, defense: str, shared: Path) -> None:
    assert on_photographs(shared, protector, defense) > on_photographs(shared, protector, "none") + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("protector", ["tap", "ops"])
def test_gray_does_not_help_where_it_is_known_not_to(protector: str, shared: Path) -> None:
    assert on_photographs(shared, protector, "gray") < on_photographs(shared, protector, "none") + 0.1

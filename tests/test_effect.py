"""What the methods are for: on digits, a resnet8 trained on protected images fails on clean ones."""

import pytest

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.models import MODELS, build
from howfar.probe import Sharpness, sharpness
from howfar.protect import PROTECTORS
from howfar.score import unlearnable_distance
from howfar.spec import parse
from howfar.tasks import Task
from howfar.train import Recipe, evaluate, train

RECIPE = Recipe(epochs=8, batch_size=32, lr=0.05, crop=0, flip=False)
Learned = tuple[float, list[dict[str, Sharpness]]]


def learn(data: Data, test: Data, task: Task) -> Learned:
    """Return accuracy on clean test images and SAL per epoch."""
    model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0, "weights"))
    probe = balanced(data, 64)
    readings = [sharpness(model, task, probe) for _ in train(model, task, data, RECIPE, seed=0)]
    return evaluate(model, task, test)["accuracy"], readings


@pytest.fixture(scope="module")
def learned(digits: Splits, task: Task) -> dict[str, Learned]:
    names = ("clean", "random[eps=16/255]", "em[eps=16/255]", "em:class[eps=16/255]", "lsp[eps=32/255]", "ops")
    results = {}
    for name in names:
        protector = parse(name, PROTECTORS, "protector").build()
        protected = protector.protect(digits.train, task, generator=arrays.seeded(0, "protect"))
        results[name.partition("[")[0]] = learn(protected, digits.test, task)
    return results


def test_a_clean_model_learns(learned: dict[str, Learned]) -> None:
    assert learned["clean"][0] > 0.95


@pytest.mark.parametrize("name", ["em", "em:class", "lsp", "ops"])
def test_protection_takes_at_least_30_points(name: str, learned: dict[str, Learned]) -> None:
    assert learned["clean"][0] - learned[name][0] >= 0.3


def test_sample_wise_random_noise_takes_less_than_10_points(learned: dict[str, Learned]) -> None:
    assert learned["clean"][0] - learned["random"][0] < 0.1


def test_ud_is_one_for_clean_and_lower_for_lsp_than_for_random_noise(learned: dict[str, Learned]) -> None:
    clean = learned["clean"][1]
    assert unlearnable_distance(clean, clean).value == 1
    lsp, random = (unlearnable_distance(clean, learned[name][1]) for name in ("lsp", "random"))
    assert lsp.value < random.value
    assert lsp == unlearnable_distance(clean, learned["lsp"][1])

"""What the methods are for: on digits, a resnet8 trained on protected images fails on clean ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.data.npz import read_npz
from howfar.models import MODELS, build
from howfar.probe import Sharpness, sharpness
from howfar.protectors import PROTECTORS
from howfar.score import unlearnable_distance
from howfar.spec import parse
from howfar.tasks import Task, classification
from howfar.training import RECIPES, Recipe, evaluate, train

RECIPE = Recipe(epochs=8, batch_size=32, lr=0.05, crop=0, flip=False)
PROBED = ("clean", "random[eps=16/255]", "lsp[eps=32/255]")
Learned = tuple[float, list[dict[str, Sharpness]]]


def learn(data: Data, test: Data, task: Task, *, probed: bool) -> Learned:
    """Return accuracy on clean test images and, where wanted, SAL per epoch."""
    model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0, "weights"))
    probe = balanced(data, 64)
    epochs = train(model, data, task, RECIPE, seed=0)
    readings = [sharpness(model, probe, task) if probed else {} for _ in epochs]
    return evaluate(model, test, task)["accuracy"], readings


@pytest.fixture(scope="module")
def learned(digits: Splits, task: Task) -> dict[str, Learned]:
    names = ("clean", "random[eps=16/255]", "em[eps=16/255]", "em:class[eps=16/255]", "lsp[eps=32/255]", "ops")
    results = {}
    for name in names:
        protector = parse(name, PROTECTORS, "protector").build()
        protected = protector.protect(digits.train, task, generator=arrays.seeded(0, "protect"))
        results[name.partition("[")[0]] = learn(protected, digits.test, task, probed=name in PROBED)
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
    assert unlearnable_distance(clean, clean).ud.value == 1
    lsp, random = (unlearnable_distance(clean, learned[name][1]) for name in ("lsp", "random"))
    assert lsp.ud.value < random.ud.value
    assert lsp == unlearnable_distance(clean, learned["lsp"][1])


def accuracy(name: str, train_set: Data, test: Data, task: Task, *, width: int, epochs: int) -> float:
    """Return the accuracy on clean images of a resnet8 that learned protected ones."""
    protector = parse(name, PROTECTORS, "protector").build()
    data = protector.protect(train_set, task, generator=arrays.seeded(0, "protect"))
    model = build(MODELS["resnet8"](width=width), data.shape, task.outputs, generator=arrays.seeded(0, "weights"))
    for _ in train(model, data, task, replace(RECIPE, epochs=epochs), seed=0):
        pass
    return evaluate(model, test, task)["accuracy"]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("cuda", 0.4), ("pil[eps=16/255]", 0.6), ("ntga[eps=16/255]", 0.6), ("pue[eps=16/255]", 0.5),
        ("carriers[eps=16/255]", 0.3), pytest.param("delusive:p3[eps=1.5]", 0.6, marks=pytest.mark.slow),
        pytest.param("refined-carriers[eps=16/255,rounds=2]", 0.4, marks=pytest.mark.slow),
        pytest.param("mtl-ue[eps=16/255]", 0.6, marks=pytest.mark.slow),
        pytest.param("aue[eps=16/255]", 0.7, marks=pytest.mark.slow),
        pytest.param("tue[eps=16/255]", 0.7, marks=pytest.mark.slow),
        pytest.param("gue[eps=16/255,width=16]", 0.7, marks=pytest.mark.slow),
        pytest.param("sep[eps=16/255]", 0.85, marks=pytest.mark.slow),
        pytest.param("mi-ue[eps=16/255]", 0.85, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_methods_hurt_a_learner_of_digits(name: str, most: float, digits: Splits, task: Task) -> None:
    assert accuracy(name, digits.train, digits.test, task, width=8, epochs=8) <= most  # clean: 0.99


FAST = replace(RECIPES["fast"], epochs=8, batch_size=50, flip=False)


@pytest.fixture(scope="module")
def fast_victims(digits: Splits, task: Task) -> dict[str, float]:
    """Return the accuracy of fast victims by what they learned."""
    found = {}
    for name in ("clean", "random[eps=16/255]", "em:class[eps=16/255]", "lsp[eps=32/255]", "pil[eps=16/255]"):
        protector = parse(name, PROTECTORS, "protector").build()
        data = protector.protect(digits.train, task, generator=arrays.seeded(0, "protect"))
        model = build(MODELS["airbench"]("16-32-32"), data.shape, task.outputs, generator=arrays.seeded(0, "weights"))
        for _ in train(model, data, task, FAST, seed=0):
            pass
        found[name.partition("[")[0]] = evaluate(model, digits.test, task)["accuracy"]
    return found


def test_a_fast_victim_learns_and_protection_takes_that(fast_victims: dict[str, float]) -> None:
    clean = fast_victims["clean"]
    assert clean > 0.9
    assert clean - fast_victims["random"] < 0.1
    for name in ("em:class", "lsp", "pil"):  # a single pixel is blurred by the crops
        assert clean - fast_victims[name] >= 0.3, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ar[eps=2]", "tap", "aap", "sep:features", "delusive"])
def test_methods_hurt_a_learner_of_photographs(name: str, shared: Path) -> None:
    splits = read_npz(shared / "cifar10.npz", flip=True)
    train_set, test = balanced(splits.train, 4000), balanced(splits.test, 1000)
    task = classification()(train_set)
    assert accuracy(name, train_set, test, task, width=16, epochs=10) <= 0.33  # clean: 0.53, chance: 0.1

import pytest
import torch

from howfar import arrays
from howfar.data import Data, Splits
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.probe import decide, sharpness
from howfar.tasks import Task
from howfar.train import Recipe, train


def test_decisions_are_right_at_the_stated_confidence() -> None:
    """Many samples of one population, whose SAL is known from all of it; β close enough to need many images."""
    from ..probe.test_sharpness import Flat, Squared

    generator = arrays.seeded(0)
    everyone = Data(
        pixels=torch.randint(0, 256, (8192, 1, 1, 2), generator=generator, dtype=torch.uint8),
        targets={"label": torch.randint(0, 3, (8192,), generator=generator)},
        ids=torch.arange(8192),
    )
    model = Flat(2)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, -2.0]]))
    truth = sharpness(model, Squared(), everyone, mode="exact", batch_size=8192)["head.weight"].sal
    wrong, decided, images = 0, 0, []
    for trial in range(60):
        beta = truth * (0.93 if trial % 2 else 1.07)
        sample = everyone.take(torch.randperm(8192, generator=generator)[:1024])
        found = decide(model, Squared(), sample, beta=beta, confidence=0.9, first=32)["head.weight"]
        decided += found.learnable is not None
        wrong += found.learnable is (beta >= truth)
        images.append(found.images)
    assert wrong <= 0.1 * 60
    assert decided > 30  # and not by refusing to decide
    assert len(set(images)) > 2


@pytest.fixture(scope="module")
def trained(digits: Splits, task: Task) -> torch.nn.Module:
    model = build(MODELS["resnet8"](width=4), digits.train.shape, 10, generator=arrays.seeded(0))
    list(train(model, task, digits.train, Recipe(epochs=2, batch_size=32, crop=0, flip=False)))
    return model


def test_clear_layers_need_few_images(trained: torch.nn.Module, digits: Splits, task: Task) -> None:
    readings = sharpness(trained, task, digits.train.take(range(512)))
    sals = sorted(reading.sal for reading in readings.values())
    middle = (sals[4] + sals[5]) / 2
    found = decide(trained, task, digits.train.take(range(512)), beta=middle)
    assert list(found) == list(readings)
    assert min(decision.images for decision in found.values()) < 512
    for name, decision in found.items():
        assert decision.low < decision.high
        if decision.learnable is not None:
            assert decision.learnable == (readings[name].sal > middle)
    extreme = decide(trained, task, digits.train.take(range(512)), beta=100.0)
    assert all(decision.learnable is False and decision.images == 64 for decision in extreme.values())


def test_too_little_to_decide_from_is_refused(trained: torch.nn.Module, digits: Splits, task: Task) -> None:
    with pytest.raises(UsageError, match="8 images"):
        decide(trained, task, digits.train.take(range(4)), beta=1.0)

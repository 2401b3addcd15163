import math

import pytest
import torch

from howfar import arrays
from howfar.data import Data, Splits
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.probe import decide, sharpness
from howfar.probe.modes import fast
from howfar.probe.sequential import _bounds, _limit
from howfar.probe.surface import Surface
from howfar.tasks import Task
from howfar.training import Recipe, train


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
    truth = sharpness(model, everyone, Squared(), mode="exact", batch_size=8192)["head.weight"].sal
    wrong, decided, images = 0, 0, []
    for trial in range(30):
        beta = truth * (0.93 if trial % 2 else 1.07)
        sample = everyone.take(torch.randperm(8192, generator=generator)[:1024])
        found = decide(model, sample, Squared(), beta=beta, confidence=0.9, first=32)["head.weight"]
        decided += found.learnable is not None
        wrong += found.learnable is (beta >= truth)
        images.append(found.images)
    assert wrong <= 0.1 * 30
    assert decided > 15  # and not by refusing to decide
    assert len(set(images)) > 2


def test_what_a_half_finds_is_measured_on_itself_and_on_the_other() -> None:
    from ..probe.test_sharpness import Flat, Squared

    generator = arrays.seeded(1)
    pixels = torch.randint(0, 256, (2 * 40, 1, 1, 3), generator=generator, dtype=torch.uint8)
    both = Data(pixels, {"label": torch.randint(0, 3, (80,), generator=generator)}, torch.arange(80))
    halves = both.take(range(40)), both.take(range(40, 80))

    class Concave(Squared):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return -super().loss(output, target)

    for task, side in ((Squared(), "rise"), (Concave(), "fall")):
        model = Flat(3)
        with torch.no_grad():
            model.head.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        named = {"head.weight": model.head.weight}
        ends = []
        for half in halves:
            with Surface(model, task, half, named).opened() as surface:
                start, slopes, correction = surface.start()
                rise, fall = (one["head.weight"] for one in fast(surface, start, slopes, 0.2, 2, correction))
            assert (side == "rise") == (rise.value >= fall.value)
            ends.append(rise if rise.value >= fall.value else fall)

        def changes(half: Data, move: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            """Return by how much the squared error grows, and its negative falls."""
            x, y = arrays.unit_images(half.pixels).flatten(1), half.targets["label"].float()
            moved, stayed = (((x @ w.T)[:, 0] - y).square().double() for w in (weight + move, weight))
            return moved - stayed

        weight = model.head.weight.detach()
        own = torch.cat([changes(half, end.at, weight) for half, end in zip(halves, ends, strict=True)])
        crossed = zip(halves[::-1], ends, strict=True)
        other = torch.cat([changes(half, end.at, weight) for half, end in crossed])
        ((low, high),) = _bounds(model, task, halves, named, 0.2, 2, 1.5).values()
        assert high == pytest.approx(float(own.mean() + 1.5 * own.std() / 80**0.5), rel=1e-4)
        assert low == pytest.approx(float(other.mean() - 1.5 * other.std() / 80**0.5), rel=1e-4)


def test_a_limit_is_so_many_standard_errors_from_the_mean() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 6.0]).double()
    assert _limit(values, -2.0) == pytest.approx(3 - 2 * math.sqrt(14 / 3) / 2)


def test_looks_double_and_share_the_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    from ..probe.test_sharpness import Flat, Squared

    asked: list[tuple[int, int, float]] = []

    def bounds(model: object, task: object, parts: tuple[Data, Data], *rest: object) -> dict[str, tuple[float, float]]:
        assert not set(parts[0].ids.tolist()) & set(parts[1].ids.tolist())
        asked.append((len(parts[0]), len(parts[1]), rest[-1]))  # type: ignore[arg-type]
        return {"head.weight": (0.1, 0.3) if len(asked) < 4 else (0.21, 0.25)}

    monkeypatch.setattr("howfar.probe.sequential._bounds", bounds)
    data = Data(torch.zeros(101, 1, 1, 3, dtype=torch.uint8), {"label": torch.zeros(101).long()}, torch.arange(101))
    found = decide(Flat(3), data, Squared(), beta=0.2, first=15, confidence=0.9)["head.weight"]
    assert [sizes[:2] for sizes in asked] == [(8, 7), (15, 15), (30, 30), (51, 50)]
    assert [sizes[2] for sizes in asked] == pytest.approx([2.2414] * 4, abs=1e-4), "of 1 − 0.1 ÷ 8"
    assert (found.learnable, found.low, found.high, found.images) == (True, 0.21, 0.25, 101)


@pytest.fixture(scope="module")
def trained(digits: Splits, task: Task) -> torch.nn.Module:
    model = build(MODELS["resnet8"](width=4), digits.train.shape, 10, generator=arrays.seeded(0))
    list(train(model, digits.train, task, Recipe(epochs=2, batch_size=32, crop=0, flip=False)))
    return model


def test_clear_layers_need_few_images(trained: torch.nn.Module, digits: Splits, task: Task) -> None:
    readings = sharpness(trained, digits.train.take(range(512)), task)
    sals = sorted(reading.sal for reading in readings.values())
    middle = (sals[4] + sals[5]) / 2
    found = decide(trained, digits.train.take(range(512)), task, beta=middle)
    assert list(found) == list(readings)
    assert min(decision.images for decision in found.values()) < 512
    for name, decision in found.items():
        assert decision.low < decision.high
        if decision.learnable is not None:
            assert decision.learnable == (readings[name].sal > middle)
    extreme = decide(trained, digits.train.take(range(512)), task, beta=100.0)
    assert all(decision.learnable is False and decision.images == 64 for decision in extreme.values())


def test_too_little_to_decide_from_is_refused(trained: torch.nn.Module, digits: Splits, task: Task) -> None:
    with pytest.raises(UsageError, match="8 images"):
        decide(trained, digits.train.take(range(4)), task, beta=1.0)

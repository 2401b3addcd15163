"""Mode ``reference`` against a step-by-step rewriting of the released algorithm, on clean and on protected data."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.data import Data, Splits, balanced
from howfar.models import build
from howfar.probe import Released, sharpness
from howfar.probe.reference import Extreme, Found, _projected
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import Task
from howfar.training import Recipe, train

from ..conftest import TestTask, make_data

SIZE, IMAGES = 32, 80
Checkpoint = tuple[nn.Module, Data, float]


def small(shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """Return a network of three layers, with batch normalization between them."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2),
        nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, outputs),
    )  # fmt: skip


@pytest.fixture(scope="module", params=[("clean", 2), ("clean", 8), ("lsp", 8), ("ops", 8)], ids=str)
def checkpoint(request: pytest.FixtureRequest, digits: Splits, task: Task) -> Checkpoint:
    """A network, its probe set and the mean training loss of its last epoch."""
    name, epochs = request.param
    protector = parse(name, PROTECTORS, "protector").build()
    data = protector.protect(balanced(digits.train, 400), task, generator=arrays.seeded(0, "protect"))
    model = build(small, data.shape, 10, generator=arrays.seeded(0))
    *_, last = train(model, data, task, Recipe(epochs=epochs, batch_size=32, crop=0, flip=False))
    return model, balanced(data, IMAGES), last.loss


def loader(data: Data, generator: Generator, released: Released | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one pass: a new order, the last batch dropped and every image cropped and flipped where it was released."""
    order = torch.randperm(len(data), generator=generator).tolist()
    for first in range(0, len(order), SIZE):
        batch = order[first : first + SIZE]
        if released and len(batch) < SIZE:
            return
        images = [data.pixels[place].float() / 255 for place in batch]
        if released and (released.crop or released.flip):
            mirrored = torch.rand(len(batch), generator=generator) < 0.5
            shift = torch.randint(2 * released.crop + 1, (2, len(batch), 1), generator=generator)
            for number, image in enumerate(images):
                _, height, width = image.shape
                wide = functional.pad(image, (released.crop,) * 4)
                top, left = int(shift[0, number]), int(shift[1, number])
                image = wide[:, top : top + height, left : left + width]
                images[number] = image.flip(2) if mirrored[number] else image
        yield torch.stack(images), data.targets["label"][batch]


def loss_over(pairs: list[nn.Module], passed: Iterator[tuple[Tensor, Tensor]]) -> list[float]:
    totals, count = [0.0] * len(pairs), 0
    for images, labels in passed:
        for number, network in enumerate(pairs):
            with torch.no_grad():
                totals[number] += float(functional.cross_entropy(network(images), labels)) * len(labels)
        count += len(labels)
    return [total / count for total in totals]


def rewritten(
    model: nn.Module, data: Data, names: list[str], released: Released | None, generator: Generator
) -> dict[str, tuple[float, float]]:
    """Return rise and fall by layer: two copies of the network, one projection a pass, one shared pass of losses."""
    found = {}
    for name in names:
        copies = []
        for _ in range(2):
            network = copy.deepcopy(model).eval().requires_grad_(False)
            weight = network.get_parameter(name).requires_grad_()
            copies.append((network, weight, weight.detach().clone(), torch.optim.SGD([weight], lr=0.1)))
        given = released.baseline if released else None
        start = loss_over([copies[0][0]], loader(data, generator, released))[0] if given is None else given
        lowest = highest = start
        for _ in range(10):
            for sign, (network, weight, kept, optimizer) in zip((1, -1), copies, strict=True):
                for images, labels in loader(data, generator, released):
                    optimizer.zero_grad()
                    (sign * functional.cross_entropy(network(images), labels)).backward()
                    optimizer.step()
                share = float((weight.detach() - kept).norm() / kept.norm())
                if share > 0.05:
                    with torch.no_grad():
                        weight.copy_(kept + (weight - kept) / share * 0.05)
            low, high = loss_over([copies[0][0], copies[1][0]], loader(data, generator, released))
            lowest, highest = min(lowest, low), max(highest, high)
        found[name] = highest - start, start - lowest
    return found


@pytest.mark.parametrize("way", ["fixed images", "as released", "released without its baseline"])
def test_rise_and_fall_are_those_of_the_released_algorithm(checkpoint: Checkpoint, task: Task, way: str) -> None:
    model, probe, loss = checkpoint
    released = {"as released": Released(loss), "released without its baseline": Released(None)}.get(way)
    readings = sharpness(
        model, probe, task, mode="reference", batch_size=SIZE, released=released, generator=arrays.seeded(5)
    )
    for name, (rise, fall) in rewritten(model, probe, list(readings), released, arrays.seeded(5)).items():
        reading = readings[name]
        assert reading.rise == pytest.approx(rise, rel=0.01, abs=1e-4), name
        assert reading.fall == pytest.approx(fall, rel=0.01, abs=1e-4), name
        assert reading.sal == pytest.approx(max(rise, fall), rel=0.01, abs=1e-4), name


def test_a_place_outside_the_ball_is_drawn_to_its_edge() -> None:
    center = torch.tensor([3.0, 4.0])
    assert _projected(center + torch.tensor([0.0, 4.0]), center, 0.2).tolist() == pytest.approx([3, 5])
    assert _projected(center + torch.tensor([-3.0, 4.0]), center, 0.2).tolist() == pytest.approx([3 - 0.6, 4 + 0.8])
    inside = center + torch.tensor([0.3, -0.4])
    assert torch.equal(_projected(inside, center, 0.2), inside)


def test_the_error_of_a_reference_is_over_the_images_that_both_passes_saw() -> None:
    def extreme(loss: float, *losses: float) -> Extreme:
        return Extreme(loss, torch.tensor(losses, dtype=torch.float64), torch.zeros(2, 3))

    start = extreme(1.0, 1.0, 1.0, 1.0, math.nan)
    higher, lower = extreme(3.0, 2.0, 4.0, math.nan, 9.0), extreme(0.5, 0.5, 0.6, 0.7, 0.8)
    found = Found(start, higher, lower, diverged=False).reading()
    assert (found.rise, found.fall, found.parameters, found.converged) == (2, 0.5, 6, True)
    assert found.standard_error == pytest.approx(1), "1 and 3 nats"
    other = Found(start, extreme(1.2, 1.0, 1.0, 1.0, 1.0), extreme(0.25, 0.0, 0.3, 0.6, 0.1), diverged=True).reading()
    assert (other.sal, other.converged) == (0.75, False)
    assert other.standard_error == pytest.approx(0.3 / 3**0.5), "1.0, 0.7 and 0.4 nats"
    alone = Found(start, extreme(3.0, 2.0, *[math.nan] * 3), lower, diverged=False).reading()
    assert math.isnan(alone.standard_error)


def test_every_pass_has_an_order_of_its_own_from_the_generator(checkpoint: Checkpoint, task: Task) -> None:
    model, probe, _ = checkpoint
    orders: list[tuple[int, ...]] = []

    class Watching(TestTask):
        def loss(self, output: Tensor, target: Tensor) -> Tensor:
            orders.append(tuple(target.tolist()))
            return functional.cross_entropy(output, target, reduction="none")

        quality = staticmethod(task.quality)

    layer = nn.Sequential(nn.Flatten(), nn.Linear(probe.pixels[0].numel(), 10))
    named = Data(probe.pixels, {"label": torch.arange(len(probe)) % 10}, probe.ids)
    sharpness(layer, named, Watching(), mode="reference", batch_size=SIZE, generator=arrays.seeded(1))
    passes = [sum(orders[place : place + 3], ()) for place in range(3, 63, 3)]  # the first is that of the start
    assert len(set(passes)) == len(passes)
    one, same, other = (
        sharpness(model, probe, task, mode="reference", batch_size=SIZE, generator=arrays.seeded(seed))
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_the_standard_error_is_that_of_the_change_per_image() -> None:
    """For a network whose largest loss is known: one weight, so both extremes lie at the ends of its ball."""
    data = make_data(40, (1, 2, 2), 2)

    class Product(TestTask):
        def loss(self, output: Tensor, target: Tensor) -> Tensor:
            return 3 * output.flatten(1).mean(1)

        quality = loss

    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    unit = arrays.unit_images(data.pixels).flatten(1).mean(1).double()
    change = 3 * 0.05 * 2 * unit
    reading = sharpness(model, data, Product(), mode="reference")["weight"]
    assert reading.sal == pytest.approx(float(change.mean()), rel=1e-4)
    assert reading.standard_error == pytest.approx(float(change.std()) / math.sqrt(40), rel=1e-4)
    given = Released(baseline=1.0, crop=0, flip=False)
    shifted = sharpness(model, data, Product(), mode="reference", released=given)["weight"]
    assert shifted.rise == pytest.approx(float((3 * 2.1 * unit).mean()) - 1, rel=1e-4)
    assert shifted.standard_error == pytest.approx(float((3 * 2.1 * unit).std()) / math.sqrt(40), rel=1e-4)


def test_one_image_has_no_standard_error() -> None:
    data = make_data(1, (1, 2, 2), 1)

    class Sum(TestTask):
        def loss(self, output: Tensor, target: Tensor) -> Tensor:
            return output.flatten(1).sum(1)

        quality = loss

    for mode in ("fast", "exact", "reference"):
        found = sharpness(nn.Conv2d(1, 1, 1), data, Sum(), mode=mode)["weight"]  # type: ignore[arg-type]
        assert math.isnan(found.standard_error), mode


def test_a_released_baseline_shifts_rise_into_fall(checkpoint: Checkpoint, task: Task) -> None:
    model, probe, _ = checkpoint
    plain = sharpness(model, probe, task, mode="reference")["8.weight"]
    loose = sharpness(model, probe, task, mode="reference", released=Released(9.0, crop=0, flip=False))["8.weight"]
    assert loose.rise == 0
    assert loose.fall is not None
    assert plain.fall is not None
    assert loose.fall > plain.fall + 1


def test_losses_that_are_not_finite_are_skipped_and_reported() -> None:
    """Steps of a steep cubic leave the finite numbers behind."""
    data = make_data(8, (1, 2, 2), 2)

    class Steep(TestTask):
        def loss(self, output: Tensor, target: Tensor) -> Tensor:
            return (1e30 * (output.flatten(1).mean(1) - 1e-3)).exp()

        quality = loss

    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, 1e-31)
    reading = sharpness(model, data, Steep(), mode="reference")["weight"]
    assert reading.converged in (True, False)
    assert math.isfinite(reading.sal)
    assert float(model.weight.detach()) == pytest.approx(1e-31)


def test_maps_are_cropped_and_mirrored_with_their_images() -> None:
    """A network that copies the image has no loss on a map that equals the image, wherever both are moved."""
    data = make_data(12, (1, 8, 8), 2)
    map_of = Data(data.pixels, {"map": arrays.unit_images(data.pixels) + 1}, data.ids)

    class Copy(TestTask):
        target = "map"

        def loss(self, output: Tensor, target: Tensor) -> Tensor:
            return (output + 1 - target.nan_to_num(1.0)).square().flatten(1).mean(1)

        quality = loss

    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    moved = sharpness(model, map_of, Copy(), mode="reference", released=Released(None))["weight"]
    assert moved.fall == pytest.approx(0, abs=1e-9), "the loss is 0 to begin with, in every pass"

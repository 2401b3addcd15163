"""Protectors do what their released code does, where a reading of that code showed a difference."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from howfar import arrays, pgd
from howfar.data import Data
from howfar.models import MODELS, build
from howfar.protect import PROTECTORS, em, hypo, rem, tap
from howfar.protect.transforms import shift_flip
from howfar.spec import parse
from howfar.tasks import classification

from ..conftest import make_data

SMALL = "resnet8[width=2]"


def sampled(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """Return one bilinear sample of an image, (channels,); zeros lie outside."""
    total = np.zeros(len(image))
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                total += (1 - abs(row - i)) * (1 - abs(column - j)) * image[:, i, j]
    return total


@pytest.mark.parametrize("flip", [True, False])
def test_shifts_are_bilinear_and_sub_pixel(flip: bool) -> None:
    images = torch.rand(6, 2, 7, 9, generator=arrays.seeded(0))
    found = shift_flip(images, 2.5, flip=flip, generator=arrays.seeded(1)).double().numpy()
    draws = arrays.seeded(1)
    mirrored = torch.rand(6, generator=draws).numpy() < 0.5 if flip else np.zeros(6, bool)
    across, down = (5 * torch.rand(6, generator=draws).double().numpy() - 2.5 for _ in range(2))
    for n, image in enumerate(images.double().numpy()):
        for i in range(7):
            for j in range(9):
                column = 8 - j if mirrored[n] else j
                assert np.allclose(found[n, :, i, j], sampled(image, i + down[n], column + across[n]), atol=1e-5)


def test_a_shift_of_4_is_what_the_release_calls_8() -> None:
    images = torch.rand(64, 3, 32, 32, generator=arrays.seeded(0))
    found = shift_flip(images, 4.0, flip=False, generator=arrays.seeded(1))
    draws = arrays.seeded(1)
    line = torch.linspace(-1, 1, 32)
    moves = [(torch.rand(64, generator=draws) - 0.5) * 2 * torch.linspace(0, 1, 32)[8] for _ in range(2)]
    across, down = (line + move[:, None] for move in moves)
    grid = torch.stack([across[:, None, :].expand(64, 32, 32), down[:, :, None].expand(64, 32, 32)], 3)
    assert torch.allclose(found, nn.functional.grid_sample(images, grid, align_corners=True), atol=1e-4)
    pixels = torch.cat(moves) * 31 / 2
    assert 3.5 < float(pixels.abs().max()) <= 4


def test_gradients_pass_through_shifts() -> None:
    images = torch.rand(4, 3, 8, 8, generator=arrays.seeded(0)).requires_grad_()
    (slope,) = torch.autograd.grad(shift_flip(images, 2.0, flip=True, generator=arrays.seeded(1)).sum(), images)
    inner = slope[:, :, 3:5, 3:5]
    assert torch.allclose(inner, torch.ones_like(inner), atol=1e-5), "every inner pixel is shared out among four"


@pytest.mark.parametrize("name", ["tap", "hypo"])
def test_published_shift_is_four_pixels_and_may_be_a_fraction(name: str) -> None:
    assert parse(f"{name}[paper]", PROTECTORS, "protector").settings["shift"] == 4
    assert parse(f"{name}[shift=1.5]", PROTECTORS, "protector").settings["shift"] == 1.5


def test_tap_keeps_one_restart_for_the_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tap.CRAFTING + 10, (1, 8, 8), 3)
    data = data.with_pixels(torch.full_like(data.pixels, 128))
    losses = iter([1.0, 9.0, 5.0, 1.0, 4.0, 7.0])  # two batches in each of three restarts
    levels = iter([1, 1, 2, 2, 3, 3])

    def attack(self: object, model: object, task: object, images: torch.Tensor, *_: object) -> tuple[Any, float]:
        return torch.full_like(images, next(levels) / 255), next(losses)

    monkeypatch.setattr(tap.TargetedPoisoning, "_attack", attack)
    method = tap.TargetedPoisoning(epochs=1, restarts=3, surrogate=SMALL)
    protected = method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert (protected.pixels.int() - 128).unique().tolist() == [2], "5 + 1 is less than 1 + 9 and 4 + 7"


@pytest.mark.parametrize("mode", ["targeted", "untargeted"])
def test_tap_judges_a_restart_by_its_last_shifted_pass(mode: str) -> None:
    data = make_data(12, (3, 10, 10), 3)
    task = classification()(data)
    model = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0)).eval()
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    method = tap.TargetedPoisoning(mode=mode, steps=1, shift=2.0)
    noise, found = method._attack(model, task, images, target, arrays.seeded(3))
    draws = arrays.seeded(3)
    start = pgd.project(method.eps * torch.randn(images.shape, generator=draws), images, eps=method.eps)
    seen = model(shift_flip(images + start, 2.0, flip=True, generator=draws))
    wanted = task.loss(seen, (target + 1) % 3).sum() if mode == "targeted" else -task.loss(seen, target).sum()
    assert found == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert not torch.equal(noise, start), "the last step comes after the pass that is judged"


def test_tap_trains_its_surrogate_on_the_shifts_it_attacks() -> None:
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.flatten(1)[:, :3]

    data = make_data(4, (3, 8, 8), 3)
    images, target = arrays.unit_images(data.pixels), data.targets["label"]
    tap.on_shifts(classification()(data), Watching(), images, target, arrays.seeded(0), reach=2.0, flip=True)
    assert torch.equal(seen[0], shift_flip(images, 2.0, flip=True, generator=arrays.seeded(0)))


def test_hypo_trains_at_a_constant_rate_and_starts_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    real_training, real_descent = hypo.trained, pgd.descend

    def trained(*args: Any, **settings: Any) -> Any:
        told.append((args[3], settings["loss"]))
        return real_training(*args, **settings)

    def descend(images: torch.Tensor, noise: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        if settings["steps"] == 3:
            told.append((noise, settings["step_size"]))
        return real_descent(images, noise, *args, **settings)

    monkeypatch.setattr(hypo, "trained", trained)
    monkeypatch.setattr(pgd, "descend", descend)
    data = make_data(20)
    method = parse(f"hypo[epochs=1,steps=3,surrogate={SMALL}]", PROTECTORS, "protector").build()
    method.protect(data, classification()(data), generator=arrays.seeded(0))
    (recipe, loss), (start, step_size) = told[0], told[-1]
    assert (recipe.schedule, recipe.lr, recipe.weight_decay) == ("constant", 0.1, 5e-4)
    assert loss.keywords == {"eps": 2 / 255}
    assert not start.any()
    assert step_size == pytest.approx(0.8 / 255)
    assert parse("hypo[paper]", PROTECTORS, "protector").settings["epochs"] == 10


@pytest.mark.parametrize("name", ["rem", "sem"])
def test_the_robust_surrogate_learns_noise_of_8_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[torch.Tensor] = []
    real = rem.crop_flip

    def watch(images: torch.Tensor, **settings: Any) -> torch.Tensor:
        if not images.requires_grad:
            learned.append(images * 255)
        return real(images, **settings)

    monkeypatch.setattr(rem, "crop_flip", watch)
    data = make_data(20)
    method = parse(f"{name}[iterations=2,steps=2,inner_steps=2,surrogate={SMALL}]", PROTECTORS, "protector").build()
    method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert len(learned) == 2
    levels = torch.cat(learned)
    assert torch.allclose(levels, levels.round(), atol=1e-3)


def test_class_wise_em_trains_on_all_images_and_moves_noise_on_a_fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, moved = set[int](), set[int]()
    real = em._load

    def watch(data: Data, task: object, batch: torch.Tensor, noise: torch.Tensor, model: nn.Module) -> Any:
        (trained if model.training else moved).update(data.ids[batch].tolist())
        return real(data, task, batch, noise, model)  # type: ignore[arg-type]

    monkeypatch.setattr(em, "_load", watch)
    data = make_data(200, classes=2)
    method = parse(f"em:class[rounds=1,train_steps=8,batch_size=32,surrogate={SMALL}]", PROTECTORS, "protector").build()
    method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert len(trained) == 200
    assert len(moved) == 40

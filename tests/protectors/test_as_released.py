"""Protectors do what their released code does, where a reading of that code showed a difference."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS, em, entf, mi_ue, rem, surrogate, tap
from howfar.protectors.delusive import universal_step
from howfar.protectors.gue import worst_wrong
from howfar.protectors.transforms import shift_flip
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import pgd

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
    real_training, real_descent = surrogate.trained, pgd.descend

    def trained(*args: Any, **settings: Any) -> Any:
        told.append((args[3], settings["loss"]))
        return real_training(*args, **settings)

    def descend(images: torch.Tensor, noise: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        if settings["steps"] == 3:
            told.append((noise, settings["step_size"]))
        return real_descent(images, noise, *args, **settings)

    monkeypatch.setattr(surrogate, "trained", trained)
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


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_entf_moves_features_of_shifted_images(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts: list[tuple[float, bool]] = []
    chosen: list[torch.Tensor] = []
    real_shift, real_choice = entf.shift_flip, entf.nearest_other

    def shift(images: torch.Tensor, reach: float, **settings: Any) -> torch.Tensor:
        shifts.append((reach, settings["flip"]))
        return real_shift(images, reach, **settings)

    def choose(found: torch.Tensor, *rest: Any) -> torch.Tensor:
        chosen.append(found)
        return real_choice(found, *rest)

    monkeypatch.setattr(entf, "shift_flip", shift)
    monkeypatch.setattr(entf, "nearest_other", choose)
    data = make_data(20)
    method = parse(f"entf:{mode}[epochs=1,steps=3,surrogate={SMALL}]", PROTECTORS, "protector").build()
    method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert shifts == [(4.0, True)] * 3
    assert len(chosen) == (3 if mode == "pull" else 0), "the nearest centroid is found anew in every step"


def test_universal_noise_moves_images_of_all_classes() -> None:
    data = make_data(9, (3, 8, 8), 3)
    task = classification()(data)
    model = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0)).eval()
    images, start = arrays.unit_images(data.pixels), torch.zeros(2, 3, 8, 8)
    aims = torch.tensor([2, 0])
    found = universal_step(model, task, images, start, aims, 0.1, 5.0)
    for aim, noise in zip(aims.tolist(), found, strict=True):
        moved = torch.zeros(3, 8, 8, requires_grad=True)
        loss = nn.functional.cross_entropy(model(images + moved), torch.full((9,), aim))
        (slope,) = torch.autograd.grad(loss, moved)
        assert torch.allclose(noise, -0.1 * slope / slope.norm(), atol=1e-5)
    lengths = universal_step(model, task, images, found, aims, 9.0, 0.5).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.full((2,), 0.5), atol=1e-5)


@pytest.mark.parametrize(("kind", "aims"), [("p3", [1, 2, 0]), ("p4", [0, 1, 2])])
def test_delusive_noise_of_a_class_aims_at_its_class_or_the_next(
    kind: str, aims: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[int]] = []

    def step(model: object, task: object, images: object, noise: Tensor, toward: Tensor, *_: float) -> Tensor:
        called.append(toward.tolist())
        return (toward / 255).view(-1, 1, 1, 1).expand_as(noise)

    monkeypatch.setattr("howfar.protectors.delusive.universal_step", step)
    data = make_data(12)
    data = data.with_pixels(torch.full_like(data.pixels, 128))
    method = parse(f"delusive:{kind}[epochs=1,steps=2,surrogate={SMALL}]", PROTECTORS, "protector").build()
    protected = method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert called == [aims] * 10, "five times as many steps, as released"
    for label, aim in enumerate(aims):
        assert (protected.pixels[data.targets["label"] == label] == 128 + aim).all()


@pytest.mark.parametrize(("kind", "shift"), [("p1", 1), ("p2", 0)])
def test_delusive_noise_of_an_image_aims_at_its_class_or_the_next(
    kind: str, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[nn.Module] = []
    real = surrogate.freeze
    monkeypatch.setattr("howfar.protectors.delusive.freeze", lambda model: (real(model), frozen.append(model)))
    data = make_data(12, (3, 8, 8), 3)
    data = data.with_pixels(torch.randint(90, 160, data.pixels.shape, generator=arrays.seeded(0), dtype=torch.uint8))
    method = PROTECTORS["delusive"](kind=kind, epochs=1, steps=3, eps=8.0, surrogate="resnet8[width=8]")
    found = method.protect(data, classification()(data), generator=arrays.seeded(0)).pixels
    images, noise = arrays.unit_images(data.pixels), torch.zeros(12, 3, 8, 8)
    radius = 8 * (3 * 8 * 8 / 3072) ** 0.5  # at 8×8 a quarter of that at 32×32
    assert radius == 2
    aims = (data.targets["label"] + shift) % 3
    for _ in range(3):
        noise.requires_grad_()
        loss = nn.functional.cross_entropy(frozen[0](images + noise), aims, reduction="sum")
        (slope,) = torch.autograd.grad(loss, noise)
        noise = noise.detach() - radius / 5 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        noise = noise * (radius / noise.flatten(1).norm(dim=1).clamp_min(radius)).view(-1, 1, 1, 1)
        noise = (images + noise).clamp(0, 1) - images
    expected = (data.pixels.int() + (noise * 255).round().int()).clamp(0, 255)
    assert float(((found.int() - expected).abs() <= 1).double().mean()) > 0.999
    assert float((found.int() == expected).double().mean()) > 0.97


def test_delusive_noise_of_p5_is_one_direction_a_class_of_the_full_length() -> None:
    data = make_data(12, (3, 16, 16), 3)
    data = data.with_pixels(torch.full_like(data.pixels, 128))
    method = PROTECTORS["delusive"](kind="p5", eps=4.0)
    noise = (method.protect(data, classification()(data), generator=arrays.seeded(0)).pixels.int() - 128).float() / 255
    drawn = torch.randn(3, 3, 16, 16, generator=arrays.seeded(0))
    unit = 2 * drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(noise, unit[data.targets["label"]], atol=0.5 / 255 + 1e-6), "2 at 16×16 is 4 at 32×32"


def test_gue_takes_the_wrong_class_that_is_least_likely() -> None:
    task = classification()(make_data(6, classes=3))
    output = torch.tensor([[3.0, 0.0, -1.0], [0.0, -2.0, 1.0]])
    chances = output.log_softmax(1)
    assert torch.allclose(worst_wrong(task, output, torch.tensor([2, 1])), -torch.stack([chances[0, 1], chances[1, 0]]))
    settings = parse("gue[paper]", PROTECTORS, "protector").settings
    assert (settings["momentum"], settings["clip"]) == (0, 0)


def test_mi_ue_compares_sums_with_the_image_itself_among_them() -> None:
    found = torch.randn(5, 4, generator=arrays.seeded(0)).double()
    labels = torch.tensor([0, 0, 0, 1, 2])
    unit = found / found.norm(dim=1, keepdim=True)
    for i, loss in enumerate(mi_ue.alike(found, labels, 0.5)):
        similar = [math.exp(float(unit[i] @ unit[j]) / 0.5) for j in range(5)]
        same = sum(value for value, label in zip(similar, labels.tolist(), strict=True) if label == labels[i])
        assert float(loss) == pytest.approx(-math.log(same / sum(similar)), rel=1e-6)


@pytest.mark.parametrize("name", ["mi-ue", "aue"])
def test_surrogates_of_augmented_methods_are_not_clipped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told, sizes = list[tuple[float, float]](), list[float]()
    real, descend = surrogate.clipped_step, pgd.descend

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, *, norm: float) -> None:
        told.append((norm, optimizer.param_groups[0]["weight_decay"]))
        real(model, optimizer, loss, norm=norm)

    def watch(*args: Any, **settings: Any) -> torch.Tensor:
        sizes.append(settings["step_size"] * 255)
        return descend(*args, **settings)

    monkeypatch.setattr("howfar.protectors.minmin.clipped_step", step)
    monkeypatch.setattr(pgd, "descend", watch)
    data = make_data(20)
    method = parse(f"{name}[rounds=4,steps=10,surrogate={SMALL}]", PROTECTORS, "protector").build()
    method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert told == [(math.inf, 1e-4)] * 4
    assert sizes == pytest.approx([0.2, 0.25, 0.3, 0.35] if name == "mi-ue" else [0.8] * 4)


def test_pil_noise_is_projected_on_the_images_at_the_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    real = pgd.add_rounded
    monkeypatch.setattr(
        pgd, "add_rounded", lambda pixels, noise, eps: seen.append(noise) or real(pixels, noise, eps=eps)
    )
    data = make_data(12)
    data = data.with_pixels(torch.full_like(data.pixels, 255))
    PROTECTORS["pil"](epochs=1, steps=3).protect(data, classification()(data), generator=arrays.seeded(0))
    assert float(seen[0].max()) > 5 / 255, "white images have no room above, and the noise does not know"


def test_pil_noise_shows_the_class_to_two_matrices_that_see_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise of every image by plain signed steps from the same start, against the same surrogate."""
    frozen: list[tuple[nn.Module, Tensor]] = []
    recipes: list[Any] = []
    generator = arrays.seeded(0)
    real_training, real_freezing = surrogate.trained, surrogate.freeze

    def freeze(model: nn.Module) -> None:
        real_freezing(model)
        frozen.append((model, generator.get_state()))

    def trained(*args: Any, **settings: Any) -> Any:
        recipes.append(args[3])
        return real_training(*args, **settings)

    monkeypatch.setattr("howfar.protectors.pil.freeze", freeze)
    monkeypatch.setattr("howfar.protectors.pil.trained", trained)
    data = make_data(30, (3, 8, 9), 3)
    method = PROTECTORS["pil"](epochs=2, steps=4, blind=0.4, eps=16 / 255)
    found = method.protect(data, classification()(data), generator=generator).pixels
    recipe = recipes[0]
    assert (recipe.epochs, recipe.lr, recipe.weight_decay, recipe.batch_size) == (2, 0.003, 0, 512)
    assert (recipe.crop, recipe.flip) == (0, False)
    model, state = frozen[0]
    first, second = (weight.double() for weight in model.parameters())
    assert (first.shape, second.shape) == ((3, 216), (3, 3)), "no biases"
    draws = torch.Generator()
    draws.set_state(state)
    images, target = arrays.unit_images(data.pixels).double().flatten(1), data.targets["label"]
    eps = 16 / 255
    noise = torch.empty(30, 3, 8, 9).uniform_(-eps, eps, generator=draws).flatten(1).double()
    for _ in range(4):
        seen = (noise @ first.T @ second.T).softmax(1) - nn.functional.one_hot(target, 3)
        left = ((images - noise) @ first.T @ second.T).softmax(1) - 1 / 3
        slope = (0.6 * seen - 0.4 * left) @ second @ first  # noise goes into the second term with the other sign
        noise = (noise - eps / 10 * slope.sign()).clamp(-eps, eps)
    expected = (data.pixels.int() - (noise.view(30, 3, 8, 9) * 255).round().int()).clamp(0, 255)
    assert float((found.int() == expected).double().mean()) > 0.99
    single = PROTECTORS["pil"](epochs=1, steps=1, step_size=0.5, eps=16 / 255)
    flat = data.with_pixels(torch.full_like(data.pixels, 128))
    change = single.protect(flat, classification()(flat), generator=arrays.seeded(0)).pixels.int() - 128
    assert change.abs().unique().tolist() == [16], "a step of half the range reaches the edge everywhere"


def test_aap_noise_starts_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[torch.Tensor] = []
    real = pgd.descend

    def watch(images: torch.Tensor, noise: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        starts.append(noise)
        return real(images, noise, *args, **settings)

    monkeypatch.setattr(pgd, "descend", watch)
    data = make_data(20)
    method = parse(f"aap[epochs=1,steps=2,surrogate={SMALL}]", PROTECTORS, "protector").build()
    method.protect(data, classification()(data), generator=arrays.seeded(0))
    assert starts
    assert not any(start.any() for start in starts)

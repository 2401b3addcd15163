"""Defenses against independent re-implementations of what their released code does."""

import io
import math
import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from scipy.fft import dctn, idctn
from torch import Tensor, nn

from howfar import arrays
from howfar.data import Data
from howfar.defend import DEFENSES, Chain, Learner
from howfar.defend.cutmix import rectangles
from howfar.defend.diffusion_purify import _purified
from howfar.defend.orthogonal_projection import basis_of, fitted_weights
from howfar.defend.sharpen_dct import _kernels
from howfar.models import MODELS, build
from howfar.spec import parse
from howfar.tasks import Task, classification
from howfar.training import Recipe

from ..conftest import make_data

ueraser = import_module("howfar.defend.ueraser")  # the package gives the function of that name
TASK = classification()(make_data(12, (3, 16, 16)))
QUICK = Recipe(epochs=1, batch_size=8, crop=0, flip=False)
LABELS = torch.arange(12) % 3


def loss_of(text: str, inner: Any, images: Tensor, *, done: float = 0.0, seed: int = 0, model: Any = None) -> Tensor:
    around = Chain.parse(text, DEFENSES).build().around
    targets = LABELS[: len(images)]
    return around(inner, done)(TASK, model or nn.Identity(), images, targets, arrays.seeded(seed))


def seen_by(text: str, images: Tensor, **more: Any) -> list[Tensor]:
    """Return the batches that reach the network."""
    seen: list[Tensor] = []

    def inner(task: Task, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images.detach())
        return torch.zeros(len(images))

    loss_of(text, inner, images, **more)
    return seen


def purified(text: str, data: Data) -> Tensor:
    return Chain.parse(text, DEFENSES).build().purify(data, Learner(TASK, QUICK)).pixels


def pictures(data: Data) -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.pixels]


def stacked(images: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


# on the images, once


def test_gray_bdr_and_jpeg_are_pillows() -> None:
    data = make_data(40, (3, 32, 32), seed=3)
    assert torch.equal(purified("gray", data), stacked([one.convert("L").convert("RGB") for one in pictures(data)]))
    assert torch.equal(purified("bdr", data), stacked([ImageOps.posterize(one, 2) for one in pictures(data)]))
    decoded = []
    for one in pictures(data):
        file = io.BytesIO()
        one.save(file, "JPEG", quality=10)
        decoded.append(Image.open(file))
    assert torch.equal(purified("jpeg", data), stacked(decoded))


def test_gray_rounds_as_pillow_does_for_all_shades_of_a_plane() -> None:
    red, green = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    pixels = torch.stack([red, green, (red * 7 + green * 13) % 256])[None].to(torch.uint8)
    data = Data(pixels=pixels, targets={"label": torch.zeros(1, dtype=torch.int64)}, ids=torch.zeros(1).long())
    assert torch.equal(purified("gray", data), stacked([one.convert("L").convert("RGB") for one in pictures(data)]))


@pytest.mark.parametrize("kernel", [3, 5])
def test_median_repeats_the_border(kernel: int) -> None:
    data = make_data(6, (3, 9, 12))
    found = ndimage.median_filter(data.pixels.numpy(), size=(1, 1, kernel, kernel), mode="nearest")
    assert torch.equal(purified(f"median[kernel={kernel}]", data), torch.from_numpy(found))


def test_gaussian_of_the_paper_is_the_released_one() -> None:
    with pytest.warns(UserWarning, match="not a defense"):
        Chain.parse("gaussian[paper]", DEFENSES).build()
    assert parse("gaussian[paper]", DEFENSES, "defense").settings["sigma"] == 0.1
    assert parse("dfr[paper]", DEFENSES, "defense").settings["draws"] == 20


def middling(n: int = 48, shape: tuple[int, int, int] = (3, 8, 8)) -> Data:
    """Return images so near to gray that no projection takes them out of [0, 1]."""
    data = make_data(n, shape)
    return data.with_pixels((118 + data.pixels // 14).to(torch.uint8))


def test_orthogonal_projection_is_fitted_as_released() -> None:
    """A linear layer without bias, plain SGD 0.1, the same batches in every epoch, MultiStepLR at 1/2 and 3/4."""
    data, epochs, size = make_data(50, (3, 8, 8)), 8, 16
    own = Learner(classification()(data), QUICK, seed=4)
    generator = own.generator("projection")
    layer = nn.Linear(192, 3, bias=False)
    bound = 1 / math.sqrt(192)
    layer.weight.data.uniform_(-bound, bound, generator=generator)
    order = torch.randperm(50, generator=generator)
    images, labels = arrays.unit_images(data.pixels).flatten(1)[order], data.targets["label"][order]
    for epoch in range(epochs):
        rate = 0.1 if epoch < 4 else 0.01 if epoch < 6 else 0.001
        for start in range(0, 50, size):
            x, y = images[start : start + size], labels[start : start + size]
            wrong = (x @ layer.weight.T).softmax(1) - nn.functional.one_hot(y, 3)
            layer.weight.data -= rate * (wrong.T @ x / len(x)).detach()
    found = fitted_weights(data, own, fit="released", epochs=epochs, batch_size=size)
    assert torch.allclose(found, layer.weight, atol=1e-5)


@pytest.mark.parametrize("fit", ["released", "momentum"])
def test_orthogonal_projection_takes_off_what_the_weights_span(fit: Any) -> None:
    data = middling()
    own = Learner(classification()(data), QUICK)
    weights = fitted_weights(data, own, fit=fit, epochs=20, batch_size=1024).double().numpy()
    q, _ = np.linalg.qr((weights / np.linalg.norm(weights, axis=1, keepdims=True)).T)
    if fit == "momentum":  # from zero, the weights of all classes add up to zero
        q = q[:, :-1]
    flat = arrays.unit_images(data.pixels).flatten(1).double().numpy()
    expected = flat - (flat - flat.mean(0)) @ q @ q.T
    assert expected.min() > 0.1
    assert expected.max() < 0.9
    found = Chain.parse(f"orthogonal-projection:{fit}", DEFENSES).build().purify(data, own).pixels
    assert np.abs(found.flatten(1).numpy() - expected * 255).max() < 0.502


def test_directions_count_relative_to_the_largest() -> None:
    rows = torch.randn(4, 60, generator=arrays.seeded(0))
    uneven = rows * torch.tensor([1.0, 1e-7, 1e3, 1e-3])[:, None]
    assert basis_of(uneven).shape == (60, 4), "small weights are directions too"
    dependent = torch.cat([rows, -rows.sum(0, keepdim=True)])
    for scale in (1e-9, 1.0, 1e9):
        basis = basis_of(scale * dependent)
        assert basis.shape == (60, 4), "rounding noise is none"
        assert torch.allclose(basis.T @ basis, torch.eye(4), atol=1e-5)


def test_diffusion_counts_its_steps_from_one() -> None:
    """AVATAR's 100 steps of noise leave ᾱ of index 99, and the first step back is step 99."""
    kept = torch.linspace(0.999, 0.1, 200)
    asked: list[int] = []
    states: list[Tensor] = []

    class Net:
        def __call__(self, state: Tensor, step: int) -> Any:
            asked.append(step)
            states.append(state)
            return type("Output", (), {"sample": torch.zeros_like(state)})

    images = torch.rand(2, 3, 8, 8, generator=arrays.seeded(0))
    _purified(Net(), kept, images, 100, 5, arrays.seeded(1))
    noise = torch.randn(images.shape, generator=arrays.seeded(1))
    assert torch.allclose(states[0], kept[99].sqrt() * (2 * images - 1) + (1 - kept[99]).sqrt() * noise)
    assert asked == list(range(99, 0, -5))


# in every batch


def test_cutmix_cuts_the_released_rectangles() -> None:
    shape, area = (13, 32), torch.rand(200, generator=arrays.seeded(0))
    generator = arrays.seeded(1)
    centers = [torch.randint(length, (200, 1), generator=generator).flatten().tolist() for length in shape]
    expected = torch.zeros(200, *shape, dtype=torch.bool)
    for n in range(200):
        bounds = []
        for length, center in zip(shape, (centers[0][n], centers[1][n]), strict=True):
            cut = int(length * math.sqrt(float(area[n])))
            bounds.append((max(center - cut // 2, 0), min(center + cut // 2, length)))
        (top, bottom), (left, right) = bounds
        expected[n, top:bottom, left:right] = True
    assert torch.equal(rectangles(shape, area, arrays.seeded(1)), expected)


def test_coin_is_scipys_interpolation() -> None:
    images = torch.rand(2, 3, 9, 7, generator=arrays.seeded(0))
    (found,) = seen_by("coin", images, seed=5)
    rows, columns = (torch.rand(2, 2, 9, 7, generator=arrays.seeded(5)) * 2 - 1) * 2
    for n in range(2):
        y, x = np.mgrid[:9, :7]
        places = np.stack([y + rows[n].numpy(), x + columns[n].numpy()])
        for channel in range(3):
            expected = ndimage.map_coordinates(images[n, channel].numpy(), places, order=1, mode="wrap")
            assert np.allclose(found[n, channel].numpy(), expected, atol=1e-5)


def test_sharpening_kernels_have_four_random_neighbors() -> None:
    kernels = _kernels(4000, 2.5, arrays.seeded(0)).view(-1, 9)
    assert not kernels[:, [0, 2, 6, 8]].any()
    center, around = kernels[:, 4], -kernels[:, [1, 3, 5, 7]]
    assert abs(float(center.mean()) - 2.5) < 0.01
    assert abs(float(center.std()) - 0.1) < 0.01
    rest = around - (center[:, None] - 1) / 4
    assert abs(float(rest.mean())) < 0.005
    assert abs(float(rest.std()) - 0.1) < 0.005


def test_sharpen_dct_keeps_the_lowest_rows_and_columns() -> None:
    images = torch.rand(3, 3, 32, 20, generator=arrays.seeded(0))
    (found,) = seen_by("sharpen-dct", images, seed=2)
    kernels = _kernels(3, 2.5, arrays.seeded(2))
    for n in range(3):
        for channel in range(3):
            sharp = ndimage.correlate(images[n, channel].numpy(), kernels[n, 0].numpy(), mode="nearest").clip(0, 1)
            spectrum = dctn(sharp, norm="ortho")
            spectrum[9:], spectrum[:, 6:] = 0, 0  # int(0.3 · 32) rows, int(0.3 · 20) columns
            expected = idctn(spectrum, norm="ortho").clip(0, 1)
            assert np.allclose(found[n, channel].numpy(), expected, atol=1e-5)


def network() -> nn.Module:
    """Return a network in training mode whose batch normalizations have seen images."""
    model = build(MODELS["resnet8"](width=4), (3, 16, 16), 3, generator=arrays.seeded(0))
    with torch.no_grad():
        for seed in range(30):
            model(torch.rand(16, 3, 16, 16, generator=arrays.seeded(seed)))
    return model


def plain(task: Task, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
    return task.loss(model(images), targets)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_training_starts_at_normal_noise_of_one_step(norm: str) -> None:
    model, eps = network(), 8 / 255 if norm == "linf" else 0.5
    step, low, high = eps / 4, 0.3, 0.7
    images = low + (high - low) * torch.rand(6, 3, 16, 16, generator=arrays.seeded(0))
    drawn = torch.randn(images.shape, generator=arrays.seeded(7))

    def length(values: Tensor) -> Tensor:
        return values.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    model.eval()
    x = images + step * (drawn.clamp(-4, 4) if norm == "linf" else drawn / length(drawn))
    for _ in range(10):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), LABELS[:6], reduction="sum"), x)
        assert (gradient != 0).float().mean() > 0.9
        x = x.detach()
        if norm == "linf":
            x = (x + step * gradient.sign()).clamp(images - eps, images + eps)
        else:
            change = x + step * gradient / length(gradient) - images
            x = images + change * (eps / length(change)).clamp(max=1)
    model.train()
    seen: list[Tensor] = []

    def inner(task: Task, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images.detach())
        return task.loss(model(images), targets)

    loss_of(f"at[norm={norm},eps={eps}]", inner, images, seed=7, model=model)
    same = (seen[-1] - x).abs() < 1e-5
    assert same.float().mean() > 0.999  # a gradient of nearly zero may have either sign
    assert model.training


POLICIES = {
    "released": (0.5, 1, "none"),
    "released-jpeg": (0.5, 1, "after"),
    "apbench": (1.0, 5, "none"),
    "apbench-jpeg": (0.8, 5, "before"),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_ueraser_compares_views_in_training_mode_and_learns_the_worst(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plasma, passes, _ = POLICIES[policy]
    chances: list[list[float]] = []

    def identity(
        steps: Any, task: Task, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        chances.append([step.p for step in steps[:3]])
        return images, targets

    monkeypatch.setattr(ueraser, "augmented", identity)
    model, losses = network(), []

    def inner(task: Task, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        assert model.training
        assert torch.equal(targets, LABELS[:8].repeat(len(images) // 8))
        losses.append(torch.rand(len(images), generator=generator))
        return losses[-1]

    images = torch.rand(8, 3, 16, 16, generator=arrays.seeded(0))
    found = loss_of(f"ueraser:max[policy={policy}]", inner, images, model=model)
    assert [len(some) for some in losses] == [40 // passes] * passes
    assert torch.equal(found, torch.cat(losses).view(5, 8).amax(0))
    assert chances == [[plasma, plasma, 0.5]] * passes


@pytest.mark.parametrize("policy", POLICIES)
def test_ueraser_compresses_as_its_policy_says(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def darker(
        steps: Any, task: Task, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        order.append("views")
        return images * 0.5, targets

    real = ueraser.compressed

    def recorded(pixels: Tensor, quality: int) -> Tensor:
        order.append(f"jpeg {quality}")
        return real(pixels, quality)

    monkeypatch.setattr(ueraser, "augmented", darker)
    monkeypatch.setattr(ueraser, "compressed", recorded)
    images = (torch.rand(4, 3, 16, 16, generator=arrays.seeded(0)) * 255).round() / 255
    when = POLICIES[policy][2]
    qualities = set()
    for seed in range(30):
        order.clear()
        (seen,) = seen_by(f"ueraser:lite[policy={policy}]", images, seed=seed)
        assert [step.split()[0] for step in order] == {
            "none": ["views"], "after": ["views", "jpeg"], "before": ["jpeg", "views"],
        }[when]  # fmt: skip
        qualities |= {int(step.split()[1]) for step in order if step.startswith("jpeg")}
        if when == "after":
            expected = real((images * 0.5 * 255).round().to(torch.uint8), 10) / 255
            assert torch.allclose(seen, expected, atol=1e-6)
    if when == "before":
        assert len(qualities) > 10
        assert min(qualities) >= 10
        assert max(qualities) <= 99
    else:
        assert qualities == ({10} if when == "after" else set())


def test_ueraser_of_the_paper_is_the_default() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse("ueraser[paper]", DEFENSES, "defense") == parse("ueraser", DEFENSES, "defense")

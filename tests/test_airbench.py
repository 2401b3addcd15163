"""The airbench network: its whitening layer, its sizes, and where frozen weights count."""

from dataclasses import replace

import pytest
import torch

from howfar import arrays
from howfar.data import Data, Splits
from howfar.errors import UsageError
from howfar.models import MODELS, build, fit_images
from howfar.models.build import weight_names
from howfar.models.whitening import Whitening, principal_components
from howfar.probe import trajectory
from howfar.spec import parse
from howfar.tasks import Task
from howfar.training import Recipe, train

from .conftest import make_data


def smooth(n: int = 40, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> Data:
    """Return images whose neighboring pixels are alike, as those of photographs are."""
    data = make_data(n, shape, seed=seed)
    noise = data.pixels.float()
    blurred = noise + noise.roll(1, 2) + noise.roll(1, 3) + noise.roll((1, 1), (2, 3))
    return data.with_pixels((blurred / 4).round().to(torch.uint8))


@pytest.mark.parametrize(
    ("size", "shape", "channels"),
    [
        ("small", (3, 32, 32), [12, 32, 64, 64]), ("medium", (3, 32, 32), [12, 32, 128, 128]),
        ("full", (3, 32, 32), [12, 64, 256, 256]), ("32-64-128", (3, 64, 64), [12, 32, 64, 128]),
        ("8-8-8", (1, 28, 28), [4, 8, 8, 8]), ("8-8-8", (1, 8, 8), [4, 8, 8, 8]),
    ],
)  # fmt: skip
def test_sizes_have_these_channels_at_every_image_size(
    size: str, shape: tuple[int, int, int], channels: list[int]
) -> None:
    model = build(parse(f"airbench:{size}", MODELS, "model").build(), shape, 10, generator=arrays.seeded(0))
    convs = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [2 * channels[0], *channels[1:]] == [convs[0].in_channels, *(conv.out_channels for conv in convs[::2])]
    assert model(torch.rand(2, *shape)).shape == (2, 10)


def test_sizes_that_make_no_sense_are_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="small, medium, full or three numbers"):
        parse("airbench:huge", MODELS, "model")
    assert parse("airbench:small", MODELS, "model").label == "airbench"
    assert parse("airbench[size=32-64-128]", MODELS, "model").label == "airbench:32-64-128"


def test_whitened_patches_are_uncorrelated_with_unit_variance() -> None:
    data, layer = smooth(), Whitening(3)
    layer.fit_images(data)
    out = layer(arrays.unit_images(data.pixels)).detach()
    found = torch.cov(out[:, :12].transpose(0, 1).flatten(1))
    assert torch.allclose(found, torch.eye(12), atol=0.02)
    assert torch.allclose(out[:, :12], -out[:, 12:], atol=1e-4)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(24), atol=1e-3)


def test_whitening_depends_on_the_images_and_not_on_their_order() -> None:
    data = smooth()
    mixed = data.take(torch.randperm(len(data), generator=arrays.seeded(1)))
    rows = [principal_components(some) for some in (data, mixed, smooth(seed=1))]
    assert all(torch.equal(a, b) for a, b in zip(rows[0], rows[1], strict=True))
    assert not torch.equal(rows[0][0], rows[2][0])


def test_the_sign_of_a_component_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, eigh = smooth(), torch.linalg.eigh
    before, _ = principal_components(data)

    def turned(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = eigh(matrix)
        return values, -vectors * (1 + 1e-13)

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    assert torch.allclose(principal_components(data)[0], before, rtol=1e-9)


def test_whitening_survives_images_without_contrast() -> None:
    data = make_data().with_pixels(torch.full_like(make_data().pixels, 128))
    layer = Whitening(3)
    layer.fit_images(data)
    assert torch.isfinite(layer(arrays.unit_images(data.pixels))).all()


def test_color_does_not_reach_a_layer_that_was_fitted_to_grayscale_images() -> None:
    """Amplified, the color of test images kept clean victims under ``gray`` at chance."""
    data, layer = smooth(), Whitening(3)
    layer.fit_images(data.with_pixels(data.pixels[:, :1].expand_as(data.pixels).contiguous()))
    images = torch.rand(4, 3, 32, 32, generator=arrays.seeded(0))
    colored = images + torch.tensor([0.2, -0.3, 0.1])[:, None, None] * images[:, :1]
    assert torch.allclose(layer(images), layer(colored), atol=1e-4)
    assert not torch.allclose(layer(images), layer(images / 2), atol=0.1)
    assert (layer.weight.flatten(1).norm(dim=1) > 1).all()  # a constant channel has exploding gradients


def test_training_fits_the_layer_once_to_what_the_learner_has(digits: Splits, task: Task) -> None:
    model = build(MODELS["airbench"]("4-4-4"), digits.train.shape, 10, generator=arrays.seeded(0))
    expected = Whitening(1)
    expected.fit_images(digits.train)
    list(train(model, digits.train, task, Recipe(epochs=1, lr=0.01, crop=0, flip=False)))
    state = model.state_dict()
    assert torch.equal(state["whitening.weight"], expected.weight)
    fit_images(model, replace(digits.test))
    assert torch.equal(model.state_dict()["whitening.weight"], expected.weight)


def test_frozen_weights_are_no_layers_of_sal() -> None:
    model = build(MODELS["airbench"](), (3, 32, 32), 10, generator=arrays.seeded(0))
    assert weight_names(model) == [
        *(f"groups.{group}.conv{conv}.weight" for group in range(3) for conv in (1, 2)), "head.weight",
    ]  # fmt: skip
    assert "whitening.bias" in weight_names(model, ("biases",))


def test_a_path_starts_at_the_fitted_layer_and_gives_the_network_back(digits: Splits, task: Task) -> None:
    def fresh() -> torch.nn.Module:
        return build(MODELS["airbench"]("4-4-4"), digits.train.shape, 10, generator=arrays.seeded(0))

    model, again = fresh(), fresh()
    path = trajectory(model, digits.train, task, Recipe(epochs=1, lr=0.01, crop=0, flip=False))
    assert not path.moved["whitening.weight"].any()
    again.load_state_dict(path.state(len(path) - 1), strict=False)
    images = arrays.to_images(digits.test.pixels[:20], torch.device("cpu"))
    assert torch.allclose(model.eval()(images), again.eval()(images), atol=1e-5)

"""Random views against the same draws, worked out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from howfar import arrays
from howfar.protectors.transforms import (
    LUMINANCE,
    _choose,
    _gray,
    _jitter,
    _turn_hue,
    contrastive_view,
    resized_crop_flip,
    shift_flip,
)


def drawn(n: int, low: float, high: float, generator: Generator) -> np.ndarray:
    return low + (high - low) * torch.rand(n, generator=generator).double().numpy()


def test_hues_turn_by_a_third_of_a_circle_from_one_channel_to_the_next() -> None:
    images = torch.rand(4, 3, 2, 5, generator=arrays.seeded(0))
    angles = torch.tensor([0.0, 2 * math.pi / 3, -2 * math.pi / 3, 2 * math.pi])
    found = _turn_hue(images, angles)
    for image, out, order in zip(images, found, ([0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 1, 2]), strict=True):
        assert torch.allclose(out, image[order], atol=1e-5)
    half = _turn_hue(torch.tensor([0.6, 0.3, 0.3]).view(1, 3, 1, 1), torch.tensor([math.pi]))
    assert half.flatten().tolist() == pytest.approx([0.2, 0.5, 0.5], abs=1e-6), (
        "the mean stays 0.4, the rest turns round"
    )
    bright = _turn_hue(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), torch.tensor([math.pi]))
    assert bright.flatten().tolist() == pytest.approx([0, 2 / 3, 2 / 3], abs=1e-6), "−1/3 is cut off"


def test_jitter_changes_brightness_contrast_saturation_and_hue_as_drawn() -> None:
    images, strength = torch.rand(40, 3, 4, 5, generator=arrays.seeded(0)), 0.5
    found = _jitter(images, strength, arrays.seeded(1)).double().numpy()
    draws = arrays.seeded(1)
    brightness, contrast, saturation = (drawn(40, 0.8, 1.2, draws) for _ in range(3))
    hue = drawn(40, -0.05, 0.05, draws) * 2 * math.pi
    chosen = torch.rand(40, generator=draws).numpy() < 0.8
    assert 20 < chosen.sum() < 40
    for n, image in enumerate(images.double().numpy()):
        out = np.clip(image * brightness[n], 0, 1)
        mean = np.tensordot(LUMINANCE, out, 1).mean()
        out = np.clip(mean + (out - mean) * contrast[n], 0, 1)
        gray = np.tensordot(LUMINANCE, out, 1)
        out = np.clip(gray + (out - gray) * saturation[n], 0, 1)
        turned = _turn_hue(torch.from_numpy(out)[None], torch.tensor([hue[n]]))[0].numpy()
        assert np.allclose(found[n], turned if chosen[n] else image, atol=1e-5), n


def ramp(n: int, height: int, width: int) -> Tensor:
    """Return images whose value says the place: 10 a row in the first channel, 1 a column in the second."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([10.0 * rows, 1.0 * columns]).expand(n, -1, -1, -1)


@pytest.mark.parametrize("least", [1.0, 0.1])
def test_crops_are_resized_and_mirrored_as_drawn(least: float) -> None:
    n, height, width = 30, 6, 9
    found = resized_crop_flip(ramp(n, height, width), least, arrays.seeded(2)).double().numpy()
    draws = arrays.seeded(2)
    area, ratio = drawn(n, least, 1, draws), np.exp(drawn(n, math.log(3 / 4), math.log(4 / 3), draws))
    tall, wide = np.minimum(np.sqrt(area / ratio), 1), np.minimum(np.sqrt(area * ratio), 1)
    down, across = drawn(n, -1, 1, draws) * (1 - tall), drawn(n, -1, 1, draws) * (1 - wide)
    mirrored = torch.rand(n, generator=draws).numpy() < 0.5
    assert 5 < mirrored.sum() < 25
    for i in range(n):
        y, x = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))  # middles of pixels, from −1 to 1
        x = -x if mirrored[i] else x
        row, column = (((tall[i] * y + down[i] + 1) * height - 1) / 2, ((wide[i] * x + across[i] + 1) * width - 1) / 2)
        assert np.allclose(found[i, 0], 10 * np.clip(row, 0, height - 1)[:, None], atol=1e-3)
        assert np.allclose(found[i, 1], np.clip(column, 0, width - 1), atol=1e-3)


def test_views_are_crops_that_are_jittered_and_some_of_them_gray() -> None:
    images = torch.rand(600, 3, 4, 4, generator=arrays.seeded(0))
    crops = resized_crop_flip(images, 1.0, arrays.seeded(3)).clamp(0, 1)
    assert torch.equal(contrastive_view(images, 0.0, arrays.seeded(3)), crops), "only crops of the whole, and flips"
    views = contrastive_view(images, 0.5, arrays.seeded(4))
    draws = arrays.seeded(4)
    colored = _jitter(resized_crop_flip(images, 0.55, draws), 0.5, draws)
    gray = (views[:, 0] == views[:, 1]).flatten(1).all(1) & (views[:, 1] == views[:, 2]).flatten(1).all(1)
    assert 0.06 < float(gray.float().mean()) < 0.14, "0.2 times 0.5"
    assert torch.equal(views[~gray], colored.clamp(0, 1)[~gray])
    assert torch.allclose(views[gray], _gray(colored[gray]).expand(-1, 3, -1, -1).clamp(0, 1), atol=1e-6)
    single = images[:, :1]
    assert torch.equal(
        contrastive_view(single, 0.5, arrays.seeded(5)), resized_crop_flip(single, 0.55, arrays.seeded(5)).clamp(0, 1)
    ), "one channel has no color to change"


def test_a_share_of_the_images_is_changed() -> None:
    images, changed = torch.zeros(2000, 1, 2, 2), torch.ones(2000, 1, 2, 2)
    found = _choose(changed, images, 0.3, arrays.seeded(6)).flatten(1)
    assert (found == found[:, :1]).all()
    assert 0.26 < float(found.mean()) < 0.34


def test_what_neither_shifts_nor_flips_is_left_alone() -> None:
    images = torch.rand(3, 1, 4, 5, generator=arrays.seeded(0))
    generator = arrays.seeded(1)
    state = generator.get_state()
    assert shift_flip(images, 0.0, flip=False, generator=generator) is images
    assert torch.equal(generator.get_state(), state)
    flipped = shift_flip(images, 0.0, flip=True, generator=arrays.seeded(2))
    mirrored = torch.rand(3, generator=arrays.seeded(2)) < 0.5
    assert torch.allclose(flipped, torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images), atol=1e-5)
    narrow = torch.rand(2, 1, 1, 5, generator=arrays.seeded(3))
    assert torch.isfinite(shift_flip(narrow, 1.0, flip=False, generator=arrays.seeded(4))).all()

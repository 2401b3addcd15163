"""Noise is as strong as the eye forgives: weak and colored on smooth areas, the same for every photograph."""

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.photos.mask import AXES, LUMA, forgiven, hidden, shaped, steps
from howfar.photos.picture import REST, changed
from howfar.score.color import ciede2000, difference, lab, xyz

SIDE = 96


def noise(limit: int = 16) -> np.ndarray:
    signs = np.random.default_rng(0).choice([-1, 1], (SIDE // 8, SIDE // 8, 3))
    return (REST + limit * signs).repeat(8, 0).repeat(8, 1).astype(np.uint8)


def smooth(color: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), color)


def textured() -> Image.Image:
    gray = np.random.default_rng(1).integers(0, 256, (SIDE // 4, SIDE // 4, 1), dtype=np.uint8)
    return Image.fromarray(gray.repeat(4, 0).repeat(4, 1).repeat(3, 2))


@pytest.mark.parametrize("color", [(128, 128, 128), (235, 240, 250), (20, 25, 20), (200, 170, 140), (120, 30, 30)])
@pytest.mark.parametrize("strength", [1.5, 3.0])
def test_noise_on_smooth_areas_has_the_visibility_that_was_asked_for(
    color: tuple[int, int, int], strength: float
) -> None:
    image = smooth(color)
    after = changed(image, shaped(noise(), 16, image, strength))
    found = difference(np.asarray(image), np.asarray(after), degree=None)
    assert np.percentile(found, 99) <= 1.5 * strength + 1.2, "two colors and the rounding add up"
    assert found.mean() > 0.3 * strength
    luma = np.abs((np.asarray(after).astype(float) - np.asarray(image)) @ LUMA)
    assert luma.max() <= 0.6, "luminance stays, but for rounding"


def test_texture_hides_more_noise_than_a_smooth_area_and_luminance_adaptation_is_that_of_chou_and_li() -> None:
    flat = hidden(torch.full((20, 20), 128.0))
    assert torch.equal(flat, torch.ones(20, 20))
    busy = hidden(torch.from_numpy(np.asarray(textured().convert("L"), np.float32)))
    assert busy.mean() > 1.3
    step = torch.full((20, 20), 100.0)
    step[:, 10:] = 200
    bright, adaptation = 150.0, 3 / 128 * 23 + 3  # of the column next to the edge: half of its neighbors are bright
    texture = 100 * (0.0001 * bright + 0.115) + 0.5 - 0.01 * bright
    expected = 1 + (texture - 0.3 * min(texture, adaptation)) / adaptation
    assert float(hidden(step)[10, 9:11].mean()) == pytest.approx(expected, rel=0.15)


def test_the_table_of_differences_is_ciede2000_along_each_axis() -> None:
    table = steps().reshape(3, 32, 32, 32)
    for place in ((16, 16, 16), (25, 21, 17), (15, 4, 4)):
        color = (np.array(place, np.float32) + 0.5) * 8
        for axis, found in zip(AXES.T, table[:, *place], strict=True):
            expected = float(ciede2000(lab(xyz(color)), lab(xyz(color + axis))))
            assert found == pytest.approx(max(expected, 0.2), rel=0.1)


def test_gray_photographs_get_gray_noise_and_colorless_noise_stays_colorless() -> None:
    gray = Image.new("L", (SIDE, SIDE), 128)
    assert shaped(noise(), 16, gray, 2.0).mode == "L"
    assert np.asarray(shaped(noise(), 16, gray, 2.0)).std() > 0.5
    colorless = np.repeat(noise()[..., :1], 3, 2)
    found = np.asarray(shaped(colorless, 16, smooth((128, 128, 128)), 2.0)).astype(int)
    assert np.ptp(found, 2).max() == 0
    assert np.abs(found - REST).max() >= 1


def test_the_budget_holds_whatever_the_eye_forgives_and_none_leaves_the_noise_alone() -> None:
    for image in (smooth((0, 0, 90)), textured()):
        found = np.asarray(shaped(noise(4), 4, image, 50.0)).astype(int) - REST
        assert np.abs(found).max() == 4
        assert np.array_equal(np.asarray(shaped(noise(4), 4, image, None)), noise(4))


def test_large_photographs_are_shaped_strip_by_strip_as_a_whole() -> None:
    wide = Image.fromarray(np.asarray(textured()).repeat(6, 0).repeat(2, 1))
    loud = np.resize(noise(), (6 * SIDE, 2 * SIDE, 3))
    found = np.asarray(shaped(loud, 16, wide, 2.0)).astype(int) - REST
    upper = np.asarray(shaped(loud[: 3 * SIDE], 16, wide.crop((0, 0, 2 * SIDE, 3 * SIDE)), 2.0)).astype(int) - REST
    assert np.abs(found[: 3 * SIDE - 16] - upper[:-16]).max() <= 1
    assert forgiven(wide).shape == (3, 3 * SIDE, SIDE)

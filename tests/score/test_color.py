"""Color differences are those of scikit-image and of the published test data."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from howfar.score.color import ciede2000, difference, lab, xyz

# Sharma, Wu and Dalal, Color Research & Application 30 (2005): first color, second color, difference.
PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), PUBLISHED)
def test_ciede2000_of_the_published_pairs(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    found = ciede2000(np.array(first, np.float32), np.array(second, np.float32))
    assert float(found) == pytest.approx(expected, abs=2e-4)


def test_lab_and_ciede2000_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    second = np.clip(first + rng.integers(-9, 10, first.shape), 0, 255).astype(np.uint8)
    second[:10] = rng.integers(0, 256, (10, 50, 3))
    first[0], second[0] = 128, 135
    assert np.allclose(lab(xyz(first)), rgb2lab(first), atol=0.01)
    assert np.allclose(
        ciede2000(lab(xyz(first)), lab(xyz(second))), deltaE_ciede2000(rgb2lab(first), rgb2lab(second)), atol=0.02
    )


def test_the_eye_sees_fine_noise_less_than_coarse_noise_and_large_areas_in_full() -> None:
    gray = np.full((96, 96, 3), 128, np.uint8)
    blue = np.array([0, -1, 5])

    def seen(period: int) -> float:
        sign = np.where((np.arange(96) // (period // 2)) % 2 == 0, 1, -1)[:, None, None]
        return float(difference(gray, (gray + sign * blue).astype(np.uint8))[24:-24].max())

    assert seen(2) < 0.3 < seen(4) < seen(16)
    flat = (gray + blue).astype(np.uint8)
    assert difference(gray, flat).mean() == pytest.approx(difference(gray, flat, degree=None).mean(), rel=1e-3)
    assert difference(gray, gray).max() == 0

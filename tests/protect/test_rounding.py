"""The budget holds after rounding, whatever the noise."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from howfar import arrays, pgd


@given(
    level=st.integers(1, 255),
    spread=st.floats(0, 3),
    seed=st.integers(0, 1000),
    exact=st.booleans(),
)
def test_budget_holds_after_rounding_and_clipping(level: int, spread: float, seed: int, exact: bool) -> None:
    eps = level / 255 if exact else (level - 0.5) / 255
    generator = arrays.seeded(seed)
    pixels = torch.randint(0, 256, (3, 1, 4, 5), generator=generator, dtype=torch.uint8)
    noise = (2 * torch.rand(3, 1, 4, 5, generator=generator) - 1) * eps * spread
    out = pgd.add_rounded(pixels, noise, eps=eps)
    change = out.int() - pixels.int()
    allowed = level if exact else level - 1
    assert int(change.abs().max()) <= allowed
    wanted = (noise * 255).round().clamp(-allowed, allowed).int()
    inside = (pixels.int() + wanted).clamp(0, 255) - pixels.int()
    assert torch.equal(change, inside)


def test_rounding_has_no_sign_bias() -> None:
    noise = torch.rand(64, 1, 32, 32, generator=arrays.seeded(0)) * 16 / 255 - 8 / 255
    out = pgd.add_rounded(torch.full((64, 1, 32, 32), 128, dtype=torch.uint8), noise, eps=8 / 255)
    assert abs(float((out.int() - 128).double().mean())) < 0.05  # truncation would give −0.5


@given(seed=st.integers(0, 100), eps=st.floats(0.01, 1))
def test_projection_is_inside_both_bounds_and_keeps_what_is_inside(seed: int, eps: float) -> None:
    generator = arrays.seeded(seed)
    images = torch.rand(2, 1, 3, 3, generator=generator)
    noise = pgd.project(4 * torch.rand(2, 1, 3, 3, generator=generator) - 2, images, eps=eps)
    assert float(noise.abs().max()) <= eps + 1e-6
    assert float((images + noise).min()) >= -1e-6
    assert float((images + noise).max()) <= 1 + 1e-6
    assert torch.allclose(pgd.project(noise, images, eps=eps), noise, atol=1e-6)

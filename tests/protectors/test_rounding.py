"""The budget holds after rounding, whatever the noise; steps and projections are those worked out by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from howfar import arrays
from howfar.arrays import Images
from howfar.training import pgd


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


def row(*values: float) -> Images:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_a_signed_step_goes_down_and_projections_know_both_bounds() -> None:
    stepped = pgd.signed_step(row(0.1, -0.2, 0.3), row(3.0, -0.01, 0.0), step_size=0.05)
    assert stepped.flatten().tolist() == pytest.approx([0.05, -0.15, 0.3])
    found = pgd.project(row(0.2, -0.3, 0.05, -0.05), row(0.95, 0.5, 0.5, 0.02), eps=0.1)
    assert found.flatten().tolist() == pytest.approx([0.05, -0.1, 0.05, -0.02], abs=1e-6)


def test_descent_and_attack_take_their_steps() -> None:
    images, target = row(0.5, 0.5, 0.5), row(0.0, 1.0, 0.5)

    def loss(x: Images) -> torch.Tensor:
        return (x - target).square().flatten(1).sum(1)

    found = pgd.descend(images, row(0.3, -0.3, 0.04), loss, eps=0.1, step_size=0.03, steps=3)
    assert found.flatten().tolist() == pytest.approx([0.01, -0.01, 0.01], abs=1e-6), "0.04 − 0.03 − 0.03 + 0.03"
    start = pgd.descend(images, row(0.3, -0.3, 0.04), loss, eps=0.1, step_size=0.03, steps=0)
    assert start.flatten().tolist() == pytest.approx([0.1, -0.1, 0.04], abs=1e-6)
    higher = pgd.attack(images, loss, eps=0.1, step_size=0.03, steps=9, generator=arrays.seeded(0))
    assert (higher - images)[..., :2].flatten().tolist() == pytest.approx([0.1, -0.1], abs=1e-6)
    wide = torch.full((1, 1, 20, 20), 0.5)
    begun = pgd.attack(wide, loss, eps=0.1, step_size=0.03, steps=0, generator=arrays.seeded(0)) - wide
    drawn = torch.empty(wide.shape).uniform_(-0.1, 0.1, generator=arrays.seeded(0))
    assert torch.allclose(begun, drawn, atol=1e-6)


def test_l2_norms_and_balls_are_those_of_each_image() -> None:
    noise = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-0.03, 0.04]]).view(3, 1, 1, 2)
    assert pgd.unit_l2(noise).flatten(1).tolist() == [
        pytest.approx([0.6, 0.8]), [0.0, 0.0], pytest.approx([-0.6, 0.8])
    ]  # fmt: skip
    images = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.01, 0.5]]).view(3, 1, 1, 2)
    inside = pgd.project_l2(noise, images, eps=0.1)
    assert inside.flatten(1).tolist() == [
        pytest.approx([0.06, 0.08], abs=1e-6), [0.0, 0.0], pytest.approx([-0.01, 0.04], abs=1e-6)
    ]  # fmt: skip
    bright = pgd.project_l2(noise[:1], torch.full((1, 1, 1, 2), 0.95), eps=0.1)
    assert bright.flatten().tolist() == pytest.approx([0.05, 0.05], abs=1e-6)


def test_l2_steps_go_down_the_gradient_by_their_length() -> None:
    images = torch.full((2, 1, 1, 2), 0.5)
    slopes = torch.tensor([[3.0, 4.0], [0.0, -7.0]]).view(2, 1, 1, 2)

    def loss(x: Images) -> torch.Tensor:
        return (x * slopes).flatten(1).sum(1)

    start = torch.tensor([[0.0, 0.0], [0.03, 0.0]]).view(2, 1, 1, 2)
    found = pgd.descend_l2(images, start, loss, eps=0.2, step_size=0.05, steps=2)
    assert found.flatten(1).tolist() == [
        pytest.approx([-0.06, -0.08], abs=1e-6), pytest.approx([0.03, 0.1], abs=1e-6)
    ]  # fmt: skip
    assert not found.requires_grad

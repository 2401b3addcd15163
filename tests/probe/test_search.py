import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.probe.trust import Seen, _on_ball, lowest


@pytest.mark.parametrize("seed", range(8))
def test_the_quadratic_is_minimised_on_the_ball_as_by_dense_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(2, 2))
    bent = half + half.T  # of any signs
    slope = rng.normal(size=2) * 0.5
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 801), np.linspace(-1, 1, 801)), -1).reshape(-1, 2)
    grid = grid[(grid**2).sum(1) <= 1]
    value = grid @ slope + ((grid @ bent) * grid).sum(1) / 2
    x = _on_ball(slope, bent, 1.0)
    assert np.linalg.norm(x) <= 1 + 1e-6
    assert x @ slope + x @ bent @ x / 2 <= value.min() + 1e-5


def test_a_slope_without_any_downward_bend_in_it_still_leaves_the_saddle() -> None:
    x = _on_ball(np.array([0.0, 1.0]), np.diag([-1.0, 2.0]), 1.0)
    assert abs(x[0]) > 0.9


def test_a_quadratic_is_minimised_in_as_many_steps_as_it_has_dimensions() -> None:
    generator = arrays.seeded(0)
    half = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    bent, slope = half @ half.T + torch.eye(5), torch.randn(5, generator=generator, dtype=torch.float64)
    answer = -torch.linalg.solve(bent, slope)
    here, others = Seen(torch.zeros(5, dtype=torch.float64), slope), []
    for _ in range(8):
        move, promised = lowest(here, others, radius=100.0, trust=200.0)
        others.append(here)
        here = Seen(move, slope + bent @ move)
    assert torch.allclose(here.move, answer, atol=1e-6)
    assert promised < 1e-9

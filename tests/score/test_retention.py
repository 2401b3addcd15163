"""Retention: closed forms, both directions, and intervals that hold."""

import math

import numpy as np
import pytest

from howfar.errors import UsageError
from howfar.score import retention


def test_retention_is_the_share_of_the_way_from_chance() -> None:
    assert retention([0.9], [0.5], chance=0.1).value == pytest.approx(0.5)
    assert retention([10.0], [30.0], chance=40.0, higher_is_better=False).value == pytest.approx(1 / 3)
    one = retention([0.9], [0.5], chance=0.1)
    assert math.isinf(one.high)


def test_the_interval_covers_the_truth() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        clean = 0.7 + rng.normal(0, 0.04, 4)
        protected = 0.1 + 0.4 * (clean - 0.1) + rng.normal(0, 0.04, 4)
        found = retention(clean.tolist(), protected.tolist(), chance=0.1)
        inside += found.low <= 0.4 <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_nothing_is_retained_of_nothing() -> None:
    with pytest.raises(UsageError, match="learned nothing"):
        retention([0.1], [0.1], chance=0.1)
    with pytest.raises(UsageError, match="learned nothing"):
        retention([50.0], [60.0], chance=40.0, higher_is_better=False)
    with pytest.raises(UsageError, match="pairs of runs"):
        retention([0.1], [], chance=0.1)

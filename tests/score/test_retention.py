"""Retention: closed forms, both directions, and intervals that hold."""

import pytest

from howfar.errors import UsageError
from howfar.score import retention


def test_retention_is_the_share_of_the_way_from_chance() -> None:
    assert retention([0.9], [0.5], chance=0.1).value == pytest.approx(0.5)
    assert retention([10.0], [30.0], chance=40.0, higher_is_better=False).value == pytest.approx(1 / 3)
    one = retention([0.9], [0.5], chance=0.1)
    assert (one.low, one.high) == (None, None)


def test_what_cannot_be_told_from_chance_has_no_bounds() -> None:
    found = retention([0.2, 0.3, 0.1], [0.2, 0.2, 0.3], chance=0.1)
    assert (found.low, found.high) == (None, None)


def test_nothing_is_retained_of_nothing() -> None:
    with pytest.raises(UsageError, match="learned nothing"):
        retention([0.1], [0.1], chance=0.1)
    with pytest.raises(UsageError, match="learned nothing"):
        retention([50.0], [60.0], chance=40.0, higher_is_better=False)
    with pytest.raises(UsageError, match="pairs of runs"):
        retention([0.1], [], chance=0.1)

"""The score over a run: the mean of what is known."""

import math

import pytest

from howfar import learning_alignment
from howfar.errors import UsageError
from howfar.probe import Alignment


def test_epochs_count_alike_however_many_layers_are_known() -> None:
    cosines = [{"a": 1.0, "b": 0.5, "c": -0.3}, {"a": -0.2, "b": None, "c": math.nan}, {"a": None}]
    assert learning_alignment(cosines) == pytest.approx((0.4 - 0.2) / 2)


def test_results_of_the_probe_count_as_their_cosines() -> None:
    results = [{"a": Alignment(0.5, 0.1, 0.6, 1.0, 1.0), "b": Alignment(math.nan, math.nan, math.nan, 0.0, 1.0)}]
    assert learning_alignment(results) == 0.5


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(UsageError, match="no epoch has a gradient"):
        learning_alignment([{"a": None}])
    with pytest.raises(UsageError, match="alignment_images"):
        learning_alignment([])

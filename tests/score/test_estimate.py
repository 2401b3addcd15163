"""Estimates: their intervals, and that JSON holds what was measured."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howfar.score import Estimate, dose_response, from_json, to_json
from howfar.score.alignment import mean_alignment
from howfar.score.estimate import DECIMALS, under
from howfar.score.intervals import mean_estimate
from howfar.score.unlearnable_distance import mean_distance

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, st.none() | st.tuples(finite, finite), st.sampled_from(["drop", "kept"]))
def test_json_gives_back_what_was_written(value: float, ends: tuple[float, float] | None, name: str) -> None:
    one = Estimate(value, *(ends or (None, None)), 3, "t")
    text = json.dumps(to_json(one, names=under(name)), allow_nan=False)
    assert from_json(json.loads(text), 3, "t", under(name)) == one


def test_infinite_numbers_become_null_at_any_depth() -> None:
    one = Estimate(math.nan, -math.inf, 1 / 3, 2, "delta")
    written = to_json({"a": [one, (math.inf, 2)], "b": {"c": math.nan, "d": "text", "e": True}}, DECIMALS)
    gaps = {"value": None, "low": None, "high": 0.333333}
    assert written == {"a": [gaps, [None, 2]], "b": {"c": None, "d": "text", "e": True}}
    assert math.isnan(from_json(gaps, 2, "delta").value)


def test_without_one_end_there_is_no_interval() -> None:
    assert Estimate(1.0, None, None, 1, "t").ends is None
    assert Estimate(1.0, 0.0, None, 2, "t").ends is None
    assert Estimate(1.0, 0.0, 2.0, 2, "t").ends == (0.0, 2.0)


def test_a_function_moves_value_and_ends() -> None:
    one = Estimate(0.0, -1.0, 2.0, 3, "t")
    rising = one.mapped(math.exp, "log t")
    assert (rising.value, rising.ends) == (1.0, (pytest.approx(math.exp(-1)), pytest.approx(math.exp(2))))
    assert (rising.n, rising.kind) == (3, "log t")
    assert one.mapped(lambda x: 1 - x) == Estimate(1.0, -1.0, 2.0, 3, "t"), "ends are swapped"
    assert Estimate(0.5, None, None, 1, "t").mapped(lambda x: 1 - x) == Estimate(0.5, None, None, 1, "t")


def test_intervals_of_ud_and_alignment_end_where_their_range_ends() -> None:
    low, high = [0.0, 0.1], [0.9, 1.0]
    assert mean_estimate(low).low < 0 < mean_estimate(high).high - 1
    assert mean_distance(low) == mean_estimate(low).within(0, math.inf)
    assert mean_distance(low).low == 0.0
    assert mean_distance(high).high > 1.0, "UD may be above 1"
    assert (mean_alignment(high).high, mean_alignment([-1.0, -0.9]).low) == (1.0, -1.0)
    assert mean_distance([0.1]).ends is None
    response = dose_response({0.1: [0.0, 0.1], 0.2: [0.0, 0.1]}, {0.1: [0.0, 0.1], 0.2: [0.0, 0.1]})
    assert (response.drop[1].low < 0, response.ud[1].low) == (True, 0.0), "a drop may be negative"

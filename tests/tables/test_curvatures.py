"""Curvature and SAL: how the layers of victims are compared."""

import math
from dataclasses import replace
from typing import Any

import pytest

from howfar.store import Record
from howfar.tables.curvatures import _by_seed

from .test_names import record as victim


def record(seed: int, sals: list[float]) -> Record:
    """Return what a summary reads of a record, with one layer per SAL."""
    layers = {
        f"layer{number}": {"sal": sal, "radius": 1.0, "gradient": sal + 1.0, "eigenvalues": [1.0]}
        for number, sal in enumerate(sals)
    }
    return replace(victim("em", seed, 0.5), result={"layers": {"": {}, **layers}})


def clean(*sals: float) -> dict[int, Any]:
    return {0: record(0, list(sals)).result["layers"]}


def test_ratios_are_geometric_means_over_layers() -> None:
    found = _by_seed([record(0, [1.0, 4.0])], clean(2.0, 2.0))
    assert found.ratio == [pytest.approx(0.0)]
    assert found.lower == [0.5]


def test_layers_without_sal_have_no_ratio_but_count_as_lower() -> None:
    found = _by_seed([record(0, [0.0, 4.0, 3.0])], clean(2.0, 2.0, 0.0))
    assert found.ratio == [pytest.approx(math.log(2))]
    assert found.lower == [pytest.approx(1 / 3)]
    nothing = _by_seed([record(0, [0.0, 0.0])], clean(0.0, 0.0))
    assert math.isnan(nothing.ratio[0])
    assert nothing.lower == [0.0]

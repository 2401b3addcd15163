"""Estimates believe what records say of earlier work, if it can be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from howfar.grid.estimate import estimate, memory, took
from howfar.grid.overrides import make_suite
from howfar.store import Record, Store

WRONG = ["x", None, float("inf"), float("nan"), [1.0], -3.0]


@pytest.mark.parametrize("seconds", WRONG)
def test_seconds_and_bytes_that_cannot_be_are_passed_over(seconds: Any, tmp_path: Path) -> None:
    (cell,) = make_suite("digits", {
        "protectors": ["clean"], "models": "linear", "defenses": "none", "seeds": "0", "train": {"epochs": 1}
    }).experiments()  # fmt: skip
    steps = [step for step in cell.steps() if step.name == "protect"]
    record = Record("protect", "0" * 20, steps[0].spec, "done", {}, {"wall_seconds": 7.0, "step_peak_bytes": 9})
    odd = replace(record, key="1" * 20, made={"wall_seconds": seconds, "step_peak_bytes": "much"})

    class FakeStore(Store):
        def __init__(self, *held: Record) -> None:
            self.held = held

        def records(self, step: str, *, damaged: bool = False) -> list[Record]:
            return list(self.held)

    assert took(odd) is None
    assert took(replace(record, status="failed")) is None
    assert estimate(steps, FakeStore(record, odd)) == {steps[0].key: 7.0}
    assert memory(steps, FakeStore(record, odd)) == {steps[0].key: 9}

"""The verdict across tasks says what its intervals decide, and no more."""

from dataclasses import replace

from howfar.report.verdict import RULE, across
from howfar.score import Estimate
from howfar.tables.matrix import Column, Matrix, TaskResult


def matrix(**rows: tuple[tuple[float, float | None], tuple[float, float | None]]) -> Matrix:
    """Return a matrix of two tasks from retentions and half widths of their intervals."""
    columns = [Column("class_scene", "accuracy", 0.1, True), Column("depth", "error", 0.3, False)]

    def cell(column: Column, value: float, half: float | None) -> TaskResult:
        clean = 0.6 if column.higher_is_better else 0.1
        ends = (None, None) if half is None else (value - half, value + half)
        kept = Estimate(value, *ends, 2, "delta")
        return TaskResult(clean, column.chance + value * (clean - column.chance), kept)

    cells = {
        name: {column.name: cell(column, *one) for column, one in zip(columns, values, strict=True)}
        for name, values in rows.items()
    }
    return Matrix("rooms", "m", "none", columns, cells, {}, (2, 2), {})


def test_protection_of_one_task_only() -> None:
    found = across(matrix(em=((0.1, 0.05), (0.96, 0.04)), ops=((0.2, 0.1), (0.9, 0.1))))
    assert found == [
        "em takes class_scene from 60 % to 15 % and leaves 96 ± 4 % of depth: unlearnable for one task only. "
        "The same holds for ops.",
        "No tested protector is shown to make the data unlearnable for both tasks.",
        RULE,
    ]


def test_protection_of_every_task_none_and_cannot_tell() -> None:
    found = across(
        matrix(
            stripes=((0.02, 0.05), (0.3, 0.1)),
            weak=((0.9, 0.2), (0.8, 0.2)),
            wide=((0.4, 0.3), (0.1, None)),
            random=((0.98, 0.03), (1.01, 0.05)),
        )
    )
    assert found == [
        "Unlearnable for both tasks: stripes (depth retains 30 ± 10 %).",
        "No protection in any task: weak.",
        "Cannot tell: wide on class_scene (retains 40 ± 30 %) and wide on depth (retains 10 %, clean not told apart "
        "from chance). "
        "Add seeds to the same command: --seeds 0-5 --until 5.",
        "The baseline random retains 98 ± 3 % of class_scene and 101 ± 5 % of depth.",
        RULE,
    ]


def test_an_interval_that_reaches_one_half_decides_nothing() -> None:
    (_, found, _) = across(matrix(em=((0.4, 0.1), (0.6, 0.1))))
    assert found.startswith("Cannot tell: em on class_scene (retains 40 ± 10 %) and em on depth")


def test_one_seed_says_what_it_shows_and_decides_nothing() -> None:
    found = across(replace(matrix(em=((0.1, None), (0.96, None))), seeds=(1, 1)))
    assert found == [
        "So far, em leaves 10 % of class_scene and 96 % of depth.",
        "One seed has no interval and decides nothing. Add seeds to the same command: --seeds 0-5 --until 5.",
    ]

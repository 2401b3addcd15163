"""Tasks × protectors: what each task retains from the images of each protector."""

from dataclasses import asdict, dataclass, field
from typing import Any

from howfar.score import Estimate, to_json
from howfar.score.estimate import DECIMALS
from howfar.tables.decisions import learned
from howfar.tables.distances import Ud


@dataclass(frozen=True)
class TaskResult:
    """One protector and one task.

    Attributes:
        clean: mean quality after training on clean images.
        protected: mean quality after training on protected ones.
        retention: how much of the way from chance to clean is left.
        sal: cosine between the SALs of the backbone's layers after clean and after protected training; None for parts
            of a joint task, which share their network.
        ud: of the victim of this task alone; None where it was not measured.
    """

    clean: float
    protected: float
    retention: Estimate
    sal: float | None = None
    ud: Ud | None = None


@dataclass(frozen=True)
class Column:
    """One task, or one part of a joint one.

    Attributes:
        task: its name.
        metric: name of the quality.
        chance: quality of the best image-independent baseline.
        higher_is_better: direction of the quality.
        joint: what the task was learned with: ``joint``, or the label of the joint task; empty where it was learned
            alone.
    """

    task: str
    metric: str
    chance: float
    higher_is_better: bool
    joint: str = ""

    def learned(self, result: TaskResult) -> bool:
        """Return whether the clean victims learned enough for a retention."""
        return learned(self.metric, result.clean, self.chance, higher_is_better=self.higher_is_better)

    @property
    def name(self) -> str:
        """Name of the task; with ``(joint)`` behind it where it was learned together with others."""
        return f"{self.task} ({self.joint})" if self.joint else self.task


@dataclass(frozen=True)
class Summary:
    """A protector over the tasks that it was not crafted against.

    Attributes:
        mean: retention, mean over these tasks; one that is left below chance makes up for no other and counts as 0.
        worst: the largest one.
        task: where that is.
        score: 1 − worst: the cross-task score; 1 is unlearnable for every task.
        own: largest retention over its source tasks, those of a joint one among them; None where none
            of them was learned.
    """

    mean: float
    worst: float
    task: str
    score: float
    own: float | None = None


@dataclass(frozen=True)
class Matrix:
    """What every task learns from every protected set, for one victim and defense.

    Attributes:
        dataset: label of the data.
        model: the victim.
        defense: what the learner does against protection.
        columns: the tasks.
        results: by protector (with its source task, where it has one) and task.
        summaries: by protector.
        seeds: number of pairs of the row with the fewest and of the one with the most.
        alike: cosine between the SALs of the backbone's layers of two tasks, by protector (``clean`` too), a table
            over the tasks that were learned alone; empty where each task has a network of its own.
        crafted: by row, the protector and the source task that it was crafted against; empty where it has none.
        left_out: by task, why UD is not shown.
    """

    dataset: str
    model: str
    defense: str
    columns: list[Column]
    results: dict[str, dict[str, TaskResult]]
    summaries: dict[str, Summary]
    seeds: tuple[int, int]
    alike: dict[str, list[list[float]]]
    crafted: dict[str, tuple[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def alone(self) -> list[str]:
        """Names of the tasks that were learned alone, in the order of ``alike``."""
        return [column.name for column in self.columns if not column.joint]

    @property
    def measured(self) -> bool:
        """Whether SAL was measured, so that tasks can be compared by it."""
        return any(value != 0 for table in self.alike.values() for row in table for value in row)

    def as_dict(self) -> dict[str, Any]:
        """Return the values that files hold."""
        kinds = ("name", "metric", "chance", "higher_is_better")
        results = {label: {task: _written(one) for task, one in row.items()} for label, row in self.results.items()}
        found = {
            "dataset": self.dataset, "model": self.model, "defense": self.defense,
            "columns": [{kind: getattr(column, kind) for kind in kinds} for column in self.columns],
            "cells": results,
            "summaries": {label: asdict(summary) for label, summary in self.summaries.items()},
            "seeds": self.seeds, "alike": self.alike,
        }  # fmt: skip
        written: dict[str, Any] = to_json(found, DECIMALS)
        return written


def _written(result: TaskResult) -> dict[str, Any]:
    ud = result.ud and {**to_json(result.ud.mean), "probe_error": result.ud.probe_error}
    kept = {**to_json(result.retention), "seeds": result.retention.n}
    return {"clean": result.clean, "protected": result.protected, "retention": kept, "sal": result.sal, "ud": ud}

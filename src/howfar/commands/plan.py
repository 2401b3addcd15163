"""The plan of a command: steps to run, and the estimated time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from howfar.commands import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from howfar.grid.experiment import Experiment, Step
    from howfar.store import Store

LONG = 3600.0  # seconds from which a plan warns


@dataclass(frozen=True)
class Plan:
    """What is to do, and how long it takes.

    Attributes:
        todo: steps that the store lacks.
        ready: number of steps that it has.
        seconds: expected of every step to do, by its key, for one worker.
        workers: at a time.
        after: seconds expected of what this process computes itself afterwards, by key.
    """

    todo: "list[Step]"
    ready: int
    seconds: dict[str, float]
    workers: int
    after: dict[str, float]

    @classmethod
    def of(
        cls, experiments: "list[Experiment]", store: "Store", workers: int, after: dict[str, float]
    ) -> "Plan":  # fmt: skip
        from howfar.engine import plan
        from howfar.grid.estimate import estimate

        todo, _ = plan(experiments, store)
        count = len({step.key for experiment in experiments for step in experiment.steps()})
        return cls(todo, count - len(todo), estimate(todo, store), workers, after)

    @property
    def total(self) -> float:
        """Expected wall seconds."""
        steps = max(sum(self.seconds.values()) / max(self.workers, 1), max(self.seconds.values(), default=0.0))
        return steps + sum(self.after.values())

    @property
    def core_hours(self) -> float:
        """Expected hours of one core."""
        return (sum(self.seconds.values()) + sum(self.after.values())) / 3600

    @property
    def summary(self) -> str:
        """One line for a person."""
        from howfar.report.numbers import counted

        hands = f"with {counted(self.workers, 'worker')}" if self.workers else "in this process"
        about = f"about {terminal.duration(self.total)} {hands} on idle cores ({_hours(self.core_hours)})"
        maps = ""
        if self.after:
            maps = (
                f" {terminal.duration(sum(self.after.values()))} of it for {len(self.after)} maps of finished victims."
            )
        steps = counted(len(self.todo), "step")
        return f"{steps} to do, {self.ready} in the store; {about}.{maps}"

    def warn(self, smaller: str) -> None:
        """Say what takes less time, if this takes more than an hour."""
        if self.total > LONG:
            terminal.say(f"warning: this takes more than an hour. The next smaller choice: {smaller}.", style="yellow")

    def show(
        self, experiments: "list[Experiment]", *, as_json: bool, words: "Mapping[str, str] | None" = None
    ) -> None:  # fmt: skip
        """Print the matrix of what is to do; words for labels take one line a cell."""
        from howfar.grid.dry_run import notes_of
        from howfar.report.words import reworded

        notes, data = notes_of(experiments), _about(experiments[0])
        if as_json:
            steps = [{"step": s.label, "key": s.key, "seconds": round(self.seconds[s.key], 1)} for s in self.todo]
            maps = {"count": len(self.after), "seconds": round(sum(self.after.values()), 1)}
            found = {
                "todo": steps, "ready": self.ready, "workers": self.workers, "seconds": round(self.total, 1),
                "core_hours": round(self.core_hours, 3), "maps": maps, "data": data, "notes": notes,
            }  # fmt: skip
            terminal.show_json(found)
            return
        for table in _matrices(experiments, self.todo, self.seconds):
            columns, rows = _listed(*reworded(table, words)) if words else table
            terminal.show_table(columns, rows)
        for sentence in (self.summary, data, *(f"Estimated: {note}" for note in notes)):
            terminal.tell(sentence)


def _about(experiment: "Experiment") -> str:
    """Return how many images of what size the victims learn from: time grows with both."""
    from howfar.report.numbers import counted

    (train, test), (channels, height, width) = experiment.counts, experiment.splits.train.shape
    shape = f"{height}×{width} pixels in {counted(channels, 'channel')}"
    classes = experiment.sketch.classes if experiment.sketch else 0
    kinds = f", {counted(classes, 'class')}" if classes else ""
    return f"{train} training and {test} test images of {shape}{kinds}."


def _matrices(
    experiments: "list[Experiment]", todo: "list[Step]", seconds: "Mapping[str, float]"
) -> "Iterator[tuple[list[str], list[list[str]]]]":
    """Yield one table a victim: what is left to do for every protector and defense, and how long all seeds take.

    The longer of the two lists goes down the page.
    """
    tables: dict[str, dict[tuple[str, str], list[float]]] = {}
    for step in todo:
        e = step.experiment
        victim = f"{e.model.label} learns {e.task.label}"
        table, column = ("", "protect") if step.name == "protect" else (victim, e.defense.label)
        tables.setdefault(table, {}).setdefault((e.protector.label, column), []).append(seconds[step.key])
    order = list(dict.fromkeys(e.protector.label for e in experiments))
    for name, cells in tables.items():
        defenses = list(dict.fromkeys(column for _, column in cells))
        protectors = [label for label in order if any(label == row for row, _ in cells)]
        down, across = (protectors, defenses) if len(protectors) > len(defenses) else (defenses, protectors)
        yield (
            [name or "to protect", *across],
            [[row, *(_cell(cells.get((row, c) if down is protectors else (c, row))) for c in across)] for row in down],
        )


def _listed(columns: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a matrix with labels in words as a list, which is narrower."""
    cells = [(row[0], column, text) for row in rows for column, text in zip(columns[1:], row[1:], strict=True)]
    if any(row[0] == "none" for row in rows):  # defenses go down
        cells = [(column, name, text) for name, column, text in cells]
    plain = ("none", "protect")
    lines = [[name if at in plain else f"{name}, against {at}", text] for name, at, text in cells if text != "–"]
    return [columns[0], "seeds × time"], lines


def _hours(hours: float) -> str:
    if hours < 0.01:
        return "under 0.01 core-hours"
    text = f"{hours:.2g}" if hours < 100 else f"{hours:,.0f}"
    return f"{text} core-hour{'s' * (text != '1')}"


def _cell(seconds: list[float] | None) -> str:
    return f"{len(seconds)} × {terminal.duration(max(seconds))}" if seconds else "–"

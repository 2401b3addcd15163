"""Progress of a run or of one computation, on standard error."""

import sys
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from howfar.commands import terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn

    from howfar.engine import Event
    from howfar.grid.experiment import Experiment
    from howfar.protectors import Progress as Step
    from howfar.store import Store

T = TypeVar("T")
BAR, COUNT_AND_TIME = 12, 22  # columns of the bar, and of what follows it


def follow(events: "Iterable[Event]", experiments: "list[Experiment]", store: "Store") -> list[tuple[str, str]]:
    """Show progress until the run ends; return the failures as pairs of step and error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    total = len({step.key for experiment in experiments for step in experiment.steps()})
    failures: list[tuple[str, str]] = []
    console = terminal.console_on(sys.stderr)
    columns = (_names(console), BarColumn(BAR), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        overall = progress.add_task("steps", total=total)
        lines: dict[str, Any] = {}
        for event in events:
            if event.status == "running":
                if event.key not in lines:
                    lines[event.key] = progress.add_task(event.step, total=100)
                progress.update(lines[event.key], completed=100 * event.share, description=f"{event.step} {event.note}")
                continue
            if event.key in lines:
                progress.remove_task(lines.pop(event.key))
            progress.advance(overall)
            if event.status == "failed":
                failures.append((event.step, event.note))
            _remark(event, store, progress.console)
        progress.update(overall, completed=total)
    return failures


def watch(work: "Generator[Step, None, T]", label: str) -> "T":
    """Show the progress of a computation and return its result."""
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    console = terminal.console_on(sys.stderr)
    columns = (_names(console), BarColumn(BAR), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        line = progress.add_task(label, total=100)
        while True:
            try:
                step = next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            share = 100 * step.done / max(step.total, 1)
            progress.update(line, completed=share, description=f"{label} {step.note}")


def _names(console: "Console") -> "TextColumn":
    """Return the column of names, which leaves room for bar, count and time."""
    from rich.progress import TextColumn
    from rich.table import Column

    width = max(console.width - BAR - COUNT_AND_TIME, BAR)
    return TextColumn(
        "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=width)
    )


def _remark(event: "Event", store: "Store", console: "Console") -> None:
    if event.status == "failed":
        console.print(f"failed: {event.step}: {event.note}", style="red", markup=False)
    elif event.status == "done":
        console.print(f"{event.step}: {event.seconds:.1f} s{_found(event, store)}", markup=False, highlight=False)


def _found(event: "Event", store: "Store") -> str:
    """Return the result of a step: the error of a surrogate in each round, or the performance of a victim."""
    from howfar.report.numbers import shown, unit

    if record := store.find("protect", event.key):
        curve = record.result["curve"]
        return f" (error {' → '.join(f'{error:.3f}' for error in curve)})" if curve else ""
    if record := store.find("victim", event.key):
        metric, chance = record.result["metric"], record.result["chance"]
        return f" ({metric}{unit(metric)} {shown(metric, record.result['quality'])}, chance {shown(metric, chance)})"
    return ""

"""What all studies share: their files under results/, and tables of Markdown."""

import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from howfar import engine
from howfar.commands import terminal
from howfar.grid.experiment import Experiment
from howfar.store import Record, Store, open_store
from howfar.tables import collect
from howfar.tables.page import Page

NUMBER = re.compile(r"\W*(\d|$)")  # how a cell with a number begins, or one without anything
RESULTS = Path(__file__).parents[1] / "results"


def run(experiments: list[Experiment], store: Store, *, device: torch.device, workers: int | None) -> None:
    """Run what the store lacks, and print a line for every step that ends.

    Args:
        experiments: the cells.
        store: where records go.
        device: where tensors live.
        workers: processes; None takes one a core, or one on a GPU.
    """
    for event in engine.run(experiments, store, workers=engine.choose_workers(workers, device), device=device):
        if event.status in ("done", "failed"):
            print(f"{event.status}: {event.step} {event.seconds:.0f} s {event.note}", file=sys.stderr, flush=True)


@functools.cache
def study(name: str) -> Store:
    """Return the records of a study."""
    return open_store(RESULTS / f"{name}.jsonl.xz", reading=True)


def page_of(store: Store, wanted: Callable[[Record], bool]) -> Page:
    """Return what the leaderboard shows of some victims."""
    return collect(store, [record.key for record in store.records("victim") if wanted(record)], brief=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown: columns of numbers to the right, with a proper minus before negative ones."""
    signed = [[signs(cell) for cell in row] for row in rows]
    head, _, *rest = terminal.markdown(columns, signed).splitlines()
    marks = ["-:" if all(map(NUMBER.match, cells)) else "-" for cells in zip(*signed, strict=True)]
    return "\n".join([head, f"| {' | '.join(marks)} |", *rest]) + "\n"


def signs(text: str) -> str:
    """Return text with proper signs before numbers, and none before zero."""
    unsigned = re.sub(r"(?<![\w.\]-])-(?=0(?:\.0+)?(?![\d.]))", "", text)
    return re.sub(r"(?<![\w.\]-])-(?=\d)", "−", unsigned)


def code(name: str) -> str:
    """Return a name as code."""
    return f"`{name}`"

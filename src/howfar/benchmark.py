"""Whole benchmarks from Python: ``bench`` runs the cells of a suite, ``Results`` holds the outcome."""

import html
import logging
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howfar import engine
from howfar.data import Splits
from howfar.engine.track import tracked, tracker
from howfar.errors import HowfarError, UsageError, in_python, require, told_in_python
from howfar.grid import own_data
from howfar.grid.dry_run import note_data
from howfar.grid.overrides import make_suite
from howfar.grid.runnable import runnable
from howfar.report import verdict
from howfar.report.numbers import counted
from howfar.report.text_tables import markdown, tables_of
from howfar.store import Record, open_store, save_text
from howfar.tables.collect import collect
from howfar.tables.page import Page

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SHOWN = 6  # verdicts in a repr
WIDTH = 100  # columns of a repr
log = logging.getLogger("howfar")


@dataclass(frozen=True, repr=False)
class Results:
    """What a benchmark found.

    Attributes:
        page: all tables, as ``howfar.collect`` returns them.
        failures: steps that failed, with their errors.
        left_out: defenses of an ensemble that could not run, with the reasons.
        store: where all records are.
    """

    page: Page
    failures: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    store: str = ""

    def __repr__(self) -> str:
        """Return one sentence per protector and victim, at most 6: whether it holds, and what that rests on."""
        told = self._told
        lines = [textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ") for text in told[:SHOWN]]
        more = [f"  and {counted(len(told) - SHOWN, 'more verdict')}: leaderboard()"] if len(told) > SHOWN else []
        failed = f", {counted(len(self.failures), 'failed step')}" if self.failures else ""
        return "\n".join([f"Results({counted(len(self.page.rows), 'row')}{failed} in {self.store})", *lines, *more])

    @property
    def _told(self) -> list[str]:
        """One sentence per protector and victim, with arguments of ``bench`` where the command line has flags."""
        return [in_python(text) for text in verdict.sentences(self.page.verdicts)]

    def _repr_html_(self) -> str:
        """Return the verdicts as a list and every table with every column, for a notebook."""
        told = "".join(f"<li>{html.escape(text)}</li>" for text in self._told)
        parts = [f"<ul>{told}</ul>"] if told else []
        for table in tables_of(self.page, wide=True):
            head, *body = (
                "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in line)
                for tag, line in [("th", table.columns), *(("td", row) for row in table.rows)]
            )
            rows = "".join(f"<tr>{line}</tr>" for line in body)
            note = f"<p>{html.escape(in_python(table.note))}</p>" if table.note else ""
            parts.append(f"<table><caption>{html.escape(table.title)}</caption><tr>{head}</tr>{rows}</table>{note}")
        return "".join(parts)

    def leaderboard(self) -> str:
        """Return verdicts and all tables as Markdown: across tasks, worst cases, one row per protector and defense."""
        return in_python(markdown(self.page))

    def to_latex(self, *, wide: bool = False) -> str:
        """Return the tables for a paper, as ``howfar leaderboard --latex`` prints them; they need the package booktabs.

        Args:
            wide: every table with every column, as ``--wide``; otherwise a leaderboard or a table across tasks.
        """
        return "\n".join(table.latex for table in tables_of(self.page, wide=wide))

    def to_pandas(self) -> Any:
        """Return one row per cell as a ``pandas.DataFrame``, with the columns of ``howfar store export``.

        ``docs/json.md`` describes them (schema ``cells``): the columns of ``leaderboard.csv``, followed by verdict,
        retention, chance, settings, versions and device. Shares are numbers from 0 to 1: a ``drop`` of 0.25 is 25
        points. What is unknown or undefined is None, or NaN in a column of numbers.
        """
        require("pandas", "pandas", "a data frame")
        import pandas as pd

        return pd.DataFrame([row.as_cell() for row in self.page.rows])

    def plot(self, group: int = 0, chart: str = "convergence") -> "Figure":
        """Return a chart of one victim and defense as a plotly figure.

        Args:
            group: index in ``page.groups``.
            chart: ``convergence``; ``distance`` or ``sal`` if SAL was measured; ``alignment`` if it was measured.

        Raises:
            UsageError: if there is no such chart.
        """
        require("plotly", "report", "a chart")
        import plotly.graph_objects as plots

        from howfar.report.figures import of_group

        groups = self.page.groups
        if not 0 <= group < len(groups):
            raise UsageError(f"there is no group {group}. There are {len(groups)}, counted from 0.")
        charts = of_group(groups[group])
        if chart not in charts:
            raise UsageError(f"there is no chart '{chart}'. Choose one of {', '.join(charts)}.")
        return plots.Figure(charts[chart])

    def save_html(self, path: str | Path) -> None:
        """Write the page, one file that opens offline; its folder is created.

        Raises:
            HowfarError: if it cannot be written.
        """
        from howfar.report.render import render

        save_text(Path(path), render(self.page, python=True))


@told_in_python()
def bench(
    dataset: Any = None, y: Any = None, *, suite: str | None = None, epochs: int | None = None, name: str | None = None,
    runs: str | Path = "runs", workers: int = 0, device: str = "auto", settings: Iterable[str] = (),
    track: str | None = None, **keys: Any,
) -> Results:  # fmt: skip
    """Protect, train, probe and score a grid of cells, as ``howfar bench`` does; finished steps come from the store.

    The logger ``howfar`` tells the progress: ``logging.basicConfig(level="INFO")`` shows it.

    Args:
        dataset: a name of ``DATASETS`` with settings; or ``Splits``, ``Data``, images and classes ``(X, y)`` as
            ``Data.from_arrays`` takes them, or a torch data set, of which a fifth of every class is held out for the
            test. None takes that of the suite.
        y: classes, where ``dataset`` holds the images alone.
        suite: a preset, as of ``howfar bench --suite``; None takes the first one for the data set.
        epochs: of every victim; None takes those of the suite.
        name: of your own data in tables and captions; None says how many images and classes there are.
        runs: folder or URL of the store.
        workers: number of processes; 0 runs in this one. A script with workers needs ``if __name__ == "__main__":``.
        device: of the tensors: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        settings: as of ``--set``, e.g. ``"train.lr=0.1"``.
        track: an experiment tracker, as of ``--track``: ``tensorboard:DIR``, ``wandb[:PROJECT]`` or ``mlflow[:URI]``.
        keys: the other keys of a suite, such as ``protectors``, ``models``, ``defenses``, ``tasks``, ``seeds`` and
            ``train``; see ``howfar.grid.suite.Suite``. All seeds are run, whatever ``until`` is.

    Raises:
        UsageError: for an unknown name or an invalid setting; HowfarError: if no victim could be trained.

    Example:
        >>> import tempfile
        >>> from howfar import DATASETS, bench
        >>> few = DATASETS["digits"]().train.take(range(200))
        >>> options = {"protectors": ["ops"], "models": ["linear"], "defenses": ["none"], "seeds": [0]}
        >>> results = bench(few, runs=tempfile.mkdtemp(), **options, train={"epochs": 1, "flip": False})
        >>> sorted(row.protector for row in results.page.rows)
        ['clean', 'ops']
    """
    if y is not None:
        dataset = own_data.with_classes(dataset, y)
    if name is not None and (dataset is None or isinstance(dataset, str)):
        raise UsageError("name is for your own data; a data set with a name keeps it. Leave out name.")
    place = engine.choose_device(device)
    workers = engine.choose_workers(workers, place)
    log_run, store, settings = tracker(track), open_store(str(runs)), tuple(settings)
    called, named = _call(dataset, suite, epochs, settings, keys), {}
    if isinstance(dataset, str):
        named = {"dataset": dataset}
    elif dataset is not None:
        splits = dataset if isinstance(dataset, Splits) else own_data.splits_of(dataset)
        title = own_data.title_of(splits) if name is None else name
        named, called = {"dataset": own_data.keep(splits, store, title)}, f"{called}  # data: {title}"
    over = {} if epochs is None else {"train": {"epochs": epochs}}
    asked = make_suite(suite, {**named, **keys}, over, settings=settings).experiments()
    experiments, left_out = runnable(asked)
    note_data(experiments, store)
    failures = []
    events = engine.run(experiments, store, workers=workers, device=place)
    for event in tracked(events, experiments, store, log_run):
        if event.status not in ("done", "failed", "cached"):
            continue
        log.info("%s: %s (%.1f s) %s", event.status, event.step, event.seconds, event.note)
        if event.status == "failed":
            failures.append((event.step, in_python(event.note)))
    victims = sorted(experiment.steps()[1].key for experiment in experiments)
    request = {"victims": victims, "command": called}
    store.save(Record("bench", store.key("bench", request), request, "done", {}, {}))
    if not any(store.done("victim", key) for key in victims):
        step, error = failures[0] if failures else ("no step", "nothing was run")
        raise HowfarError(f"no victim was trained. {step} failed: {error}")
    return Results(collect(store, victims), failures, left_out, store.place)


def _call(
    dataset: Any, suite: str | None, epochs: int | None, settings: tuple[str, ...], keys: Mapping[str, Any]
) -> str:  # fmt: skip
    """Return the call as Python, for whoever wants to repeat it; where it ran and what it kept are left out."""
    given = {"suite": suite, "epochs": epochs, "settings": settings or None, **keys}
    first = [] if dataset is None else [repr(dataset) if isinstance(dataset, str) else "data"]
    told = [*first, *(f"{name}={value!r}" for name, value in given.items() if value is not None)]
    return f"howfar.bench({', '.join(told)})"

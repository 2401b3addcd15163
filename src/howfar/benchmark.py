"""Whole benchmarks from Python: ``bench`` runs the cells of a suite, ``Results`` shows what came out."""

import html
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from howfar import engine
from howfar.data import Data, Splits, halves
from howfar.data.own import data_of
from howfar.engine.track import tracked, tracker
from howfar.errors import HowfarError, UsageError, require
from howfar.grid.dry_run import note_data
from howfar.grid.overrides import make_suite
from howfar.grid.runnable import runnable
from howfar.report import crosstask, profile
from howfar.report.leaderboard import HEADER, as_markdown, texts, title
from howfar.store import Store, open_store, write_text
from howfar.tables.collect import collect
from howfar.tables.page import Page
from howfar.unfinished import atomic_write

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TEST_SHARE = 0.2  # of every class, where no test images are given
SHOWN = 6  # rows of the leaderboard in a repr
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
        """Return one line per row of the leaderboard, at most 6."""
        rows = self.page.rows
        lines = [f"  {row.protector} / {row.model} / {row.defense}: drop {row.drop.text}" for row in rows[:SHOWN]]
        more = [f"  and {len(rows) - SHOWN} more rows"] if len(rows) > SHOWN else []
        failed = f", {len(self.failures)} failed steps" if self.failures else ""
        return "\n".join([f"Results({len(rows)} rows{failed} in {self.store})", *lines, *more])

    def _repr_html_(self) -> str:
        """Return the leaderboard as tables for a notebook."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in HEADER)
        parts = []
        for group in self.page.groups:
            cells = ["".join(f"<td>{html.escape(text)}</td>" for text in texts(row)) for row in group.rows]
            body = "".join(f"<tr>{line}</tr>" for line in cells)
            caption = html.escape(title(group.rows[0])) if group.rows else ""
            parts.append(f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>")
        return "".join(parts)

    def leaderboard(self) -> str:
        """Return all tables as Markdown: across tasks, worst cases, and one row per protector, victim and defense."""
        page = self.page
        return crosstask.as_markdown(page.matrices) + profile.as_markdown(page.profiles) + as_markdown(page.rows)

    def to_pandas(self) -> Any:
        """Return one row per cell as a ``pandas.DataFrame``, with the columns of ``howfar store export``.

        ``docs/json.md`` describes them (schema ``cells``): the columns of ``leaderboard.csv``, followed by settings,
        versions and device. What is unknown or undefined is None, or NaN in a column of numbers.
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
        """Write the page, one file that opens offline.

        Raises:
            HowfarError: if it cannot be written.
        """
        from howfar.report.render import render

        write_text(Path(path), render(self.page))


def bench(
    dataset: Any = None, *, suite: str | None = None, epochs: int | None = None,
    runs: str | Path = "runs", workers: int = 0, device: str = "auto", settings: Iterable[str] = (),
    track: str | None = None, **keys: Any,
) -> Results:  # fmt: skip
    """Protect, train, probe and score a grid of cells, as ``howfar bench`` does; finished steps come from the store.

    The logger ``howfar`` tells the progress: ``logging.basicConfig(level="INFO")`` shows it.

    Args:
        dataset: a name of ``DATASETS`` with settings; or ``Splits``, ``Data``, images and classes ``(X, y)`` as
            ``Data.from_arrays`` takes them, or a torch data set, of which a fifth of every class is held out for the
            test. None takes that of the suite.
        suite: a preset, as of ``howfar bench --suite``; None takes the first one for the data set.
        epochs: of every victim; None takes those of the suite.
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
    if isinstance(dataset, np.ndarray | torch.Tensor):
        raise UsageError("images alone have no classes. Pass (images, classes).")
    log_run, store = tracker(track), open_store(str(runs))
    named = {} if dataset is None else {"dataset": dataset if isinstance(dataset, str) else _kept(dataset, store)}
    over = {} if epochs is None else {"train": {"epochs": epochs}}
    asked = make_suite(suite, {**named, **keys}, over, settings=settings).experiments()
    experiments, left_out = runnable(asked)
    note_data(experiments, store)
    failures = []
    events = engine.run(experiments, store, workers=workers, device=engine.choose_device(device))
    for event in tracked(events, experiments, store, log_run):
        if event.status not in ("done", "failed", "cached"):
            continue
        log.info("%s: %s (%.1f s) %s", event.status, event.step, event.seconds, event.note)
        if event.status == "failed":
            failures.append((event.step, event.note))
    victims = [experiment.steps()[1].key for experiment in experiments]
    if not any(store.done("victim", key) for key in victims):
        step, error = failures[0] if failures else ("no step", "nothing was run")
        raise HowfarError(f"no victim was trained. {step} failed: {error}")
    return Results(collect(store, victims), failures, left_out, store.place)


def _kept(dataset: Any, store: Store) -> str:
    """Write a data set to the folder of the store, and return its name for ``DATASETS``.

    Raises:
        UsageError: for a store that is no folder, or data without classes and without test images.
    """
    if not Path(store.place).is_dir():
        raise UsageError(f"{store.place} is no folder, so it cannot keep a data set. Pass the name of one.")
    splits = dataset if isinstance(dataset, Splits) else _split(dataset)
    parts = {"train": splits.train, "test": splits.test}
    numbered = [replace(part, ids=torch.arange(len(part))) for part in parts.values()]
    digest = "".join(part.digest()[:4] for part in numbered)
    path = (Path(store.place) / "own" / f"own-{digest}.npz").resolve()
    if not path.exists():
        arrays: dict[str, Any] = {"classes": np.array(splits.classes)} if splits.classes else {}
        for name, part in parts.items():
            arrays[f"x_{name}"] = part.pixels.numpy()
            arrays |= {_key(name, target): values.numpy() for target, values in part.targets.items()}
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as draft, draft.open("wb") as file:
            np.savez(file, **arrays)
    return f'npz:"{path}"' if splits.flip else f'npz:"{path}"[flip=false]'


def _key(part: str, target: str) -> str:
    """Return the name of a target in an archive."""
    return f"y_{part}" if target == "label" else f"y_{part}_{target}"


def _split(dataset: Any) -> Splits:
    if isinstance(dataset, tuple) and len(dataset) == 2:
        data = data_of(*dataset)
    else:
        data = dataset if isinstance(dataset, Data) else Data.from_torch(dataset)
    data = replace(data, ids=torch.arange(len(data)))  # archives number the images
    if data.classes is None:
        raise UsageError("the images have no classes to split by. Pass Splits(train, test, classes=(), flip=False).")
    train, test = halves(data, TEST_SHARE, target=data.classes)
    return Splits(train, test, classes=(), flip=True)

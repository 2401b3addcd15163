"""Terminal output of the command line: tables and messages."""

import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from howfar.errors import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from howfar.report.text_tables import TextTable
    from howfar.score import Distance
    from howfar.tables.leaderboard import Row
    from howfar.tables.page import Page

T = TypeVar("T")
PIPE_WIDTH = 10_000  # columns if the output is not a terminal: nothing is cut or wrapped
Form = Literal["table", "json", "markdown", "latex"]


def show_log() -> None:
    """Send the library's log messages, such as the progress of a long measurement, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("howfar")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Print each warning once, as one line on stderr, without its source location."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in shown:
            say(f"warning: {message}", style="yellow")
        shown.add(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def show_leaderboard(page: "Page", *, form: Form = "table", wide: bool = False) -> None:
    """Print the results of a run; for several tasks, one table across them.

    Args:
        page: the results.
        form: ``table`` adds the verdict; the others print nothing else.
        wide: print every table with every column, not only what fits 80 characters.
    """
    from howfar.report.leaderboard import as_json
    from howfar.report.text_tables import tables_of
    from howfar.report.verdict import verdict

    if form == "json":
        out(as_json(page.rows).rstrip())
        return
    show_tables(tables_of(page, wide=wide), form)
    if form == "table":
        for sentence in verdict(page.verdicts):
            tell(sentence)


def show_tables(tables: "Iterable[TextTable]", form: Form = "table") -> None:
    """Print tables with a title."""
    from rich.table import Table
    from rich.text import Text

    if form in ("markdown", "latex"):
        out("\n".join(table.markdown if form == "markdown" else table.latex for table in tables).rstrip())
        return
    console = console_on(sys.stdout)
    for table in tables:
        drawn = Table(title=Text(escaped(table.title)), title_justify="left", header_style="bold")
        for name, number in zip(table.columns, table.numeric, strict=True):
            heading = name.replace(", ", "\n").replace(" (", "\n(")  # as wide as its longest line
            drawn.add_column(Text(heading), justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text(escaped(cell)) for cell in row))  # Text: brackets in names are not markup
        console.print(drawn)
        if table.note:
            tell(table.note)


def show_budget(budget: "Mapping[str, Any]") -> None:
    """Print the size and visibility of the perturbation."""
    from howfar.score import psnr_text, ssim_text

    rows = [
        ("L∞, after rounding", f"{budget['linf']}/255"), ("L2, mean", f"{budget['l2']:.3f}"),
        ("pixels changed", f"{100 * budget['l0']:.1f} %"),
        ("PSNR", psnr_text(budget["psnr"], budget["linf"], " dB")), ("SSIM", ssim_text(budget["ssim"])),
    ]  # fmt: skip
    show_table(["change", "measured"], rows)


def show_distance(distance: "Distance", row: "Row", *, confidence: float) -> None:
    """Print UD, its components, and the drop in test performance."""
    from howfar.report.numbers import ranged

    rows = [
        (f"UD ({100 * confidence:g} % interval over seeds)", ranged(distance.ud, ".3f")),
        ("standard error from the probe images", f"{distance.probe_error:.3f}"),
        ("β, nats", f"{distance.beta:.4f}"),
        ("learnable layers, clean, per epoch", " ".join(f"{count:.3g}" for count in distance.clean_layers)),
        ("learnable layers, poisoned, per epoch", " ".join(f"{count:.3g}" for count in distance.poisoned_layers)),
        (f"{row.metric} on clean test images", f"{row.clean:.3f} → {row.poisoned:.3f}"),
    ]
    rows += [
        (f"margin in the last epoch, {name}", f"clean {clean:+.4f}, poisoned {poisoned:+.4f}")
        for (name, clean), poisoned in zip(
            distance.clean_margins[-1].items(), distance.poisoned_margins[-1].values(), strict=True
        )
    ]
    show_table(["what", "found"], rows)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["-"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    console_on(sys.stdout).print(_table(columns, rows))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(name)) for name in columns), header_style="bold")
    for row in rows:
        table.add_row(*(Text(escaped(cell)) for cell in row))  # Text: brackets in names are not markup
    return table


class _Show:
    """Draws a table with a line below; on a terminal, repeated calls redraw it in place."""

    def __init__(self, console: "Console", live: "Live | None") -> None:
        self.console, self._live = console, live

    @property
    def live(self) -> bool:
        """Whether it can be redrawn."""
        return self._live is not None

    def __call__(self, columns: Sequence[str], rows: Iterable[Sequence[str]], below: str) -> None:
        from rich.console import Group
        from rich.text import Text

        drawn = Group(_table(columns, rows), Text(below))
        if self._live is None:
            self.console.print(drawn)
        else:
            self._live.update(drawn, refresh=True)


@contextmanager
def screen() -> Iterator[_Show]:
    """Yield a function that draws a table and, on a terminal, redraws it in place."""
    from rich.live import Live

    console = console_on(sys.stdout)
    if not console.is_terminal:
        yield _Show(console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Show(console, live)


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    out(json_text(value))


def json_text(value: Any) -> str:
    """Return a value as JSON; non-finite numbers become null, since JSON has no infinity."""
    from howfar.score.estimate import to_json

    return json.dumps(to_json(value), indent=1, ensure_ascii=False, allow_nan=False)


def out(text: str) -> None:
    """Print to standard output."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """Print sentences to standard output; a terminal gets lines that end between words.

    Paragraphs with indented lines, such as examples, are kept as they are.
    """
    console = console_on(sys.stdout)
    for part in text.split("\n\n"):
        kept = console.width == PIPE_WIDTH or any(line[:1] in (" ", ">") for line in part.splitlines())
        console.print(escaped(part if kept else " ".join(part.split())), markup=False, highlight=False, soft_wrap=kept)
        if "\n\n" in text:
            console.print()


def say(text: str, style: str | None = None) -> None:
    """Print a message to standard error."""
    console_on(sys.stderr).print(escaped(text), style=style, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a duration in a readable unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def console_on(stream: Any) -> "Console":
    """Return a console that wraps lines on a terminal only."""
    from rich.console import Console

    class Quiet(Console):
        """Leaves it to the command line what to do if the reader of a pipe has closed it."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Quiet(file=stream, width=None if stream.isatty() else PIPE_WIDTH)

"""Options and helpers shared by all commands."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import arg

from howfar.commands import terminal
from howfar.errors import UsageError, require

if TYPE_CHECKING:
    from howfar.spec import Spec
    from howfar.store import Store

UNITS = {"s": 1, "m": 60, "h": 3600}


def option(metavar: str, default: str | None = None, *aliases: str) -> Any:
    """Return how help shows an option.

    Args:
        metavar: a word for its value.
        default: what the default resolves to; None shows the value of the field, and an empty text nothing.
        aliases: short names, such as ``-o``.
    """
    hint = None if default is None else f"(default: {default})" if default else ""
    return arg(metavar=metavar, help_behavior_hint=hint, aliases=aliases or None)


Flag = Annotated[bool, arg(help_behavior_hint="")]  # "(default: False)" would say nothing
Device = Annotated[str, option("NAME", "auto")]
Workers = Annotated[int | None, option("N", "one per core; one on a GPU")]
StorePath = Annotated[str, option("PATH")]


@dataclass(kw_only=True)
class Common:
    """Options of every command.

    Attributes:
        examples: commands that help ends with.
    """

    examples: ClassVar[tuple[str, ...]] = ()

    debug: Flag = False
    """Show the full traceback of an error."""

    def __call__(self) -> int:
        """Run the command; returns its exit code."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Printed(Common):
    """How results are printed."""

    json: Flag = False
    """Print JSON instead of tables."""
    markdown: Flag = False
    """Print Markdown tables."""
    latex: Flag = False
    """Print LaTeX tables for a paper (they need the package booktabs)."""

    @property
    def form(self) -> terminal.Form:
        """The one that was asked for; a table if none was.

        Raises:
            UsageError: if several were.
        """
        forms: dict[terminal.Form, bool] = {"json": self.json, "markdown": self.markdown, "latex": self.latex}
        asked = [form for form, wanted in forms.items() if wanted]
        if len(asked) > 1:
            raise UsageError(f"--{asked[0]} and --{asked[1]} exclude each other. Give one of them.")
        return asked[0] if asked else "table"

    def tell_layers(
        self, name: str, found: "Sequence[Any]", tables: "Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]]",
        store: "Store",
    ) -> None:  # fmt: skip
        """Write ``NAME.json`` and ``NAME.md``, and print the first table.

        Args:
            name: of the files.
            found: the results.
            tables: columns and rows: an overview, then one table of layers per result.
            store: where the files go.
        """
        from howfar.report.text_tables import TextTable

        values = [one.as_dict() for one in found]
        store.leave(f"{name}.json", terminal.json_text(values) + "\n")
        store.leave(f"{name}.md", "\n".join(terminal.markdown(*table) for table in tables))
        if self.form == "json":
            terminal.show_json(values)
        else:
            columns, rows = tables[0]
            terminal.show_tables([TextTable("", tuple(columns), [tuple(row) for row in rows])], self.form)
            terminal.say(f"layers: {store.root / f'{name}.md'}")


def require_page() -> None:
    """Refuse to start work whose page could not be written."""
    require("plotly", "report", "the page")


def opened(place: str, *, reading: bool = False) -> "Store":
    """Return the store at a URL, in a folder or in a file; what cannot be written is read all the same.

    Args:
        place: folder, URL or file.
        reading: write nothing there, not even what spares the next reader time.

    Raises:
        UsageError: if nothing is there, or something that is no store.
    """
    from howfar.store import MARK, is_url, open_store

    if not is_url(place) and not Path(place).exists():
        raise UsageError(f"there is no store in {place}. Give what howfar bench was given with --runs.")
    reading = reading or Path(place).is_file() or not (is_url(place) or os.access(place, os.W_OK))
    store = open_store(place, reading=True)
    if not store.recognized:  # before it is marked
        raise UsageError(
            f"{place} is no store: it has no mark ({MARK}), and no record lies in it. "
            "Give the folder or URL that howfar bench was given with --runs."
        )
    return store if reading else open_store(place)


def tell_left_out(datasets: "Iterable[Spec[Any]]") -> None:
    """Say which images of folders are passed over, once for each folder."""
    from howfar.data.folder import left_out
    from howfar.data.tree import summary

    for root in sorted({str(spec.settings["root"]) for spec in datasets if spec.name == "folder"}):
        found = left_out(Path(root))
        if found:
            terminal.say(f"{root}: {summary(found)}")


def to_seconds(text: str) -> float:
    """Return a time such as 90s, 30m or 2h (or a number of seconds) in seconds.

    Raises:
        UsageError: if it is none, or not above 0.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"'{text}' is no time. Write e.g. 90s, 30m or 2h.")
    return seconds

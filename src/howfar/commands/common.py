"""What all commands share."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import arg

from howfar import terminal
from howfar.errors import UsageError, require

if TYPE_CHECKING:
    from howfar.spec import Spec

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


def require_page() -> None:
    """Refuse to start work whose page could not be written."""
    require("plotly", "report", "the page")


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

"""``howfar leaderboard`` and ``howfar report``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from howfar import terminal
from howfar.commands.common import Common
from howfar.commands.store import opened

if TYPE_CHECKING:
    from howfar.report.page import Page


@dataclass(kw_only=True)
class Leaderboard(Common):
    """Print the leaderboard of all runs in a store."""

    runs: Positional[str] = "runs"
    """Folder or URL of the store."""
    json: bool = False
    """Print as JSON."""

    def __call__(self) -> int:
        terminal.show_leaderboard(_page(self.runs, brief=True), as_json=self.json)
        return 0


@dataclass(kw_only=True)
class Report(Common):
    """Write the page of all runs in a store."""

    runs: Positional[str] = "runs"
    """Folder or URL of the store."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("report.html")
    """The file to write."""

    def __call__(self) -> int:
        from howfar.report.page import render
        from howfar.store import write_text

        write_text(self.output, render(_page(self.runs)))
        terminal.say(f"page: {self.output}")
        return 0


def _page(runs: str, *, brief: bool = False) -> "Page":
    from howfar.results import collect

    return collect(opened(runs), brief=brief)

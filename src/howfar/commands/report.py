"""``howfar leaderboard``, ``howfar submit`` and ``howfar report``."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from howfar.commands import terminal
from howfar.commands.common import Common, Flag, Printed, opened, option
from howfar.errors import UsageError

if TYPE_CHECKING:
    from howfar.tables.entry import Entry
    from howfar.tables.page import Page


@dataclass(kw_only=True)
class Leaderboard(Printed):
    """Print the leaderboard of a store or of submitted rows."""

    examples: ClassVar = ("howfar leaderboard runs --against clean", "howfar leaderboard runs --html site")

    runs: Annotated[Positional[str], option("[STORE]")] = "runs"
    """Folder, URL or packed file of the store, or folder of rows written by howfar submit."""
    against: Annotated[str, option("NAME", "")] = ""
    """Compare all protectors with this one on the same test images, paired by image and seed: difference in test
    accuracy, whether it is significant, and the minimum detectable difference. For classification."""
    html: Annotated[Path | None, option("FOLDER", "")] = None
    """Write a static site: a page that ranks by the worst case, and one JSON file per row."""
    overwrite: Flag = False
    """Replace an index.html in that folder that howfar did not write."""
    wide: Flag = False
    """Print every table with every column, not only what fits 80 characters."""

    def __call__(self) -> int:
        form = self.form
        if self.against:
            return self._compare()
        if self.html is None and not _rows_of(self.runs):
            terminal.show_leaderboard(_page(self.runs, brief=True), form=form, wide=self.wide)
            return 0
        from howfar.report import site
        from howfar.report.text_tables import TextTable
        from howfar.tables.ranking import files, names, ranked
        from howfar.tables.verified import LIST, digest, listed, verified_in

        index = None if self.html is None else self.html / "index.html"
        if index is not None and index.exists() and not self.overwrite and not site.is_one(index):
            raise UsageError(f"{index} is another page. Choose another folder, or give --overwrite.")
        entries = _entries(self.runs)
        verified = verified_in(Path(self.runs)) if _rows_of(self.runs) else None
        if self.html is not None:
            _write(self.html / "rows", entries)
            if verified:
                pairs = zip(entries, files(entries), strict=True)
                _text(self.html / "rows" / LIST, listed(pair for pair in pairs if digest(pair[0]) in verified))
            _text(self.html / "index.html", site.render(entries, verified))
            terminal.say(f"site: {self.html / 'index.html'}, {len(entries)} rows")
        elif form == "json":
            terminal.out("[" + ",".join(entry.as_json() for entry in entries) + "]")
        else:
            for rows in ranked(entries):
                title = f"{rows[0].victim[0]}\n{site.about(rows[0])}"
                lines = [site.texts(*each, verified) for each in zip(rows, names(rows), strict=True)]
                terminal.show_tables([TextTable(title, site.header(rows[0].metric), lines)], form)
        return 0

    def _compare(self) -> int:
        from howfar.report.paired import tables
        from howfar.tables.paired import paired_rows

        if self.html is not None or _rows_of(self.runs):
            raise UsageError("--against compares victims of a store. Give a store, and leave out --html.")
        rows = paired_rows(opened(self.runs, reading=True), self.against)
        if self.form == "json":
            terminal.show_json([row.as_dict() for row in rows])
        else:
            terminal.show_tables(tables(rows, self.against), self.form)
        return 0


@dataclass(kw_only=True)
class Submit(Common):
    """Write the rows of a store for a public leaderboard.

    Writes one JSON file per protector and victim, with the result of every seed.
    """

    examples: ClassVar = ("howfar submit runs -o rows", "howfar submit runs -o rows --dry-run")

    runs: Annotated[Positional[str], option("[STORE]")] = "runs"
    """Folder, URL or packed file of the store."""
    output: Annotated[Path, option("FOLDER", None, "-o")] = Path("rows")
    """Folder to write the rows to."""
    only: Annotated[str, option("NAMES", "all")] = ""
    """Protectors to include, e.g. em,lsp."""
    reported: Annotated[float | None, option("QUALITY", "")] = None
    """Published quality without defense, e.g. 0.2078. Needs --source, and --only with one protector."""
    source: Annotated[str, option("TEXT", "")] = ""
    """Source of that number, e.g. "APBench, June 2023"."""
    dry_run: Flag = False
    """Show what would be written, and stop."""

    def __call__(self) -> int:
        from howfar.spec.syntax import split_names
        from howfar.tables.entry import Reported
        from howfar.tables.ranking import files

        names = split_names(self.only) if self.only else []
        if self.reported is not None and not math.isfinite(self.reported):
            raise UsageError(f"--reported {self.reported} is no quality. Give a number such as 0.2078.")
        entries = [
            entry for entry in _entries(self.runs, reading=self.dry_run) if not names or entry.protector in names
        ]
        missing = sorted(set(names) - {entry.protector for entry in entries})
        if missing:
            raise UsageError(f"{self.runs} holds no runs of {', '.join(missing)}. See howfar leaderboard {self.runs}.")
        if self.reported is not None:
            if len(names) != 1 or not self.source:
                raise UsageError("--reported is about one protector and has a source. Give --only NAME and --source.")
            entries = [replace(entry, reported=Reported(self.reported, self.source)) for entry in entries]
        for entry, name in zip(entries, files(entries), strict=True):
            doubts = f" (unreliable: {'; '.join(entry.doubts())})" if entry.doubts() else ""
            terminal.out(f"{self.output / name}{doubts}")
        if not self.dry_run:
            _write(self.output, entries)
        return 0


@dataclass(kw_only=True)
class Report(Common):
    """Write the HTML report of all runs in a store."""

    examples: ClassVar = ("howfar report runs", "howfar report runs -o page.html")

    runs: Annotated[Positional[str], option("[STORE]")] = "runs"
    """Folder, URL or packed file of the store."""
    output: Annotated[Path, option("FILE", None, "-o")] = Path("report.html")
    """File to write."""

    def __call__(self) -> int:
        from howfar.report.render import render
        from howfar.store import save_text

        save_text(self.output, render(_page(self.runs)))
        terminal.say(f"page: {self.output}")
        return 0


def _page(runs: str, *, brief: bool = False) -> "Page":
    from howfar.tables import collect

    return collect(opened(runs), brief=brief)


def _rows_of(runs: str) -> list[Path]:
    """Return the rows in a folder; none if it is a store."""
    from howfar.store import is_url, open_store

    if is_url(runs) or not Path(runs).is_dir() or open_store(runs, reading=True).recognized:
        return []
    return sorted(path for path in Path(runs).glob("*.json") if not path.name.startswith("."))


def _entries(runs: str, *, reading: bool = False) -> "list[Entry]":
    from howfar.tables.entries import entries
    from howfar.tables.entry_file import read

    rows = _rows_of(runs)
    return [read(path) for path in rows] if rows else entries(opened(runs, reading=reading))


def _write(folder: Path, entries: "list[Entry]") -> None:
    from howfar.tables.ranking import files

    for entry, name in zip(entries, files(entries), strict=True):
        _text(folder / name, entry.as_json())


def _text(path: Path, text: str) -> None:
    from howfar.store import save_text

    save_text(path, text)

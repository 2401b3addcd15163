"""``howfar verify-row``: does a row of a leaderboard come out again?"""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from howfar.commands import terminal
from howfar.commands.bench import Bench
from howfar.commands.common import Common, Device, Flag, StorePath, Workers, option
from howfar.errors import HowfarError, UsageError

if TYPE_CHECKING:
    from howfar.grid.experiment import Experiment
    from howfar.tables.entry import Entry


@dataclass(kw_only=True)
class VerifyRow(Common):
    """Run a leaderboard row again, and list it as verified if the results agree.

    Trains the victims of the row with its commands, seeds and settings, on the same data. Mean qualities and UD must
    lie within the row's intervals over seeds, and L∞ within 1/255. A row with one seed has no interval and must come
    out the same. A row that agrees is added to the file VERIFIED beside it; any change of the row invalidates this.
    Exits with code 1 if the results disagree. The same command resumes an interrupted run.
    """

    examples: ClassVar = (
        "howfar verify-row rows/em.json",
        "howfar verify-row rows/em.json --dry-run",
    )

    row: Annotated[Positional[Path], option("ROW")]
    """Row written by howfar submit."""
    data_root: Annotated[Path | None, option("PATH", "~/.cache/howfar")] = None
    """Folder or file that holds the data set."""
    download: Flag = False
    """Download the data set if it is missing."""
    workers: Workers = None
    """Worker processes; 0 runs everything in this process."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    runs: StorePath = "verify-row"
    """Folder of the store."""
    dry_run: Flag = False
    """Show what would run and for how long, and stop."""

    def __call__(self) -> int:
        from howfar.store import open_store
        from howfar.tables.entries import entries
        from howfar.tables.entry_file import faults, read

        row = read(self.row)
        wrong = next(iter(faults(self.row)), "")
        if wrong:
            raise HowfarError(f"{self.row}: {wrong} Rows that contradict themselves are not run.")
        grids = self._grids(row)
        cells = {cell.steps()[1].key: cell for grid in grids for cell in _of_row(row, grid.experiments())}
        if all(cell.protector.label == "clean" for cell in cells.values()):
            raise HowfarError(
                f"the commands of {self.row} train no such victim with this version of howfar and these data. "
                "Compare its 'settings' and 'versions' with howfar show."
            )
        store = open_store(self.runs, reading=self.dry_run)
        failures = grids[0].run(list(cells.values()), store)
        if self.dry_run or grids[0].follows:
            return 0
        if failures:
            raise HowfarError(f"{len(failures)} steps failed, the first one {failures[0][0]}: {failures[0][1]}")
        again = next((entry for entry in entries(store) if entry.name == row.name), None)
        if again is None:
            raise HowfarError(
                f"{self.row} was run on other data, or with another recipe or version, than its commands give here. "
                "Give --data-root, or the version of howfar that it was run with."
            )
        return self._judge(row, again)

    def _grids(self, row: "Entry") -> list[Bench]:
        """Return the grids of the row's commands; of these, only the choice of cells is taken over."""
        grids = []
        for command in row.commands:
            asked = _parsed(command)
            if asked.config is not None:
                raise UsageError(f"the row's command reads {asked.config}, which is not part of the row: {command}")
            grids.append(
                replace(
                    asked, runs=self.runs, workers=self.workers, device=self.device, data_root=self.data_root,
                    download=self.download, dry_run=self.dry_run, json=False, ray=None, time_limit=None,
                    suite="quick" if asked.quick else asked.suite,
                )
            )  # fmt: skip
        if not grids:
            raise UsageError(f"{self.row} names no command that ran it, so it cannot be run again.")
        return grids

    def _judge(self, row: "Entry", again: "Entry") -> int:
        from howfar.report.numbers import shown
        from howfar.store import save_text
        from howfar.tables.verified import LIST, identical, repeated, with_row

        found = repeated(row, again)
        same, agrees = identical(row, again), all(one.agrees for one in found)
        if agrees:
            save_text(self.row.parent / LIST, with_row(self.row.parent, row, self.row.name))
        terminal.show_table(
            ["what", "in the row", "again", "may differ by", "agrees"],
            [
                (
                    one.what, *(shown(one.metric, value) for value in (one.stated, one.again, one.allowed)),
                    "yes" if one.agrees else "no",
                )
                for one in found
            ],
        )  # fmt: skip
        how = "every seed gives the same quality" if same else "the numbers lie within the row's intervals"
        terminal.tell(f"{self.row}: verified; {how}." if agrees else f"{self.row}: not verified; the results disagree.")
        return 0 if agrees else 1


def _parsed(command: str) -> Bench:
    """Return the benchmark that a command of a row asked for.

    Raises:
        UsageError: for another command.
    """
    from howfar.commands.parser import parse

    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    asked = parse(words[1:]) if words[:2] == ["howfar", "bench"] and "--help" not in words else None
    if not isinstance(asked, Bench):
        raise UsageError(f"the row was not run by howfar bench, but by: {command}. It cannot be run again.")
    return asked


def _of_row(row: "Entry", cells: "list[Experiment]") -> "list[Experiment]":
    """Return the cells of a row: its clean and protected victims, by defense and seed."""
    seeds = {defense: set(runs.seeds) for defense, runs in row.runs.items()}
    return [
        cell for cell in cells
        if cell.seed in seeds.get(cell.defense.label, ())
        and cell.model.label == row.model
        and cell.task.label == row.task.rpartition(" of ")[2]
        and (cell.protector.label == "clean" or cell.protector.key() == row.settings)
    ]  # fmt: skip

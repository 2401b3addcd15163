"""``howfar store check | gc | export | import | pack``: maintenance of stores."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from howfar.commands import terminal
from howfar.commands.common import Common, Flag, StorePath, opened, option
from howfar.errors import HowfarError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from howfar.store import Finding, Store

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(kw_only=True)
class Check(Common):
    """Check every record and array of a store for damage.

    Also lists leftovers and failed steps. Exits with code 1 if anything is damaged or lost.
    """

    examples: ClassVar = ("howfar store check", "howfar store check runs --json")

    runs: Annotated[Positional[str], option("[STORE]")] = "runs"
    """Folder, URL or packed file of the store."""
    json: Flag = False
    """Print JSON instead of a table."""

    def __call__(self) -> int:
        from howfar.store import check

        store = opened(self.runs)
        findings = list(check(store))
        findings += _impossible(store, {finding.path for finding in findings if finding.harm})
        _show(findings, store, as_json=self.json)
        harm = sum(finding.harm for finding in findings)
        terminal.say(f"{harm} damaged. Run howfar store gc --damaged, then the same bench again." if harm else "sound.")
        return 1 if harm else 0


@dataclass(kw_only=True)
class Gc(Common):
    """Remove the leftovers of interrupted runs from a store.

    Options remove more, all of which can be computed again.
    """

    examples: ClassVar = ("howfar store gc --dry-run", "howfar store gc --failed --arrays")

    runs: Annotated[Positional[str], option("[STORE]")] = "runs"
    """Folder of the store."""
    failed: Flag = False
    """Also remove records of failed steps."""
    arrays: Flag = False
    """Also remove images, weights and landscapes. Tables need only records."""
    damaged: Flag = False
    """Also remove damaged records."""
    drafts: Flag = False
    """Also remove the saved progress of interrupted crafting."""
    dry_run: Flag = False
    """Show what would be removed, and stop."""
    json: Flag = False
    """Print JSON instead of a table."""

    def __call__(self) -> int:
        from howfar.store import clean, is_url, open_store, remove

        if is_url(self.runs):
            raise UsageError("gc clears up folders. Remove objects with the tools of their bucket.")
        store = opened(self.runs, reading=self.dry_run)
        if not self.dry_run:
            open_store(self.runs)  # says so where nothing can be removed
        findings = list(clean(store, failed=self.failed, arrays=self.arrays, damaged=self.damaged, drafts=self.drafts))
        findings += _impossible(store, {finding.path for finding in findings}) if self.damaged else []
        _show(findings, store, as_json=self.json)
        if not self.dry_run:
            for finding in findings:
                remove(finding)
        freed = size(sum(finding.bytes for finding in findings))
        terminal.say(f"{len(findings)} to remove, {freed}" if self.dry_run else f"{len(findings)} removed, {freed}")
        return 0


@dataclass(kw_only=True)
class ExportStore(Common):
    """Export one row per cell, or per victim, to CSV, JSON or Parquet.

    A row of a cell (protector, victim and defense) holds quality, drop, UD and alignment over seeds with intervals,
    settings, versions and device. It needs a seed with both a clean and a protected victim. --victims writes one row
    per finished victim instead, with its quality and cost.
    """

    examples: ClassVar = ("howfar store export cells.csv", "howfar store export victims.json --victims")

    output: Annotated[Positional[Path], option("FILE")]
    """File to write: .csv, .json or .parquet (which needs howfar[parquet])."""
    runs: StorePath = "runs"
    """Folder, URL or packed file of the store."""
    victims: Flag = False
    """Write one row per finished victim."""

    def __call__(self) -> int:
        from howfar.report.exported import write
        from howfar.tables import collect
        from howfar.tables.sound import sound_records
        from howfar.tables.victims import rows

        store = opened(self.runs)
        if self.victims:
            found = rows(store)
        else:
            sound_records(store, "victim")  # whole records, which brief tables do not check
            found = [row.as_cell() for row in collect(store, brief=True).rows]
        write(found, self.output)
        terminal.say(f"{len(found)} rows: {self.output}")
        return 0


@dataclass(kw_only=True)
class ImportStore(Common):
    """Copy the finished records of another store into this one.

    Nothing is copied if the two stores hold different results of the same step.
    """

    examples: ClassVar = ("howfar store import other", "howfar store import runs.jsonl.xz --runs merged")

    source: Annotated[Positional[str], option("STORE")]
    """Folder, URL or packed file of the other store."""
    runs: StorePath = "runs"
    """Folder or URL of the store to copy into."""

    def __call__(self) -> int:
        from howfar.store import UNSEALED, merge, open_store

        source = opened(self.source)
        wrong = _impossible(source, set())
        if wrong:
            place = _place(wrong[0], source)
            raise HowfarError(f"{place} is damaged ({wrong[0].what}). Remove it from {self.source} first.")
        taken = merge(open_store(self.runs), source)
        terminal.say(f"{len(taken)} records taken from {self.source}")
        unsealed = sum(bool(record.made.get(UNSEALED)) for record in taken)
        if unsealed:
            terminal.say(f"{unsealed} of them have no seal: nothing shows that they are as they were written.")
        return 0


@dataclass(kw_only=True)
class Pack(Common):
    """Pack all finished records of a store into one compressed file.

    Arrays are left out. Every command that reads a store accepts the file in place of the folder. The step 'bench'
    holds command lines with their paths: select other steps with --steps before you publish the file.
    """

    examples: ClassVar = ("howfar store pack", "howfar store pack runs -o victims.jsonl.xz --steps victim")

    runs: Annotated[Positional[str], option("[STORE]")] = "runs"
    """Folder, URL or packed file of the store."""
    output: Annotated[Path, option("FILE", None, "-o")] = Path("runs.jsonl.xz")
    """File to write."""
    steps: Annotated[str, option("NAMES", "all")] = ""
    """Steps to include, e.g. protect,victim."""
    dry_run: Flag = False
    """Show what would be written, and stop."""
    json: Flag = False
    """Print JSON instead of a table."""

    def __call__(self) -> int:
        from collections import Counter

        from howfar.spec.syntax import split_list
        from howfar.store import finished, packed, write_bytes

        store = opened(self.runs, reading=self.dry_run)
        held = store.steps()
        steps = split_list(self.steps) if self.steps else held
        missing = sorted(set(steps) - set(held))
        if missing or not held:
            raise UsageError(f"{self.runs} holds no records of {', '.join(missing) or 'any step'}, only: {held}.")
        records = list(finished(store, set(steps)))
        wrong = [finding for finding in _impossible(store, set()) if finding.path.parent.name in steps]
        if wrong:
            raise HowfarError(
                f"{_place(wrong[0], store)} is damaged ({wrong[0].what}). Remove it from {self.runs} first."
            )
        content = packed(records)
        if not self.dry_run:
            write_bytes(self.output, content)
        counts = Counter(record.step for record in records)
        if self.json:
            terminal.show_json({"file": str(self.output), "bytes": len(content), "records": counts})
        else:
            terminal.show_table(["step", "records"], [[step, str(count)] for step, count in sorted(counts.items())])
        terminal.say(f"{self.output}: {size(len(content))}{', not written' if self.dry_run else ''}")
        return 0


def _impossible(store: "Store", known: "Collection[Path]") -> "list[Finding]":
    """Return the records that lack what their step must hold, or say what cannot be, besides those that are known."""
    from howfar.store import Finding
    from howfar.tables.schema import fault

    found = []
    for step in store.steps():
        for key in store.keys(step):
            folder = store.root / step / key
            record = store.find(step, key) if folder not in known and store.owns(step, key) else None
            why = fault(record) if record is not None and record.step == step else ""
            if why:
                found.append(Finding(folder, why, harm=True))
    return found


def size(count: int) -> str:
    """Return a number of bytes as a person says it."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {UNITS[unit]}"


def _place(finding: "Finding", store: "Store") -> str:
    """Return what a finding is about, as the store was named; its records may lie in a temporary copy."""
    return str(finding.path).replace(str(store.root), store.place, 1)


def _show(findings: "list[Finding]", store: "Store", *, as_json: bool) -> None:
    if as_json:
        terminal.show_json([{**asdict(finding), "path": _place(finding, store)} for finding in findings])
    elif findings:
        rows = [[_place(f, store), f.what, "yes" if f.harm else "", size(f.bytes) if f.bytes else ""] for f in findings]
        terminal.show_table(["path", "what", "damaged", "size"], rows)

"""Rows of a public leaderboard that were run again: whether the results agree, and the list of verified rows."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from howfar.errors import HowfarError
from howfar.score.intervals import mean_interval
from howfar.score.metrics import SHARES
from howfar.tables.entry import Entry, SeedQualities

LIST = "VERIFIED"  # file in a folder of rows, in the format of sha256sum
EQUAL = 1e-6  # qualities that differ by less are the same


@dataclass(frozen=True)
class Repeated:
    """A number of a row that was measured again.

    Attributes:
        what: it is: ``NAME of DEFENSE`` for a mean quality, ``UD``, or ``L∞``.
        metric: its metric, for its unit.
        stated: in the row.
        again: measured now, with the same seeds.
        allowed: how far the two may be apart; 0 without an interval.
    """

    what: str
    metric: str
    stated: float
    again: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether they agree."""
        return abs(self.again - self.stated) <= max(self.allowed, EQUAL)


def repeated(row: Entry, again: Entry) -> list[Repeated]:
    """Return the numbers of a row beside those that were measured again.

    Both means of a quality scatter over seeds, so they may be √2 half-widths of the row's interval apart, plus one test
    image. The interval is Student's t at 95 % for all means together (Bonferroni). UD may be √2 half-widths of its
    interval apart, and L∞ 1/255.

    Raises:
        HowfarError: if something that the row states was not measured.
    """
    columns = [(defense, name) for defense, runs in row.runs.items() for name in _columns(runs)]
    image = 1 / row.test_images if row.metric in SHARES else 0.0
    found = []
    for defense, name in columns:
        stated, other = _columns(row.runs[defense])[name], _again(row, again, defense, name)
        low, high = mean_interval(list(stated.values()), 1 - 0.05 / len(columns))
        allowed = 0.0 if low is None or high is None else math.sqrt(0.5) * (high - low) + image
        before, after = (sum(of[seed] for seed in stated) / len(stated) for of in (stated, other))
        found.append(Repeated(f"{name} of {defense}", row.metric, before, after, allowed))
    if row.ud is not None:
        if again.ud is None:
            raise HowfarError("the row has a UD, which its commands do not measure.")
        ends = row.ud.mean.ends
        allowed = math.sqrt(0.5) * (ends[1] - ends[0]) if ends else 0.0
        found.append(Repeated("UD", "", row.ud.mean.value, again.ud.mean.value, allowed))
    linf, other_linf = row.visibility.get("linf"), again.visibility.get("linf")
    if linf is not None and other_linf is not None:
        found.append(Repeated("L∞", "", linf, other_linf, 1.0))
    return found


def identical(row: Entry, again: Entry) -> bool:
    """Return whether the same seeds gave the same qualities, as they do on the same machine with the same versions."""
    return all(
        abs(value - _again(row, again, defense, name)[seed]) <= EQUAL
        for defense, runs in row.runs.items()
        for name, stated in _columns(runs).items()
        for seed, value in stated.items()
    )


def digest(row: Entry) -> str:
    """Return the SHA-256 of a row's file, as howfar writes it."""
    return hashlib.sha256(row.as_json().encode()).hexdigest()


def verified_in(folder: Path) -> set[str]:
    """Return the digests of the rows that the list of a folder calls verified; none without a list."""
    try:
        lines = (folder / LIST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {line.split()[0] for line in lines if line.strip()}


def listed(rows: Iterable[tuple[Entry, str]]) -> str:
    """Return the text of a list: digest and file name of every row."""
    return "".join(f"{digest(row)}  {name}\n" for row, name in rows)


def with_row(folder: Path, row: Entry, name: str) -> str:
    """Return the text of a folder's list with one more row; a changed row replaces its earlier line."""
    return "".join([*(f"{line}\n" for line in _lines(folder) if line.split()[1:] != [name]), listed([(row, name)])])


def _lines(folder: Path) -> Iterator[str]:
    if (folder / LIST).exists():
        yield from (line for line in (folder / LIST).read_text(encoding="utf-8").splitlines() if line.strip())


def _columns(runs: SeedQualities) -> dict[str, dict[int, float]]:
    """Return the qualities of a defense by what was learned and by seed."""
    kept = dict(zip(("validation, clean", "validation, protected"), runs.validation or (), strict=False))
    columns = {"clean": runs.clean, "protected": runs.protected, **kept}
    return {name: dict(zip(runs.seeds, values, strict=True)) for name, values in columns.items()}


def _again(row: Entry, again: Entry, defense: str, name: str) -> dict[int, float]:
    """Return a column that was measured again."""
    found = _columns(again.runs[defense]).get(name, {}) if defense in again.runs else {}
    if not set(row.runs[defense].seeds) <= set(found):
        raise HowfarError(f"the row states '{name}' of defense '{defense}' for seeds that its commands do not run.")
    return found

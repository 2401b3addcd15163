"""Rows of a public leaderboard in their order, with names that tell them apart."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.naming import distinct
from howfar.spec.suffixes import distinguishing_suffixes
from howfar.tables.entry import Entry


def ranked(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the rows of each victim, best protection first: by the worst case, then by the drop without defense."""
    victims: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        victims[entry.victim].append(entry)
    return [sorted(rows, key=_place) for _, rows in sorted(victims.items())]


def names(rows: Sequence[Entry]) -> list[str]:
    """Return the protectors of the rows of a victim, with what tells two of one name apart."""
    kinds = [(row.protector, {**row.settings, "source_task": row.versions.get("source_task", 1)}) for row in rows]
    suffixes = distinguishing_suffixes(kinds)
    return [label + suffixes[label, canonical(kind)] for label, kind in kinds]


def files(entries: Sequence[Entry]) -> list[str]:
    """Return the file name of each row; rows of one name that differ get a digest of all that they hold.

    Raises:
        UsageError: if one row is given twice.
    """
    digests = [hashlib.sha256(entry.as_json().encode()).hexdigest() for entry in entries]
    rows = dict(zip(digests, entries, strict=True))
    if len(rows) < len(entries):
        twice = next(entry for digest, entry in zip(digests, entries, strict=True) if digests.count(digest) > 1)
        raise UsageError(f"the row of {twice.protector} ({twice.victim[0]}) is given twice. Remove one of its files.")
    wished = {digest: entry.name for digest, entry in rows.items()}
    found = distinct(
        wished, lambda digest, turn: f"{rows[digest].name.removesuffix('.json')}_{digest[: 7 + turn]}.json"
    )
    return [found[digest] for digest in digests]


def _place(entry: Entry) -> tuple[bool, float, float, str]:
    kept = entry.worst.kept.value if entry.worst else 0.0
    return entry.worst is None, -kept, -(entry.drop.value if entry.drop else 0.0), entry.protector

"""File names: assign unique ones, and pair copies with their originals."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import PurePosixPath

from howfar.errors import UsageError


def folded(name: str) -> str:
    """Return a name folded by case and Unicode form: names with equal results collide on some file systems."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def distinct(
    requested: Mapping[str, str], longer: Callable[[str, int], str], *, reserved: Collection[str] = ()
) -> dict[str, str]:
    """Assign unique names: the requested one, or a longer one where several items request the same.

    Args:
        requested: the requested name of each item, a path with ``/``.
        longer: returns an alternative name of an item; called with 1, 2, ... until one is free.
        reserved: names that only the item with the same key in ``requested`` may get.

    Returns:
        The names; no two collide on a case-insensitive file system, and none is a parent folder of another.
    """
    counts = Counter(folded(name) for name in requested.values())
    owners: dict[str, set[str]] = defaultdict(set)
    for name in reserved:
        owners[folded(name)].add(name)
    folders = {folded(str(parent)) for name in requested.values() for parent in PurePosixPath(name).parents}
    taken: set[str] = set()

    def free(name: str, who: str) -> bool:
        one = folded(name)
        return one not in taken and one not in folders and owners.get(one, set()) <= {who}

    found: dict[str, str] = {}
    for who, name in requested.items():
        if counts[folded(name)] == 1 and free(name, who):
            found[who] = name
            taken.add(folded(name))
    for who in requested:
        if who not in found:
            name = next(name for turn in count(1) if free(name := longer(who, turn), who))
            found[who] = name
            taken.add(folded(name))
    return {who: found[who] for who in requested}


def with_suffix(names: Sequence[str], suffix: str) -> dict[str, str]:
    """Return the names of files with another suffix, which replaces their own or, on a collision, is appended to it.

    ``a.jpg`` becomes ``a.png``; if there is an ``a.bmp`` too, both keep their suffix (``a.jpg.png``), and get a number
    if that is taken as well (``a.jpg.2.png``). No new name is the old name of another file.

    Args:
        names: of files, with ``/``.
        suffix: the new one, with its dot; if empty, every file keeps its own.
    """
    if not suffix:
        return {name: name for name in names}
    requested = {name: str(PurePosixPath(name).with_suffix(suffix)) for name in names}
    return distinct(
        requested, lambda name, turn: f"{name}{suffix}" if turn == 1 else f"{name}.{turn}{suffix}", reserved=names
    )


def paired(originals: Sequence[str], copies: Sequence[str]) -> dict[str, str]:
    """Return the copy of each original that has one: by the same name, else by the one ``with_suffix`` returns.

    Args:
        originals: names of the originals, relative to their folder.
        copies: names of the copies, relative to theirs.

    Raises:
        UsageError: if a copy matches several originals, or an original several copies.
    """
    found = {name: name for name in set(originals) & set(copies)}
    left = [name for name in originals if name not in found]
    others = set(copies) - set(found)
    wanted: dict[str, list[str]] = defaultdict(list)
    for suffix in sorted({PurePosixPath(name).suffix for name in others} - {""}):
        given = with_suffix(originals, suffix)
        for name in left:
            if given[name] in others:
                wanted[name].append(given[name])
    for name, several in wanted.items():
        if len(several) > 1:
            raise UsageError(f"{' and '.join(several)} may both be copies of {name}. Remove all but one.")
    found |= {name: one for name, (one,) in wanted.items()}
    _refuse_ambiguous([name for name in left if name not in wanted], others - set(found.values()))
    return {name: found[name] for name in originals if name in found}


def _refuse_ambiguous(originals: Sequence[str], copies: Collection[str]) -> None:
    """Raise ``UsageError`` for a copy whose name without suffix matches several originals."""
    stems: dict[str, list[str]] = defaultdict(list)
    for name in originals:
        stems[_stem(name)].append(name)
    for copy in sorted(copies):
        several = stems.get(_stem(copy), [])
        if len(several) > 1:
            raise UsageError(f"{copy} may be a copy of {' or of '.join(several)}. Give both sides the same names.")


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()

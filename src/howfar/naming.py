"""Names of files: none is given twice, and a copy is paired with its original by its whole name."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import PurePosixPath

from howfar.errors import UsageError


def folded(name: str) -> str:
    """Return what two names share that some file system takes for one: case and Unicode form do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def distinct(
    wished: Mapping[str, str], longer: Callable[[str, int], str], *, reserved: Collection[str] = ()
) -> dict[str, str]:
    """Give everything a name of its own: the one it wishes, or a longer one where several wish the same.

    Args:
        wished: what each wishes to be called, a path with ``/``.
        longer: returns another name for something, first with 1, then with 2, ..., until one is free.
        reserved: names that nothing may get except whoever bears it already, as a key of ``wished``.

    Returns:
        The names; no two are one for a file system that ignores case, and none is the folder of another.
    """
    wishes = Counter(folded(name) for name in wished.values())
    owners: dict[str, set[str]] = defaultdict(set)
    for name in reserved:
        owners[folded(name)].add(name)
    folders = {folded(str(parent)) for name in wished.values() for parent in PurePosixPath(name).parents}
    taken: set[str] = set()

    def free(name: str, who: str) -> bool:
        one = folded(name)
        return one not in taken and one not in folders and owners.get(one, set()) <= {who}

    found: dict[str, str] = {}
    for who, name in wished.items():
        if wishes[folded(name)] == 1 and free(name, who):
            found[who] = name
            taken.add(folded(name))
    for who in wished:
        if who not in found:
            name = next(name for turn in count(1) if free(name := longer(who, turn), who))
            found[who] = name
            taken.add(folded(name))
    return {who: found[who] for who in wished}


def with_suffix(names: Sequence[str], suffix: str) -> dict[str, str]:
    """Return what files are called with another suffix: all but their own, or with it before the new one.

    ``a.jpg`` becomes ``a.png``; beside ``a.bmp`` both keep their suffix (``a.jpg.png``), and get a number where that is
    taken too (``a.jpg.2.png``). No new name is the old one of another file.

    Args:
        names: of files, with ``/``.
        suffix: the new one, with its dot; empty keeps every file's own.
    """
    if not suffix:
        return {name: name for name in names}
    wished = {name: str(PurePosixPath(name).with_suffix(suffix)) for name in names}
    return distinct(
        wished, lambda name, turn: f"{name}{suffix}" if turn == 1 else f"{name}.{turn}{suffix}", reserved=names
    )


def paired(originals: Sequence[str], copies: Sequence[str]) -> dict[str, str]:
    """Return the copy of each original that has one: of the same name, else of the name that ``with_suffix`` gives.

    Args:
        originals: names of files below their folder.
        copies: the same of copies.

    Raises:
        UsageError: for a copy that may be of several originals, or an original that may have several copies.
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
    """Raise UsageError for a copy whose name without suffix is that of several originals."""
    stems: dict[str, list[str]] = defaultdict(list)
    for name in originals:
        stems[_stem(name)].append(name)
    for copy in sorted(copies):
        several = stems.get(_stem(copy), [])
        if len(several) > 1:
            raise UsageError(f"{copy} may be a copy of {' or of '.join(several)}. Give both sides the same names.")


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()

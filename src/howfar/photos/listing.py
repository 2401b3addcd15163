"""A folder of photographs: what is in it, what each is called when it comes out, and what it shows."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from howfar.data.tree import SUFFIXES, Tree, read_tree
from howfar.errors import HowfarError, UsageError
from howfar.naming import with_suffix


@dataclass(frozen=True)
class Photo:
    """One photograph.

    Attributes:
        name: path below the folder, with ``/``.
        output: the same below the folder of the protected ones.
        label: what it shows; empty where nobody says.
    """

    name: str
    output: str
    label: str = ""


def photos_in(folder: Path) -> list[str]:
    """Return the names of all photographs below a folder, sorted; hidden files and linked folders are passed over.

    Raises:
        UsageError: if there is no such folder, or no photograph in it.
    """
    return photographs(folder).names


def photographs(folder: Path) -> Tree:
    """Return the same, with what is passed over; raises as ``photos_in``."""
    tree = read_tree(folder)
    if not tree.names:
        raise UsageError(f"{folder} holds no photograph ({' '.join(SUFFIXES)}). Give another folder.")
    return tree


def arranged(names: Sequence[str], suffix: str, labels: Mapping[str, str]) -> list[Photo]:
    """Return the photographs with the names they get.

    A name keeps all but its suffix, and more where two would become one (``howfar.naming.with_suffix``).

    Args:
        names: of the photographs.
        suffix: of the files to be written, with its dot; empty keeps every file's own.
        labels: what each shows, by name.
    """
    return [Photo(name, output, labels.get(name, "")) for name, output in with_suffix(names, suffix).items()]


def labels_by_table(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Return what photographs show by a CSV of two columns, name and label; a header is passed over.

    Raises:
        HowfarError: if it cannot be read, says nothing of some photograph, or two things of one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) >= 2]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HowfarError(f"{path} cannot be read ({error}). Give a CSV with name and label in every line.") from None
    known: dict[str, str] = {}
    for name, label in ((PurePosixPath(row[0].replace("\\", "/")).as_posix(), row[1].strip()) for row in rows):
        if known.setdefault(name, label) != label:
            raise HowfarError(f"{path} says '{known[name]}' and '{label}' of {name}. Keep one of the lines.")
    missing = [name for name in names if not known.get(name)]
    if missing:
        raise HowfarError(
            f"{path} says nothing of {len(missing)} photographs, the first one {missing[0]}. Add them, by their "
            "names below the folder."
        )
    return {name: known[name] for name in names}

"""Photographs of a folder with their output names and labels."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from howfar.data.tree import SUFFIXES, Tree, read_tree
from howfar.errors import HowfarError, UsageError
from howfar.naming import distinct


@dataclass(frozen=True)
class Photo:
    """One photograph.

    Attributes:
        name: path relative to the folder, with ``/``.
        output: path relative to the output folder.
        label: class label; empty if unknown.
    """

    name: str
    output: str
    label: str = ""


def photos_in(folder: Path) -> list[str]:
    """Return the names of all photographs in a folder tree, sorted; hidden files and linked folders are skipped.

    Raises:
        UsageError: if the folder does not exist or has no photographs.
    """
    return photographs(folder).names


def photographs(folder: Path) -> Tree:
    """Return the same with skipped files; raises as ``photos_in``."""
    tree = read_tree(folder)
    if not tree.names:
        raise UsageError(f"{folder} holds no photograph ({' '.join(SUFFIXES)}). Give another folder.")
    return tree


def arranged(names: Sequence[str], suffix: Callable[[str], str], labels: Mapping[str, str]) -> list[Photo]:
    """Return the photographs with their output names.

    Only the suffix changes, except for name clashes (as ``howfar.naming.with_suffix``).

    Args:
        names: of the photographs.
        suffix: returns the suffix of the copy of a file, with its dot.
        labels: by name.
    """
    requested = {name: str(PurePosixPath(name).with_suffix(suffix(name))) for name in names}

    def longer(name: str, turn: int) -> str:
        return f"{name}{suffix(name)}" if turn == 1 else f"{name}.{turn}{suffix(name)}"

    outputs = distinct(requested, longer, reserved=names)
    return [Photo(name, output, labels.get(name, "")) for name, output in outputs.items()]


def labels_by_table(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the labels from a CSV with two columns, name and label; a header is ignored.

    Raises:
        HowfarError: if it cannot be read, lacks a photograph, or has two labels for one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) >= 2]
    except OSError as error:
        why = "is a folder" if path.is_dir() else "does not exist" if not path.exists() else f"{error.strerror}"
        raise HowfarError(f"{path}: {why}. Give a CSV file with name and label in every line.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HowfarError(f"{path} cannot be read ({error}). Give a CSV with name and label in every line.") from None
    known: dict[str, str] = {}
    for name, label in ((PurePosixPath(row[0].replace("\\", "/")).as_posix(), row[1].strip()) for row in rows):
        if known.setdefault(name, label) != label:
            raise HowfarError(f"{path} has labels '{known[name]}' and '{label}' for {name}. Keep one of the lines.")
    missing = [name for name in names if not known.get(name)]
    if missing:
        raise HowfarError(
            f"{path} lacks {len(missing)} photographs, the first one {missing[0]}. Add them, with paths relative to "
            "the folder."
        )
    return {name: known[name] for name in names}

"""Images in a folder and what their subfolders say: the one reader of ``folder:``, protect, verify and audit."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from howfar.errors import UsageError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".heic", ".heif",
)  # fmt: skip
PARTS = {
    "train": "training", "training": "training", "val": "validation", "valid": "validation",
    "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
HIDDEN, LINK, LOST, OTHER = "hidden", "linked and not followed", "no file", "of other kinds"
TOLD = 2  # names of each kind


@dataclass(frozen=True)
class Tree:
    """What lies below a folder.

    Attributes:
        names: of all images, with ``/``, sorted.
        folders: of all subfolders that are read, empty ones too.
        left_out: why everything else is passed over, by name.
    """

    names: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def read_tree(folder: Path, *, links: bool = False) -> Tree:
    """Return the images below a folder. Hidden files and macOS's ``__MACOSX`` are passed over.

    Args:
        folder: where to look.
        links: whether links to folders are followed; one that leads back is not.

    Raises:
        UsageError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Give the folder that holds your images.")
    tree = Tree()
    _walk(folder, "", tree, (folder.resolve(),) if links else None)
    tree.names.sort()
    return tree


def _walk(root: Path, inside: str, tree: Tree, chain: tuple[Path, ...] | None, *, hidden: bool = False) -> None:
    """Note what lies in a folder below ``root``; ``chain`` holds the folders that lead here, None if no link may."""
    for entry in sorted(os.scandir(root / inside), key=lambda entry: entry.name):
        name = f"{inside}{entry.name}"
        within = hidden or is_hidden(entry.name)
        image = PurePosixPath(entry.name).suffix.lower() in SUFFIXES
        if entry.is_dir():
            place, further = Path(entry.path), chain
            if chain is not None:
                further = (*chain, place.resolve())
            if entry.is_symlink() and (chain is None or place.resolve() in chain):
                tree.left_out[name] = LINK
                continue
            if not within:
                tree.folders.append(name)
            _walk(root, f"{name}/", tree, further, hidden=within)
        elif within:
            if image:  # what else is hidden is nobody's picture
                tree.left_out[name] = HIDDEN
        elif not entry.is_file():
            tree.left_out[name] = LOST
        elif image:
            tree.names.append(name)
        else:
            tree.left_out[name] = OTHER


def is_hidden(name: str) -> bool:
    """Return whether a name is of a hidden file or folder, or of macOS's leftovers in archives."""
    return name.startswith(".") or name == "__MACOSX"


def images_of(left_out: Mapping[str, str]) -> dict[str, str]:
    """Return those of the files that are passed over that may be images."""
    return {name: why for name, why in left_out.items() if why != OTHER}


def summary(left_out: Mapping[str, str]) -> str:
    """Return a sentence that counts what was passed over, kind by kind, with the first names; empty if nothing was."""
    kinds: dict[str, list[str]] = {}
    for name, why in left_out.items():
        kinds.setdefault(why, []).append(name)
    texts = [
        f"{len(names)} {why} ({', '.join(names[:TOLD])}{', …' if len(names) > TOLD else ''})"
        for why, names in sorted(kinds.items())
    ]
    return f"left out: {'; '.join(texts)}" if texts else ""


def parts_of(folders: Iterable[str]) -> dict[str, str]:
    """Return which part of a data set each of the first folders is, by name; empty where they are classes.

    All of them must be parts: ``train`` beside ``car`` is a class.

    Raises:
        UsageError: if two look like parts and another one does not, or two are the same part.
    """
    names = sorted(set(folders))
    found = {name: PARTS[name.casefold()] for name in names if name.casefold() in PARTS}
    others = [name for name in names if name not in found]
    if len(set(found.values())) < len(found):
        raise UsageError(f"{' and '.join(found)} are the same part of a data set. Put their images into one folder.")
    if others and len(found) > 1:
        raise UsageError(
            f"{' and '.join(found)} look like parts of a data set, but {others[0]} beside them does not. Move it "
            "elsewhere, or rename them if they are classes."
        )
    return {} if others else found


def labels_by_folder(names: Sequence[str]) -> dict[str, str]:
    """Return what images show: the first folder of each, or the one below ``train``, ``val`` and ``test``.

    Returns:
        labels by name; empty if all images lie in one folder, or some beside the others' folders (see ``beside``).

    Raises:
        UsageError: as ``parts_of``.
    """
    found = {name: inside[0] for name, inside in _inside(names).items() if inside}
    return found if len(found) == len(names) and len(set(found.values())) > 1 else {}


def beside(names: Sequence[str]) -> str:
    """Return a sentence that names images beside the folders of others, which take all labels away; empty without."""
    inside = _inside(names)
    found = [name for name in names if not inside[name]] if any(inside.values()) else []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0]}{more} beside the subfolders: nothing says what it shows. Move it into one." if found else ""


def _inside(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the folders of each image below the part of the data set that it is in."""
    paths = {name: PurePosixPath(name).parts[:-1] for name in names}
    parts = parts_of(path[0] for path in paths.values() if path)
    return {name: path[1:] if path and path[0] in parts else path for name, path in paths.items()}

"""Images in a folder tree and their labels by subfolder, for ``folder:``, protect, verify and audit."""

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
LISTED = 2  # names per reason in a summary


@dataclass(frozen=True)
class Tree:
    """Content of a folder tree.

    Attributes:
        names: of all images, with ``/``, sorted.
        folders: of all subfolders that are read, including empty ones.
        left_out: reasons why everything else is skipped, by name.
    """

    names: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def read_tree(folder: Path, *, links: bool = False) -> Tree:
    """Return the images in a folder tree. Hidden files and macOS's ``__MACOSX`` are skipped.

    Args:
        folder: root of the tree.
        links: whether to follow links to folders, except cycles.

    Raises:
        UsageError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Give the folder that holds your images.")
    tree = Tree()
    _scan(folder, "", tree, (folder.resolve(),) if links else None)
    tree.names.sort()
    return tree


def _scan(root: Path, inside: str, tree: Tree, chain: tuple[Path, ...] | None, *, hidden: bool = False) -> None:
    """Add the content of a subfolder; ``chain`` holds its resolved parents, None if links are not followed."""
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
            _scan(root, f"{name}/", tree, further, hidden=within)
        elif within:
            if image:  # other hidden files are not reported
                tree.left_out[name] = HIDDEN
        elif not entry.is_file():
            tree.left_out[name] = LOST
        elif image:
            tree.names.append(name)
        else:
            tree.left_out[name] = OTHER


def is_hidden(name: str) -> bool:
    """Return whether a name is that of a hidden file or folder, or of macOS metadata in archives."""
    return name.startswith(".") or name == "__MACOSX"


def images_of(left_out: Mapping[str, str]) -> dict[str, str]:
    """Return the skipped files that may be images."""
    return {name: why for name, why in left_out.items() if why != OTHER}


def summary(left_out: Mapping[str, str]) -> str:
    """Return a sentence with the number and first names of skipped files by reason; empty if there are none."""
    kinds: dict[str, list[str]] = {}
    for name, why in left_out.items():
        kinds.setdefault(why, []).append(name)
    texts = [
        f"{len(names)} {why} ({', '.join(names[:LISTED])}{', …' if len(names) > LISTED else ''})"
        for why, names in sorted(kinds.items())
    ]
    return f"left out: {'; '.join(texts)}" if texts else ""


def parts_of(folders: Iterable[str]) -> dict[str, str]:
    """Return the split (training, validation, test) of each top-level folder; empty if the folders are classes.

    All of them must be splits: with a sibling ``car``, ``train`` is a class.

    Raises:
        UsageError: if two look like splits and another one does not, or two are the same split.
    """
    names = sorted(set(folders))
    found = {name: PARTS[name.casefold()] for name in names if name.casefold() in PARTS}
    others = [name for name in names if name not in found]
    if len(set(found.values())) < len(found):
        raise UsageError(f"{' and '.join(found)} are the same split of a data set. Merge them into one folder.")
    if others and len(found) > 1:
        raise UsageError(
            f"{' and '.join(found)} look like splits of a data set, but {others[0]} does not. Move it elsewhere, or "
            "rename them if they are classes."
        )
    return {} if others else found


def labels_by_folder(names: Sequence[str]) -> dict[str, str]:
    """Return labels by subfolder: the top-level folder of each image, or the one in ``train``, ``val`` or ``test``.

    Returns:
        labels by name; empty if all images are in one folder, or some are outside the subfolders (see ``unlabeled``).

    Raises:
        UsageError: as ``parts_of``.
    """
    found = {name: inside[0] for name, inside in _inside(names).items() if inside}
    return found if len(found) == len(names) and len(set(found.values())) > 1 else {}


def unlabeled(names: Sequence[str]) -> str:
    """Return a warning about images outside the class subfolders, which disable labels; empty if there are none."""
    inside = _inside(names)
    found = [name for name in names if not inside[name]] if any(inside.values()) else []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0]}{more} outside the subfolders, so there are no labels. Move images into one." if found else ""


def _inside(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the folders of each image below its split."""
    paths = {name: PurePosixPath(name).parts[:-1] for name in names}
    parts = parts_of(path[0] for path in paths.values() if path)
    return {name: path[1:] if path and path[0] in parts else path for name, path in paths.items()}

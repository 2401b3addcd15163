"""``manifest.json``: what was done with every photograph, and whether it still is so."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from howfar.errors import HowfarError, UsageError

FORMAT = 1
MANIFEST = "manifest.json"
NOTES, SOURCE = ".howfar", "source"  # the folder of notes, and the file in it that says where the originals are
STATES = ("protected", "unchanged", "copied", "skipped")


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


def summary(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the entries of all photographs, and above them what they come to.

    L∞, PSNR and SSIM are over the protected ones; None where there are none, and of PSNR where nothing changed.
    """
    changes = [entry for entry in entries if entry["status"] == "protected"]
    seen = [entry["ssim"] for entry in changes if entry["ssim"] is not None]
    square = sum(entry["square"] for entry in changes) / max(len(changes), 1)
    return {
        "format": FORMAT,
        "counts": {status: sum(entry["status"] == status for entry in entries) for status in STATES},
        "linf": max((entry["linf"] for entry in changes), default=None),
        "psnr": None if square == 0 else round(10 * math.log10(255.0**2 / square), 2),
        "ssim": sum(seen) / len(seen) if seen else None,
        "photos": list(entries),
    }


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """Return what the manifest of a protected folder says of every photograph: ``name``, ``output``, ``status``.

    Raises:
        UsageError: if there is none.
        HowfarError: if it is damaged, or names a file outside the folder.
    """
    path = folder / MANIFEST
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        found = whole.get("photos") if isinstance(whole, dict) else None
        if not isinstance(found, list) or not all(_is_entry(entry) for entry in found):
            raise ValueError("it does not say name, output and status of every photograph")
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no {MANIFEST}. Give a folder that howfar protect finished.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise HowfarError(f"{path} is damaged ({error}). Protect the photographs again.") from None
    for name in (entry[key] for entry in found for key in ("name", "output")):
        if not is_inside(name):
            raise HowfarError(f"{path}: {name} leads out of the folder. Do not trust it.")
    return found


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "output", "status"))


def is_inside(name: str) -> bool:
    """Return whether a name leads to a file below the folder that it is looked for in."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def originals_of(folder: Path) -> Path | None:
    """Return the folder of originals that a protected folder was made from; None where it is not there any more."""
    try:
        place = folder / os.fsdecode((folder / NOTES / SOURCE).read_bytes())
        return place.resolve() if place.is_dir() else None
    except (OSError, ValueError):  # no note, or none that can be a path
        return None


def checked(folder: Path, originals: Path | None = None) -> list[str]:
    """Return a sentence for everything in a protected folder that is not as its manifest says.

    Args:
        folder: of the protected copies.
        originals: the photographs they were made from; those that are still there must be the same files. None
            compares with no original.

    Raises:
        HowfarError: as ``entries_of``.
    """
    faults = []
    for entry in entries_of(folder):
        name, before = entry["output"], entry.get("before")
        original = None if originals is None else originals / entry["name"]
        if original is not None and before and original.is_file() and digest_of(original.read_bytes()) != before:
            faults.append(f"{entry['name']} was edited after it was protected. Run howfar protect again.")
        if entry["status"] == "skipped":
            continue
        if not (folder / name).is_file():
            faults.append(f"{name} is missing.")
        elif digest_of((folder / name).read_bytes()) != entry.get("after"):
            faults.append(f"{name} is not what was written: its digest differs.")
    return faults

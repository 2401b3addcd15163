"""``manifest.json``: the record of all protected photographs, and its verification."""

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
NOTES, SOURCE = ".howfar", "source"  # folder of internal files, and the file in it with the path of the originals
STATES = ("protected", "unchanged", "copied", "skipped")


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


def summary(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the manifest with all entries and their summary.

    L∞, PSNR and SSIM are over protected photographs; None if there are none. PSNR is also None without any change.
    """
    changes = [entry for entry in entries if entry["status"] == "protected"]
    ssims = [entry["ssim"] for entry in changes if entry["ssim"] is not None]
    square = sum(entry["square"] for entry in changes) / max(len(changes), 1)
    return {
        "format": FORMAT,
        "counts": {status: sum(entry["status"] == status for entry in entries) for status in STATES},
        "linf": max((entry["linf"] for entry in changes), default=None),
        "psnr": None if square == 0 else round(10 * math.log10(255.0**2 / square), 2),
        "ssim": sum(ssims) / len(ssims) if ssims else None,
        "photos": list(entries),
    }


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """Return the manifest entries of a protected folder, each with ``name``, ``output`` and ``status``.

    Raises:
        UsageError: if there is no manifest.
        HowfarError: if it is damaged, or names a file outside the folder.
    """
    path = folder / MANIFEST
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        found = whole.get("photos") if isinstance(whole, dict) else None
        if not isinstance(found, list) or not all(_is_entry(entry) for entry in found):
            raise ValueError("it lacks name, output or status of a photograph")
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no {MANIFEST}. Give a folder written by howfar protect.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise HowfarError(f"{path} is damaged ({error}). Protect the photographs again.") from None
    for name in (entry[key] for entry in found for key in ("name", "output")):
        if not is_inside(name):
            raise HowfarError(f"{path}: {name} leads out of the folder. Do not trust it.")
    return found


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("name", "output", "status"))


def is_inside(name: str) -> bool:
    """Return whether a relative path stays inside its folder."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def originals_of(folder: Path) -> Path | None:
    """Return the folder of originals of a protected folder; None if it no longer exists."""
    try:
        place = folder / os.fsdecode((folder / NOTES / SOURCE).read_bytes())
        return place.resolve() if place.is_dir() else None
    except (OSError, ValueError):  # missing or invalid
        return None


def checked(folder: Path, originals: Path | None = None) -> list[str]:
    """Return one sentence per difference between a protected folder and its manifest.

    Args:
        folder: the protected copies.
        originals: the folder of originals, which must be unchanged where they still exist; None does not check them.

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
            faults.append(f"{name} was changed: its digest differs.")
    return faults

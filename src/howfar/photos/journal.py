"""Journal of finished photographs, from which an interrupted run resumes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from howfar.errors import UsageError
from howfar.photos.listing import Photo
from howfar.photos.manifest import STATES, digest_of, is_inside

LOCAL = ("noise", "stamps")  # fields of journal entries that are not in the manifest
EDITED = "the photograph was edited"
CHANGED = "its copy was changed"
OTHER_NOISE = "its noise changed because other photographs did"
OLDER = "it was protected by an older version"


class Journal:
    """One line per finished photograph; truncated or damaged lines are ignored."""

    def __init__(self, path: Path, digest: str, settings: Mapping[str, Any] | None = None) -> None:
        """Read the journal, if there is one.

        Args:
            path: of its file.
            digest: of everything that must be equal to go on.
            settings: the same by name, to tell what differs.

        Raises:
            UsageError: if it was begun with another digest.
        """
        self.path, self._digest, self._settings = path, digest, dict(settings or {})
        self.entries: dict[str, dict[str, Any]] = {}
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        found = [_parsed(line) for line in lines]
        if found and found[0] and found[0].get("digest") != digest:
            raise UsageError(
                f"{path.parent.parent} was begun with other settings or photographs{self._differing(found[0])}. Give "
                "the same ones to go on, or choose another folder."
            )
        self.entries = {entry["name"]: entry for entry in found[1:] if _is_sound(entry)}
        self._fresh, self._open = not found or not found[0], bool(lines and lines[-1])

    def begin(self) -> None:
        """Write the head of a new journal, or end the last line of one that was cut off."""
        if self._fresh:
            self._append({"digest": self._digest, "settings": self._settings}, fresh=True)
        elif self._open:
            self._append(None)

    def _differing(self, head: Mapping[str, Any]) -> str:
        """Return the settings that differ from those of the head, old → new; empty for older journals."""
        before = head.get("settings")
        if not isinstance(before, Mapping):
            return ""
        after = json.loads(json.dumps(self._settings))
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        told = [f"{name} {before.get(name)} → {after.get(name)}" for name in names]
        return f" ({', '.join(told)})" if told else ""

    def why_again(self, photo: Photo, source: Path, output: Path, noise: str) -> str | None:
        """Return why a photograph has to be protected again; None if it is finished and unchanged.

        A file with the recorded size and time counts as unchanged; otherwise its digest is compared.

        Args:
            photo: one of the photographs.
            source: the folder of originals.
            output: the folder of protected copies.
            noise: digest of the current noise of the photograph.

        Returns:
            None, an empty string if it was never finished, or a reason to report.
        """
        entry = self.entries.get(photo.name)
        if entry is None:
            return ""
        if "noise" not in entry:
            return OLDER
        if not _same(source / photo.name, entry["stamps"]["source"], entry.get("before")):
            return EDITED
        if entry["noise"] != noise:
            return OTHER_NOISE
        if entry["status"] == "skipped":
            return None
        copy = output / entry["output"]
        if not copy.is_file():
            return ""
        return None if _same(copy, entry["stamps"]["copy"], entry["after"]) else CHANGED

    def manifest_entry(self, name: str) -> dict[str, Any]:
        """Return the manifest entry of a photograph."""
        return {key: value for key, value in self.entries[name].items() if key not in LOCAL}

    def add(self, entry: dict[str, Any]) -> None:
        """Record a finished photograph."""
        self.entries[entry["name"]] = entry
        self._append(entry)

    def _append(self, entry: Mapping[str, Any] | None, *, fresh: bool = False) -> None:
        with self.path.open("w" if fresh else "a", encoding="utf-8") as file:
            file.write(("" if entry is None else json.dumps(entry)) + "\n")


def stamp(path: Path) -> list[int]:
    """Return size in bytes and modification time in nanoseconds of a file."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _same(path: Path, noted: list[int], digest: str | None) -> bool:
    found = stamp(path)
    if found == noted:
        return True
    return found[0] == noted[0] and digest is not None and digest_of(path.read_bytes()) == digest


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_sound(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry has all required fields, and names only files inside the folders."""
    names = [entry.get("name"), entry.get("output")]
    if not all(isinstance(name, str) and is_inside(name) for name in names) or entry.get("status") not in STATES:
        return False
    if "noise" not in entry:
        return True  # written by an older version: protect again
    stamps, texts = (
        entry.get("stamps"),
        ("noise", "why") if entry["status"] == "skipped" else ("noise", "before", "after"),
    )
    wanted = ("source",) if entry["status"] == "skipped" else ("source", "copy")
    numbers = ("linf", "square") if entry["status"] == "protected" else ()
    return (
        isinstance(stamps, dict)
        and all(isinstance(stamps.get(key), list) and len(stamps[key]) == 2 for key in wanted)
        and all(isinstance(entry.get(key), str) for key in texts)
        and all(_is_number(entry.get(key)) for key in numbers)
        and (entry["status"] != "protected" or entry.get("ssim") is None or _is_number(entry["ssim"]))
        and ("ssim" in entry or entry["status"] != "protected")
        and isinstance(entry.get("notes", []), list)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""What was done with each photograph, noted as it is done, so that a killed run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from howfar.errors import UsageError
from howfar.photos.listing import Photo


class Journal:
    """One line for every finished photograph; a line cut off by a kill counts for nothing."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        found = [_parsed(line) for line in lines]
        if found and found[0] and found[0].get("digest") != digest:
            raise UsageError(
                f"{path.parent.parent} was begun with other settings or photographs. Choose another folder."
            )
        self.entries = {entry["name"]: entry for entry in found[1:] if entry and "name" in entry}
        if not found or not found[0]:
            self._append({"digest": digest}, fresh=True)
        elif lines[-1]:
            self._append(None)

    def holds(self, photo: Photo, output: Path) -> bool:
        """Return whether a photograph is finished and its file is there."""
        entry = self.entries.get(photo.name)
        return entry is not None and (entry["status"] == "skipped" or (output / entry["output"]).is_file())

    def add(self, entry: dict[str, Any]) -> None:
        """Note a finished photograph."""
        self.entries[entry["name"]] = entry
        self._append(entry)

    def _append(self, entry: Mapping[str, Any] | None, *, fresh: bool = False) -> None:
        with self.path.open("w" if fresh else "a", encoding="utf-8") as file:
            file.write(("" if entry is None else json.dumps(entry, ensure_ascii=False)) + "\n")


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

"""``howfar list``, ``howfar show`` and ``howfar doctor``."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from howfar import terminal
from howfar.commands.common import Common

Kind = Literal["protectors", "defenses", "datasets", "models", "tasks"]


@dataclass(kw_only=True)
class List(Common):
    """List what there is."""

    kind: Positional[Kind]
    """What to list."""
    json: bool = False
    """Print as JSON."""

    def __call__(self) -> int:
        from howfar.catalog import TABLES, describe

        entries = [describe(self.kind, name) for name in TABLES[self.kind]]
        if self.json:
            terminal.show_json(entries)
            return 0
        columns = [key for key in entries[0] if key not in ("settings", "text")]
        terminal.show_table(columns, [[str(entry[key]) for key in columns] for entry in entries])
        return 0


@dataclass(kw_only=True)
class Show(Common):
    """Show one method, data set or model: what it is, its paper, its settings with defaults."""

    name: Positional[str]
    """E.g. em."""
    json: bool = False
    """Print as JSON."""

    def __call__(self) -> int:
        from howfar.catalog import find

        entry = find(self.name)
        if self.json:
            terminal.show_json(entry)
            return 0
        terminal.out(f"{entry['name']} ({entry['kind']})\n\n{entry['text']}\n")
        facts = {k: v for k, v in entry.items() if k not in ("name", "kind", "what", "text", "settings")}
        terminal.out("\n".join(f"{key}: {value}" for key, value in facts.items()) + "\n")
        terminal.show_table(
            ["setting", "default", "meaning"],
            [[s["name"], s["default"], s["what"]] for s in entry["settings"]],
        )
        return 0


@dataclass(kw_only=True)
class Doctor(Common):
    """Tell what this machine offers, and what is broken."""

    json: bool = False
    """Print as JSON."""

    def __call__(self) -> int:
        from howfar.doctor import examine

        findings = examine()
        if self.json:
            terminal.show_json(findings)
        else:
            terminal.show_table(["what", "found"], [[key, str(value)] for key, value in findings.items()])
        return 0

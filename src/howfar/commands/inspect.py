"""``howfar list``, ``howfar show`` and ``howfar doctor``."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional

from howfar.commands import terminal
from howfar.commands.common import Common, Flag, option

Kind = Literal["protectors", "defenses", "datasets", "models", "tasks", "suites", "schemas"]
BRIEF = ("name", "what", "source")  # columns that fit 80 characters


@dataclass(kw_only=True)
class List(Common):
    """List protectors, defenses, data, models, tasks, suites or schemas."""

    examples: ClassVar = ("howfar list protectors", "howfar list suites")

    kind: Annotated[Positional[Kind], option("KIND")]
    """What to list: protectors, defenses, datasets, models, tasks, suites or schemas."""
    json: Flag = False
    """Print JSON instead of a table."""
    wide: Flag = False
    """Print every column."""

    def __call__(self) -> int:
        from howfar.commands.catalog import entries

        found = entries(self.kind)
        if self.json:
            terminal.show_json(found)
            return 0
        columns = [key for key in found[0] if key not in ("settings", "text")]
        if not self.wide:
            columns = [key for key in columns if key in BRIEF and any(entry[key] for entry in found)]
        terminal.show_table(columns, [[_plain(str(entry[key])) for key in columns] for entry in found])
        return 0


@dataclass(kw_only=True)
class Show(Common):
    """Describe one entry of a list with its source and settings.

    For a schema, prints the JSON Schema.
    """

    examples: ClassVar = ("howfar show em", "howfar show schema:bench")

    name: Annotated[Positional[str], option("NAME")]
    """Name of a protector, defense, data set, model, task, suite or schema."""
    json: Flag = False
    """Print JSON instead of text."""

    def __call__(self) -> int:
        from howfar.commands.catalog import find
        from howfar.schemas import text_of

        if self.name.startswith("schema:"):
            terminal.out(text_of(self.name.removeprefix("schema:")).rstrip())
            return 0
        entry = find(self.name)
        if self.json:
            terminal.show_json(entry)
            return 0
        terminal.tell(f"{entry['name']} ({entry['kind']})\n\n{_plain(entry['text'])}")
        facts = {k: v for k, v in entry.items() if k not in ("name", "kind", "what", "text", "settings") and v != ""}
        terminal.out("\n".join(f"{key}: {value}" for key, value in facts.items()) + "\n")
        terminal.show_table(
            ["setting", "default", "meaning"],
            [[s["name"], s["default"], _plain(s["what"])] for s in entry["settings"]],
        )
        return 0


def _plain(text: str) -> str:
    """Return a docstring without the marks of code."""
    return text.replace("``", "'")


@dataclass(kw_only=True)
class Doctor(Common):
    """Check this installation and show what the machine offers."""

    examples: ClassVar = ("howfar doctor", "howfar doctor --json")

    json: Flag = False
    """Print JSON instead of a table."""

    def __call__(self) -> int:
        from howfar.commands.doctor import examine

        findings = examine()
        if self.json:
            terminal.show_json(findings)
        else:
            terminal.show_table(["what", "found"], [[key, str(value)] for key, value in findings.items()])
        return 0

"""``howfar compare``: do two stores hold the same results?"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from tyro.conf import Positional

from howfar.commands import terminal
from howfar.commands.common import Common, Flag, opened, option


@dataclass(kw_only=True)
class Compare(Common):
    """List the victims whose results differ between two stores.

    Also lists victims that only one of them holds. Exits with code 1 if there are differences.
    """

    examples: ClassVar = ("howfar compare runs other", "howfar compare runs other --json")

    one: Annotated[Positional[str], option("STORE")]
    """Folder, URL or packed file of a store."""
    other: Annotated[Positional[str], option("STORE")]
    """Folder, URL or packed file of the store to compare with."""
    json: Flag = False
    """Print JSON instead of a table."""

    def __call__(self) -> int:
        from howfar.tables.victims import apart

        columns = ["victim", self.one, self.other, "difference"]
        pairs = apart(opened(self.one), opened(self.other))
        if self.json:
            terminal.show_json([dict(zip(columns, pair, strict=True)) for pair in pairs])
        elif pairs:
            terminal.show_table(columns, [[_number(value) for value in pair] for pair in pairs])
        terminal.say(f"{len(pairs)} victims differ" if pairs else "both hold the same victims with the same results")
        return 1 if pairs else 0


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)

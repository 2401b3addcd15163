"""Sequences of defenses, written as ``jpeg:75+cutout``."""

from dataclasses import dataclass, field
from typing import Any

from howfar.defend.defense import Defense, chained
from howfar.errors import UsageError
from howfar.spec import Spec, parse
from howfar.spec.syntax import split_list


@dataclass(frozen=True)
class Chain:
    """One or more defenses with their settings, before they are built.

    Attributes:
        parts: the first one is applied to the raw images.
        optional: whether to leave it out if it cannot run, as for members of an ensemble; otherwise that is an error.
    """

    parts: tuple[Spec[Defense], ...]
    optional: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, text: str, table: dict[str, Any], *, optional: bool = False) -> "Chain":
        """Return the chain that ``text`` describes.

        Raises:
            UsageError: for an unknown name or setting.
        """
        parts = split_list(text, at="+")
        if not parts:
            raise UsageError("no defense is named. Write one, or several such as jpeg:75+cutout.")
        return cls(tuple(parse(part, table, "defense") for part in parts), optional)

    @property
    def label(self) -> str:
        """The shortest text that parses to this chain."""
        return "+".join(part.label for part in self.parts)

    def key(self) -> dict[str, Any]:
        """Return the settings that identify the result."""
        keys = [part.key() for part in self.parts]
        return keys[0] if len(keys) == 1 else {"name": "+".join(part.name for part in self.parts), "parts": keys}

    def build(self) -> Defense:
        """Return the defense itself."""
        return chained([part.build() for part in self.parts])

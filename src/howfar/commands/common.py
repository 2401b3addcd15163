"""What all commands share."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Common:
    """Options of every command."""

    debug: bool = False
    """Show the traceback of an error."""

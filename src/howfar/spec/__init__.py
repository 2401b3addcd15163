"""Methods by name: ``em``, ``em:class``, ``lsp:eps=6/255``, ``folder:photos[size=32]``, with checked settings."""

from howfar.spec.method import (
    ABOUT,
    LARGEST,
    LARGEST_SIDE,
    Eps,
    Joined,
    Number,
    Spec,
    check,
    factory_of,
    parse,
    reason,
)

__all__ = [
    "ABOUT",
    "LARGEST",
    "LARGEST_SIDE",
    "Eps",
    "Joined",
    "Number",
    "Spec",
    "check",
    "factory_of",
    "parse",
    "reason",
]

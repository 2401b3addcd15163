"""Tables of methods by name, which understand settings."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from howfar.errors import UsageError
from howfar.spec.method import factory_of, parse

T = TypeVar("T")


class Table(dict[str, Callable[..., T]]):
    """A table of methods: ``TABLE[NAME]`` is a factory, and ``TABLE["NAME[settings]"]`` is what it makes.

    ``PROTECTORS["lsp[eps=8/255]"]`` equals ``PROTECTORS["lsp"](eps=8 / 255)``. Names of plug-ins are found as well.

    Args:
        kind: of the entries, in the singular, as for ``howfar.spec.parse``.
        entries: factories by name.

    Raises:
        UsageError: on access, for an unknown name or an invalid setting.

    Example:
        >>> from howfar import PROTECTORS
        >>> PROTECTORS["lsp[eps=8/255]"] == PROTECTORS["lsp"](eps=8 / 255)
        True
    """

    def __init__(self, kind: str, entries: Mapping[str, Callable[..., T]]) -> None:
        super().__init__(entries)
        self.kind = kind

    def __getitem__(self, name: str) -> Any:
        """Return a factory, or with settings in the name what it makes."""
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Any:
        """Return the factory of a plug-in, or what a name with settings makes."""
        if not isinstance(name, str):
            raise UsageError(f"{name!r} is not a name of a {self.kind}. Pass a text, such as '{next(iter(self))}'.")
        if ":" in name or "[" in name:
            return parse(name, self, self.kind).build()
        return factory_of(name, self, self.kind)

    def __repr__(self) -> str:
        """Return the names."""
        return f"Table({self.kind}s: {', '.join(self)})"

"""The catalog for ``howfar list`` and ``howfar show``, read from signatures and docstrings."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from docstring_parser import DocstringStyle
from docstring_parser import parse as parse_docstring

from howfar.data import DATASETS
from howfar.defend import DEFENSES, Defense
from howfar.errors import unknown
from howfar.models import MODELS
from howfar.protectors import PROTECTORS
from howfar.spec import number_text, parse
from howfar.tasks import TASKS

SOURCES = {"classes": "classes of images", "maps": "classes of images or pixels", "any": "any"}
TABLES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "protectors": PROTECTORS,
    "defenses": DEFENSES,
    "datasets": DATASETS,
    "models": MODELS,
    "tasks": TASKS,
}


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return the description of one entry: name, what, source, settings, and fields specific to its kind."""
    factory = TABLES[kind][name]
    text = inspect.cleandoc(factory.__doc__ or "")
    doc = parse_docstring(text, DocstringStyle.GOOGLE)
    bases = reversed(inspect.getmro(factory)) if inspect.isclass(factory) else (factory,)
    docs = [parse_docstring(base.__doc__ or "", DocstringStyle.GOOGLE) for base in bases if base is not object]
    meanings = {entry.arg_name: " ".join((entry.description or "").split()) for doc in docs for entry in doc.params}
    what, source = _citation(doc.short_description or "")
    entry: dict[str, Any] = {"name": name, "kind": kind.removesuffix("s"), "what": what, "source": source}
    if kind == "protectors":
        entry |= {
            "norm": factory.norm,  # type: ignore[attr-defined]
            "needs labels": "yes" if factory.needs_labels else "no",  # type: ignore[attr-defined]
            "source tasks": SOURCES[factory.sources],  # type: ignore[attr-defined]
            "cost": factory.cost,  # type: ignore[attr-defined]
        }
    if kind == "defenses":
        entry["needs"] = _needs(factory)
    entry["settings"] = [
        {
            "name": parameter.name,
            "default": "required" if parameter.default is parameter.empty else number_text(parameter.default),
            "what": meanings.get(parameter.name, ""),
        }
        for parameter in inspect.signature(factory).parameters.values()
    ]
    entry["text"] = "\n\n".join(part for part in (doc.short_description, doc.long_description) if part)
    return entry


def find(text: str) -> dict[str, Any]:
    """Return the description of an entry of any table.

    Args:
        text: its name, optionally with settings, as in ``em[eps=8/255]``, which are only validated.

    Raises:
        UsageError: if no table has the name, or a setting is invalid.
    """
    name = re.split(r"[\[:]", text, maxsplit=1)[0]
    for kind, table in TABLES.items():
        if name in table:
            if text != name:
                parse(text, table, kind.removesuffix("s"))
            return describe(kind, name)
    raise unknown("name", name, {known for table in TABLES.values() for known in table})


def _needs(defense: Callable[..., Defense]) -> str:
    """Return what a defense requires besides protected images."""
    settings = inspect.signature(defense).parameters.values()
    required = [setting.name for setting in settings if setting.default is setting.empty]
    if required:
        return ", ".join(required)
    made = defense()
    return ", ".join(["clean images"] * made.needs_clean + ["labels"] * made.needs_labels) or "nothing"


def _citation(line: str) -> tuple[str, str]:
    """Split ``"What it is (Authors, venue, number)."`` into description and source."""
    match = re.fullmatch(r"(.*?)\s*\(([^()]*\d{4}[^()]*)\)", line.rstrip("."))
    return (match[1], match[2]) if match else (line.rstrip("."), "")

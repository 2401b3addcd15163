"""The catalog for ``howfar list`` and ``howfar show``, read from signatures and docstrings."""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from docstring_parser import DocstringStyle
from docstring_parser import parse as parse_docstring

from howfar.data import DATASETS
from howfar.defend import DEFENSES, Defense
from howfar.errors import unknown
from howfar.grid.presets import ABOUT, SUITES
from howfar.grid.suite import Suite
from howfar.models import MODELS
from howfar.protectors import PROTECTORS
from howfar.schemas import SCHEMAS
from howfar.spec import parse
from howfar.spec.syntax import number_text
from howfar.tasks import TASKS

SOURCES = {"classes": "classes of images", "maps": "classes of images or pixels", "any": "any"}
TABLES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "protectors": PROTECTORS,
    "defenses": DEFENSES,
    "datasets": DATASETS,
    "models": MODELS,
    "tasks": TASKS,
}


def entries(kind: str) -> list[dict[str, Any]]:
    """Return all entries of a kind; plug-ins are named but not loaded."""
    if kind == "suites":
        return [describe_suite(name) for name in SUITES]
    if kind == "schemas":
        return [
            {"name": f"schema:{name}", "kind": "schema", "what": schema.what, "source": "", "version": schema.version,
             "written by": schema.written.replace("`", ""), "settings": [], "text": ""}
            for name, schema in SCHEMAS.items()
        ]  # fmt: skip
    known = [describe(kind, name) for name in TABLES[kind]]
    return [*known, *(_unloaded(plugin, kind, known[0]) for plugin in plugins(kind))]


def plugins(kind: str) -> list[EntryPoint]:
    """Return the entry points that add a name to a table, by name."""
    found = {point.name: point for point in entry_points(group=f"howfar.{kind}") if point.name not in TABLES[kind]}
    return [found[name] for name in sorted(found)]


def describe_suite(name: str) -> dict[str, Any]:
    """Return the description of a suite: name, what, number of protectors and others, and its keys as settings."""
    keys = SUITES[name]
    doc = parse_docstring(Suite.__doc__ or "", DocstringStyle.GOOGLE)
    meanings = {entry.arg_name: " ".join((entry.description or "").split()) for entry in doc.params}
    return {
        "name": name, "kind": "suite", "what": ABOUT[name], "source": "", "data set": keys["dataset"],
        "protectors": len(keys["protectors"]), "defenses": len(keys["defenses"]), "seeds": len(keys["seeds"]),
        "settings": [{"name": k, "default": _value(v), "what": meanings.get(k, "")} for k, v in keys.items()],
        "text": f"{ABOUT[name]}.",
    }  # fmt: skip


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return the description of one entry: name, what, source, settings, and fields specific to its kind."""
    table = TABLES[kind]
    factory = table[name] if name in table else parse(name, table, kind.removesuffix("s")).factory  # a plug-in
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
        text: its name, optionally with settings, as in ``em[eps=8/255]``, which are only validated. Suites come last.

    Raises:
        UsageError: if no table has the name, or a setting is invalid.
    """
    name = re.split(r"[\[:]", text, maxsplit=1)[0]
    names = {kind: [*table, *(plugin.name for plugin in plugins(kind))] for kind, table in TABLES.items()}
    for kind, known in names.items():
        if name in known:
            if text != name:
                parse(text, TABLES[kind], kind.removesuffix("s"))
            return describe(kind, name)
    if name in SUITES and name == text:
        return describe_suite(name)
    every = {*SUITES, *(each for known in names.values() for each in known)}
    raise unknown("name", name, every, f"See howfar list with one of: {', '.join([*names, 'suites'])}.")


def _unloaded(plugin: EntryPoint, kind: str, like: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a plug-in before it is loaded, with the fields of another entry."""
    package = f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.module
    about = {"name": plugin.name, "kind": kind.removesuffix("s"), "what": f"plug-in of {package}", "settings": []}
    return {**dict.fromkeys(like, ""), **about}


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(
            f"{key}.{name}={_value(inner)}" if name else f"{key}={_value(inner)}"
            for key, inners in value.items()
            for name, inner in (inners.items() if isinstance(inners, Mapping) else [("", inners)])
        )
    return ",".join(map(number_text, value)) if isinstance(value, tuple) else number_text(value)


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

"""Text and a table -> a method with checked settings.

A table is a plain ``dict`` from names to classes or functions; the signature of an entry defines its hyper-parameters.
``name:key=value,...`` or ``name[key=value,...]`` sets any of them, ``name:value`` the first that is not keyword-only;
``name:paper`` selects the published settings. Plug-ins add entries through Python entry points (``howfar.protectors``,
…); a plug-in is loaded only when named.
"""

import functools
import hashlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    create_model,
)

from howfar.errors import UsageError, lacking, unknown
from howfar.spec.syntax import SETTING, number_text, quoted, split, split_list, unquoted

T = TypeVar("T", covariant=True)
ABOUT = ("name", "version", "contents", "nested")  # entries of a key besides settings


def _fraction(value: object) -> object:
    if not isinstance(value, str):
        return value
    above, _, below = value.partition("/")
    try:
        found = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("write a number, such as 0.03 or 8/255")
    return found


Number = Annotated[float, BeforeValidator(_fraction), AllowInfNan(False)]
LARGEST_SIDE = 4096  # pixels; limit of the side of training images
LARGEST = 10_000_000  # limit of integers: larger counts and sizes are mistakes, and would exhaust memory


BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
EPS = "for 8 of 255 gray levels, write 8/255"


def _parts(value: object) -> object:
    return tuple(split_list(value, at="+")) if isinstance(value, str) else value


Joined = Annotated[tuple[str, ...], BeforeValidator(_parts), PlainSerializer("+".join)]  # names, written a+b+c
Eps = Annotated[
    float, BeforeValidator(_fraction), Field(gt=0, le=1), AllowInfNan(False)
]  # radius or step, images in [0, 1]


@dataclass(frozen=True)
class Spec(Generic[T]):
    """A method with all its hyper-parameters, before it is built.

    Attributes:
        name: key in the table.
        settings: every hyper-parameter, including defaults, as JSON values.
        label: the shortest text that parses to this spec.
        factory: the entry of the table.
    """

    name: str
    settings: Mapping[str, Any]
    label: str
    factory: Callable[..., T]

    def build(self) -> T:
        """Return the method."""
        return self.factory(**_model(self.factory)(**self.settings).__dict__)

    def key(self) -> dict[str, Any]:
        """Return the content of the method's key.

        Name, settings, the ``VERSION`` of its module, and digests of files that settings name. If settings name other
        methods, the module has a function ``nested`` that returns their specs, whose keys are included.
        """
        module = sys.modules[self.factory.__module__]
        version, nested = getattr(module, "VERSION", 1), getattr(module, "nested", None)
        paths = [value for value in _model(self.factory)(**self.settings).__dict__.values() if isinstance(value, Path)]
        contents = {"contents": [_contents(path) for path in paths]} if paths else {}
        inner = [spec.key() for spec in nested(self.settings)] if nested else []
        within = {"nested": inner} if inner else {}
        return {"name": self.name, "version": version, **self.settings, **contents, **within}


def parse(text: str, table: Mapping[str, Callable[..., T]], kind: str, **preset: Any) -> Spec[T]:
    """Parse ``text`` against ``table``.

    Args:
        text: e.g. ``"lsp:eps=6/255"`` or ``"lsp[eps=6/255]"``.
        table: names to classes or functions.
        kind: kind of the entries, in the singular; the entry-point group is ``howfar.{kind}s``.
        preset: values for hyper-parameters that the text does not set; ignored if the method lacks them.

    Raises:
        UsageError: for an unknown name or hyper-parameter (with the closest known one), or an invalid value.
    """
    match = re.fullmatch(r"([\w.-]+)(?::(.*?))?(?:\[([^\[]*(?:\[[^\]]*\][^\[]*)*)\])?", text.strip(), re.DOTALL)
    if match is None:
        bare = re.sub(r'"[^"]*"', "", text)
        if bare.count("[") != bare.count("]"):
            end = "no end" if bare.count("[") > bare.count("]") else "no beginning"
            raise UsageError(f"a bracket in '{text}' has {end}. Write it as in 'lsp[eps=8/255]'.")
        raise UsageError(f"'{text}' names no {kind}. Write name, name:value or name:key=value,....")
    name, after, rest = match.groups()
    factory = factory_of(name, table, kind)
    model = _model(factory)
    given: dict[str, Any] = {key: value for key, value in preset.items() if key in model.model_fields}
    first, items = _after_colon(after or "", factory)
    items += split_list(rest or "")
    if "paper" in items and "paper" not in model.model_fields:
        items.remove("paper")
        given |= getattr(factory, "published", {})
    if first:
        key = _first(factory)
        if key is None:
            raise UsageError(f"{kind} '{name}' takes no value, so '{text}' is invalid. Write '{name}'.")
        given[key] = unquoted(first)
    set_here = {_first(factory)} if first else set()
    for item in items:
        key, sign, value = item.partition("=")
        key = key.strip().replace("-", "_")
        if not sign or key not in model.model_fields:
            raise lacking(f"{kind} '{name}'", "setting", key, model.model_fields, _settings_text(model))
        if key in set_here:
            raise UsageError(f"'{text}' sets {key} twice. Keep one of them.")
        set_here.add(key)
        given[key] = unquoted(value.strip())
    try:
        settings = model(**given).model_dump(mode="json")
    except ValidationError as error:
        what = error.errors()[0]
        field = ".".join(str(part) for part in what["loc"])
        raise UsageError(
            f"{kind} '{name}': {field} = {what['input']!r} is wrong: {reason(what, _hints(factory))}."
        ) from None
    _refuse_huge(f"{kind} '{name}'", settings)
    return Spec(name, settings, _label(name, settings, factory), factory)


def reason(what: Mapping[str, Any], hints: Mapping[str, Any] | None = None) -> str:
    """Return the message of an error of pydantic.

    Args:
        what: the error.
        hints: types of the settings, which have the whole range of a value that lies outside.
    """
    limits = {key: what.get("ctx", {})[key] for key in BOUNDS if key in what.get("ctx", {})}
    if limits:
        name = str(next(iter(what["loc"]), ""))
        limits |= _limits((hints or {}).get(name))
        text = f"it must be {' and '.join(f'{BOUNDS[key]} {limits[key]:g}' for key in BOUNDS if key in limits)}"
        return f"{text}; {EPS}" if name == "eps" else text
    return str(what["msg"]).removeprefix("Value error, ")


def _limits(hint: Any) -> dict[str, float]:
    """Return the bounds of a type, by their names in ``BOUNDS``."""
    found: dict[str, float] = {}
    for part in getattr(hint, "__metadata__", ()):
        for one in getattr(part, "metadata", [part]):
            found |= {key: getattr(one, key) for key in BOUNDS if hasattr(one, key)}
    for inner in get_args(hint):
        found |= _limits(inner)
    return found


def check(method: object) -> None:
    """Raise ``UsageError`` unless every field of a method built in Python is valid."""
    factory: Callable[..., Any] = type(method)
    model = _model(factory)
    try:
        model(**{name: getattr(method, name) for name in model.model_fields})
        _refuse_huge(type(method).__name__, {name: getattr(method, name) for name in model.model_fields})
    except ValidationError as error:
        what = error.errors()[0]
        raise UsageError(
            f"{type(method).__name__}: {what['loc'][0]} = {what['input']!r}: {reason(what, _hints(factory))}."
        ) from None


def _refuse_huge(what: str, settings: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for an integer too large to be a count or size; seeds are not limited."""
    for name, value in settings.items():
        if isinstance(value, int) and abs(value) > LARGEST and "seed" not in name:
            raise UsageError(f"{what}: {name} = {value} is too large. Use at most {LARGEST}.")


def _after_colon(text: str, factory: Callable[..., Any]) -> tuple[str, list[str]]:
    """Split what follows the colon of ``name:value,key=value``: the value, which may hold commas, and the settings."""
    parts, known = split(text, ","), _model(factory).model_fields
    is_path = "Path" in str(_hints(factory).get(_first(factory) or ""))
    settings: list[str] = []
    while parts:
        found = re.match(SETTING, part := parts[-1].strip())
        if is_path and not (found and found[1].replace("-", "_") in known):
            break  # part of a file name
        if not found and part != "paper":
            break
        settings.insert(0, part)
        parts.pop()
    return ",".join(parts), settings


def _contents(path: Path) -> str:
    """Return a digest of a file, or of the names and contents of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                found.update(
                    os.fsencode(f"{file.relative_to(path)}\0") + hashlib.file_digest(stream, "sha256").digest()
                )
    return found.hexdigest()[:20]


def factory_of(name: str, table: Mapping[str, Callable[..., T]], kind: str) -> Callable[..., T]:
    """Return the entry of a table or a plug-in; arguments and errors as of ``parse``."""
    if name in table:
        return table[name]
    plugins = entry_points(group=f"howfar.{kind}s")
    if name not in plugins.names:
        raise unknown(kind, name, {*table, *plugins.names})
    try:
        loaded: Callable[..., T] = plugins[name].load()
    except Exception as error:  # third-party code
        raise UsageError(
            f"{kind} '{name}' is a plug-in that cannot be loaded ({type(error).__name__}: {error}). Fix or remove it."
        ) from None
    return loaded


@functools.cache  # pydantic takes milliseconds to create a class, and a grid requests the same few many times
def _model(factory: Callable[..., Any]) -> type[BaseModel]:
    hints = _hints(factory)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(factory).parameters.values()
    }
    return create_model(
        "Settings", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False), **fields
    )


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)


def _settings_text(model: type[BaseModel]) -> str:
    return f"Settings: {', '.join(model.model_fields)}." if model.model_fields else "It has no settings."


@functools.cache
def _first(factory: Callable[..., Any]) -> str | None:
    """Return the setting that ``name:value`` sets: the first that is not keyword-only."""
    parameters = inspect.signature(factory).parameters.values()
    return next((parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY), None)


def _label(name: str, settings: Mapping[str, Any], factory: Callable[..., Any]) -> str:
    changed = {}
    for key, field in _model(factory).model_fields.items():
        default = str(field.default) if isinstance(field.default, Path) else field.default
        if settings[key] != default:
            changed[key] = settings[key]
    head, first = name, _first(factory)
    if first and isinstance(changed.get(first), str):
        head = f"{name}:{changed.pop(first)}"
    texts = {key: number_text(value) for key, value in changed.items()}
    body = ",".join(f"{key}={quoted(text) if len(split(text, ',')) > 1 else text}" for key, text in texts.items())
    return f"{head}[{body}]" if body else head

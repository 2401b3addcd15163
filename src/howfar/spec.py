"""Methods by name: ``em``, ``em:class``, ``lsp[eps=6/255]``, ``folder:photos[size=32]``.

A table is a plain ``dict`` from names to classes or functions; the signature of an entry *is* its list of
hyper-parameters. ``name:value`` sets the first of them that is not keyword-only, ``name[key=value,...]`` any;
``name[paper]`` takes the published settings. Others may add entries through Python entry points
(``howfar.protectors``, …); one is loaded only when named.
"""

import functools
import hashlib
import inspect
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

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

from howfar.arrays import canonical
from howfar.errors import UsageError, unknown, written_out

T = TypeVar("T", covariant=True)
ABOUT = ("name", "version", "contents", "nested")  # what a key holds besides settings
LONG = 12  # characters of a value in a name


def _fraction(value: object) -> object:
    if not isinstance(value, str) or "/" not in value:
        return value
    above, _, below = value.partition("/")
    try:
        return float(above) / float(below)
    except (ValueError, ZeroDivisionError):
        return value  # pydantic then says what is wrong


Number = Annotated[float, BeforeValidator(_fraction), AllowInfNan(False)]
LARGEST_SIDE = 4096  # pixels, of an image that networks train on
LARGEST = 10_000_000  # of whole numbers: counts and sizes beyond are slips, and would fill any memory


def _parts(value: object) -> object:
    return tuple(split_list(value, at="+")) if isinstance(value, str) else value


Joined = Annotated[tuple[str, ...], BeforeValidator(_parts), PlainSerializer("+".join)]  # names, written a+b+c
Eps = Annotated[
    float, BeforeValidator(_fraction), Field(gt=0, le=1), AllowInfNan(False)
]  # radius or step, images in [0, 1]


@dataclass(frozen=True)
class Spec(Generic[T]):
    """One method with all its hyper-parameters, before it is built.

    Attributes:
        name: its key in the table.
        settings: every hyper-parameter, defaults filled in, as JSON values.
        label: the shortest text that parses to this very spec.
        factory: the table's entry.
    """

    name: str
    settings: Mapping[str, Any]
    label: str
    factory: Callable[..., T]

    def build(self) -> T:
        """Return the method itself."""
        return self.factory(**_model(self.factory)(**self.settings).__dict__)

    def key(self) -> dict[str, Any]:
        """Return what identifies the method's result.

        Name, settings, the ``VERSION`` beside the method, and the contents of files that settings name. A method whose
        settings name other methods has a function ``nested`` beside it that returns them: their keys are part of it.
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
        text: e.g. ``"lsp[eps=6/255]"``.
        table: names to classes or functions.
        kind: what the table holds, in the singular; names the entry-point group ``howfar.{kind}s`` as well.
        preset: values for hyper-parameters that the text leaves open; those the method lacks are ignored.

    Raises:
        UsageError: for an unknown name or hyper-parameter (with the nearest known one), or a bad value.
    """
    match = re.fullmatch(r"([\w.-]+)(?::(.*?))?(?:\[([^\[]*(?:\[[^\]]*\][^\[]*)*)\])?", text.strip(), re.DOTALL)
    if match is None:
        raise UsageError(f"'{text}' names no {kind}. Write name, name:value or name[key=value,...].")
    name, first, rest = match.groups()
    factory = _lookup(name, table, kind)
    model = _model(factory)
    given: dict[str, Any] = {key: value for key, value in preset.items() if key in model.model_fields}
    if first:
        key = _first(factory)
        if key is None:
            raise UsageError(f"{kind} '{name}' takes no value, so '{text}' makes no sense. Write '{name}'.")
        given[key] = _unquoted(first)
    set_here = {_first(factory)} if first else set()
    items = split_list(rest or "")
    if "paper" in items and "paper" not in model.model_fields:
        items.remove("paper")
        given |= getattr(factory, "published", {})
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or key.strip() not in model.model_fields:
            raise unknown(f"setting of {kind} '{name}'", key.strip(), model.model_fields)
        if key.strip() in set_here:
            raise UsageError(f"'{text}' sets {key.strip()} twice. Keep one of them.")
        set_here.add(key.strip())
        given[key.strip()] = _unquoted(value.strip())
    try:
        settings = model(**given).model_dump(mode="json")
    except ValidationError as error:
        what = error.errors()[0]
        field = ".".join(str(part) for part in what["loc"])
        raise UsageError(f"{kind} '{name}': {field} = {what['input']!r} is wrong: {what['msg']}.") from None
    _refuse_huge(f"{kind} '{name}'", settings)
    return Spec(name, settings, _label(name, settings, factory), factory)


def check(method: object) -> None:
    """Raise ``UsageError`` unless every field of a method built in Python is valid."""
    factory: Callable[..., Any] = type(method)
    model = _model(factory)
    try:
        model(**{name: getattr(method, name) for name in model.model_fields})
        _refuse_huge(type(method).__name__, {name: getattr(method, name) for name in model.model_fields})
    except ValidationError as error:
        what = error.errors()[0]
        raise UsageError(f"{type(method).__name__}: {what['loc'][0]} = {what['input']!r}: {what['msg']}.") from None


def _refuse_huge(what: str, settings: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for a whole number that no count or size can be; seeds may be any."""
    for name, value in settings.items():
        if isinstance(value, int) and abs(value) > LARGEST and "seed" not in name:
            raise UsageError(f"{what}: {name} = {value} is too large. Take {LARGEST} at most.")


def quoted(text: str) -> str:
    """Return a value so that commas and brackets in it do not end it."""
    return f'"{text}"' if any(sign in text for sign in ",[]@+") else text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def split_list(text: str, *, at: str = ",") -> list[str]:
    """Split at commas, or another sign, outside brackets and quotes.

    ``"em,lsp[eps=6/255,patch=4]"`` has two items, and so has ``'em,import:"Photos, 2024/n.npy"'``.
    """
    parts, depth, quotes = [""], 0, False
    for sign in text:
        quotes ^= sign == '"'
        depth += 0 if quotes else (sign == "[") - (sign == "]")
        if sign == at and depth == 0 and not quotes:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def told_apart(named: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[tuple[str, str], str]:
    """Return what to put behind each label, by label and specification as canonical JSON.

    Nothing where a label stands for one specification; else the versions in which they differ, if these are enough,
    else all differences, if they are few, else a digest.

    Args:
        named: labels, and the specification that each stands for.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for label, spec in named:
        kinds[label][canonical(spec)] = dict(_flat(spec))
    found: dict[tuple[str, str], str] = {}
    for label, specs in kinds.items():
        texts = _differences(list(specs.values())) if len(specs) > 1 else [""]
        for (key, _), text in zip(specs.items(), texts, strict=True):
            found[label, key] = f" ({text})" if text else ""
    return found


def _differences(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    paths = sorted({path for spec in specs for path in spec})
    differing = [path for path in paths if len({canonical(spec.get(path)) for spec in specs}) > 1]
    versions = [path for path in differing if path.rpartition(".")[2] == "version"]
    others = [path for path in differing if path not in versions]
    for chosen in (versions, [*versions, *others] if len(differing) < 4 else []):
        texts = [
            ", ".join(written_out(f"{path} {str(spec.get(path, 'none'))[:LONG]}") for path in chosen) for spec in specs
        ]
        if chosen and len(set(texts)) == len(specs):
            return texts
    return [hashlib.sha256(canonical(spec).encode()).hexdigest()[:8] for spec in specs]


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{path}.{key}" if path else str(key))


def number_text(value: object) -> str:
    """Write a value the way the command line reads it; multiples of 1/255 keep that form."""
    if isinstance(value, float):
        levels = f"{value * 255:.4g}"
        if float(f"{value:g}") == value:  # 0.1, although it is 25.5/255 too
            return f"{value:g}"
        return f"{levels}/255" if 0 < float(levels) < 256 and float(levels) / 255 == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _contents(path: Path) -> str:
    """Return a digest of a file, or of all files in a folder with their names."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                found.update(
                    os.fsencode(f"{file.relative_to(path)}\0") + hashlib.file_digest(stream, "sha256").digest()
                )
    return found.hexdigest()[:20]


def _lookup(name: str, table: Mapping[str, Callable[..., T]], kind: str) -> Callable[..., T]:
    if name in table:
        return table[name]
    plugins = entry_points(group=f"howfar.{kind}s")
    if name not in plugins.names:
        raise unknown(kind, name, {*table, *plugins.names})
    try:
        loaded: Callable[..., T] = plugins[name].load()
    except Exception as error:  # it is somebody else's code
        raise UsageError(
            f"{kind} '{name}' is a plug-in that cannot be loaded ({type(error).__name__}: {error}). Mend or remove it."
        ) from None
    return loaded


@functools.cache  # pydantic takes milliseconds to make a class, and a grid asks for the same few thousands of times
def _model(factory: Callable[..., Any]) -> type[BaseModel]:
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)
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


@functools.cache
def _first(factory: Callable[..., Any]) -> str | None:
    """Return the setting that ``name:value`` sets; those that are keyword-only are left out."""
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
    body = ",".join(f"{key}={number_text(value)}" for key, value in changed.items())
    return f"{head}[{body}]" if body else head

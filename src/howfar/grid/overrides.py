"""One suite from a preset, a TOML file, flags and settings, each overriding those before it."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from howfar.errors import UsageError, unknown
from howfar.grid.presets import SUITES
from howfar.grid.suite import Suite, split_if_text
from howfar.models import MODELS
from howfar.spec import parse, reason

LISTS = {
    "protectors": "em,lsp", "models": "resnet8", "dense_models": "unet", "defenses": "none,jpeg",
    "tasks": "classification", "source_tasks": "classification", "seeds": "0-2",
}  # keys with lists of names, with an example  # fmt: skip


def read_suite(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file with the keys of a suite, and optionally a preset (``suite = "digits"``).

    Raises:
        UsageError: if the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist. Give a TOML file with the keys of a suite.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} is not valid TOML ({error}). Correct it.") from None


def make_suite(
    name: str | None, *layers: Mapping[str, Any], settings: Iterable[str] = (), single: Iterable[str] = ()
) -> Suite:
    """Return a suite from a preset, overridden by mappings and ``key=value`` settings in order.

    Args:
        name: a key of ``SUITES``; None takes the first one for the data set, or ``standard``.
        layers: nested mappings with keys of a suite, such as a TOML file or flags.
        settings: e.g. ``"train.lr=0.1"``.
        single: keys for which only the first value of the preset is used, such as ``models``.

    Raises:
        UsageError: for an unknown key (with the nearest known one) or a bad value.

    Example:
        >>> from howfar import make_suite
        >>> suite = make_suite("digits", {"protectors": "lsp", "seeds": "0-1"})
        >>> len(suite.experiments())
        16
    """
    over = [_spelled(layer) for layer in (*layers, *(_nested(text) for text in settings))]
    named = suite_name(name, *over)
    merged: dict[str, Any] = dict(SUITES[named])
    merged |= {key: merged[key][:1] for key in single if key in merged}
    known = {entry.name for entry in fields(Suite)}
    if any("recipe" in layer for layer in over):  # settings of the preset apply to its own recipe
        merged["train"] = {}
    if any("models" in layer for layer in over):  # named victims apply to every task
        merged.pop("dense_models", None)
    for layer in over:
        for key, value in layer.items():
            if key not in {*known, "suite"}:
                raise unknown("key", key, known)
            if key == "train":
                merged["train"] = _overlaid(merged.get("train", {}), _settings(value))
            elif key != "suite":
                merged[key] = value
    own = str(SUITES[named]["dataset"])
    if merged["dataset"] == _bare(own):  # with the settings of the suite
        merged["dataset"] = own
    for key, example in LISTS.items():
        if isinstance(merged.get(key), str | list | tuple) and not split_if_text(merged[key]):
            raise UsageError(
                f"{key.replace('_', ' ')} are empty, so there is nothing to run. Name at least one, e.g. {example}, or "
                f"omit the flag to use those of the suite '{named}'."
            )
    for key in LISTS:
        _refuse_objects(key, merged.get(key))
    try:
        suite = TypeAdapter(Suite).validate_python(merged)
    except ValidationError as error:
        what = error.errors()[0]
        place = ".".join(map(str, what["loc"]))
        raise UsageError(
            f"{place} = {what['input']!r} is wrong: {reason(what, get_type_hints(Suite, include_extras=True))}."
        ) from None
    for network in (key for key, value in suite.train.items() if isinstance(value, Mapping)):
        parse(network, MODELS, "model")
    for model in (*suite.models, *(suite.dense_models or ())):
        suite.recipe_of(parse(model, MODELS, "model"))
    return suite


def _refuse_objects(key: str, value: Any) -> None:
    """Raise ``UsageError`` for networks, protectors and others that are given instead of their names."""
    kinds = (int, str) if key == "seeds" else (str,)
    items = value if isinstance(value, list | tuple | range) else [value]
    wrong = next((item for item in items if item is not None and not isinstance(item, kinds)), None)
    if wrong is None:
        return
    if key == "seeds":
        raise UsageError(f"seeds = {value!r} are not whole numbers. Write 0, [0, 1] or '0-4'.")
    what = wrong.__name__ if isinstance(wrong, type) else getattr(wrong, "__name__", type(wrong).__name__)
    raise UsageError(
        f"{key} are names with settings, such as '{LISTS[key].split(',')[0]}', not objects ({what}). One of your own "
        "gets a name as a plug-in: docs/how-to; without one, call train, evaluate and sharpness yourself."
    )


def suite_name(name: str | None, *layers: Mapping[str, Any]) -> str:
    """Return the name of the preset: that of the last layer that has one, the given one, or the data set's first.

    Raises:
        UsageError: if there is no such preset.
    """
    named = next((str(layer["suite"]) for layer in reversed(layers) if "suite" in layer), name)
    if named is None:
        dataset = _bare(next((str(layer["dataset"]) for layer in reversed(layers) if "dataset" in layer), "rooms"))
        named = next((suite for suite, keys in SUITES.items() if _bare(keys["dataset"]) == dataset), "standard")
    if named not in SUITES:
        raise unknown("suite", named, SUITES)
    return named


def _bare(dataset: str) -> str:
    """Return the name of a data set without its settings."""
    return re.split(r"[:\[]", dataset)[0]


def _spelled(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer with ``_`` for ``-`` in its keys; those of mappings within ``train`` are names of networks."""
    found = {key.replace("-", "_"): value for key, value in layer.items()}
    if isinstance(train := found.get("train"), Mapping):
        found["train"] = {
            key if isinstance(value, Mapping) else key.replace("-", "_"): _spelled(value)
            if isinstance(value, Mapping)
            else value
            for key, value in train.items()
        }
    return found


def _overlaid(train: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return merged recipe settings; those for all networks override those of single networks."""
    shared = {key for key, value in over.items() if not isinstance(value, Mapping)}
    merged: dict[str, Any] = {
        key: {name: inner for name, inner in value.items() if name not in shared}
        if isinstance(value, Mapping)
        else value
        for key, value in train.items()
    }
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = (
            {**(before if isinstance(before, Mapping) else {}), **value} if isinstance(value, Mapping) else value
        )
    return merged


def _settings(train: object) -> Mapping[str, object]:
    if isinstance(train, Mapping):
        return train
    raise UsageError(
        f"train = {train!r} is wrong: it must be settings. Write train.lr=0.1, or a table [train] in TOML."
    )


def _nested(text: str) -> dict[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"'{text}' sets nothing. Write --set key=value, for instance --set train.lr=0.1.")
    found: Any = value.strip()
    for part in reversed(key.strip().split(".")):
        found = {part: found}
    return dict(found)

"""Kinds of JSON values, and the first member of an object that is missing or of another kind."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a terminal would act on them


class Kind(NamedTuple):
    """A kind of JSON value.

    Attributes:
        name: as a message calls it, with its article.
        holds: whether a value is of this kind.
    """

    name: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _all(holds: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    """Return whether a value is a list of at least ``least`` such values."""
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(holds, value))


def _or_null(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


NUMBER = Kind("a finite number", _is_number)
COUNT = Kind("a whole number", _is_count)
AMOUNT = Kind("a whole number above 0", lambda value: _is_count(value) and value > 0)
TEXT = Kind("text", lambda value: isinstance(value, str))
NAME = Kind("text without control characters", lambda value: isinstance(value, str) and not CONTROL.search(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, Mapping))
LIST = Kind("a list", lambda value: isinstance(value, list))
TEXTS = Kind("a list of texts", _all(TEXT.holds))
NUMBERS = Kind("a list of finite numbers", _all(NUMBER.holds))
SOME_NUMBERS = Kind("a list of at least one finite number", _all(NUMBER.holds, 1))
TWO_NUMBERS = Kind("two finite numbers", lambda value: NUMBERS.holds(value) and len(value) == 2)
OBJECTS = Kind("a list of objects", _all(OBJECT.holds))
OPTIONAL_NUMBER = Kind("a finite number or null", _or_null(NUMBER.holds))
OPTIONAL_FLAG = Kind("true, false or null", _or_null(FLAG.holds))
COSINES = Kind("a list of finite numbers and nulls", _all(OPTIONAL_NUMBER.holds, 1))


def first_fault(wanted: Mapping[str, Kind], found: Mapping[str, Any], prefix: str = "") -> str:
    """Return the first member that is missing or of another kind, as a sentence; ``prefix`` leads its name."""
    for path, kind in wanted.items():
        value: Any = found
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return f"it lacks {prefix}{path}"
            value = value[name]
        if not kind.holds(value):
            return f"{prefix}{path} is {shown(value)}, not {kind.name}"
    return ""


def given_fault(known: Mapping[str, Kind], found: Mapping[str, Any], prefix: str = "") -> str:
    """Return the same for members that may be missing."""
    return first_fault({name: kind for name, kind in known.items() if name in found}, found, prefix)


def each_fault(found: Mapping[str, Any], kind: Kind, prefix: str) -> str:
    """Return the first member of another kind, as a sentence; names may hold dots."""
    wrong = next((name for name, value in found.items() if not kind.holds(value)), None)
    return "" if wrong is None else f"{prefix}{wrong} is {shown(found[wrong])}, not {kind.name}"


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut to 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"

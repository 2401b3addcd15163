"""Names on a page, replaced for readers who gave photographs instead of names."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


def reworded(value: T, words: Mapping[str, str]) -> T:
    """Return a page, or anything in it, whose texts hold other words.

    Args:
        value: texts, and dataclasses, mappings, lists and tuples of them; everything else stays as it is.
        words: by what they replace; longer ones first.

    Example:
        >>> reworded({"import:a.npy[share=0.5]": ["import:a.npy"]}, {"import:a.npy": "yours"})
        {'yours[share=0.5]': ['yours']}
    """
    order = sorted(words, key=len, reverse=True)
    found: T = _walked(value, {name: words[name] for name in order})
    return found


def _walked(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(name, word)
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{one.name: _walked(getattr(value, one.name), words) for one in fields(value) if one.init}
        )
    if isinstance(value, Mapping):
        return {_walked(key, words): _walked(inner, words) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_walked(inner, words) for inner in value))
    return type(value)(_walked(inner, words) for inner in value) if isinstance(value, list | tuple) else value

"""Examples in docstrings give what they say."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import howfar
from howfar.commands.catalog import TABLES

SOURCE = Path(__file__).parents[1] / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in SOURCE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


def test_every_method_has_an_example() -> None:
    entries = [(kind, name, table[name]) for kind, table in TABLES.items() for name in table]
    assert len(entries) > 90
    assert [f"{kind} {name}" for kind, name, entry in entries if ">>>" not in (entry.__doc__ or "")] == []


def test_every_public_function_has_an_example() -> None:
    public = {name: getattr(howfar, name) for name in howfar.__all__}
    functions = {name: each for name, each in public.items() if inspect.isfunction(each)}
    assert len(functions) > 15
    assert [name for name, each in functions.items() if ">>>" not in (each.__doc__ or "")] == []

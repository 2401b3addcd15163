"""Readers read or refuse; nothing else escapes them."""

import os
import random
from pathlib import Path

import pytest

from howfar.errors import HowfarError

from . import structured
from .fuzz import CORPUS, FINE, called, folder_of, kept, mutated, outcome, smallest
from .readers import READERS, Reader
from .structured import INPUTS, tried

ROUNDS = 15  # of each quick reader; python benchmarks/campaign.py goes on for a million
EMPTY = ("SVHN", "index of a store", "where the originals are")  # refused always, or never


@pytest.mark.parametrize("name", [name for name in READERS if name not in EMPTY])
def test_right_files_are_read_and_changed_ones_read_or_refused(name: str, tmp_path: Path) -> None:
    reader, dice = READERS[name], random.Random(name)
    seed = reader.seed()
    assert outcome(reader, seed, tmp_path) == "read"
    found = [
        outcome(reader, mutated(seed, dice), tmp_path) for _ in range(max(round(ROUNDS * min(reader.weight, 1)), 8))
    ]
    assert set(found) <= set(FINE)
    assert "refused" in found or name in ("lease", "draft", "journal of photographs")


@pytest.mark.parametrize("name", INPUTS)
def test_drawn_inputs_are_read_or_refused(name: str) -> None:
    found, escaped = tried(name, 20 if INPUTS[name].weight > 0.1 else 6, seed=1)
    assert escaped is None
    assert set(found) <= set(FINE)


def test_what_escaped_once_is_read_or_refused(tmp_path: Path) -> None:
    names = {folder_of(name): reader for name, reader in READERS.items()}
    found = [(folder, path.name, outcome(names[folder], path.read_bytes(), tmp_path)) for folder, path in kept()]
    found += [
        (name, str(value), called(lambda n=name, v=value: INPUTS[n].read(v))) for name, value in structured.kept(CORPUS)
    ]
    assert len(found) >= 20
    assert [entry for entry in found if entry[2] not in FINE] == []


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (KeyError("x"), "KeyError"),
        (HowfarError("a cause. A fix."), "refused"),
        (HowfarError(""), "refused without a word"),
    ],
)
def test_what_escapes_is_named(error: Exception, name: str, tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        raise error

    assert outcome(Reader("", lambda: b"", fails), b"", tmp_path) == name


def test_files_that_escape_are_made_small(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        if b"!" in path.read_bytes():
            raise IndexError

    reader = Reader("", lambda: b"", fails)
    raw = os.urandom(300).replace(b"!", b"?") + b"!" + bytes(200)
    assert smallest(reader, raw, "IndexError", tmp_path) == b"!"

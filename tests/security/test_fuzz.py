"""Readers read or refuse; nothing else escapes them."""

from pathlib import Path

import numpy as np
import pytest

from .fuzz import READERS, folder_of, kept, mutated, outcome

ROUNDS = 40  # of each reader; python -m tests.security.fuzz goes on for as long as wanted


@pytest.mark.parametrize("name", [name for name in READERS if name != "SVHN"])
def test_right_files_are_read_and_changed_ones_read_or_refused(name: str, tmp_path: Path) -> None:
    reader, rng = READERS[name], np.random.default_rng(list(name.encode()))
    seed = reader.seed()
    assert outcome(reader, seed, tmp_path) == "read"
    found = [outcome(reader, mutated(seed, rng), tmp_path) for _ in range(ROUNDS)]
    assert set(found) <= {"read", "refused"}
    assert "refused" in found


def test_what_escaped_once_is_refused(tmp_path: Path) -> None:
    names = {folder_of(name): reader for name, reader in READERS.items()}
    found = [(folder, path.name, outcome(names[folder], path.read_bytes(), tmp_path)) for folder, path in kept()]
    assert len(found) >= 2
    assert [entry for entry in found if entry[2] != "refused"] == []

"""Tests look at nothing outside the repository that the environment does not name."""

import re
from pathlib import Path

import pytest

from howfar.data.files import default_root

from .conftest import REAL_DATA, real_data

ROOT = Path(__file__).parents[1]


def test_real_data_are_only_looked_for_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(REAL_DATA, raising=False)
    assert real_data() is None
    monkeypatch.setenv(REAL_DATA, "")
    assert real_data() is None
    monkeypatch.setenv(REAL_DATA, str(tmp_path))
    assert real_data() == tmp_path
    monkeypatch.setenv(REAL_DATA, str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match=REAL_DATA):
        real_data()


def test_data_of_whoever_runs_the_tests_stay_out_of_sight(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert default_root("cifar10").is_relative_to(tmp_path_factory.getbasetemp())
    assert not default_root("cifar10").exists()


def test_no_test_climbs_out_of_the_repository() -> None:
    """``parents[n]`` of a test file must not lie above the repository's root."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        inside = len(path.relative_to(ROOT).parts) - 1
        for found in re.findall(r"__file__\)(?:\.resolve\(\))?\.parents\[(\d+)\]", path.read_text()):
            assert int(found) <= inside, f"{path.relative_to(ROOT)} looks above the repository"

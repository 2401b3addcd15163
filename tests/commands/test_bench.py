"""What ``howfar bench`` says before, during and after a run."""

import pytest

from ..test_cli import inside


def test_two_forms_of_output_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howfar.grid.experiment._load", None)
    for command in ("bench", "leaderboard", "ablate-ud", "trajectory", "curvature"):
        code, shown, said = inside(command, "--json", "--latex")
        assert (code, shown) == (2, "")
        assert "--json and --latex exclude each other" in said

"""A protector from outside, installed as its users would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_cli import TINY

PLUGIN = Path(__file__).parents[1] / "examples" / "howfar-checkerboard"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the example is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    site = folder / "site"
    build = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*build, str(PLUGIN)], check=True, cwd=folder)
    return site


def test_the_worked_example_installs_and_benches(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "howfar", *TINY, "--protectors", "checkerboard[eps=16/255]", "--json"]
    variables = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["protector"]: row for row in json.loads(done.stdout)}
    assert rows["checkerboard[eps=16/255]"]["linf"] == 16


def test_a_plugin_that_nobody_asked_for_is_not_imported(site: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom howfar.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print('imported' if 'howfar_checkerboard' in sys.modules else 'left alone')"
    )
    for arguments in (["list", "protectors"], ["doctor"], TINY, [*TINY, "--protectors", "checkerbord"]):
        command = [sys.executable, "-c", script, *arguments]
        variables = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "left alone", done.stderr
    assert "Did you mean 'checkerboard'?" in done.stderr.replace("\n", " ")


def test_a_plugin_is_listed_and_shown(site: Path, tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    def shown(*arguments: str) -> str:
        command = [sys.executable, "-m", "howfar", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True).stdout

    (entry,) = [entry for entry in json.loads(shown("list", "protectors", "--json")) if entry["name"] == "checkerboard"]
    assert entry["what"].startswith("plug-in of howfar-checkerboard ")
    assert "checkerboard" in shown("list", "protectors", "--wide")
    text = shown("show", "checkerboard")
    assert text.startswith("checkerboard (protector)")
    assert "eps" in text


def test_the_example_takes_at_most_60_lines() -> None:
    source = PLUGIN / "src" / "howfar_checkerboard" / "__init__.py"
    assert len(source.read_text().splitlines()) <= 60

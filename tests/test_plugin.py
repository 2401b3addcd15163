"""A protector from outside, installed as its users would."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .test_cli import TINY

PLUGIN = Path(__file__).parents[1] / "examples" / "howfar-checkerboard"


def test_the_worked_example_installs_and_benches(tmp_path: Path) -> None:
    site = tmp_path / "site"
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
    subprocess.run([*build, str(PLUGIN)], check=True, cwd=tmp_path)
    command = [sys.executable, "-m", "howfar", *TINY, "--protectors", "checkerboard[eps=16/255]", "--json"]
    variables = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["protector"]: row for row in json.loads(done.stdout)}
    assert rows["checkerboard[eps=16/255]"]["linf"] == 16


def test_the_example_takes_at_most_60_lines() -> None:
    source = PLUGIN / "src" / "howfar_checkerboard" / "__init__.py"
    assert len(source.read_text().splitlines()) <= 60

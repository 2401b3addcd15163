"""Files around the code agree with each other: version, address, README on PyPI, source distribution."""

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

import howfar

ROOT = Path(__file__).parents[1]
ADDRESS = re.compile(r"https://(?:raw\.githubusercontent|github)\.com/([\w.-]+/howfar)\b(?!-)")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_has_one_source(settings: dict[str, Any]) -> None:
    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["hatch"]["version"]["path"] == "src/howfar/__init__.py"
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {howfar.__version__}\n" in citation
    released = re.search(rf"^## {re.escape(howfar.__version__)} \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released is not None
    assert f"\ndate-released: {released[1]}\n" in citation


def test_the_repository_has_one_address(settings: dict[str, Any]) -> None:
    repository = settings["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    files = [
        *ROOT.glob("*.*"),
        *ROOT.glob(".github/**/*.*"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.ipynb"),
    ]
    found = {name for path in files if path.is_file() for name in ADDRESS.findall(path.read_text(errors="ignore"))}
    assert found == {repository}


def test_the_readme_on_pypi_links_to_files_that_exist(settings: dict[str, Any]) -> None:
    text = (ROOT / "README.md").read_text()
    for change in settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ours = [link for link in links if ADDRESS.match(link)]
    assert len(ours) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    for link in ours:
        path = re.sub(r"^https://[^/]+/[^/]+/howfar/(blob/)?main/", "", link).partition("#")[0]
        assert (ROOT / path).exists(), link


def test_the_source_distribution_has_the_tests_and_no_strays(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.iterdir()
    assert archive.name == f"howfar-{howfar.__version__}.tar.gz"
    with tarfile.open(archive) as members:
        names = {name.partition("/")[2] for name in members.getnames()}
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    assert names - {"PKG-INFO", ".gitignore"} <= set(listed.stdout.decode().splitlines())
    assert {"tests/test_repository.py", "tests/conftest.py", "docs/index.md", "Makefile", "LICENSE"} <= names
    assert not [name for name in names if name.startswith((".github", ".ci", "build", "runs"))]


def test_results_stay_few_and_small() -> None:
    files = [path for path in (ROOT / "results").iterdir() if path.name == "README.md" or path.suffix == ".xz"]
    assert len(files) <= 30
    assert sum(path.stat().st_size for path in files) < 10 * 2**20


def test_hooks_before_a_commit_use_the_pinned_ruff() -> None:
    pinned = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"rev: v{pinned[1]} " in (ROOT / ".pre-commit-config.yaml").read_text()


def test_the_supported_pythons_are_tested(settings: dict[str, Any]) -> None:
    named = {line.rpartition(" ")[2] for line in settings["project"]["classifiers"] if ":: Python :: 3." in line}
    tested = re.findall(r'os: ubuntu-latest, python: "(3\.\d+)"', (ROOT / ".github/workflows/tests.yml").read_text())
    assert set(tested) == named

"""The documentation site builds offline, and a dead link stops it."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("mkdocstrings", reason="the site needs pip install 'howfar[docs]'")
pytest.importorskip("material", reason="the site needs pip install 'howfar[docs]'")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

import howfar

ROOT = Path(__file__).parents[1]
TABLES = {"DATASETS", "DEFENSES", "MODELS", "PROTECTORS", "TASKS"}  # of methods, which have a page of their own


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {Path("changelog.html"), Path("contributing.html")} <= {
        path.relative_to(site) for path in site.rglob("*.html")
    }


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r"""(?:\bsrc=|<link[^>]*\bhref=|url\()["']?(?:https?:)?//[^"')>\s]+""")
    pages = list(site.rglob("*.html"))
    assert pages
    for page in [*pages, *site.rglob("*.css")]:
        assert fetched.findall(page.read_text(encoding="utf-8")) == [], page


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = {name.partition(".")[0] for name in re.findall(r"^::: howfar\.([\w.]+)$", page, re.MULTILINE)}
    assert set(howfar.__all__) - TABLES <= named
    shown = (site / "api.html").read_text(encoding="utf-8")
    assert 'id="howfar.score.worst_case.worst_case"' in shown
    assert "Student's t" in shown.replace("&#39;", "'")  # the docstring of the function, not that of its module


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "other.md").write_text("# Other\n\n## Part\n")
    return {
        "docs_dir": str(docs), "site_dir": str(tmp_path / "out"), "nav": ["index.md", "other.md"], "strict": True,
        "theme": {"name": "mkdocs"}, "plugins": [], "hooks": [],
    }  # fmt: skip


@pytest.mark.parametrize("link", ["missing.md", "other.md#missing", "../outside.md", "/other.md"])
def test_a_dead_link_stops_the_build(link: str, settings: dict[str, Any]) -> None:
    (Path(settings["docs_dir"]) / "index.md").write_text(f"# Start\n\n[there]({link})\n")
    with pytest.raises(Abort):
        build(load_config(str(ROOT / "mkdocs.yml"), **settings))


def test_a_link_to_a_page_and_its_part_is_alive(settings: dict[str, Any]) -> None:
    (Path(settings["docs_dir"]) / "index.md").write_text("# Start\n\n[there](other.md#part)\n")
    build(load_config(str(ROOT / "mkdocs.yml"), **settings))


@pytest.mark.parametrize(
    ("link", "here", "becomes"),
    [
        ("sal.md#modes", "docs/paper.md", "sal.md#modes"),
        ("../sal.md", "docs/how-to/data.md", "../sal.md"),
        ("../CHANGELOG.md#unreleased", "docs/sal.md", "changelog.md#unreleased"),
        ("../../CONTRIBUTING.md", "docs/how-to/protector.md", "../contributing.md"),
        ("docs/sal.md", "CHANGELOG.md", "sal.md"),
        ("https://arxiv.org", "docs/sal.md", "https://arxiv.org"),
        ("#modes", "docs/sal.md", "#modes"),
        ("../missing.md", "docs/sal.md", "../missing.md"),
    ],
)
def test_links_out_of_the_pages(hooks: ModuleType, link: str, here: str, becomes: str) -> None:
    assert hooks.linked(f"[text]({link})", here) == f"[text]({becomes})"


def test_links_to_files_lead_to_the_repository(hooks: ModuleType) -> None:
    found = hooks.linked("[text](../pyproject.toml#L3)", "docs/sal.md")
    assert found == f"[text]({hooks.REPOSITORY}/blob/main/pyproject.toml#L3)"

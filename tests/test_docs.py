"""What the docs say is what the code says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_generated_pages_are_fresh() -> None:
    code = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('generate', 'docs/generate.py')\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "stale = [n for n, t in module.pages().items() if pathlib.Path('docs', n).read_text(encoding='utf-8') != t]\n"
        "sys.exit(f'stale: {stale}; run python docs/generate.py' if stale else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_picture_of_the_layout_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    layout = importlib.import_module("layout")
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "data --> models" in page
    assert layout.renewed(page) == page, "run python docs/layout.py"
    assert layout.reduced({"a": set(), "b": {"a"}, "c": {"a", "b"}}) == {"a": set(), "b": {"a"}, "c": {"b"}}


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("results/*.md"), *ROOT.glob("docs/**/*.md")]:
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#]+)\)", prose):
            if not link.startswith(("http:", "https:", "mailto:")):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_pipeline_in_the_package_docstring_runs() -> None:
    import howfar

    code = (howfar.__doc__ or "").partition("::")[2]
    body = "\n".join(line[4:] for line in code.splitlines()).replace("epochs=8", "epochs=1")
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Distance(" in done.stdout
    assert importlib.util.find_spec("howfar") is not None

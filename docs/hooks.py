"""What MkDocs does besides: pages from the root of the repository, and links to its files (``make site``)."""

import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}  # file of the repository -> page
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
PUBLIC = re.compile(r"^::: howfar\.([\w.]+)$", re.MULTILINE)
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the repository, whose address pyproject.toml holds."""
    config.repo_url = REPOSITORY
    config.repo_name = REPOSITORY.removeprefix("https://github.com/")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ to the page of that file, or to the file in the repository.

    Public names are replaced by the place of their definition: mkdocstrings takes ``howfar.drop`` for the module.
    """
    markdown = PUBLIC.sub(lambda found: f"::: {defined(found[1])}", markdown)
    sources = {page: source for source, page in PAGES.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = FENCE.split(markdown)  # every second part is a block of code
    return "".join(part if index % 2 else linked(part, here) for index, part in enumerate(parts))


def linked(text: str, here: str) -> str:
    """Return Markdown with links as the site needs them; ``here`` is the path of its file in the repository.

    Links to files that do not exist stay as they are, and MkDocs complains about them.
    """

    def place(found: re.Match[str]) -> str:
        target, anchor = normpath(f"{here}/../{found[1]}"), found[2] or ""
        if target in PAGES:
            target = f"docs/{PAGES[target]}"
        elif not target.startswith("docs/") and (ROOT / target).exists():
            return f"{REPOSITORY}/blob/main/{target}{anchor}"
        if not target.startswith("docs/"):
            return found[0]
        depth = 0 if here in PAGES else here.count("/") - 1
        return "../" * depth + target.removeprefix("docs/") + anchor

    return LINK.sub(place, text)


def defined(name: str) -> str:
    """Return where a public name is defined: ``howfar.score.drop.drop`` for ``drop``."""
    found = resolve_name(f"howfar.{name}")
    return f"{found.__module__}.{found.__qualname__}"

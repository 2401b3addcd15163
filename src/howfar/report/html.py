"""HTML templates, and the content security policy of pages."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from howfar.errors import require
from howfar.report.latex import LATEX


@cache
def text_of(name: str) -> str:
    """Return a file of the templates' folder."""
    return files("howfar.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def tables_script() -> str:
    """Return the script of tables, which escapes for LaTeX as Python does."""
    return text_of("tables.js").replace("LATEX", json.dumps(LATEX).replace("<", "\\u003c"), 1)


def rendered(template: str, scripts: tuple[str, ...], **values: Any) -> str:
    """Return a page of one file; every name that is put into it is escaped.

    Args:
        template: its file.
        scripts: all that it may run.
        values: what the template asks for.
    """
    require("jinja2", "report", "the page")
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.FunctionLoader(text_of),
    )
    common = {"policy": policy(*scripts), "style": text_of("style.css"), "anchor": anchors(), "shown_columns": columns}
    return environment.get_template(template).render(**common, **values)


def anchors() -> Callable[[str], str]:
    """Return a function from names to addresses inside a page: readable, and another one at every call."""
    known: Counter[str] = Counter()

    def anchor(name: str) -> str:
        short = re.sub(r"[^a-z0-9.=]+", "-", name.lower()).strip("-.") or "row"
        known[short] += 1
        return f"t-{short}" if known[short] == 1 else f"t-{short}-{known[short]}"

    return anchor


class Columns(NamedTuple):
    """Headings and lines of a table."""

    header: list[str]
    lines: list[list[str]]


def columns(header: Sequence[str], lines: Iterable[Sequence[str]]) -> Columns:
    """Return a table without the columns of which nothing is known in any row."""
    found = [list(line) for line in lines]
    empty = {place for place in range(len(header)) if found and all(line[place] == "–" for line in found)}
    kept = [place for place in range(len(header)) if place not in empty]
    return Columns([header[place] for place in kept], [[line[place] for place in kept] for line in found])


def policy(*scripts: str) -> str:
    """Return a content security policy: these scripts and no other, and nothing is fetched from anywhere."""
    known = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    own = "style-src 'unsafe-inline'; img-src data: blob:"
    return f"default-src 'none'; script-src {known}; {own}; base-uri 'none'; form-action 'none'"

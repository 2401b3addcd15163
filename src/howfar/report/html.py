"""How pages are made of templates, and what they let run."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from howfar.errors import require


@cache
def text_of(name: str) -> str:
    """Return a file of the templates' folder."""
    return files("howfar.report").joinpath("templates", name).read_text(encoding="utf-8")


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
    style = text_of("style.css")
    return environment.get_template(template).render(policy=policy(*scripts), style=style, **values)


def policy(*scripts: str) -> str:
    """Return a content security policy: these scripts and no other, and nothing is fetched from anywhere."""
    known = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    own = "style-src 'unsafe-inline'; img-src data: blob:"
    return f"default-src 'none'; script-src {known}; {own}; base-uri 'none'; form-action 'none'"

"""Write the pages that come from the code: ``python docs/generate.py`` (a test says when they are stale)."""

import contextlib
import io
import os
import re
from pathlib import Path

from howfar.catalog import TABLES, describe
from howfar.cli import COMMANDS, main

DOCS = Path(__file__).parent


def pages() -> dict[str, str]:
    """Return the text of every generated page by its file name."""
    return {"cli.md": cli(), "methods.md": methods()}


def cli() -> str:
    """Return the help of every command."""
    parts = ["# Command line\n\nWritten by `docs/generate.py` from the help of every command."]
    for name, command in COMMANDS.items():
        parts.append(f"## howfar {name}\n\n{(command.__doc__ or '').splitlines()[0]}\n\n```text\n{_help(name)}\n```")
    return "\n\n".join(parts) + "\n"


def methods() -> str:
    """Return one table a kind of method."""
    parts = [
        "# Methods\n\nWritten by `docs/generate.py` from signatures and docstrings; `howfar show NAME` tells more."
    ]
    for kind, table in TABLES.items():
        entries = [describe(kind, name) for name in table]
        extra = [key for key in ("norm", "needs labels", "source tasks", "cost", "needs") if key in entries[0]]
        head = ["name", "what", "source", *extra, "settings"]
        rows = [
            [f"`{e['name']}`", e["what"], e["source"], *(e[key] for key in extra), _settings(e["settings"])]
            for e in entries
        ]
        lines = [" | ".join(cells) for cells in [head, ["-"] * len(head), *rows]]
        parts.append(f"## {kind.capitalize()}\n\n" + "\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _settings(settings: list[dict[str, str]]) -> str:
    return ", ".join(f"`{setting['name']}={setting['default']}`" for setting in settings) or "–"


def _help(name: str) -> str:
    text = io.StringIO()
    os.environ["COLUMNS"] = "100"
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*name.split(), "--help"])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    return "\n".join(line.rstrip() for line in plain.strip().splitlines())


if __name__ == "__main__":
    for file, content in pages().items():
        (DOCS / file).write_text(content, encoding="utf-8")

"""The leaderboard as JSON, CSV, Markdown and a table for the terminal.

It holds only what the same specification gives again; what was measured about this machine (seconds) goes to
``cost.json``, so that two runs can be compared byte by byte.
"""

import csv
import io
import json
from collections.abc import Sequence
from itertools import groupby

from howfar.report.numbers import MISSING, UNLEARNED, change, drop_name, ranged, shown, unit
from howfar.score import psnr_text, ssim_text
from howfar.tables.leaderboard import COLUMNS, Row


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as a JSON list."""
    return json.dumps([row.as_dict() for row in rows], indent=1, ensure_ascii=False) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.as_dict() for row in rows)
    return text.getvalue()


def header(metric: str) -> tuple[str, ...]:
    """Return the headings of ``texts``."""
    seen = ("L∞", "L2", "L0", "PSNR", "SSIM", "labels", "seeds")
    return ("protector", "clean", "poisoned", drop_name(metric), "alignment (95 %)", "UD (95 %)", *seen)


def texts(row: Row) -> tuple[str, ...]:
    """Return a row as a person reads it; shares in percent, their drops in points."""
    return (
        row.protector,
        shown(row.metric, row.clean),
        shown(row.metric, row.poisoned),
        change(row.metric, row.drop) if row.learned else MISSING,
        ranged(row.alignment),
        ranged(row.ud.shown if row.ud and row.learned else None),
        "–" if row.linf is None else f"{row.linf}",
        "–" if row.l2 is None else f"{row.l2:.2f}",
        "–" if row.l0 is None else f"{100 * row.l0:.1f} %",
        psnr_text(row.psnr, row.linf),
        ssim_text(row.ssim),
        {True: "yes", False: "no", None: "–"}[row.needs_labels],
        f"{row.seeds}",
    )


def note(rows: Sequence[Row]) -> str:
    """Return why drops are missing; empty where none is."""
    return "" if all(row.learned for row in rows) else UNLEARNED


def title(row: Row) -> str:
    """Return the heading of the group a row stands in."""
    learner = f"{row.dataset} · {row.task} · {row.model} · defense {row.defense}"
    return f"{learner} · {row.metric}{unit(row.metric)}"


def as_markdown(rows: Sequence[Row]) -> str:
    """Return one Markdown table per group."""
    lines: list[str] = []
    for heading, members in groupby(rows, key=title):
        found = list(members)
        columns = header(found[0].metric)
        lines += [f"### {_escape(heading)}", "", f"| {' | '.join(columns)} |", f"|{'-|' * len(columns)}"]
        lines += [f"| {' | '.join(_escape(text) for text in texts(row))} |" for row in found]
        lines += [*(["", text] if (text := note(found)) else []), ""]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")

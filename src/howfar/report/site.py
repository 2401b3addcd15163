"""A static leaderboard of many rows: one page, one file per row, nothing else."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from howfar.report.html import rendered, tables_script
from howfar.report.numbers import change, drop_name, ranged, shown, unit
from howfar.score import kept_text, recorded, ssim_text
from howfar.tables.entry import Entry
from howfar.tables.ranking import files, names, ranked
from howfar.tables.verified import digest

TITLE = "How far from unlearnable? Leaderboard"


def header(metric: str) -> tuple[str, ...]:
    """Return the headings of ``texts``."""
    lost = drop_name(metric).replace("drop", "drop without defense", 1)
    best = ("protector", "protection kept (95 %)", "best learner gets", "by")
    return (*best, lost, "UD (95 %)", "L∞", "SSIM", "labels", "seeds", "reported", "verified")


def about(entry: Entry) -> str:
    """Return what all rows of a victim share, for a person."""
    metric = entry.metric
    return (
        f"{entry.train_images} training and {entry.test_images} test images ({entry.data[:8]}), "
        f"{entry.recipe.get('epochs', '?')} epochs; {metric}{unit(metric)}, chance {shown(metric, entry.chance)}"
    )


def texts(entry: Entry, name: str, verified: Collection[str] | None = None) -> tuple[str, ...]:
    """Return a row as a person reads it, under a name; shares in percent, their drops in points.

    Args:
        entry: the row.
        name: of its protector.
        verified: digests of the rows that were run again; None for rows that nobody submitted.
    """
    worst, visibility = entry.worst, entry.visibility
    best = worst.poisoned if worst else None
    linf = visibility.get("linf")
    told = entry.reported
    return (
        name,
        kept_text(worst) if worst else "–",
        shown(entry.metric, best.quality.value) if best else "–",
        f"{best.defense} of {best.tried}" if best else "–",
        change(entry.metric, entry.drop) if entry.drop else "–",
        ranged(entry.ud.mean if entry.ud else None),
        "–" if linf is None else f"{linf:g}",
        ssim_text(recorded(visibility).get("ssim")),
        "yes" if entry.needs_labels else "no",
        f"{min((len(runs.seeds) for runs in entry.runs.values()), default=0)}",
        "–" if told is None else f"{shown(entry.metric, told.quality)} ({told.source})",
        "–" if verified is None else "yes" if digest(entry) in verified else "no",
    )


def is_one(path: Path) -> bool:
    """Return whether a file is such a page."""
    try:
        return f"<title>{TITLE}</title>" in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def render(entries: Sequence[Entry], verified: Collection[str] | None = None) -> str:
    """Return the page; its links lead to ``rows/`` in the same folder. Every name is escaped.

    Args:
        entries: the rows.
        verified: as of ``texts``.
    """
    scripts = (tables_script(),)
    paths = dict(zip(map(id, entries), files(entries), strict=True))
    groups = [
        {
            "title": rows[0].victim[0],
            "about": about(rows[0]),
            "header": header(rows[0].metric),
            "lines": [
                {"texts": texts(row, name, verified), "doubts": row.doubts(), "file": f"rows/{paths[id(row)]}"}
                for row, name in zip(rows, names(rows), strict=True)
            ],
        }
        for rows in ranked(entries)
    ]
    values: dict[str, Any] = {"groups": groups, "tables": scripts[0], "title": TITLE}
    return rendered("site.html", scripts, **values)

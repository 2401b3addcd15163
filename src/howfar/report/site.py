"""A static leaderboard of many rows: one page, one file a row, nothing else."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from howfar.report.entry import Entry
from howfar.report.html import rendered, text_of
from howfar.report.numbers import scale, shown, unit

HEADER = (
    "protector",
    "protection kept (95 %)",
    "best learner gets",
    "by",
    "drop without defense (95 %)",
    "UD (95 %)",
    "L∞",
    "SSIM",
    "labels",
    "seeds",
    "reported",
)


def ranked(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the rows by victim, the best protection first: by the worst case, then by the drop without defense."""
    victims: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        victims[entry.victim].append(entry)
    return {victim: sorted(rows, key=_place) for victim, rows in sorted(victims.items())}


def _place(entry: Entry) -> tuple[bool, float, float, str]:
    kept = entry.worst.kept if entry.worst else 0.0
    return entry.worst is None, -kept, -(entry.loss.value if entry.loss else 0.0), entry.protector


def cells(entry: Entry) -> tuple[str, ...]:
    """Return a row as a person reads it; shares in percent, their drops in points."""
    loss, worst, seen = entry.loss, entry.worst, entry.visibility
    best = worst.poisoned if worst else None
    linf, ssim = seen.get("linf"), seen.get("ssim")
    told = entry.reported
    return (
        entry.protector,
        f"{100 * worst.kept:.0f} %{_reach(100 * (worst.high - worst.kept))}" if worst else "–",
        shown(entry.metric, best.quality) if best else "–",
        f"{best.defense} of {best.tried}" if best else "–",
        f"{shown(entry.metric, loss.value)}{_reach(scale(entry.metric) * (loss.high - loss.low) / 2)}" if loss else "–",
        f"{entry.ud[0]:.2f} ({entry.ud[1]:.2f}–{entry.ud[2]:.2f})" if entry.ud else "–",
        "–" if linf is None else f"{linf:g}",
        "–" if ssim is None else f"{ssim:.3f}",
        "yes" if entry.needs_labels else "no",
        f"{min(len(runs.seeds) for runs in entry.runs.values())}",
        "–" if told is None else f"{shown(entry.metric, told.quality)} ({told.source})",
    )


def render(entries: Sequence[Entry]) -> str:
    """Return the page; rows are looked for in ``rows/`` beside it. Every name is escaped."""
    scripts = (text_of("tables.js"),)
    groups = [
        {
            "title": victim,
            "about": rows[0],
            "lines": [{"cells": cells(row), "doubts": row.doubts(), "file": f"rows/{row.name}"} for row in rows],
        }
        for victim, rows in ranked(entries).items()
    ]
    values: dict[str, Any] = {"groups": groups, "header": HEADER, "shown": shown, "unit": unit, "tables": scripts[0]}
    return rendered("site.html", scripts, **values)


def _reach(half: float) -> str:
    return f" ± {half:.3g}" if half < float("inf") else ""

"""The table and the chart of what protected images are worth."""

import html
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from howfar.report.figures import CLEAN_COLOR, blank, colors
from howfar.score import Estimate
from howfar.tables.worth import Worth

NOTE = (
    "Worth: clean images that teach as much ÷ protected images. 100 % is like clean images, 0 % like none; below 0 % "
    "the learner is better off without them."
)


def header(clean: Sequence[int]) -> tuple[str, ...]:
    """Return the headings of ``lines``."""
    return ("protector", *(f"worth with {count:,} clean" for count in clean))


def title(one: Worth) -> str:
    """Return the heading of the table of one learner."""
    return f"{one.dataset} · {one.task} · {one.model} · worth of {one.images:,} images"


def by_learner(worths: Sequence[Worth]) -> list[list[Worth]]:
    """Return the entries of each table."""
    return [list(members) for _, members in groupby(worths, key=title)]


def counts(worths: Sequence[Worth]) -> list[int]:
    """Return the numbers of clean images, ascending."""
    return sorted({one.clean for one in worths})


def lines(worths: Sequence[Worth]) -> list[tuple[str, ...]]:
    """Return a row per protector: its worth at every number of clean images."""
    found = []
    for protector, members in groupby(worths, key=lambda one: one.protector):
        by_count = {one.clean: one for one in members}
        found.append((protector, *(_cell(by_count.get(count)) for count in counts(worths))))
    return found


def percent(estimate: Estimate) -> str:
    """Return a share with its interval in percent."""
    value = f"{100 * estimate.value:.0f} %"
    if estimate.ends is None:
        return value
    low, high = (100 * end for end in estimate.ends)
    return f"{value} ({low:.0f} to {high:.0f})"


def _cell(one: Worth | None) -> str:
    return "–" if one is None else percent(one.worth)


def chart(worths: Sequence[Worth]) -> dict[str, Any]:
    """Return quality by number of clean images, a line per protector; gray: no protected images, and all clean."""
    chosen = colors(dict.fromkeys(one.protector for one in worths))
    traces = []
    for protector, members in groupby(worths, key=lambda one: one.protector):
        own = list(members)
        traces.append(_line(protector, [(one.clean, one.quality) for one in own], chosen[protector], "solid"))
    alone = {one.clean: one.alone for one in worths}
    full = {one.clean: one.full for one in worths}
    traces.append(_line("clean images alone", sorted(alone.items()), CLEAN_COLOR, "dot"))
    traces.append(_line("nothing protected", sorted(full.items()), CLEAN_COLOR, "dash"))
    layout = blank("clean images of the learner", "quality on clean test images")
    layout["xaxis"]["type"] = "log"
    return {"data": traces, "layout": layout}


def _line(name: str, points: Sequence[tuple[int, float]], color: str, dash: str) -> dict[str, Any]:
    return {
        "x": [count for count, _ in points], "y": [quality for _, quality in points], "name": html.escape(name),
        "type": "scatter", "mode": "lines+markers", "line": {"color": color, "dash": dash},
    }  # fmt: skip

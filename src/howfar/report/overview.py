"""The first screen of a page: one table of all verdicts, and one picture of them."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from howfar.report.numbers import MISSING, percent, shown, unit
from howfar.report.verdict import UNKNOWN, retained, victims
from howfar.tables.published import published
from howfar.tables.verdicts import Verdict

MARKS = {"holds": "●", "does not hold": "○", "cannot tell": "?"}
TONES = {"holds": "holds", "does not hold": "fails", "cannot tell": "open"}  # classes of the style sheet
CELLS = {f"{MARKS[outcome]} {outcome}": tone for outcome, tone in TONES.items()}
CONSTANT = ("clean", "chance", "with", "defenses tried", "seeds", "test images")  # left out where all agree
MOST = 20  # rows of the picture
WIDE = 12  # columns of a picture that needs the whole width
ROW, LEFT, WIDTH = 20, 190, 420  # pixels
TICKS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)  # of the axis, which begins at the first one needed
MOST_KEPT, TOLERATED = 1.2, 0.02  # end of the axis; retention below 0 for which it need not begin earlier


@dataclass(frozen=True)
class Overview:
    """One line per protector and victim.

    Attributes:
        header: of the columns.
        lines: their texts.
        published: whether published values are shown as well.
    """

    header: list[str]
    lines: list[list[str]]
    published: bool


def overview(found: Sequence[Verdict]) -> Overview:
    """Return the table of all verdicts; columns whose rows all agree are left out."""
    names = victims(found)
    metrics = sorted({one.metric for one in found})
    reached = f"{metrics[0]}{unit(metrics[0])}" if len(metrics) == 1 else "reached"
    columns = {
        "protector": [one.protector for one in found],
        "victim": [names[one.victim] for one in found],
        "verdict": [f"{MARKS[one.decision.outcome]} {one.decision.outcome}" for one in found],
        "retained (98 %)": [_retained(one) for one in found],
        "metric": [one.metric + unit(one.metric) for one in found],
        reached: [shown(one.metric, one.protected) for one in found],
        "with": [one.defense for one in found],
        "without defense": ["–" if one.undefended is None else shown(one.metric, one.undefended) for one in found],
        "published": [_published(one) for one in found],
        "clean": [shown(one.metric, one.clean) for one in found],
        "chance": [shown(one.metric, one.chance) for one in found],
        "defenses tried": [f"{one.defenses}" for one in found],
        "seeds": [f"{one.seeds}" for one in found],
        "test images": [f"{one.test_images}" for one in found],
    }
    alike = [name for name in (*CONSTANT, "victim", "metric") if len(set(columns[name])) == 1 and len(found) > 1]
    known = any(text != "–" for text in columns["published"])
    if columns["without defense"] == columns[reached] or set(columns["without defense"]) == {"–"}:
        alike.append("without defense")
    dropped = {*alike, *(() if known else ("published",))}
    kept = {name: column for name, column in columns.items() if name not in dropped}
    return Overview(list(kept), [list(line) for line in zip(*kept.values(), strict=True)], known)


def _retained(one: Verdict) -> str:
    """Return the retention with its interval; why there is none stands in the sentences and in the column of seeds."""
    text = retained(one)
    if text.startswith(UNKNOWN):
        return MISSING
    return text if one.decision.shown is not None else text.partition(" (")[0]


def _published(one: Verdict) -> str:
    value = published(one)
    return "–" if value is None else shown(one.metric, value)


@dataclass(frozen=True)
class Picture:
    """The picture of a page.

    Attributes:
        svg: its source; every name in it is escaped.
        label: what it shows, for readers who do not see it.
        caption: the same with what its signs mean.
        legend: names of numbered victims; empty where columns carry their names.
        wide: whether it needs the whole width of the page.
    """

    svg: str
    label: str
    caption: str
    legend: list[str]
    wide: bool = False


def picture(found: Sequence[Verdict]) -> Picture | None:
    """Return the retention of every protector with its interval, or a map of protectors and victims; None without."""
    if not found:
        return None
    return _intervals(found) if len(victims(found)) == 1 else _map(found)


def _intervals(found: Sequence[Verdict]) -> Picture:
    rows = list(found)[:MOST]
    height = ROW * len(rows) + 40
    bottom = ROW * len(rows) + 6

    left = _left(one.protector for one in rows)

    least = _least(rows)

    def x(value: float) -> float:
        return left + WIDTH * (min(max(value, least), MOST_KEPT) - least) / (MOST_KEPT - least)

    parts = [
        f'<line class="grid" x1="{x(v):.1f}" y1="4" x2="{x(v):.1f}" y2="{bottom}"/>'
        f'<text class="tick" x="{x(v):.1f}" y="{bottom + 14}" text-anchor="middle">{100 * v:.0f} %</text>'
        for v in TICKS
        if v >= least
    ]
    parts.append(f'<line class="threshold" x1="{x(0.5):.1f}" y1="0" x2="{x(0.5):.1f}" y2="{bottom}"/>')
    for number, one in enumerate(rows):
        y, tone = ROW * number + ROW / 2 + 4, TONES[one.decision.outcome]
        parts.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{_cut(one.protector)}</text>')
        kept = one.decision.retention
        if kept is None or one.decision.lack == "learning":
            parts.append(f'<text class="tick" x="{left + 4}" y="{y + 4:.0f}">clean victim did not learn</text>')
            continue
        if one.decision.shown:
            low, high = (x(end) for end in one.decision.shown)
            parts.append(f'<line class="{tone} interval" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>')
        ends = one.decision.shown or (kept.value, kept.value)
        parts += [_arrow(x(least), y, -1, tone)] if ends[0] < least else []
        parts += [_arrow(x(MOST_KEPT), y, 1, tone)] if ends[1] > MOST_KEPT else []
        parts.append(f'<circle class="{tone}" cx="{x(kept.value):.1f}" cy="{y}" r="4.5"/>')
    more = f" The other {len(found) - MOST} are in the table." if len(found) > MOST else ""
    caption = (
        "What is retained of (clean − chance), with its 98 % interval; the dashed line is the threshold. An arrow "
        "means that it goes on beyond the axis. "
        f"Filled blue: holds; orange ring: does not hold; gray: cannot tell; without a line: no interval.{more}"
    )
    label = "Retention of every protector"
    return Picture(_svg(parts, left + WIDTH + 20, height, label), label, caption, [])


def _least(rows: Sequence[Verdict]) -> float:
    """Return where the axis begins: at 0, or below if a model is worse than chance by more than 2 %; never above."""
    kept = [one.decision.retention.value for one in rows if one.decision.retention and one.decision.lack != "learning"]
    return next((tick for tick in TICKS[::-1] if tick <= min([0.0, *kept]) + TOLERATED), TICKS[0])


def _arrow(end: float, y: float, side: int, tone: str) -> str:
    """Return an arrowhead outside an end of the axis: what is drawn goes on beyond it."""
    return f'<path class="{tone}" d="M{end + 6 * side:.1f} {y}l{-6 * side} -5v10z"/>'


def _map(found: Sequence[Verdict]) -> Picture:
    """Return one field per protector and victim: its verdict as a color, its retention as a number."""
    names = victims(found)
    rows: dict[str, dict[str, Verdict]] = {}
    for one in found:
        rows.setdefault(one.protector, {})[one.victim] = one
    order = sorted(rows, key=lambda name: (-len(rows[name]), name))[:MOST]
    columns, left = list(names), _left(order)
    field = max(34, min(110, WIDTH // len(columns)))
    numbered = any(len(name) > field // 6 for name in names.values())
    field = 34 if numbered else field
    head = 22 if numbered else 18
    parts = [
        f'<text class="tick" x="{left + field * (k + 0.5):.1f}" y="14" text-anchor="middle">'
        f"{k + 1 if numbered else _cut(names[name], field // 6)}</text>"
        for k, name in enumerate(columns)
    ]
    for number, protector in enumerate(order):
        y = head + ROW * number
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{_cut(protector)}</text>')
        parts += [
            _field(rows[protector][name], left + field * k, y, field, names[name])
            for k, name in enumerate(columns)
            if name in rows[protector]
        ]
    more = f" {len(rows) - MOST} more protectors are in the table." if len(rows) > MOST else ""
    caption = (
        "Retained, in % of (clean − chance), by protector and victim. Blue: holds; orange: does not hold; gray: cannot "
        f"tell; empty: not tested.{more}"
    )
    legend = [names[name] for name in columns] if numbered else []
    width = left + field * len(columns) + 10
    label = "Verdicts by protector and victim"
    svg = _svg(parts, width, head + ROW * len(order) + 6, label)
    return Picture(svg, label, caption, legend, wide=len(columns) > WIDE)


def _field(one: Verdict, x: float, y: float, width: float, victim: str) -> str:
    kept, tone = one.decision.retention, TONES[one.decision.outcome]
    text = percent(kept.value) if kept and one.decision.lack != "learning" else "?"
    title = html.escape(f"{one.protector}, {victim}: {one.decision.outcome}, {retained(one)} retained")
    return (
        f'<g><title>{title}</title><rect class="{tone}" x="{x + 1:.1f}" y="{y + 1}" width="{width - 2}" '
        f'height="{ROW - 2}" rx="3"/><text class="on-{tone}" x="{x + width / 2:.1f}" y="{y + 14}" '
        f'text-anchor="middle">{text}</text></g>'
    )


def _left(names: Iterable[str]) -> float:
    """Return the width of the labels in front of the rows."""
    return min(LEFT, 20 + 7 * max(map(len, names)))


def _cut(name: str, most: int = 26) -> str:
    return html.escape(name if len(name) <= most else f"{name[: most - 1]}…")


def _svg(parts: Sequence[str], width: float, height: float, label: str) -> str:
    rules = {
        "text": "font:12px system-ui,sans-serif;fill:currentColor", ".tick": "font-size:11px;opacity:.85",
        ".grid": "stroke:currentColor;opacity:.15", ".threshold": "stroke:currentColor;stroke-dasharray:4 3",
        ".interval": "stroke-width:2.5",
        ".holds": "fill:#0072b2;stroke:#0072b2", ".fails": "fill:#e69f00;stroke:#e69f00",
        "circle.fails": "fill:none;stroke-width:2.5", ".open": "fill:#8c959f;stroke:#8c959f", ".on-holds": "fill:#fff",
        ".on-fails": "fill:#000", ".on-open": "fill:#000",
    }  # fmt: skip
    style = "".join(f".overview {name}{{{rule}}}" for name, rule in rules.items())
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    named = f'class="overview" role="img" aria-label="{label}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {named}><style>{style}</style>{"".join(parts)}</svg>'

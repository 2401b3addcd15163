"""The page: one self-contained HTML file that opens offline."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.report import figures
from howfar.report.leaderboard import HEADER, Row, as_csv, as_json, as_markdown, cells
from howfar.score import Correlation, DoseResponse

BROKEN = 0.5  # protection holds where it takes more than this share of (clean − chance)
LEARNED = 0.1  # a clean model must be this far above chance before anything follows from it
GAIN = 10  # by how much the difference is amplified in the strips


@dataclass(frozen=True)
class Series:
    """How one protector's victims learned, over seeds.

    Attributes:
        protector: label.
        quality: mean clean-test quality, per epoch.
        low: smallest over seeds, per epoch.
        high: largest over seeds, per epoch.
        loss: mean training loss, per epoch.
        layers: names of the layers.
        sal: mean SAL in nats, one list of epochs a layer.
        seconds: mean wall time of a victim.
    """

    protector: str
    quality: list[float]
    low: list[float]
    high: list[float]
    loss: list[float]
    layers: list[str]
    sal: list[list[float]]
    seconds: float


@dataclass(frozen=True)
class Control:
    """A protector in growing amounts.

    Attributes:
        protector: label at its defaults.
        along: ``eps`` or ``share``.
        response: drop and UD at every amount.
    """

    protector: str
    along: str
    response: DoseResponse

    @property
    def findings(self) -> list[str]:
        """What it shows, in words: whether drop and UD follow the amount."""
        wanted = (("drop", self.response.drop_trend, 1), ("UD", self.response.ud_trend, -1))
        return [_trend(name, trend, sign) for name, trend, sign in wanted]


@dataclass(frozen=True)
class Group:
    """All protectors against one victim and defense."""

    dataset: str
    task: str
    model: str
    defense: str
    metric: str
    chance: float
    train_images: int
    test_images: int
    seeds: list[int]
    recipe: dict[str, Any]
    rows: list[Row]
    series: list[Series]
    controls: list[Control] = field(default_factory=list)


@dataclass(frozen=True)
class Protected:
    """What a protector did to some images, and what it took.

    Attributes:
        dataset: label.
        protector: label.
        clean: uint8, (n, channels, height, width).
        protected: the same images after protection.
        visibility: over the whole set.
        curve: readings of the crafting, such as the surrogate's error after every round.
        seconds_per_image: mean over seeds.
        seconds_low: lower end of its interval; None with a single seed.
        seconds_high: upper end.
    """

    dataset: str
    protector: str
    clean: NDArray[np.uint8]
    protected: NDArray[np.uint8]
    visibility: dict[str, Any]
    curve: list[float]
    seconds_per_image: float
    seconds_low: float | None
    seconds_high: float | None


@dataclass(frozen=True)
class Page:
    """Everything that leaderboard and page show."""

    groups: list[Group]
    protected: list[Protected]
    failures: list[tuple[str, str]] = field(default_factory=list)
    circumstances: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """The leaderboard."""
        return [row for group in self.groups for row in group.rows]

    @property
    def costs(self) -> dict[str, Any]:
        """What was measured about the machine, not about the data."""
        return {
            "circumstances": self.circumstances,
            "protectors": {
                f"{p.dataset} / {p.protector}": {
                    "seconds_per_image": p.seconds_per_image,
                    "interval": [p.seconds_low, p.seconds_high],
                }
                for p in self.protected
            },
            "victims": {
                f"{g.dataset} / {g.model} / {g.defense} / {s.protector}": {"seconds": s.seconds}
                for g in self.groups
                for s in g.series
            },
        }

    def outputs(self) -> dict[str, str]:
        """Return the text of every file that a run leaves: leaderboard in three forms, costs, page."""
        return {
            "leaderboard.json": as_json(self.rows),
            "leaderboard.csv": as_csv(self.rows),
            "leaderboard.md": as_markdown(self.rows),
            "cost.json": json.dumps(self.costs, indent=1) + "\n",
            "report.html": render(self),
        }


def render(page: Page) -> str:
    """Return the page as HTML; every name is escaped."""
    import jinja2
    import plotly.offline

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("howfar.report").joinpath("template.html").read_text(encoding="utf-8"))
    charts = {
        f"{kind}-{index}": figure
        for index, group in enumerate(page.groups)
        for kind, figure in figures.of_group(group).items()
    }
    return template.render(
        page=page,
        verdict=verdict(page.groups),
        header=HEADER,
        cells=cells,
        sort_keys=_sort_keys,
        strips=[(entry, _strip(entry)) for entry in page.protected],
        gain=GAIN,
        # "<" cannot end the script element that holds the data.
        charts=json.dumps(charts).replace("<", "\\u003c"),
        plotly=_plotly(plotly.offline.get_plotlyjs),
    )


def verdict(groups: Sequence[Group]) -> list[str]:
    """Return the answer in plain words: one sentence a protector, the weakest point of each named."""
    best: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    sentences = []
    for group in groups:
        for row in group.rows:
            learned = row.clean - group.chance
            if row.protector != "clean" and learned >= LEARNED:
                kept = (row.clean - row.poisoned) / learned
                best.setdefault((row.dataset, row.protector), []).append((kept, row))
            elif row.protector == "clean" and learned < LEARNED:
                little = f"{_learner(row).capitalize()} learned little of the clean {row.dataset} itself"
                sentences.append(f"{little} ({100 * row.clean:.0f} %), so nothing follows from it: train for longer.")
    for (dataset, protector), found in sorted(best.items(), key=lambda item: -min(kept for kept, _ in item[1])):
        kept, row = min(found, key=lambda pair: pair[0])
        top_kept, top = max(found, key=lambda pair: pair[0])
        where = f"{_learner(row)} reaches {100 * row.poisoned:.0f} % (clean {100 * row.clean:.0f} %)"
        if kept > BROKEN:
            sentences.append(f"{protector} on {dataset} held against every victim and defense tried: at best {where}.")
        elif top_kept > BROKEN:
            sentences.append(
                f"{protector} on {dataset} hurts {_learner(top)} "
                f"(down to {100 * top.poisoned:.0f} %), but {where}: a learner has a way around it."
            )
        else:
            sentences.append(f"{protector} on {dataset} did not protect: {where}.")
    return sentences


def _trend(name: str, trend: Correlation, sign: int) -> str:
    reach = "" if trend.low is None or trend.high is None else f", {trend.low:.2f} to {trend.high:.2f}"
    follows = sign * trend.value > 0
    way = {1: "rises", -1: "falls"}[sign if follows else -sign] if trend.value else "does not move"
    steps = "at every step" if trend.monotone and trend.value else "not at every step"
    return f"{name} {way} {steps if trend.value else ''} (rank correlation {trend.value:.2f}{reach})".replace("  ", " ")


def _learner(row: Row) -> str:
    return f"a {row.model} without defense" if row.defense == "none" else f"a {row.model} with defense {row.defense}"


def _sort_keys(row: Row) -> tuple[object, ...]:
    keys = (
        row.protector,
        row.clean,
        row.poisoned,
        row.drop,
        row.ud,
        row.linf,
        row.l2,
        row.l0,
        row.psnr,
        row.ssim,
    )
    return tuple("" if key is None else key for key in (*keys, row.needs_labels))


def _strip(entry: Protected) -> str:
    """Return a PNG data URL: clean images above protected ones above the amplified difference."""
    from PIL import Image

    difference = GAIN * (entry.protected.astype(int) - entry.clean.astype(int)) + 128
    grid = np.stack([entry.clean, entry.protected, difference.clip(0, 255).astype(np.uint8)])
    rows, columns, channels, height, width = grid.shape
    padded = np.pad(grid, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), constant_values=128)
    picture = padded.transpose(0, 3, 1, 4, 2).reshape(rows * (height + 2), columns * (width + 2), channels)
    file = io.BytesIO()
    Image.fromarray(picture.squeeze(2) if channels == 1 else picture).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@cache
def _plotly(source: Any) -> str:
    text: str = source()
    return text

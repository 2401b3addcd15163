"""The page: one self-contained HTML file that opens offline."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.report import crosstask, figures, profile, surfaces, verdict
from howfar.report.crosstask import Matrix
from howfar.report.html import rendered, text_of
from howfar.report.leaderboard import HEADER, Row, as_csv, as_json, as_markdown, cells
from howfar.report.numbers import shown, unit
from howfar.report.packing import packed
from howfar.report.pictures import GAIN, compared, sheet
from howfar.report.profile import Profile
from howfar.report.scenery import Scene
from howfar.score import DoseResponse


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
        clean: uint8, (n, channels, height, width); None where only the records were kept.
        protected: the same images after protection.
        visibility: over the whole set.
        curve: readings of the crafting, such as the surrogate's error after every round.
        seconds_per_image: mean over seeds.
        seconds_low: lower end of its interval; None with a single seed.
        seconds_high: upper end.
    """

    dataset: str
    protector: str
    clean: NDArray[np.uint8] | None
    protected: NDArray[np.uint8] | None
    visibility: dict[str, Any]
    curve: list[float]
    seconds_per_image: float
    seconds_low: float | None
    seconds_high: float | None


@dataclass(frozen=True)
class Gallery:
    """What a data set's targets look like, or what networks say of one of them.

    Attributes:
        title: what is to be seen.
        rows: names and pictures, uint8 (n, height, width, 3), the images themselves first.
    """

    title: str
    rows: list[tuple[str, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Page:
    """Everything that leaderboard and page show; an ``opening`` stands instead of the verdict on the groups."""

    groups: list[Group]
    protected: list[Protected]
    profiles: list[Profile] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    circumstances: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    opening: list[str] = field(default_factory=list)

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
        """Return the text of every file that a run leaves: leaderboard in three forms, worst cases, costs, page."""
        return {
            "leaderboard.json": as_json(self.rows),
            "leaderboard.csv": as_csv(self.rows),
            "leaderboard.md": crosstask.as_markdown(self.matrices)
            + profile.as_markdown(self.profiles)
            + as_markdown(self.rows),
            "worst_case.json": profile.as_json(self.profiles),
            "crosstask.json": crosstask.as_json(self.matrices),
            "cost.json": json.dumps(self.costs, indent=1) + "\n",
            "report.html": render(self),
        }


def render(page: Page) -> str:
    """Return the page as HTML; every name is escaped."""
    import plotly.offline

    scripts = text_of("tables.js"), _plotly(plotly.offline.get_plotlyjs), text_of("charts.js")
    strips = [(entry, seen) for entry in page.protected if (seen := compared(entry.clean, entry.protected))]
    galleries = [(entry, sheet([pictures for _, pictures in entry.rows])) for entry in page.galleries]
    return rendered(
        "page.html",
        scripts,
        page=page,
        sections=_sections(page, pictures=bool(strips or galleries)),
        verdict=page.opening or verdict.verdict(page.groups, page.profiles),
        findings=verdict.findings,
        header=HEADER,
        worst_header=profile.HEADER,
        rows=lambda group: map(cells, group.rows),
        shown=shown,
        unit=unit,
        strips=strips,
        gain=GAIN,
        visibility=_visibility,
        galleries=galleries,
        costs=[_cost(entry) for entry in page.protected],
        charts=packed(_charts(page)),
        tables=scripts[0],
        plotly=scripts[1],
        script=scripts[2],
    )


def _charts(page: Page) -> dict[str, figures.Figure]:
    """Return every chart by the name of its place."""
    charts = {
        f"{kind}-{index}": figure
        for index, group in enumerate(page.groups)
        for kind, figure in figures.of_group(group).items()
    }
    charts |= {f"profile-{index}": figures.profile(entry) for index, entry in enumerate(page.profiles)}
    charts |= {f"matrix-{index}": figures.matrix(entry) for index, entry in enumerate(page.matrices)}
    charts |= {f"alike-{index}": figures.similarity(entry) for index, entry in enumerate(page.matrices)}
    charts |= {f"scene-{index}": surfaces.scene(entry) for index, entry in enumerate(page.scenes)}
    reliefs = {f"relief-{index}": surfaces.relief(entry) for index, entry in enumerate(page.scenes)}
    return charts | {name: figure for name, figure in reliefs.items() if figure}


def _sections(page: Page, *, pictures: bool) -> list[tuple[str, str]]:
    """Return anchor and title of the sections that there are."""
    controls = any(group.controls for group in page.groups)
    places = (
        ("verdict", "Verdict", True),
        ("worst", "Worst case", bool(page.profiles)),
        ("tasks", "Tasks", bool(page.matrices)),
        ("leaderboard", "Leaderboard", True),
        ("why", "Why", True),
        ("landscapes", "Landscapes", bool(page.scenes)),
        ("controls", "Controls", controls),
        ("pictures", "Pictures", pictures),
        ("cost", "Cost", True),
        ("failures", f"Failures ({len(page.failures)})" if page.failures else "Failures", True),
        ("reproduce", "Reproduce", True),
    )
    return [(name, title) for name, title, there in places if there]


def _visibility(entry: Protected) -> str:
    """Return how much is to be seen, for a caption."""
    seen = entry.visibility
    if not seen:
        return ""
    psnr = "∞" if seen["psnr"] is None else f"{seen['psnr']:.1f} dB"
    return f": L∞ {seen['linf']}/255, PSNR {psnr}, SSIM {seen['ssim']:.3f}"


def _cost(entry: Protected) -> tuple[str, ...]:
    curve = "error " + " → ".join(f"{value:.2f}" for value in entry.curve) if entry.curve else "–"
    return entry.protector, entry.dataset, f"{1000 * entry.seconds_per_image:.3f}", curve


@cache
def _plotly(source: Any) -> str:
    text: str = source()
    return text

"""The page: one self-contained HTML file that opens offline."""

import base64
import io
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.report import crosstask, figures, profile, surfaces, verdict
from howfar.report.crosstask import Matrix
from howfar.report.leaderboard import HEADER, Row, as_csv, as_json, as_markdown, cells
from howfar.report.numbers import shown, unit
from howfar.report.packing import packed, policy
from howfar.report.pictures import sheet
from howfar.report.profile import Profile
from howfar.report.scenery import Scene
from howfar.score import DoseResponse

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
    import jinja2
    import plotly.offline

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_text("template.html"))
    library, script = _plotly(plotly.offline.get_plotlyjs), _text("page.js")
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
    charts |= {name: figure for name, figure in reliefs.items() if figure}
    return template.render(
        page=page,
        verdict=page.opening or verdict.verdict(page.groups, page.profiles),
        findings=verdict.findings,
        header=HEADER,
        worst_header=profile.HEADER,
        cells=cells,
        shown=shown,
        unit=unit,
        sort_keys=_sort_keys,
        strips=[(entry, strip) for entry in page.protected if (strip := _strip(entry))],
        gain=GAIN,
        galleries=[(entry, sheet([pictures for _, pictures in entry.rows])) for entry in page.galleries],
        charts=packed(charts),
        policy=policy(library, script),
        plotly=library,
        script=script,
    )


@cache
def _text(name: str) -> str:
    return files("howfar.report").joinpath(name).read_text(encoding="utf-8")


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


def _strip(entry: Protected) -> str | None:
    """Return a PNG data URL: clean images above protected ones above the amplified difference."""
    from PIL import Image

    if entry.clean is None or entry.protected is None:
        return None
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

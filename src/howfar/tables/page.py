"""All data that leaderboard and page show."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.score import DoseResponse, Estimate
from howfar.tables.landscapes import Scene
from howfar.tables.leaderboard import Row
from howfar.tables.matrix import Matrix
from howfar.tables.profiles import Profile
from howfar.tables.verdicts import Verdict
from howfar.tables.worth import Worth

Spectrum = NDArray[np.float64]  # (height, width)
SHOWN = 10  # rows of a page in its repr


@dataclass(frozen=True)
class Series:
    """Training curves of one protector's victims, over seeds.

    Attributes:
        protector: label.
        quality: mean quality on clean images, per epoch; ``Group.watched`` says on which.
        low: smallest over seeds, per epoch.
        high: largest over seeds, per epoch.
        loss: mean training loss, per epoch.
        layers: names of the layers.
        sal: mean SAL in nats, one list of epochs a layer.
        seconds: mean wall time of a victim.
        alignment: mean cosine by layer, one value per epoch; empty where it was not measured.
    """

    protector: str
    quality: list[float]
    low: list[float]
    high: list[float]
    loss: list[float]
    layers: list[str]
    sal: list[list[float]]
    seconds: float
    alignment: dict[str, list[float | None]] = field(default_factory=dict)


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
    """All protectors against one victim and defense.

    Attributes:
        dataset: label.
        task: of the victims.
        model: the victim.
        defense: what the learner did.
        metric: name of the quality.
        chance: quality of the best image-independent predictor.
        train_images: number of them.
        test_images: number of them.
        seeds: of the victims.
        recipe: how they were trained.
        rows: of the leaderboard; quality on test images.
        series: what was measured along training; quality on the images that ``watched`` names.
        controls: protectors in growing amounts.
        watched: ``validation`` where images were kept back to choose by, else ``test``; both where runs differ.
        left_out: why UD is not shown; empty where it is.
    """

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
    watched: str = "test"
    left_out: str = ""


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
        seconds: of crafting alone per image, mean over seeds; see ``howfar.steps.protect``.
    """

    dataset: str
    protector: str
    clean: NDArray[np.uint8] | None
    protected: NDArray[np.uint8] | None
    visibility: dict[str, Any]
    curve: list[float]
    seconds: Estimate

    @property
    def spectra(self) -> tuple[Spectrum, Spectrum] | None:
        """Power spectra of the clean images and of the change; None where no images were kept, or none was changed."""
        if self.clean is None or self.protected is None or np.array_equal(self.clean, self.protected):
            return None
        clean = self.clean.astype(np.float64)
        return _spectrum(clean), _spectrum(self.protected - clean)


def _spectrum(images: NDArray[np.float64]) -> Spectrum:
    """Return log10 of the power over frequencies, 0 at its maximum, mean over images and channels.

    The mean of each image is left out; the lowest frequency is in the center.
    """
    around = images - images.mean((2, 3), keepdims=True)
    power = np.fft.fftshift((np.abs(np.fft.fft2(around)) ** 2).mean((0, 1)))
    found: Spectrum = np.log10(np.maximum(power, 1e-40) / max(power.max(), 1e-30))
    return found


@dataclass(frozen=True)
class Maps:
    """One map per image.

    Attributes:
        name: what to call them.
        target: what they are maps of; it decides how numbers become colors.
        values: (n, height, width) classes, or (n, channels, height, width) numbers or pixels.
        scale: true values that give the scale, so that truth and predictions compare; None takes ``values``.
    """

    name: str
    target: str
    values: NDArray[np.generic]
    scale: NDArray[np.generic] | None = None


@dataclass(frozen=True)
class Gallery:
    """Maps of the same images: the targets of a data set, or what networks predict for one of them.

    Attributes:
        title: what the maps are of.
        rows: the images themselves first.
    """

    title: str
    rows: list[Maps]


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
    verdicts: list[Verdict] = field(default_factory=list)
    worths: list[Worth] = field(default_factory=list)

    def __repr__(self) -> str:
        """Return one line per row of the leaderboard; curves and pictures are left out."""
        lines = [
            f"  {row.dataset} {row.task} {row.model} / {row.defense} on {row.protector}: {row.metric} "
            f"{row.poisoned:.3f} (clean {row.clean:.3f})"
            for row in self.rows[:SHOWN]
        ]
        more = [f"  and {len(self.rows) - SHOWN} more"] if len(self.rows) > SHOWN else []
        return "\n".join([f"Page({len(self.rows)} rows, {len(self.failures)} failures)", *lines, *more])

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
                    "seconds_per_image": p.seconds.value,
                    "interval": [p.seconds.low, p.seconds.high],
                }
                for p in self.protected
            },
            "victims": {
                f"{g.dataset} / {g.model} / {g.defense} / {s.protector}": {"seconds": s.seconds}
                for g in self.groups
                for s in g.series
            },
        }

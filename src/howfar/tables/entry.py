"""A row of a public leaderboard, a file of its own: the qualities of every seed, so that anybody can check it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from pydantic import ConfigDict

from howfar.errors import HowfarError
from howfar.score import Estimate, Trials, WorstCase, drop, to_json, worst_case
from howfar.score.estimate import DECIMALS, under
from howfar.score.intervals import Spread
from howfar.score.metrics import LEARNED, SHARES
from howfar.tables.distances import Ud

FORMAT = "howfar-row-3"  # rows of earlier formats do not say which test images and which versions
SEEDS = 3  # fewer are unreliable
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class SeedQualities:
    """What learners with one defense got, one entry per seed.

    Attributes:
        seeds: of the pairs.
        clean: quality on clean test images after learning from clean ones.
        protected: quality on clean test images after learning from protected ones.
        validation: the same two on clean images kept back to choose a defense by; None where none were.
    """

    __pydantic_config__ = STRICT

    seeds: list[int]
    clean: list[float]
    protected: list[float]
    validation: tuple[list[float], list[float]] | None = None


@dataclass(frozen=True)
class Reported:
    """What others say they measured.

    Attributes:
        quality: of a learner without defense, trained on the protected images.
        source: paper or table.
    """

    __pydantic_config__ = STRICT

    quality: float
    source: str


@dataclass(frozen=True)
class Entry:
    """One protector against one victim, under every defense that was tried.

    Attributes:
        protector: label.
        dataset: label.
        data: digest of the clean training images and their targets; other sizes and versions of a data set differ.
        test: digest of the clean test images and their targets.
        task: what the victim learned; ``a of joint:a+b`` is a part of a joint task.
        model: the victim.
        versions: of the algorithms behind the names of task, source task and model.
        metric: name of the quality.
        higher_is_better: its direction.
        chance: quality of a constant guess.
        train_images: number of them.
        test_images: number of them.
        recipe: how the victim was trained.
        settings: of the protector.
        norm: what bounds the change.
        visibility: how much was changed: L∞ in 1/255, mean L2, share of pixels, PSNR in dB, SSIM, and the version of
            their definition.
        needs_labels: whether the protector must know the targets.
        runs: by defense.
        ud: unlearnable distance without defense; None where it was not measured.
        spread: variance of the drop without defense between seeds, pooled over the rows of the victim that were
            measured with the same seeds, and its degrees of freedom; None where there were no others.
        made: versions and device.
        commands: what asked for the runs.
        reported: what others measured.
    """

    __pydantic_config__ = STRICT

    protector: str
    dataset: str
    data: str
    test: str
    task: str
    model: str
    versions: dict[str, int]
    metric: str
    higher_is_better: bool
    chance: float
    train_images: int
    test_images: int
    recipe: dict[str, Any]
    settings: dict[str, Any]
    norm: str
    visibility: dict[str, int | float | None]
    needs_labels: bool
    runs: dict[str, SeedQualities]
    ud: Ud | None
    made: dict[str, str]
    commands: list[str]
    reported: Reported | None = None
    spread: tuple[float, float] | None = None

    @property
    def victim(self) -> tuple[str, str, str]:
        """What the row is to be compared within: a heading, the data, and recipe and versions."""
        title = f"{self.dataset} · {self.task} · {self.model}"
        versions = {kind: version for kind, version in self.versions.items() if kind != "source_task"}
        return title, f"{self.data} {self.test}", json.dumps([self.recipe, versions], sort_keys=True)

    @property
    def name(self) -> str:
        """Name of its file: readable, safe everywhere, another one for every row."""
        whole = " ".join((*self.victim, self.protector, json.dumps([self.settings, self.versions], sort_keys=True)))
        parts = (self.dataset, self.task, self.model, self.protector)
        readable = "_".join(re.sub(r"[^A-Za-z0-9.=-]+", "-", part).strip("-.")[:40] for part in parts)
        return f"{readable}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}.json"

    @cached_property
    def drop(self) -> Estimate | None:
        """The drop without defense, paired by seed."""
        plain = self.runs.get("none")
        spread = Spread(*self.spread) if self.spread else None
        better = self.higher_is_better
        return drop(plain.clean, plain.protected, higher_is_better=better, spread=spread) if plain else None

    @cached_property
    def worst(self) -> WorstCase | None:
        """What is left when the learner chooses its defense; None where nothing says which to take."""
        tried = [(name, runs, runs.validation) for name, runs in self.runs.items() if runs.validation]
        clean = {name: Trials(validation[0], runs.clean) for name, runs, validation in tried}
        protected = {name: Trials(validation[1], runs.protected) for name, runs, validation in tried}
        try:
            direction = self.higher_is_better
            return worst_case(clean, protected, chance=self.chance, higher_is_better=direction) if tried else None
        except HowfarError:  # nothing was learned from the clean images
            return None

    def doubts(self) -> list[str]:
        """Return why the row is unreliable, if it is."""
        found = []
        few = min((len(runs.seeds) for runs in self.runs.values()), default=0)
        if few < SEEDS:
            found.append(f"{few} seed{'' if few == 1 else 's'}, fewer than {SEEDS}")
        eps, linf = self.settings.get("eps"), self.visibility.get("linf")
        if self.norm == "L∞" and isinstance(eps, float) and linf is not None and linf > int(eps * 255 + 1e-6):
            found.append(f"changed by {linf:g}/255, more than its eps of {eps * 255:.4g}/255")
        plain = self.runs.get("none")
        if (
            plain
            and self.drop
            and self.metric in SHARES
            and sum(plain.clean) / len(plain.clean) - self.chance < LEARNED
        ):
            found.append("the clean images were hardly learned")
        return found

    def as_json(self) -> str:
        """Return the file's text; what follows from the runs stands in it for readers."""
        ud = self.ud and {**to_json(self.ud.mean), "beta": self.ud.beta, "probe_error": self.ud.probe_error}
        measured = {**asdict(self), "ud": ud}
        found = {"format": FORMAT, **measured, "summary": self.summary(), "unreliable": self.doubts()}
        return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def summary(self) -> dict[str, Any]:
        """Return what follows from the runs."""
        found: dict[str, Any] = {}
        if self.drop:
            found |= to_json(self.drop, names=under("drop"))
        if self.worst:
            best = self.worst.poisoned
            found |= to_json(self.worst.kept, names=under("kept"))
            found |= {"worst_quality": best.quality.value, "worst_defense": best.defense, "tried": best.tried}
        short: dict[str, Any] = to_json(found, DECIMALS)
        return short

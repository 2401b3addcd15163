"""One row of a public leaderboard, a file of its own: what was measured, seed by seed, so that anybody can check it."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from howfar.errors import HowfarError
from howfar.score import Estimate, Trials, WorstCase, drop, from_json, to_json, worst_case
from howfar.score.estimate import DECIMALS, under
from howfar.score.intervals import Spread
from howfar.score.metrics import LEARNED, SHARES
from howfar.tables.distances import Ud

FORMAT = "howfar-row-3"  # rows of earlier formats do not say which test images and which versions
LARGEST = 4 << 20  # bytes of a file
SEEDS = 3  # fewer are unreliable
CLOSE = 1e-6  # numbers are written with six decimals
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class SeedQualities:
    """What learners with one defense got, one entry a seed.

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
class _WrittenUd:
    """UD as a file holds it; its n is that of the runs without defense."""

    __pydantic_config__ = STRICT

    value: float
    low: float | None
    high: float | None
    beta: float
    probe_error: float


@dataclass(frozen=True)
class _WithUd:
    ud: _WrittenUd | None


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
        if plain and self.metric in SHARES and sum(plain.clean) / len(plain.clean) - self.chance < LEARNED:
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


def read(path: Path) -> Entry:
    """Read a row.

    Raises:
        HowfarError: if the file is no row.
    """
    return _parsed(path)[0]


def faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a row: numbers that do not follow from its runs, and impossible ones.

    Raises:
        HowfarError: if the file is no row.
    """
    entry, said = _parsed(path)
    for name, runs in entry.runs.items():
        lists = (runs.seeds, runs.clean, runs.protected, *(runs.validation or ()))
        if not runs.seeds or len({len(values) for values in lists}) != 1:
            yield f"the runs with defense '{name}' are not one a seed."
            return
        if len(set(runs.seeds)) < len(runs.seeds):
            yield f"a seed stands twice among the runs with defense '{name}'."
        if entry.metric in SHARES and not all(0 <= value <= 1 for values in lists[1:] for value in values):
            yield f"with defense '{name}', {entry.metric} is outside 0 to 1."
    if not entry.runs:
        yield "there are no runs."
        return
    for key, value in entry.summary().items():
        if not _same(said.get("summary", {}).get(key), value):
            yield f"{key} is said to be {said.get('summary', {}).get(key)}; from the runs follows {value}."
    for key in sorted(set(said.get("summary", {})) - set(entry.summary())):
        yield f"{key} does not follow from the runs."
    if said.get("unreliable") != entry.doubts():
        yield f"'unreliable' should be {entry.doubts()}."


def _parsed(path: Path) -> tuple[Entry, dict[str, Any]]:
    """Return the row, and what the file says follows from it."""
    try:
        if path.stat().st_size > LARGEST:
            raise HowfarError(f"{path} has {path.stat().st_size >> 20} MiB; a row has at most {LARGEST >> 20}.")
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HowfarError(f"{path} cannot be read as JSON: {error}. Write rows with howfar submit.") from error
    if not isinstance(whole, dict) or whole.pop("format", None) != FORMAT:
        raise HowfarError(f"{path} is no row of the format {FORMAT}. Write rows with howfar submit.")
    said = {key: whole.pop(key, None) for key in ("summary", "unreliable")}
    said["summary"] = said["summary"] if isinstance(said["summary"], dict) else {}
    try:
        entry = TypeAdapter(Entry).validate_python({**whole, "ud": None} if "ud" in whole else whole)
        found = TypeAdapter(_WithUd).validate_python({"ud": whole["ud"]}).ud
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HowfarError(f"{path}: {place}: {first['msg']}. Write rows with howfar submit.") from error
    if found is not None:
        n = len(entry.runs["none"].seeds) if "none" in entry.runs else 0
        entry = replace(entry, ud=Ud(from_json(asdict(found), n, "t"), found.beta, found.probe_error))
    return entry, said


def _same(said: Any, value: Any) -> bool:
    if isinstance(value, float) and isinstance(said, int | float):
        return abs(said - value) <= CLOSE
    return bool(said == value)

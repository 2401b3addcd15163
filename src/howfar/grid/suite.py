"""Suites: the request for a benchmark and the experiments that follow from it."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from howfar.data import DATASETS, Data
from howfar.defend import DEFENSES, Chain, expanded
from howfar.errors import UsageError
from howfar.grid.experiment import Experiment
from howfar.models import MODELS, Architecture
from howfar.probe import Probe
from howfar.probe.probe import ProbeImages
from howfar.protectors import PROTECTORS, Protector
from howfar.spec import Eps, Number, Spec, parse
from howfar.spec.syntax import split_list, split_names
from howfar.tasks import TASKS, Task, is_dense
from howfar.training import Recipe, recipe_for
from howfar.training.recipes import OWN

MOST_SEEDS, LAST_SEED = 10_000, 2**63 - 1


def split_if_text(value: object) -> object:
    """Return the names in a text; anything else as it is."""
    return split_names(value) if isinstance(value, str) else value


def _seeds(value: object) -> object:
    """``"0-2,5"`` -> [0, 1, 2, 5]."""
    if not isinstance(value, str):
        return [value] if isinstance(value, int) else value
    seeds: list[int] = []
    for part in split_list(value):
        found = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", part, re.ASCII)
        if found is None:
            raise UsageError(f"seeds '{value}': '{part}' is not a seed. Write whole numbers from 0, e.g. 0-4 or 0,7.")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UsageError(f"seeds '{value}': {part} counts down, so it names none. Write {last}-{first}.")
        if last - first >= MOST_SEEDS or last > LAST_SEED:
            raise UsageError(f"seeds '{value}': {part} is too much. Use at most {MOST_SEEDS} seeds, below 2**63.")
        seeds += range(first, last + 1)
    return seeds


def _limit(value: object) -> object:
    return None if value in ("all", 0, "0") else value


def _points(value: object) -> object:
    """``"±5"`` -> 5; ``off`` -> None."""
    if not isinstance(value, str):
        return value
    text = value.strip().removeprefix("±").removesuffix("%").strip()
    if text == "off":
        return None
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 < points <= 100:
        raise ValueError("write points above 0 and at most 100, such as 5, or off")
    return points


HELD_OUT = 1000  # default number of held-out images if a defense needs clean ones
Labeled = TypeVar("Labeled", bound=Spec[Any] | Chain)
Names = Annotated[tuple[str, ...], BeforeValidator(split_if_text), Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds), Field(min_length=1)]
Limit = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_limit)]
Until = Annotated[Annotated[float, Field(gt=0, le=100)] | None, BeforeValidator(_points)]


@dataclass(frozen=True)
class Suite:
    """A benchmark request. These are the keys of ``--config suite.toml``.

    Attributes:
        dataset: e.g. ``cifar10`` or ``folder:photos[size=32]``.
        data_root: folder or file of the data set; None takes ``~/.cache/howfar``.
        download: download the data set if it is missing.
        limit_train: size of a class-balanced subset of the training images; None takes all.
        limit_test: the same for the test images.
        held_out: number of clean images held out from training, half for the learner's own use, half for model
            selection; at most a fifth of all. None holds out 1,000 if a defense needs clean images, else none.
        tasks: target tasks, with one victim each; ``joint[tasks=a+b]`` is one multi-task victim.
        source_tasks: tasks that the protection is crafted against. Label-free protectors are crafted once.
        protectors: ``clean`` is always added as the baseline. ``ops@class_scene`` is crafted only against that task,
            whatever ``source_tasks`` is.
        defenses: of the learner; ``worst`` is the newest ensemble.
        models: the victims.
        dense_models: the victims of dense tasks; None takes ``models``.
        seeds: of noise, weights and batches; one cell per seed.
        until: add seeds in order, starting with two, until the drop or the retention of a row is known to ± this many
            points or it is decided whether its protection holds; None runs all seeds.
        eps: for every protector with an L∞ radius that does not set its own; None keeps the defaults.
        recipe: name of the training recipe; ``own`` takes each network's default (``RECIPES``).
        train: fields of the recipe to override; a table under the name of a network applies only to that network, as in
            ``{"epochs": 10, "unet": {"epochs": 8}}``.
        probe_images: size of the probe set for SAL; 0 disables SAL and UD.
        radius: of SAL.
        alignment_images: number of images for learning alignment; 0 disables it.
    """

    dataset: str
    protectors: Names
    defenses: Names
    models: Names
    seeds: Seeds
    recipe: str = OWN
    train: dict[str, object] = field(default_factory=dict)
    data_root: Path | None = None
    download: bool = False
    limit_train: Limit = None
    limit_test: Limit = None
    held_out: Annotated[int, Field(ge=0)] | None = None
    tasks: Names = ("classification",)
    dense_models: Names | None = None
    until: Until = None
    source_tasks: Names = ("classification",)
    eps: Eps | None = None
    probe_images: ProbeImages = 256
    radius: Annotated[Number, Field(gt=0)] = 0.05
    alignment_images: ProbeImages = 192

    def recipe_of(self, model: Spec[Architecture]) -> Recipe:
        """Return the recipe of a victim.

        Raises:
            UsageError: for an unknown recipe or setting, or an invalid value.
        """
        shared = {key: value for key, value in self.train.items() if not isinstance(value, Mapping)}
        own = self.train.get(model.name, {})
        return recipe_for(model.name, self.recipe, {**shared, **(own if isinstance(own, Mapping) else {})})

    def experiments(self) -> list[Experiment]:
        """Return the grid, after checking all names.

        Raises:
            UsageError: for an unknown name or an invalid setting.
        """
        dataset = parse(
            self.dataset, DATASETS, "dataset",
            **({"root": str(self.data_root.expanduser())} if self.data_root else {}),
            **({"download": True} if self.download else {}),
        )  # fmt: skip
        wanted = [_aimed(name, self.eps) for name in ("clean", *self.protectors)]
        defenses = _unique(
            Chain.parse(name, DEFENSES, optional=not named) for name, named in expanded(self.defenses).items()
        )
        held_out = self.held_out
        if held_out is None:
            held_out = HELD_OUT if any(chain.build().uses_clean for chain in defenses) else 0
        models, dense = (
            _unique(parse(name, MODELS, "model") for name in names) for names in (self.models, self._dense_models)
        )
        recipes = {model.label: self.recipe_of(model) for model in (*models, *dense)}
        tasks, sources = (_unique(parse(n, TASKS, "task") for n in names) for names in (self.tasks, self.source_tasks))
        crafted = {
            (protector.label, source.label): (protector, source)
            for protector, own in wanted
            for source in (([own] if own else sources) if protector.build().uses_labels else sources[:1])
        }
        return [
            Experiment(
                dataset=dataset, limit_train=self.limit_train, limit_test=self.limit_test,
                source_task=source, task=task, protector=protector, defense=defense, model=model,
                recipe=recipes[model.label], seed=seed, held_out=held_out,
                probe=Probe(self.probe_images, self.radius), alignment=self.alignment_images,
            )
            for task in tasks
            for model, defense, seed, (protector, source) in product(
                dense if is_dense(task) else models, defenses, dict.fromkeys(self.seeds), crafted.values()
            )
            if protector.name == "clean" or not defense.build().ignores
        ]  # fmt: skip

    @property
    def _dense_models(self) -> tuple[str, ...]:
        return self.models if self.dense_models is None else self.dense_models


def _aimed(text: str, eps: float | None) -> tuple[Spec[Protector], Spec[Callable[[Data], Task]] | None]:
    """Return the protector and source task of ``NAME@TASK``."""
    parts = split_list(text, at="@")
    if not parts or ("@" in text and len(parts) == 1):
        raise UsageError(f"'{text}' names no source task after the @. Write ops@class_scene, or remove the @.")
    if len(parts) > 2:
        raise UsageError(
            f"'{text}' names more than one source task. Write one entry per task: ops@class_scene,ops@normal."
        )
    return _protector(parts[0], eps), parse(parts[1], TASKS, "task") if len(parts) == 2 else None


def _protector(text: str, eps: float | None) -> Spec[Protector]:
    found = parse(text, PROTECTORS, "protector")
    if eps is None or getattr(found.factory, "norm", None) != "L∞":
        return found  # a radius in another norm
    return parse(text, PROTECTORS, "protector", eps=eps)


def _unique(specs: Iterable[Labeled]) -> list[Labeled]:
    return list({spec.label: spec for spec in specs}.values())

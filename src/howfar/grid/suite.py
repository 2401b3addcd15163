"""Suites: from presets, TOML files and flags to the experiments of a benchmark."""

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from torch import Tensor

from howfar.arrays import VOID, Heads
from howfar.data import DATASETS, Data
from howfar.defend import DEFENSES, Chain, Defense, expanded
from howfar.errors import HowfarError, UsageError, unknown
from howfar.grid.experiment import Experiment
from howfar.grid.presets import SUITES
from howfar.models import MODELS, Architecture
from howfar.probe import Probe
from howfar.probe.probe import ProbeImages
from howfar.protectors import PROTECTORS, Protector
from howfar.spec import Eps, Number, Spec, parse, split_list, split_names
from howfar.tasks import TASKS, Task, is_dense
from howfar.training import Recipe, recipe_for
from howfar.training.recipes import OWN

MOST_SEEDS, LAST_SEED = 10_000, 2**63 - 1


def _names(value: object) -> object:
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


LISTS = {
    "protectors": "em,lsp", "models": "resnet8", "dense_models": "unet", "defenses": "none,jpeg",
    "tasks": "classification", "source_tasks": "classification", "seeds": "0-2",
}  # keys with lists of names, with an example  # fmt: skip
FEW = "Add images of it, or take more training images (--limit-train)."
HELD_OUT = 1000  # default number of held-out images if a defense needs clean ones
Labeled = TypeVar("Labeled", bound=Spec[Any] | Chain)
Names = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]
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
            held_out = HELD_OUT if any(_needs_clean(chain.build()) for chain in defenses) else 0
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


def read_suite(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file with the keys of a suite, and optionally a preset (``suite = "digits"``).

    Raises:
        UsageError: if the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist. Give a TOML file with the keys of a suite.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} is not valid TOML ({error}). Correct it.") from None


def make_suite(
    name: str | None, *layers: Mapping[str, Any], settings: Iterable[str] = (), single: Iterable[str] = ()
) -> Suite:
    """Return a suite from a preset, overridden by mappings and ``key=value`` settings in order.

    Args:
        name: a key of ``SUITES``; None takes the first one for the data set, or ``standard``.
        layers: nested mappings with keys of a suite, such as a TOML file or flags.
        settings: e.g. ``"train.lr=0.1"``.
        single: keys for which only the first value of the preset is used, such as ``models``.

    Raises:
        UsageError: for an unknown key (with the nearest known one) or a bad value.

    Example:
        >>> from howfar import make_suite
        >>> suite = make_suite("digits", {"protectors": "lsp", "seeds": "0-1"})
        >>> len(suite.experiments())
        16
    """
    over = [_spelled(layer) for layer in (*layers, *(_nested(text) for text in settings))]
    named = suite_name(name, *over)
    merged: dict[str, Any] = dict(SUITES[named])
    merged |= {key: merged[key][:1] for key in single if key in merged}
    known = {entry.name for entry in fields(Suite)}
    if any("recipe" in layer for layer in over):  # settings of the preset apply to its own recipe
        merged["train"] = {}
    if any("models" in layer for layer in over):  # named victims apply to every task
        merged.pop("dense_models", None)
    for layer in over:
        for key, value in layer.items():
            if key not in {*known, "suite"}:
                raise unknown("key", key, known)
            if key == "train":
                merged["train"] = _overlaid(merged.get("train", {}), _settings(value))
            elif key != "suite":
                merged[key] = value
    own = str(SUITES[named]["dataset"])
    if merged["dataset"] == _bare(own):  # with the settings of the suite
        merged["dataset"] = own
    for key, example in LISTS.items():
        if isinstance(merged.get(key), str | list | tuple) and not _names(merged[key]):
            raise UsageError(
                f"{key.replace('_', ' ')} are empty, so there is nothing to run. Name at least one, e.g. {example}, or "
                f"omit the flag to use those of the suite '{named}'."
            )
    try:
        suite = TypeAdapter(Suite).validate_python(merged)
    except ValidationError as error:
        what = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, what['loc']))} = {what['input']!r} is wrong: {what['msg']}.") from None
    for network in (key for key, value in suite.train.items() if isinstance(value, Mapping)):
        parse(network, MODELS, "model")
    for model in (*suite.models, *(suite.dense_models or ())):
        suite.recipe_of(parse(model, MODELS, "model"))
    return suite


def suite_name(name: str | None, *layers: Mapping[str, Any]) -> str:
    """Return the name of the preset: that of the last layer that has one, the given one, or the data set's first.

    Raises:
        UsageError: if there is no such preset.
    """
    named = next((str(layer["suite"]) for layer in reversed(layers) if "suite" in layer), name)
    if named is None:
        dataset = _bare(next((str(layer["dataset"]) for layer in reversed(layers) if "dataset" in layer), "rooms"))
        named = next((suite for suite, keys in SUITES.items() if _bare(keys["dataset"]) == dataset), "standard")
    if named not in SUITES:
        raise unknown("suite", named, SUITES)
    return named


def _bare(dataset: str) -> str:
    """Return the name of a data set without its settings."""
    return re.split(r"[:\[]", dataset)[0]


def _spelled(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer with ``_`` for ``-`` in its keys; those of mappings within ``train`` are names of networks."""
    found = {key.replace("-", "_"): value for key, value in layer.items()}
    if isinstance(train := found.get("train"), Mapping):
        found["train"] = {
            key if isinstance(value, Mapping) else key.replace("-", "_"): _spelled(value)
            if isinstance(value, Mapping)
            else value
            for key, value in train.items()
        }
    return found


def _overlaid(train: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return merged recipe settings; those for all networks override those of single networks."""
    shared = {key for key, value in over.items() if not isinstance(value, Mapping)}
    merged: dict[str, Any] = {
        key: {name: inner for name, inner in value.items() if name not in shared}
        if isinstance(value, Mapping)
        else value
        for key, value in train.items()
    }
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = (
            {**(before if isinstance(before, Mapping) else {}), **value} if isinstance(value, Mapping) else value
        )
    return merged


def _settings(train: object) -> Mapping[str, object]:
    if isinstance(train, Mapping):
        return train
    raise UsageError(
        f"train = {train!r} is wrong: it must be settings. Write train.lr=0.1, or a table [train] in TOML."
    )


def _nested(text: str) -> dict[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"'{text}' sets nothing. Write --set key=value, for instance --set train.lr=0.1.")
    found: Any = value.strip()
    for part in reversed(key.strip().split(".")):
        found = {part: found}
    return dict(found)


def _unique(specs: Iterable[Labeled]) -> list[Labeled]:
    return list({spec.label: spec for spec in specs}.values())


def check_data(experiments: list[Experiment]) -> None:
    """Load the data and build the tasks once, to detect errors before any step is run.

    Raises:
        HowfarError: for errors of the data set or a task, or a defense that cannot run.
    """
    for fault in _faults(experiments, _checked_tasks(experiments)):
        raise UsageError(f"defense '{fault.chain.label}' {fault.reason}. {fault.fix}")


def runnable(experiments: list[Experiment]) -> tuple[list[Experiment], dict[str, str]]:
    """Return the experiments without members of ensembles that cannot run.

    Returns:
        the experiments that can run, and for every defense that cannot run with some task, the reason as the rest of a
        sentence, by label.

    Raises:
        HowfarError: as ``check_data``, for explicitly named defenses.
    """
    faults = list(_faults(experiments, _checked_tasks(experiments)))
    for fault in faults:
        if not fault.chain.optional:
            raise UsageError(f"defense '{fault.chain.label}' {fault.reason}. {fault.fix}")
    gone = {(fault.chain.label, fault.task) for fault in faults}
    kept = [e for e in experiments if (e.defense.label, e.task.label) not in gone]
    reasons: dict[str, list[str]] = {}
    for fault in faults:
        reasons.setdefault(fault.chain.label, []).append(fault.reason)
    return kept, {label: ", and it ".join(dict.fromkeys(given)) for label, given in reasons.items()}


@dataclass(frozen=True)
class _Fault:
    """Reason why a defense cannot run with a task.

    Attributes:
        chain: the defense.
        task: label of the task.
        reason: as the rest of a sentence.
        fix: what to do.
    """

    chain: Chain
    task: str
    reason: str
    fix: str


def _checked_tasks(experiments: list[Experiment]) -> dict[str, Task]:
    """Return the tasks by label, after validating data and source tasks."""
    splits = experiments[0].splits
    makers = {maker.label: maker for e in experiments for maker in (e.source_task, e.task)}
    tasks = {label: maker.build()(splits.train) for label, maker in makers.items()}
    for name in {e.source_task.label for e in experiments}:
        target = tasks[name].prepare(splits.train).targets_of(tasks[name].target)
        for protector in {e.protector.label: e.protector for e in experiments if e.source_task.label == name}.values():
            if not protector.build().takes(target):
                raise UsageError(f"'{protector.label}' cannot be crafted against '{name}': see howfar list protectors.")
    for task in tasks.values():
        counts = task.outputs if isinstance(task.outputs, Heads) else {task.target: task.outputs}
        test = task.prepare(splits.test)
        for target, count in counts.items():
            last = _last_class(test.targets_of(target))
            if last >= count > 1:
                raise HowfarError(f"the test set has class {last} of '{target}', which the training set lacks. {FEW}")
    return tasks


def _last_class(target: Tensor) -> int:
    """Return the highest class of a target with one class per image or per pixel; -1 for other targets."""
    if target.is_floating_point() or target.ndim not in (1, 3):
        return -1
    found = target[target != VOID] if target.ndim == 3 else target
    return int(found.max()) if found.numel() else -1


def _faults(experiments: list[Experiment], tasks: Mapping[str, Task]) -> Iterator[_Fault]:
    """Yield the combinations of defense and task that cannot run."""
    splits = experiments[0].splits
    cells = {(e.defense.label, e.task.label): e for e in experiments}
    for (_, name), experiment in cells.items():
        defense, held = experiment.defense.build(), experiment.held_out
        if _needs_clean(defense) and splits.clean is None:
            few = f"{experiment.counts[0]} training images are too few to hold any out"
            reason = "needs clean images, and " + (few if held else "none are held out")
            fix = "Add images, or remove the defense." if held else "Give --set held_out=1000."
            yield _Fault(experiment.defense, name, reason, fix)
            continue
        target = splits.train.targets.get(tasks[name].target)
        if defense.needs_labels and (target is None or target.ndim > 1 or target.is_floating_point()):
            reason = f"needs one class per image, which '{name}' does not have"
            yield _Fault(experiment.defense, name, reason, "Remove one of them.")
        elif defense.moves_targets and isinstance(tasks[name].outputs, Heads):
            reason = f"mixes or moves targets, which it cannot do for several targets ('{name}')"
            yield _Fault(experiment.defense, name, reason, "Remove one of them.")


def _needs_clean(defense: Defense) -> bool:
    return defense.needs_clean or defense.selects

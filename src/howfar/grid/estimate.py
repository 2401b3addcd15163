"""Time estimates, from earlier records of similar steps, or from a timed training step."""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.utils import _pytree as pytree

from howfar.arrays import Outputs, seeded
from howfar.grid.experiment import Experiment, Step
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.spec import parse
from howfar.store import Record, Store
from howfar.tasks import Task
from howfar.training.precision import autocast

SAMPLE = 32  # images in the timed step
FIRST, SLOW = 4, 0.3  # images in the first timed step; seconds of a full step above which it is not repeated
FEW = 200  # images from which the number of outputs is determined
COST = {"fast": 1.4, "exact": 34.0, "reference": 24.0}  # of SAL, in training steps per layer and image


def estimate(steps: list[Step], store: Store) -> dict[str, float]:
    """Return the expected wall seconds of every step, by its key, for one worker.

    Args:
        steps: the steps to run.
        store: earlier records of similar steps take precedence.
    """
    known = known_seconds({step.name for step in steps}, store)
    return {step.key: known.get(like(step.name, step.spec)) or _guess(step) for step in steps}


def known_seconds(names: Iterable[str], store: Store) -> dict[str, float]:
    """Return the mean wall seconds of finished steps, by ``like``.

    Args:
        names: kinds of steps.
        store: source of the records.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for name in names:
        for record in store.records(name, damaged=True):
            if (seconds := took(record)) is not None:
                found[like(name, record.spec)].append(seconds)
    return {kind: sum(seconds) / len(seconds) for kind, seconds in found.items()}


def took(record: Record) -> float | None:
    """Return the wall seconds of a finished step; None if its record has no valid value."""
    seconds = record.made.get("wall_seconds")
    if record.status != "done" or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return None
    return float(seconds)


def memory(steps: list[Step], store: Store) -> dict[str, int]:
    """Return the main memory that steps need in bytes, by their key, if similar ones were measured before.

    Older records, which hold the lifetime peak of their process under another name, are ignored.
    """
    peaks: dict[str, int] = {}
    for name in {step.name for step in steps}:
        for record in store.records(name, damaged=True):
            kind, peak = like(name, record.spec), record.made.get("step_peak_bytes")
            peaks[kind] = max(peaks.get(kind, 0), peak if isinstance(peak, int) else 0)
    found = {step.key: peaks.get(like(step.name, step.spec), 0) for step in steps}
    return {key: peak for key, peak in found.items() if peak}


def like(name: str, spec: Mapping[str, object]) -> str:
    """Return a key of the duration of a step: its spec without the seed and, for victims, the protector."""
    return name + repr(
        {k: v for k, v in sorted(spec.items()) if k != "seed" and (name == "protect" or k != "protector")}
    )


def _guess(step: Step) -> float:
    experiment = step.experiment
    count, tests = experiment.counts
    if step.name == "protect":
        return seconds_to_protect(experiment)
    seconds, layers = step_seconds(experiment)
    # A forward pass is a third of a training step.
    probes = () if experiment.trajectory else (experiment.probe, *experiment.variants)
    probe = sum(min(probe.images, count) * (1 + layers * COST[probe.mode]) for probe in probes)
    aligned = 0 if experiment.trajectory else 2 * min(experiment.alignment, count)
    passes = experiment.defense.build().passes
    return experiment.recipe.epochs * seconds * (passes * count + tests / 3 + probe + aligned)


def build_victim(experiment: Experiment) -> tuple[nn.Module, Task]:
    """Return an untrained victim of an experiment, and its task."""
    task = _task(experiment)
    shape = experiment.splits.train.shape
    return build(experiment.model.build(), shape, task.outputs, generator=seeded(0, "estimate")), task


def step_seconds(experiment: Experiment) -> tuple[float, int]:
    """Return the seconds of a training step of the victim per image, and its number of layers."""
    return _per_image(experiment.model.label, experiment.splits.train.shape, _task(experiment).outputs)


def _task(experiment: Experiment) -> Task:
    train = experiment.splits.train
    spread = torch.linspace(0, len(train) - 1, min(len(train), FEW)).long()  # files may be sorted by class
    return experiment.task.build()(train.take(spread))


def seconds_to_protect(experiment: Experiment) -> float:
    """Return the expected wall seconds of protecting the training images on one core, from a timed training step."""
    train, protector, (count, _) = experiment.splits.train, experiment.protector.build(), experiment.counts
    seconds, _ = _per_image(str(experiment.protector.settings.get("surrogate", "resnet8[width=8]")), train.shape, 10)
    return 0.5 + protector.share * count * (protector.passes * seconds + 1e-4)


def _per_image(model_label: str, shape: tuple[int, int, int], outputs: Outputs) -> tuple[float, int]:
    """Return the seconds of a training step per image, and the number of layers."""
    key = (model_label, shape, f"{type(outputs).__name__} {outputs}")
    if key not in _timed:
        model = build(parse(model_label, MODELS, "model").build(), shape, outputs, generator=seeded(0, "estimate"))
        _timed_step(model, shape, 2)  # warm-up
        seconds = _timed_step(model, shape, FIRST) / FIRST
        if seconds * SAMPLE < SLOW:  # a small network, whose fixed cost per step must be amortized
            seconds = min(_timed_step(model, shape, SAMPLE) for _ in range(2)) / SAMPLE
        _timed[key] = seconds, len(weight_names(model))
    return _timed[key]


def _timed_step(model: nn.Module, shape: tuple[int, int, int], count: int) -> float:
    """Return the CPU seconds of a forward and backward pass on ``count`` images, on one thread as in a worker."""
    images = torch.zeros(count, *shape).contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        with autocast("auto", torch.device("cpu")):
            outputs = pytree.tree_leaves(model(images))
        sum(output.float().square().mean() for output in outputs).backward()
        return time.process_time() - start
    finally:
        torch.set_num_threads(threads)


_timed: dict[tuple[str, tuple[int, int, int], str], tuple[float, int]] = {}

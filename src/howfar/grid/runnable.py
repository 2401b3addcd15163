"""Which experiments can run with their data: errors are found before any step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from howfar.arrays import VOID, Heads
from howfar.defend import Chain
from howfar.errors import HowfarError, UsageError
from howfar.grid.experiment import Experiment
from howfar.tasks import Task

FEW = "Add images of it, or take more training images (--limit-train)."


def check_data(experiments: list[Experiment], *, victims: bool = True) -> None:
    """Load the data and build the tasks once, to detect errors before any step is run.

    Args:
        experiments: of one data set.
        victims: whether networks will be trained and tested; otherwise images are only protected.

    Raises:
        HowfarError: for errors of the data set or a task, or a defense that cannot run.
    """
    if not victims:
        _checked_tasks(experiments)
        return
    for fault in _faults(experiments, _tested_tasks(experiments)):
        raise UsageError(f"defense '{fault.chain.label}' {fault.reason}. {fault.fix}")


def runnable(experiments: list[Experiment]) -> tuple[list[Experiment], dict[str, str]]:
    """Return the experiments without members of ensembles that cannot run.

    Returns:
        the experiments that can run, and for every defense that cannot run with some task, the reason as the rest of a
        sentence, by label.

    Raises:
        HowfarError: as ``check_data``, for explicitly named defenses.
    """
    faults = list(_faults(experiments, _tested_tasks(experiments)))
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
    return tasks


def _tested_tasks(experiments: list[Experiment]) -> dict[str, Task]:
    """Return the tasks by label, after checking that training images have every class of the test images."""
    splits, tasks = experiments[0].splits, _checked_tasks(experiments)
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
        if defense.uses_clean and splits.clean is None:
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

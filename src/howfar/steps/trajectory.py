"""Train a victim and save its trajectory."""

import torch

from howfar import arrays
from howfar.grid.experiment import Step
from howfar.probe import Trajectory, following
from howfar.probe.trajectory import is_checkpoint
from howfar.protectors import Progress
from howfar.steps.setup import StepWork, set_up
from howfar.steps.victim import metrics_of
from howfar.store import Record, Store
from howfar.store.clock import Clock
from howfar.training import chosen


def run(step: Step, store: Store, device: torch.device) -> StepWork:
    """Train one victim and save its trajectory; yields progress after every epoch."""
    experiment, clock, options = step.experiment, Clock(device), step.experiment.trajectory
    if options is None:
        raise ValueError("the experiment has no trajectory options")
    setup = set_up(step, store, device)
    task, model, test = setup.task, setup.model, setup.task.prepare(setup.splits.test)
    seed = (
        arrays.draw_seed(arrays.seeded(experiment.seed, "order", options.order)) if options.order else experiment.seed
    )
    work = following(
        model, setup.train_data, task, setup.recipe,
        every=options.every, around=setup.defense.around, seed=seed, half=options.half,
    )  # fmt: skip
    moments = [{"steps": 0, **metrics_of(model, task, test)}]
    while True:
        try:
            batch = next(work)
        except StopIteration as end:
            path: Trajectory = end.value
            break
        if is_checkpoint(batch, options.every):
            moments.append({"steps": batch.number, **metrics_of(model, task, test)})
        if batch.last:
            yield Progress(batch.epoch, setup.recipe.epochs)
    last = moments[-1] if is_checkpoint(batch, options.every) else metrics_of(model, task, test)
    result = {
        "metric": task.metric, "chance": task.chance, "higher_is_better": task.higher_is_better,
        "quality": last[task.metric], "train_images": len(setup.train_data),
        "test_images": len(test), "moments": moments,
    }  # fmt: skip
    made = {**clock.stop(), "precision": chosen(setup.recipe.precision, device)}
    return store.save(Record(step.name, step.key, step.spec, "done", result, made), path.arrays())

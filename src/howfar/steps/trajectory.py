"""Train a victim and keep its weights along the way."""

import torch

from howfar import arrays
from howfar.clock import Clock
from howfar.grid.experiment import Step
from howfar.probe import Trajectory, following
from howfar.probe.trajectory import is_moment
from howfar.protect import Progress
from howfar.steps.setup import StepWork, set_up
from howfar.steps.victim import metrics_of
from howfar.store import Record, Store
from howfar.train import chosen


def run(step: Step, store: Store, device: torch.device) -> StepWork:
    """Train one victim and keep its weights; yields progress after every epoch."""
    experiment, clock, walk = step.experiment, Clock(device), step.experiment.walk
    if walk is None:
        raise ValueError("no walk was asked for")
    setup = set_up(step, store, device)
    task, model, test = setup.task, setup.model, setup.task.prepare(setup.splits.test)
    seed = arrays.draw_seed(arrays.seeded(experiment.seed, "order", walk.order)) if walk.order else experiment.seed
    work = following(
        model, task, setup.training, setup.recipe,
        every=walk.every, around=setup.defense.around, seed=seed, half=walk.half,
    )  # fmt: skip
    moments = [{"steps": 0, **metrics_of(model, task, test)}]
    while True:
        try:
            batch = next(work)
        except StopIteration as end:
            path: Trajectory = end.value
            break
        if is_moment(batch, walk.every):
            moments.append({"steps": batch.number, **metrics_of(model, task, test)})
        if batch.last:
            yield Progress(batch.epoch, setup.recipe.epochs)
    last = moments[-1] if is_moment(batch, walk.every) else metrics_of(model, task, test)
    result = {
        "metric": task.metric, "chance": task.chance, "higher_is_better": task.higher_is_better,
        "quality": last[task.metric], "train_images": len(setup.training),
        "test_images": len(test), "moments": moments,
    }  # fmt: skip
    made = {**clock.stop(), "precision": chosen(setup.recipe.precision, device)}
    return store.save(Record(step.name, step.key, step.spec, "done", result, made), path.arrays())

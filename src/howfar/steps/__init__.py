"""Steps, whose results are stored, one file each: protect, victim, trajectory, ablation, landscape, curvature."""

import torch

from howfar.grid.experiment import Step
from howfar.steps import protect, trajectory, victim
from howfar.steps.setup import StepWork
from howfar.store import Record, Store
from howfar.store.clock import circumstances

RUN = {"protect": protect.run, "victim": victim.run, "ablation": victim.run, "trajectory": trajectory.run}


def run(step: Step, store: Store, device: torch.device) -> StepWork:
    """Run a step and save its record; yields progress."""
    return RUN[step.name](step, store, device)


def failed(step: Step, store: Store, error: str) -> Record:
    """Save the record of a failed step."""
    return store.save(Record(step.name, step.key, step.spec, "failed", {"error": error}, circumstances()))

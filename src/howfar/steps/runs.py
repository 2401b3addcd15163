"""Trained networks with their trajectories, from the store."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from howfar.arrays import canonical
from howfar.data import Data, balanced
from howfar.grid.experiment import Experiment
from howfar.probe import Trajectory
from howfar.steps.setup import TrainingSetup, set_up
from howfar.store import Store
from howfar.tables.names import CLEAN, crafted, shared

TEST = "test"  # in place of a protector: clean test images


@dataclass
class Run:
    """One trained network with its trajectory and its training setup."""

    experiment: Experiment
    store: Store
    device: torch.device
    images: int

    @property
    def key(self) -> str:
        """Store key of the trajectory."""
        return self.experiment.steps()[1].key

    @cached_property
    def path(self) -> Trajectory:
        """The trajectory of its weights and buffers."""
        return Trajectory.of(self.store.arrays("trajectory", self.key))

    @cached_property
    def setup(self) -> TrainingSetup:
        """Its training setup."""
        return set_up(self.experiment.steps()[1], self.store, self.device)

    @cached_property
    def model(self) -> nn.Module:
        """The trained network, at the end of its trajectory."""
        model = self.setup.model
        model.load_state_dict(self.path.state(len(self.path) - 1), strict=False)
        return model

    def evaluation_set(self, on: str) -> Data:
        """Return clean test images, or the training images of this run."""
        data = self.setup.task.prepare(self.setup.splits.test) if on == TEST else self.setup.train_data
        return balanced(data, min(self.images, len(data)))


def together(
    cells: Iterable[Experiment], store: Store, device: torch.device, images: int
) -> list[dict[str, Run]]:  # fmt: skip
    """Return the runs of every victim and seed by protector, the clean one first."""
    groups: dict[tuple[str, int], dict[str, Run]] = {}
    for cell in cells:
        spec = cell.victim_spec()
        runs = groups.setdefault((canonical(shared(spec)), cell.seed), {})
        runs[crafted(spec)] = Run(cell, store, device, images)
    return [{CLEAN: runs[CLEAN], **runs} for runs in groups.values()]

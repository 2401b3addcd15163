"""``howfar trajectory``."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from howfar.commands.common import Flag, Printed, option
from howfar.commands.grid import Grid, refuse_several
from howfar.errors import UsageError


@dataclass(kw_only=True)
class Trajectory(Printed, Grid):
    """Find the weights whose training path diverges on protected data.

    Trains every victim from the same initial weights with several batch orders. Compares the final weights of clean and
    poisoned victims with the variation that batch order alone causes, at a controlled false discovery rate. Writes
    trajectory.json and trajectory.md. Takes one defense and task: by default the first of each in the suite. Without
    --dataset, --suite or --config: LeNet-5 on digits with em, ops and random noise, three seeds, no defense.
    """

    examples: ClassVar = ("howfar trajectory", "howfar trajectory --protectors ops --orders 4")

    usual: ClassVar = {"suite": "digits", "models": "lenet5", "protectors": "random,em,ops"}
    single: ClassVar = ("defenses", "tasks")

    orders: Annotated[int, option("N")] = 3
    """Batch orders per seed, at least 2. More orders detect smaller differences."""
    every: Annotated[int, option("N", "0, the end of every epoch")] = 0
    """Batches between two checkpoints."""
    half: Flag = False
    """Store checkpoints in half precision."""
    rate: Annotated[float, option("RATE")] = 0.05
    """False discovery rate."""

    def __call__(self) -> int:
        from howfar.grid.experiment import TrajectoryOptions

        _ = self.form  # refused before anything is trained
        if self.every < 0 or not 0 < self.rate < 1:
            raise UsageError("--every counts batches, and --rate is a share. Take 0 or more, and e.g. 0.05.")
        if self.orders < 2:
            raise UsageError(f"--orders {self.orders} cannot show the effect of batch order alone. Take 2 or more.")
        cells = self.experiments()
        refuse_several(cells, "defense", "task")
        experiments = [
            replace(cell, trajectory=TrajectoryOptions(self.every, self.half, order))
            for cell in cells
            for order in range(self.orders)
        ]
        store = self.store()
        if not self.complete(experiments, store):
            return 0
        from howfar.report.trajectories import layers, overview
        from howfar.tables.trajectories import divergences

        found = divergences(store, [cell.steps()[1].key for cell in experiments], rate=self.rate)
        self.tell_layers("trajectory", found, [overview(found), *map(layers, found)], store)
        return 0

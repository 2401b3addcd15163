"""``howfar trajectory``."""

from dataclasses import dataclass, replace
from typing import ClassVar

from howfar import terminal
from howfar.commands.grid import Grid, refuse_several
from howfar.errors import UsageError


@dataclass(kw_only=True)
class Trajectory(Grid):
    """Which weights take another path because the data was protected.

    Every victim is trained from the same initial weights with several orders of batches, its weights are kept, and
    every parameter's clean and poisoned ends are held against what the order of batches alone does, with false
    discoveries controlled. Writes trajectory.json and trajectory.md. Takes one defense and task: of a suite, the first
    of each unless they are given. Without --dataset, --suite or --config: LeNet-5 on digits, three seeds, no defense,
    protected by em, ops and random noise.
    """

    usual: ClassVar = {"suite": "digits", "models": "lenet5", "protectors": "random,em,ops"}
    single: ClassVar = ("defenses", "tasks")

    orders: int = 3
    """Orders of batches for each seed, at least 2; more find smaller differences."""
    every: int = 0
    """Batches between two kept moments; 0 keeps the ends of epochs."""
    half: bool = False
    """Keep weights in half precision."""
    rate: float = 0.05
    """False discovery rate."""

    def __call__(self) -> int:
        from howfar.grid.experiment import TrajectoryOptions

        if self.every < 0 or not 0 < self.rate < 1:
            raise UsageError("--every counts batches, and --rate is a share. Take 0 or more, and e.g. 0.05.")
        if self.orders < 2:
            raise UsageError(f"--orders {self.orders} says nothing of what chance does. Take 2 or more.")
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
        values = [entry.as_dict() for entry in found]
        store.leave("trajectory.json", terminal.json_text(values) + "\n")
        tables = [overview(found), *map(layers, found)]
        store.leave("trajectory.md", "\n".join(terminal.markdown(*table) for table in tables))
        if self.json:
            terminal.show_json(values)
        else:
            terminal.show_table(*tables[0])
            terminal.say(f"layers: {store.root / 'trajectory.md'}")
        return 0

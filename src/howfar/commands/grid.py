"""The flags of all commands that run a grid of cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import UseAppendAction

from howfar.commands import progress, terminal
from howfar.commands.common import Common, Device, Flag, StorePath, Workers, option, tell_left_out, to_seconds
from howfar.commands.plan import Plan
from howfar.errors import HowfarError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from howfar.data.outline import Outline
    from howfar.engine.track import Log
    from howfar.grid.experiment import Experiment
    from howfar.grid.suite import Suite
    from howfar.store import Record, Store

    Costs = Callable[[list[Experiment], Store], dict[str, float]]

SUITES_OWN = "the suite's"


@dataclass(kw_only=True)
class Grid(Common):
    """Which cells, and where they run.

    Attributes:
        usual: keys of a suite that hold where neither data set, suite nor file is given.
        single: keys of which a suite's first value alone is taken, where the command takes one.
    """

    usual: ClassVar[dict[str, Any]] = {}
    single: ClassVar[tuple[str, ...]] = ()

    dataset: Annotated[str | None, option("NAME", SUITES_OWN, "-d")] = None
    """Data set, e.g. digits, cifar10, folder:photos (see: howfar list datasets)."""
    data_root: Annotated[Path | None, option("PATH", "~/.cache/howfar")] = None
    """Folder or file that holds the data set."""
    download: Flag = False
    """Download the data set if it is missing."""
    limit_train: Annotated[str | None, option("N", SUITES_OWN)] = None
    """Training images to use: a class-balanced subset drawn with a fixed seed, or 'all'."""
    limit_test: Annotated[str | None, option("N", SUITES_OWN)] = None
    """Test images to use, in the same way."""
    protectors: Annotated[str | None, option("NAMES", SUITES_OWN)] = None
    """Protectors, e.g. em,lsp:eps=6/255 (see: howfar list protectors). The clean baseline is always added."""
    models: Annotated[str | None, option("NAMES", SUITES_OWN)] = None
    """Victim networks, e.g. resnet8,resnet18:width=16 (see: howfar list models)."""
    defenses: Annotated[str | None, option("NAMES", SUITES_OWN)] = None
    """Defenses of the learner, e.g. none,jpeg:75,cutout (see: howfar list defenses)."""
    tasks: Annotated[str | None, option("NAMES", SUITES_OWN)] = None
    """Target tasks, one victim each, e.g. class_scene,normal (see: howfar list tasks)."""
    source_tasks: Annotated[str | None, option("NAMES", SUITES_OWN)] = None
    """Source tasks that the protection is crafted against, e.g. class_scene."""
    seeds: Annotated[str | None, option("SEEDS", SUITES_OWN)] = None
    """Seeds, e.g. 0-4 or 0,7. With --until, seeds are added in this order."""
    recipe: Annotated[str | None, option("NAME", SUITES_OWN)] = None
    """Training recipe: own (each network's default), sgd, fast, adamw, dense or paper."""
    epochs: Annotated[str | None, option("N", "the recipe's")] = None
    """Training epochs of every victim."""
    eps: Annotated[str | None, option("EPS", "each protector's")] = None
    """L∞ radius of every protector that has one and does not set its own, e.g. 8/255."""
    suite: Annotated[str | None, option("NAME", "the data set's, or two-tasks")] = None
    """Preset of all options above (see: howfar list suites)."""
    config: Annotated[Path | None, option("FILE", "")] = None
    """TOML file with the keys of a suite. Options override it."""
    set: Annotated[UseAppendAction[tuple[str, ...]], option("KEY=VALUE")] = ()
    """Set any key of a suite, e.g. train.lr=0.05."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    workers: Workers = None
    """Worker processes; 0 runs everything in this process."""
    ray: Annotated[str | None, option("ADDRESS", "")] = None
    """Run on this Ray cluster, or on the local one (auto). All its machines must reach --runs."""
    time_limit: Annotated[str | None, option("TIME", "none")] = None
    """Stop a step after this time and count it as failed, e.g. 90s, 30m or 2h."""
    runs: StorePath = "runs"
    """Folder of the store and of all output, or a URL such as s3://bucket/runs."""
    dry_run: Flag = False
    """Show what would run and for how long, and stop."""
    json: Flag = False
    """Print JSON instead of tables."""

    def experiments(self) -> "list[Experiment]":
        """Return the cells that can run, and say which defenses of an ensemble are left out."""
        cells, left_out = self.cells()
        for label, reason in left_out.items():
            terminal.say(f"left out: {label}: it {reason}")
        return cells

    def cells(self, known: "Outline | None" = None) -> "tuple[list[Experiment], dict[str, str]]":
        """Return the cells that can run, checked before any work, and which defenses are left out, with the reason.

        Args:
            known: in a dry run, what the data set holds; None asks the data set.
        """
        from howfar import engine
        from howfar.grid.dry_run import sketched
        from howfar.grid.runnable import runnable

        if self.time_limit is not None:
            to_seconds(self.time_limit)
        engine.choose_workers(self.workers, engine.choose_device(self.device))
        asked = self.suite_asked().experiments()
        tell_left_out(experiment.dataset for experiment in asked)
        return runnable(sketched(asked, self.store(), known) if self.dry_run else asked)

    def store(self) -> "Store":
        """Return the store; a dry run opens it for reading."""
        from howfar.store import open_store

        return open_store(self.runs, reading=self.dry_run)

    def suite_asked(self) -> "Suite":
        """Return the suite as it was asked for."""
        from howfar.grid.overrides import make_suite

        return make_suite(self.suite, *self._layers(), settings=self.set, single=self.single)

    def _layers(self) -> "list[Mapping[str, Any]]":
        """Return the keys of the suite that override the preset's: of the command, of the file, of options."""
        from howfar.grid.overrides import read_suite

        keys = ("dataset", "data_root", "limit_train", "limit_test", "protectors", "models", "defenses", "tasks",
                "source_tasks", "seeds", "until", "eps", "recipe")  # fmt: skip
        given = ((key, getattr(self, key, None)) for key in keys)
        flags: dict[str, Any] = {key: value for key, value in given if value is not None}
        flags |= {"download": True} if self.download else {}
        flags |= {"train": {"epochs": self.epochs}} if self.epochs is not None else {}
        layers = [read_suite(self.config)] if self.config else []
        usual = [] if self.dataset or self.suite or self.config else [self.usual]
        return [*usual, *layers, flags]

    def run(
        self, experiments: "list[Experiment]", store: "Store", request: "Record | None" = None,
        costs: "Costs | None" = None, smaller: str | None = None, log: "Log | None" = None,
        words: "Mapping[str, str] | None" = None,
    ) -> list[tuple[str, str]] | None:  # fmt: skip
        """Keep the request, run what the store lacks and return the failures; None after a dry run.

        Args:
            experiments: the cells.
            store: where records go.
            request: what was asked for.
            costs: returns the expected seconds of what the command computes itself after the run, for the estimate.
            smaller: what takes less time, for the warning of a long run; None names a suite or a number of images.
            log: logs every finished victim to a tracker; see ``howfar.engine.track``.
            words: what the progress and the plan show instead of names of steps, see ``howfar.report.words``.

        Returns:
            steps that failed, by name and error. A process that trains along with another one (torchrun) returns none:
            the other one has them.
        """
        from howfar import engine
        from howfar.engine.track import tracked
        from howfar.grid.dry_run import note_data
        from howfar.grid.estimate import memory
        from howfar.report.words import reworded
        from howfar.store import obstacle

        limit = None if self.time_limit is None else to_seconds(self.time_limit)
        device = engine.choose_device(self.device)
        workers = engine.choose_workers(self.workers, device)
        if self.follows and not self.dry_run:
            list(engine.run(experiments, store, workers=0, device=device))
            return []
        plan = Plan.of(experiments, store, workers, costs(experiments, store) if costs else {})
        if self.dry_run:
            plan.show(experiments, as_json=self.json, words=words)
            if why := obstacle(self.runs):
                terminal.say(f"warning: the run would stop at once: {why}. Choose another --runs.", style="yellow")
            plan.warn(smaller or self._smaller(experiments))
            return None
        note_data(experiments, store)
        if request is not None:
            store.save(request)
        if plan.todo or plan.after:
            terminal.say(plan.summary)
            plan.warn(smaller or self._smaller(experiments))
        events = engine.run(
            experiments, store, workers=workers, device=device, seconds=plan.seconds, limit=limit, ray=self.ray,
            memory=memory(plan.todo, store) if self.ray else None,
        )  # fmt: skip
        if words:
            events = (reworded(event, words) for event in events)
        return progress.follow(tracked(events, experiments, store, log), experiments, store)

    @property
    def follows(self) -> bool:
        """Whether this process trains along with another one, which keeps and tells what comes out."""
        from howfar import engine

        return engine.is_follower(engine.choose_device(self.device))

    def _smaller(self, experiments: "list[Experiment]") -> str:
        """Return the next smaller choice: another suite, or fewer images of one's own data set."""
        from howfar.grid.overrides import suite_name
        from howfar.grid.presets import SMALLER

        other = SMALLER.get(suite_name(self.suite, *self._layers()))
        return f"--suite {other}" if other and not self.dataset else f"--limit-train {experiments[0].counts[0] // 4}"

    def complete(
        self, experiments: "list[Experiment]", store: "Store", costs: "Costs | None" = None,
        smaller: str | None = None,
    ) -> bool:  # fmt: skip
        """Run what the store lacks and return whether all is there: not after a dry run. Arguments as of ``run``.

        Raises:
            HowfarError: if a cell failed.
        """
        failures = self.run(experiments, store, costs=costs, smaller=smaller)
        if self.follows and not self.dry_run:
            raise SystemExit(0)
        if failures:
            raise HowfarError(f"{len(failures)} runs failed, the first one {failures[0][0]}: {failures[0][1]}")
        return failures is not None


def refuse_several(experiments: "list[Experiment]", *names: str) -> None:
    """Raise ``UsageError`` unless all cells have the same model, defense or task, whichever are named."""
    kinds = sorted({tuple(getattr(cell, name).label for name in names) for cell in experiments})
    if len(kinds) > 1:
        chosen = " ".join(f"--{name}s '{label}'" for name, label in zip(names, kinds[0], strict=True))
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        raise UsageError(f"{len(kinds)} combinations of {listed}. Choose one: {chosen}.")


def untrained(cells: "list[Experiment]") -> "Iterator[nn.Module]":
    """Yield a network of every kind in a grid."""
    from howfar import arrays
    from howfar.models import build

    train = cells[0].splits.train
    task = cells[0].task.build()(train)
    for spec in {cell.model.label: cell.model for cell in cells}.values():
        yield build(spec.build(), train.shape, task.outputs, generator=arrays.seeded(0))

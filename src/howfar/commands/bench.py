"""``howfar bench``."""

import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from howfar.commands import terminal
from howfar.commands.common import Flag, Printed, option, require_page
from howfar.commands.grid import SUITES_OWN, Grid
from howfar.commands.watch import watch
from howfar.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from howfar.engine.track import Log
    from howfar.grid.experiment import Experiment
    from howfar.store import Record, Store

FAILED = 3  # exit code of a run that went through, but for some cells
SMALL_SIDE = 32  # pixels up to which crops and flips may keep a victim from learning
FIRST = 2  # seeds of every row, before anything is judged


@dataclass(kw_only=True)
class Bench(Printed, Grid):
    """Train victims on protected data and score every protector.

    Protects the training images with every protector, trains victims on them, and measures accuracy, learning
    alignment, SAL and UD. Prints the leaderboard and writes report.html. Finished steps are kept in the store, so the
    same command resumes an interrupted run.
    """

    examples: ClassVar = (
        "howfar bench --quick",
        "howfar bench --dataset digits --protectors lsp:eps=32/255,ops --models lenet5",
    )

    quick: Flag = False
    """Run the suite 'quick', which takes about a minute."""
    stop_when_broken: Flag = False
    """Run one defense after the other, and skip the rest once a protector has lost half of its protection."""
    until: Annotated[str | None, option("POINTS", SUITES_OWN)] = None
    """Add seeds until a row is known to ± this many points (drop or retention) or decided; off runs all seeds."""
    track: Annotated[str | None, option("TRACKER", "")] = None
    """Log every victim to a tracker: tensorboard:DIR, wandb[:PROJECT] or mlflow[:URI]."""
    watch: Flag = False
    """Show progress, remaining time and failures of other runs of this grid; start nothing."""
    wide: Flag = False
    """Print every table with every column, not only what fits 80 characters."""

    def __call__(self) -> int:
        from howfar.engine.track import tracker
        from howfar.store import Record, open_store

        form, log = self.form, tracker(self.track)
        if self.quick:
            if self.suite or self.config:
                raise UsageError("--quick is itself a suite. Leave out --suite and --config, or --quick.")
            self.suite = "quick"
        experiments, until = self.experiments(), self.suite_asked().until
        store = open_store(self.runs, reading=self.dry_run or self.watch)
        if self.watch:
            return watch(experiments, store, as_json=self.json)
        victims = sorted(e.steps()[1].key for e in experiments)
        asked = {"victims": victims, "command": shlex.join(["howfar", *sys.argv[1:]])}
        request = Record("bench", store.key("bench", asked), asked, "done", {}, {})
        if self.dry_run:
            self.run(experiments, store)
            if until is not None and len({e.seed for e in experiments}) > FIRST:
                terminal.say(
                    f"Upper bound: seeds are added one by one, and only until a row is known to ±{until:g} points."
                )
            return 0
        require_page()
        rounds = _Rounds(self, store, request, until, log)
        failures = rounds.by_defense(experiments) if self.stop_when_broken else rounds.by_seed(experiments)
        if self.follows:
            return 0
        if any(store.done("victim", key) for key in victims):
            from howfar.report.render import outputs
            from howfar.report.verdict import tentative
            from howfar.tables import collect

            page = collect(store, victims)
            for name, text in outputs(page).items():
                store.leave(name, text)
            terminal.show_leaderboard(page, form=form, wide=self.wide)
            seeds = {e.seed for e in experiments}
            if form == "table" and len(seeds) == 1 and tentative(page.verdicts):
                terminal.say(f"for intervals: {_with_more_seeds(sys.argv[1:], *seeds)}")
            terminal.say(f"page: {store.root / 'report.html'}")
        for label, error in failures:
            terminal.say(f"failed: {label}: {error}", style="red")
        if failures:
            terminal.say(f"{len(failures)} steps failed; the same command tries them again: {asked['command']}")
        return FAILED if failures else 0


@dataclass(frozen=True)
class _Rounds:
    """A grid that is run in parts, where each part depends on what the ones before it have shown.

    Attributes:
        grid: how to run a part.
        store: where the records are.
        request: what was asked for.
        until: see ``Suite.until``.
        log: logs every finished victim to a tracker.
    """

    grid: Grid
    store: "Store"
    request: "Record"
    until: float | None
    log: "Log | None" = None

    def by_defense(self, experiments: "list[Experiment]") -> list[tuple[str, str]]:
        """Run one defense at a time, without the protectors that are broken by then; return the failures."""
        from howfar.tables import CLEAN, broken, protection, victim
        from howfar.tables.decisions import BROKEN

        waves = {e.defense.label: [o for o in experiments if o.defense.label == e.defense.label] for e in experiments}
        failures: list[tuple[str, str]] = []
        gone: set[tuple[str, str]] = set()
        for wave in waves.values():
            specs = [(e, e.victim_spec()) for e in wave]
            left = [e for e, spec in specs if (victim(spec), protection(spec)) not in gone]
            if all(e.protector.label == CLEAN for e in left):
                break
            failures += self.by_seed(left)
            found = broken(self._finished(experiments), BROKEN)
            for name in sorted(text for key, text in found.items() if key not in gone):
                terminal.say(f"broken: {name}; no further defenses are tried")
            gone |= found.keys()
        return failures

    def by_seed(self, experiments: "list[Experiment]") -> list[tuple[str, str]]:
        """Run two seeds, then one more at a time of the rows that need them; return the failures."""
        from howfar.report.numbers import counted
        from howfar.tables import line_of, undecided
        from howfar.tables.decisions import BROKEN

        seeds = list(dict.fromkeys(e.seed for e in experiments))
        if self.until is None or len(seeds) <= FIRST:
            return self._run(experiments)
        failures = self._run([e for e in experiments if e.seed in seeds[:FIRST]])
        lines = {id(e): line_of(e.victim_spec()) for e in experiments}
        waiting = set(lines.values())
        unlearned = self._unlearned(experiments)
        waiting = {line for line in waiting if line[0] not in unlearned}
        for count, seed in enumerate(seeds[FIRST:], FIRST):
            done = [r for r in self._finished(experiments) if r.spec["seed"] in seeds[:count]]
            waiting &= undecided(done, points=self.until, holds=BROKEN, analyses=len(seeds) - FIRST + 1)
            if not waiting:
                break
            tables = {table for table, _ in waiting}
            more = [
                e for e in experiments
                if e.seed == seed and (lines[id(e)] in waiting or (_is_clean(e) and lines[id(e)][0] in tables))
            ]  # fmt: skip
            terminal.say(f"{counted(len(waiting), 'row')} undecided: adding seed {seed}")
            failures += self._run(more)
        return failures

    def _unlearned(self, experiments: "list[Experiment]") -> set[str]:
        """Return the tables whose clean victims have not learned, after saying what helps; more seeds would not."""
        from howfar.tables import line_of

        clean = {e.steps()[1].key: e for e in experiments if _is_clean(e)}
        tables: dict[str, list[Record]] = {}
        for record in self._finished(list(clean.values())):
            tables.setdefault(line_of(record.spec)[0], []).append(record)
        found = {table: records for table, records in tables.items() if not _learned(records)}
        for records in found.values():
            terminal.say(f"not learned: {_unlearned_text(records, clean[records[0].key])}", style="yellow")
        return set(found)

    def _run(self, experiments: "list[Experiment]") -> list[tuple[str, str]]:
        return self.grid.run(experiments, self.store, self.request, log=self.log) or []

    def _finished(self, experiments: "list[Experiment]") -> "list[Record]":
        keys = {e.steps()[1].key for e in experiments}
        return [record for record in self.store.records("victim") if record.key in keys and record.status == "done"]


def _with_more_seeds(arguments: "Sequence[str]", seed: int) -> str:
    """Return a command with three seeds instead of one; finished steps are kept."""
    pairs = zip(("", *arguments), arguments, strict=False)
    kept = [word for before, word in pairs if "--seeds" not in (before, word) and not word.startswith("--seeds=")]
    return shlex.join(["howfar", *kept, "--seeds", f"{seed}-{seed + 2}"])


def _is_clean(experiment: "Experiment") -> bool:
    return experiment.protector.name == "clean"


def _learned(clean: "Sequence[Record]") -> bool:
    """Return whether victims of clean images are far enough above chance for anything to follow from them."""
    from howfar.tables.decisions import learned

    first, mean = clean[0].result, sum(record.result["quality"] for record in clean) / len(clean)
    return learned(first["metric"], mean, first["chance"], higher_is_better=first["higher_is_better"])


def _unlearned_text(clean: "Sequence[Record]", experiment: "Experiment") -> str:
    """Return which victim has not learned, and what helps."""
    from howfar.report.numbers import shown, unit

    metric, chance = clean[0].result["metric"], clean[0].result["chance"]
    quality = sum(record.result["quality"] for record in clean) / len(clean)
    measure = unit(metric).replace(" in ", " ")
    reached = f"{metric} {shown(metric, quality)}{measure} (chance {shown(metric, chance)}{measure})"
    victim = f"{experiment.model.label} on clean images ({experiment.task.label}, defense {experiment.defense.label})"
    recipe, splits = experiment.recipe, experiment.splits
    options = [f"train longer (--epochs {2 * recipe.epochs})", "use another --recipe"]
    varied = [*(["crop=0"] if recipe.crop else []), *(["flip=false"] if recipe.flip and splits.flip else [])]
    if varied and min(splits.train.shape[1:]) <= SMALL_SIDE:
        options.append(f"leave out augmentation ({' '.join(f'--set train.{setting}' for setting in varied)})")
    remedy = f"{', '.join(options[:-1])} or {options[-1]}"
    return f"{victim} reaches {reached}. More seeds would decide nothing, so none are added. Instead, {remedy}."

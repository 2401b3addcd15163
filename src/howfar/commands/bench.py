"""``howfar bench``."""

import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from howfar import terminal
from howfar.commands.grid import Grid
from howfar.commands.watch import watch

if TYPE_CHECKING:
    from howfar.experiment import Experiment
    from howfar.store import Record, Store

FAILED = 3  # exit code of a run that went through, but for some cells


@dataclass(kw_only=True)
class Bench(Grid):
    """Protect, train, probe and score a grid of cells; print the leaderboard and write the page.

    Finished cells are kept in the store, so an interrupted run goes on where it stopped: just run it again.
    """

    stop_when_broken: bool = False
    """Try the defenses one after the other, and none more against a protector that has lost half of its protection."""
    watch: bool = False
    """Show what other runs of this grid are at, how long they will take and what failed; run nothing."""

    def __call__(self) -> int:
        from howfar.report.render import outputs
        from howfar.results import collect
        from howfar.store import Record, open_store, write_text

        experiments = self.experiments()
        store = open_store(self.runs)
        if self.watch:
            return watch(experiments, store, as_json=self.json)
        victims = sorted(e.steps()[1].key for e in experiments)
        asked = {"victims": victims, "command": shlex.join(["howfar", *sys.argv[1:]])}
        request = Record("bench", store.key("bench", asked), asked, "done", {}, {})
        stopping = self.stop_when_broken and not self.dry_run
        failures = self._waves(experiments, store, request) if stopping else self.run(experiments, store, request)
        if failures is None:
            return 0
        if any(store.done("victim", key) for key in victims):
            page = collect(store, victims)
            for name, text in outputs(page).items():
                write_text(store.root / name, text)
            terminal.show_leaderboard(page, as_json=self.json)
            terminal.say(f"page: {store.root / 'report.html'}")
        for label, error in failures:
            terminal.say(f"failed: {label}: {error}", style="red")
        if failures:
            terminal.say(f"{len(failures)} steps failed; the same command tries them again: {asked['command']}")
        return FAILED if failures else 0

    def _waves(
        self, experiments: "list[Experiment]", store: "Store", request: "Record"
    ) -> list[tuple[str, str]] | None:
        """Run the cells one defense at a time, without the protectors that are broken by then."""
        from howfar.report.verdict import BROKEN
        from howfar.results import CLEAN, broken, protection, victim

        waves = {e.defense.label: [o for o in experiments if o.defense.label == e.defense.label] for e in experiments}
        failures: list[tuple[str, str]] = []
        gone: set[tuple[str, str]] = set()
        keys = {e.steps()[1].key for e in experiments}
        for wave in waves.values():
            specs = [(e, e.victim_spec()) for e in wave]
            left = [e for e, spec in specs if (victim(spec), protection(spec)) not in gone]
            if all(e.protector.label == CLEAN for e in left):
                break
            failures += self.run(left, store, request) or []
            victims = [record for record in store.records("victim") if record.key in keys and record.status == "done"]
            found = broken(victims, BROKEN)
            for name in sorted(text for key, text in found.items() if key not in gone):
                terminal.say(f"broken: {name}; no more defenses are tried on it")
            gone |= found.keys()
        return failures

"""``howfar bench``."""

import shlex
import sys
from dataclasses import dataclass

from howfar import terminal
from howfar.commands.grid import Grid


@dataclass(kw_only=True)
class Bench(Grid):
    """Protect, train, probe and score a grid of cells; print the leaderboard and write the page.

    Finished cells are kept in the store, so an interrupted run goes on where it stopped: just run it again.
    """

    def __call__(self) -> int:
        from howfar.results import collect
        from howfar.store import Record, Store, write_text

        experiments = self.experiments()
        store = Store(self.runs)
        victims = sorted(e.steps()[1].key for e in experiments)
        asked = {"victims": victims, "command": shlex.join(["howfar", *sys.argv[1:]])}
        failures = self.run(experiments, store, Record("bench", store.key("bench", asked), asked, "done", {}, {}))
        if failures is None:
            return 0
        page = collect(store, victims)
        for name, text in page.outputs().items():
            write_text(self.runs / name, text)
        terminal.show_leaderboard(page, as_json=self.json)
        terminal.say(f"page: {self.runs / 'report.html'}")
        for label, error in failures:
            terminal.say(f"failed: {label}: {error}", style="red")
        return 1 if failures else 0

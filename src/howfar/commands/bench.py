"""``howfar bench``."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import UseAppendAction

from howfar import terminal
from howfar.commands.common import Common


@dataclass(kw_only=True)
class Bench(Common):
    """Protect, train, probe and score a grid of cells; print the leaderboard and write the page.

    Finished cells are kept in the store, so an interrupted run goes on where it stopped: just run it again.
    """

    dataset: str | None = None
    """Data set, e.g. digits, cifar10, folder:photos[size=32], npz:file.npz (see: howfar list datasets)."""
    data_root: Path | None = None
    """Folder or file of the data set."""
    download: bool = False
    """Fetch the data set where it is missing."""
    limit_train: str | None = None
    """Class-balanced, seeded subset of the training images; 'all' takes all."""
    limit_test: str | None = None
    """The same of the test images."""
    protectors: str | None = None
    """Comma-separated, e.g. em,lsp[eps=6/255]; clean is always added."""
    models: str | None = None
    """Victims, e.g. resnet8,resnet18[width=16]."""
    defenses: str | None = None
    """What learners do against protection, e.g. none,jpeg:75,cutout."""
    seeds: str | None = None
    """E.g. 0-4 or 0,7."""
    epochs: str | None = None
    """Epochs of every victim."""
    eps: str | None = None
    """L∞ radius for every protector that has one and does not set its own, e.g. 8/255."""
    suite: str | None = None
    """Preset to start from: quick, standard or paper (default: quick, or standard with --dataset)."""
    config: Path | None = None
    """TOML file with the keys of a suite; flags win over it."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Any key, e.g. --set train.lr=0.05; may be repeated."""
    device: str = "auto"
    """auto, cpu or cuda."""
    workers: int | None = None
    """Processes at a time (default: one a core, on a GPU one)."""
    runs: Path = Path("runs")
    """Folder of the store, the leaderboard and the page."""
    dry_run: bool = False
    """Show the cells and an estimate of the time; do nothing."""
    json: bool = False
    """Print the leaderboard as JSON."""

    def __call__(self) -> int:
        from howfar import engine
        from howfar.results import collect
        from howfar.store import Record, Store, write_text
        from howfar.suite import check_data, make_suite, read_suite

        flags = {k: v for k in ("dataset", "data_root", "limit_train", "limit_test", "protectors", "models",
                 "defenses", "seeds", "eps") if (v := getattr(self, k)) is not None}  # fmt: skip
        flags |= {"download": True} if self.download else {}
        flags |= {"train": {"epochs": self.epochs}} if self.epochs is not None else {}
        layers = [read_suite(self.config)] if self.config else []
        experiments = make_suite(self.suite, *layers, flags, settings=self.set).experiments()
        device = engine.choose_device(self.device)
        workers = engine.choose_workers(self.workers, device)
        check_data(experiments)
        store = Store(self.runs)
        if self.dry_run:
            return _dry_run(experiments, store, workers, as_json=self.json)
        victims = sorted(e.steps()[1].key for e in experiments)
        asked = {"victims": victims, "command": shlex.join(["howfar", *sys.argv[1:]])}
        store.save(Record("bench", store.key("bench", asked), asked, "done", {}, {}))
        failures = terminal.follow(engine.run(experiments, store, workers=workers, device=device), experiments, store)
        page = collect(store, victims)
        for name, text in page.outputs().items():
            write_text(self.runs / name, text)
        terminal.show_leaderboard(page, as_json=self.json)
        terminal.say(f"page: {self.runs / 'report.html'}")
        for label, error in failures:
            terminal.say(f"failed: {label}: {error}", style="red")
        return 1 if failures else 0


def _dry_run(experiments: list[Any], store: Any, workers: int, *, as_json: bool) -> int:
    from howfar.engine import plan
    from howfar.estimate import estimate

    todo, ready = plan(experiments, store)
    seconds = estimate(todo, store)
    total = sum(seconds.values()) / workers
    if as_json:
        steps = [{"step": s.label, "key": s.key, "seconds": round(seconds[s.key], 1)} for s in todo]
        terminal.show_json({"todo": steps, "ready": len(ready), "workers": workers, "seconds": round(total, 1)})
        return 0
    terminal.show_table(["step to do", "about"], [[step.label, terminal.duration(seconds[step.key])] for step in todo])
    about = f"about {terminal.duration(total)} with {workers} worker(s)"
    terminal.out(f"{len(todo)} steps to do, {len(ready)} in the store; {about}.")
    return 0

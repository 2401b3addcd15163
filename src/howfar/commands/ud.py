"""``howfar ud``."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional, UseAppendAction

from howfar.commands import progress, terminal
from howfar.commands.common import Common, Device, Flag, StorePath, Workers, opened, option, require_page, tell_left_out
from howfar.errors import HowfarError, UsageError

if TYPE_CHECKING:
    from howfar.store import Record, Store


@dataclass(kw_only=True)
class Ud(Common):
    """Compute the unlearnable distance (UD) of two runs or image sets.

    UD near 0 means unlearnable, 1 means as learnable as clean data. Name two finished runs of howfar bench by key,
    record file or protector. Or give --clean and --poisoned, two folders with one subfolder per class: victims are then
    trained on both and kept in the store.
    """

    examples: ClassVar = (
        "howfar ud clean ops --model lenet5 --defense none",
        "howfar ud --clean photos --poisoned cloaked",
    )

    clean_run: Annotated[Positional[str | None], option("[CLEAN]", "")] = None
    """Clean run: key, start of a key, record file, or 'clean'."""
    poisoned_run: Annotated[Positional[str | None], option("[POISONED]", "")] = None
    """Poisoned run, in the same way, or a protector such as em:class."""
    clean: Annotated[str | None, option("DATA", "")] = None
    """Folder or data set of clean images, e.g. photos or npz:file.npz."""
    poisoned: Annotated[str | None, option("DATA", "")] = None
    """Folder or data set of protected images with the same classes."""
    size: Annotated[int, option("PIXELS")] = 32
    """Side length to which images of a folder are resized."""
    model: Annotated[str | None, option("NAME", "resnet8")] = None
    """Victim network. With two runs: selects one of several victims."""
    defense: Annotated[str | None, option("NAME", "none")] = None
    """Defense of the learner. With two runs: selects one of several."""
    seeds: Annotated[str, option("SEEDS")] = "0-2"
    """Seeds, e.g. 0-4 or 0,7."""
    epochs: Annotated[str, option("N")] = "10"
    """Training epochs of every victim."""
    confidence: Annotated[float, option("SHARE")] = 0.95
    """Confidence level of the interval."""
    set: Annotated[UseAppendAction[tuple[str, ...]], option("KEY=VALUE")] = ()
    """Set any key of a suite, e.g. train.lr=0.05."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    workers: Workers = None
    """Worker processes; 0 runs everything in this process."""
    runs: StorePath = "runs"
    """Folder or URL of the store."""
    output: Annotated[Path | None, option("FILE", "ud.html in the store's folder", "-o")] = None
    """HTML page with the heat map of SAL."""
    json: Flag = False
    """Print JSON, with the SAL margin of every layer and epoch."""

    def __call__(self) -> int:
        from howfar.report.render import render
        from howfar.score import to_json
        from howfar.store import open_store, write_text
        from howfar.tables.ud import compare

        require_page()
        if not 0 < self.confidence < 1:
            raise UsageError(f"--confidence {self.confidence} is no share. Take a number such as 0.95.")
        label = None
        learning = bool(self.clean and self.poisoned)
        store = open_store(self.runs) if learning else opened(self.runs)
        if self.clean and self.poisoned and self.clean_run is None:
            label = Path(self.poisoned).stem
            first, second = self._learned(store, self.clean), self._learned(store, self.poisoned)
        elif self.clean_run and self.poisoned_run and not (self.clean or self.poisoned):
            first, second = (self._selected(store, text) for text in (self.clean_run, self.poisoned_run))
        else:
            raise UsageError("give two runs, or --clean and --poisoned. See howfar ud --help.")
        distance, page = compare(first, second, confidence=self.confidence, label=label)
        output = (
            self.output
            or (store.root if os.access(store.root, os.W_OK) and not Path(self.runs).is_file() else Path()) / "ud.html"
        )
        write_text(output, render(page), follow=self.output is not None)
        row = next(row for row in page.rows if row.protector != "clean")
        if self.json:
            found = {**to_json(distance.ud), **{key: value for key, value in vars(distance).items() if key != "ud"}}
            terminal.show_json({**found, "clean": row.clean, "poisoned": row.poisoned, "drop": row.drop.value})
        else:
            terminal.show_distance(distance, row, confidence=self.confidence)
            terminal.say(f"page: {output}")
        return 0

    def _selected(self, store: "Store", text: str) -> "list[Record]":
        from howfar.tables.ud import select

        return select(store, text, model=self.model, defense=self.defense)

    def _learned(self, store: "Store", text: str) -> "list[Record]":
        """Train and probe what the store lacks; both kinds are tested on the clean test images."""
        from dataclasses import replace

        from howfar import engine
        from howfar.data import source
        from howfar.grid.overrides import make_suite
        from howfar.grid.runnable import check_data

        flags: dict[str, Any] = {
            "dataset": _dataset(text, self.size), "protectors": "clean", "models": self.model or "resnet8",
            "defenses": self.defense or "none", "seeds": self.seeds, "recipe": "sgd",
            # Whatever a suite trains with: small batches and no augmentation, so that shortcuts are learned.
            "train": {"epochs": self.epochs, "batch_size": 32, "lr": 0.05, "crop": 0, "flip": False},
        }  # fmt: skip
        source(flags["dataset"])  # says so where there is no such folder
        clean = source(_dataset(self.clean or "", self.size))
        experiments = make_suite("standard", flags, settings=self.set).experiments()
        tell_left_out(experiment.dataset for experiment in experiments)
        if text != self.clean:
            experiments = [replace(experiment, test_dataset=clean) for experiment in experiments]
        check_data(experiments)
        device = engine.choose_device(self.device)
        workers = engine.choose_workers(self.workers, device)
        failures = progress.follow(engine.run(experiments, store, workers=workers, device=device), experiments, store)
        if failures:
            raise HowfarError(f"{failures[0][0]}: {failures[0][1]}")
        found = [store.find("victim", experiment.steps()[1].key) for experiment in experiments]
        return [record for record in found if record is not None]


def _dataset(text: str, size: int) -> str:
    return f"folder:{text}[size={size}]" if Path(text).is_dir() else text

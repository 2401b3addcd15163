"""``howfar generate``, ``howfar validate`` and ``howfar export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional

from howfar.commands import progress, terminal
from howfar.commands.common import Common, Device, Flag, option, tell_left_out
from howfar.errors import UsageError

if TYPE_CHECKING:
    from howfar.data import Data
    from howfar.grid.experiment import Experiment


@dataclass(kw_only=True)
class Source(Common):
    """Which images."""

    dataset: Annotated[str | None, option("NAME", "digits", "-d")] = None
    """Data set, e.g. digits, cifar10, folder:photos (see: howfar list datasets)."""
    data_root: Annotated[Path | None, option("PATH", "~/.cache/howfar")] = None
    """Folder or file that holds the data set."""
    download: Flag = False
    """Download the data set if it is missing."""
    limit_train: Annotated[str | None, option("N", "all")] = None
    """Training images to use: a class-balanced subset drawn with a fixed seed, or 'all'."""

    def experiment(
        self, protector: str, seed: int, source_task: str | None = None, *, sketch: bool = False
    ) -> "Experiment":
        """Return the cell with this protected set.

        Args:
            protector: its label.
            seed: of all randomness.
            source_task: what the protection is crafted against; None is the first one of the data set's suite.
            sketch: tell what the data set holds without loading it.
        """
        from howfar.grid.dry_run import sketched
        from howfar.grid.overrides import make_suite, suite_name
        from howfar.grid.presets import SUITES
        from howfar.grid.runnable import check_data

        suite = SUITES[suite_name(None, {"dataset": self.dataset or "digits"})]
        source_task = source_task or suite.get("source_tasks", ("classification",))[0]
        flags: dict[str, Any] = {
            "dataset": self.dataset or "digits", "protectors": [protector], "models": "linear", "defenses": "none",
            "seeds": str(seed), "limit_train": self.limit_train or "all", "held_out": 0, "eps": None,
        }  # fmt: skip
        flags |= {"data_root": self.data_root} if self.data_root else {}
        flags |= {"download": True} if self.download else {}
        flags |= {"tasks": source_task, "source_tasks": source_task}
        cells = make_suite("digits", flags).experiments()
        chosen = cells[-1] if protector != "clean" else cells[0]
        chosen = sketched([chosen])[0] if sketch else chosen
        check_data([chosen], victims=False)
        return chosen


@dataclass(kw_only=True)
class Generate(Source):
    """Protect the training images of a data set.

    Writes the protected images with their noise, its size, the method and digests. The same command resumes an
    interrupted run. A folder that holds another protected set is refused (see --overwrite).
    """

    examples: ClassVar = (
        "howfar generate -d digits -p em -o poison/em",
        "howfar generate -d digits -p lsp:eps=32/255 -o poison/lsp",
    )

    protector: Annotated[str, option("NAME", None, "-p")]
    """Protector, e.g. em:eps=8/255, ops, tap:paper (see: howfar list protectors)."""
    output: Annotated[Path, option("FOLDER", None, "-o")]
    """Folder to write."""
    source_task: Annotated[str | None, option("NAME", "classification; class_scene for rooms")] = None
    """Source task that the protection is crafted against, e.g. segment_semantic (see: howfar list tasks)."""
    seed: Annotated[int, option("N")] = 0
    """Seed of all randomness."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    overwrite: Flag = False
    """Replace the protected set that the folder holds."""
    dry_run: Flag = False
    """Estimate the time without loading the data, and stop."""
    json: Flag = False
    """Print the manifest as JSON."""

    def __call__(self) -> int:
        from howfar import arrays, engine
        from howfar.grid.dry_run import notes_of
        from howfar.grid.estimate import seconds_to_protect
        from howfar.poison import artifact
        from howfar.protectors import Draft
        from howfar.store.clock import Clock

        device = engine.choose_device(self.device)
        experiment = self.experiment(self.protector, self.seed, self.source_task, sketch=self.dry_run)
        spec = experiment.protector
        self._check_output(experiment)
        tell_left_out([experiment.dataset])
        expected = seconds_to_protect(experiment)
        count = experiment.counts[0]
        terminal.say(f"{spec.label} on {count} images: at most about {terminal.duration(expected)} on one core")
        if self.dry_run:
            for note in notes_of([experiment]):
                terminal.say(f"Estimated: {note}")
            return 0
        clean = experiment.splits.train
        clock, method = Clock(device), spec.build()
        data, task = experiment.source()
        artifact.cleared(self.output)
        self.output.mkdir(parents=True, exist_ok=True)
        draft = Draft(self.output / f".{experiment.steps()[0].key}.draft")
        generator = arrays.seeded(self.seed, "protect")
        work = method.progress(data, task, generator=generator, device=device, draft=draft)
        protected: Data = clean.with_pixels(progress.watch(work, spec.label).pixels)
        made = clock.stop()
        # What needs no gradients may give a class one noise.
        usual = "sample" if method.norm == "L∞" and method.passes else None
        about = {
            "method": spec.label, "settings": dict(spec.settings), "norm": method.norm, "seed": self.seed,
            "granularity": spec.settings.get("granularity", usual),
            "source_task": experiment.source_task.label, "target": task.target,
            "dataset": experiment.protect_spec()["dataset"], "limit_train": self.limit_train or "all", "made": made,
            "notes": draft.notes,
        }  # fmt: skip
        manifest = artifact.write(self.output, clean, protected, about)
        draft.discard()
        if self.json:
            terminal.show_json(manifest)
        else:
            terminal.show_budget(manifest["budget"])
            terminal.say(f"written: {self.output}")
        return 0

    def _check_output(self, experiment: "Experiment") -> None:
        """Refuse an output that holds other files, or another set that shall stay."""
        from howfar.poison import artifact

        if self.output.exists() and not self.output.is_dir():
            raise UsageError(f"{self.output} is a file, not a folder. Choose another name.")
        if self.output.exists() and not artifact.ours(self.output):
            raise UsageError(f"{self.output} holds other files. Choose an empty folder.")
        if self.overwrite:
            return
        data = experiment.protect_spec()["dataset"]
        wanted = {
            "method": experiment.protector.label, "seed": self.seed, "source_task": experiment.source_task.label,
            "dataset": {"label": data["label"]} if experiment.sketch else data,
        }  # fmt: skip
        other = artifact.difference(self.output, wanted)
        if other:
            raise UsageError(
                f"{self.output} holds another protected set: its {other}. Choose another folder, or give --overwrite."
            )


@dataclass(kw_only=True)
class Validate(Source):
    """Check the integrity of a protected set or a leaderboard row.

    Checks digests, counts, ids, labels and the size of the noise, and looks for broken images, noise without negative
    values and noise that images share. With --dataset, also compares the set with the clean images it was made from. In
    imported sets, missing negative values and shared noise are only reported as doubtful. Exports hold no noise and
    cannot be checked. For a leaderboard row (a file), checks that its numbers follow from its runs. Exits with code 1
    if anything is wrong.
    """

    examples: ClassVar = ("howfar validate poison/em", "howfar validate poison/em --dataset digits")

    folder: Annotated[Positional[Path], option("PATH")]
    """Folder written by howfar generate, or row written by howfar submit."""
    dataset: Annotated[str | None, option("NAME", "", "-d")] = None
    """Clean data set to compare with, e.g. digits."""
    limit_train: Annotated[str | None, option("N", "as the protected set")] = None
    """Training images to compare with, or 'all'."""
    json: Flag = False
    """Print JSON instead of text."""

    def __call__(self) -> int:
        from howfar.poison import artifact, validation

        if self.folder.is_file() and self.folder.suffix != ".npz":
            return self._row()
        found = artifact.read(self.folder)
        source = found.manifest.get("source_task")
        if self.limit_train is None:  # sets of older versions do not say it
            self.limit_train = str(found.manifest.get("limit_train", len(found.data)))
        clean = None if self.dataset is None else self.experiment("clean", 0, source).splits.train
        wrong, odd = list(validation.faults(found, clean)), list(validation.doubts(found))
        if self.json:
            terminal.show_json({"folder": str(self.folder), "faults": wrong, "doubts": odd})
        else:
            for fault in wrong:
                terminal.tell(f"{self.folder}: {fault}")
            if not wrong:
                compared = "" if clean is None else " and compared with the clean set"
                sound = "nothing is wrong" if not odd else "they are as they were written"
                terminal.tell(f"{self.folder}: {len(found.data)} images checked{compared}, {sound}.")
            for doubt in odd:
                terminal.tell(f"{self.folder}: doubtful: {doubt}")
        return 1 if wrong else 0

    def _row(self) -> int:
        from howfar.tables.entry_file import faults, read

        wrong = list(faults(self.folder))
        doubts = [] if wrong else read(self.folder).doubts()
        if self.json:
            terminal.show_json({"row": str(self.folder), "faults": wrong, "unreliable": doubts})
        else:
            for fault in wrong:
                terminal.tell(f"{self.folder}: {fault}")
            if not wrong:
                flag = f" It is unreliable: {'; '.join(doubts)}." if doubts else ""
                terminal.tell(f"{self.folder}: what it says follows from its runs.{flag}")
        return 1 if wrong else 0


@dataclass(kw_only=True)
class Export(Common):
    """Export a protected set as images or as one .npz file.

    Images are lossless PNGs with a manifest. With --jpeg, the perturbation is measured again, as compression changes
    it.
    """

    examples: ClassVar = ("howfar export poison/em -o images", "howfar export poison/em -o em.npz")

    folder: Annotated[Positional[Path], option("FOLDER")]
    """Folder written by howfar generate."""
    output: Annotated[Path, option("PATH", None, "-o")]
    """New folder for images, or a file that ends in .npz."""
    jpeg: Annotated[int | None, option("QUALITY", "lossless PNG")] = None
    """Write lossy JPEGs of this quality, 1 to 100."""
    overwrite: Flag = False
    """Replace an earlier export."""
    json: Flag = False
    """Print the size of the perturbation as JSON."""

    def __call__(self) -> int:
        from howfar.poison import artifact, export

        budget = export.export(artifact.read(self.folder), self.output, jpeg=self.jpeg, overwrite=self.overwrite)
        if self.json:
            terminal.show_json(budget)
        else:
            terminal.show_budget(budget)
            terminal.say(f"written: {self.output}")
        return 0

"""``howfar verify``: does the protection of these photographs hold?"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional, UseAppendAction

from howfar.commands import terminal, verify_cells
from howfar.commands.common import Common, Device, Flag, StorePath, Workers, option, require_page
from howfar.errors import UsageError, unknown

if TYPE_CHECKING:
    from howfar.commands.verify_cells import Planned
    from howfar.data import Data
    from howfar.photos.losses import Loss
    from howfar.photos.trainable import Trainable
    from howfar.photos.verification import Tried
    from howfar.report.photographs import LossRow
    from howfar.store import Store
    from howfar.tables.page import Page

UNMET = 4  # exit code if a requirement is not met


@dataclass(kw_only=True)
class Verify(Common):
    """Test whether the protection of photographs holds.

    Trains networks on the originals and on the protected copies, with paired seeds: on the copies as they are, after
    typical upload processing, with the worst-case defenses, and on tasks that need no labels. The verdict is holds,
    does not hold or cannot tell; an open verdict says how many photographs and seeds would decide it. Needs 20
    photographs of two kinds. The same command resumes an interrupted run.
    """

    examples: ClassVar = (
        "howfar verify photos protected",
        "howfar verify photos protected --pretrain cifar100.npz",
    )

    photos: Annotated[Positional[Path], option("PHOTOS")]
    """Folder of the originals."""
    protected: Annotated[Positional[Path], option("PROTECTED")]
    """Folder written by howfar protect, or another one with the same file names."""
    size: Annotated[int, option("PIXELS")] = 32
    """Side length at which networks see the photographs, 32 to 224."""
    model: Annotated[str, option("NAME")] = "resnet8[width=8]"
    """Victim network (see: howfar list models)."""
    pretrain: Annotated[str, option("DATA", "")] = ""
    """Other photographs (folder or data set, e.g. cifar100): adds a network pretrained on them and fine-tuned."""
    defenses: Annotated[str, option("NAMES")] = "worst"
    """Defenses that the learner tries, or none."""
    tasks: Annotated[str, option("NAMES")] = "edge_texture,autoencoding"
    """Tasks without labels to test as well, or '' for none."""
    ways: Annotated[str, option("NAMES")] = "as-is,jpeg-75,halved,screenshot,cropped"
    """Processing of the photographs before training. --require judges the first one."""
    shares: Annotated[str, option("SHARES")] = "0.5"
    """Shares of protected photographs to test in addition to 1, or '' for none."""
    seeds: Annotated[str, option("SEEDS")] = "0-2"
    """Seeds, e.g. 0-4. A verdict needs at least two."""
    epochs: Annotated[str, option("N", "20, more for few photographs")] = ""
    """Training epochs of every victim."""
    require: Annotated[UseAppendAction[tuple[str, ...]], option("RULE")] = ()
    """Exit with code 4 unless the mean over seeds meets this: drop>=30 (points) or kept>=50 (percent, worst case)."""
    workers: Workers = None
    """Worker processes; 0 runs everything in this process."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    runs: StorePath = "verify"
    """Folder of the store and of the page."""
    dry_run: Flag = False
    """Show what would run and for how long, and stop."""
    json: Flag = False
    """Print JSON instead of text."""

    def __call__(self) -> int:
        from howfar.photos.pretraining import other_photographs
        from howfar.photos.verification import Tried, demanded, too_few
        from howfar.store import open_store

        require_page()
        if not 16 <= self.size <= 512:
            raise UsageError(f"--size {self.size} is out of range. Take 32 to 224.")
        chosen = self._chosen()
        tries = chosen.labeled and self.defenses != "none"
        for demand in self.require:
            demanded(demand, ("drop", "kept") if tries else ("drop",))
        if not chosen.enough:
            return self._end(too_few(chosen), [], Tried())
        others = other_photographs(self.pretrain, self.size) if self.pretrain and chosen.labeled else None
        store = open_store(self.runs, reading=self.dry_run)
        data, copies = self._prepared(chosen, store.root)
        planned, left_out = verify_cells.planned(self, chosen, data, copies, self._weights(others, store.root))
        # One plan for all: they share their clean victims and protected sets.
        cells = [experiment for _, experiments in planned for experiment in experiments]
        if self.dry_run and chosen.labeled and not self.json:
            terminal.tell(_power(len(chosen.test)))
        words = verify_cells.names(copies, planned)
        grid = planned[0][0]
        failures = grid.run(cells, store, smaller="--defenses none, or fewer --ways or --epochs", words=words)
        if failures is None or grid.follows:
            return 0
        left_out |= verify_cells.failed(cells, store, failures)
        return self._judge(store, planned, copies, left_out, len(chosen.pairs))

    def _weights(self, others: "Data | None", root: Path) -> Path | None:
        """Return the file of the pretrained network, trained on others if it is not there yet; None without others."""
        from howfar.photos.pretraining import pretrained

        if others is None or self.dry_run:
            return None
        terminal.say(f"pretraining on {len(others)} images of {self.pretrain}; once, then kept in {root}")
        folder = root / "seen"
        folder.mkdir(parents=True, exist_ok=True)
        return pretrained(others, self.model, folder)

    def _judge(
        self, store: "Store", planned: "Planned", copies: dict[str, Path], left_out: dict[str, str], photographs: int
    ) -> int:
        """Write the pages and say what was found; returns the exit code."""
        from howfar.photos.losses import losses_of
        from howfar.photos.verification import Tried, sentences
        from howfar.report.render import render
        from howfar.report.words import reworded
        from howfar.tables import collect
        from howfar.tables.groups import grouped

        keys = {
            experiment.steps()[1].key: experiment
            for _, experiments in planned for experiment in experiments
            if experiment.defense.label not in left_out
        }  # fmt: skip
        page = collect(store, [key for key, one in keys.items() if one.model.name != "pretrained"])
        done = [record for record in store.records("victim") if record.key in keys and record.status == "done"]
        order = [*copies, *(f"{share:.0%}" for share in self.chosen_shares)]
        losses = losses_of(grouped(done), {str(path): way for way, path in copies.items()}, order)
        first = verify_cells.protector(copies[self.chosen_ways[0]])
        tried = Tried(*_tried(page, first), left_out, self.pretrain)
        text = sentences(losses, self.model, tried, photographs)
        words = verify_cells.names(copies, planned)
        store.leave("details.html", render(reworded(replace(page, opening=text), words)))
        return self._end(text, losses, tried, store)

    def _end(self, text: list[str], losses: "list[Loss]", tried: "Tried", store: "Store | None" = None) -> int:
        """Write the page and say what was found; returns the exit code."""
        from howfar.photos.verification import required
        from howfar.report.photographs import render

        known = bool(losses) and losses[0].task == "classification" and losses[0].learned
        measured = {
            "drop": 100 * losses[0].drop.value if known else math.nan,
            "kept": 100 * tried.worst.kept.value if tried.worst and known else math.nan,
        }
        demands = [required(demand, measured) for demand in self.require]
        outcomes = [sentence for _, sentence in demands]
        if store is not None:
            rows = [_row(loss) for loss in losses if loss.task == "classification"]
            store.leave("report.html", render(text, rows, losses[0].chance if rows else None))
        self._tell(text, losses, outcomes, None if store is None else store.root / "report.html")
        return 0 if all(met for met, _ in demands) else UNMET

    @property
    def chosen_shares(self) -> list[float]:
        """The shares of protected photographs that --shares names."""
        try:
            return [float(share) for share in self.shares.split(",") if share.strip()]
        except ValueError:
            raise UsageError(f"'{self.shares}' are no shares. Write e.g. 0.2,0.5.") from None

    @property
    def chosen_ways(self) -> list[str]:
        """What --ways names; the first one is judged by --require."""
        from howfar.photos.pairs import WAYS

        found = [way for way in self.ways.split(",") if way.strip()]
        for way in found:
            if way not in WAYS:
                raise unknown("way", way, WAYS)
        if not found:
            raise UsageError("--ways is empty. Take as-is at least.")
        return found

    def _chosen(self) -> "Trainable":
        """Return which photographs train and which test, read from names alone."""
        from howfar.data.tree import images_of, summary, unlabeled
        from howfar.photos import photographs
        from howfar.photos.pairs import pairs_of
        from howfar.photos.trainable import Trainable
        from howfar.photos.verification import small_kinds

        if self.photos.resolve() == self.protected.resolve():
            raise UsageError(
                f"{self.photos} and {self.protected} are the same folder, so nothing is protected. Give the originals "
                "and the folder that howfar protect wrote."
            )
        pairs = pairs_of(self.photos, self.protected)
        tree = photographs(self.photos)
        chosen = Trainable.of(pairs)
        for sentence in (summary(images_of(tree.left_out)), unlabeled(tree.names), small_kinds(chosen.left_out)):
            if sentence:
                terminal.say(sentence)
        return chosen

    def _prepared(self, chosen: "Trainable", root: Path) -> tuple[Path, dict[str, Path]]:
        """Write the photographs as a learner sees them; returns their file, and those of the copies.

        A dry run writes nothing.
        """
        folder = root / "seen"
        data, copies = folder / "originals.npz", {way: folder / f"{way}.npy" for way in self.chosen_ways}
        if not self.dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            chosen.write(self.photos, self.protected, data, copies, self.size)
        return data, copies

    def _tell(self, text: list[str], losses: "list[Loss]", demands: list[str], page: Path | None) -> None:
        if self.json:
            terminal.show_json({"verdict": text, "losses": [loss.as_dict() for loss in losses], "required": demands})
            return
        for sentence in [*text, *demands]:
            terminal.tell(sentence)
        if page is not None:
            terminal.say(f"page: {page}")


def _power(count: int) -> str:
    """Return what so few test photographs can tell, however many seeds there are.

    The drop is between two shares of correct predictions, each with a variance of at most 1/4 divided by their number.
    """
    from howfar.tables.decisions import QUANTILE

    points = 100 * QUANTILE * math.sqrt(0.5 / count)
    return (
        f"{count} test photographs: a drop of accuracy below about {points:.0f} points cannot be told from none, "
        "however many seeds are run. More photographs lower that."
    )


def _row(loss: "Loss") -> "LossRow":
    """Return a line of the page."""
    from howfar.photos.verification import AFTER
    from howfar.report.photographs import LossRow

    way = AFTER.get(loss.way, f"{loss.way} of the photographs protected")
    name = way if loss.learner == "from scratch" else f"{way}, {loss.learner}"
    return LossRow(name, loss.clean, loss.protected, loss.drop.value, loss.drop.ends, loss.decision.outcome)


def _tried(page: "Page", name: str) -> tuple[Any, Any]:
    """Return the worst case of a protection and its verdict over all defenses; None for what is not known."""
    worst = next((p.worst[name] for p in page.profiles if name in p.worst and p.task == "classification"), None)
    each = next((one for one in page.verdicts if one.protector == name and one.task == "classification"), None)
    return worst, each

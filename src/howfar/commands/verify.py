"""``howfar verify``: does the protection of these photographs hold?"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional, UseAppendAction

from howfar import terminal
from howfar.commands.common import Common, Device, Flag, StorePath, Workers, option, require_page
from howfar.commands.grid import Grid
from howfar.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from howfar.data.outline import Outline
    from howfar.grid.experiment import Experiment
    from howfar.photos.pairs import Pair
    from howfar.photos.verification import Loss
    from howfar.store import Record, Store
    from howfar.tables.groups import VictimGroup

UNMET = 4  # exit code if a requirement is not met
RECIPE = ("optimizer=adam", "lr=0.005", "batch_size=32", "crop=0", "flip=true")  # whatever the suites train with
LEAST = 40  # photographs below which nothing can be learned, protected or not


@dataclass(kw_only=True)
class Verify(Common):
    """Test whether the protection of photographs holds.

    Trains networks from scratch on the originals and on the protected copies, with paired seeds: on the copies as they
    are, after what uploads do to images, under the defenses of the worst case, and on tasks that need no labels. Needs
    40 photographs or more. The verdict is "cannot tell" if the networks do not learn the originals, if only one seed
    was run, or if the interval is too wide; it says what is missing. The same command resumes an interrupted run.
    """

    examples: ClassVar = (
        "howfar verify photos protected",
        "howfar verify photos protected --seeds 0-4 --require 'drop>=30'",
    )

    photos: Annotated[Positional[Path], option("PHOTOS")]
    """Folder of the originals."""
    protected: Annotated[Positional[Path], option("PROTECTED")]
    """Folder written by howfar protect, or another one with the same file names."""
    size: Annotated[int, option("PIXELS")] = 32
    """Side length at which networks see the photographs, 32 to 224."""
    model: Annotated[str, option("NAME")] = "resnet8[width=8]"
    """Victim network (see: howfar list models)."""
    defenses: Annotated[str, option("NAMES")] = "worst"
    """Defenses that the learner tries, or none."""
    tasks: Annotated[str, option("NAMES")] = "edge_texture,autoencoding"
    """Tasks without labels to test as well, or '' for none."""
    ways: Annotated[str, option("NAMES")] = "as-is,jpeg-75,halved,screenshot"
    """What happens to the photographs before training. --require judges the first one."""
    shares: Annotated[str, option("SHARES")] = "0.5"
    """Shares of protected photographs to test besides all of them, or '' for none."""
    seeds: Annotated[str, option("SEEDS")] = "0-2"
    """Seeds, e.g. 0-4. A verdict needs at least two."""
    epochs: Annotated[str, option("N")] = "20"
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
        from howfar.photos.verification import demanded
        from howfar.store import open_store

        require_page()
        if not 16 <= self.size <= 512:
            raise UsageError(f"--size {self.size} makes no sense. Take 32 to 224.")
        chosen = self._chosen()
        tries = chosen.labeled and self.defenses != "none"
        for demand in self.require:
            demanded(demand, ("drop", "kept") if tries else ("drop",))
        store = open_store(self.runs, reading=self.dry_run)
        data, copies = self._prepared(chosen, store.root)
        left_out: dict[str, str] = {}
        planned: list[tuple[Grid, list[Experiment]]] = []
        for grid in self._grids(data, copies, len(chosen.train), labeled=chosen.labeled):
            experiments, gone = grid.cells(chosen.outline(self.size))
            planned.append((grid, experiments))
            left_out |= gone
        for label, reason in left_out.items():
            terminal.say(f"left out: {label}: it {reason}")
        # One plan for all: they share their clean victims and protected sets.
        cells = [experiment for _, experiments in planned for experiment in experiments]
        if self.dry_run and chosen.labeled and not self.json:
            terminal.tell(_power(len(chosen.test)))
        if not planned[0][0].complete(cells, store, smaller="--defenses none, or fewer --ways or --epochs"):
            return 0
        return self._judge(store, planned, copies, left_out)

    def _judge(
        self, store: "Store", planned: "list[tuple[Grid, list[Experiment]]]", copies: dict[str, Path],
        left_out: dict[str, str],
    ) -> int:  # fmt: skip
        """Write the page and say what was found; returns the exit code."""
        from howfar.photos.verification import required, sentences
        from howfar.report.render import render
        from howfar.report.words import reworded
        from howfar.tables import collect
        from howfar.tables.groups import grouped

        keys = [experiment.steps()[1].key for _, experiments in planned for experiment in experiments]
        page = collect(store, keys)
        names = {f"import:{path}": way for way, path in copies.items()}
        done = [record for record in store.records("victim") if record.key in keys and record.status == "done"]
        losses = _losses(grouped(done), copies, self._shares)
        worst = next(
            (p.worst[name] for p in page.profiles for name in p.worst if names.get(name) == self._ways[0]), None
        )
        text = sentences(losses, self.model, worst, left_out)
        first = losses[0]
        measured = {
            "drop": 100 * first.drop.value if first.learned else math.nan,
            "kept": 100 * worst.kept.value if worst and first.learned else math.nan,
        }
        demands = [required(demand, measured) for demand in self.require]
        store.leave("report.html", render(reworded(replace(page, opening=text), self._words(copies, planned))))
        self._tell(text, losses, [sentence for _, sentence in demands], store.root / "report.html")
        return 0 if all(met for met, _ in demands) else UNMET

    def _words(self, copies: dict[str, Path], planned: "list[tuple[Grid, list[Experiment]]]") -> dict[str, str]:
        """Return what the page calls the copies and the photographs, instead of the files they are read from."""
        from howfar.photos.verification import AFTER

        specs = [experiment.steps()[1].spec for _, experiments in planned for experiment in experiments]
        words = {spec["dataset"]["label"]: "your photographs" for spec in specs}
        for spec in specs:
            way = _way_of_settings(spec["protector"], {str(path): way for way, path in copies.items()})
            if way:
                after = AFTER.get(way, f"{way} of the photographs").lower()
                words[spec["protector"]["label"]] = f"protected, {after}"
        return words

    @property
    def _shares(self) -> list[float]:
        try:
            return [float(share) for share in self.shares.split(",") if share.strip()]
        except ValueError:
            raise UsageError(f"'{self.shares}' are no shares. Write e.g. 0.2,0.5.") from None

    @property
    def _ways(self) -> list[str]:
        from howfar.photos.pairs import WAYS

        found = [way for way in self.ways.split(",") if way.strip()]
        for way in found:
            if way not in WAYS:
                raise unknown("way", way, WAYS)
        if not found:
            raise UsageError("--ways is empty. Take as-is at least.")
        return found

    def _chosen(self) -> "_Chosen":
        """Return which photographs train and which test, read from names alone."""
        import torch

        from howfar.data import Data, halves
        from howfar.data.tree import images_of, summary, unlabeled
        from howfar.photos import photographs
        from howfar.photos.pairs import pairs_of

        if self.photos.resolve() == self.protected.resolve():
            raise UsageError(
                f"{self.photos} and {self.protected} are the same folder, so nothing is protected. Give the originals "
                "and the folder that howfar protect wrote."
            )
        pairs = pairs_of(self.photos, self.protected)
        tree = photographs(self.photos)
        for sentence in (summary(images_of(tree.left_out)), unlabeled(tree.names)):
            if sentence:
                terminal.say(sentence)
        if len(pairs) < LEAST:
            raise UsageError(
                f"{len(pairs)} photographs with a protected copy are too few to learn from. Take {LEAST} or more."
            )
        kinds = sorted({label for *_, label in pairs})
        labels = torch.tensor([kinds.index(label) for *_, label in pairs])
        places = Data(torch.zeros(len(pairs), 1, 1, 1, dtype=torch.uint8), {"label": labels}, torch.arange(len(pairs)))
        train, test = (part.ids.tolist() for part in halves(places, 0.25))
        return _Chosen(pairs, labels.tolist(), train, test, len(kinds) > 1 and "" not in kinds)

    def _prepared(self, chosen: "_Chosen", root: Path) -> tuple[Path, dict[str, Path]]:
        """Write the photographs as a learner sees them; returns their file, and those of the copies.

        A dry run writes nothing.
        """
        import numpy as np

        from howfar import arrays
        from howfar.photos.pairs import WAYS, read_images

        folder, workers = root / "seen", arrays.cores()
        data, copies = folder / "originals.npz", {way: folder / f"{way}.npy" for way in self._ways}
        if self.dry_run:
            return data, copies
        folder.mkdir(parents=True, exist_ok=True)
        originals = read_images(
            [self.photos / name for name, *_ in chosen.pairs], self.size, WAYS["as-is"], workers=workers
        )
        labels = (("y", np.array(chosen.labels)),) if chosen.labeled else ()
        table = {
            f"{kind}_{part}": values[places]
            for part, places in (("train", chosen.train), ("test", chosen.test))
            for kind, values in (("x", originals), *labels)
        }
        np.savez(data, **table)
        for way, path in copies.items():
            files = [self.protected / chosen.pairs[place][1] for place in chosen.train]
            np.save(path, read_images(files, self.size, WAYS[way], workers=workers))
        return data, copies

    def _grids(self, data: Path, copies: dict[str, Path], count: int, *, labeled: bool) -> list[Grid]:
        from howfar.spec import quoted

        held = f"held_out={count // 6}"
        common: dict[str, Any] = {
            "dataset": f"npz:{data}", "models": self.model, "seeds": self.seeds, "epochs": self.epochs,
            "runs": self.runs, "workers": self.workers, "device": self.device, "dry_run": self.dry_run,
            "json": self.json,
            "suite": "standard", "recipe": "sgd", "limit_train": "all", "limit_test": "all", "tasks": "classification",
            "defenses": "none", "set": (held, "probe_images=0", *(f"train.{setting}" for setting in RECIPE)),
        }  # fmt: skip
        plain = f"import:{quoted(str(copies[self._ways[0]]))}"
        some = [f"{plain}[share={share:g}]" for share in self._shares]
        grids = []
        if labeled:
            ways = [f"import:{quoted(str(path))}" for path in copies.values()]
            grids.append(Grid(**common | {"protectors": ",".join([*ways, *some])}))
            if self.defenses != "none":
                grids.append(Grid(**common | {"protectors": plain, "defenses": self.defenses}))
        if self.tasks:
            sources = {} if labeled else {"source_tasks": self.tasks.split(",")[0]}
            grids.append(Grid(**common | {"protectors": plain, "tasks": self.tasks, **sources}))
        if not grids:
            raise UsageError("there is nothing to learn: no labels, and no --tasks.")
        return grids

    def _tell(self, text: list[str], losses: "list[Loss]", demands: list[str], page: Path) -> None:
        if self.json:
            terminal.show_json({"verdict": text, "losses": [loss.as_dict() for loss in losses], "required": demands})
            return
        for sentence in [*text, *demands]:
            terminal.tell(sentence)
        terminal.say(f"page: {page}")


@dataclass(frozen=True)
class _Chosen:
    """Which photographs a learner trains on and is tested with.

    Attributes:
        pairs: name of the original, name of the copy, label.
        labels: number of the label of each.
        train: places of those to learn from.
        test: places of those to be tested with.
        labeled: whether the labels tell anything apart.
    """

    pairs: "list[Pair]"
    labels: list[int]
    train: list[int]
    test: list[int]
    labeled: bool

    def outline(self, size: int) -> "Outline":
        """Return what the data set will hold, at this side in pixels."""
        from howfar.data.outline import Outline, blank

        count = max(self.labels) + 1
        names = [str(number) for number in range(count)] if self.labeled else []
        sample = blank((3, size, size), {"label": count} if self.labeled else {}, names, flip=True)
        return Outline(sample, len(self.train), len(self.test))


def _power(count: int) -> str:
    """Return what so few test photographs can tell, however many seeds there are.

    The drop is between two shares of right answers, each with a variance of at most 1/4 divided by their number.
    """
    from howfar.tables.decisions import QUANTILE

    points = 100 * QUANTILE * math.sqrt(0.5 / count)
    return (
        f"{count} test photographs: a drop of accuracy below about {points:.0f} points cannot be told from none, "
        "however many seeds are run. More photographs lower that."
    )


def _losses(tables: "list[VictimGroup]", copies: dict[str, Path], shares: list[float]) -> "list[Loss]":
    """Return what learners without defense lose: classification as it is, other ways, shares, other tasks."""
    order = [*copies, *(f"{share:.0%}" for share in shares)]
    ways = {str(path): way for way, path in copies.items()}
    found = [loss for group in tables if group.labels["defense"] == "none" for loss in _of_table(group, ways)]
    return sorted(found, key=lambda loss: (loss.task != "classification", order.index(loss.way), loss.task))


def _of_table(group: "VictimGroup", ways: dict[str, str]) -> "Iterator[Loss]":
    """Yield what one victim loses to every protected set; intervals know how all of them scatter."""
    from howfar.photos.verification import Loss
    from howfar.score import retention
    from howfar.tables.decisions import CONFIDENCE
    from howfar.tables.groups import Spreads, drop_of, drops_of, mean_quality, seeds_of

    pairs = {label: pair for label, pair in group.rows().items() if _way_of(pair[1][0], ways)}
    seeds = {label: seeds_of(after) for label, (_, after) in pairs.items()}
    spreads = Spreads((label, seeds[label], drops_of(*pair)) for label, pair in pairs.items())
    for label, (before, after) in pairs.items():
        first, lost = after[0].result, drop_of(before, after, spreads.of(label, seeds[label]))
        chance, better = first["chance"], first["higher_is_better"]
        clean, protected = _qualities(before), _qualities(after)
        others = [_qualities(pairs[other][1]) for other in pairs if other != label and seeds[other] == seeds[label]]
        try:
            kept = retention(
                clean, protected, chance=chance, higher_is_better=better, others=others, confidence=CONFIDENCE
            )
        except UsageError:  # the victims of the originals did not learn
            kept = None
        yield Loss(
            group.labels["task"], _way_of(after[0], ways), first["metric"], chance,
            mean_quality(before), mean_quality(after), lost, kept, first["test_images"],
        )  # fmt: skip


def _way_of(victim: "Record", ways: dict[str, str]) -> str:
    """Return what happened to the photographs of a victim, or the share that was protected; empty for the originals.

    Args:
        victim: its record.
        ways: by file of the copies.
    """
    return _way_of_settings(victim.spec["protector"], ways)


def _way_of_settings(settings: "Mapping[str, Any]", ways: dict[str, str]) -> str:
    way, share = ways.get(str(settings.get("file")), ""), settings.get("share", 1.0)
    return f"{share:.0%}" if way and share < 1 else way


def _qualities(records: "list[Record]") -> list[float]:
    return [record.result["quality"] for record in records]

"""The cells that ``howfar verify`` runs, and what its page calls them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howfar.commands import terminal
from howfar.commands.grid import Grid
from howfar.errors import HowfarError, UsageError

if TYPE_CHECKING:
    from howfar.commands.verify import Verify
    from howfar.grid.experiment import Experiment
    from howfar.photos.trainable import Trainable
    from howfar.store import Store

    Planned = list[tuple[Grid, list[Experiment]]]

EPOCHS, STEPS, BATCH = 20, 240, 32  # of every victim: at least so many epochs, and steps of a batch
RECIPE = ("optimizer=adam", "lr=0.005", f"batch_size={BATCH}", "crop=0", "flip=true")  # whatever the suites train with


def planned(
    command: "Verify", chosen: "Trainable", data: Path, copies: dict[str, Path], weights: Path | None
) -> "tuple[Planned, dict[str, str]]":
    """Return the grids with their cells, and the defenses that cannot run on these photographs, with the reasons.

    Args:
        command: the options.
        chosen: the photographs that train and test.
        data: file of the originals.
        copies: files of the protected photographs, by what happened to them.
        weights: file of the pretrained network; None without one.
    """
    left_out: dict[str, str] = {}
    found: Planned = []
    for grid in _grids(command, data, copies, len(chosen.train), weights, labeled=chosen.labeled):
        experiments, gone = grid.cells(chosen.outline(command.size))
        found.append((grid, experiments))
        left_out |= gone
    for label, reason in left_out.items():
        terminal.say(f"left out: {label}: it {reason}")
    return found, left_out


def failed(cells: "list[Experiment]", store: "Store", failures: list[tuple[str, str]]) -> dict[str, str]:
    """Return the defenses of which a run failed.

    Raises:
        HowfarError: if a run without a defense failed, so that nothing can be said.
    """
    if not failures:
        return {}
    lost = {cell.defense.label for cell in cells if not store.done("victim", cell.steps()[1].key)}
    if not lost or "none" in lost:
        raise HowfarError(f"{len(failures)} runs failed, the first one {failures[0][0]}: {failures[0][1]}")
    return dict.fromkeys(sorted(lost), f"failed ({failures[0][1]})")


def names(copies: dict[str, Path], planned: "Planned") -> dict[str, str]:
    """Return what the page calls copies and photographs, instead of the files they are read from."""
    from howfar.photos.losses import way_of
    from howfar.photos.verification import AFTER

    specs = [experiment.steps()[1].spec for _, experiments in planned for experiment in experiments]
    found = {spec["dataset"]["label"]: "your photographs" for spec in specs}
    for spec in specs:
        way = way_of(spec["protector"], {str(path): way for way, path in copies.items()})
        if way:
            after = AFTER.get(way, f"{way} of the photographs")
            found[spec["protector"]["label"]] = f"protected, {after[0].lower()}{after[1:]}"
        if spec["model"]["name"] == "pretrained":
            found[spec["model"]["label"]] = "fine-tuned"
    return found


def protector(path: Path) -> str:
    """Return the protector that reads protected photographs from a file."""
    from howfar.spec.syntax import quoted

    return f"import:{quoted(str(path))}"


def _grids(
    command: "Verify", data: Path, copies: dict[str, Path], count: int, weights: Path | None, *, labeled: bool
) -> list[Grid]:
    from howfar.spec.syntax import quoted

    epochs = command.epochs or str(max(EPOCHS, math.ceil(STEPS / math.ceil(count / BATCH))))
    common: dict[str, Any] = {
        "dataset": f"npz:{data}", "models": command.model, "seeds": command.seeds, "epochs": epochs,
        "runs": command.runs, "workers": command.workers, "device": command.device, "dry_run": command.dry_run,
        "json": command.json,
        "suite": "standard", "recipe": "sgd", "limit_train": "all", "limit_test": "all", "tasks": "classification",
        "defenses": "none",
        "set": (f"held_out={count // 6}", "probe_images=0", *(f"train.{setting}" for setting in RECIPE)),
    }  # fmt: skip
    plain = protector(copies[command.chosen_ways[0]])
    some = [f"{plain}[share={share:g}]" for share in command.chosen_shares]
    grids = []
    if labeled:
        ways = [protector(path) for path in copies.values()]
        grids.append(Grid(**common | {"protectors": ",".join([*ways, *some])}))
        if weights is not None:
            tuned = f"pretrained[weights={quoted(str(weights))}]"
            grids.append(Grid(**common | {"protectors": plain, "models": tuned}))
        if command.defenses != "none":
            grids.append(Grid(**common | {"protectors": plain, "defenses": command.defenses}))
    if command.tasks:
        sources = {} if labeled else {"source_tasks": command.tasks.split(",")[0]}
        grids.append(Grid(**common | {"protectors": plain, "tasks": command.tasks, **sources}))
    if not grids:
        raise UsageError("there is nothing to learn: no labels, and no --tasks.")
    return grids

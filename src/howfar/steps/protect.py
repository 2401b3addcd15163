"""Protect a training set: craft, measure visibility, and save the protected images."""

import torch
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.grid.experiment import Step
from howfar.protectors import Draft
from howfar.score import visibility
from howfar.steps.setup import PREVIEW, StepWork
from howfar.store import Record, Store
from howfar.store.clock import Clock, synchronized, warm_up
from howfar.training import chosen


def run(step: Step, store: Store, device: torch.device) -> StepWork:
    """Protect the training images.

    ``craft_seconds`` in the record is the time from clean images in memory to protected ones, including the training of
    surrogates. It excludes process start, data loading, PyTorch's first optimizer, visibility and saving. Imports that
    only this protector needs count for the first set of a process. For a resumed set, only the time since the
    resumption counts.
    """
    experiment, protector = step.experiment, step.experiment.protector.build()
    if protector.passes:  # trains networks
        warm_up(device)
    clock, clean = Clock(device), experiment.splits.train
    data, task = experiment.source()
    generator = arrays.seeded(experiment.seed, "protect")
    draft = Draft(store.draft("protect", step.key), surrogates=store.root / "surrogate")
    work = protector.progress(data, task, generator=generator, device=device, draft=draft)
    start = synchronized(device)
    protected = yield from work
    crafting = round(synchronized(device) - start, 6)
    made = {**clock.stop(), "craft_seconds": crafting, "precision": chosen("auto", device)}
    changed = (protected.pixels != data.pixels).flatten(1).any(1).nonzero().flatten()
    shown = _by_class(data)[torch.linspace(0, len(data) - 1, PREVIEW).long()]
    result = {
        "images": len(data),
        "curve": draft.curve,
        "notes": draft.notes,
        "needs_labels": protector.uses_labels,
        "norm": protector.norm,
        "visibility": visibility(data, protected).record(),
    }
    maps = {f"target_{name}": values[shown] for name, values in clean.targets.items() if values.ndim > 2}
    pixels = {
        **(maps if experiment.protector.name == "clean" else {}),
        "changed": changed,
        "pixels": protected.pixels[changed],
        "preview_clean": data.pixels[shown],
        "preview_protected": protected.pixels[shown],
    }
    record = store.save(Record("protect", step.key, experiment.protect_spec(), "done", result, made), pixels)
    draft.discard()
    return record


def _by_class(data: Data) -> Tensor:
    """Return indices sorted by class."""
    return torch.arange(len(data)) if data.classes is None else data.targets[data.classes].argsort(stable=True)

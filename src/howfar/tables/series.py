"""Records of victims -> their training curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from howfar.store import DamagedError, Record
from howfar.tables.distances import readings_of
from howfar.tables.groups import cosines_of
from howfar.tables.page import Series


def watched(epoch: dict[str, Any]) -> dict[str, float]:
    """Return how a network did after an epoch: on validation images where some were kept back, else on test images."""
    found: dict[str, float] = epoch.get("validation") or epoch["test"]
    return found


def watched_on(run: Record) -> str:
    """Return which images ``watched`` is about."""
    return "validation" if run.result["epochs"][-1].get("validation") else "test"


def series_of(label: str, runs: list[Record]) -> Series:
    """Return the training curves of one protector's victims.

    Args:
        label: the protector.
        runs: one per seed.

    Raises:
        DamagedError: if the seeds differ in epochs or layers.
    """
    for run in runs[1:]:
        if _layout(run) != _layout(runs[0]):
            why = f"it has other epochs or layers than {runs[0].key}, another seed of the same row"
            raise DamagedError(f"{run.step}/{run.key}/record.json", why)
    metric = runs[0].result["metric"]
    quality = np.array([[watched(epoch)[metric] for epoch in run.result["epochs"]] for run in runs])
    sal = np.array([[[r.sal for r in layers.values()] for layers in readings_of(run)] for run in runs]).mean(0)
    loss = np.array([[epoch["loss"] for epoch in run.result["epochs"]] for run in runs]).mean(0)
    cosines = [cosines_of(run) for run in runs]
    return Series(
        protector=label,
        quality=quality.mean(0).tolist(),
        low=quality.min(0).tolist(),
        high=quality.max(0).tolist(),
        loss=loss.tolist(),
        layers=list(runs[0].result["epochs"][0]["sharpness"]),
        sal=sal.T.tolist(),
        alignment=_mean_cosines(cosines) if all(cosines) else {},
        seconds=float(np.mean([run.made["wall_seconds"] for run in runs])),
    )


def _layout(run: Record) -> tuple[int, list[str], list[str], bool]:
    """Return what all seeds of a row share: number of epochs, layers, and what was measured."""
    epochs = run.result["epochs"]
    return (
        len(epochs),
        list(epochs[0]["sharpness"]),
        list(epochs[0].get("alignment", {})),
        bool(epochs[0].get("validation")),
    )


def _mean_cosines(runs: Sequence[Sequence[dict[str, float | None]]]) -> dict[str, list[float | None]]:
    """Return the mean cosine over seeds by layer, one value per epoch; None where no seed has one."""
    found: dict[str, list[float | None]] = {}
    for name in runs[0][0]:
        epochs = [[value for value in column if value is not None] for column in zip(
            *([epoch.get(name) for epoch in run] for run in runs), strict=True
        )]  # fmt: skip
        found[name] = [sum(values) / len(values) if values else None for values in epochs]
    return found

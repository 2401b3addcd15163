"""Required content of records, step by step; a store may come from anybody."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from howfar.score import unpacked
from howfar.score.metrics import RANGES
from howfar.store import Record
from howfar.tables.checks import (
    AMOUNT,
    COSINES,
    COUNT,
    FLAG,
    LIST,
    NAME,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECTS,
    OPTIONAL_FLAG,
    OPTIONAL_NUMBER,
    SOME_NUMBERS,
    TEXT,
    TEXTS,
    TWO_NUMBERS,
    Kind,
    each_fault,
    first_fault,
    given_fault,
    shown,
)

MADE_OF: dict[str, Kind] = {
    "dataset.label": NAME, "dataset.train": NAME, "source_task.name": NAME, "protector.label": NAME,
    "protector.name": NAME, "seed": COUNT,
}  # fmt: skip
TRAINED: dict[str, Kind] = {
    **MADE_OF, "test": NAME, "task.label": NAME, "task.name": NAME, "model.label": NAME,
    "defense.label": NAME, "recipe": OBJECT,
}  # fmt: skip
SPECS: dict[str, dict[str, Kind]] = {
    "victim": TRAINED,
    "ablation": {**TRAINED, "probe": OBJECT, "variants": OBJECTS},
    "trajectory": {**TRAINED, "walk.order": COUNT},
    "curvature": {
        "dataset": NAME, "model": NAME, "protector": NAME, "seed": COUNT, "trajectory": NAME,
        "settings": OBJECT,
    },
    "protect": MADE_OF,
    "data": {"dataset": NAME, "limits": LIST},
    "bench": {"victims": TEXTS, "command": TEXT},
    "landscape": {
        "scene.trajectories": OBJECT, "scene.view": OBJECT, "panel.draw": COUNT, "panel.on": NAME,
        "panel.around": NAME,
    },
}  # fmt: skip
JUDGED: dict[str, Kind] = {
    "metric": NAME, "chance": NUMBER, "higher_is_better": FLAG, "quality": NUMBER,
    "train_images": COUNT, "test_images": COUNT,
}  # fmt: skip
RESULTS: dict[str, dict[str, Kind]] = {
    "victim": JUDGED, "ablation": JUDGED, "trajectory": {**JUDGED, "moments": OBJECTS},
    "curvature": {"layers": OBJECT},
    "protect": {"images": AMOUNT, "curve": NUMBERS, "norm": NAME, "needs_labels": FLAG,
                "visibility": OBJECT},
    "landscape": {"metric": NAME},
    "data": {"digests.train": NAME, "digests.test": NAME},
}  # fmt: skip
MADE: dict[str, Kind] = {
    "wall_seconds": NUMBER, "device": NAME, "torch": NAME, "python": NAME, "system": NAME,
    "machine": NAME, "threads": COUNT,
}  # of victims and protected sets  # fmt: skip
CURVED: dict[str, Kind] = {"eigenvalues": SOME_NUMBERS, "trace": NUMBER, "converged": FLAG}
CURVED_LAYER: dict[str, Kind] = {**CURVED, "sal": NUMBER, "radius": NUMBER, "gradient": NUMBER}
READING: dict[str, Kind] = {
    "rise": NUMBER, "fall": OPTIONAL_NUMBER, "quality_drop": OPTIONAL_NUMBER, "quality_rise": OPTIONAL_NUMBER,
    "standard_error": OPTIONAL_NUMBER, "parameters": COUNT,
}  # fmt: skip
MAY: dict[str, Kind] = {"converged": OPTIONAL_FLAG}  # of a reading: older versions do not tell
AMOUNTS: dict[str, Kind] = {"eps": NUMBER, "share": NUMBER}  # of a protector, if it has them


def fault(record: Record, *, whole: bool = True) -> str:
    """Return what a record lacks or says that cannot be; empty where nothing is wrong."""
    if record.status not in ("done", "failed"):
        return f"status is {record.status!r}"
    if record.status == "failed":
        return first_fault({"error": TEXT}, record.result)
    why = first_fault(SPECS.get(record.step, {}), record.spec) or first_fault(
        RESULTS.get(record.step, {}), record.result
    )
    return why or (DETAILS[record.step](record, whole) if record.step in DETAILS else "")


def _made(record: Record) -> str:
    """Return what is wrong with where a record was made, and with what."""
    return first_fault(MADE, record.made, "made.") or given_fault(AMOUNTS, record.spec["protector"], "protector.")


def _protected(record: Record, whole: bool) -> str:
    visibility = record.result["visibility"]
    return _made(record) or given_fault({"craft_seconds": NUMBER}, record.made, "made.") or _seen(visibility)


def _victim(record: Record, whole: bool) -> str:
    return (
        _made(record)
        or _measured(record.result)
        or _paired(record.result)
        or (epochs_fault(record.result) if whole else "")
    )


def _paired(result: Mapping[str, Any]) -> str:
    """Return what is wrong with the bits of correct test images; older records lack them."""
    wrong = given_fault({"correct": TEXT}, result)
    if wrong or "correct" not in result:
        return wrong
    try:
        unpacked(result["correct"], result["test_images"])
    except ValueError as error:
        return f"correct holds {error}"
    return ""


def _ablation(record: Record, whole: bool) -> str:
    return _victim(record, whole) or (_variants(record) if whole else "")


def _trajectory(record: Record, whole: bool) -> str:
    """Return what is wrong with the moments at which a victim was evaluated."""
    wanted: dict[str, Kind] = {"steps": COUNT, record.result["metric"]: NUMBER}
    moments = enumerate(record.result["moments"], 1)
    wrong = next((f"{why} (in moment {number})" for number, one in moments if (why := first_fault(wanted, one))), "")
    return _made(record) or _in_range(record.result) or wrong


def _curvature(record: Record, whole: bool) -> str:
    """Return what is wrong with the curvature of a network, whose name is empty, and of its layers."""
    layers = record.result["layers"]
    if "" not in layers:
        return "it lacks the curvature of the whole network"
    for name, found in layers.items():
        place = name or "the whole network"
        if not OBJECT.holds(found):
            return f"curvature of {place} is {shown(found)}, not an object"
        why = first_fault(CURVED_LAYER if name else CURVED, found, f"curvature of {place}: ")
        if why:
            return why
    return ""


DETAILS: dict[str, Callable[[Record, bool], str]] = {
    "protect": _protected, "victim": _victim, "ablation": _ablation, "trajectory": _trajectory,
    "curvature": _curvature,
}  # fmt: skip


def _seen(visibility: Mapping[str, Any]) -> str:
    """Return what is wrong with the measures of a change."""
    return each_fault(visibility, OPTIONAL_NUMBER, "visibility.")


def _measured(result: Mapping[str, Any]) -> str:
    """Return what is wrong with the qualities of a victim and of the parts of its task."""
    if "epochs" not in result:
        return "it lacks epochs"
    return _in_range(result)


def _in_range(result: Mapping[str, Any]) -> str:
    """Return which quality, of a task or of its parts, is none that its metric can have."""
    parts = result.get("parts", {})
    if not isinstance(parts, Mapping):
        return f"parts is {shown(parts)}, not an object"
    for name, part in ({"": result, **parts}).items():
        prefix = f"parts.{name}." if name else ""
        why = first_fault(
            {key: RESULTS["victim"][key] for key in ("metric", "chance", "higher_is_better", "quality")}, part
        )
        if why:
            return f"{why} (in parts.{name})"
        low, high = RANGES.get(part["metric"], (-math.inf, math.inf))
        for key in ("quality", "chance", "validation"):
            value = part.get(key)
            if value is not None and not (NUMBER.holds(value) and low <= value <= high):
                return f"{prefix}{key} is {shown(value)}, outside the range of {part['metric']}, {low:g} to {high:g}"
    return ""


def epochs_fault(result: Mapping[str, Any]) -> str:
    """Return what is wrong with the epochs of a victim."""
    epochs, metric = result["epochs"], result["metric"]
    if not isinstance(epochs, list) or not epochs:
        return f"epochs is {shown(epochs)}, not a list of what was measured"
    for number, epoch in enumerate(epochs, 1):
        watched = (epoch.get("validation") or epoch.get("test")) if isinstance(epoch, Mapping) else None
        if not isinstance(watched, Mapping) or not NUMBER.holds(watched.get(metric)):
            return f"epoch {number} has no {metric}"
        why = first_fault({"loss": NUMBER, "sharpness": OBJECT}, epoch) or _probed(epoch, epochs[0])
        if why:
            return f"{why} (in epoch {number})"
    return ""


def _probed(epoch: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Return what is wrong with the readings of an epoch, which are of the same layers as those of the first one."""
    readings, cosines = epoch["sharpness"], epoch.get("alignment", {})
    if not isinstance(cosines, Mapping):
        return f"alignment is {shown(cosines)}, not an object"
    if list(readings) != list(first["sharpness"]) or list(cosines) != list(first.get("alignment", {})):
        return "its layers are others than in epoch 1"
    for name, reading in readings.items():
        if not isinstance(reading, Mapping) or not set(reading) <= READING.keys() | MAY.keys():
            return f"sharpness of {name} is {shown(reading)}, not a reading"
        why = first_fault(READING, reading, f"sharpness of {name}: ") or given_fault(
            MAY, reading, f"sharpness of {name}: "
        )
        if why:
            return why
    return each_fault(cosines, COSINES, "alignment of ")


def _variants(record: Record) -> str:
    """Return what is wrong with the SAL of every variant, layer by layer, in every epoch."""
    count = len(record.spec["variants"])
    for number, epoch in enumerate(record.result["epochs"], 1):
        variants, layers = epoch.get("variants"), list(epoch["sharpness"])
        if not OBJECTS.holds(variants) or len(variants) != count:
            return f"variants is {shown(variants)}, not a list of {count} objects (in epoch {number})"
        for variant in variants:
            why = each_fault(variant, TWO_NUMBERS, "SAL of ")
            if why or list(variant) != layers:
                return f"{why or 'its variants are of other layers'} (in epoch {number})"
    return ""

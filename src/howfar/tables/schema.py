"""What records must hold for tables to be drawn from them, step by step; a store may come from anybody."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from howfar.report.numbers import RANGES
from howfar.store import DamagedError, Record, Store

Check = Callable[[Any], bool]
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a terminal would act on them


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and CONTROL.search(value) is None


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_amount(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_open(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_doubt(value: Any) -> bool:
    return value is None or _is_flag(value)


def _are_cosines(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_open, value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


NAMES: dict[Check, str] = {
    _is_number: "a finite number", _is_count: "a whole number", _is_text: "text",
    _is_name: "text without control characters", _is_flag: "true or false",
    _is_object: "an object", _is_list: "a list", _are_texts: "a list of texts",
    _are_numbers: "a list of finite numbers", _is_amount: "a whole number above 0",
    _is_open: "a finite number or null", _is_doubt: "true, false or null",
    _are_cosines: "a list of finite numbers and nulls",
}  # fmt: skip
MADE_OF: dict[str, Check] = {
    "dataset.label": _is_name, "dataset.train": _is_name, "source_task.name": _is_name, "protector.label": _is_name,
    "protector.name": _is_name, "seed": _is_count,
}  # fmt: skip
SPECS: dict[str, dict[str, Check]] = {
    "victim": {
        **MADE_OF, "test": _is_name, "task.label": _is_name, "task.name": _is_name, "model.label": _is_name,
        "defense.label": _is_name, "recipe": _is_object,
    },
    "protect": MADE_OF,
    "bench": {"victims": _are_texts, "command": _is_text},
    "landscape": {
        "scene.trajectories": _is_object, "scene.view": _is_object, "panel.draw": _is_count, "panel.on": _is_name,
        "panel.around": _is_name,
    },
}  # fmt: skip
RESULTS: dict[str, dict[str, Check]] = {
    "victim": {
        "metric": _is_name, "chance": _is_number, "higher_is_better": _is_flag, "quality": _is_number,
        "train_images": _is_count, "test_images": _is_count,
    },
    "protect": {"images": _is_amount, "curve": _are_numbers, "norm": _is_name, "needs_labels": _is_flag,
                "visibility": _is_object},
    "landscape": {"metric": _is_name},
}  # fmt: skip
MADE: dict[str, Check] = {
    "wall_seconds": _is_number, "device": _is_name, "torch": _is_name, "python": _is_name, "system": _is_name,
    "machine": _is_name, "threads": _is_count,
}  # of victims and protected sets  # fmt: skip
READING: dict[str, Check] = {
    "rise": _is_number, "fall": _is_open, "quality_drop": _is_open, "quality_rise": _is_open,
    "standard_error": _is_open, "parameters": _is_count,
}  # fmt: skip
MAY: dict[str, Check] = {"converged": _is_doubt}  # of a reading: older versions do not tell
AMOUNTS: dict[str, Check] = {"eps": _is_number, "share": _is_number}  # of a protector, if it has them


def sound_records(store: Store, step: str, *, whole: bool = True) -> list[Record]:
    """Return all records of a step, each of which holds what its step must.

    Args:
        store: where they are.
        step: name of the step.
        whole: whether what was measured in every epoch is read and checked as well.

    Raises:
        DamagedError: for one that does not, or that is not what was written.
    """
    found = store.records(step)
    for record in found:
        why = fault(record, whole=whole)
        if why:
            raise DamagedError(f"{store.place}/{step}/{record.key}/record.json", why)
    return found


def epochs_of(record: Record) -> list[dict[str, Any]]:
    """Return what was measured in every epoch of a victim.

    Raises:
        DamagedError: if it is not what it must be; tables that need none of it read records without this check.
    """
    why = _epochs(record.result)
    if why:
        raise DamagedError(f"{record.step}/{record.key}/record.json", why)
    found: list[dict[str, Any]] = record.result["epochs"]
    return found


def fault(record: Record, *, whole: bool = True) -> str:
    """Return what a record lacks or says that cannot be; empty where nothing is wrong."""
    if record.status not in ("done", "failed"):
        return f"status is {record.status!r}"
    if record.status == "failed":
        return _first({"error": _is_text}, record.result)
    why = _first(SPECS.get(record.step, {}), record.spec) or _first(RESULTS.get(record.step, {}), record.result)
    if why or record.step not in ("victim", "protect"):
        return why
    why = _first(MADE, record.made, "made.") or _given(AMOUNTS, record.spec["protector"], "protector.")
    if why or record.step == "protect":
        return why or _given({"craft_seconds": _is_number}, record.made, "made.") or _seen(record.result["visibility"])
    return _measured(record.result) or (_epochs(record.result) if whole else "")


def _first(wanted: Mapping[str, Check], found: Mapping[str, Any], prefix: str = "") -> str:
    """Return the first member that is missing or of another kind, as a sentence; ``prefix`` leads its name."""
    for path, check in wanted.items():
        value: Any = found
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return f"it lacks {prefix}{path}"
            value = value[name]
        if not check(value):
            return f"{prefix}{path} is {_short(value)}, not {NAMES[check]}"
    return ""


def _given(known: Mapping[str, Check], found: Mapping[str, Any], prefix: str = "") -> str:
    """Return the same for members that may be missing."""
    return _first({name: check for name, check in known.items() if name in found}, found, prefix)


def _seen(visibility: Mapping[str, Any]) -> str:
    """Return what is wrong with the measures of a change."""
    return _each(visibility, _is_open, "visibility.")


def _each(found: Mapping[str, Any], check: Check, prefix: str) -> str:
    """Return the first member of another kind, as a sentence; names may hold dots."""
    wrong = next((name for name, value in found.items() if not check(value)), None)
    return "" if wrong is None else f"{prefix}{wrong} is {_short(found[wrong])}, not {NAMES[check]}"


def _measured(result: Mapping[str, Any]) -> str:
    """Return what is wrong with the qualities of a victim and of the parts of its task."""
    parts = result.get("parts", {})
    if not isinstance(parts, Mapping):
        return f"parts is {_short(parts)}, not an object"
    if "epochs" not in result:
        return "it lacks epochs"
    for name, part in ({"": result, **parts}).items():
        prefix = f"parts.{name}." if name else ""
        why = _first({key: RESULTS["victim"][key] for key in ("metric", "chance", "higher_is_better", "quality")}, part)
        if why:
            return f"{why} (in parts.{name})"
        low, high = RANGES.get(part["metric"], (-math.inf, math.inf))
        for key in ("quality", "chance", "validation"):
            value = part.get(key)
            if value is not None and not (_is_number(value) and low <= value <= high):
                return f"{prefix}{key} is {_short(value)}, outside the range of {part['metric']}, {low:g} to {high:g}"
    return ""


def _epochs(result: Mapping[str, Any]) -> str:
    """Return what is wrong with the epochs of a victim."""
    epochs, metric = result["epochs"], result["metric"]
    if not isinstance(epochs, list) or not epochs:
        return f"epochs is {_short(epochs)}, not a list of what was measured"
    for number, epoch in enumerate(epochs, 1):
        watched = (epoch.get("validation") or epoch.get("test")) if isinstance(epoch, Mapping) else None
        if not isinstance(watched, Mapping) or not _is_number(watched.get(metric)):
            return f"epoch {number} has no {metric}"
        why = _first({"loss": _is_number, "sharpness": _is_object}, epoch) or _probed(epoch, epochs[0])
        if why:
            return f"{why} (in epoch {number})"
    return ""


def _probed(epoch: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Return what is wrong with the readings of an epoch, which are of the same layers as those of the first one."""
    readings, cosines = epoch["sharpness"], epoch.get("alignment", {})
    if not isinstance(cosines, Mapping):
        return f"alignment is {_short(cosines)}, not an object"
    if list(readings) != list(first["sharpness"]) or list(cosines) != list(first.get("alignment", {})):
        return "its layers are others than in epoch 1"
    for name, reading in readings.items():
        if not isinstance(reading, Mapping) or not set(reading) <= READING.keys() | MAY.keys():
            return f"sharpness of {name} is {_short(reading)}, not a reading"
        why = _first(READING, reading, f"sharpness of {name}: ") or _given(MAY, reading, f"sharpness of {name}: ")
        if why:
            return why
    return _each(cosines, _are_cosines, "alignment of ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"

"""What records must hold for tables to be drawn from them, step by step; a store may come from anybody."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from howfar.report.numbers import RANGES
from howfar.store import DamagedError, Record, Store

Check = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


NAMES: dict[Check, str] = {
    _is_number: "a finite number", _is_count: "a whole number", _is_text: "text", _is_flag: "true or false",
    _is_object: "an object", _is_list: "a list", _are_texts: "a list of texts",
}  # fmt: skip
MADE_OF: dict[str, Check] = {
    "dataset.label": _is_text, "dataset.train": _is_text, "source_task.name": _is_text, "protector.label": _is_text,
    "protector.name": _is_text, "seed": _is_count,
}  # fmt: skip
SPECS: dict[str, dict[str, Check]] = {
    "victim": {
        **MADE_OF, "test": _is_text, "task.label": _is_text, "task.name": _is_text, "model.label": _is_text,
        "defense.label": _is_text, "recipe": _is_object,
    },
    "protect": MADE_OF,
    "bench": {"victims": _are_texts, "command": _is_text},
    "landscape": {
        "scene.trajectories": _is_object, "scene.view": _is_object, "panel.draw": _is_count, "panel.on": _is_text,
        "panel.around": _is_text,
    },
}  # fmt: skip
RESULTS: dict[str, dict[str, Check]] = {
    "victim": {
        "metric": _is_text, "chance": _is_number, "higher_is_better": _is_flag, "quality": _is_number,
        "train_images": _is_count, "test_images": _is_count,
    },
    "protect": {"images": _is_count, "curve": _is_list, "norm": _is_text, "needs_labels": _is_flag,
                "visibility": _is_object},
    "landscape": {"metric": _is_text},
}  # fmt: skip


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


def fault(record: Record, *, whole: bool = True) -> str:
    """Return what a record lacks or says that cannot be; empty where nothing is wrong."""
    if record.status not in ("done", "failed"):
        return f"status is {record.status!r}"
    if record.status == "failed":
        return _first({"error": _is_text}, record.result)
    why = _first(SPECS.get(record.step, {}), record.spec) or _first(RESULTS.get(record.step, {}), record.result)
    if why or record.step != "victim":
        return why
    return _measured(record.result) or (_epochs(record.result) if whole else "")


def _first(wanted: Mapping[str, Check], found: Mapping[str, Any]) -> str:
    """Return the first member that is missing or of another kind, as a sentence."""
    for path, check in wanted.items():
        value: Any = found
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return f"it lacks {path}"
            value = value[name]
        if not check(value):
            return f"{path} is {_short(value)}, not {NAMES[check]}"
    return ""


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
        why = _first({"loss": _is_number, "sharpness": _is_object}, epoch)
        if why:
            return f"{why} (in epoch {number})"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"

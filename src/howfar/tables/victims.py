"""Finished victims as plain rows, for other tools, and where two stores differ in them."""

from typing import Any

from howfar.store import Record, Store, differences
from howfar.tables.names import crafted
from howfar.tables.sound import sound_records


def rows(store: Store) -> list[dict[str, Any]]:
    """Return one row for every finished victim of a store, by key."""
    return [_row(record) for record in sound_records(store, "victim") if record.status == "done"]


def apart(one: Store, other: Store) -> list[tuple[str, float | None, float | None, float | None]]:
    """Return the victims in which two stores differ: name, both qualities and their difference."""
    found = []
    for a, b in differences(one, other):
        here, there = _quality(a), _quality(b)
        difference = None if here is None or there is None else there - here
        found.append((_label(a or b), here, there, difference))
    return found


def _row(record: Record) -> dict[str, Any]:
    spec, result, made = record.spec, record.result, record.made
    return {
        "key": record.key,
        "dataset": spec["dataset"]["label"],
        "protector": spec["protector"]["label"],
        "source_task": spec["source_task"]["name"],
        "task": spec["task"]["label"],
        "defense": spec["defense"]["label"],
        "model": spec["model"]["label"],
        "seed": spec["seed"],
        "metric": result["metric"],
        "quality": result["quality"],
        "chance": result["chance"],
        "higher_is_better": result["higher_is_better"],
        "validation": result.get("validation"),
        "train_images": result["train_images"],
        "test_images": result["test_images"],
        "epochs": len(result["epochs"]),
        "wall_seconds": made.get("wall_seconds"),
        "device": made.get("device"),
        "torch": made.get("torch"),
        "data": spec["dataset"]["train"],
        "protector_version": spec["protector"].get("version"),
        "task_version": spec["task"].get("version"),
        "model_version": spec["model"].get("version"),
    }


def _quality(record: Record | None) -> float | None:
    return None if record is None or record.status != "done" else float(record.result["quality"])


def _label(record: Record | None) -> str:
    if record is None:
        raise ValueError("one of two records must be there")
    spec = record.spec
    model, task, defense = (spec[name]["label"] for name in ("model", "task", "defense"))
    return f"{model} learns {task} on {crafted(spec)} / {defense} seed {spec['seed']}"

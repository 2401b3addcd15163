"""Columns of files and data frames besides those of the leaderboard: settings, versions and device of a cell."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from howfar.arrays import canonical
from howfar.score.unlearnable_distance import VERSION
from howfar.spec import ABOUT
from howfar.store import Record
from howfar.tables.names import knows_targets, source_of

NO_SETTINGS = (*ABOUT, "label")


def origin(clean: Sequence[Record], poisoned: Sequence[Record]) -> dict[str, Any]:
    """Return columns of a cell, by name; None for what its records do not tell.

    Args:
        clean: its clean victims, one per seed.
        poisoned: its victims of protected images, of the same seeds.
    """
    spec, result = poisoned[0].spec, poisoned[0].result
    known = knows_targets(str(spec["protector"]["label"]))
    probe = spec.get("probe", {})
    made = [record.made for record in (*clean, *poisoned)]
    return {
        "source_task": source_of(spec) if known else None,
        "protector_settings": _settings(spec["protector"]),
        "recipe": _settings(spec["recipe"]),
        "probe": _settings(probe) if probe.get("images") else None,
        "higher_is_better": result["higher_is_better"],
        "chance": result["chance"],
        "train_images": result["train_images"],
        "test_images": result["test_images"],
        "data": spec["dataset"]["train"],
        "test": spec["test"],
        "protector_version": _version(spec["protector"]),
        "source_task_version": _version(spec["source_task"]) if known else None,
        "task_version": _version(spec["task"]),
        "model_version": _version(spec["model"]),
        "defense_version": "+".join(str(_version(part)) for part in spec["defense"].get("parts", [spec["defense"]])),
        "training_version": spec["recipe"].get("version"),
        "sal_version": probe.get("version") if probe.get("images") else None,
        "ud_version": VERSION if probe.get("images") else None,
        "alignment_version": spec.get("alignment", {}).get("version"),
        "howfar": _distinct(made, "howfar"),
        "torch": _distinct(made, "torch"),
        "device": _distinct(made, "device"),
    }


def _settings(part: Mapping[str, Any]) -> str:
    """Return the settings of a part of a specification as JSON text, which every kind of file can hold."""
    return canonical({key: value for key, value in part.items() if key not in NO_SETTINGS})


def _version(part: Mapping[str, Any]) -> int:
    """Return the version of a part of a specification; those of older howfar without one are the first."""
    version: int = part.get("version", 1)
    return version


def _distinct(made: Iterable[Mapping[str, Any]], name: str) -> str | None:
    """Return the values that records name, usually one."""
    return ", ".join(sorted({str(each[name]) for each in made if name in each})) or None

"""Runs that a user names, clean and poisoned -> unlearnable distance."""

from collections.abc import Sequence
from pathlib import Path

from howfar.arrays import canonical
from howfar.errors import HowfarError, UsageError
from howfar.score import Distance, unlearnable_distance
from howfar.store import Record, Store
from howfar.tables import CLEAN, compared, readings_of
from howfar.tables.names import Names, protection, shared
from howfar.tables.page import Page
from howfar.tables.sound import sound_records


def select(store: Store, text: str, *, model: str | None = None, defense: str | None = None) -> list[Record]:
    """Return finished victims by key, by the start of a key, by the file of a record, or by protector, one a seed.

    Args:
        store: where the records are.
        text: e.g. ``3fa2c1``, ``runs/victim/3fa2….json`` or ``em:class``.
        model: narrows a protector down to one victim.
        defense: the same for its defense.

    Raises:
        UsageError: if nothing matches, or victims that differ in more than their seed.
    """
    victims = [record for record in sound_records(store, "victim") if record.status == "done"]
    key = Path(text).stem if text.endswith(".json") else text
    found = [record for record in victims if record.key == key] or [
        record
        for record in victims
        if record.spec["protector"]["label"] == text
        and model in (None, record.spec["model"]["label"])
        and defense in (None, record.spec["defense"]["label"])
    ]
    names = Names(victims)
    found = found or [record for record in victims if len(text) >= 6 and record.key.startswith(text)]
    if not found:
        known = sorted({record.spec["protector"]["label"] for record in victims})
        raise UsageError(f"no finished run '{text}' in {store.place}. There are: {', '.join(known) or 'none'}.")
    kinds = sorted({f"--model {r.spec['model']['label']} --defense {r.spec['defense']['label']}" for r in found})
    wholes = {canonical([shared(record.spec), protection(record.spec)]) for record in found}
    seeds = [record.spec["seed"] for record in found]
    if len(wholes) > 1 or len(set(seeds)) < len(seeds):
        keys = ", ".join(f"{record.key[:12]} ({_about(record, names)})" for record in found)
        choices = "; ".join(kinds) if len(kinds) > 1 else keys
        raise UsageError(f"'{text}' names runs of several kinds. Narrow it down: {choices}.")
    return sorted(found, key=lambda record: record.spec["seed"])


def _about(record: Record, names: Names) -> str:
    """Return what a run is, for a choice between several."""
    tables = names.tables(record.spec)
    return f"{names.row(record.spec)} on {tables['dataset']}, {tables['task']}, {tables['model']}"


def compare(
    clean: Sequence[Record], poisoned: Sequence[Record], *, confidence: float = 0.95, label: str | None = None
) -> tuple[Distance, Page]:
    """Return UD of runs paired by seed, and a page with their convergence and SAL maps.

    Args:
        clean: victims of clean images.
        poisoned: victims of protected images, same model, epochs and seeds.
        confidence: of the interval.
        label: what the page calls the protection; None takes the protector's name.

    Raises:
        HowfarError: if no seed is common, or UD is not defined.
    """
    by_seed = {record.spec["seed"]: record for record in clean}
    if len(clean) == len(poisoned) == 1:  # whoever names two runs means these two
        by_seed = {poisoned[0].spec["seed"]: clean[0]}
    pairs = [(by_seed[record.spec["seed"]], record) for record in poisoned if record.spec["seed"] in by_seed]
    if not pairs:
        raise HowfarError("no seed has both a clean and a poisoned run. Run howfar bench with the same --seeds.")
    distance = unlearnable_distance(
        [readings_of(first) for first, _ in pairs],
        [readings_of(second) for _, second in pairs],
        confidence=confidence,
    )
    name = label or str(poisoned[0].spec["protector"]["label"])
    page = compared(
        [first for first, _ in pairs], [second for _, second in pairs], "poisoned" if name == CLEAN else name
    )
    return distance, page

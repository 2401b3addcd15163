"""Rows of a public leaderboard, from the records of a store."""

from collections.abc import Mapping, Sequence
from typing import Any

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.report.entry import Entry, Runs
from howfar.results.cells import CLEAN, Cells, Distances, by_victim, grouped, protect_spec
from howfar.store import Record, Store


def entries(store: Store) -> list[Entry]:
    """Return one row a protector and victim: all defenses that both clean and protected images met.

    Victims of a joint task have a row for each of its parts, and one for their mean. Of victims that differ only in
    what was measured while they learned, those with a UD stand.

    Raises:
        HowfarError: if there is not one pair of finished victims.
    """
    done = [record for record in store.records("victim") if record.status == "done"]
    protects = {canonical(r.spec): r for r in store.records("protect") if r.status == "done"}
    commands = [(set(r.spec["victims"]), r.spec["command"]) for r in store.records("bench")]
    distances = Distances(store.index)
    rows: dict[str, Entry] = {}
    for members in by_victim(grouped(done)):
        for label in sorted({label for cells in members for label in cells.runs} - {CLEAN}):
            pairs = {cells.labels["defense"]: _pairs(cells, label) for cells in members}
            pairs = {defense: found for defense, found in pairs.items() if found}
            if pairs:
                victim = next(iter(pairs.values()))[0][1]
                made = protects.get(canonical(protect_spec(victim)))
                keys = {record.key for found in pairs.values() for pair in found for record in pair}
                asked = sorted({command for known, command in commands if keys & known})
                for part in ("", *victim.result.get("parts", ())):
                    row = _entry(label, members[0], pairs, made, distances, asked, part=part)
                    if row.name not in rows or rows[row.name].ud is None:
                        rows[row.name] = row
    distances.keep()
    if not rows:
        raise HowfarError(f"{store.place} holds no pair of clean and protected victims. Run howfar bench first.")
    return list(rows.values())


def _pairs(cells: Cells, label: str) -> list[tuple[Record, Record]]:
    clean, protected = cells.runs.get(CLEAN, {}), cells.runs.get(label, {})
    return [(clean[seed], protected[seed]) for seed in sorted(set(clean) & set(protected))]


def _entry(
    label: str,
    cells: Cells,
    pairs: dict[str, list[tuple[Record, Record]]],
    made: Record | None,
    distances: Distances,
    commands: list[str],
    *,
    part: str = "",
) -> Entry:
    victim = next(iter(pairs.values()))[0][1]
    names, result = cells.labels, _measured(victim, part)
    seen: Mapping[str, Any] = made.result if made else {"visibility": {}, "norm": "", "needs_labels": True}
    plain = [] if part else list(zip(*pairs.get("none", []), strict=True))
    return Entry(
        protector=label,
        dataset=names["dataset"],
        data=victim.spec["dataset"]["train"],
        task=f"{part} of {names['task']}" if part else names["task"],
        model=names["model"],
        metric=result["metric"],
        higher_is_better=result["higher_is_better"],
        chance=result["chance"],
        train_images=victim.result["train_images"],
        test_images=victim.result["test_images"],
        recipe=cells.spec["recipe"],
        settings={key: value for key, value in victim.spec["protector"].items() if key != "label"},
        norm=seen["norm"],
        visibility=seen["visibility"],
        needs_labels=seen["needs_labels"],
        runs={defense: _runs(found, part) for defense, found in pairs.items()},
        ud=distances.of(*plain) if plain else None,
        made={key: str(victim.made[key]) for key in ("torch", "python", "system", "machine", "device")},
        commands=commands,
    )


def _runs(pairs: Sequence[tuple[Record, Record]], part: str) -> Runs:
    columns = [[_measured(record, part) for record in column] for column in zip(*pairs, strict=True)]
    kept = all("validation" in result for column in columns for result in column)
    clean, protected = ([result["quality"] for result in column] for column in columns)
    validation = [[result["validation"] for result in column] for column in columns] if kept else None
    seeds = [record.spec["seed"] for record, _ in pairs]
    return Runs(seeds, clean, protected, (validation[0], validation[1]) if validation else None)


def _measured(victim: Record, part: str) -> Mapping[str, Any]:
    """Return what was measured on a victim, or on a part of its joint task."""
    found: Mapping[str, Any] = victim.result["parts"][part] if part else victim.result
    return found

"""Rows of a public leaderboard, from the records of a store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.score.drop import drops
from howfar.store import Record, Store
from howfar.tables.distances import Distances, Ud
from howfar.tables.entry import Entry, SeedQualities
from howfar.tables.groups import Spreads, VictimGroup, by_victim, grouped, protect_spec, seeds_of
from howfar.tables.names import CLEAN, Names
from howfar.tables.sound import sound_records


def entries(store: Store) -> list[Entry]:
    """Return one row per protector and victim: all defenses that both clean and protected images met.

    Victims of a joint task have a row for each of its parts, and one for their mean. Of victims that differ only in
    what was measured while they learned, those with a UD stand.

    Raises:
        HowfarError: if there is not one pair of finished victims.
    """
    done = [record for record in sound_records(store, "victim") if record.status == "done"]
    protects = {canonical(r.spec): r for r in sound_records(store, "protect") if r.status == "done"}
    commands = [(set(r.spec["victims"]), r.spec["command"]) for r in sound_records(store, "bench")]
    distances = Distances(store.index)
    rows: dict[str, Entry] = {}
    for members in by_victim(grouped(done, Names(done, but=("probe",)))):
        plain = next((group for group in members if group.labels["defense"] == "none"), None)
        uds = _uds(plain, distances)
        for label in sorted({label for group in members for label in group.runs} - {CLEAN}):
            pairs = {group.labels["defense"]: group.pairs(label) for group in members}
            pairs = {defense: found for defense, found in pairs.items() if found[0]}
            if pairs:
                victim = next(iter(pairs.values()))[1][0]
                made = protects.get(canonical(protect_spec(victim)))
                keys = {record.key for found in pairs.values() for side in found for record in side}
                asked = sorted({command for known, command in commands if keys & known})
                for part in ("", *victim.result.get("parts", ())):
                    spread = _spreads(plain, part).of(label, seeds_of(pairs["none"][1])) if "none" in pairs else None
                    row = _entry(label, members[0], pairs, made, asked, part=part)
                    row = replace(
                        row, ud=None if part else uds.get(label),
                        spread=(spread.variance, spread.freedom) if spread else None,
                    )  # fmt: skip
                    if row.name not in rows or rows[row.name].ud is None:
                        rows[row.name] = row
    distances.keep()
    if not rows:
        raise HowfarError(f"{store.place} holds no pair of clean and protected victims. Run howfar bench first.")
    return list(rows.values())


def _uds(plain: VictimGroup | None, distances: Distances) -> dict[str, Ud]:
    """Return UD of every protector without defense, its interval from the scatter of all of them."""
    pairs = plain.rows() if plain else {}
    found = {label: ud for label, both in pairs.items() if (ud := distances.of(*both))}
    spreads = Spreads((label, seeds_of(pairs[label][1]), ud.values) for label, ud in found.items())
    return {label: ud.ud(spreads.of(label, seeds_of(pairs[label][1]))) for label, ud in found.items()}


def _spreads(plain: VictimGroup | None, part: str) -> Spreads:
    """Return how the drops without defense scatter, of a task or of a part of it."""
    return Spreads(
        (label, seeds_of(after), _drops(before, after, part))
        for label, (before, after) in (plain.rows() if plain else {}).items()
    )


def _drops(clean: Sequence[Record], protected: Sequence[Record], part: str) -> list[float]:
    first, second = ([_measured(record, part)["quality"] for record in records] for records in (clean, protected))
    return drops(first, second, higher_is_better=_measured(protected[0], part)["higher_is_better"])


def _entry(
    label: str,
    group: VictimGroup,
    pairs: Mapping[str, tuple[list[Record], list[Record]]],
    made: Record | None,
    commands: list[str],
    *,
    part: str = "",
) -> Entry:
    victim = next(iter(pairs.values()))[1][0]
    names, result = group.labels, _measured(victim, part)
    protected: Mapping[str, Any] = made.result if made else {"visibility": {}, "norm": "", "needs_labels": True}
    return Entry(
        protector=label,
        dataset=names["dataset"],
        data=victim.spec["dataset"]["train"],
        test=victim.spec["test"],
        task=f"{part} of {names['task']}" if part else names["task"],
        model=names["model"],
        versions={kind: victim.spec[kind].get("version", 1) for kind in ("task", "source_task", "model")},
        metric=result["metric"],
        higher_is_better=result["higher_is_better"],
        chance=result["chance"],
        train_images=victim.result["train_images"],
        test_images=victim.result["test_images"],
        recipe=group.spec["recipe"],
        settings={key: value for key, value in victim.spec["protector"].items() if key != "label"},
        norm=protected["norm"],
        visibility=protected["visibility"],
        needs_labels=protected["needs_labels"],
        runs={defense: _runs(found, part) for defense, found in pairs.items()},
        ud=None,
        made={key: str(victim.made[key]) for key in ("torch", "python", "system", "machine", "device")},
        commands=commands,
    )


def _runs(pairs: tuple[list[Record], list[Record]], part: str) -> SeedQualities:
    columns = [[_measured(record, part) for record in column] for column in pairs]
    kept = all("validation" in result for column in columns for result in column)
    clean, protected = ([result["quality"] for result in column] for column in columns)
    validation = [[result["validation"] for result in column] for column in columns] if kept else None
    return SeedQualities(seeds_of(pairs[1]), clean, protected, (validation[0], validation[1]) if validation else None)


def _measured(victim: Record, part: str) -> Mapping[str, Any]:
    """Return what was measured on a victim, or on a part of its joint task."""
    found: Mapping[str, Any] = victim.result["parts"][part] if part else victim.result
    return found

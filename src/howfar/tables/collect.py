"""Records -> numbers: a pure function of the store, so that any table can be made again from the records."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.score import Estimate, recorded
from howfar.score.alignment import mean_alignment
from howfar.score.intervals import mean_estimate
from howfar.store import Record, Store
from howfar.tables.cells import origin
from howfar.tables.controls import controls
from howfar.tables.crosstask import matrices
from howfar.tables.decisions import learned
from howfar.tables.distances import Distances, Ud, why_left_out
from howfar.tables.galleries import contact_sheets, predictions
from howfar.tables.groups import (
    Spreads,
    VictimGroup,
    alignments_of,
    drop_of,
    drops_of,
    grouped,
    mean_quality,
    protect_spec,
    seeds_of,
)  # fmt: skip
from howfar.tables.landscapes import scenes
from howfar.tables.leaderboard import Row
from howfar.tables.names import CLEAN, Names, protection
from howfar.tables.page import Gallery, Group, Page, Protected
from howfar.tables.profiles import profiles
from howfar.tables.series import series_of, watched_on
from howfar.tables.sound import sound_records
from howfar.tables.verdicts import Verdict, verdicts
from howfar.tables.worth import is_mixture, worths


def collect(store: Store, keys: Iterable[str] | None = None, *, brief: bool = False) -> Page:
    """Return everything that leaderboard and page show.

    Args:
        store: where the records are.
        keys: of the victims to show; None shows all.
        brief: leave out what only the page shows: pictures, curves, SAL.

    Raises:
        HowfarError: if there is not one finished victim, nor a landscape.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from howfar import Store, collect, make_suite, run
        >>> settings = {"protectors": "lsp", "models": "linear", "defenses": "none", "seeds": "0", "limit_train": 100}
        >>> store = Store(tempfile.mkdtemp())
        >>> experiments = make_suite("digits", settings).experiments()
        >>> events = list(run(experiments, store, workers=0, device=torch.device("cpu")))
        >>> sorted(row.protector for row in collect(store).rows)
        ['clean', 'lsp']
    """
    wanted = None if keys is None else set(keys)
    victims = [
        record for record in sound_records(store, "victim", whole=not brief) if wanted is None or record.key in wanted
    ]
    done = [record for record in victims if record.status == "done"]
    protects = {canonical(r.spec): r for r in sound_records(store, "protect")}
    landscapes = scenes(store) if keys is None and not brief else []
    if not done and not landscapes:
        raise HowfarError(f"{store.place} holds no finished victim. Run howfar bench first.")
    names, distances = Names(done), Distances(store.index)
    groups = grouped(done, names)
    defended = [group for group in groups if not is_mixture(group)]
    judged = verdicts(defended, names if len({group.labels["task"] for group in groups}) > 1 else None)
    page = Page(
        groups=[_group(group, protects, distances, judged, brief=brief) for group in groups],
        profiles=profiles(defended),
        matrices=matrices(done, distances, brief=brief, names=names),
        scenes=landscapes,
        galleries=[] if brief else _galleries(store, groups, [r for r in protects.values() if _shown(r, done)]),
        protected=_protected(store, done, protects, names, brief=brief),
        failures=[(_title(record), str(record.result["error"])) for record in victims if record.status == "failed"],
        circumstances=_circumstances(done),
        commands=_commands(store, done),
        verdicts=judged,
        worths=worths(groups),
    )
    distances.keep()
    return page


def compared(clean: Sequence[Record], poisoned: Sequence[Record], label: str) -> Page:
    """Return a page of two kinds of runs alone, paired in their order.

    Args:
        clean: victims of clean images.
        poisoned: as many victims of protected images.
        label: what to call the protection.
    """
    group = VictimGroup.of(poisoned[0])
    for first, second in zip(clean, poisoned, strict=True):
        group.runs[CLEAN][second.spec["seed"]] = first
        group.runs[label][second.spec["seed"]] = second
    judged = verdicts([group])
    return Page(
        groups=[_group(group, {}, Distances(), judged)],
        protected=[],
        circumstances=_circumstances([*clean, *poisoned]),
        verdicts=judged,
    )


def _shown(protect: Record, victims: Sequence[Record]) -> bool:
    return any(victim.spec["dataset"] == protect.spec["dataset"] for victim in victims)


def _galleries(store: Store, groups: Sequence[VictimGroup], protects: Sequence[Record]) -> list[Gallery]:
    return [*contact_sheets(store, protects), *predictions(store, groups)]


def _group(
    group: VictimGroup, protects: dict[str, Record], distances: Distances, judged: Sequence[Verdict], *,
    brief: bool = False,
) -> Group:  # fmt: skip
    series = [] if brief else [series_of(label, [runs[s] for s in sorted(runs)]) for label, runs in group.runs.items()]
    any_run = next(iter(next(iter(group.runs.values())).values()))
    rows = list(_rows(group, protects, distances, {(one.victim, one.row): one for one in judged}))
    rows.sort(key=lambda row: (row.protector != CLEAN, -row.drop.value, row.protector))
    return Group(
        **group.labels,
        metric=any_run.result["metric"],
        chance=any_run.result["chance"],
        train_images=any_run.result["train_images"],
        test_images=any_run.result["test_images"],
        seeds=sorted({seed for runs in group.runs.values() for seed in runs}),
        recipe=group.spec["recipe"],
        rows=rows,
        series=sorted(series, key=lambda s: (s.protector != CLEAN, s.protector)),
        controls=[] if brief else controls(group, distances),
        watched=" and ".join(sorted({watched_on(run) for runs in group.runs.values() for run in runs.values()})),
        left_out=_why_no_ud(group, rows),
    )


def _why_no_ud(group: VictimGroup, rows: Sequence[Row]) -> str:
    """Return why UD is not shown; empty where it is, or where nothing was protected."""
    found = [row.ud for row in rows if row.protector != CLEAN]
    if any(found) or not found:
        return why_left_out(found)
    if not group.spec.get("probe", {}).get("images"):
        return "UD was not measured (probe_images is 0). --set probe_images=32 measures it."
    return "UD is undefined: no layer of the clean victim is learnable, as in a network of one layer."


def _rows(
    group: VictimGroup, protects: dict[str, Record], distances: Distances, judged: Mapping[tuple[str, str], Verdict]
) -> Iterator[Row]:  # fmt: skip
    """Yield a row per protector; intervals know how all rows of the table scatter."""
    pairs = group.rows()
    learner = " · ".join(group.labels[part] for part in ("dataset", "task", "model"))
    seeds = {label: seeds_of(after) for label, (_, after) in pairs.items()}
    uds = {label: distances.of(*both) for label, both in pairs.items()}
    scatter = Spreads((label, seeds[label], drops_of(*both)) for label, both in pairs.items())
    apart = Spreads((label, seeds[label], found.values) for label, found in uds.items() if found)
    aligned = {label: alignments_of(after) for label, (_, after) in pairs.items()}
    turned = Spreads((label, seeds[label], found) for label, found in aligned.items() if found)
    for label, both in pairs.items():
        made = protects.get(canonical(protect_spec(both[1][0])))
        lost = drop_of(*both, scatter.of(label, seeds[label]))
        ud = found.ud(apart.of(label, seeds[label])) if (found := uds[label]) else None
        cosines = aligned[label]
        cosine = mean_alignment(cosines, spread=turned.of(label, seeds[label])) if cosines else None
        yield _row(group, label, both, lost, ud, cosine, made, judged.get((learner, label)))


def _row(
    group: VictimGroup, label: str, pairs: tuple[list[Record], list[Record]], lost: Estimate, ud: Ud | None,
    alignment: Estimate | None, made: Record | None, verdict: Verdict | None,
) -> Row:  # fmt: skip
    visibility = recorded(made.result["visibility"]) if made else {}
    clean, poisoned = map(mean_quality, pairs)
    result = pairs[1][0].result
    return Row(
        **group.labels,
        protector=label,
        metric=result["metric"],
        clean=clean,
        poisoned=poisoned,
        drop=lost,
        ud=ud,
        alignment=alignment,
        linf=visibility.get("linf"),
        l2=visibility.get("l2"),
        l0=visibility.get("l0"),
        psnr=visibility.get("psnr"),
        ssim=visibility.get("ssim"),
        needs_labels=made.result["needs_labels"] if made else None,
        origin=origin(*pairs),
        verdict=verdict,
        learned=learned(result["metric"], clean, result["chance"], higher_is_better=result["higher_is_better"]),
    )


def _protected(
    store: Store, victims: list[Record], protects: dict[str, Record], names: Names, *, brief: bool
) -> list[Protected]:  # fmt: skip
    """Return one entry per protector, its version and data set, from its lowest seed."""
    shown: dict[str, list[Record]] = defaultdict(list)
    for spec in sorted(
        {canonical(protect_spec(r)): protect_spec(r) for r in victims}.values(), key=lambda s: s["seed"]
    ):
        record = protects.get(canonical(spec))
        if record is not None and record.status == "done":
            shown[canonical([spec["dataset"], protection(spec)])].append(record)
    plain = Counter((names.dataset(r[0].spec), names.protector(r[0].spec)) for r in shown.values())
    named = []
    for records in shown.values():
        dataset, label = names.dataset(records[0].spec), names.protector(records[0].spec)
        named.append((dataset, names.crafted_for(records[0].spec) if plain[dataset, label] > 1 else label, records))
    entries = []
    for dataset, label, records in sorted(named, key=lambda entry: entry[:2]):
        kept = not brief and store.has_arrays("protect", records[0].key)
        arrays = store.arrays("protect", records[0].key) if kept else {}
        seconds = [_craft_seconds(record) / record.result["images"] for record in records]
        entries.append(
            Protected(
                dataset=dataset,
                protector=label,
                clean=arrays["preview_clean"].numpy() if kept else None,
                protected=arrays["preview_protected"].numpy() if kept else None,
                visibility=recorded(records[0].result["visibility"]),
                curve=records[0].result["curve"],
                seconds=mean_estimate(seconds),
            )
        )
    return entries


def _craft_seconds(record: Record) -> float:
    """Return how long crafting took; records of older versions tell the whole step, loading the data included."""
    seconds: float = record.made.get("craft_seconds", record.made["wall_seconds"])
    return seconds


def _circumstances(victims: list[Record]) -> dict[str, str]:
    keys = ("device", "torch", "python", "system", "machine", "threads")
    found = {key: ", ".join(sorted({str(record.made[key]) for record in victims})) for key in keys}
    precisions = {str(record.made["precision"]) for record in victims if "precision" in record.made}  # not in old ones
    return {**found, **({"precision": ", ".join(sorted(precisions))} if precisions else {})}


def _commands(store: Store, victims: list[Record]) -> list[str]:
    """Return the commands that asked for any of these victims."""
    keys = {record.key for record in victims}
    return sorted({r.spec["command"] for r in sound_records(store, "bench") if keys & set(r.spec["victims"])})


def _title(record: Record) -> str:
    spec = record.spec
    return f"{spec['model']['label']} on {spec['protector']['label']} / {spec['defense']['label']} seed {spec['seed']}"

"""Records -> numbers: a pure function of the store, so that any table can be made again from the records."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.probe import Sharpness
from howfar.report import Row
from howfar.report.page import Control, Group, Page, Protected, Series
from howfar.score import Distance, Drop, dose_response, drop, unlearnable_distance
from howfar.score.intervals import mean_interval
from howfar.store import Record, Store

CLEAN = "clean"
AMOUNTS = ("eps", "share")
LEAST_AMOUNTS = 3


@dataclass
class _Cells:
    """All victims that differ in protector and seed only."""

    spec: dict[str, Any]
    runs: dict[str, dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))


def collect(store: Store, keys: Iterable[str] | None = None) -> Page:
    """Return everything that leaderboard and page show.

    Args:
        store: where the records are.
        keys: of the victims to show; None shows all.

    Raises:
        HowfarError: if there is not one finished victim.
    """
    wanted = None if keys is None else set(keys)
    victims = [record for record in store.records("victim") if wanted is None or record.key in wanted]
    done = [record for record in victims if record.status == "done"]
    protects = {(r.spec["protector"]["label"], canonical(r.spec)): r for r in store.records("protect")}
    if not done:
        raise HowfarError(f"{store.root} holds no finished victim. Run howfar bench first.")
    groups = _grouped(done)
    shown = [_group(cells, protects) for cells in groups]
    return Page(
        groups=shown,
        protected=_protected(store, done, protects),
        failures=[(_title(record), str(record.result["error"])) for record in victims if record.status == "failed"],
        circumstances=_circumstances(done),
        commands=_commands(store, done),
    )


def compared(clean: Sequence[Record], poisoned: Sequence[Record], label: str) -> Page:
    """Return a page of two kinds of runs alone, paired in their order.

    Args:
        clean: victims of clean images.
        poisoned: as many victims of protected images.
        label: what to call the protection.
    """
    spec = {key: value for key, value in poisoned[0].spec.items() if key not in ("protector", "seed")}
    cells = _Cells(spec)
    for first, second in zip(clean, poisoned, strict=True):
        cells.runs[CLEAN][second.spec["seed"]] = first
        cells.runs[label][second.spec["seed"]] = second
    return Page(groups=[_group(cells, {})], protected=[], circumstances=_circumstances([*clean, *poisoned]))


def _grouped(victims: Sequence[Record]) -> list[_Cells]:
    groups: dict[str, _Cells] = {}
    for record in victims:
        spec = {key: value for key, value in record.spec.items() if key not in ("protector", "seed")}
        cells = groups.setdefault(canonical(spec), _Cells(spec))
        cells.runs[record.spec["protector"]["label"]][record.spec["seed"]] = record
    return sorted(groups.values(), key=_place)


def _place(cells: _Cells) -> tuple[str, str, bool, str, str]:
    dataset, model, defense = (cells.spec[key]["label"] for key in ("dataset", "model", "defense"))
    return dataset, model, defense != "none", defense, canonical(cells.spec)


def _group(cells: _Cells, protects: dict[tuple[str, str], Record]) -> Group:
    clean = cells.runs.get(CLEAN, {})
    rows, series = [], []
    for label, runs in cells.runs.items():
        pairs = sorted(set(clean) & set(runs))
        if pairs:
            first = runs[pairs[0]]
            made = protects.get((label, canonical(_protect_spec(first))))
            rows.append(_row(cells, label, [clean[s] for s in pairs], [runs[s] for s in pairs], made))
        series.append(_series(label, [runs[seed] for seed in sorted(runs)]))
    any_run = next(iter(next(iter(cells.runs.values())).values()))
    return Group(
        dataset=cells.spec["dataset"]["label"],
        task=cells.spec["task"]["label"],
        model=cells.spec["model"]["label"],
        defense=cells.spec["defense"]["label"],
        metric=any_run.result["metric"],
        chance=any_run.result["chance"],
        train_images=any_run.result["train_images"],
        test_images=any_run.result["test_images"],
        seeds=sorted({seed for runs in cells.runs.values() for seed in runs}),
        recipe=cells.spec["recipe"],
        rows=sorted(rows, key=lambda row: (-row.drop, row.protector)),
        series=sorted(series, key=lambda s: (s.protector != CLEAN, s.protector)),
        controls=_controls(cells),
    )


def _controls(cells: _Cells) -> list[Control]:
    """Return every protector that was tried in at least three amounts, all else equal."""
    found = []
    for along in AMOUNTS:
        alike: dict[str, dict[float, dict[int, Record]]] = defaultdict(dict)
        for runs in cells.runs.values():
            settings = dict(next(iter(runs.values())).spec["protector"])
            settings.pop("label")
            if along in settings:
                amount = settings.pop(along)
                alike[canonical(settings)][amount] = runs
        for by_amount in alike.values():
            control = _control(cells, along, by_amount)
            if control is not None:
                found.append(control)
    return found


def _control(cells: _Cells, along: str, by_amount: dict[float, dict[int, Record]]) -> Control | None:
    clean = cells.runs.get(CLEAN, {})
    seeds = sorted(set(clean).intersection(*by_amount.values()))
    drops, distances = {}, {}
    for amount, runs in by_amount.items():
        pairs = [(clean[seed], runs[seed]) for seed in seeds]
        found = [_distance([first], [second]) for first, second in pairs]
        distances[amount] = [distance.value for distance in found if distance]
        drops[amount] = [_drop([first], [second]).value for first, second in pairs]
    if len(by_amount) < LEAST_AMOUNTS or not seeds or any(len(values) < len(seeds) for values in distances.values()):
        return None
    label = min((next(iter(runs.values())).spec["protector"]["label"] for runs in by_amount.values()), key=len)
    return Control(protector=label, along=along, response=dose_response(drops, distances))


def _row(
    cells: _Cells, label: str, clean: list[Record], poisoned: list[Record], made: Record | None
) -> Row:  # fmt: skip
    result = poisoned[0].result
    loss = _drop(clean, poisoned)
    distance = _distance(clean, poisoned)
    seen = made.result["visibility"] if made else {}
    return Row(
        dataset=cells.spec["dataset"]["label"],
        task=cells.spec["task"]["label"],
        model=cells.spec["model"]["label"],
        defense=cells.spec["defense"]["label"],
        protector=label,
        metric=result["metric"],
        clean=loss.clean,
        poisoned=loss.poisoned,
        drop=loss.value,
        drop_low=loss.low if loss.seeds > 1 else None,
        drop_high=loss.high if loss.seeds > 1 else None,
        ud=distance.value if distance else None,
        ud_low=distance.low if distance else None,
        ud_high=distance.high if distance else None,
        beta=distance.beta if distance else None,
        linf=seen.get("linf"),
        l2=seen.get("l2"),
        l0=seen.get("l0"),
        psnr=seen.get("psnr"),
        ssim=seen.get("ssim"),
        needs_labels=made.result["needs_labels"] if made else None,
        seeds=loss.seeds,
    )


def _drop(clean: list[Record], poisoned: list[Record]) -> Drop:
    return drop(
        [record.result["quality"] for record in clean],
        [record.result["quality"] for record in poisoned],
        higher_is_better=poisoned[0].result["higher_is_better"],
    )


def _distance(clean: list[Record], poisoned: list[Record]) -> Distance | None:
    """Return UD, or None where it is not defined, as for a network of one layer."""
    try:
        return unlearnable_distance([readings_of(r) for r in clean], [readings_of(r) for r in poisoned])
    except HowfarError:
        return None


def readings_of(record: Record) -> list[dict[str, Sharpness]]:
    """Return SAL of every layer, one mapping an epoch."""
    return [
        {name: Sharpness(**values) for name, values in epoch["sharpness"].items()} for epoch in record.result["epochs"]
    ]


def watched(epoch: dict[str, Any]) -> dict[str, float]:
    """Return how a network did after an epoch: on validation images where some were kept back, else on test images."""
    found: dict[str, float] = epoch.get("validation") or epoch["test"]
    return found


def _series(label: str, runs: list[Record]) -> Series:
    metric = runs[0].result["metric"]
    quality = np.array([[watched(epoch)[metric] for epoch in run.result["epochs"]] for run in runs])
    sal = np.array([[[r.sal for r in layers.values()] for layers in readings_of(run)] for run in runs]).mean(0)
    loss = np.array([[epoch["loss"] for epoch in run.result["epochs"]] for run in runs]).mean(0)
    return Series(
        protector=label,
        quality=quality.mean(0).tolist(),
        low=quality.min(0).tolist(),
        high=quality.max(0).tolist(),
        loss=loss.tolist(),
        layers=list(runs[0].result["epochs"][0]["sharpness"]),
        sal=sal.T.tolist(),
        seconds=float(np.mean([run.made["wall_seconds"] for run in runs])),
    )


def _protected(
    store: Store, victims: list[Record], protects: dict[tuple[str, str], Record]
) -> list[Protected]:  # fmt: skip
    """Return one entry a protector and data set, from its lowest seed."""
    shown: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for spec in sorted(
        {canonical(_protect_spec(r)): _protect_spec(r) for r in victims}.values(), key=lambda s: s["seed"]
    ):
        record = protects.get((spec["protector"]["label"], canonical(spec)))
        if record is not None and record.status == "done":
            shown[spec["dataset"]["label"], spec["protector"]["label"]].append(record)
    entries = []
    for (dataset, label), records in sorted(shown.items()):
        kept = store.has_arrays("protect", records[0].key)
        arrays = store.arrays("protect", records[0].key) if kept else {}
        seconds = [record.made["wall_seconds"] / record.result["images"] for record in records]
        low, high = mean_interval(seconds) if len(seconds) > 1 else (None, None)
        entries.append(
            Protected(
                dataset=dataset,
                protector=label,
                clean=arrays["preview_clean"].numpy() if kept else None,
                protected=arrays["preview_protected"].numpy() if kept else None,
                visibility=records[0].result["visibility"],
                curve=records[0].result["curve"],
                seconds_per_image=float(np.mean(seconds)),
                seconds_low=low,
                seconds_high=high,
            )
        )
    return entries


def _protect_spec(victim: Record) -> dict[str, Any]:
    return {key: victim.spec[key] for key in ("dataset", "source_task", "protector", "seed")}


def _circumstances(victims: list[Record]) -> dict[str, str]:
    keys = ("device", "torch", "python", "system", "machine", "threads")
    return {key: ", ".join(sorted({str(record.made[key]) for record in victims})) for key in keys}


def _commands(store: Store, victims: list[Record]) -> list[str]:
    """Return the commands that asked for any of these victims."""
    keys = {record.key for record in victims}
    return sorted({r.spec["command"] for r in store.records("bench") if keys & set(r.spec["victims"])})


def _title(record: Record) -> str:
    spec = record.spec
    return f"{spec['model']['label']} on {spec['protector']['label']} / {spec['defense']['label']} seed {spec['seed']}"

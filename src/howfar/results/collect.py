"""Records -> numbers: a pure function of the store, so that any table can be made again from the records."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from howfar.arrays import canonical
from howfar.errors import HowfarError
from howfar.report import Row
from howfar.report.page import Gallery, Group, Page, Protected, Series
from howfar.results.cells import CLEAN, Cells, Distances, Ud, drop_of, grouped, protect_spec, readings_of
from howfar.results.controls import controls
from howfar.results.crosstask import matrices
from howfar.results.galleries import answers, contact_sheets
from howfar.results.landscapes import scenes
from howfar.results.profiles import profiles
from howfar.score import Drop, recorded
from howfar.score.intervals import mean_interval
from howfar.store import Record, Store


def collect(store: Store, keys: Iterable[str] | None = None, *, brief: bool = False) -> Page:
    """Return everything that leaderboard and page show.

    Args:
        store: where the records are.
        keys: of the victims to show; None shows all.
        brief: leave out what only the page shows: pictures, curves, SAL.

    Raises:
        HowfarError: if there is not one finished victim, nor a landscape.
    """
    wanted = None if keys is None else set(keys)
    victims = [record for record in store.records("victim") if wanted is None or record.key in wanted]
    done = [record for record in victims if record.status == "done"]
    protects = {(r.spec["protector"]["label"], canonical(r.spec)): r for r in store.records("protect")}
    landscapes = scenes(store) if keys is None and not brief else []
    if not done and not landscapes:
        raise HowfarError(f"{store.place} holds no finished victim. Run howfar bench first.")
    groups, distances = grouped(done), Distances(store.index)
    page = Page(
        groups=[_group(cells, protects, distances, brief=brief) for cells in groups],
        profiles=profiles(groups),
        matrices=matrices(done, distances, brief=brief),
        scenes=landscapes,
        galleries=[] if brief else _galleries(store, groups, [r for r in protects.values() if _shown(r, done)]),
        protected=_protected(store, done, protects, brief=brief),
        failures=[(_title(record), str(record.result["error"])) for record in victims if record.status == "failed"],
        circumstances=_circumstances(done),
        commands=_commands(store, done),
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
    spec = {key: value for key, value in poisoned[0].spec.items() if key not in ("protector", "seed")}
    cells = Cells(spec)
    for first, second in zip(clean, poisoned, strict=True):
        cells.runs[CLEAN][second.spec["seed"]] = first
        cells.runs[label][second.spec["seed"]] = second
    return Page(
        groups=[_group(cells, {}, Distances())], protected=[], circumstances=_circumstances([*clean, *poisoned])
    )


def _shown(protect: Record, victims: Sequence[Record]) -> bool:
    return any(victim.spec["dataset"] == protect.spec["dataset"] for victim in victims)


def _galleries(store: Store, groups: Sequence[Cells], protects: Sequence[Record]) -> list[Gallery]:
    return [*contact_sheets(store, protects), *answers(store, groups)]


def _group(
    cells: Cells, protects: dict[tuple[str, str], Record], distances: Distances, *, brief: bool = False
) -> Group:  # fmt: skip
    clean = cells.runs.get(CLEAN, {})
    rows, series = [], []
    for label, runs in cells.runs.items():
        pairs = sorted(set(clean) & set(runs))
        if pairs:
            first = runs[pairs[0]]
            made = protects.get((first.spec["protector"]["label"], canonical(protect_spec(first))))
            before, after = [clean[seed] for seed in pairs], [runs[seed] for seed in pairs]
            rows.append(_row(cells, label, drop_of(before, after), distances.of(before, after), first, made))
        if not brief:
            series.append(_series(label, [runs[seed] for seed in sorted(runs)]))
    any_run = next(iter(next(iter(cells.runs.values())).values()))
    return Group(
        **cells.labels,
        metric=any_run.result["metric"],
        chance=any_run.result["chance"],
        train_images=any_run.result["train_images"],
        test_images=any_run.result["test_images"],
        seeds=sorted({seed for runs in cells.runs.values() for seed in runs}),
        recipe=cells.spec["recipe"],
        rows=sorted(rows, key=lambda row: (-row.drop, row.protector)),
        series=sorted(series, key=lambda s: (s.protector != CLEAN, s.protector)),
        controls=[] if brief else controls(cells, distances),
        watched=" and ".join(sorted({_watched_on(run) for runs in cells.runs.values() for run in runs.values()})),
    )


def _row(
    cells: Cells, label: str, loss: Drop, distance: Ud | None, first: Record, made: Record | None
) -> Row:  # fmt: skip
    seen = recorded(made.result["visibility"]) if made else {}
    return Row(
        **cells.labels,
        protector=label,
        metric=first.result["metric"],
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


def watched(epoch: dict[str, Any]) -> dict[str, float]:
    """Return how a network did after an epoch: on validation images where some were kept back, else on test images."""
    found: dict[str, float] = epoch.get("validation") or epoch["test"]
    return found


def _watched_on(run: Record) -> str:
    """Return which images ``watched`` is about."""
    return "validation" if run.result["epochs"][-1].get("validation") else "test"


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
    store: Store, victims: list[Record], protects: dict[tuple[str, str], Record], *, brief: bool
) -> list[Protected]:  # fmt: skip
    """Return one entry a protector and data set, from its lowest seed."""
    shown: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for spec in sorted(
        {canonical(protect_spec(r)): protect_spec(r) for r in victims}.values(), key=lambda s: s["seed"]
    ):
        record = protects.get((spec["protector"]["label"], canonical(spec)))
        if record is not None and record.status == "done":
            shown[spec["dataset"]["label"], spec["protector"]["label"]].append(record)
    entries = []
    for (dataset, label), records in sorted(shown.items()):
        kept = not brief and store.has_arrays("protect", records[0].key)
        arrays = store.arrays("protect", records[0].key) if kept else {}
        seconds = [record.made["wall_seconds"] / record.result["images"] for record in records]
        low, high = mean_interval(seconds) if len(seconds) > 1 else (None, None)
        entries.append(
            Protected(
                dataset=dataset,
                protector=label,
                clean=arrays["preview_clean"].numpy() if kept else None,
                protected=arrays["preview_protected"].numpy() if kept else None,
                visibility=recorded(records[0].result["visibility"]),
                curve=records[0].result["curve"],
                seconds_per_image=float(np.mean(seconds)),
                seconds_low=low,
                seconds_high=high,
            )
        )
    return entries


def _circumstances(victims: list[Record]) -> dict[str, str]:
    keys = ("device", "torch", "python", "system", "machine", "threads")
    found = {key: ", ".join(sorted({str(record.made[key]) for record in victims})) for key in keys}
    precisions = {str(record.made["precision"]) for record in victims if "precision" in record.made}  # not in old ones
    return {**found, **({"precision": ", ".join(sorted(precisions))} if precisions else {})}


def _commands(store: Store, victims: list[Record]) -> list[str]:
    """Return the commands that asked for any of these victims."""
    keys = {record.key for record in victims}
    return sorted({r.spec["command"] for r in store.records("bench") if keys & set(r.spec["victims"])})


def _title(record: Record) -> str:
    spec = record.spec
    return f"{spec['model']['label']} on {spec['protector']['label']} / {spec['defense']['label']} seed {spec['seed']}"

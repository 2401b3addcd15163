"""Records of different versions never share a row, whichever step or part has the version."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from howfar.errors import UsageError
from howfar.store import Record, Store
from howfar.tables import collect, line_of
from howfar.tables.ablation import compared
from howfar.tables.crosstask import matrices
from howfar.tables.curvatures import curvatures
from howfar.tables.cuts import cuts
from howfar.tables.distances import Distances
from howfar.tables.entries import entries
from howfar.tables.groups import grouped
from howfar.tables.landscapes import scenes

from .test_names import MADE, FakeStore, record

SEEDS = (0, 1)
OLD, NEW = 0.2, 0.6  # qualities of protected victims of the two versions
PARTS = ("protector", "source_task", "task", "defense", "model", "recipe", "probe", "alignment")
OF_CLEAN = [part for part in PARTS if part not in ("protector", "source_task")]  # clean images know no protection


def runs(part: str, version: int, quality: float) -> list[Record]:
    """Return clean and protected victims, one part of whose specification has a version."""
    found = []
    for name, seed in product(("clean", "em"), SEEDS):
        one = record(name, seed, 0.9 if name == "clean" else quality)
        own = {**one.spec.get(part, {}), "version": version if part in OF_CLEAN or name == "em" else 1}
        spec = {**one.spec, part: own}
        found.append(replace(one, spec=spec, key=Store.key("victim", spec)))
    return list({one.key: one for one in found}.values())


def both(part: str) -> list[Record]:
    mixed = [*runs(part, 1, OLD), *runs(part, 2, NEW)]
    return list({one.key: one for one in mixed}.values())


@pytest.mark.parametrize("part", PARTS)
def test_no_row_of_the_leaderboard_holds_two_versions(part: str) -> None:
    page = collect(FakeStore(both(part)), brief=True)
    found = [row for row in page.rows if row.protector.startswith("em")]
    assert sorted(round(row.poisoned, 6) for row in found) == [OLD, NEW]
    assert [row.seeds for row in found] == [2, 2]
    titles = {(row.dataset, row.task, row.model, row.defense, row.protector) for row in found}
    assert len(titles) == 2, "the two rows have different names"
    lines = {line_of(one.spec) for one in both(part) if one.spec["protector"]["name"] == "em"}
    assert len(lines) == 2, "seeds are added to each of them"


@pytest.mark.parametrize("part", PARTS)
def test_no_run_is_lost_or_replaced_by_one_of_another_version(part: str) -> None:
    victims = both(part)
    tables = grouped(victims)
    assert sorted(one.key for cells in tables for row in cells.runs.values() for one in row.values()) == sorted(
        one.key for one in victims
    )
    for cells in tables:
        for row in cells.runs.values():
            assert len({one.spec.get(part, {}).get("version") for one in row.values()}) == 1


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("probe", "alignment")])
def test_no_public_row_holds_two_versions(part: str) -> None:
    rows = [row for row in entries(FakeStore(both(part))) if row.protector.startswith("em")]
    found = sorted(tuple(one.protected) for row in rows for one in row.runs.values())
    assert found == [(OLD, OLD), (NEW, NEW)]
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("part", PARTS)
def test_no_cell_of_a_matrix_holds_two_versions(part: str) -> None:
    found = [
        round(cell.protected, 6)
        for matrix in matrices(both(part), Distances(), brief=True, least=1)
        for row in matrix.results.values() for cell in row.values()
    ]  # fmt: skip
    assert sorted(found) == [OLD, NEW]


def test_joint_tasks_of_two_versions_are_columns_of_their_own() -> None:
    victims = []
    for version, name, seed in product((1, 2), ("clean", "em"), SEEDS):
        quality = 0.9 if name == "clean" else {1: OLD, 2: NEW}[version]
        task = {"label": "joint:a+b", "name": "joint", "tasks": "a+b", "version": version}
        one = record(name, seed, quality, task="classification", source="classification")
        part = {"metric": "accuracy", "chance": 0.1, "higher_is_better": True, "quality": quality}
        spec = {**one.spec, "task": task}
        result = {**one.result, "parts": {"a": part, "b": part}}
        victims.append(replace(one, spec=spec, key=Store.key("victim", spec), result=result))
    (single,) = matrices(victims[: len(victims) // 2], Distances(), brief=True, least=1)
    assert [column.name for column in single.columns] == ["a (joint)", "b (joint)"]
    found = matrices(victims, Distances(), brief=True, least=1)
    cells = [
        (column.name, round(row[column.name].protected, 6))
        for matrix in found for row in matrix.results.values() for column in matrix.columns
    ]  # fmt: skip
    assert sorted(value for _, value in cells) == [OLD, OLD, NEW, NEW]
    assert len({name for name, _ in cells}) == 4


class Kept(Store):
    """A store of the given records and arrays."""

    def __init__(self, records: list[Record], arrays: dict[str, dict[str, torch.Tensor]]) -> None:
        self.held, self.kept = records, arrays

    index = None  # type: ignore[assignment]
    root = None  # type: ignore[assignment]

    def records(self, step: str) -> list[Record]:  # type: ignore[override]
        return [one for one in self.held if one.step == step]

    def find(self, step: str, key: str) -> Record | None:
        return next((one for one in self.records(step) if one.key == key), None)

    def has_arrays(self, step: str, key: str) -> bool:
        return key in self.kept

    def whole(self, step: str, key: str) -> bool:
        return key in self.kept

    def arrays(self, step: str, key: str) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return self.kept[key]


def of_step(step: str, spec: dict[str, Any], result: dict[str, Any]) -> Record:
    return Record(step, Store.key(step, spec), spec, "done", result, MADE)


def test_no_landscape_holds_surfaces_of_two_versions() -> None:
    about = {
        "dataset": "d", "task": "t", "model": "m", "seed": 0, "trajectories": {"clean": "k"},
        "view": {"plane": "pca", "layer": "", "weights": "", "norms": "frozen", "images": 8},
    }  # fmt: skip
    panel = {"around": "clean", "on": "test", "draw": 0}
    result = {"metric": "accuracy", "explained": [0.6, 0.3], "paths": {}, "missed": {}}
    records = [
        of_step("landscape", {"scene": about, "panel": panel, "version": version}, result) for version in (1, 2, [2, 2])
    ]
    grid = {"coordinates_0": torch.arange(2.0), "coordinates_1": torch.arange(2.0), "quality": torch.zeros(2, 2)}
    arrays = {one.key: {**grid, "loss": torch.full((2, 2), float(i))} for i, one in enumerate(records)}
    found = scenes(Kept(records, arrays))
    assert [len(scene.panels) for scene in found] == [1, 1, 1]
    assert len({scene.title for scene in found}) == 3
    (alone,) = scenes(Kept(records[:1], arrays))
    assert alone.title == "d · t · m · seed 0"


def curved(path: Record, version: int, sal: float) -> Record:
    layer = {
        "sal": sal, "gradient": 1.0, "radius": 0.1, "eigenvalues": [2.0], "trace": 3.0, "converged": True,
    }  # fmt: skip
    spec = {
        "trajectory": path.key, "settings": {"images": 8}, "version": version, "dataset": "digits", "model": "m",
        "protector": path.spec["protector"]["label"], "seed": path.spec["seed"],
    }  # fmt: skip
    return of_step(
        "curvature",
        spec,
        {"layers": {"": layer, "a": layer, "b": {**layer, "sal": 2 * sal, "gradient": 3.0, "eigenvalues": [5.0]}}},
    )


def path_of(name: str, **more: Any) -> Record:
    one = record(name, 0, 0.5, **more)
    spec = {**one.spec, "walk": {"every": 0, "half": False, "order": 0, "version": 1}}
    return replace(one, step="trajectory", spec=spec, result={**one.result, "moments": []})


@pytest.mark.parametrize(
    ("paths", "versions"),
    [
        ([path_of("clean"), path_of("em")], (1, 2)),
        ([path_of("clean"), path_of("em"), path_of("em", version=2)], (1,)),
        ([path_of(name, model={"label": "m", "name": "m", "version": v}) for v in (1, 2) for name in ("clean", "em")],
         (1,)),
        ([path_of(name, recipe={"epochs": 1, "version": v}) for v in (1, 2) for name in ("clean", "em")], (1,)),
    ],
    ids=["step", "protector", "model", "recipe"],
)  # fmt: skip
def test_no_curvature_and_no_cut_holds_two_versions(paths: list[Record], versions: tuple[int, ...]) -> None:
    readings = [curved(path, version, 1.0 + i) for i, (path, version) in enumerate(product(paths, versions))]
    line = torch.arange(3.0)
    lines = {f"{kind}:{layer}": line for kind in ("distances", "gradient") for layer in ("a", "b")}
    lines |= {f"random:{layer}": line[None] for layer in ("a", "b")}
    store = Kept([*paths, *readings], {one.key: lines for one in readings})
    keys = [one.key for one in readings]
    found = curvatures(store, keys)
    assert [one.seeds for one in found] == [1] * len(readings)
    assert sorted(one.layers["a"]["sal"].value for one in found) == [1.0 + i for i in range(len(readings))]
    drawn = [(entry.title, layer, name) for entry in cuts(store, keys) for layer in entry.layers
             for name in entry.layers[layer]]  # fmt: skip
    assert len(drawn) == 2 * len(readings)


@pytest.mark.parametrize(
    "change",
    [lambda spec: {**spec, "recipe": {"epochs": 1, "version": 2}}, lambda spec: {**spec, "test": "other"}],
)
def test_an_ablation_of_two_versions_is_refused(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    one, other = record("clean", 0, 0.9), record("em", 0, 0.3)
    with pytest.raises(UsageError, match="version"):
        compared([one, replace(other, spec=change(dict(other.spec)))])


def test_an_ablation_does_not_take_a_seed_from_another_version() -> None:
    victims = [record(name, seed, 0.5) for name in ("clean", "em") for seed in SEEDS]
    newer = record("em", 1, 0.5, version=2)
    victims = [replace(one, spec={**one.spec, "variants": []}) for one in (*victims[:3], newer)]
    with pytest.raises(UsageError, match="has no run with seed"):
        compared(victims)

"""Records are grouped by their whole specification: versions, tasks and settings never share a row."""

from dataclasses import replace
from typing import Any

import pytest

from howfar.report.leaderboard import title
from howfar.spec.suffixes import distinguishing_suffixes
from howfar.store import Record, Store
from howfar.tables import broken, collect, protection, victim
from howfar.tables.controls import controls
from howfar.tables.crosstask import matrices
from howfar.tables.distances import Distances
from howfar.tables.entries import entries
from howfar.tables.groups import grouped
from howfar.tables.names import Names
from howfar.tables.ranking import names

MADE = dict.fromkeys(("device", "torch", "python", "system", "machine"), "x") | {"threads": 1, "wall_seconds": 1.0}


def record(
    made: str, seed: int, quality: float, *, version: int = 1, task: str = "classification", source: str = "",
    defense: str = "none", chance: float = 0.1, **more: Any,
) -> Record:  # fmt: skip
    """Return a finished victim; ``more`` changes parts of its specification."""
    spec = {
        "dataset": {"label": "digits", "train": "x"},
        "source_task": {"name": source or task, "version": 1},
        "protector": {"label": made, "name": made, "version": version},
        "seed": seed, "test": "t",
        "task": {"label": task, "name": task, "version": 1},
        "defense": {"label": defense, "name": defense},
        "model": {"label": "m", "name": "m", "version": 1},
        "recipe": {"epochs": 1}, "probe": {"images": 0},
        **more,
    }  # fmt: skip
    result = {
        "quality": quality, "validation": quality, "metric": "accuracy", "chance": chance, "higher_is_better": True,
        "train_images": 10, "test_images": 10_000,
        "epochs": [{"test": {"accuracy": quality}, "loss": 1.0, "sharpness": {}}],
    }  # fmt: skip
    return Record("victim", Store.key("victim", spec), spec, "done", result, MADE)


CLEAN = [record("clean", seed, 0.95) for seed in (0, 1)]


class FakeStore(Store):
    """A store of the given records."""

    def __init__(self, records: list[Record]) -> None:
        self.held = records

    index = None  # type: ignore[assignment]
    root = None  # type: ignore[assignment]

    def records(self, step: str) -> list[Record]:  # type: ignore[override]
        return self.held if step == "victim" else []


def test_versions_of_a_protector_are_rows_of_their_own() -> None:
    runs = [record("em", seed, value, version=v) for v, value in ((1, 0.3), (2, 0.9)) for seed in (0, 1)]
    (cells,) = grouped([*CLEAN, *runs])
    assert set(cells.runs) == {"clean", "em (version 1)", "em (version 2)"}
    for name, value in (("em (version 1)", 0.3), ("em (version 2)", 0.9)):
        assert {r.result["quality"] for r in cells.runs[name].values()} == {value}
    assert set(grouped([*CLEAN, *runs[:2]])[0].runs) == {"clean", "em"}, "one version alone keeps its bare name"
    page = collect(FakeStore([*CLEAN, *runs]), brief=True)
    assert {row.protector: round(row.poisoned, 6) for row in page.rows} == {
        "clean": 0.95, "em (version 1)": 0.3, "em (version 2)": 0.9,
    }  # fmt: skip


def test_rows_of_a_plug_in_that_is_not_installed_are_shown() -> None:
    runs = [record(name, seed, 0.5) for name in ("clean", "of-a-plug-in[eps=1]") for seed in (0, 1)]
    assert set(grouped(runs)[0].runs) == {"clean", "of-a-plug-in[eps=1]"}


def test_a_changed_default_is_told_apart_by_its_value() -> None:
    runs = [
        record("em", 0, 0.3, protector={"label": "em", "name": "em", "version": 1, "eps": eps}) for eps in (0.5, 0.25)
    ]
    (cells,) = grouped([*CLEAN, *runs])
    assert set(cells.runs) == {"clean", "em (eps 0.5)", "em (eps 0.25)"}


def test_the_newest_clean_images_are_what_all_others_are_compared_with() -> None:
    old = [record("clean", seed, 0.5, version=0) for seed in (0, 1, 2)]
    (cells,) = grouped([*CLEAN, *old, record("em", 0, 0.3)])
    assert {r.result["quality"] for r in cells.runs["clean"].values()} == {0.95}
    assert set(cells.runs) == {"clean", "clean (version 0)", "em"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"model": {"label": "m", "name": "m", "version": 2}}, "m (version 2)"),
        ({"recipe": {"epochs": 9}}, "m (recipe.epochs 9)"),
        ({"test": "other"}, "m (test other)"),
    ],
)
def test_tables_of_one_title_are_told_apart(change: dict[str, Any], name: str) -> None:
    others = [record(p, seed, 0.6, **change) for p in ("clean", "em") for seed in (0, 1)]
    mine = [record("em", seed, 0.3) for seed in (0, 1)]
    page = collect(FakeStore([*CLEAN, *mine, *others]), brief=True)
    assert len({title(row) for row in page.rows}) == len(page.groups) == 2
    assert name in {group.model for group in page.groups}
    assert len({row.protector for row in page.groups[0].rows}) == len(page.groups[0].rows) == 2


def test_defenses_of_two_versions_are_two_columns() -> None:
    runs = [of_jpeg(record(protector, 0, 0.6), version) for protector in ("clean", "em") for version in (1, 2)]
    (profile,) = collect(FakeStore([*CLEAN, record("em", 0, 0.3), *runs]), brief=True).profiles
    assert profile.defenses == ["none", "jpeg (version 1)", "jpeg (version 2)"]


def of_jpeg(one: Record, version: int) -> Record:
    spec = {**one.spec, "defense": {"label": "jpeg", "name": "jpeg", "version": version}}
    return replace(one, spec=spec, key=Store.key("victim", spec))


def test_what_is_broken_is_broken_for_its_own_task_and_version() -> None:
    scenes = [record("clean", s, 0.95, task="class_scene", chance=0.17) for s in (0, 1)]
    scenes += [record("em", s, 0.20, task="class_scene", chance=0.17) for s in (0, 1)]
    segments = [record("clean", s, 0.25, task="segment_semantic") for s in (0, 1)]
    segments += [record("em", s, 0.24, task="segment_semantic") for s in (0, 1)]
    assert broken(scenes, 0.5) == {}
    found = broken([*scenes, *segments], 0.5)
    last = segments[-1].spec
    assert set(found) == {(victim(last), protection(last))}
    assert found[victim(last), protection(last)] == "em against m, segment_semantic"
    newer = [record("em", s, 0.9, task="class_scene", chance=0.17, version=2) for s in (0, 1)]
    names = broken([*scenes, *newer], 0.5)
    assert list(names.values()) == ["em (version 2) against m, class_scene"]


def test_amounts_of_one_control_have_one_source_task() -> None:
    def amount(eps: float, source: str, value: float) -> Record:
        part = {"label": f"em[eps={eps}]", "name": "em", "version": 1, "eps": eps}
        return record("em", 0, value, source=source, protector=part)

    near = [amount(eps, "", 0.5) for eps in (0.1, 0.2)]
    far = [amount(eps, "edge_texture", 0.9) for eps in (0.3, 0.4)]
    (cells,) = grouped([*CLEAN[:1], *near, *far])
    assert controls(cells, Distances()) == [], "no protector was tried in three amounts"


def test_a_matrix_keeps_versions_and_test_sets_apart() -> None:
    runs = [
        record(p, seed, value, task=task, version=v)
        for task in ("class_scene", "segment_semantic")
        for p, v, value in (("clean", 1, 0.9), ("random", 1, 0.8), ("random", 2, 0.2))
        for seed in (0, 1)
    ]
    (matrix,) = matrices(runs, Distances(), brief=True)
    assert set(matrix.results) == {"random (version 1)", "random (version 2)"}
    assert matrix.results["random (version 2)"]["class_scene"].protected == pytest.approx(0.2)
    other = [
        record("random", 0, 0.1, task="class_scene", test="u"),
        record("clean", 0, 0.9, task="class_scene", test="u"),
    ]
    found = matrices([*runs, *other], Distances(), brief=True, least=1)
    assert len(found) == 2
    assert {m.results[n]["class_scene"].protected for m in found for n in m.results if n == "random (version 1)"} == {
        0.8,
        0.1,
    }


def test_rows_of_a_public_leaderboard_keep_versions_apart() -> None:
    runs = [record("em", seed, value, version=v) for v, value in ((1, 0.3), (2, 0.9)) for seed in (0, 1)]
    rows = entries(FakeStore([*CLEAN, *runs]))
    assert len({row.name for row in rows}) == len(rows) == 2
    one, other = rows
    assert replace(one, protector="em").name != replace(other, protector="em").name
    merged = [replace(one, protector="em"), replace(other, protector="em")]
    assert names(merged) == ["em (version 1)", "em (version 2)"]
    assert names(merged[:1]) == ["em"]
    assert replace(one, versions={**one.versions, "model": 2}).victim != one.victim
    assert replace(one, test="other").victim != one.victim


def test_a_store_of_one_kind_has_bare_names() -> None:
    names = Names(CLEAN)
    assert names.tables(CLEAN[0].spec) == {
        "dataset": "digits", "task": "classification", "model": "m", "defense": "none",
    }  # fmt: skip
    assert names.row(CLEAN[0].spec) == "clean"


def test_many_differences_become_a_digest() -> None:
    two = distinguishing_suffixes([("x", {"a": "\x1b[31m"}), ("x", {"a": 2})])
    assert list(two.values()) == [
        " (a \\x1b[31m)",
        " (a 2)",
    ]
    found = distinguishing_suffixes([("x", {"a": 1, "b": 2, "c": 3, "d": 4}), ("x", {"a": 2, "b": 3, "c": 4, "d": 5})])
    assert len(set(found.values())) == 2
    assert all(len(text) == len(" (12345678)") for text in found.values())

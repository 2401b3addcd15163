"""From a suite of several tasks to the matrix, on a few tiny rooms."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from howfar.engine import plan
from howfar.errors import HowfarError, UsageError
from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite
from howfar.grid.runnable import check_data, runnable
from howfar.report.crosstask import as_json, as_markdown, distances
from howfar.report.render import render
from howfar.score import retention
from howfar.steps import run as run_step
from howfar.store import Record, Store
from howfar.store.record import ARRAYS
from howfar.tables import collect
from howfar.tables.crosstask import _summary, matrices
from howfar.tables.distances import Distances
from howfar.tables.entries import entries
from howfar.tables.matrix import Column, TaskResult
from howfar.tables.page import Page
from howfar.tables.ranking import ranked

TINY = {
    "dataset": "rooms[size=16,train=80,test=24]", "protectors": "random,lsp[eps=16/255],em[rounds=1,steps=1]",
    "tasks": "class_scene,normal,joint:class_scene+normal", "source_tasks": "class_scene,normal", "seeds": "0-1",
    "models": "resnet8[width=4]", "probe_images": 8, "train": {"epochs": 1, "batch_size": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Experiment]]:
    """Return a store with all cells of a tiny suite."""
    folder = tmp_path_factory.mktemp("crosstask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWFAR_DATA", str(folder / "data"))
        settings = {**TINY, "protectors": "random,em[rounds=1,steps=1,train_steps=1]"}
        experiments = make_suite("crosstask", settings).experiments()
        check_data(experiments)
        store = Store(folder / "runs")
        for step in plan(experiments, store)[0]:
            list(run_step(step, store, torch.device("cpu")))
    return store, experiments


@pytest.fixture(scope="module")
def page(finished: tuple[Store, list[Experiment]]) -> Page:
    """Return the page as if chance were worse than what networks learn in one epoch."""
    return easy_page(finished[0])


def easy_page(store: Store) -> Page:
    return replace(collect(store), matrices=matrices([easier(r) for r in store.records("victim")], Distances()))


def easier(record: Record) -> Record:
    worst = {True: -1.0, False: 180.0}
    result = {**record.result, "chance": worst[record.result["higher_is_better"]]}
    if "parts" in result:
        result["parts"] = {
            name: {**part, "chance": worst[part["higher_is_better"]]} for name, part in result["parts"].items()
        }
    return replace(record, result=result)


def test_what_knows_no_target_is_crafted_once(finished: tuple[Store, list[Experiment]]) -> None:
    made = {}
    for record in finished[0].records("protect"):
        made.setdefault(record.spec["protector"]["label"].partition("[")[0], []).append(record)
    assert {name: len(records) for name, records in made.items()} == {"clean": 2, "random": 2, "em": 4}


def test_the_matrix_has_a_row_a_source_and_a_column_a_task(page: Page) -> None:
    (matrix,) = page.matrices
    assert [column.name for column in matrix.columns] == [
        "class_scene", "normal", "class_scene (joint)", "normal (joint)",
    ]  # fmt: skip
    assert matrix.seeds == (2, 2)
    names = {name.partition("[")[0] + name.partition("]")[2] for name in matrix.results}
    assert names == {"random", "em ← class_scene", "em ← normal"}
    for name, summary in matrix.summaries.items():
        kept = {task: cell.retention.value for task, cell in matrix.results[name].items()}
        source = name.partition(" ← ")[2]
        others = {task: value for task, value in kept.items() if task.partition(" (")[0] != source}
        assert summary.worst == max(others.values())
        assert summary.score == pytest.approx(1 - summary.worst)
        assert summary.own == max((kept[task] for task in kept if task not in others), default=None)


def test_tasks_of_a_joint_source_are_its_own() -> None:
    row = {
        name: TaskResult(0.9, after, retention([0.9, 0.8], [after, after], chance=0.1))
        for name, after in (("class_scene", 0.2), ("normal", 0.3), ("depth_euclidean", 0.7), ("keypoints2d", 0.8))
    }
    columns = {name: Column(name, "accuracy", 0.1, True) for name in row}
    summary = _summary(row, columns, "joint:class_scene+normal")
    assert summary is not None
    assert summary.own == row["normal"].retention.value
    assert (summary.worst, summary.task) == (row["keypoints2d"].retention.value, "keypoints2d")
    assert summary.mean == pytest.approx((summary.worst + row["depth_euclidean"].retention.value) / 2)
    row["depth_euclidean"] = TaskResult(0.9, 0.0, retention([0.9, 0.8], [0.0, 0.0], chance=0.1))
    below = _summary(row, columns, "joint:class_scene+normal")
    assert below is not None
    assert below.mean == pytest.approx(summary.worst / 2), "what is worse than chance makes up for no other"
    row["normal"] = TaskResult(0.12, 0.9, retention([0.12, 0.12], [0.9, 0.9], chance=0.1))
    learned = _summary(row, columns, "class_scene")
    assert learned is not None
    assert learned.task == "keypoints2d", "a task that was not learned from clean images is no worst case"


def test_retention_is_what_the_records_say(finished: tuple[Store, list[Experiment]], page: Page) -> None:
    (matrix,) = page.matrices
    values: dict[tuple[str, str, str], list[float]] = {}
    for record in finished[0].records("victim"):
        spec = record.spec
        key = (spec["protector"]["label"], spec["source_task"]["name"], spec["task"]["label"])
        values.setdefault(key, []).append(record.result["quality"])
    for name, row in matrix.results.items():
        protector, _, source = name.partition(" ← ")
        for task, cell in row.items():
            if "(" not in task:
                own = values[protector, source or "class_scene", task]
                assert cell.protected == pytest.approx(sum(own) / 2)


def test_every_task_has_a_leaderboard_of_its_own(page: Page) -> None:
    assert {group.task for group in page.groups} == {"class_scene", "normal", "joint:class_scene+normal"}
    for group in page.groups:
        assert sum(row.protector == "clean" for row in group.rows) == 1
        assert len(group.rows) == 4


def test_the_page_shows_matrix_targets_and_answers(page: Page) -> None:
    text = render(page)
    assert "Across tasks" in text
    titles = [gallery.title for gallery in page.galleries]
    assert any("all targets" in title for title in titles)
    assert any(title.startswith("normal") for title in titles)
    json.loads(as_json(page.matrices))
    assert as_markdown(page.matrices).count("\n| ") >= len(page.matrices[0].results)


def test_every_task_learned_alone_has_its_distance(
    page: Page, finished: tuple[Store, list[Experiment]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distances(page.matrices[0]) == []
    assert "UD is left out: the clean model has" in render(page), "too few layers are learnable after so few steps"
    monkeypatch.setattr("howfar.tables.distances.LEAST_LAYERS", 0)
    page = easy_page(finished[0])
    (matrix,) = page.matrices
    header, *lines = distances(matrix)
    assert header == ("protector", "class_scene", "normal")
    assert len(lines) == len(matrix.results)
    for name, row in matrix.results.items():
        for task in ("class_scene", "normal"):
            own = name.removesuffix(f" ← {task}")
            (theirs,) = (r for g in page.groups if g.task == task for r in g.rows if r.protector == own)
            found = row[task].ud
            assert found == theirs.ud
    assert "UD of every task" in render(page)


def test_published_records_without_images_are_made_anew_only_where_images_are_needed(
    finished: tuple[Store, list[Experiment]],
) -> None:
    store, experiments = finished
    assert plan(experiments, store)[0] == []
    protect, victim = experiments[0].steps()
    (store.root / protect.name / protect.key / ARRAYS).unlink()
    assert plan(experiments, store)[0] == []
    record = store.find(victim.name, victim.key)
    assert record is not None
    folder = store.root / victim.name / victim.key
    folder.rename(folder.with_name(".away"))
    assert [step.name for step in plan(experiments, store)[0]] == ["protect", "victim"]
    list(run_step(protect, store, torch.device("cpu")))
    assert store.has_arrays(protect.name, protect.key)
    folder.with_name(".away").rename(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protectors": "ar", "source_tasks": "normal"}, "cannot be crafted against 'normal'"),
        ({"protectors": "random", "defenses": "orthogonal-projection", "tasks": "normal"}, "needs one class per image"),
        ({"protectors": "random", "defenses": "cutmix"}, "mixes or moves targets"),
        ({"protectors": "random", "tasks": "classification"}, "unknown target 'label'"),
    ],
)
def test_what_cannot_work_is_said_before_the_run(
    change: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=message):
        check_data(make_suite("crosstask", TINY, change).experiments())


@pytest.mark.parametrize("tasks", ["normal,segment_semantic", "joint:normal+segment_semantic"])
def test_pixel_classes_that_only_the_test_set_has_are_refused_before_the_run(
    tasks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path))
    change = {"dataset": "rooms[size=16,train=8,test=60]", "source_tasks": "normal", "protectors": "random"}
    with pytest.raises(HowfarError, match="class 15 of 'segment_semantic', which the training set lacks"):
        check_data(make_suite("crosstask", TINY, {**change, "tasks": tasks}).experiments())


def test_members_of_an_ensemble_are_left_out_where_they_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path))
    change = {"protectors": "random", "defenses": "worst", "tasks": "class_scene,normal"}
    suite = make_suite("crosstask", TINY, change)
    assert suite.held_out is None
    asked = suite.experiments()
    assert {e.held_out for e in asked} == {1000}, "DFR needs clean images, so some are held back"
    kept, left_out = runnable(asked)
    needs = "needs one class per image, which 'normal' does not have"
    assert left_out["orthogonal-projection:momentum"] == needs
    assert {e.defense.label for e in kept if e.task.label == "normal"} == {"none", "jpeg"}
    assert {e.defense.label for e in kept if e.task.label == "class_scene"} >= {
        "none",
        "jpeg",
        "orthogonal-projection:momentum",
    }
    assert len(kept) < len(asked)
    with pytest.raises(UsageError, match=needs):
        runnable(make_suite("crosstask", TINY, change, {"defenses": "worst,orthogonal-projection"}).experiments())
    assert {e.held_out for e in make_suite("crosstask", TINY, {"defenses": "jpeg"}).experiments()} == {0}


def test_rows_of_a_leaderboard_tell_parts_and_data_apart(finished: tuple[Store, list[Experiment]]) -> None:
    rows = entries(finished[0])
    assert len({row.name for row in rows}) == len(rows) == 3 * 5  # random, EM from either; two tasks, three of joint
    joint = "joint:class_scene+normal"
    (part,) = (row for row in rows if row.task == f"normal of {joint}" and row.protector.startswith("random"))
    assert (part.metric, part.ud) == ("mean angle", None)
    asked = [r for r in finished[0].records("victim") if r.spec["task"]["label"] == joint]
    clean = {r.result["parts"]["normal"]["quality"] for r in asked if r.spec["protector"]["name"] == "clean"}
    assert set(part.runs["none"].clean) == clean
    assert replace(part, data="of another size").victim != part.victim
    assert len(ranked([part, replace(part, data="of another size"), replace(part, protector="em")])) == 2


def test_of_rows_of_one_name_that_with_ud_stands(
    finished: tuple[Store, list[Experiment]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run without a probe asks for the same victims."""
    store = finished[0]
    victims = [r for r in store.records("victim") if "parts" not in r.result]
    bare = []
    for record in victims:
        epochs = [{**epoch, "sharpness": {}} for epoch in record.result["epochs"]]
        spec = {**record.spec, "probe": {**record.spec["probe"], "images": 0}}
        bare.append(replace(record, key=f"0{record.key[1:]}", spec=spec, result={**record.result, "epochs": epochs}))
    for order in ([*victims, *bare], [*bare, *victims]):
        held = {"victim": order}
        monkeypatch.setattr(Store, "records", lambda _, step, held=held: held.get(step, []))
        rows = entries(store)
        assert len({row.name for row in rows}) == len(rows) == 6
        assert all(row.ud is not None for row in rows)

"""From a request to the cells of a grid."""

from collections import Counter

import pytest

from howfar.errors import UsageError
from howfar.grid.overrides import make_suite
from howfar.spec import parse
from howfar.tasks import TASKS, is_dense

ROOMS = {
    "dataset": "rooms[size=16,train=20,test=10]", "tasks": "class_scene,normal", "source_tasks": "class_scene",
    "protectors": "random,ops", "seeds": "0",
}  # fmt: skip


def test_dense_tasks_have_networks_of_their_own() -> None:
    keys = {
        **ROOMS,
        "models": "lenet5",
        "dense_models": "unet:4-8",
        "tasks": "class_scene,normal,joint:class_scene+normal",
    }
    cells = make_suite("two-tasks", keys).experiments()
    assert {(cell.task.name, cell.model.label) for cell in cells} == {
        ("class_scene", "lenet5"), ("normal", "unet:4-8"), ("joint", "unet:4-8"),
    }  # fmt: skip


def test_whoever_names_victims_means_them_for_every_task() -> None:
    cells = make_suite("two-tasks", {"models": "resnet8"}).experiments()
    assert {cell.model.label for cell in cells} == {"resnet8"}


def test_a_protector_may_name_its_own_source_task() -> None:
    keys = {
        **ROOMS,
        "source_tasks": "class_scene,rotation",
        "protectors": "random@normal,ops@class_object,ops[share=0.5]",
    }
    cells = make_suite("two-tasks", keys).experiments()
    found = Counter((cell.protector.label, cell.source_task.label) for cell in cells if cell.task.name == "normal")
    assert set(found) == {
        ("clean", "class_scene"), ("random", "class_scene"),  # know of no task
        ("ops", "class_object"), ("ops[share=0.5]", "class_scene"), ("ops[share=0.5]", "rotation"),
    }  # fmt: skip
    assert set(found.values()) == {1}
    with pytest.raises(UsageError, match="more than one source task"):
        make_suite("two-tasks", {"protectors": "ops@normal@class_scene"}).experiments()
    with pytest.raises(UsageError, match="no source task after the @"):
        make_suite("two-tasks", {"protectors": "ops@"}).experiments()
    with pytest.raises(UsageError, match="unknown task 'class_scne'"):
        make_suite("two-tasks", {"protectors": "ops@class_scne"}).experiments()


def test_settings_of_one_network_hold_for_it_alone() -> None:
    keys = {**ROOMS, "models": "lenet5,resnet8", "train": {"epochs": 4, "resnet8": {"epochs": 7, "lr": 0.3}}}

    def recipes(*layers: object, settings: tuple[str, ...] = ()) -> dict[str, tuple[int, float]]:
        suite = make_suite("digits", keys, *layers, settings=settings)  # type: ignore[arg-type]
        return {cell.model.name: (cell.recipe.epochs, cell.recipe.lr) for cell in suite.experiments()}

    assert recipes() == {"lenet5": (4, 0.05), "resnet8": (7, 0.3)}
    assert recipes(settings=("train.resnet8.lr=0.2",)) == {"lenet5": (4, 0.05), "resnet8": (7, 0.2)}
    assert recipes({"train": {"epochs": 2}}) == {"lenet5": (2, 0.05), "resnet8": (2, 0.3)}, "a later layer wins"
    with pytest.raises(UsageError, match="unknown model 'resnet9'"):
        recipes(settings=("train.resnet9.lr=0.2",))
    with pytest.raises(UsageError, match=r"unknown key 'train\.lrr'"):
        recipes(settings=("train.resnet8.lrr=0.2",))


@pytest.mark.parametrize(("text", "value"), [("±5", 5.0), ("2.5", 2.5), ("10 %", 10.0), ("off", None)])
def test_how_well_rows_are_to_be_known(text: str, value: float | None) -> None:
    assert make_suite("digits", {"until": text}).until == value


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "five"])
def test_a_width_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"until.*such as 5, or off"):
        make_suite("digits", {"until": text})


def test_dense_tasks_are_those_with_an_output_for_every_pixel() -> None:
    from howfar.arrays import PerPixel
    from howfar.data import DATASETS

    train = parse("rooms[size=16,train=20,test=10]", DATASETS, "dataset").build().train
    for name in TASKS:
        spec = parse("joint:class_scene+rotation" if name == "joint" else name, TASKS, "task")
        if name == "classification":
            assert not is_dense(spec)
            continue
        assert is_dense(spec) == isinstance(spec.build()(train).outputs, PerPixel), name


def test_keys_are_spelled_with_hyphens_or_underscores() -> None:
    layer = {"limit-train": 50, "train": {"batch-size": 7, "vit-small": {"weight-decay": 0.1}}}
    suite = make_suite("digits", layer, settings=["probe-images=0", "train.vit-small.batch-size=8"])
    assert (suite.limit_train, suite.probe_images, suite.train["batch_size"]) == (50, 0, 7)
    assert suite.train["vit-small"] == {"weight_decay": 0.1, "batch_size": "8"}
    assert suite == make_suite(
        "digits", {"limit_train": 50, "train": {"batch_size": 7, "vit-small": {"weight_decay": 0.1}}},
        settings=["probe_images=0", "train.vit-small.batch_size=8"],
    )  # fmt: skip


def test_lists_may_hold_settings_after_a_colon() -> None:
    suite = make_suite("digits", {"protectors": "em,lsp:eps=8/255,share=0.5"})
    labels = {experiment.protector.label for experiment in suite.experiments()}
    assert labels == {"clean", "em[eps=16/255]", "lsp[eps=8/255,share=0.5]"}

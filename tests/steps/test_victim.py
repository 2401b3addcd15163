"""What the steps of an experiment look at, and when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from howfar import arrays
from howfar.arrays import finished
from howfar.data import Data, Splits, loaded
from howfar.errors import HowfarError, UsageError
from howfar.grid.overrides import make_suite
from howfar.models import MODELS, build
from howfar.report.render import render
from howfar.steps import protect as crafting
from howfar.steps import run as run_step
from howfar.steps import victim as training
from howfar.store import Store
from howfar.store.clock import warm_up
from howfar.tables import collect
from howfar.tasks import TASKS

DEFENSES = (
    "none,early-stop,denoise[steps=2],adaptive[steps=2],linear-probe,dfr,clean-only,orthogonal-projection+ueraser"
)


class Sealed(Data):
    """Images that nobody may look at before the end."""

    opened = False

    def __getattribute__(self, name: str) -> Any:
        """Refuse pixels and targets."""
        if name in ("pixels", "targets") and not Sealed.opened:
            raise AssertionError("the test images were touched before the final evaluation")
        return super().__getattribute__(name)


def seal(splits: Splits) -> Splits:
    """Return the same data with sealed test images."""
    Sealed.opened = True
    try:
        sealed = Sealed(splits.test.pixels, splits.test.targets, splits.test.ids)
    finally:
        Sealed.opened = False
    return replace(splits, test=sealed)


@pytest.mark.parametrize("defense", DEFENSES.split(","))
def test_test_images_are_looked_at_once_at_the_end(
    defense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = make_suite(
        "digits",
        {
            "protectors": "random", "models": "resnet8[width=2]", "defenses": defense, "seeds": "0",
            "limit_train": 60, "limit_test": 30, "held_out": 60, "probe_images": 10, "train": {"epochs": 2},
        },
    )  # fmt: skip
    steps = suite.experiments()[1].steps()
    load, judged = loaded._load, training._judged
    monkeypatch.setattr(loaded, "_load", lambda *key: seal(load(*key)))

    def open_and_judge(*arguments: Any) -> Any:
        Sealed.opened = True
        return judged(*arguments)

    monkeypatch.setattr(training, "_judged", open_and_judge)
    store, device = Store(tmp_path), torch.device("cpu")
    try:
        for step in steps:
            list(run_step(step, store, device))
            assert Sealed.opened == (step.name == "victim")
    finally:
        Sealed.opened = False
    record = next(iter(store.records("victim")))
    result = record.result
    assert 0 <= result["quality"] <= 1
    assert all("test" not in epoch and "validation" in epoch for epoch in result["epochs"])
    assert collect(store, [record.key]).groups[0].watched == "validation"


def test_nothing_chooses_an_epoch_without_validation_images(tmp_path: Path) -> None:
    suite = make_suite(
        "digits",
        {
            "protectors": "random", "models": "linear", "defenses": "early-stop", "seeds": "0", "limit_train": 60,
            "limit_test": 30, "held_out": 0, "probe_images": 10, "train": {"epochs": 1},
        },
    )  # fmt: skip
    store, device = Store(tmp_path), torch.device("cpu")
    protect, victim = suite.experiments()[1].steps()
    list(run_step(protect, store, device))
    with pytest.raises(HowfarError, match="held_out"):
        list(run_step(victim, store, device))


@pytest.mark.parametrize(
    ("keys", "model", "tasks"),
    [
        ({}, "airbench:32-64-128", 2),
        ({"dataset": "rooms:16"}, "airbench:32-64-128", 2),
        ({"dataset": "digits"}, "lenet5", 1),
        ({"dataset": "mnist"}, "airbench:small", 1),
    ],
)
def test_a_data_set_without_a_suite_gets_the_one_made_for_it(keys: dict[str, str], model: str, tasks: int) -> None:
    suite = make_suite(None, keys)
    assert suite.dataset.startswith(keys.get("dataset", "rooms"))
    assert (suite.models[0], len(suite.tasks)) == (model, tasks)


def test_a_run_without_a_probe_has_quality_and_no_distance(tmp_path: Path) -> None:
    suite = make_suite(
        "digits",
        {
            "protectors": "random", "models": "resnet8[width=2]", "defenses": "none", "seeds": "0,1",
            "limit_train": 60, "limit_test": 30, "held_out": 0, "probe_images": 0, "train": {"epochs": 1},
        },
    )  # fmt: skip
    experiments, store = suite.experiments(), Store(tmp_path)
    for step in {step.key: step for one in experiments for step in one.steps()}.values():
        list(run_step(step, store, torch.device("cpu")))
    page = collect(store, [one.steps()[1].key for one in experiments])
    (row,) = (row for row in page.rows if row.protector != "clean")
    assert row.ud is None
    assert row.seeds == 2
    assert page.groups[0].watched == "test"
    assert 'id="sal-' not in render(page)


def test_a_metric_that_nothing_enters_is_an_error_and_a_lesser_one_unknown(digits: Splits) -> None:
    data = digits.test.take(range(6))
    known = replace(data, targets={"edge_occlusion": torch.rand(6, 1, *data.shape[1:], generator=arrays.seeded(0))})
    task = TASKS["edge_occlusion"]()(known)
    model = build(MODELS["resnet8"](width=2), data.shape, task.outputs, generator=arrays.seeded(0))
    flat = replace(data, targets={"edge_occlusion": torch.full((6, 1, *data.shape[1:]), -1.0)})
    assert training.metrics_of(model, replace(task, limit=1e6), flat)["f1"] is None
    empty = replace(data, targets={"edge_occlusion": torch.full((6, 1, *data.shape[1:]), float("nan"))})
    with pytest.raises(HowfarError, match="none of them has a value of 'edge_occlusion'"):
        training.metrics_of(model, task, empty)


def test_a_probe_of_one_image_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        make_suite("digits", {"probe_images": 1})


def test_a_protected_set_records_what_its_crafting_reached(tmp_path: Path) -> None:
    suite = make_suite(
        "digits",
        {
            "protectors": "ar[response=2]", "models": "linear", "defenses": "none", "seeds": "0", "limit_train": 40,
            "limit_test": 20, "train": {"epochs": 1},
        },
    )  # fmt: skip
    step = next(step for step in suite.experiments()[-1].steps() if step.name == "protect")
    record = finished(run_step(step, Store(tmp_path), torch.device("cpu")))
    assert record.result["notes"]["response asked for"] == 2
    assert record.result["notes"]["response reached"] >= 2


@pytest.mark.parametrize(
    "defense", ["none", "jpeg", "cutout", "mixup", "orthogonal-projection", "clean-only", "jpeg+ueraser"]
)
def test_alignment_compares_what_the_learner_sees_of_both(defense: str, tmp_path: Path) -> None:
    suite = make_suite(
        "digits",
        {
            "protectors": "random,ops", "models": "linear", "defenses": defense, "seeds": "0", "limit_train": 80,
            "limit_test": 30, "held_out": 60, "probe_images": 0, "alignment_images": 30, "train": {"epochs": 2},
        },
    )  # fmt: skip
    store, found = Store(tmp_path), {}
    for one in suite.experiments():
        for step in one.steps():
            for _ in run_step(step, store, torch.device("cpu")):
                pass
        (key,) = (step.key for step in one.steps() if step.name == "victim")
        epochs = store.records("victim")
        (record,) = [record for record in epochs if record.key == key]
        found[one.protector.name] = [epoch.get("alignment") for epoch in record.result["epochs"]]
    if defense == "clean-only":
        assert found["ops"] == [None, None], "it learns from other images, which have no originals"
        return
    for values in found["clean"]:
        assert values["network"][0] == pytest.approx(1)
        assert len(values) == 2, "one layer, and the network"
    if defense != "orthogonal-projection":  # which turns random noise into other directions than none at all
        assert all(values["network"][0] > 0.9 for values in found["random"])
    assert found["ops"][-1]["network"][0] < found["random"][-1]["network"][0]
    assert all(len(values) == 5 for epoch in found["ops"] for values in epoch.values())
    on_originals = [epoch["originals"] for epoch in record.result["epochs"]]
    assert all(0 <= values["accuracy"] <= 1 and values["loss"] > 0 for values in on_originals)


def test_the_cost_of_protection_is_that_of_crafting_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are loaded and optimizers set up before the clock starts, and the noise is measured after it stopped."""
    keys = {"protectors": "em[rounds=1,steps=1]", "models": "linear", "defenses": "none", "seeds": "0",
            "limit_train": 60, "limit_test": 30, "train": {"epochs": 1}}  # fmt: skip
    protect, victim = make_suite("digits", keys).experiments()[1].steps()
    order: list[str] = []
    load, measured, now = loaded._load, crafting.visibility, iter([10.0, 12.5])

    def clock(_: torch.device) -> float:
        order.append("clock")
        return next(now)

    monkeypatch.setattr(loaded, "_load", lambda *key: order.append("load") or load(*key))
    monkeypatch.setattr(crafting, "visibility", lambda *data: order.append("measure") or measured(*data))
    monkeypatch.setattr(crafting, "warm_up", lambda _: order.append("warm up"))
    monkeypatch.setattr(crafting, "synchronized", clock)
    store, device = Store(tmp_path), torch.device("cpu")
    list(run_step(protect, store, device))
    record = store.find("protect", protect.key)
    assert record is not None
    assert record.made["craft_seconds"] == 2.5
    assert order.index("warm up") < order.index("clock")
    begun, ended = (place for place, name in enumerate(order) if name == "clock")
    assert "load" in order[:begun]
    assert "measure" in order[ended:]
    list(run_step(victim, store, device))
    assert collect(store).protected[0].seconds.value == pytest.approx(2.5 / 60)


def test_what_trains_no_network_needs_no_warm_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: torch.device) -> None:
        raise AssertionError("an optimizer was set up for nothing")

    monkeypatch.setattr(crafting, "warm_up", refuse)
    keys = {"protectors": "lsp", "models": "linear", "defenses": "none", "seeds": "0", "limit_train": 60}
    protect, _ = make_suite("digits", keys).experiments()[1].steps()
    list(run_step(protect, Store(tmp_path), torch.device("cpu")))


def test_a_warm_start_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    warm_up.__wrapped__(torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)

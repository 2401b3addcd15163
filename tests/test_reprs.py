"""What a result says of itself when it is printed: value, interval and n on one line, and no arrays."""

from typing import Any

import numpy as np
import pytest
import torch

from howfar import (
    MODELS,
    PROTECTORS,
    Recipe,
    Store,
    Trials,
    alignment,
    arrays,
    build,
    curvature,
    decide,
    drop,
    landscape,
    make_suite,
    sharpness,
    trajectory,
    unlearnable_distance,
    worst_case,
)
from howfar.data import Splits
from howfar.probe import Landscape, Sharpness, parameter_sharpness, random_plane, slices
from howfar.score import Estimate, retention
from howfar.tasks import classification

from .report.test_page import page

LONGEST = 250  # characters


def readings(sal: float) -> list[dict[str, Sharpness]]:
    return [{f"layer{i}": Sharpness(sal * i, 0.0, None, None, 1e-6, 10) for i in range(40)} for _ in range(30)]


def test_unlearnable_distance_prints_value_interval_and_n() -> None:
    clean, poisoned = [readings(0.1), readings(0.11), readings(0.1)], [readings(0.05), readings(0.05), readings(0.06)]
    found = unlearnable_distance(clean, poisoned)
    assert repr(found) == str(found)
    assert repr(found) == f"Distance({found.ud.text}, beta = {found.beta:.4f} nats)"
    assert Estimate(0.25, 0.1, 0.4, 3, "t").text == "0.250, interval 0.100 to 0.400, n = 3"
    single = unlearnable_distance(clean[0], poisoned[0])
    assert repr(single) == f"Distance({single.ud.value:.3f}, 1 seed, beta = {single.beta:.4f} nats)"


def test_scores_print_value_interval_and_n() -> None:
    lost = drop([0.9, 0.8, 0.85], [0.2, 0.3, 0.2])
    assert repr(lost) == f"Estimate(0.617, interval {lost.low:.3f} to {lost.high:.3f}, n = 3)"
    assert repr(drop([0.9], [0.2])) == "Estimate(0.700, 1 seed)"
    kept = retention([0.9, 0.91], [0.2, 0.2], chance=0.1)
    assert repr(kept) == f"Estimate({kept.text})"
    assert repr(retention([0.9, 0.2], [0.2, 0.2], chance=0.1)) == "Estimate(0.222, no interval, n = 2)"
    clean, poisoned = Trials([0.9], [0.9]), Trials([0.5], [0.5])
    assert repr(worst_case({"none": clean}, {"none": poisoned}, chance=0.1)) == (
        "WorstCase(kept 0.500, 1 seed; clean Best(none of 1: 0.900, 1 seed), poisoned Best(none of 1: 0.500, 1 seed))"
    )


@pytest.fixture(scope="module")
def results(digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = tmp_path_factory.mktemp("store")
    task = classification()(digits.train)
    few = digits.train.take(torch.arange(30))
    model = build(MODELS["lenet5"](), few.shape, task.outputs, generator=arrays.seeded(0))
    plane = random_plane(model, generator=arrays.seeded(0))
    row = np.linspace(-1, 1, 4)
    return {
        "data": few, "splits": digits,
        "sharpness": next(iter(sharpness(model, few, task).values())),
        "alignment": next(iter(alignment(model, few, few, task).values())),
        "second order": next(iter(parameter_sharpness(model, few, task, draws=1).values())),
        "slice": next(iter(slices(model, few, task, layers=["fc3.weight"], points=3).values())),
        "decision": next(iter(decide(model, few, task, beta=0.1).values())),
        "plane": plane,
        "experiment": make_suite("digits").experiments()[0],
        "step": make_suite("digits").experiments()[0].steps()[0],
        "store": Store(store),
        "protector": PROTECTORS["em"](),
        "recipe": Recipe(),
        "curvature": next(iter(curvature(model, few, task, layers=["fc3.weight"]).values())),
        "landscape": landscape(model, few, plane, row, row, task=task),
        "trajectory": trajectory(model, few, task, Recipe(epochs=1, batch_size=30)),
    }  # fmt: skip


def test_results_are_printed_on_one_short_line(results: dict[str, Any]) -> None:
    for name, value in results.items():
        assert len(repr(value)) <= LONGEST, name
        assert "\n" not in repr(value), name
        assert "tensor(" not in repr(value), name
        assert "array(" not in repr(value), name


def test_they_say_how_much_there_is(results: dict[str, Any]) -> None:
    assert repr(results["data"]) == "Data(30 images of 1×16×16; targets: label)"
    assert repr(results["splits"]) == ("Splits(1347 training and 450 test images of 1×16×16, 0 held out, 10 classes)")
    assert repr(results["landscape"]).startswith("Landscape(4×4 places, 16 computed; loss ")
    assert repr(results["trajectory"]).startswith("Trajectory(2 checkpoints after 0 to 1 batches, ")
    assert repr(results["second order"]).startswith("SecondOrder(6×1×5×5 parameters; SAL up to ")
    assert repr(results["plane"]).startswith("Plane(2 axes; 10 weight tensors, ")
    assert repr(results["store"]) == f"Store({results['store'].place}: empty)"
    assert repr(results["experiment"]).startswith("Experiment(digits: lenet5 learns classification on clean ")
    found = results["sharpness"]
    assert repr(found).startswith(f"Sharpness(SAL {found.sal:.3g} ± {found.standard_error:.2g} nats, standard error; ")
    lead = results["curvature"].eigenvalues[0]
    assert repr(results["curvature"]).startswith(f"Curvature(eigenvalues {lead:.3g} ± ")
    assert isinstance(results["landscape"], Landscape)


def test_a_page_is_printed_as_its_leaderboard() -> None:
    lines = repr(page()).splitlines()
    assert lines[0] == "Page(3 rows, 1 failures)"
    assert lines[1] == "  digits classification resnet8 / none on b: accuracy 0.500 (clean 0.900)"

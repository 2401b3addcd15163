"""On a device without float64, such as Apple's GPUs, everything runs and gives what the CPU gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from howfar import arrays, engine
from howfar.arrays import seeded
from howfar.commands.doctor import examine
from howfar.errors import UsageError
from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite
from howfar.models import MODELS, build
from howfar.probe import alignment, curvature, decide, landscape, parameter_sharpness, random_plane, sharpness, slices
from howfar.steps import run
from howfar.store import Store
from howfar.training import Recipe, evaluate, train

from .single_precision import device_without_float64
from .tasks.test_tasks import JOINT, NAMES, made, scenes

CPU = torch.device("cpu")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with device_without_float64(monkeypatch) as found:
        yield found


def test_the_device_of_these_tests_has_no_float64(device: torch.device) -> None:
    values = torch.ones(2).to(device)
    with pytest.raises(TypeError, match="no float64"):
        values.double()
    with pytest.raises(RuntimeError, match="two devices"):
        values + torch.ones(2)
    assert arrays.float64(values).dtype == torch.float64
    assert arrays.float64(values).device == CPU


@pytest.mark.parametrize("name", [*NAMES, JOINT])
def test_every_task_is_trained_and_evaluated(name: str, device: torch.device) -> None:
    data = scenes(16)
    task = made(name, data)
    prepared, found = task.prepare(data), []
    for place in (CPU, device):
        model = build(MODELS["resnet8"](width=4), data.shape, task.outputs, generator=seeded(0)).to(place)
        (epoch,) = train(model, prepared, task, Recipe(epochs=1, batch_size=8, crop=0, flip=False))
        found.append({"training": epoch.loss, **evaluate(model, prepared, task)})
    assert found[1] == pytest.approx(found[0], rel=1e-6, nan_ok=True)


def measured(model: nn.Module, task: Any, data: Any) -> list[Any]:
    """Return something of every measurement."""
    plane = random_plane(model, generator=seeded(1))
    grid = np.linspace(-1, 1, 3)
    first = next(iter(dict(model.named_parameters())))
    return [
        sharpness(model, data, task),
        {name: float(found.sal.max()) for name, found in parameter_sharpness(model, data, task, draws=2).items()},
        curvature(model, data, task, iterations=5, draws=2)[""].trace,
        landscape(model, data, plane, grid, grid, task=task).loss.tolist(),
        slices(model, data, task, layers=[first], points=3, draws=1)[first].gradient.tolist(),
        decide(model, data, task, beta=0.01, first=8),
        alignment(model, data, data.with_pixels(255 - data.pixels), task),
    ]


def test_every_measurement_gives_what_the_cpu_gives_and_leaves_the_network(device: torch.device) -> None:
    data = scenes(16)
    task = made("class_scene", data)
    model = build(MODELS["linear"](), data.shape, task.outputs, generator=seeded(0))
    expected = measured(model, task, data)
    model.to(device)
    before = [weights.cpu().clone() for weights in model.state_dict().values()]
    assert measured(model, task, data) == expected
    assert all(weights.device == device for weights in model.parameters())
    assert all(torch.equal(a, b.cpu()) for a, b in zip(before, model.state_dict().values(), strict=True))


def cell(protector: str, defense: str) -> Experiment:
    keys = {
        "protectors": protector, "models": "linear", "defenses": defense, "seeds": "0", "limit_train": 60,
        "limit_test": 30, "held_out": 60, "probe_images": 10, "train": {"epochs": 1},
    }  # fmt: skip
    return make_suite("digits", keys).experiments()[-1]


@pytest.mark.parametrize(
    ("protector", "defense"),
    [
        ("random", "none"), ("random", "linear-probe"), ("random", "orthogonal-projection"), ("random", "ueraser"),
        ("ntga[steps=1]", "none"), ("em[steps=1,rounds=1,train_steps=1]", "none"),
    ],
)  # fmt: skip
def test_a_cell_gives_what_it_gives_on_the_cpu(
    protector: str, defense: str, tmp_path: Path, device: torch.device
) -> None:
    found = []
    for place in (CPU, device):
        store = Store(tmp_path / place.type)
        for step in cell(protector, defense).steps():
            list(run(step, store, place))
        found.append(store.records("victim")[0].result["epochs"][0] | {"seconds": 0})
        assert store.records("victim")[0].made["device"] == place.type
    assert found[1] == found[0]


def test_an_apple_gpu_is_taken_when_it_is_asked_for_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="PyTorch finds no 'mps' GPU"):
        engine.choose_device("mps")
    assert "no GPU" in examine()["device"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert engine.choose_device("mps").type == "mps"
    assert engine.choose_device("auto") == CPU
    assert engine.choose_workers(None, torch.device("mps")) == 1
    assert "MPS" in examine()["device"]
    assert not arrays.has_float64(torch.device("mps"))

"""Replayed passes equal whole ones bit for bit, whatever the network does."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from howfar import arrays
from howfar.arrays import Heads, PerPixel
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe import sharpness
from howfar.probe.replay import NotReplayableError, Replay
from howfar.probe.surface import Surface
from howfar.tasks import classification

from ..conftest import make_data

SIZES: dict[str, dict[str, int]] = {
    "resnet8": {"width": 4}, "resnet18": {"width": 4}, "resnet50": {"width": 4}, "senet18": {"width": 4},
    "vit-small": {"width": 16, "depth": 2, "heads": 2}, "mobilenetv2": {"width": 4}, "densenet121": {"growth": 2},
}  # fmt: skip


class InPlace(nn.Module):
    """A block as torchvision writes it: ``+=`` and ReLU in place, and the shortcut computed after the main path."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.main = nn.Conv2d(shape[0], 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.side = nn.Conv2d(shape[0], 4, 1)
        self.late = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.main(x))
        out += self.side(x)
        out = self.relu(out)
        out *= 1.5
        out = self.late(out)
        out: Tensor = self.head(self.relu(out).mean((2, 3)))
        return out


class Shared(nn.Module):
    """Two branches, one weight used by two modules, and once more without any module."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False)
        self.second = nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False)
        self.other = nn.Conv2d(shape[0], shape[0], 1)
        self.head = nn.Linear(shape[0], outputs)
        self.tail = nn.Linear(outputs, outputs)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out = self.other(x) + functional.relu(self.first(x))
        out = self.second(out)
        scores: Tensor = self.head(out.mean((2, 3)))
        return self.tail(scores) + functional.linear(out.mean((2, 3)), self.head.weight) @ self.tail.weight


class Escaping(nn.Module):
    """A weight's effect leaves PyTorch as a number, is written into a view, and comes back beside another branch."""

    def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.scale = nn.Linear(shape[0], 1)
        self.body = nn.Conv2d(shape[0], 4, 3, padding=1)
        self.head = nn.Linear(4, outputs)
        self.flat = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        number = float(self.scale(x.mean((0, 2, 3))))
        room = torch.ones(len(x), 4, *x.shape[2:])
        room[:, 1:3] = self.body(x)[:, 1:3] * number
        view = room.view(len(x), -1)
        view[:, 0] = number
        means = self.flat(room).view_as(room).mean((2, 3))
        scores: Tensor = self.head(torch.from_numpy(means.numpy()))
        return scores


OWN = {"in place": InPlace, "shared": Shared, "escaping": Escaping}


def network(name: str) -> nn.Module:
    if name in MODELS:
        return build(MODELS[name](**SIZES.get(name, {})), (3, 12, 12), 5, generator=arrays.seeded(0)).eval()
    return build(
        {"in place": InPlace, "shared": Shared, "escaping": Escaping}[name], (3, 12, 12), 5, generator=arrays.seeded(0)
    ).eval()


@pytest.mark.parametrize("name", [*MODELS, *OWN])
@torch.no_grad()
def test_replay_is_the_whole_pass_bit_for_bit(name: str) -> None:
    model = network(name)
    weights = {key: weight for key, weight in model.named_parameters() if key in weight_names(model)}
    images = torch.rand(6, 3, 12, 12, generator=arrays.seeded(1))
    replay = Replay(model, weights)
    assert torch.equal(replay.record(images), model(images))
    for key, weight in weights.items():
        kept = weight.clone()
        weight.add_(0.1 * torch.randn(weight.shape, generator=arrays.seeded(2)))
        whole = model(images)
        assert torch.equal(replay.run(key, images), whole), key
        assert torch.equal(replay.run(key, images), whole), f"{key}: the first replay spoilt what is kept"
        weight.copy_(kept)
    assert all("forward" not in module.__dict__ for module in model.modules())


@torch.no_grad()
def test_of_several_heads_only_the_one_that_changes_runs() -> None:
    outputs = Heads({"scene": 4, "depth": PerPixel(1), "normal": PerPixel(3)})
    model = build(MODELS["resnet8"](width=4), (3, 16, 16), outputs, generator=arrays.seeded(0)).eval()
    weights = {key: weight for key, weight in model.named_parameters() if key in weight_names(model)}
    replay = Replay(model, weights)
    images = torch.rand(2, 3, 16, 16, generator=arrays.seeded(1))
    replay.record(images)
    real, calls = functional.conv2d, []
    functional.conv2d = lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs)  # type: ignore[assignment]
    try:
        for key, weight in weights.items():
            kept = weight.clone()
            weight.mul_(1.5)
            whole, calls[:] = model(images), []
            found = replay.run(key, images)
            weight.copy_(kept)
            assert all(torch.equal(found[name], whole[name]) for name in whole), key
            if key.startswith("heads.scene"):
                assert not calls
            elif key.startswith("heads."):
                assert len(calls) < len(list(model.heads.depth.modules()))  # type: ignore[union-attr]
    finally:
        functional.conv2d = real


@torch.no_grad()
def test_replay_skips_what_lies_in_front() -> None:
    model = network("resnet8")
    weights = {key: weight for key, weight in model.named_parameters() if key in weight_names(model)}
    replay = Replay(model, weights)
    images = torch.rand(2, 3, 12, 12)
    replay.record(images)
    ran: list[str] = []
    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, key=key: ran.append(key))
    real = functional.conv2d
    calls = []
    functional.conv2d = lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs)  # type: ignore[assignment]
    try:
        replay.run("head.weight", images)
    finally:
        functional.conv2d = real
    assert not calls


def test_another_path_is_noticed_and_whole_passes_are_taken() -> None:
    class Restless(nn.Module):
        def __init__(self, shape: tuple[int, int, int], outputs: int) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(shape[0], outputs), nn.Linear(shape[0], outputs)
            self.turn = 0

        def forward(self, x: Tensor) -> Tensor:
            self.turn += 1
            order = (self.one, self.two) if self.turn % 2 else (self.two, self.one)
            means = x.mean((2, 3))
            out: Tensor = order[0](means) + order[1](means)
            return out

    data = make_data(10, (3, 8, 8), 3)
    model = build(Restless, data.shape, 3, generator=arrays.seeded(0))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        readings = sharpness(model, classification()(data), data)
    assert any("whole pass" in str(warning.message) for warning in seen)
    assert all(reading.rise > 0 for reading in readings.values())
    replay = Replay(model, dict(model.named_parameters()))
    images = arrays.unit_images(data.pixels)
    with torch.no_grad():
        replay.record(images)
        with pytest.raises(NotReplayableError):
            replay.run("one.weight", images)


def test_memory_limit_changes_nothing_and_is_kept() -> None:
    data = make_data(40, (3, 16, 16), 3)
    task = classification()(data)
    model = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0))
    free = sharpness(model, task, data)
    limit = 2**19
    tight = sharpness(model, task, data, memory=limit)
    for name, reading in free.items():
        assert tight[name].sal == pytest.approx(reading.sal, rel=1e-3)
    weights = {key: weight for key, weight in model.named_parameters() if key in weight_names(model)}
    with Surface(model, task, data, weights, batch_size=256, memory=limit).opened() as surface:
        surface.start()
        assert surface.kept is None
        for number, (images, _) in enumerate(surface.batches()):
            replay = surface._recorded(number, images)
            assert replay is not None
            assert replay.bytes <= limit


def test_shared_tensors_count_once() -> None:
    assert sorted(weight_names(network("shared"))) == ["first.weight", "head.weight", "other.weight", "tail.weight"]

"""Replayed passes equal whole ones bit for bit, whatever the network does."""

import dataclasses
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from howfar import arrays
from howfar.arrays import Heads, PerPixel
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe import sharpness
from howfar.probe.flow import NotReplayableError
from howfar.probe.replay import Replay
from howfar.probe.surface import Move, Surface
from howfar.tasks import classification

from ..conftest import make_data

SIZES: dict[str, dict[str, Any]] = {
    "resnet8": {"width": 4}, "resnet18": {"width": 4}, "resnet50": {"width": 4}, "senet18": {"width": 4},
    "vit-small": {"width": 16, "depth": 2, "heads": 2}, "mobilenetv2": {"width": 4}, "densenet121": {"growth": 2},
    "pretrained": {"data": "digits", "network": "resnet8[width=4]"},
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
    """A weight's effect leaves PyTorch as a number, is written into a view, and comes back next to another branch."""

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
        readings = sharpness(model, data, classification()(data))
    assert any("full forward pass" in str(warning.message) for warning in seen)
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
    free = sharpness(model, data, task)
    limit = 2**19
    tight = sharpness(model, data, task, memory=limit)
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


@dataclasses.dataclass
class Result:
    """What the library knows nothing of."""

    maps: Tensor


class Hidden(nn.Module):
    """Features leave the trunk in the way that ``pack`` says, and reach the head as ``unpack`` says."""

    def __init__(self, pack: Callable[[nn.Module, Tensor], Any], unpack: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.trunk = Trunk(pack)
        self.head = nn.Linear(4, 3)
        self.unpack = unpack

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.unpack(self, self.trunk(x)).mean((2, 3)))
        return scores


class Trunk(nn.Module):
    def __init__(self, pack: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pack = pack

    def forward(self, x: Tensor) -> Any:
        return self.pack(self, self.conv(x).relu())


class Twice(torch.autograd.Function):
    """An operation of its own, which the recording does not see."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # type: ignore[override]
        return torch.from_numpy(2 * value.detach().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient


def aside(trunk: Any, y: Tensor) -> float:
    trunk.seen = y
    return 1.0


WAYS: dict[str, tuple[Callable[[Any, Tensor], Any], Callable[[Any, Any], Tensor]]] = {
    "tensor": (lambda _, y: y, lambda _, out: out),
    "nested tuples and dicts": (lambda _, y: {"a": (y, [3])}, lambda _, out: out["a"][0]),
    "dataclass": (lambda _, y: Result(y), lambda _, out: out.maps),
    "dataclass in a list": (lambda _, y: [Result(y)], lambda _, out: out[0].maps),
    "function": (lambda _, y: lambda: y, lambda _, out: out()),
    "NumPy array": (lambda _, y: y.detach().numpy(), lambda _, out: torch.from_numpy(out)),
    "attribute": (aside, lambda net, _: net.trunk.seen),
    "own operation": (lambda _, y: Twice.apply(y), lambda _, out: out),
}


@pytest.mark.parametrize("way", WAYS)
def test_outputs_of_every_kind_give_the_readings_of_whole_passes(way: str) -> None:
    data = make_data(20, (3, 8, 8), 3)
    task = classification()(data)
    model = build(lambda shape, outputs: Hidden(*WAYS[way]), data.shape, 3, generator=arrays.seeded(0)).eval()
    images = arrays.unit_images(data.pixels)
    weights = {name: weight for name, weight in model.named_parameters() if name in weight_names(model)}
    moves = [Move(n, 0.3 * torch.randn(w.shape, generator=arrays.seeded(2))) for n, w in weights.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Surface(model, task, data, weights, batch_size=7).opened() as surface:
            start, _, _ = surface.start()
            points = surface.at(moves)
    for move, point in zip(moves, points, strict=True):
        weight = weights[move.layer]
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.add_(move.change)
            whole = task.loss(model(images), data.targets["label"]).double().mean()
            weight.copy_(kept)
        assert point.loss == pytest.approx(float(whole), rel=1e-6), move.layer
        assert abs(point.loss - start.loss) > 1e-4, move.layer


@torch.no_grad()
def test_a_truth_value_that_a_weight_decides_is_followed() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Any:
            return torch.equal(self.scale(x).abs(), self.scale(x))

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.one, self.two = Gate(), nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = functional.linear(x, (self.one if self.gate(x) else self.two).weight)
            return out

    model, x = Gated(), torch.rand(4, 3, generator=arrays.seeded(0))
    model.gate.scale.weight.fill_(1.0)
    nn.init.constant_(model.gate.scale.bias, 0.0)
    replay = Replay(model, {"gate.scale.weight": model.gate.scale.weight})
    replay.record(x)
    model.gate.scale.weight.neg_()
    assert torch.equal(replay.run("gate.scale.weight", x), model(x))


@torch.no_grad()
def test_a_hook_that_hands_features_on_is_noticed() -> None:
    """The hook inside the trunk would not run again, and the head would read features of another batch."""
    model = build(lambda shape, outputs: Hidden(lambda _, y: y, lambda net, _: net.seen[-1]), (3, 8, 8), 3,
                  generator=arrays.seeded(0)).eval()  # fmt: skip
    model.seen = []
    model.trunk.conv.register_forward_hook(lambda module, args, output: model.seen.append(output))  # type: ignore[operator, union-attr]
    replay = Replay(model, {"head.weight": model.get_parameter("head.weight")})
    with pytest.raises(NotReplayableError, match="Trunk"):
        replay.record(torch.rand(2, 3, 8, 8))


def test_channels_of_a_restless_network_take_whole_passes_too() -> None:
    class Alternating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.turn = nn.Linear(3, 2), nn.Linear(3, 2), 0

        def forward(self, x: Tensor) -> Tensor:
            self.turn += 1
            order = (self.one, self.two) if self.turn % 2 else (self.two, self.one)
            out: Tensor = order[0](x.mean((2, 3))) + order[1](x.mean((2, 3)))
            return out

    data = make_data(10, (3, 8, 8), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sharpness(Alternating(), data, classification()(data), granularity="channel")
    assert all(reading.rise > 0 for reading in found.values())


@pytest.mark.parametrize("limit", [2**18, 2**20])
def test_kept_activations_never_exceed_the_limit(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the outputs of all recordings that are alive, at the end of every recording."""
    alive: weakref.WeakSet[Replay] = weakref.WeakSet()
    most = [0]
    record = Replay._record

    def watched(self: Replay, images: Tensor) -> Any:
        output = record(self, images)
        alive.add(self)
        here = [call for call in self.calls if call.depends != -1]
        sizes = {
            leaf.value.untyped_storage().data_ptr(): leaf.value.untyped_storage().nbytes()
            for call in here
            for leaf in pytree.tree_leaves(call.output)
            if isinstance(leaf.value, Tensor)
        }
        most[0] = max(most[0], sum(sizes.values()) + sum(other.bytes for other in alive if other is not self))
        return output

    monkeypatch.setattr(Replay, "_record", watched)
    data = make_data(20, (3, 16, 16), 3)
    model = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0))
    for settings in ({"steps": 2}, {"steps": 1, "granularity": "channel"}):
        sharpness(model, data, classification()(data), memory=limit, batch_size=16, **settings)  # type: ignore[arg-type]
    assert limit / 3 < most[0] <= limit


def test_too_little_memory_for_one_image_is_refused() -> None:
    data = make_data(6, (3, 16, 16), 3)
    model = build(MODELS["resnet8"](width=4), data.shape, 3, generator=arrays.seeded(0))
    with pytest.raises(UsageError, match="Raise memory"):
        sharpness(model, data, classification()(data), memory=2**10)

"""What is fused gives the outputs of the network, wherever its weights and statistics go."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.arrays import Heads, PerPixel
from howfar.models import MODELS, build
from howfar.probe.fold import alike
from howfar.probe.fuse import Fused, fused
from tests.probe.test_fold import IMAGES, SMALL, shaken

CONVOLUTIONS = {"resnet8": 9, "resnet18": 20, "densenet121": 120, "mobilenetv2": 53, "lenet5": 2}


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    """Networks are followed by what is no tensor, which the types that tests check would refuse."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def made(name: str) -> nn.Module:
    shape = (3, 32, 32) if name == "lenet5" else (3, 8, 8)
    return shaken(build(MODELS[name](**SMALL.get(name, {})), shape, 10, generator=arrays.seeded(0)))


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("name", CONVOLUTIONS)
@torch.no_grad()
def test_outputs_follow_weights_and_statistics(name: str) -> None:
    model = made(name)
    images = torch.rand(4, 3, 32, 32, generator=arrays.seeded(0)) if name == "lenet5" else IMAGES
    fast = fused(model, images)
    assert isinstance(fast, nn.Module)
    assert sum(isinstance(module, Fused) for module in fast.modules()) == CONVOLUTIONS[name]
    assert close(model(images), fast(images))
    before = model(images)
    for number, tensor in enumerate(model.state_dict().values()):
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=arrays.seeded(number)))
    assert not close(before, model(images))
    assert close(model(images), fast(images))


@pytest.mark.parametrize(("name", "count"), [("resnet8", 9), ("mobilenetv2", 53)])
@torch.no_grad()
def test_networks_with_dense_heads_are_followed_too(name: str, count: int) -> None:
    outputs = Heads({"scene": 6, "segments": PerPixel(4)})
    model = shaken(build(MODELS[name](**SMALL[name]), (3, 8, 8), outputs, generator=arrays.seeded(0)))
    fast = fused(model, IMAGES)
    assert isinstance(fast, nn.Module)
    assert sum(isinstance(module, Fused) for module in fast.modules()) > count
    others = 1 - IMAGES[:3]
    found = fast(others)
    assert all(close(values, found[head]) for head, values in model(others).items())


@torch.no_grad()
def test_residual_sums_are_made_in_place_and_followed_by_relu() -> None:
    fast = fused(made("resnet8"), IMAGES)
    assert isinstance(fast, nn.Module)
    parts = [module for module in fast.modules() if isinstance(module, Fused)]
    assert sum(part.overwrites for part in parts) == 3
    assert sum(part.relu for part in parts) == 7, "all but the two on shortcuts"
    assert all(part.norm for part in parts)


class Two(nn.Module):
    """Two convolutions, used in the way that ``between`` says."""

    def __init__(self, between: Callable[["Two", Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.active = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        return self.between(self, images)


@pytest.mark.parametrize(
    ("between", "count"),
    [
        (lambda net, x: (y := net.first(x), net.second(y) + y)[1], 2),
        (lambda net, x: (y := net.first(x), torch.add(net.second(y), y, alpha=2))[1], 2),
        (lambda net, x: (y := net.first(x), z := net.second(y) + y, z + y)[2], 2),  # y is read again
        (lambda net, x: (y := net.first(x), net.second(y) + net.second(net.active(net.norm(y))))[1], 3),
        (lambda net, x: (y := net.first(x), net.active(y) + y)[1], 1),
        (lambda net, x: net.norm(net.active(net.first(x))).relu(), 1),
        (lambda net, x: net.first(x) + 1, 1),
        (lambda net, x: net.first(x) + x.mean((1, 2, 3), keepdim=True), 1),  # of another shape
        (lambda net, x: net.first(x) if x.sum() > 0 else x, 0),  # cannot be followed
    ],
)
@torch.no_grad()
def test_other_ways_to_use_a_convolution_stay_right(between: Callable[[Two, Tensor], Tensor], count: int) -> None:
    model = shaken(Two(between))
    fast = fused(model, IMAGES)
    assert isinstance(fast, nn.Module)
    assert sum(isinstance(module, Fused) for module in fast.modules()) == count
    others = 1 - IMAGES
    assert close(model(others), fast(others))


@torch.no_grad()
def test_what_is_hooked_or_double_is_right() -> None:
    model = made("resnet8")
    doubled = fused(model.double(), IMAGES.double())
    assert close(model(IMAGES.double()), doubled(IMAGES.double()))
    model.float().get_submodule("conv1").register_forward_hook(lambda module, args, output: 2 * output)
    assert close(model(IMAGES), fused(model, IMAGES)(IMAGES))


class Named(nn.Module):
    """A convolution and what follows it, which hangs under the path ``relu``."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 8, 3, padding=1), relu, nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.relu(self.conv(images)).mean((2, 3)))
        return scores


class Clipped(nn.ReLU):
    """Derived from ReLU, but not one: it is one up to 1 only."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).clamp(max=1.0)


def hooked() -> nn.Module:
    relu = nn.ReLU()
    relu.register_forward_hook(lambda module, args, output: output.clamp(max=1.0))
    return relu


@pytest.mark.parametrize(
    "relu", [nn.ReLU6(), Clipped(), hooked(), nn.Hardtanh(0, 2), nn.LeakyReLU(0.01), nn.ReLU()], ids=str
)
@torch.no_grad()
def test_only_a_relu_is_taken_for_one(relu: nn.Module) -> None:
    """At the first weights all of these give the same outputs; at larger ones they do not."""
    model = Named(relu).eval()
    nn.init.constant_(model.conv.weight, 0.01)
    nn.init.constant_(model.conv.bias, 0.0)
    fast = fused(model, IMAGES)
    model.conv.weight.copy_(2 * torch.randn(model.conv.weight.shape, generator=arrays.seeded(0)))
    assert close(model(IMAGES), fast(IMAGES))


@torch.no_grad()
def test_a_convolution_under_the_path_relu_stays_a_convolution() -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.Conv2d(3, 4, 1)

        def forward(self, images: Tensor) -> Tensor:
            out = self.relu(images)
            return out + out.mean()

    model = Strange().eval()
    nn.init.constant_(model.relu.weight, 1.0)
    nn.init.constant_(model.relu.bias, 0.0)
    fast = fused(model, IMAGES)
    model.relu.weight.neg_()
    assert close(model(IMAGES), fast(IMAGES))


@torch.no_grad()
def test_a_hooked_identity_keeps_its_hook() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Identity()).eval()
    nn.init.constant_(model[0].weight, 0.0)
    nn.init.constant_(model[0].bias, 0.5)
    model[1].register_forward_hook(lambda module, args, output: output.clamp(max=1.0))
    fast = fused(model, IMAGES)
    model[0].weight.add_(3)
    assert close(model(IMAGES), fast(IMAGES))


def test_outputs_of_unknown_types_are_never_called_alike() -> None:
    assert alike({"a": (torch.ones(2), 3, None)}, {"a": (torch.ones(2), 3, None)})
    assert not alike({"a": torch.ones(2)}, {"a": torch.zeros(2)})
    assert not alike(object(), object())
    same = object()
    assert not alike(same, same)
    assert not alike([torch.ones(2)], [torch.ones(2), torch.ones(2)])


def test_a_network_that_cannot_be_traced_is_returned_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    class Branching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if images.sum() > 0 else -images

    model = Branching()
    with caplog.at_level("INFO", "howfar"):
        assert fused(model, IMAGES) is model
        fused(model, IMAGES)
    assert [record.getMessage() for record in caplog.records] == [
        "Branching is evaluated without fused convolutions, up to 1.7 times slower: symbolically traced variables "
        "cannot be used as inputs to control flow"
    ]

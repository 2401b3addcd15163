"""Folding changes what a probe costs, and nothing else."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from howfar import arrays
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.probe.fold import folded
from howfar.probe.surface import Move, Surface
from howfar.tasks import classification
from tests.conftest import make_data


class Small(nn.Module):
    """A convolution and a batch normalization, used in the way that ``between`` says."""

    def __init__(self, between: Callable[["Small", Tensor], Tensor], *, bias: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        return self.between(self, self.conv(images)).mean((2, 3))


def shaken(model: nn.Module) -> nn.Module:
    """Return the model in eval mode with statistics, scales and shifts that matter."""
    generator = arrays.seeded(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -1), (module.running_var, 0.2), (module.bias, -1)):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + low)
            module.weight.data.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
    return model.eval()


SMALL = {"resnet8": {"width": 4}, "resnet18": {"width": 4}, "mobilenetv2": {"width": 4}, "densenet121": {"growth": 4}}
IMAGES = torch.rand(4, 3, 8, 8, generator=arrays.seeded(0))


@pytest.mark.parametrize(
    ("name", "pairs"), [("resnet8", 9), ("resnet18", 20), ("densenet121", 58), ("mobilenetv2", 53)]
)
def test_outputs_and_gradients_stay(name: str, pairs: int) -> None:
    model = shaken(build(MODELS[name](**SMALL[name]), (3, 8, 8), 10, generator=arrays.seeded(0)))
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def seen() -> list[Tensor]:
        output = model(IMAGES)
        return [output, *torch.autograd.grad(output.square().sum(), [p for p in model.parameters() if p.ndim == 4])]

    plain = seen()
    with folded(model, IMAGES, []) as count:
        assert count == pairs
        for one, other in zip(plain, seen(), strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max()))
    assert all(torch.equal(one, other) for one, other in zip(plain, seen(), strict=True))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("between", "count"),
    [
        (lambda net, x: net.norm(x), 1),
        (lambda net, x: net.norm(x) + x, 0),  # the output is read twice
        (lambda net, x: net.norm(x.relu()), 0),  # something lies between
        (lambda net, x: net.norm(net.norm(x)), 0),  # the norm is used twice
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_only_a_norm_that_alone_reads_a_convolution_is_folded(
    between: Callable[[Small, Tensor], Tensor], count: int, bias: bool
) -> None:
    model = shaken(Small(between, bias=bias))
    plain = model(IMAGES)
    with folded(model, IMAGES, []) as found:
        assert found == count
        assert torch.allclose(model(IMAGES), plain, atol=1e-5)


def test_what_moves_or_is_hooked_stays_as_it_is() -> None:
    model = shaken(Small(lambda net, x: net.norm(x)))
    with folded(model, IMAGES, [model.norm.weight]) as count:
        assert count == 0
    handle = model.norm.register_forward_hook(lambda module, args, output: output * 2)
    plain = model(IMAGES)
    with folded(model, IMAGES, []) as count:
        assert count == 0
        assert torch.equal(model(IMAGES), plain)
    handle.remove()
    with pytest.raises(UsageError, match="stop"):
        stop_while_folded(model)
    assert not {"forward"} & {*model.conv.__dict__, *model.norm.__dict__}


def stop_while_folded(model: nn.Module) -> None:
    with folded(model, IMAGES, []) as count:
        assert count == 1
        raise UsageError("stop")


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2"])
def test_points_are_those_of_the_plain_network(name: str) -> None:
    data = make_data(24, (3, 8, 8), 3)
    model = shaken(build(MODELS[name](**SMALL[name]), data.shape, 3, generator=arrays.seeded(0)))
    weights = {key: weight for key, weight in model.named_parameters() if key in weight_names(model)}
    moves = [
        Move(key, 0.1 * torch.randn(weight.shape, generator=arrays.seeded(2)), gradient=True)
        for key, weight in weights.items()
    ]
    points = []
    for fold in (True, False):
        with Surface(model, classification()(data), data, weights).opened(fold=fold) as surface:
            surface.start()
            points.append(surface.at(moves))
    for ours, plain in zip(*points, strict=True):
        assert torch.allclose(ours.losses, plain.losses, rtol=1e-4, atol=1e-5)
        assert ours.gradient is not None
        assert plain.gradient is not None
        assert torch.allclose(ours.gradient, plain.gradient, rtol=1e-3, atol=1e-4 * float(plain.gradient.abs().max()))

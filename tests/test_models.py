import subprocess
import sys

import pytest
import torch
from torch import nn

from howfar import arrays
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.build import weight_names
from howfar.spec import parse


@pytest.mark.parametrize(
    ("name", "count"), [("resnet18", 21), ("resnet50", 54), ("senet18", 37), ("vit-small", 26), ("resnet8", 10)]
)
def test_counted_layers_are_the_papers(name: str, count: int) -> None:
    model = build(MODELS[name](), (3, 32, 32), 10, generator=arrays.seeded(0))
    assert len(weight_names(model)) == count


def test_linear_model_of_the_paper_has_12_by_10_weights() -> None:
    model = build(MODELS["linear"](inputs=12), (3, 32, 32), 10, generator=arrays.seeded(0))
    assert dict(model.named_parameters())["head.weight"].shape == (10, 12)


def test_initial_weights_have_pytorchs_own_spread() -> None:
    ours = build(MODELS["resnet8"](), (3, 32, 32), 10, generator=arrays.seeded(0))
    for name, weight in ours.named_parameters():
        if name in weight_names(ours):
            bound = weight[0].numel() ** -0.5  # kaiming_uniform with a = √5
            assert float(weight.detach().abs().max()) <= bound
            if weight.numel() > 500:
                assert float(weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize("name", ["resnet8", "senet18"])
def test_odd_batches_do_not_corrupt_memory(name: str) -> None:
    """Two threads, narrow layers, odd batch: a strided 1×1 convolution of oneDNN crashes here."""
    code = (
        "import torch\nfrom howfar import arrays\nfrom howfar.models import MODELS, build\n"
        "torch.set_num_threads(2)\n"
        f"model = build(MODELS['{name}'](width=4), (3, 16, 16), 10, generator=arrays.seeded(0))\n"
        "for n in (61, 123):\n"
        "    images = torch.rand(n, 3, 16, 16).contiguous(memory_format=torch.channels_last)\n"
        "    for _ in range(10): model(images).square().mean().backward()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shared_weights_count_once() -> None:
    first = nn.Linear(4, 4)
    second = nn.Linear(4, 4)
    second.weight = first.weight
    assert weight_names(nn.Sequential(first, second)) == ["0.weight"]


@pytest.mark.parametrize("shape", [(3, 7, 32), (2, 32, 32)])
def test_impossible_shapes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="1 or 3 channels"):
        build(MODELS["lenet5"](), shape, 2, generator=torch.Generator())


@pytest.mark.parametrize("size", [0, -1])
def test_no_size_of_a_network_is_below_1(size: int) -> None:
    sizes = [
        (name, key) for name in MODELS for key, value in parse(name, MODELS, "model").settings.items()
        if type(value) is int and key not in ("inputs", "side")
    ]  # fmt: skip
    assert len(sizes) >= 9
    for name, key in sizes:
        with pytest.raises(UsageError, match=f"{key} = .* at least 1"):
            parse(f"{name}[{key}={size}]", MODELS, "model")
    with pytest.raises(UsageError):
        parse("linear[inputs=-1]", MODELS, "model")


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="9 heads do not divide a width of 512"):
        build(MODELS["vit-small"](heads=9), (3, 16, 16), 10, generator=arrays.seeded(0))

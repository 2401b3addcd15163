"""The U-Net: shapes, shared decoders, other encoders, and that it learns what a pixel shows."""

from dataclasses import replace

import pytest
import torch

from howfar import arrays
from howfar.arrays import Heads, PerPixel
from howfar.data import Data
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.models.heads import backbone_of
from howfar.spec import parse
from howfar.tasks import TASKS
from howfar.training import RECIPES, evaluate, train

from .conftest import make_data

SMALL = "unet:4-8-8"


def network(label: str, outputs: int | Heads, shape: tuple[int, int, int] = (3, 20, 16)) -> torch.nn.Module:
    return build(parse(label, MODELS, "model").build(), shape, outputs, generator=arrays.seeded(0))


@pytest.mark.parametrize(
    "label", [SMALL, "unet[backbone=resnet8[width=4]]", "unet[backbone=airbench[size=4-8-8]]", "unet:4-8"]
)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 9, 21)])
def test_every_encoder_gives_a_number_for_every_pixel(label: str, shape: tuple[int, int, int]) -> None:
    images = torch.rand(2, *shape)
    assert network(label, PerPixel(5), shape)(images).shape == (2, 5, *shape[1:])
    joint = network(label, Heads({"map": PerPixel(3), "kind": 4}), shape)(images)
    assert {name: tuple(scores.shape) for name, scores in joint.items()} == {"map": (2, 3, *shape[1:]), "kind": (2, 4)}
    assert network(label, 4, shape)(images).shape == (2, 4)


def test_dense_tasks_share_the_decoder() -> None:
    one, two = (network(SMALL, Heads({str(k): PerPixel(3) for k in range(count)})) for count in (1, 2))
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (one, two)]
    assert sizes[1] - sizes[0] == 4 * 3 + 3
    shared = [sum(p.numel() for p in backbone_of(model).parameters()) for model in (one, two)]
    assert shared[0] == shared[1]


def test_only_dense_tasks_with_skips_have_the_decoder() -> None:
    outputs = {
        "kind": 4, "no skips": PerPixel(2, skips=False), "map": PerPixel(2), "both": Heads({"a": 4, "b": PerPixel(2)}),
    }  # fmt: skip
    found = {name: backbone_of(network(SMALL, count)).decoded for name, count in outputs.items()}
    assert found == {"kind": False, "no skips": False, "map": True, "both": True}


@pytest.mark.parametrize(
    ("label", "problem"), [("unet:32", "two or more numbers"), ("unet[backbone=resnet9]", "resnet8")]
)
def test_settings_that_make_no_sense_are_refused(label: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse(label, MODELS, "model")


def shapes(n: int) -> Data:
    """Return noisy images with a bright square, and for every pixel whether it is inside."""
    data = make_data(n, (3, 16, 16))
    places = torch.randint(0, 9, (n, 2), generator=arrays.seeded(0, "places"))
    inside = torch.zeros(n, 16, 16, dtype=torch.uint8)
    for square, (y, x) in zip(inside, places.tolist(), strict=True):
        square[y : y + 7, x : x + 7] = 1
    pixels = (data.pixels // 2 + 40 * inside[:, None]).to(torch.uint8)
    return replace(data, pixels=pixels, targets={**data.targets, "segment_semantic": inside})


@pytest.mark.parametrize("name", ["segment_semantic", "joint:segment_semantic+classification"])
def test_it_learns_segments_alone_and_with_another_task(name: str) -> None:
    data, test = shapes(200), shapes(240).take(range(200, 240))
    task = parse(name, TASKS, "task").build()(data)
    model = build(parse(SMALL, MODELS, "model").build(), data.shape, task.outputs, generator=arrays.seeded(0))
    list(train(model, data, task, replace(RECIPES["dense"], epochs=10, batch_size=10, lr=0.01)))
    found = evaluate(model, test, task)
    assert max(value for metric, value in found.items() if metric.endswith("mIoU")) > 0.85

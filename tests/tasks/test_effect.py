"""The paper's observation: protection made for one task leaves the others."""

import pytest
import torch

from howfar import arrays
from howfar.data import DATASETS, Data
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS, Draft
from howfar.score import retention
from howfar.spec import parse
from howfar.tasks import TASKS
from howfar.training import Recipe, evaluate, train

RECIPE = Recipe(epochs=12, batch_size=32, lr=0.05, crop=0, flip=False)


def learned(name: str, train_set: Data, test: Data, clean: Data) -> tuple[float, float]:
    """Return quality on clean test images, and chance."""
    task = TASKS[name]()(clean)
    model = build(MODELS["resnet8"](width=8), train_set.shape, task.outputs, generator=arrays.seeded(0, "weights"))
    list(train(model, train_set, task, RECIPE))
    return evaluate(model, test, task)[task.metric], task.chance


@pytest.mark.slow
def test_what_hides_the_kind_of_a_room_leaves_its_segments(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rooms")
    splits = DATASETS["rooms"](size=32, train=1500, test=300, root=folder)
    source = TASKS["class_scene"]()(splits.train)
    method = parse("lsp[eps=8/255]", PROTECTORS, "protector").build()
    protected = method.protect(splits.train, source, generator=arrays.seeded(0, "protect"))
    kept = {}
    for name in ("class_scene", "segment_semantic"):
        clean, chance = learned(name, splits.train, splits.test, splits.train)
        after, _ = learned(name, protected, splits.test, splits.train)
        kept[name] = retention([clean], [after], chance=chance).value
    assert kept["class_scene"] < 0.5
    assert kept["segment_semantic"] > 0.85


def test_class_wise_noise_follows_a_map_of_classes() -> None:
    """Every pixel carries the noise of its own class, so a look at one pixel's noise tells its class."""
    side, n = 16, 6
    segments = torch.zeros(n, side, side, dtype=torch.uint8)
    segments[:, :, 8:], segments[:, :2] = 1, 255
    data = Data(torch.full((n, 3, side, side), 128, dtype=torch.uint8), {"segment_semantic": segments}, torch.arange(n))
    task = TASKS["segment_semantic"]()(data)
    for name in ("random:class", "lsp", "cuda"):
        protected = parse(name, PROTECTORS, "protector").build().protect(data, task, generator=arrays.seeded(0))
        noise = protected.pixels.int() - 128
        if name != "cuda":  # which divides by the maximum
            assert (noise[:, :, :2] == 0).all(), name
        if name == "random:class":
            assert torch.equal(noise[0], noise[1])
            assert noise.abs().max() <= 8
        assert (noise[:, :, 2:, :8] != 0).any()
        assert (noise[:, :, 2:, 8:] != 0).any()
        for method in ("ar", "ops", "em:class"):
            assert not parse(method, PROTECTORS, "protector").build().takes(segments)


def test_error_minimizing_noise_takes_any_target() -> None:
    """Against depth, the surrogate's error falls below what it is on clean images, and the noise stays in its ball."""
    n, side = 24, 16
    generator = arrays.seeded(0)
    depth = 1 + 3 * torch.rand(n, 1, side, side, generator=generator)
    pixels = torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)
    data = Data(pixels, {"depth_euclidean": depth}, torch.arange(n))
    task = TASKS["depth_euclidean"]()(data)
    method = parse("em[rounds=3,steps=4,train_steps=4,surrogate=resnet8[width=4]]", PROTECTORS, "protector").build()
    assert method.takes(depth)
    draft = Draft()
    protected = method.protect(data, task, generator=arrays.seeded(0), draft=draft)
    curve = draft.curve
    assert curve[-1] < curve[0]
    assert 0 < int((protected.pixels.int() - pixels.int()).abs().max()) <= 8

"""Stripes: every pixel says its own class by a pattern that stays itself where images are cropped and flipped."""

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.data import Data
from howfar.data.rooms import rooms
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.protectors.stripes import striped
from howfar.tasks import TASKS, classification
from howfar.training import Recipe, evaluate, train


def shifts(pattern: np.ndarray) -> set[bytes]:
    return {np.roll(pattern, shift, (1, 2)).tobytes() for shift in np.ndindex(pattern.shape[1:])}


@pytest.mark.parametrize(("channels", "most"), [(3, 60), (1, 3)])
def test_patterns_are_balanced_and_no_two_are_shifts_or_mirrors(channels: int, most: int) -> None:
    found = striped(most, channels, np.random.default_rng(0))
    assert found.shape == (most, channels, 2, 2)
    assert set(np.unique(found)) == {-1.0, 1.0}
    assert (found.sum((2, 3)) == 0).all()
    orbits = [shifts(pattern) for pattern in found]
    assert all(not one & other for place, one in enumerate(orbits) for other in orbits[:place])
    for pattern, orbit in zip(found, orbits, strict=True):
        assert np.ascontiguousarray(pattern[:, :, ::-1]).tobytes() in orbit, "a mirror is a shift"
    sizes = [len(orbit) for orbit in orbits]
    assert sizes == sorted(sizes), "what one filter reads comes first"
    assert sizes.count(2) == {3: 12, 1: 3}[channels]


def test_further_classes_get_larger_cells_until_there_are_no_more() -> None:
    rng = np.random.default_rng(0)
    found = striped(10, 1, rng)
    assert found.shape == (10, 1, 16, 16), "3 patterns of 1, 2, 4 pixels each, and one of 8"
    assert (np.tile(found[:3, :, :2, :2], (1, 1, 8, 8)) == found[:3]).all()
    orbits = [shifts(pattern) for pattern in found]
    assert all(not one & other for place, one in enumerate(orbits) for other in orbits[:place])
    assert striped(12, 1, rng).shape[0] == 12
    with pytest.raises(UsageError, match="13 classes, but 12 patterns of 1 channel"):
        striped(13, 1, rng)


def gray(segments: torch.Tensor) -> Data:
    count, height, width = segments.shape
    pixels = torch.full((count, 3, height, width), 128, dtype=torch.uint8)
    return Data(pixels, {"segment_semantic": segments, "label": torch.arange(count) % 3}, torch.arange(count))


def noise(data: Data, target: str, seed: int = 0) -> torch.Tensor:
    task = classification()(data) if target == "label" else TASKS[target]()(data)
    return PROTECTORS["stripes"]().protect(data, task, generator=arrays.seeded(seed)).pixels.int() - data.pixels.int()


def test_pixels_carry_their_class_and_those_of_none_nothing() -> None:
    segments = torch.arange(4).repeat_interleave(4).repeat(12, 16, 1)
    segments[0, :8] = arrays.VOID
    data = gray(segments)
    found = noise(data, "segment_semantic")
    assert (found[0, :, :8] == 0).all()
    assert set(found[1:].unique().tolist()) == {-8, 8}
    tiles = found[1].unfold(1, 2, 2).unfold(2, 2, 2)
    for value in range(4):
        own = tiles[:, :, 2 * value : 2 * value + 2].permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert len(own.unique(dim=0)) == 1
        seen = found[1][:, :, 4 * value : 4 * value + 4]
        mirrored, moved = seen.flip(2), seen.roll(1, 1)
        for other in (mirrored, moved):
            assert torch.equal(other.abs(), seen.abs())
            assert torch.equal(other, seen) or torch.equal(other, -seen), "at most the sign changes"
    assert not torch.equal(found, noise(data, "segment_semantic", seed=1))


def test_a_class_of_an_image_is_one_of_all_its_pixels() -> None:
    found = noise(gray(torch.zeros(6, 8, 8, dtype=torch.int64)), "label")
    assert torch.equal(found[:3], found[3:])
    assert len(found.flatten(1).unique(dim=0)) == 3


def test_what_is_measured_is_refused() -> None:
    data = gray(torch.zeros(6, 8, 8, dtype=torch.int64))
    assert not PROTECTORS["stripes"]().takes(torch.rand(6, 1, 8, 8))
    assert PROTECTORS["stripes"]().takes(data.targets["segment_semantic"])
    assert not PROTECTORS["stripes"]().takes({"a": data.targets["label"], "b": data.targets["segment_semantic"]})


@pytest.mark.slow
def test_who_crops_and_flips_learns_no_segments() -> None:
    """As carriers of larger tiles let them."""
    splits = rooms(size=32, train=1500, test=500)
    task = TASKS["segment_semantic"]()(splits.train)
    quality = {}
    for name in ("random", "carriers", "stripes"):
        data = PROTECTORS[name]().protect(splits.train, task, generator=arrays.seeded(0))
        model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0))
        list(train(model, data, task, Recipe(12, batch_size=32, lr=0.05, crop=4, flip=True)))
        quality[name] = (evaluate(model, splits.test, task)[task.metric] - task.chance) / task.chance
    assert quality["stripes"] < 0.2 < 0.6 < min(quality["random"], quality["carriers"]), quality

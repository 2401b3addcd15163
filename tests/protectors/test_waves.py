"""Waves, alone and together with stripes: every pixel says its own class, also in images that were compressed."""

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.data import Data
from howfar.data.rooms import rooms
from howfar.defend import DEFENSES, Chain, Learner
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.protectors.waves import SIDE, waved
from howfar.tasks import TASKS, Task
from howfar.training import Recipe, evaluate, train


def shifts(wave: np.ndarray) -> set[bytes]:
    return {np.roll(wave, shift, (0, 1)).tobytes() for shift in np.ndindex(wave.shape)}


@pytest.mark.parametrize("count", [24, 125])
def test_waves_are_balanced_and_no_two_are_shifts(count: int) -> None:
    found = waved(count, np.random.default_rng(0))
    assert found.shape == (count, SIDE, SIDE)
    assert set(np.unique(found)) == {-1.0, 1.0}
    assert (found.sum((1, 2)) == 0).all()
    orbits = [shifts(wave) for wave in found]
    assert all(not one & other for place, one in enumerate(orbits) for other in orbits[:place])
    mirrors = [shifts(wave[:, ::-1]) for wave in found[:18]]
    assert all(not orbits[i] & mirrors[j] for i in range(18) for j in range(i)), (
        "the first ones can be told when flipped"
    )
    again = waved(count, np.random.default_rng(1))
    assert not np.array_equal(found, again)
    assert {wave.tobytes() for wave in found} == {wave.tobytes() for wave in again}


def gray(segments: torch.Tensor) -> tuple[Data, Task]:
    pixels = torch.full((len(segments), 3, *segments.shape[1:]), 128, dtype=torch.uint8)
    data = Data(pixels, {"segment_semantic": segments}, torch.arange(len(segments)))
    return data, TASKS["segment_semantic"]()(data)


def test_large_classes_get_waves_of_8_pixels_and_pixels_of_none_nothing() -> None:
    segments = torch.full((4, 64, 64), 7)
    segments[:, :32] = torch.arange(4).repeat_interleave(16)
    segments[:, 48:] = arrays.VOID
    data, task = gray(segments)
    found = PROTECTORS["waves"]().protect(data, task, generator=arrays.seeded(0)).pixels.int() - data.pixels.int()
    assert (found[:, :, 48:] == 0).all()
    assert set(found[:, :, :48].unique().tolist()) == {-8, 8}
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2]), "so that grayscale leaves them"
    largest = found[0, 0, 32:48, :16]
    spectrum = torch.fft.fft2(largest.float()).abs()
    down, across = divmod(int(spectrum.argmax()), SIDE)
    assert 2 in (min(down, SIDE - down), min(across, SIDE - across))
    with pytest.raises(UsageError, match="126 classes, but 125 patterns"):
        waved(126, np.random.default_rng(0))


def test_woven_images_show_stripes_in_red_and_blue_and_waves_in_green() -> None:
    segments = torch.arange(8).repeat_interleave(8).repeat(4, 64, 1)
    data, task = gray(segments)
    woven, waves = (
        PROTECTORS[name]().protect(data, task, generator=arrays.seeded(0)).pixels.int() - data.pixels.int()
        for name in ("woven", "waves")
    )
    assert torch.equal(woven[:, 1], waves[:, 1])
    for channel in (0, 2):
        assert set(woven[:, channel].unique().tolist()) == {-8, 8}
        assert torch.equal(woven[:, channel, 2:], woven[:, channel, :-2]), "two pixels' period"
    single = Data(data.pixels[:, :1], data.targets, data.ids)
    alone = PROTECTORS["woven"]().protect(single, task, generator=arrays.seeded(0)).pixels.int() - single.pixels.int()
    assert torch.equal(alone, waves[:, :1]), "gray images show the waves"


def test_layered_images_show_waves_and_stripes_to_who_looks_at_two_bits() -> None:
    segments = torch.arange(8).repeat_interleave(8).repeat(4, 64, 1)
    data, task = gray(segments)
    data.pixels[:, :, 32:] = 100  # no other two bits within 8/255
    layered, waves = (
        PROTECTORS[name]().protect(data, task, generator=arrays.seeded(0)).pixels.int() - data.pixels.int()
        for name in ("layered", "waves")
    )
    assert torch.equal(layered[:, :, 32:], waves[:, :, 32:])
    assert layered.abs().max() == 8
    bright = layered[:, :, :32] >= 0  # of 128, the least value of its two bits
    assert torch.equal(bright[:, :, 2:], bright[:, :, :-2]), "two pixels' period"
    assert torch.equal(bright[..., 2:8], bright[..., :6])
    looks = {bright[0, :, :2, 8 * column : 8 * column + 2].numpy().tobytes() for column in range(8)}
    assert len(looks) > 4, "classes differ, though one may be another's shift by a pixel"
    assert set(layered[:, :, :32].unique().tolist()) == {-8, -1, 0, 8}, "as near to the wave as the bits allow"
    single = Data(data.pixels[:, :1], data.targets, data.ids)
    alone = PROTECTORS["layered"]().protect(single, task, generator=arrays.seeded(0)).pixels.int() - single.pixels.int()
    assert torch.equal(alone, waves[:, :1]), "gray images show the waves"


@pytest.mark.parametrize(
    ("defense", "least", "layered"),
    [("jpeg", 0.5, 0.5), ("gray", 0.9, 0.8), ("resize", 0.3, 0.3), ("gaussian", 0.4, 0.4)],
)
def test_what_undoes_stripes_leaves_waves(defense: str, least: float, layered: float) -> None:
    """By how much the change still goes in its own direction after the images were purified."""
    data = rooms(size=64, train=24, test=1, seed=3).train
    task = TASKS["segment_semantic"]()(data)
    purify = Chain.parse(defense, DEFENSES).build().purify
    assert purify is not None
    learner = Learner(task)
    left = {}
    for name in ("waves", "layered", "stripes"):
        protected = PROTECTORS[name]().protect(data, task, generator=arrays.seeded(0))
        noise = (protected.pixels.int() - data.pixels.int()).float()
        after = purify(protected, learner).pixels.int() - purify(data, learner).pixels.int()
        left[name] = float((after * noise).sum() / noise.square().sum())
    assert left["stripes"] < 0.4, left
    assert left["waves"] > least, left
    assert left["layered"] > layered, left


def learned(name: str, defense: str) -> float:
    """Return how far above chance, in its units, a learner of segments gets who purifies protected rooms."""
    splits = rooms(size=64, train=1500, test=500)
    task = TASKS["segment_semantic"]()(splits.train)
    purify = Chain.parse(defense, DEFENSES).build().purify
    assert purify is not None
    data = purify(PROTECTORS[name]().protect(splits.train, task, generator=arrays.seeded(0)), Learner(task))
    model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0))
    list(train(model, data, task, Recipe(12, batch_size=32, lr=0.05, crop=0, flip=False)))
    return (evaluate(model, splits.test, task)[task.metric] - task.chance) / task.chance


@pytest.mark.slow
def test_who_compresses_learns_no_segments() -> None:
    """As stripes let them."""
    quality = {name: learned(name, "jpeg") for name in ("random", "stripes", "waves")}
    assert quality["waves"] < 0.2 < 0.5 < min(quality["random"], quality["stripes"]), quality


@pytest.mark.slow
@pytest.mark.parametrize(("defense", "undone"), [("jpeg", "stripes"), ("bdr", "waves")])
def test_layered_images_hold_where_one_of_their_parts_does_not(defense: str, undone: str) -> None:
    quality = {name: learned(name, defense) for name in (undone, "layered")}
    assert quality[undone] > 0.3, quality
    assert quality["layered"] < 0.75 * quality[undone], quality

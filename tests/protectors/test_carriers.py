"""Carriers: every pixel says its own value, by a texture that survives what it promises to survive."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch

from howfar import arrays
from howfar.data import Data, Splits
from howfar.data.rooms import rooms
from howfar.errors import UsageError
from howfar.models import MODELS, build
from howfar.protectors import PROTECTORS
from howfar.protectors.carriers import TargetCarriers, _apart
from howfar.protectors.codes import Codes, coded
from howfar.spec import parse
from howfar.tasks import TASKS, Task
from howfar.training import Recipe, evaluate, train


def rooms_like(count: int = 12) -> Data:
    rng = np.random.default_rng(0)
    segments = torch.from_numpy(rng.integers(0, 5, (count, 4, 4))).repeat_interleave(8, 1).repeat_interleave(8, 2)
    depth = torch.from_numpy(rng.uniform(1, 9, (count, 1, 32, 32)).astype(np.float32))
    depth[0, 0, :4] = torch.nan
    return Data(
        torch.full((count, 3, 32, 32), 128, dtype=torch.uint8),
        {"segment_semantic": segments, "depth_euclidean": depth, "class_scene": torch.arange(count) % 4},
        torch.arange(count),
    )


def noise(data: Data, source: str, **settings: object) -> torch.Tensor:
    task = parse(source, TASKS, "task").build()(data)
    method = PROTECTORS["carriers"](**settings)
    after = method.protect(task.prepare(data), task, generator=arrays.seeded(0))
    return after.pixels.int() - data.pixels.int()


def test_pixels_of_one_value_carry_one_pattern_and_others_another() -> None:
    data = rooms_like()
    found = noise(data, "segment_semantic")
    assert set(found.unique().tolist()) == {-8, 8}
    segments = data.targets["segment_semantic"]
    tiles = found.unfold(2, 4, 4).unfold(3, 4, 4)[:, :, ::2, ::2].permute(0, 2, 3, 1, 4, 5).reshape(-1, 48)
    values = segments[:, ::8, ::8].reshape(-1)
    for value in range(5):
        assert len(tiles[values == value].unique(dim=0)) == 1
    assert len(tiles.unique(dim=0)) == 5


def test_mirrored_and_luma_patterns_stay_what_they_are() -> None:
    data = rooms_like()
    found = noise(data, "class_scene", mirrored=True, colour="luma", cell=2)
    assert (found == found.flip(3)).all(), "a pattern of 8 pixels fits 32 evenly"
    assert (found[:, 0] == found[:, 1]).all()
    small = found[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert (small == found).all(), "cells are two pixels wide"


def test_targets_share_the_budget_by_places_or_by_sum() -> None:
    data = rooms_like()
    by_places = noise(data, "joint:class_scene+segment_semantic")
    assert set(by_places.unique().tolist()) == {-8, 8}
    calm = torch.zeros_like(data.targets["segment_semantic"])
    calm[-1] = 1
    flat = Data(data.pixels, {**data.targets, "segment_semantic": calm}, data.ids)
    whole = noise(flat, "joint:class_scene+segment_semantic")
    assert (whole[0] == whole[4]).all(), "the same scene"
    alike = (whole[0] == whole[1]).float().mean()
    assert 0.75 < float(alike) < 1.0, "a quarter of the tiles says what scene it is"
    by_sum = noise(data, "joint:class_scene+segment_semantic", sharing="sum")
    assert set(by_sum.unique().tolist()) <= {-8, 0, 8}


def test_real_values_are_cut_into_levels_and_unknown_ones_carry_nothing() -> None:
    data = rooms_like()
    found = noise(data, "depth_euclidean", levels=4)
    assert (found[0, :, :4] == 0).all()
    assert (found[1:] != 0).all()
    corner = found[:, :, 4::4, ::4]
    depth = data.targets["depth_euclidean"][:, 0, 4::4, ::4]
    order = depth.flatten().argsort()
    lowest, highest = (corner.permute(0, 2, 3, 1).reshape(-1, 3)[part] for part in (order[:20], order[-20:]))
    assert len(lowest.unique(dim=0)) == 1
    assert len(highest.unique(dim=0)) == 1


@pytest.mark.parametrize("mirrored", [False, True])
def test_patterns_are_balanced_and_far_apart_at_every_shift(mirrored: bool) -> None:
    rng = np.random.default_rng(0)
    found = _apart(12, lambda count: TargetCarriers(mirrored=mirrored)._draw(count, 3, rng))
    assert (found.sum((2, 3)) == 0).all()
    for one in range(12):
        for other in range(one):
            for shift in np.ndindex(4, 4):
                assert (found[one] * np.roll(found[other], shift, (1, 2))).mean() < 0.75


@pytest.mark.parametrize("mirrored", [False, True])
def test_smooth_patterns_live_where_jpeg_and_blur_look(mirrored: bool) -> None:
    rng = np.random.default_rng(0)
    kept = {}
    for smooth in (0, 3):
        drawn = TargetCarriers(tile=8, smooth=smooth, mirrored=mirrored)._draw(50, 1, rng)
        assert (drawn.sum((2, 3)) == 0).all()
        assert not mirrored or (drawn == drawn[..., ::-1]).all()
        power = scipy.fft.dctn(drawn, axes=(2, 3), norm="ortho") ** 2
        kept[smooth] = power[..., :4, : 4 + 3 * mirrored].sum() / power.sum()
    assert kept[0] < 0.5 < 0.65 < kept[3]


def test_ordered_codes_change_cell_by_cell_from_a_pattern_to_its_negative() -> None:
    rng = np.random.default_rng(0)
    depth = torch.from_numpy(rng.uniform(1, 9, (12, 1, 8, 8)).astype(np.float32))
    depth[0, 0, 0, :2] = torch.tensor([1.0, 9.0])
    wide = depth.repeat_interleave(4, 2).repeat_interleave(4, 3)
    data = replace(rooms_like(), targets={"depth_euclidean": wide})
    found = noise(data, "depth_euclidean", codes="ordered", levels=9).float() / 8
    tiles = found.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48)
    assert (tiles[0] == -tiles[1]).all(), "the least and the largest"
    assert (tiles.reshape(-1, 3, 16).sum((1, 2)).abs() <= 2).all(), "balanced"
    read = tiles @ tiles[0]
    ranks = depth.flatten().argsort().argsort().float()
    assert np.corrcoef(read, ranks)[0, 1] < -0.98, "one filter reads off which level it is"


def test_bands_give_further_targets_larger_cells_and_those_of_images_the_largest() -> None:
    data = rooms_like()
    halves = torch.zeros(12, 32, 32, dtype=torch.long)
    halves[:, :, 16:] = 1
    both = noise(
        replace(data, targets={**data.targets, "segment_semantic": halves}), "joint:class_scene+segment_semantic",
        sharing="bands",
    )  # fmt: skip
    assert set(both.unique().tolist()) == {-8, 0, 8}, "where the two disagree there is nothing"
    assert (both[0] == both[4]).all(), "the same scene"
    assert (both[0] != both[1]).any(), "another scene"
    cells = both.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert not ((cells > 0).any(4) & (cells < 0).any(4)).any(), "those of scenes are two pixels wide"
    left = both[..., :16].unfold(2, 4, 4).unfold(3, 4, 4).permute(1, 4, 5, 0, 2, 3).flatten(3)
    assert not ((left > 0).any(3) & (left < 0).any(3)).any(), "those of segments repeat every four pixels"


def test_measured_channels_are_cut_by_their_quantiles_and_become_one_number() -> None:
    values = torch.stack([torch.arange(400.0), torch.arange(400.0).flip(0) ** 2], 0).view(1, 2, 20, 20).clone()
    values[0, 1, 19, 19] = torch.nan
    (codes,) = coded(values, "normal", levels=16, rng=np.random.default_rng(0))
    assert (codes.count, codes.channels) == (16, 2)
    assert codes.values.shape == (1, 20, 20)
    flat = codes.values.flatten()
    assert flat[-1] == 16, "one unknown channel leaves nothing known"
    first, second = flat[:-1] // 4, flat[:-1] % 4
    assert (first.diff() >= 0).all(), "the first channel grows"
    assert (second.diff() <= 0).all(), "the second one falls"
    for levels in (first, second):
        assert all(abs(int(count) - 100) < 40 for count in levels.bincount(minlength=4))
    digits = codes.digits()
    assert digits.shape == (16, 2)
    assert digits[6].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert digits[[0, 15]].tolist() == [[0, 0], [1, 1]]
    (few,) = coded(torch.arange(1000.0), "age", levels=2, rng=np.random.default_rng(0))
    assert (few.count, few.channels, few.values.shape) == (2, 1, (1000,))
    assert 430 < int(few.values.sum()) < 570, "half above the median"
    (three,) = coded(torch.rand(2, 3, 4, 4), "normal", levels=16, rng=np.random.default_rng(0))
    assert three.count == 3**3, "a third root of 16, rounded"
    with pytest.raises(UsageError, match="'depth' has no value"):
        coded(torch.full((1, 1, 4, 4), torch.nan), "depth", levels=4, rng=np.random.default_rng(0))


def test_several_targets_are_coded_in_the_order_of_their_names() -> None:
    targets = {"b": torch.tensor([0, 2, 1]), "a": torch.tensor([[[4, 0]]] * 3)}
    one, other = coded(targets, "joint", levels=4, rng=np.random.default_rng(0))
    assert (one.count, other.count, one.channels) == (5, 3, 0)
    assert torch.equal(one.values, targets["a"])
    assert torch.equal(other.values, targets["b"])


def test_tiles_are_dealt_out_by_the_share_of_every_target() -> None:
    rng = np.random.default_rng(0)
    method = TargetCarriers(cell=2, whole=0.2)
    places = method._places([True, False, False], (40, 32), rng)
    tiles = places.unfold(0, 8, 8).unfold(1, 8, 8)
    assert (tiles == tiles[..., :1, :1]).all(), "8 pixels wide"
    assert tiles[..., 0, 0].flatten().bincount().tolist() == [4, 8, 8], "a fifth for the class, the rest in halves"
    assert not torch.equal(places, method._places([True, False, False], (40, 32), rng)), "in a random order"
    even = method._places([True, True], (39, 31), rng)
    assert even.shape == (39, 31)
    assert even[::8, ::8].flatten().bincount().tolist() == [10, 10]
    two = method._places([True, True, False], (40, 32), rng)[::8, ::8].flatten()
    assert two.bincount().tolist() == [2, 2, 16], "both classes share the fifth"


def test_bands_double_the_cells_and_end_with_classes_of_images() -> None:
    of_image, of_pixels = Codes(torch.zeros(2).long(), 1), Codes(torch.zeros(2, 4, 4).long(), 1)
    codes = [of_image, of_pixels, of_image, of_pixels]
    assert TargetCarriers(sharing="bands", cell=3)._cells(codes) == [12, 3, 24, 6]
    assert TargetCarriers(cell=3)._cells(codes) == [3, 3, 3, 3]


def test_pixels_without_a_class_carry_nothing_and_cost_no_pattern() -> None:
    segments = torch.arange(3).repeat(2, 4, 1).to(torch.uint8)
    segments[0] = arrays.VOID
    rng = np.random.default_rng(0)
    (codes,) = coded(segments, "segment_semantic", levels=16, rng=rng)
    assert codes.count == 3
    assert (codes.values[0] == 3).all()
    assert torch.equal(codes.values[1], segments[1].long())
    with pytest.raises(UsageError, match="has no value"):
        coded(segments[:1], "segment_semantic", levels=16, rng=rng)


def test_a_teacher_needs_no_label_and_says_alike_things_of_alike_places() -> None:
    data = rooms_like(8)
    data.pixels[:, :, :16], data.pixels[:, :, 16:] = 40, 220
    method = PROTECTORS["taught-carriers"](rooms=64, epochs=2, teacher="resnet8[width=2]")

    def after(source: str, some: Data) -> torch.Tensor:
        task = TASKS[source]()(some)
        return method.protect(some, task, generator=arrays.seeded(0)).pixels

    found = after("segment_semantic", data)
    others = replace(data, targets={"class_scene": torch.arange(len(data)).flip(0) % 2})
    assert torch.equal(found, after("class_scene", others)), "targets are not looked at"
    assert all(torch.equal(image, found[0]) for image in found), "images are alike, and so is what they carry"


def learned(splits: Splits, data: Data, name: str, epochs: int = 12) -> tuple[float, Task]:
    """Return what a network that learns a task from data reaches on clean images."""
    task = TASKS[name]()(splits.train)
    model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0))
    list(train(model, data, task, Recipe(epochs, batch_size=32, lr=0.05, crop=0, flip=False)))
    return evaluate(model, splits.test, task)[task.metric], task


def test_rooms_that_carry_segments_teach_a_wrong_depth() -> None:
    """Depth is not what they carry; who guesses a constant errs less than who learned from them."""
    splits = rooms(size=32, train=600, test=200)
    segments = TASKS["segment_semantic"]()(splits.train)
    error = {}
    for name in ("random", "carriers"):
        protected = PROTECTORS[name]().protect(splits.train, segments, generator=arrays.seeded(0))
        error[name], depth = learned(splits, protected, "depth_euclidean", epochs=6)
    assert error["carriers"] > 1.15 * depth.chance > 1.1 * error["random"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "source"),
    [
        ("carriers", "segment_semantic"),
        ("carriers[sharing=sum]", "joint:class_scene+segment_semantic+depth_euclidean"),
        ("taught-carriers", "class_scene"),
    ],
)
def test_rooms_that_carry_something_dense_teach_neither_scenes_nor_depth(method: str, source: str) -> None:
    splits = rooms(size=32, train=1500, test=500)
    target = parse(source, TASKS, "task").build()(splits.train)
    protector = parse(method, PROTECTORS, "protector").build()
    protected = protector.protect(splits.train, target, generator=arrays.seeded(0))
    for name in ("class_scene", "depth_euclidean"):
        clean, task = learned(splits, splits.train, name)
        kept = (learned(splits, protected, name)[0] - task.chance) / (clean - task.chance)
        assert kept < 0.35, f"{name}: clean {clean}, chance {task.chance}"

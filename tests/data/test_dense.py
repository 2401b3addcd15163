"""CamVid, archives with maps, folders without classes, and the maps an image itself gives."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.data import DATASETS, maps
from howfar.data.camvid import camvid
from howfar.errors import HowfarError, UsageError


def test_camvid_is_read_with_void_left_out(shared: Path) -> None:
    splits = DATASETS["camvid"](root=shared / "camvid_96x128.npz")
    assert (len(splits.train), len(splits.test)) == (367, 233)
    assert splits.train.shape == (3, 96, 128)
    assert splits.train.targets["segment_semantic"].unique().tolist() == [*range(11), 255]
    small = DATASETS["camvid"](root=shared / "camvid_96x128.npz", height=24, width=32)
    assert small.train.shape == (3, 24, 32)
    averaged = splits.train.pixels[0].float().unflatten(2, (32, 4)).unflatten(1, (24, 4)).mean((2, 4))
    assert (small.train.pixels[0].float() - averaged).abs().max() <= 1
    assert small.train.targets["segment_semantic"].shape == (367, 24, 32)
    with pytest.raises(UsageError, match="both height and width"):
        DATASETS["camvid"](root=shared / "camvid_96x128.npz", height=24)


@pytest.mark.parametrize("size", [{}, {"height": 3, "width": 4}])
def test_classes_of_an_archive_are_whole_numbers_from_0_and_none_wraps_around(
    size: dict[str, int], tmp_path: Path
) -> None:
    images, classes = np.full((2, 6, 8, 3), 9, np.uint8), np.full((2, 6, 8), 3)
    table = {"x_train": images, "x_test": images, "seg_train": classes, "seg_test": classes}
    wrong: list[tuple[Any, str]] = [
        (classes + 0.5, "float64"), (classes - 4, "class -1"), (classes[0, 0, 0], "of shape ()"),
        (classes[:1], "2 images"), (classes > 2, "bool"),
    ]  # fmt: skip
    for changed, says in wrong:
        np.savez(tmp_path / "a.npz", **{**table, "seg_test": changed})
        with pytest.raises(HowfarError, match=re.escape(says)):
            camvid(tmp_path / "a.npz", **size)
    np.savez(tmp_path / "a.npz", **{**table, "seg_train": classes + 253})  # 256 in 8 bits would be class 0
    found = camvid(tmp_path / "a.npz", **size).train.targets["segment_semantic"]
    assert set(found.unique().tolist()) == {255}
    for odd in (np.uint8(3), np.zeros((2, 6), np.uint8), np.zeros((2, 6, 8, 3, 1), np.uint8), np.zeros(0, np.uint8)):
        np.savez(tmp_path / "a.npz", **{**table, "x_train": odd})
        with pytest.raises(HowfarError, match="must be uint8 images"):
            camvid(tmp_path / "a.npz", **size)


def test_camvid_is_read_from_its_folder(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(2):
            image, classes = np.zeros((12, 16, 3), np.uint8), np.full((12, 16), number, np.uint8)
            classes[0] = 11
            for folder, values in ((part, image), (f"{part}annot", classes)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(values).save(tmp_path / folder / f"{number}.png")
    splits = DATASETS["camvid"](root=tmp_path, height=12, width=16)
    assert splits.train.targets["segment_semantic"].unique().tolist() == [0, 1, 255]
    (tmp_path / "trainannot" / "1.png").unlink()
    with pytest.raises(HowfarError, match=r"trainannot/1.png is not a readable image"):
        DATASETS["camvid"](root=tmp_path)
    with pytest.raises(UsageError, match="no folders train"):
        DATASETS["camvid"](root=tmp_path / "train")


def test_archives_may_hold_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    images = rng.integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)
    good = {
        "seg": rng.integers(0, 3, (4, 10, 12), dtype=np.uint8),
        "y_depth_euclidean": rng.uniform(1, 2, (4, 10, 12)).astype(np.float32),
        "y_normal": rng.standard_normal((4, 10, 12, 3)).astype(np.float32),
    }
    named = {
        f"{name.replace('y_', f'y_{part}_') if name != 'seg' else f'seg_{part}'}": values
        for name, values in good.items()
        for part in ("train", "test")
    }
    np.savez(path, x_train=images, x_test=images, **named)
    splits = DATASETS["npz"](root=path)
    assert splits.train.targets["segment_semantic"].shape == (4, 10, 12)
    assert splits.train.targets["depth_euclidean"].shape == (4, 1, 10, 12)
    assert splits.train.targets["normal"].shape == (4, 3, 10, 12)
    assert splits.train.classes is None
    np.savez(path, x_train=images, x_test=images, seg_train=good["seg"][:, :5], seg_test=good["seg"])
    with pytest.raises(HowfarError, match="seg_train must hold a class"):
        DATASETS["npz"](root=path)
    np.savez(path, x_train=images, x_test=images, y_train_depth=good["y_depth_euclidean"][:, :4])
    with pytest.raises(HowfarError, match="y_train_depth must hold"):
        DATASETS["npz"](root=path)


def test_a_folder_without_classes_has_images_still(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    splits = DATASETS["folder"](root=tmp_path)
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert splits.train.targets == {}
    assert splits.classes == ()


def test_edges_are_where_the_image_changes() -> None:
    pixels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    pixels[..., 8:] = 255
    edges = maps.edge_texture(pixels)[0, 0]
    assert edges[:, 7:9].min() > 3 * edges[:, :4].max()


def test_keypoints_are_blobs_and_no_edges() -> None:
    pixels = torch.zeros(2, 3, 24, 24, dtype=torch.uint8)
    pixels[0, :, 11:13, 11:13] = 255
    pixels[1, :, :, 12:] = 255
    blob, edge = maps.keypoints2d(pixels)[:, 0].float()
    assert blob.argmax().item() // 24 in (11, 12)
    assert blob.max() > 10 * edge[4:-4].max()


def test_segments_follow_colour_and_are_numbered_by_brightness() -> None:
    pixels = torch.full((1, 3, 24, 24), 30, dtype=torch.uint8)
    pixels[..., 12:] = 220
    segments = maps.segment_unsup2d(pixels)[0, 0].float()
    dark, bright = segments[:, :9], segments[:, 15:]
    assert len(dark.unique()) == len(bright.unique()) == 1
    assert dark.max() < bright.min()

"""Taskonomy's layout: every encoding, every fault, and the real files where they are."""

import importlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.data import DATASETS, Splits
from howfar.data.domains import METERS
from howfar.data.taskonomy import read_split, views
from howfar.errors import HowfarError, UsageError
from howfar.spec import parse

SIZE = 16


def save(root: Path, domain: str, building: str, point: int, values: np.ndarray, view: int = 0, name: str = "") -> Path:
    folder = root / domain / building if building else root / domain
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"point_{point}_view_{view}_domain_{name or domain}.png"
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three buildings of two points, with an image and depth each."""
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for building in ("allensville", "beechwood", "corozal"):
        for point in (0, 11):
            save(tmp_path / "t", "rgb", building, point, rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
            depth = rng.integers(1, 5000, (SIZE, SIZE)).astype(np.uint16)
            depth[0] = 65535
            save(tmp_path / "t", "depth_euclidean", building, point, depth)
    return tmp_path / "t"


def load(root: Path, **settings: object) -> Splits:
    return DATASETS["taskonomy"](root=root, size=SIZE, **settings)


def test_depth_is_metres_and_nothing_where_there_is_none(root: Path) -> None:
    splits = load(root, domains=("depth_euclidean",))
    assert len(splits.train) + len(splits.test) == 6
    depth = splits.train.targets["depth_euclidean"]
    assert depth.shape[1:] == (1, SIZE, SIZE)
    assert torch.isnan(depth[:, :, 0]).all()
    raw = Image.open(root / "depth_euclidean" / "allensville" / "point_0_view_0_domain_depth_euclidean.png")
    true = torch.from_numpy(np.asarray(raw).astype(np.float32)[1:] * METERS)
    everything = torch.cat([depth, splits.test.targets["depth_euclidean"]]).float()
    assert any(torch.allclose(one[0, 1:], true, rtol=1e-3) for one in everything)


def test_every_domain_is_decoded_as_documented(root: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    vectors[0, 0] = 128
    response = rng.integers(0, 20000, (SIZE, SIZE)).astype(np.uint16)
    classes = rng.integers(0, 18, (SIZE, SIZE)).astype(np.uint8)
    gray = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    for building in ("allensville", "beechwood"):
        for point in (0, 11):
            save(root, "normal", building, point, vectors)
            save(root, "edge_texture", building, point, response)
            save(root, "segment_semantic", building, point, classes, name="segmentsemantic")
            save(root, "reshading", building, point, np.repeat(gray[..., None], 3, 2))
            save(root, "segment_unsup2d", building, point, gray)
            folder = root / "class_scene" / building
            folder.mkdir(parents=True, exist_ok=True)
            logits = np.zeros(365, np.float32)
            logits[point] = 1
            np.save(folder / f"point_{point}_view_0_domain_class_places.npy", logits)
    splits = load(root)
    assert len(splits.train) + len(splits.test) == 4  # corozal lacks most
    found = splits.train.targets
    normal = found["normal"][0].float()
    assert torch.isnan(normal[:, 0]).all()
    right_down_away = torch.from_numpy(vectors[1:].transpose(2, 0, 1) / 255 * 2 - 1).float()
    up_and_towards = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    assert torch.allclose(normal[:, 1:], right_down_away * up_and_towards, atol=1e-3)
    assert torch.allclose(found["edge_texture"][0, 0].float(), torch.from_numpy(response / 65535).float(), atol=1e-3)
    assert torch.equal(found["segment_semantic"][0] == 255, torch.from_numpy(classes == 0))
    assert torch.equal(found["segment_semantic"][0][classes > 0], torch.from_numpy(classes[classes > 0] - 1))
    assert found["reshading"][0, 0, 0].isnan().all(), "the depth of the first row is 65535"
    assert torch.allclose(found["reshading"][0, 0, 1:].float(), torch.from_numpy(gray[1:] / 255).float(), atol=1e-3)
    assert set(torch.cat([found["class_scene"], splits.test.targets["class_scene"]]).tolist()) == {0, 11}
    assert splits.train.classes == "class_scene"


GEOMETRIC = {
    "depth_euclidean": np.uint16, "depth_zbuffer": np.uint16, "edge_occlusion": np.uint16, "keypoints3d": np.uint16,
    "segment_unsup25d": np.uint8, "reshading": np.uint8, "normal": np.uint8, "principal_curvature": np.uint8,
}  # fmt: skip


@pytest.mark.parametrize("size", [SIZE, SIZE // 2])
def test_what_has_no_surface_has_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Files of geometric domains hold some number there, such as 0: it would be learned and counted as right."""
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "cache"))
    rng = np.random.default_rng(3)
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    mask[:4] = 0
    for point in range(3):
        for domain, kind in {**GEOMETRIC, "edge_texture": np.uint16, "rgb": np.uint8}.items():
            shape = (SIZE, SIZE, 3) if domain in ("normal", "principal_curvature", "rgb") else (SIZE, SIZE)
            values = rng.integers(1, 100, shape).astype(kind)
            if domain == "depth_zbuffer":
                values[-4:] = 65535
            save(tmp_path / "t", domain, "", point, values)
        save(tmp_path / "t", "mask_valid", "", point, mask)
    found = DATASETS["taskonomy"](root=tmp_path / "t", size=size).train.targets
    edge = size // 4
    for domain in GEOMETRIC:
        known = torch.isfinite(found[domain])
        assert not known[:, :, :edge].any(), domain
        assert not known[:, :, -edge:].any(), domain
        assert known[:, :, edge:-edge].all(), domain
    assert torch.isfinite(found["edge_texture"]).all(), "edges of the image itself are there"


def test_a_mask_of_one_view_says_nothing_of_others(root: Path) -> None:
    save(root, "mask_valid", "allensville", 0, np.zeros((SIZE, SIZE), np.uint8))
    splits = load(root, domains=("depth_euclidean",))
    depth = torch.cat([splits.train.targets["depth_euclidean"], splits.test.targets["depth_euclidean"]])
    assert torch.isfinite(depth).flatten(1).any(1).sum() == 5


def test_means_are_over_the_places_that_have_a_value(root: Path) -> None:
    """Two of four pixels without a surface leave the mean of the others; three of four leave none."""
    shades = np.tile(np.array([[10, 200], [90, 30]], np.uint8), (SIZE // 2, SIZE // 2))
    depth = np.full((SIZE, SIZE), 900, np.uint16)
    depth[0, :2], depth[0:2, 2], depth[0, 3] = 65535, 65535, 65535
    for building in ("allensville", "beechwood", "corozal"):
        for point in (0, 11):
            save(root, "depth_euclidean", building, point, depth)
            save(root, "reshading", building, point, shades)
    found = DATASETS["taskonomy"](root=root, size=SIZE // 2, domains=("reshading",)).train.targets["reshading"]
    assert float(found[0, 0, 0, 0]) == pytest.approx((90 + 30) / 2 / 255, abs=1e-3)
    assert found[0, 0, 0, 1].isnan()
    assert float(found[0, 0, 1, 1]) == pytest.approx((10 + 200 + 90 + 30) / 4 / 255, abs=1e-3)


def test_buildings_are_never_in_both_parts(root: Path) -> None:
    splits = load(root)
    assert len(splits.test) == 2
    assert not set(splits.train.ids.tolist()) & set(splits.test.ids.tolist())
    again = load(root)
    assert torch.equal(again.train.ids, splits.train.ids)


def test_published_splits_decide(root: Path, tmp_path: Path) -> None:
    lists = tmp_path / "split.csv"
    lists.write_bytes(b"id,train,val,test\rallensville,1,0,0\rbeechwood,0,0,1\rcorozal,0,1,0\r")
    splits = load(root, split=lists)
    assert len(splits.test) == 2
    lists.write_bytes(b"id,train,val,test\nallensville,1,0,0\n")
    with pytest.raises(UsageError, match="does not list building"):
        load(root, split=lists)
    lists.write_bytes(b"building,part\nallensville,train\n")
    with pytest.raises(HowfarError, match="lacks a column"):
        load(root, split=lists)


def test_a_sample_without_buildings_is_split_by_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "cache"))
    for point in range(5):
        for view in range(2):
            values = np.full((SIZE, SIZE, 3), 10 * point, np.uint8)
            save(tmp_path / "t", "rgb", "", point, values, view)
            save(tmp_path / "t", "normal", "", point, values, view)
    splits = load(tmp_path / "t")
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert splits.test.pixels.unique().numel() == 1


def test_images_may_have_an_alpha_channel_or_another_shape(root: Path) -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[:, 5:25, 0], rgba[..., 3] = 200, 7
    save(root, "rgb", "allensville", 0, rgba)
    save(root, "depth_euclidean", "allensville", 0, np.full((20, 30), 512, np.uint16))
    splits = load(root)
    both = torch.cat([splits.train.pixels, splits.test.pixels])
    assert any((one[0] == 200).all() and (one[1] == 0).all() for one in both)


def test_broken_files_are_named_or_left_out(root: Path) -> None:
    path = root / "depth_euclidean" / "beechwood" / "point_11_view_0_domain_depth_euclidean.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HowfarError, match=r"point_11_view_0_domain_depth_euclidean.png is not a readable image"):
        load(root)
    splits = load(root, skip_broken=True)
    assert len(splits.train) + len(splits.test) == 5
    save(root, "depth_euclidean", "beechwood", 11, np.zeros((SIZE, SIZE, 3), np.uint8))
    with pytest.raises(HowfarError, match="is not a valid depth_euclidean"):
        load(root)
    path.write_bytes(whole)
    splits = load(root)
    assert len(splits.train) + len(splits.test) == 6


def test_pickled_vectors_are_refused(root: Path) -> None:
    for building in ("allensville", "beechwood", "corozal"):
        folder = root / "class_scene" / building
        folder.mkdir(parents=True)
        for point in (0, 11):
            np.save(
                folder / f"point_{point}_view_0_domain_class_places.npy",
                np.array([{}], dtype=object),
                allow_pickle=True,
            )
    with pytest.raises(HowfarError, match="cannot be read"):
        load(root, domains=("class_scene",))


def test_views_that_lack_a_domain_are_left_out(root: Path) -> None:
    (root / "depth_euclidean" / "corozal" / "point_0_view_0_domain_depth_euclidean.png").unlink()
    assert len(views(root, ("depth_euclidean",))) == 5
    assert len(views(root, ())) == 6
    with pytest.raises(UsageError, match="no folder normal"):
        load(root, domains=("normal",))
    with pytest.raises(UsageError, match="unknown domain 'nonsense'"):
        load(root, domains=("nonsense",))
    with pytest.raises(UsageError, match="no folder rgb"):
        load(root / "rgb")


def test_an_interrupted_reading_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taskonomy = importlib.import_module("howfar.data.taskonomy")  # the package names the loader so

    read: list[str] = []
    decoded = taskonomy.decoded

    def counting(name: str, path: Path, size: int, surface: torch.Tensor | None) -> torch.Tensor:
        read.append(path.name)
        if len(read) == 5:
            raise KeyboardInterrupt
        return decoded(name, path, size, surface)

    monkeypatch.setattr("howfar.data.rows.PIECE", 1)
    monkeypatch.setattr(taskonomy, "decoded", counting)
    with pytest.raises(KeyboardInterrupt):
        load(root)
    read.clear()
    monkeypatch.setattr(taskonomy, "decoded", decoded)
    splits = load(root)
    assert len(splits.train) + len(splits.test) == 6
    monkeypatch.setattr(taskonomy, "decoded", counting)
    load(root)
    assert not read, "files were read although all is in the cache"


def test_lists_of_buildings_are_read_whatever_their_line_ends(shared: Path) -> None:
    counts = {"debug": 1, "tiny": 35, "medium": 138, "full": 482, "fullplus": 535}
    for name, count in counts.items():
        found = read_split(shared / "taskonomy_splits" / f"train_val_test_{name}.csv")
        assert len(found) == count
    tiny = list(read_split(shared / "taskonomy_splits" / "train_val_test_tiny.csv").values())
    assert (tiny.count("train"), tiny.count("val"), tiny.count("test")) == (25, 5, 5)


@pytest.mark.parametrize("domain", ["normal", "depth_zbuffer", "reshading", "edge_texture", "keypoints3d"])
def test_real_files_are_read(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "cache"))
    with tarfile.open(shared / "omnidata_sample.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    splits = parse(
        f"taskonomy[root={tmp_path / 'omnidata_sample'},domains={domain},size=32]", DATASETS, "dataset"
    ).build()
    values = torch.cat([splits.train.targets[domain], splits.test.targets[domain]]).float()
    known = values[torch.isfinite(values)]
    assert len(known) > 1000
    if domain == "normal":
        lengths = values.norm(dim=1)
        assert (lengths[torch.isfinite(lengths)] - 1).abs().median() < 0.01
    elif domain.startswith("depth"):
        assert float(known.min()) > 0
        assert float(known.max()) <= 128
    else:
        assert float(known.min()) >= 0
        assert float(known.max()) <= 1

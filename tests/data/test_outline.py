"""What is told of a data set that was not loaded is what loading it shows."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from howfar.data import DATASETS
from howfar.data.outline import OUTLINES, outline
from howfar.errors import HowfarError, UsageError
from howfar.spec import parse

from .test_taskonomy import save


def npz(folder: Path) -> str:
    rng = np.random.default_rng(0)
    table = {}
    for part, count in (("train", 23), ("test", 9)):
        table[f"x_{part}"] = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        table[f"y_{part}"] = np.arange(count) % 7
        table[f"seg_{part}"] = rng.integers(0, 5, (count, 8, 8), dtype=np.uint8)
        table[f"y_{part}_depth"] = rng.random((count, 8, 8), dtype=np.float32)
    np.savez_compressed(folder / "a.npz", **table)
    return f"npz:{folder / 'a.npz'}"


def photos(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for label, count in (("cat", 11), ("dog", 2), ("owl", 6)):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    return f"folder:{folder / 'photos'}[size=8,test_share=0.3]"


def gray_photos(folder: Path) -> str:
    for part, count in (("train", 3), ("test", 2)):
        for label in ("a", "b"):
            (folder / "gray" / part / label).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (8, 8), 40 * number).save(folder / "gray" / part / label / f"{number}.png")
    return f"folder:{folder / 'gray'}"


def segments(folder: Path) -> str:
    rng = np.random.default_rng(0)
    parts = {f"x_{part}": rng.integers(0, 256, (6, 9, 12, 3), dtype=np.uint8) for part in ("train", "test")}
    maps = {f"seg_{part}": rng.integers(0, 12, (6, 9, 12), dtype=np.uint8) for part in ("train", "test")}
    np.savez(folder / "camvid.npz", **parts, **maps)
    return f"camvid:{folder / 'camvid.npz'}"


def views(folder: Path) -> str:
    """Three buildings of which one lacks depth, and some views lack it too."""
    rng = np.random.default_rng(0)
    for building, count in (("allensville", 3), ("beechwood", 4), ("corozal", 2), ("darden", 5)):
        for point in range(count):
            image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            save(folder / "views", "rgb", building, point, image)
            if building != "corozal" and point != 2:
                save(folder / "views", "depth_euclidean", building, point, image[..., 0].astype(np.uint16) + 1)
    return f"taskonomy:{folder / 'views'}[size=16]"


MADE = {
    "digits": lambda _: "digits",
    "small digits": lambda _: "digits[size=8]",
    "rooms": lambda _: "rooms[size=16,train=13,test=5]",
    "large rooms": lambda _: "rooms[size=64,train=2,test=2]",
    "npz": npz,
    "folder": photos,
    "gray folder": gray_photos,
    "camvid": segments,
    "taskonomy": views,
}


@pytest.mark.parametrize("name", MADE)
def test_counts_shape_and_targets_are_those_of_the_loaded_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "data"))
    spec = parse(MADE[name](tmp_path), DATASETS, "dataset")
    found = outline(spec)
    assert not (tmp_path / "data").exists(), "nothing is written"
    splits = spec.build()
    assert (found.train, found.test) == (len(splits.train), len(splits.test))
    assert found.sample.train.shape == splits.train.shape
    assert (found.sample.classes, found.sample.flip) == (splits.classes, splits.flip)
    for part, other in ((found.sample.train, splits.train), (found.sample.test, splits.test)):
        assert {n: (t.dtype, t.shape[1:]) for n, t in part.targets.items()} == {
            n: (t.dtype, t.shape[1:]) for n, t in other.targets.items()
        }
        for target in ("label", "class_scene"):
            if target in other.targets and name != "large rooms":
                assert int(part.targets[target].max()) == len(splits.classes) - 1


def test_of_very_many_views_some_are_counted_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse(views(tmp_path), DATASETS, "dataset")
    monkeypatch.setattr(importlib.import_module("howfar.data.taskonomy"), "LISTED", 3)
    found = outline(spec)
    assert "estimated" in found.note
    assert 4 <= found.train + found.test <= 16


def test_every_data_set_has_an_outline() -> None:
    assert OUTLINES.keys() == DATASETS.keys()


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("cifar10", (3, 32, 32), (50_000, 10_000)),
        ("cifar100", (3, 32, 32), (50_000, 10_000)),
        ("mnist", (1, 28, 28), (60_000, 10_000)),
        ("svhn", (3, 32, 32), (73_257, 26_032)),
    ],
)
def test_public_sets_are_known_before_they_are_here(
    name: str, shape: tuple[int, int, int], counts: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path))
    found = outline(parse(name, DATASETS, "dataset"))
    assert (found.sample.train.shape, found.train, found.test) == (shape, *counts)
    assert "--download" in found.note
    assert list(tmp_path.iterdir()) == []


def test_an_archive_in_place_of_a_public_set_is_looked_into(tmp_path: Path) -> None:
    root = npz(tmp_path).removeprefix("npz:")
    found = outline(parse("cifar10", DATASETS, "dataset", root=root))
    assert (found.train, found.test, found.note) == (23, 9, "")


def test_what_cannot_be_loaded_has_no_outline(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "b").mkdir()
    for text, kind in (
        (f"npz:{tmp_path / 'no.npz'}", UsageError),
        (f"npz:{tmp_path / 'cut.npz'}", HowfarError),
        (f"folder:{tmp_path / 'nowhere'}", UsageError),
        (f"folder:{tmp_path / 'empty'}", HowfarError),
        (f"taskonomy:{tmp_path}", UsageError),
        (f"camvid:{tmp_path}", UsageError),
    ):
        with pytest.raises(kind):
            outline(parse(text, DATASETS, "dataset"))

"""Noise that somebody else made: every format arrives alike, and what does not fit is named."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.data import Data
from howfar.errors import HowfarError, UsageError
from howfar.protectors import PROTECTORS
from howfar.protectors.imported import Imported
from howfar.spec import parse
from howfar.tasks import Task, classification

COUNT, CLASSES = 12, 3


@pytest.fixture
def data() -> Data:
    """Return 12 gray-ish images of 5×4 pixels whose ids are shuffled."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(60, 200, (COUNT, 3, 5, 4), generator=generator, dtype=torch.uint8)
    ids = torch.randperm(COUNT, generator=generator)
    return Data(pixels, {"label": ids % CLASSES}, ids)


@pytest.fixture
def task(data: Data) -> Task:
    return classification()(data)


@pytest.fixture
def steps() -> torch.Tensor:
    """Return noise in 1/255, one entry an id: (12, 3, 5, 4)."""
    return torch.randint(-8, 9, (COUNT, 3, 5, 4), generator=torch.Generator().manual_seed(1))


def taken(method: Imported, data: Data, task: Task) -> torch.Tensor:
    """Return what was added, in 1/255."""
    protected = method.protect(data, task, generator=torch.Generator().manual_seed(0))
    assert torch.equal(protected.ids, data.ids)
    return protected.pixels.int() - data.pixels.int()


def test_every_format_gives_the_same(data: Data, task: Task, steps: torch.Tensor, tmp_path: Path) -> None:
    noise, images = steps / 255, torch.empty(COUNT, 3, 5, 4, dtype=torch.uint8)
    images[data.ids] = (data.pixels.int() + steps[data.ids]).to(torch.uint8)
    np.save(tmp_path / "first.npy", noise.numpy())
    np.save(tmp_path / "last.npy", noise.permute(0, 2, 3, 1).numpy())
    np.save(tmp_path / "bytes.npy", steps.float().numpy())
    np.savez(tmp_path / "one.npz", anything=noise.numpy())
    torch.save(noise, tmp_path / "plain.pt")
    torch.save({"noise": noise}, tmp_path / "dict.pt")
    np.save(tmp_path / "images.npy", images.numpy())
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    for name in ("first.npy", "last.npy", "bytes.npy", "one.npz", "plain.pt", "dict.pt", "images.npy", "folder"):
        assert torch.equal(taken(Imported(tmp_path / name), data, task), steps[data.ids]), name


def test_one_entry_a_class(data: Data, task: Task, steps: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "class.npy", (steps[:CLASSES] / 255).numpy())
    assert torch.equal(taken(Imported(tmp_path / "class.npy"), data, task), steps[data.targets["label"]])


def test_it_is_in_the_table_under_its_file(steps: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", (steps / 255).numpy())
    method = parse(f"import:{tmp_path / 'noise.npy'}", PROTECTORS, "protector").build()
    assert method == Imported(tmp_path / "noise.npy")


def test_another_content_is_another_method(steps: torch.Tensor, tmp_path: Path) -> None:
    keys = []
    for noise in (steps, steps, steps + 1):
        np.save(tmp_path / "noise.npy", (noise / 255).numpy())
        keys.append(parse(f"import:{tmp_path / 'noise.npy'}", PROTECTORS, "protector").key())
    assert keys[0] == keys[1] != keys[2]


def broken(path: Path, kind: str, steps: torch.Tensor) -> None:
    noise = (steps / 255).numpy()
    if kind == "nan":
        noise[3, 0, 1, 1] = np.nan
    shaped = {"shape": noise[:, :2], "few": noise[:2], "large": noise * 1e6, "nan": noise}
    if kind in shaped:
        np.save(path, shaped[kind])
    elif kind == "pickle":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "garbage":
        path.write_bytes(b"\x93NUMPY no")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("shape", "images are"), ("few", "fewer than 12 images and 3 classes"), ("large", "is not noise"),
        ("nan", "not finite"), ("pickle", "cannot be read safely"), ("garbage", "cannot be read safely"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    kind: str, says: str, data: Data, task: Task, steps: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "noise.npy"
    broken(path, kind, steps)
    with pytest.raises(HowfarError, match=says) as raised:
        taken(Imported(path), data, task)
    assert str(path) in str(raised.value)


STRANGE = {
    "float images of 0..255": lambda images: images.astype(np.float32),
    "float images of 0..1": lambda images: (images / 255).astype(np.float32),
    "integer images": lambda images: images.astype(np.int64),
    "unsigned images": lambda images: images.astype(np.uint16),
}


@pytest.fixture
def images(data: Data, steps: torch.Tensor) -> np.ndarray:
    """Return the protected images by id, at most 8/255 from the clean ones: (12, 3, 5, 4)."""
    found = torch.empty(COUNT, 3, 5, 4, dtype=torch.uint8)
    found[data.ids] = (data.pixels.int() + steps[data.ids]).to(torch.uint8)
    return found.numpy()


@pytest.mark.parametrize("kind", STRANGE)
def test_images_in_any_numbers_are_the_same_images_or_refused(
    kind: str, data: Data, task: Task, steps: torch.Tensor, images: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", STRANGE[kind](images))
    assert torch.equal(taken(Imported(tmp_path / "a.npy", content="images"), data, task), steps[data.ids])
    with pytest.raises(HowfarError, match=r"noise or images\? Set content"):
        taken(Imported(tmp_path / "a.npy"), data, task)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64, np.float16, np.float64])
def test_noise_in_any_numbers_is_the_same_noise(
    kind: type, data: Data, task: Task, steps: torch.Tensor, tmp_path: Path
) -> None:
    for noise in (steps, steps.sign()):  # of ±1/255 as well
        np.save(tmp_path / "a.npy", noise.numpy().astype(kind))
        unit = "255" if np.issubdtype(kind, np.floating) else "auto"
        assert torch.equal(taken(Imported(tmp_path / "a.npy", unit=unit), data, task), noise[data.ids])


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        (lambda i: i > 99, {}, "torch.bool, neither images nor noise"),
        (lambda i: i.astype(np.complex64), {}, "torch.complex64, neither images nor noise"),
        (lambda i: i[:0], {}, "holds 0 entries"),
        (lambda i: (i / 255 - 0.5) / 0.25, {"content": "images"}, "Undo their normalization"),
        (lambda i: i.astype(np.int64) * 2, {"content": "images"}, "images are in .0, 255."),
        (lambda i: i / 160.0, {"content": "images"}, "Set the unit"),
        (lambda i: i[:-1].astype(np.float32) - 128, {}, "neither one for each of 12 images nor for each of 3 classes"),
    ],
)
def test_what_is_neither_noise_nor_images_is_refused(
    change: Callable[[np.ndarray], np.ndarray], settings: dict[str, Any], says: str, data: Data, task: Task,
    images: np.ndarray, tmp_path: Path,
) -> None:  # fmt: skip
    np.save(tmp_path / "a.npy", change(images))
    with pytest.raises(HowfarError, match=says):
        taken(Imported(tmp_path / "a.npy", **settings), data, task)


def test_palettes_are_colors_and_numbers_stand_once(task: Task, data: Data, tmp_path: Path) -> None:
    gray = Data(data.pixels[:, :1], data.targets, data.ids)
    for place, number in enumerate(gray.ids.tolist()):
        for folder in ("palette", "by class/0", "by class/1", "named"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(gray.pixels[place, 0].numpy())
        image.convert("RGB").quantize(256).save(tmp_path / "palette" / f"{number}.png")
        image.save(tmp_path / "by class" / str(number % 2) / f"{number // 2}.png")
        image.save(tmp_path / "named" / f"{number}.png")
    (tmp_path / "palette" / "._0.png").write_bytes(b"of macOS")
    assert not taken(Imported(tmp_path / "palette"), gray, task).any()
    with pytest.raises(HowfarError, match=r"0/0\.png and .*1/0\.png are both number 0"):
        taken(Imported(tmp_path / "by class"), gray, task)
    image.save(tmp_path / "named" / "².png")
    with pytest.raises(HowfarError, match=r"²\.png is not named by a number"):
        taken(Imported(tmp_path / "named"), gray, task)


def test_a_single_number_is_no_noise(data: Data, task: Task, tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.float32(3))
    with pytest.raises(HowfarError, match=r"a single number of torch\.float32, neither images nor noise"):
        taken(Imported(file=tmp_path / "n.npy"), data, task)


def test_too_few_entries_for_the_ids(data: Data, task: Task, steps: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", (steps[:-1] / 255).numpy())
    with pytest.raises(HowfarError, match=r"11 entries, but there is an image with id 11"):
        taken(Imported(tmp_path / "short.npy", rows="sample"), data, task)


class Bomb:
    """What runs when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_nothing_in_a_file_is_executed(data: Data, task: Task, tmp_path: Path) -> None:
    path = tmp_path / "noise.pt"
    torch.save(Bomb(tmp_path / "ran"), path)
    with pytest.raises(HowfarError, match="cannot be read safely"):
        taken(Imported(path), data, task)
    pickled = tmp_path / "noise2.pt"
    pickled.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(HowfarError, match="cannot be read safely"):
        taken(Imported(pickled), data, task)
    assert not (tmp_path / "ran").exists()


def test_a_folder_with_a_gap_and_no_file_at_all(data: Data, task: Task, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number in (0, 2):
        Image.new("RGB", (4, 5)).save(tmp_path / "folder" / f"{number}.png")
    with pytest.raises(HowfarError, match="without gaps"):
        taken(Imported(tmp_path / "folder"), data, task)
    with pytest.raises(UsageError, match="is not a file"):
        taken(Imported(tmp_path / "none.npy"), data, task)

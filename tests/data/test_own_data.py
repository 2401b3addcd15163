"""Somebody's own images: arrays, tensors, data sets of torch and Hugging Face, there and back."""

import io
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from howfar import DATASETS, Data, evaluate, seeded
from howfar.data import Splits
from howfar.data.outline import outline
from howfar.errors import HowfarError, UsageError
from howfar.spec import parse

from ..conftest import make_data

datasets = pytest.importorskip("datasets")


def color(n: int = 6) -> Any:
    """Return bytes, channels last, as PIL and most readers give them."""
    return torch.randint(0, 256, (n, 12, 10, 3), dtype=torch.uint8, generator=seeded(1)).numpy()


def expected(images: Any) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


LABELS = [2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x,
        lambda x: torch.from_numpy(x),
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.uint16),
        lambda x: x.astype(np.float64) / 255,
        lambda x: (x / 255).astype(np.float32),
        lambda x: (torch.from_numpy(x).float() / 255).permute(0, 3, 1, 2),
        lambda x: x.astype(np.float32),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1][::-1],
    ],
)
def test_arrays_of_every_kind_give_the_same_bytes(given: Any) -> None:
    images = color()
    data = Data.from_arrays(given(images), LABELS)
    assert torch.equal(data.pixels, expected(images))
    assert data.targets["label"].tolist() == LABELS
    assert data.ids.tolist() == [0, 1, 2, 3, 4, 5]


def test_constant_arrays_and_memory_maps_are_read_without_a_warning(tmp_path: Path) -> None:
    images = color()
    np.save(tmp_path / "x.npy", images)
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (images, np.load(tmp_path / "x.npy", mmap_mode="r")):
            assert torch.equal(Data.from_arrays(given, np.arange(len(images)) % 2).pixels, expected(color()))
        np.savez(tmp_path / "a.npz", x_train=images, y_train=LABELS, x_test=images, y_test=LABELS)
        assert outline(parse(f"npz:{tmp_path}/a.npz", DATASETS, "dataset")).train == 6


def test_gray_images_need_no_channels() -> None:
    data = Data.from_arrays(np.full((2, 9, 8), 0.25))
    assert data.shape == (1, 9, 8)
    assert data.pixels.unique().tolist() == [64]  # 63.75, rounded
    assert data.targets == {}


def test_floats_are_rounded_not_truncated() -> None:
    assert Data.from_arrays(np.array([[[0.0, 0.999, 0.4]]])).pixels.flatten().tolist() == [0, 255, 102]
    assert Data.from_arrays(np.array([[[0.0, 254.6, 3.4]]])).pixels.flatten().tolist() == [0, 255, 3]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 1], r"has 3 classes with numbers from 1 to 3\. Numbers without images .* pass y - 1\."),
        ([0, 7, 0, 7], r"has 2 classes with numbers from 0 to 7\. .* pass np\.unique\(y, return_inverse=True\)\[1\]\."),
    ],
)
def test_numbers_without_images_are_classes_and_that_is_said(labels: list[int], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        data = Data.from_arrays(np.zeros((4, 8, 8)), labels)
    assert data.targets["label"].tolist() == labels, "nothing is renumbered"


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 3, 8, 3), np.uint8), {}, "first or last. Pass channels='first' or 'last'"),
        (np.zeros((2, 3, 8, 5), np.uint8), {"channels": "last"}, "do not have 1 or 3 channels last"),
        (np.zeros((2, 8, 8, 4), np.uint8), {}, "an alpha channel can be cut off"),
        (np.zeros((8, 8), np.uint8), {}, r"not \(8, 8\). Reshape"),
        (np.zeros((0, 8, 8), np.uint8), {}, "there are no images"),
        (np.zeros((2, 0, 8), np.uint8), {}, r"not \(2, 0, 8\)"),
        (
            np.full((2, 8, 8), 1.2),
            {},
            "values up to 1.2, so the value of white is unclear. Divide them by it and pass scale=1",
        ),
        (np.full((2, 8, 8), 16.0), {}, "values up to 16, so the value of white is unclear"),
        (np.eye(8)[None], {}, "only 0 and 1, so the value of white is unclear"),
        (np.full((2, 8, 8), 1.2), {"scale": 1}, r"values up to 1.2, above 1. Clip or rescale them to \[0, 1\]"),
        (np.full((2, 8, 8), 300), {}, "values up to 300, above 255"),
        (np.linspace(-2, 2, 64).reshape(1, 8, 8), {}, "from -2 to 2, as after a normalization. Undo it"),
        (np.full((2, 8, 8), np.nan), {}, "NaN or infinite"),
        (np.zeros((2, 8, 8), bool), {}, "of type bool are not supported"),
        (np.zeros((2, 8, 8), np.uint8), {"scale": 1}, "white at 255, not at 1"),
    ],
)
def test_what_is_ambiguous_is_refused_with_the_fix(images: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(HowfarError, match=message):
        Data.from_arrays(images, **options)


def test_what_was_ambiguous_can_be_told() -> None:
    small = np.arange(2 * 3 * 8 * 3, dtype=np.uint8).reshape(2, 3, 8, 3)
    assert Data.from_arrays(small, channels="first").shape == (3, 8, 3)
    assert Data.from_arrays(small, channels="last").shape == (3, 3, 8)
    assert Data.from_arrays(np.eye(8)[None], scale=1).pixels.max() == 255
    assert Data.from_arrays(np.eye(8)[None], scale=255).pixels.max() == 1


@pytest.mark.parametrize(
    "labels", [np.array(LABELS), np.array(LABELS)[:, None], torch.tensor(LABELS, dtype=torch.uint8)]
)
def test_labels_of_every_kind(labels: Any) -> None:
    found = Data.from_arrays(color(), labels).targets["label"]
    assert found.dtype == torch.int64
    assert found.tolist() == LABELS


def test_dense_targets_by_name() -> None:
    segments = np.arange(6 * 12 * 10).reshape(6, 12, 10) % 4
    depth = np.random.default_rng(0).random((6, 12, 10))
    normals = np.random.default_rng(0).random((6, 12, 10, 3)).astype(np.float32)
    data = Data.from_arrays(
        color(), {"class_scene": LABELS, "segment_semantic": segments, "d": depth, "normal": normals}
    )
    assert data.targets["segment_semantic"].dtype == torch.uint8
    assert np.array_equal(data.targets["segment_semantic"].numpy(), segments)
    assert data.targets["d"].shape == (6, 1, 12, 10)
    assert np.allclose(data.targets["d"][:, 0].numpy(), depth)
    assert np.array_equal(data.targets["normal"].permute(0, 2, 3, 1).numpy(), normals)
    assert data.classes == "class_scene"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1], "6 images but 2 targets in 'label'"),
        ([0, 1, 2, 0, 1, -1], "classes from -1 to 2. Number them from 0"),
        (list("abcabc"), "not numbers. Number the classes: classes, y = np.unique"),
        ({"segment_semantic": np.full((6, 12, 10), 300)}, "a class from 0 to 254 for every pixel"),
        ({"segment_semantic": np.zeros((6, 5, 5), int)}, "a class from 0 to 254 for every pixel"),
    ],
)
def test_targets_that_no_task_has_are_refused(targets: Any, message: str) -> None:
    with pytest.raises(HowfarError, match=message):
        Data.from_arrays(color(), targets)


class Pictures(torch.utils.data.Dataset[Any]):
    """A data set in the manner of torchvision: PIL images, a transform, integer labels."""

    def __init__(self, images: Any, transform: Any = None, mode: str = "RGB") -> None:
        self.images, self.transform, self.mode = images, transform, mode

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index]).convert(self.mode)
        return (self.transform(image) if self.transform else image), LABELS[index]


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("transform", [None, to_tensor, np.asarray])
def test_torch_data_sets_give_the_same_data(transform: Any) -> None:
    images = color()
    data = Data.from_torch(Pictures(images, transform))
    assert data.digest() == Data.from_arrays(images, LABELS).digest()


def test_gray_and_mixed_pictures() -> None:
    images = color()
    assert Data.from_torch(Pictures(images, mode="L")).shape == (1, 12, 10)
    gray, rgb = Image.fromarray(images[0]).convert("L"), Image.fromarray(images[1])
    mixed = Data.from_torch([(gray, 0), (rgb, 1)])
    assert mixed.shape == (3, 12, 10)
    assert torch.equal(mixed.pixels[0, 0], mixed.pixels[0, 2])
    assert Data.from_torch([(np.asarray(rgb), 0)], channels="last").shape == (3, 12, 10)


def test_pictures_of_different_sizes_need_a_size() -> None:
    pair = [(Image.new("RGB", (20, 30)), 0), (Image.new("RGB", (40, 16)), 1)]
    with pytest.raises(HowfarError, match=r"image 1 has the shape \(16, 40, 3\), image 0 \(30, 20, 3\).*size=32"):
        Data.from_torch(pair)
    assert Data.from_torch(pair, size=8).shape == (3, 8, 8)


def test_items_of_other_forms() -> None:
    images = color()
    mask = Image.fromarray(np.full((12, 10), 3, np.uint8))
    named = Data.from_torch([(images[0], 4, mask)], targets=["class_scene", "segment_semantic"])
    assert named.targets["class_scene"].tolist() == [4]
    assert named.targets["segment_semantic"].unique().tolist() == [3]
    assert Data.from_torch([{"image": images[0], "label": torch.tensor(7)}]).targets["label"].tolist() == [7]
    assert Data.from_torch([(images[0], {"label": 7, "depth": np.zeros((12, 10))})]).targets["depth"].ndim == 4
    assert Data.from_torch(list(images)).targets == {}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (iter([]), "no length or no items by number"),
        ([], "is empty"),
        ([(color()[0], 1, 2)], "2 targets besides the image, but 0 names"),
        ([{"x": 1}], "no 'image', only x"),
        (Pictures(color(), lambda image: (to_tensor(image) - 0.5) / 0.5), "as after a normalization"),
        ([{"image": color()[0], "a": 1}, {"image": color()[0]}], "'a' is missing in some items"),
    ],
)
def test_data_sets_that_cannot_be_read(dataset: Any, message: str) -> None:
    with pytest.raises(HowfarError, match=message):
        Data.from_torch(dataset)


def hugging_face(images: Any, labels: list[int] | None = None) -> Any:
    names = ["ant", "bee", "cat"]
    features = datasets.Features(
        {"file": datasets.Value("string"), "img": datasets.Image(), "kind": datasets.ClassLabel(names=names)}
    )
    rows = {"file": ["x"] * len(images), "img": [Image.fromarray(one) for one in images], "kind": labels or LABELS}
    return datasets.Dataset.from_dict(rows, features=features)


def test_hugging_face_data_sets_give_the_same_data() -> None:
    images = color()
    data = Data.from_huggingface(hugging_face(images))
    assert data.digest() == Data.from_arrays(images, LABELS).digest()
    named = Data.from_huggingface(hugging_face(images), image="img", targets=["kind"], size=4)
    assert named.shape == (3, 4, 4)
    assert named.targets["label"].tolist() == LABELS


def test_several_columns_of_classes_keep_their_names(tmp_path: Path) -> None:
    both = hugging_face(color()).add_column("coarse", [0, 0, 1, 1, 0, 1]).class_encode_column("coarse")
    assert set(Data.from_huggingface(both).targets) == {"kind", "coarse"}
    both.save_to_disk(str(tmp_path / "both"))
    one = parse(f"hf:{tmp_path}/both[label=coarse]", DATASETS, "dataset").build()
    assert list(one.train.targets) == ["label"]
    assert one.classes == ("0", "1")


def test_hugging_face_data_sets_that_cannot_be_read() -> None:
    dataset = hugging_face(color())
    with pytest.raises(UsageError, match=r"dataset\[NAME\], with 'train'"):
        Data.from_huggingface(datasets.DatasetDict({"train": dataset}))
    with pytest.raises(UsageError, match=r"no column 'x'\. There are: file, img, kind"):
        Data.from_huggingface(dataset, targets=["x"])
    with pytest.raises(UsageError, match="0 columns hold images"):
        Data.from_huggingface(dataset.remove_columns("img"))
    bad = dataset.cast_column("img", datasets.Image(decode=False)).map(
        lambda row: {"img": {"bytes": b"%!PS-Adobe-3.0 EPSF-3.0", "path": None}}
    )
    with pytest.raises(HowfarError, match="not a readable image"):
        Data.from_huggingface(bad)


def test_hf_names_a_data_set_for_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, more = color(6), color(12)
    both = datasets.DatasetDict({"train": hugging_face(images), "validation": hugging_face(more[6:])})
    both.save_to_disk(str(tmp_path / "insects"))
    splits = parse(f"hf:{tmp_path}/insects", DATASETS, "dataset").build()
    assert splits.classes == ("ant", "bee", "cat")
    assert torch.equal(splits.train.pixels, expected(images))
    assert torch.equal(splits.test.pixels, expected(more[6:]))
    assert splits.test.ids.tolist() == [6, 7, 8, 9, 10, 11]
    known = outline(parse(f"hf:{tmp_path}/insects", DATASETS, "dataset"))
    assert (known.train, known.test, known.sample.train.shape, known.sample.classes) == (
        6,
        6,
        (3, 12, 10),
        splits.classes,
    )
    hugging_face(images).save_to_disk(str(tmp_path / "one"))
    halved = parse(f"hf:{tmp_path}/one[size=9]", DATASETS, "dataset").build()
    assert (len(halved.train), len(halved.test), halved.train.shape) == (3, 3, (3, 9, 9))
    known = outline(parse(f"hf:{tmp_path}/one[size=9]", DATASETS, "dataset"))
    assert (known.train, known.test, known.sample.train.shape) == (3, 3, (3, 9, 9))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"could not load the data set 'nobody/nothing'.*Add --download"):
        parse("hf:nobody/nothing", DATASETS, "dataset").build()
    with pytest.raises(UsageError, match=r"has no split 'x'\. There are: train, validation"):
        parse(f"hf:{tmp_path}/insects[test=x]", DATASETS, "dataset").build()


def test_there_and_back_to_torch() -> None:
    data = make_data()
    pairs = data.to_torch()
    assert len(pairs) == len(data)
    image, label = pairs[3]
    assert image.dtype == torch.float32
    assert image.max() <= 1
    assert label == int(data.targets["label"][3])
    again = Data.from_torch(pairs)
    assert torch.equal(again.pixels, data.pixels)
    assert torch.equal(again.targets["label"], data.targets["label"])
    images, labels = next(iter(torch.utils.data.DataLoader(data.to_torch(transform=lambda x: x * 2 - 1), batch_size=5)))
    assert images.shape == (5, *data.shape)
    assert images.min() < 0
    assert labels.tolist() == data.targets["label"][:5].tolist()
    with pytest.raises(UsageError, match=r"unknown target 'lable'\. Did you mean 'label'"):
        data.to_torch("lable")


def test_there_and_back_to_hugging_face() -> None:
    data = Data.from_arrays(color(), {"label": LABELS, "depth": np.random.default_rng(0).random((6, 12, 10))})
    made = data.to_huggingface(["a", "b", "c"])
    assert made.features["label"].names == ["a", "b", "c"]
    assert made[0]["image"].size == (10, 12)
    assert made["id"][:] == data.ids.tolist()
    again = Data.from_huggingface(made)
    assert torch.equal(again.pixels, data.pixels)
    assert torch.equal(again.targets["label"], data.targets["label"])
    assert np.allclose(np.array(made[2]["depth"]), data.targets["depth"][2].numpy())


def test_there_and_back_to_a_folder(tmp_path: Path, digits: Splits) -> None:
    data = digits.train.take(range(40))
    data.to_folder(tmp_path / "out")
    again = DATASETS["folder"](root=tmp_path / "out", test_share=0.1)
    assert again.classes == tuple("0123456789")
    assert again.train.shape == data.shape
    first = torch.cat([again.train.pixels, again.test.pixels]).flatten(1)
    assert sorted(first.tolist()) == sorted(data.pixels.flatten(1).tolist())
    with pytest.raises(UsageError, match="not an empty folder"):
        data.to_folder(tmp_path / "out")
    with pytest.raises(UsageError, match="2 names for 10 classes"):
        data.to_folder(tmp_path / "other", classes=["a", "b"])
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        data.to_folder(tmp_path / "other", classes=["../x", *"123456789"])
    assert not (tmp_path / "other").exists()


def test_shards_of_webdataset(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).random((6, 12, 10)).astype(np.float32)
    data = Data.from_arrays(color(), {"label": LABELS, "depth": depth}, ids=[5, 3, 9, 1, 0, 2])
    paths = data.to_webdataset(tmp_path / "shards", shard=4)
    assert [path.name for path in paths] == ["00000.tar", "00001.tar"]
    with tarfile.open(paths[1]) as tar:
        assert tar.getnames() == [f"000000{key}.{end}" for key in (0, 2) for end in ("png", "cls", "depth.npy")]
        read = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(read["0000002.png"]))), color()[5])
    assert read["0000002.cls"] == b"1"
    assert np.array_equal(np.load(io.BytesIO(read["0000002.depth.npy"]))[0], depth[5])


def test_the_first_thing_that_users_do(digits: Splits) -> None:
    """Floating-point images and labels in, a network that is better than chance out."""
    from howfar import MODELS, Recipe, build, train

    X, y = digits.train.pixels.numpy() / 255.0, digits.train.targets["label"].numpy()
    data = Data.from_arrays(X, y)
    model = build(MODELS["lenet5"](), data.shape, 10)
    for _ in train(model, data, recipe=Recipe(epochs=4, batch_size=32, lr=0.05, crop=0, flip=False)):
        pass
    assert evaluate(model, digits.test)["accuracy"] > 0.5


def test_dark_integers_are_taken_as_they_are_with_a_warning() -> None:
    dark = np.full((2, 8, 8), 16)
    with pytest.warns(
        UserWarning, match=r"integers up to 16 only, and white is taken to be 255. If it is 16, pass X / 16"
    ):
        assert int(Data.from_arrays(dark).pixels.max()) == 16
    with pytest.warns(UserWarning, match="integers up to 16 only"):
        Data.from_arrays(dark.astype(np.uint8))
    assert int(Data.from_arrays(dark, scale=255).pixels.max()) == 16

"""Every reader, on files in the official layouts made here, and on files that are broken or hostile."""

import gzip
import hashlib
import importlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.data import DATASETS, balanced, files, halves
from howfar.data import cifar as cifar_module
from howfar.data import idx as idx_module
from howfar.data.cifar import read_batch
from howfar.errors import HowfarError, UsageError
from howfar.tasks import classification

from ..conftest import make_data
from .server import serve

RNG = np.random.default_rng(0)


def batch(n: int, **labels: list[int]) -> bytes:
    """Return what the official batches hold: a pickled dictionary, protocol 2."""
    return pickle.dumps({"data": RNG.integers(0, 256, (n, 3072), dtype=np.uint8), **labels}, protocol=2)


def python2_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Return a batch as Python 2 wrote the official files: byte strings, old module names."""
    rows, values = pixels.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K" + bytes([rows]) + b"M" + values.to_bytes(2, "little") + b"\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + pixels.size.to_bytes(4, "little") + pixels.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def test_a_batch_written_by_python_2() -> None:
    pixels = RNG.integers(0, 256, (3, 3072), dtype=np.uint8)
    content = read_batch(python2_batch(pixels, [7, 0, 9]), "file")
    assert np.array_equal(content["data"], pixels)
    assert content["labels"] == [7, 0, 9]


def cifar10_files() -> dict[str, bytes]:
    content = {f"data_batch_{k}": batch(4, labels=[k, 0, 1, 2]) for k in range(1, 6)}
    content["test_batch"] = batch(3, labels=[0, 1, 2])
    content["batches.meta"] = pickle.dumps({"label_names": [f"class {k}" for k in range(10)]}, protocol=2)
    return content


def write_tar(path: Path, folder: str, content: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w:gz") as tar:
        for name, raw in content.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path.read_bytes()


def idx(values: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def mnist_files() -> dict[str, bytes]:
    return {
        name: gzip.compress(idx(RNG.integers(0, 10, (n,) if "labels" in name else (n, 28, 28), dtype=np.uint8)))
        for name, n in (
            ("train-images-idx3-ubyte.gz", 30), ("train-labels-idx1-ubyte.gz", 30),
            ("t10k-images-idx3-ubyte.gz", 12), ("t10k-labels-idx1-ubyte.gz", 12),
        )
    }  # fmt: skip


def test_cifar10_from_folder_archive_and_parent(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = cifar10_files()
    for name, raw in content.items():
        (folder / name).write_bytes(raw)
    (tmp_path / "tar").mkdir()
    write_tar(tmp_path / "tar" / "cifar-10-python.tar.gz", "cifar-10-batches-py", content)
    sets = [DATASETS["cifar10"](root=root) for root in (tmp_path, folder, tmp_path / "tar")]
    assert {len(s.train) for s in sets} == {20}
    assert len({s.train.digest() for s in sets}) == 1
    assert sets[0].classes[3] == "class 3"
    raw = pickle.loads(content["data_batch_2"])["data"][1]
    assert np.array_equal(sets[0].train.pixels[5].numpy(), raw.reshape(3, 32, 32))
    assert torch.equal(sets[0].test.ids, torch.arange(20, 23))


def test_cifar100_has_fine_and_coarse_targets(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "cifar-100-python.tar.gz", "cifar-100-python",
        {"train": batch(3, fine_labels=[5, 99, 0], coarse_labels=[1, 19, 0]),
         "test": batch(2, fine_labels=[1, 2], coarse_labels=[0, 0]),
         "meta": pickle.dumps({"fine_label_names": [str(k) for k in range(100)]})},
    )  # fmt: skip
    splits = DATASETS["cifar100"](root=tmp_path)
    assert splits.train.targets["label"].tolist() == [5, 99, 0]
    assert splits.train.targets["coarse"].tolist() == [1, 19, 0]
    assert classification("coarse")(splits.train).outputs == 20


class Payload:
    """Runs a command when unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"data": p}, lambda p: {b"x": [1, (p,)]}])
def test_a_hostile_pickle_does_not_run(tmp_path: Path, wrap: object) -> None:
    mark = tmp_path / "ran"
    raw = pickle.dumps(wrap(Payload(mark)))  # type: ignore[operator]
    with pytest.raises(HowfarError, match="Do not trust"):
        read_batch(raw, "file")
    assert not mark.exists()


@pytest.mark.parametrize(
    "raw", [b"", b"\x80\x02", pickle.dumps([1, 2]), b"cos\nsystem\n(S'x'\ntR.", np.random.default_rng(0).bytes(64)]
)
def test_broken_batches_are_refused(raw: bytes) -> None:
    with pytest.raises(HowfarError, match="file"):
        read_batch(raw, "file")


def test_every_prefix_of_a_batch_is_refused_or_read_whole() -> None:
    raw = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, protocol=2)
    for end in range(0, len(raw), 97):
        with pytest.raises(HowfarError):
            read_batch(raw[:end], "file")


def test_mnist_gzipped_and_plain(tmp_path: Path) -> None:
    for name, raw in mnist_files().items():
        (tmp_path / name).write_bytes(raw)
    zipped = DATASETS["mnist"](root=tmp_path)
    for name in mnist_files():
        (tmp_path / name.removesuffix(".gz")).write_bytes(gzip.decompress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    plain = DATASETS["fashion-mnist"](root=tmp_path)
    assert zipped.train.digest() == plain.train.digest()
    assert zipped.train.shape == (1, 28, 28)
    assert not zipped.flip


def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, raw in mnist_files().items():
        (tmp_path / name).write_bytes(raw)
    monkeypatch.setattr(idx_module, "DEBIAN_FASHION", tmp_path)
    assert DATASETS["fashion-mnist"]().classes[9] == "Ankle boot"


def test_svhn_zero_is_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    for part, n in (("train", 5), ("test", 3)):
        images = RNG.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        file = tmp_path / f"{part}_32x32.mat"
        savemat(file, {"X": images, "y": np.array([[10], [1], [2], [10], [3]])[:n]})
        checksum = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        monkeypatch.setitem(importlib.import_module("howfar.data.svhn").HASHES, file.name, checksum)
    splits = DATASETS["svhn"](root=tmp_path)
    assert splits.train.targets["label"].tolist() == [0, 1, 2, 0, 3]
    assert np.array_equal(splits.test.pixels[-1].numpy(), images[..., -1].transpose(2, 0, 1))
    (tmp_path / "test_32x32.mat").write_bytes(b"MATLAB 5.0 nonsense")
    with pytest.raises(HowfarError, match=r"test_32x32.mat is not the published file"):
        DATASETS["svhn"](root=tmp_path)


@pytest.mark.parametrize("shape", [(6, 9, 8), (6, 9, 8, 1), (6, 9, 8, 3), (6, 3, 9, 8)])
def test_npz_of_any_layout(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = {f"x_{part}": RNG.integers(0, 256, shape, dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "a.npz", y_train=np.arange(6) % 2, y_test=np.arange(6) % 2, y_train_x=np.arange(6), **arrays)
    splits = DATASETS["npz"](root=tmp_path / "a.npz")
    assert splits.train.shape[1:] == (9, 8)
    assert set(splits.train.targets) == {"label", "x"}
    assert splits.classes == ("0", "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": None}, "lacks x_train"),
        ({"x_train": np.zeros((6, 9, 8))}, "must be uint8"),
        ({"x_train": np.zeros((6, 9, 8, 4), np.uint8)}, "channels"),
        ({"y_train": np.arange(5)}, "6 images but 5"),
        ({"y_train": np.arange(6) / 2}, "integers from 0"),
        ({"y_train": np.arange(6) - 1}, "integers from 0"),
        ({"x_test": np.zeros((6, 5, 5), np.uint8)}, "Resize them"),
        ({"seg_train": np.full((6, 9, 8), 0.5)}, "must hold a class from 0 to 254"),
        ({"seg_train": np.full((6, 9, 8), np.nan)}, "must hold a class from 0 to 254"),
        ({"seg_train": np.full((6, 9, 8), "a")}, "must hold a class from 0 to 254"),
        ({"classes": np.str_("cats")}, "Give a list with a name for every class"),
        ({"y_train": np.array([1, None, "x", 2, 3, 4], dtype=object)}, "not a readable"),
    ],
)
def test_bad_npz_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content: dict[str, object] = {f"x_{p}": np.zeros((6, 9, 8), np.uint8) for p in ("train", "test")}
    content |= {f"y_{part}": np.arange(6) % 2 for part in ("train", "test")} | change
    np.savez(tmp_path / "a.npz", **{k: v for k, v in content.items() if v is not None})  # type: ignore[arg-type]
    with pytest.raises(HowfarError, match=message):
        DATASETS["npz"](root=tmp_path / "a.npz")


def test_a_cut_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((6, 9, 8), np.uint8))
    raw = (tmp_path / "a.npz").read_bytes()
    for end in (0, 10, len(raw) // 2, len(raw) - 3):
        (tmp_path / "a.npz").write_bytes(raw[:end])
        with pytest.raises(HowfarError, match=r"a.npz"):
            DATASETS["npz"](root=tmp_path / "a.npz")


def photo(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8), mode).save(path)


def test_folder_of_images(tmp_path: Path) -> None:
    for name in ("cat", "dog <b>"):
        for k in range(5):
            photo(tmp_path / name / f"{k}.png")
    splits = DATASETS["folder"](root=tmp_path)
    assert (len(splits.train), len(splits.test), splits.train.shape) == (8, 2, (3, 10, 12))
    assert splits.classes == ("cat", "dog <b>")
    assert len({*splits.train.ids.tolist(), *splits.test.ids.tolist()}) == 10
    assert DATASETS["folder"](root=tmp_path, size=8).train.shape == (3, 8, 8)


def test_folder_with_train_and_test_and_gray_images(tmp_path: Path) -> None:
    for part, n in (("train", 3), ("test", 1)):
        for name in "ab":
            for k in range(n):
                photo(tmp_path / part / name / f"{k}.png", mode="L")
    splits = DATASETS["folder"](root=tmp_path)
    assert (len(splits.train), len(splits.test), splits.train.shape) == (6, 2, (1, 10, 12))


def test_folder_with_train_and_test_without_classes(tmp_path: Path) -> None:
    """Images for tasks that need no labels."""
    for part, count in (("train", 5), ("test", 3)):
        (tmp_path / part).mkdir()
        for number in range(count):
            values = np.full((12, 12, 3), 20 * number, np.uint8)
            values[0, 0] = 7 if part == "test" else 250
            Image.fromarray(values).save(tmp_path / part / f"{number}.png")
    splits = DATASETS["folder"](root=tmp_path)
    assert (len(splits.train), len(splits.test), splits.classes) == (5, 3, ())
    assert not splits.train.targets
    assert (splits.test.pixels[:, :, 0, 0] == 7).all()
    assert (splits.train.pixels[:, :, 0, 0] == 250).all()
    (tmp_path / "test" / "cats").mkdir()
    with pytest.raises(HowfarError, match="different subfolders"):
        DATASETS["folder"](root=tmp_path)
    (tmp_path / "train" / "cats").mkdir()
    with pytest.raises(UsageError, match="one class"):
        DATASETS["folder"](root=tmp_path)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        DATASETS["folder"](root=tmp_path / "missing")
    photo(tmp_path / "a" / "0.png")
    with pytest.raises(UsageError, match="one class"):
        DATASETS["folder"](root=tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(HowfarError, match="holds no image"):
        DATASETS["folder"](root=tmp_path)
    photo(tmp_path / "b" / "0.png", (9, 9))
    with pytest.raises(UsageError, match="size=32"):
        DATASETS["folder"](root=tmp_path)
    photo(tmp_path / "b" / "0.png")
    with pytest.raises(HowfarError, match="only one image"):
        DATASETS["folder"](root=tmp_path)
    raw = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(HowfarError, match=r"b/1.png is not a readable image"):
        DATASETS["folder"](root=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "svhn"])
def test_missing_data_tell_how_to_get_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "cache"))
    for root in (None, tmp_path):
        with pytest.raises(UsageError, match="--download"):
            DATASETS[name](root=root)
    with pytest.raises(UsageError, match="does not exist"):
        DATASETS[name](root=tmp_path / "nowhere")
    (tmp_path / "archive.tar.gz").write_bytes(b"no archive")
    with pytest.raises(HowfarError, match=r"archive.tar.gz"):
        DATASETS[name](root=tmp_path / "archive.tar.gz")


def test_the_wrong_archive_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "cifar-10-python.tar.gz", "something-else", cifar10_files())
    with pytest.raises(HowfarError, match="another archive"):
        DATASETS["cifar10"](root=tmp_path)


def test_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_tar(tmp_path / "a.tar.gz", "cifar-10-batches-py", cifar10_files())
    with serve({"/cifar-10-python.tar.gz": raw}) as (url, requests):
        monkeypatch.setattr(cifar_module, "CIFAR10_URL", f"{url}/cifar-10-python.tar.gz")
        monkeypatch.setattr(cifar_module, "CIFAR10_HASH", "sha256:" + "0" * 64)
        with pytest.raises(HowfarError, match="checksum differs"):
            DATASETS["cifar10"](root=tmp_path / "new", download=True)
    assert requests


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    raw = os.urandom(300_000)
    checksum = "sha256:" + hashlib.sha256(raw).hexdigest()
    with serve({"/f.bin": raw}, cut_after=100_000) as (url, requests):
        with pytest.raises(HowfarError, match="Run again to resume"):
            files.fetch(f"{url}/f.bin", checksum, tmp_path)
        assert files.fetch(f"{url}/f.bin", checksum, tmp_path).read_bytes() == raw
        assert requests[-1].startswith("bytes=")
        before = len(requests)
        files.fetch(f"{url}/f.bin", checksum, tmp_path)
        assert len(requests) == before, "what is there is not fetched again"
    assert [p.name for p in tmp_path.iterdir()] == ["f.bin"]


def test_nobody_at_the_other_end(tmp_path: Path) -> None:
    with pytest.raises(HowfarError, match="could not download"):
        files.fetch("http://127.0.0.1:9/f.bin", "sha256:" + "0" * 64, tmp_path)


def test_subsets_are_balanced_seeded_and_follow_ids() -> None:
    data = make_data(60, classes=3)
    part = balanced(data, 12)
    assert part.targets["label"].bincount().tolist() == [4, 4, 4]
    order = torch.randperm(60)
    assert set(balanced(data.take(order), 12).ids.tolist()) == set(part.ids.tolist())
    assert set(balanced(data, 12, seed=1).ids.tolist()) != set(part.ids.tolist())
    assert set(part.ids.tolist()) <= set(balanced(data, 20).ids.tolist())
    with pytest.raises(UsageError, match="at least 3"):
        balanced(data, 2)
    rest, share = halves(data, 0.25)
    assert share.targets["label"].bincount().tolist() == [5, 5, 5]
    assert set(rest.ids.tolist()).isdisjoint(share.ids.tolist())


def test_real_sets(shared: Path) -> None:
    cifar = DATASETS["cifar10"](root=shared)
    assert (len(cifar.train), len(cifar.test), cifar.train.shape) == (20000, 5000, (3, 32, 32))
    assert len(DATASETS["mnist"](root=shared).train) == 60000
    assert set(DATASETS["cifar100"](root=shared).train.targets) == {"label", "coarse"}

"""A protected set as a folder: what is written is read again, and what is broken is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from howfar import arrays
from howfar.cli import main
from howfar.data import DATASETS, Data, Splits
from howfar.errors import HowfarError, UsageError
from howfar.poison import artifact, validation
from howfar.protectors import PROTECTORS
from howfar.tasks import classification

from ..conftest import make_data

Tensors = dict[str, torch.Tensor]


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def made(folder: Path, protected: Data, clean: Data, **about: Any) -> Path:
    told = {"method": "random", "norm": "L∞", "granularity": "sample", "settings": {"eps": 8 / 255}, "target": "label"}
    artifact.write(folder, clean, protected, {**told, **about})
    return folder


@pytest.fixture
def clean() -> Data:
    return make_data(30, (3, 16, 16), 3)


@pytest.fixture
def protected(clean: Data) -> Data:
    return PROTECTORS["random"]().protect(clean, classification()(clean), generator=arrays.seeded(0))


def rewritten(folder: Path, change: Callable[[Tensors], None], *, seal: bool) -> Path:
    """Change the arrays of an artifact; with ``seal`` the digests are made to fit, as a wrong writer would."""
    tensors = load_file(folder / artifact.ARRAYS)
    tensors = {name: values.clone() for name, values in tensors.items()}
    change(tensors)
    save_file(tensors, folder / artifact.ARRAYS)
    if seal:
        manifest = json.loads((folder / artifact.MANIFEST).read_text())
        manifest["digests"] = {name: arrays.digest(values) for name, values in tensors.items()}
        (folder / artifact.MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_a_sound_set_has_no_faults_and_is_read_as_it_was_written(clean: Data, protected: Data, tmp_path: Path) -> None:
    found = artifact.read(made(tmp_path / "a", protected, clean))
    assert found.data.digest() == protected.digest()
    assert torch.equal(found.noise.int(), protected.pixels.int() - clean.pixels.int())
    assert found.manifest["budget"]["linf"] == 8
    assert list(validation.faults(found)) == []
    assert list(validation.faults(found, clean)) == []
    order = torch.randperm(len(clean), generator=arrays.seeded(1))
    shuffled = validation.faults(found, clean.take(order))
    assert not [fault for fault in shuffled if "clean images" not in fault], "order means nothing"


def _tamper(tensors: Tensors) -> None:
    tensors["pixels"][3, 0, 0, 0] ^= 1


def _shift_noise(tensors: Tensors) -> None:
    before = tensors["pixels"].short() - tensors["noise"]
    tensors["pixels"] = (before + tensors["noise"].roll(1, 0)).clamp(0, 255).to(torch.uint8)


def _shift_labels(tensors: Tensors) -> None:
    tensors["target/label"] = tensors["target/label"].roll(1)


def _by_class(tensors: Tensors) -> None:
    before = tensors["pixels"].short() - tensors["noise"]
    tensors["noise"] = tensors["noise"][tensors["target/label"]].clone()
    tensors["pixels"] = (before + tensors["noise"]).clamp(0, 255).to(torch.uint8)


def _too_loud(tensors: Tensors) -> None:
    before = (tensors["pixels"].short() - tensors["noise"]).to(torch.uint8)
    tensors["pixels"] = (before.short() + 3 * tensors["noise"]).clamp(0, 255).to(torch.uint8)
    tensors["noise"] = tensors["pixels"].short() - before.short()


def _black(tensors: Tensors) -> None:
    before = tensors["pixels"].short() - tensors["noise"]
    tensors["pixels"][5] = 0
    tensors["noise"] = tensors["pixels"].short() - before


def _negatives_lost(tensors: Tensors) -> None:
    before = tensors["pixels"].short() - tensors["noise"]
    tensors["noise"] = tensors["noise"].clamp(min=0)
    tensors["pixels"] = (before + tensors["noise"]).to(torch.uint8)


def _lost_id(tensors: Tensors) -> None:
    tensors["ids"][2] = 10**6


@pytest.mark.parametrize(
    ("change", "seal", "says"),
    [
        (_tamper, False, "digest differs"),
        (_tamper, True, "not the stored noise"),
        (_shift_noise, True, "not the stored noise"),
        (_shift_labels, True, "shifted or shuffled labels"),
        (_by_class, True, "share one noise"),
        (_too_loud, True, "above eps"),
        (_black, True, "black or constant"),
        (_negatives_lost, True, "hardly any negative noise"),
        (_lost_id, True, "not in the clean set"),
    ],
)
def test_every_fault_is_found(
    clean: Data, protected: Data, tmp_path: Path, change: Callable[[Tensors], None], seal: bool, says: str
) -> None:
    folder = rewritten(made(tmp_path / "a", protected, clean), change, seal=seal)
    assert says in " ".join(validation.faults(artifact.read(folder), clean))


def test_another_clean_set_is_noticed(clean: Data, protected: Data, tmp_path: Path) -> None:
    found = artifact.read(made(tmp_path / "a", protected, clean))
    assert "clean images are not the ones" in " ".join(validation.faults(found, make_data(30, (3, 16, 16), 3, seed=9)))


def test_a_clean_set_of_another_size_is_named(clean: Data, protected: Data, tmp_path: Path) -> None:
    found = artifact.read(made(tmp_path, protected, clean))
    larger = replace(make_data(30, (3, 20, 20), 3), ids=clean.ids, targets=clean.targets)
    faults = list(validation.faults(found, larger))
    assert faults[-1] == "images are (3, 16, 16), the clean set's (3, 20, 20) (channels, height, width)."


def test_class_wise_noise_may_be_shared(clean: Data, tmp_path: Path) -> None:
    protector = PROTECTORS["random"](granularity="class")
    shared = protector.protect(clean, classification()(clean), generator=arrays.seeded(0))
    assert list(validation.faults(artifact.read(made(tmp_path / "a", shared, clean, granularity="class")), clean)) == []


@pytest.mark.parametrize("protector", ["stripes", "carriers", "random:class"])
def test_what_gives_a_class_one_noise_says_so(protector: str, tmp_path: Path) -> None:
    """Nothing is clamped on images of middle brightness, so all images of a class change by the same bytes."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(90, 160, (24, 16, 16, 3), dtype=np.uint8), np.arange(24) % 3
    np.savez(tmp_path / "gray.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    flags = ["--dataset", f"npz:{tmp_path / 'gray.npz'}"]
    assert call(["generate", *flags, "-p", protector, "-o", str(tmp_path / "a")]) == 0
    assert call(["validate", str(tmp_path / "a"), *flags]) == 0


def test_damaged_files_are_named(clean: Data, protected: Data, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="howfar generate"):
        artifact.read(tmp_path)
    folder = made(tmp_path / "a", protected, clean)
    (folder / artifact.ARRAYS).write_bytes((folder / artifact.ARRAYS).read_bytes()[:500])
    with pytest.raises(HowfarError, match="damaged"):
        artifact.read(folder)


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        (lambda steps, labels: np.abs(steps), "hardly any negative noise"),
        (lambda steps, labels: steps[:3][labels], "all images of class 0 share one noise"),
        (lambda steps, labels: steps, ""),
        (lambda steps, labels: steps[:3], ""),
    ],
)
def test_imported_noise_is_judged_like_ours(
    noise: Callable[..., Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(90, 160, (24, 16, 16, 3), dtype=np.uint8), np.arange(24) % 3
    np.savez(tmp_path / "base.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    np.save(tmp_path / "n.npy", (noise(rng.integers(-8, 9, images.shape), labels) / 255).astype(np.float32))
    flags, out = ["--dataset", f"npz:{tmp_path / 'base.npz'}"], str(tmp_path / "a")
    assert call(["generate", *flags, "-p", f"import:{tmp_path / 'n.npy'}", "-o", out]) == 0
    capsys.readouterr()
    assert call(["validate", out, *flags]) == 0
    told = capsys.readouterr().out
    assert says in told
    assert ("doubtful" in told) == bool(says) == ("nothing is wrong" not in told)


def _manifest(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / artifact.MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _arrays(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = {name: values.clone() for name, values in load_file(folder / artifact.ARRAYS).items()}
        save_file(change(tensors), folder / artifact.ARRAYS)

    return changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_manifest(digests={}), "'pixels' has no digest"),
        (_manifest(images=5), "the manifest lists 5 of 3×16×16; there are 30 of 3×16×16"),
        (_manifest(shape=[1, 2]), "the manifest lists 30 of 1×2"),
        (_manifest(format=99), "format: Input should be 1"),
        (_manifest(settings={"eps": "big"}), "settings.eps: Input should be a valid number"),
        (_manifest(settings={"eps": float("inf")}), "settings.eps: Input should be a finite number"),
        (_arrays(lambda t: {name: values[:0] for name, values in t.items()}), "it holds no images"),
        (_arrays(lambda t: {**t, "noise": t["noise"] * float("nan")}), "noise are torch.float32, not torch.int16"),
        (_arrays(lambda t: {**t, "ids": t["ids"].float()}), "ids are torch.float32, not torch.int64"),
        (_arrays(lambda t: {name: values for name, values in t.items() if name != "ids"}), "lacks 'ids'"),
    ],
)
def test_digests_format_and_counts_must_fit(
    clean: Data, protected: Data, tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    folder = made(tmp_path / "a", protected, clean)
    change(folder)
    try:
        told = " ".join(validation.faults(artifact.read(folder), clean))
    except HowfarError as error:
        told = str(error)
    assert says in told
    assert "\n" not in told


def test_generate_validate_export(tmp_path: Path, capsys: pytest.CaptureFixture[str], digits: Splits) -> None:
    folder = tmp_path / "poison"
    flags = ["--dataset", "digits", "--limit-train", "100"]
    assert call(["generate", *flags, "-p", "lsp", "-o", str(folder), "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["method"] == "lsp"
    assert manifest["images"] == 100
    assert call(["validate", str(folder), *flags]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    rewritten(folder, _tamper, seal=False)
    assert call(["validate", str(folder), *flags, "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) >= 2
    assert call(["generate", *flags, "-p", "lsp", "-o", str(folder)]) == 0, "made anew"
    assert call(["export", str(folder), "-o", str(tmp_path / "png")]) == 0
    again = DATASETS["folder"](root=tmp_path / "png").train
    written = artifact.read(folder).data
    assert {p.tobytes() for p in again.pixels.numpy()} < {p.tobytes() for p in written.pixels.numpy()}
    capsys.readouterr()
    assert call(["export", str(folder), "-o", str(tmp_path / "jpeg"), "--jpeg", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] < manifest["budget"]["psnr"]
    assert call(["export", str(folder), "-o", str(tmp_path / "all.npz")]) == 0
    with np.load(tmp_path / "all.npz", allow_pickle=False) as archive:
        assert archive["x"].shape == (100, 16, 16, 1)
    assert call(["export", str(folder), "-o", str(tmp_path / "png")]) == 2, "never overwrites unasked"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert call(["generate", *flags, "-p", "lsp", "-o", str(tmp_path / "full")]) == 2


def test_the_subset_is_the_one_that_the_set_was_made_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Class-balanced subsets of 105 and of all images have other digests than that of 100."""
    folder = tmp_path / "poison"
    whole = ["--dataset", "digits"]
    assert call(["generate", *whole, "--limit-train", "105", "-p", "random", "-o", str(folder)]) == 0
    assert call(["validate", str(folder), *whole]) == 0, capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("limit_train") == "105"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert call(["validate", str(folder), *whole]) == 0, "an older set: its number of images"
    capsys.readouterr()
    assert call(["validate", str(folder), *whole, "--limit-train", "100"]) == 1
    message = capsys.readouterr().out
    assert "but the clean set has 100. Give the --limit-train with which the set was generated." in message


@pytest.mark.parametrize("command", ["validate", "export"])
@pytest.mark.parametrize("name", ["png", "all.npz"])
def test_an_export_is_called_one(
    command: str, name: str, clean: Data, protected: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "poison", protected, clean)
    assert call(["export", str(tmp_path / "poison"), "-o", str(tmp_path / name)]) == 0
    more = ["-o", str(tmp_path / "other")] if command == "export" else []
    assert call([command, str(tmp_path / name), *more]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"{name} is an export" in message
    assert "Give the folder that howfar generate wrote" in message


def test_photographs_are_referred_to_their_own_check(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"photos": []}')
    with pytest.raises(UsageError, match="howfar protect --check"):
        artifact.read(tmp_path)


def test_sets_with_maps_are_protected_by_any_of_their_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "data"))
    flags = ["--dataset", "rooms[size=16,train=24,test=8]"]
    found = {}
    for source in ("segment_semantic", "joint:segment_semantic+edge_texture"):
        folder = tmp_path / source.replace(":", "-")
        command = ["generate", *flags, "--source-task", source, "-p", "carriers[sharing=sum]", "-o", str(folder)]
        assert call(command) == 0
        assert call(["validate", str(folder), *flags]) == 0
        found[source] = artifact.read(folder)
        assert found[source].manifest["source_task"] == source
    one, two = found.values()
    assert one.data.targets.keys() >= {"segment_semantic", "depth_euclidean", "class_scene"}
    assert not torch.equal(one.noise, two.noise)
    assert call(["generate", *flags, "-p", "em", "-o", str(tmp_path / "x"), "--source-task", "nothing"]) == 2
    assert call(["generate", *flags, "-p", "em", "-o", str(tmp_path / "x"), "--source-task", "rotation"]) == 2


def test_unknown_depths_are_alike(clean: Data, protected: Data, tmp_path: Path) -> None:
    depth = torch.full((len(clean), 1, 4, 4), 2.0)
    depth[::2, :, :2] = torch.nan
    before = replace(clean, targets={**clean.targets, "depth": depth})
    after = replace(before, pixels=protected.pixels)
    assert list(validation.faults(artifact.read(made(tmp_path / "a", after, before)), before)) == []
    other = depth.clone()
    other[3, :, 3] = torch.nan
    changed = replace(before, targets={**clean.targets, "depth": other})
    assert any(
        "target 'depth' of 1 images" in fault for fault in validation.faults(artifact.read(tmp_path / "a"), changed)
    )


def test_all_training_images_are_protected(tmp_path: Path, capsys: pytest.CaptureFixture[str], digits: Splits) -> None:
    assert call(["generate", "--dataset", "digits", "-p", "ops", "-o", str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == len(digits.train)


FLAGS = ["--dataset", "digits", "--limit-train", "60"]


def test_another_set_in_the_folder_stays_unless_it_is_to_be_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "poison"
    assert call(["generate", *FLAGS, "-p", "lsp", "-o", str(folder)]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    others = (
        [*FLAGS, "-p", "ops"],
        [*FLAGS, "-p", "lsp[eps=32/255]"],
        [*FLAGS, "-p", "lsp", "--seed", "1"],
        ["--dataset", "digits", "--limit-train", "80", "-p", "lsp"],
    )
    for other in others:
        capsys.readouterr()
        assert call(["generate", *other, "-o", str(folder)]) == 2, other
        message = capsys.readouterr().err
        assert "holds another protected set" in message
        assert "--overwrite" in message
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert call(["generate", *FLAGS, "-p", "ops", "-o", str(folder), "--dry-run"]) == 2, "a dry run says so as well"
    assert call(["generate", *FLAGS, "-p", "lsp", "-o", str(folder)]) == 0, "the same set may be made again"
    assert call(["generate", *FLAGS, "-p", "ops", "-o", str(folder), "--overwrite"]) == 0
    assert artifact.read(folder).manifest["method"] == "ops"
    (folder / artifact.MANIFEST).write_text("{")
    assert call(["generate", *FLAGS, "-p", "ops", "-o", str(folder)]) == 2, "nobody knows what the arrays are"
    assert call(["generate", *FLAGS, "-p", "ops", "-o", str(folder), "--overwrite"]) == 0
    (folder / "letter.txt").write_text("dear")
    assert call(["generate", *FLAGS, "-p", "ops", "-o", str(folder), "--overwrite"]) == 2, "never other files"


def test_an_export_replaces_an_earlier_one_only_if_asked_to(
    clean: Data, protected: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = str(made(tmp_path / "a", protected, clean)), tmp_path / "png"
    assert call(["export", folder, "-o", str(output)]) == 0
    old = set(output.rglob("*.png"))
    capsys.readouterr()
    assert call(["export", folder, "-o", str(output), "--jpeg", "90"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert call(["export", folder, "-o", str(output), "--jpeg", "90", "--overwrite"]) == 0
    assert not any(path.exists() for path in old)
    assert len(list(output.rglob("*.jpg"))) == len(old)
    (output / "holiday.jpg").write_bytes(b"mine")
    assert call(["export", folder, "-o", str(output), "--overwrite"]) == 2, "never other files"
    assert len(list(output.rglob("*.jpg"))) == len(old) + 1
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_bytes(b"mine")
    assert call(["export", folder, "-o", str(tmp_path / "photos"), "--overwrite"]) == 2
    archive = ["export", folder, "-o", str(tmp_path / "all.npz")]
    assert [call(archive), call(archive), call([*archive, "--overwrite"])] == [0, 2, 0]


@pytest.mark.parametrize("dataset", ["rooms[train=40000,test=1000]", "cifar10", "digits"])
def test_a_dry_run_loads_and_draws_nothing(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "data"))

    def refuse(*_: object) -> None:
        raise AssertionError("the data set was loaded")

    monkeypatch.setattr("howfar.data.loaded._load", refuse)
    source = ["--source-task", "class_scene"] if dataset.startswith("rooms") else []
    how = ["generate", "-d", dataset, "-p", "em", "-o", str(tmp_path / "poison"), *source, "--dry-run"]
    assert call(how) == 0
    count = {"rooms": 40_000, "cifar1": 50_000, "digits": 1347}[dataset[:5] if dataset[0] == "r" else dataset[:6]]
    assert f"on {count} images" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

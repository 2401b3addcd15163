"""One reader of folders: what is an image, what is passed over, and what subfolders say, for every command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from howfar.data import DATASETS
from howfar.data.folder import left_out
from howfar.data.tree import HIDDEN, LINK, LOST, OTHER, labels_by_folder, parts_of, read_tree, summary, unlabeled
from howfar.errors import UsageError
from howfar.photos import photos_in
from howfar.photos.pairs import pairs_of
from howfar.photos.suspects import suspects

from ..test_cli import inside


def picture(path: Path, seed: int = 0, side: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path, "PNG")


def laid_out(root: Path, *parts: str, classes: str = "abc", each: int = 4) -> Path:
    for number, part in enumerate(parts):
        for place, name in enumerate(classes):
            for image in range(each):
                picture(root / part / name / f"{image}.png", 1000 * number + 100 * place + image)
    return root


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("test", ["val", "valid", "Validation", "test", "TEST"])
def test_parts_of_a_set_are_no_classes_for_any_command(train: str, test: str, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", train, test)
    splits = DATASETS["folder"](root=root)
    assert (splits.classes, len(splits.train), len(splits.test)) == (("a", "b", "c"), 12, 12)
    code, _, message = inside("protect", str(root), "-o", str(tmp_path / "out"), "--dry-run")
    assert code == 0
    assert "24 photographs, 3 labels" in message
    assert {label for *_, label in pairs_of(root, root)} == {"a", "b", "c"}
    found = suspects(str(root), size=16)
    assert found.labeled
    assert found.data.targets["label"].bincount().tolist() == [8, 8, 8]


def test_a_validation_set_beside_a_test_set_is_counted_and_left_out(tmp_path: Path) -> None:
    root = laid_out(tmp_path, "train", "val", "test")
    splits = DATASETS["folder"](root=root)
    assert (len(splits.train), len(splits.test)) == (12, 12)
    first = np.asarray(Image.open(root / "test" / "a" / "0.png")).transpose(2, 0, 1)
    assert np.array_equal(splits.test.pixels[0].numpy(), first)
    assert len(left_out(root)) == 12
    assert summary(left_out(root)).startswith("left out: 12 in a validation set, as there is a test set (val/a/0.png, ")
    assert len(set(labels_by_folder(photos_in(root)).values())) == 3


def test_a_training_part_alone_is_split(tmp_path: Path) -> None:
    splits = DATASETS["folder"](root=laid_out(tmp_path, "train", each=5))
    assert (splits.classes, len(splits.train), len(splits.test)) == (("a", "b", "c"), 12, 3)


def test_what_looks_like_parts_and_may_be_classes_is_refused(tmp_path: Path) -> None:
    assert parts_of(["train", "car", "bus"]) == {}, "one vehicle among others"
    with pytest.raises(UsageError, match="train and val look like splits of a data set, but extra"):
        parts_of(["train", "val", "extra"])
    with pytest.raises(UsageError, match="Train and train are the same split"):
        parts_of(["train", "Train"])
    with pytest.raises(UsageError, match="holds val but no train"):
        DATASETS["folder"](root=laid_out(tmp_path, "val"))


def test_hidden_copies_are_passed_over_and_counted_by_all_commands(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", "", classes="ab", each=10)
    for name in ("a/.ipynb_checkpoints/0.png", "__MACOSX/a/1.png", "b/._2.png", ".thumbs/x/3.png"):
        picture(root / name)
    splits = DATASETS["folder"](root=root)
    assert (splits.classes, len(splits.train) + len(splits.test)) == (("a", "b"), 20)
    hidden = dict.fromkeys((".thumbs/x/3.png", "__MACOSX/a/1.png", "a/.ipynb_checkpoints/0.png", "b/._2.png"), HIDDEN)
    assert left_out(root) == suspects(str(root), size=16).left_out == read_tree(root).left_out == hidden
    assert len(photos_in(root)) == 20
    message = "left out: 4 hidden (.thumbs/x/3.png, __MACOSX/a/1.png, …)"
    assert message in inside("protect", str(root), "-o", str(tmp_path / "out"), "--dry-run")[2]
    grid = ("--protectors", "random", "--models", "linear", "--defenses", "none", "--seeds", "0", "--runs", "r")
    assert message in inside("bench", "--dataset", f"folder:{root}", *grid, "--dry-run")[2]


def test_links_other_files_and_strays_are_named(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", "", classes="ab")
    laid_out(tmp_path / "elsewhere", "", classes="c")
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "a" / "q.gif").write_bytes(b"GIF89a")
    picture(root / "a" / "w.jfif")
    picture(root / "stray.png")
    tree = read_tree(root)
    assert tree.left_out == {"c": LINK, "loop": LINK, "a/gone.png": LOST, "a/q.gif": OTHER}
    assert "a/w.jfif" in tree.names
    assert set(read_tree(root, links=True).left_out) == {"loop", "a/gone.png", "a/q.gif"}
    assert DATASETS["folder"](root=root, size=8).classes == ("a", "b", "c"), "classes may be links"
    assert left_out(root)["stray.png"] == "outside the class subfolders"
    assert labels_by_folder(tree.names) == {}
    assert unlabeled(tree.names) == "stray.png outside the subfolders, so there are no labels. Move images into one."
    code, _, message = inside("protect", str(root), "-o", str(tmp_path / "out"))
    assert code == 2
    assert "needs labels" in message
    assert "stray.png outside the subfolders" in message


def test_plugins_of_data_sets_are_known_to_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("howfar.spec.method.entry_points", lambda group: asked.append(group) or json)
    with pytest.raises(AttributeError):
        suspects("unheard-of", size=16)
    assert asked == ["howfar.datasets"]

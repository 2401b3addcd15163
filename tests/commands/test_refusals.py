"""What is refused on the command line says the problem, its cause and the fix, before any work."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from howfar.data import DATASETS

from ..test_cli import inside


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs of two labels, and things that commands cannot use."""
    monkeypatch.chdir(tmp_path)
    for label in ("a", "b"):
        for number in range(3):
            picture("photos", label, f"{number}.png", sides=(40, 40))
            picture("mixed", label, f"{number}.png", sides=(40, 40 + (label == "b")))
            picture("tiny", label, f"{number}.png", sides=(7, 40))
    picture("one", "a", "0.png", sides=(40, 40))
    Path("photos", "b", "broken.png").write_text("no image")
    Path("file").write_text("text")
    np.savez("other.npz", x=np.zeros((4, 8, 8)), y=[0, 1, 0, 1])
    np.savez("floats.npz", x_train=np.zeros((4, 8, 8)), x_test=np.zeros((4, 8, 8)))
    none = np.zeros((0, 8, 8), np.uint8)
    np.savez("empty.npz", x_train=none, x_test=none)
    return tmp_path


def told(command: str) -> tuple[int, str, str]:
    """Return exit code, output and messages of a command."""
    return inside(*command.split())


def picture(*parts: str, sides: tuple[int, int]) -> None:
    path = Path(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", sides, (len(parts[-1]), 90, 30)).save(path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("list protector", "unknown kind 'protector'. Did you mean 'protectors'? See howfar list --help."),
        ("show em:eps=8/25x", "protector 'em': eps = '8/25x' is wrong: write a number, such as 0.03 or 8/255."),
        ("bench -d digits --set train.lr=abc --dry-run", "train.lr = 'abc' is wrong: write a number, such as 0.03"),
        (
            "bench -d digits --defenses jpeg:750 --dry-run",
            "defense 'jpeg': quality = '750' is wrong: it must be at least 1 and at most 95.",
        ),
        (
            "bench -d digits --eps 8 --dry-run",
            "eps = '8' is wrong: it must be above 0 and at most 1; for 8 of 255 gray levels, write 8/255.",
        ),
        ("protect photos -o file -p random", "file is a file, not a folder. Choose another name."),
        ("generate -p random -d digits -o file", "file is a file, not a folder. Choose another name."),
        ("protect photos -o out --labels none.csv", "none.csv: does not exist. Give a CSV file with name and label"),
        ("protect photos -o out --labels photos", "photos: is a folder. Give a CSV file with name and label"),
        ("protect tiny -o out -p random --side 32", "tiny/a/0.png has 7×40 pixels. Noise needs 8 on each side."),
        ("bench -d npz:other.npz --dry-run", "lacks x_train, x_test. Write it with numpy.savez(FILE, x_train=images, "),
        ("bench -d npz:floats.npz --dry-run", "x_train is float64 (2, 8, 8), but must be uint8 images"),
        ("bench -d folder:mixed --dry-run", "mixed/b/0.png is 40×41, but mixed/a/0.png is 40×40. Resize them to one"),
        ("bench -d folder:photos --dry-run", "photos/b/broken.png is not a readable image"),
        ("bench -d npz:empty.npz --dry-run", "empty.npz: x_train and x_test have no images. Write images into it with"),
        ("bench -d npz:empty.npz", "empty.npz: x_train and x_test have no images. Write images into it with"),
        ("bench -d digits --runs photos", "photos holds other files and is no store. Choose a new or an empty folder"),
        (
            "bench -d digits --protectors lsp[eps=8/255 --dry-run",
            "a bracket in 'lsp[eps=8/255' has no end. Write it as in 'lsp[",
        ),
        ("show foo", "unknown name 'foo'. Did you mean 'rooms'? See howfar list with one of: protectors, defenses,"),
        ("show qqqqqq", "unknown name 'qqqqqq'. See howfar list with one of: protectors, defenses, datasets, models, "),
        ("verify photos photos --dry-run", "photos and photos are the same folder, so nothing is protected."),
    ],
)
def test_it_says_problem_cause_and_fix(command: str, message: str, place: Path) -> None:
    code, shown, found = told(command)
    assert code in (1, 2)
    assert message in found
    assert shown == ""
    assert not (place / "runs").exists()


def test_classes_that_begin_at_1_are_warned_of_and_counted(place: Path) -> None:
    images, labels = np.arange(20 * 144, dtype=np.uint8).reshape(20, 12, 12), np.arange(20) % 4 + 1
    np.savez("one.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    code, shown, said = told("bench -d npz:one.npz --suite digits --dry-run")
    assert code == 0, said
    assert "20 training and 20 test images of 12×12 pixels in 1 channel, 4 classes." in " ".join(shown.split())
    assert "one.npz: y_train has 4 classes with numbers from 1 to 4." in said
    assert "pass y - 1." in said
    with pytest.warns(UserWarning, match=r"y_train has 4 classes with numbers from 1 to 4"):
        DATASETS["npz"](Path("one.npz"))


def test_a_dry_run_says_that_runs_cannot_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dry = "bench -d digits --quick --dry-run --runs".replace(" --quick", "")
    assert "warning: the run would stop at once" not in told(f"{dry} new/deep")[2]
    assert "the run would stop at once: photos holds other files and is no store" in told(f"{dry} photos")[2]
    assert f"the run would stop at once: {place / 'file'} is a file" in told(f"{dry} file/runs")[2]
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever tests is root perhaps
    assert f"the run would stop at once: {place} cannot be written to" in told(f"{dry} new/deep")[2]


def test_one_seed_is_no_upper_bound(place: Path) -> None:
    np.savez("two.npz", x_train=np.zeros((40, 12, 12), np.uint8), y_train=np.arange(40) % 2,
             x_test=np.zeros((40, 12, 12), np.uint8), y_test=np.arange(40) % 2)  # fmt: skip
    dry = "bench -d npz:two.npz --suite standard --set held_out=0 --defenses none --protectors lsp --dry-run"
    assert "Upper bound" in told(f"{dry} --seeds 0-2")[2]
    assert "Upper bound" not in told(f"{dry} --seeds 0")[2]


def test_photographs_too_small_for_noise_are_left_out_with_the_reason(place: Path) -> None:
    picture("tiny", "a", "large.png", sides=(40, 40))
    code, _, message = told("protect tiny -o out -p random --side 32 --broken skip")
    assert code == 0
    assert message.count("skipped: ") == 6
    assert sorted(path.name for path in Path("out").rglob("*.png")) == ["large.png"]


def test_a_folder_whose_sizes_differ_is_taken_with_a_size(place: Path) -> None:
    code, shown, message = told("bench -d folder:mixed[size=32] --dry-run --limit-train all")
    assert code == 0, message
    assert "4 training and 2 test images of 32×32 pixels" in " ".join(shown.split())


def test_a_dry_run_of_verify_says_what_so_few_photographs_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for label in ("a", "b"):
        for number in range(24):
            for folder in ("photos", "copies"):
                picture(folder, label, f"{number}.png", sides=(8, 8))
    code, shown, message = told("verify photos copies --dry-run --defenses none --tasks edge_texture")
    assert code == 0, message
    assert "12 test photographs: a drop of accuracy below about 47 points cannot be told from none" in shown


def test_a_dry_run_does_not_ask_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket.connect", None)
    code, _, message = told("bench -d hf:nobody/nothing --dry-run --download")
    assert code == 2
    assert "'nobody/nothing' is not in the cache of Hugging Face, and a dry run downloads nothing." in message

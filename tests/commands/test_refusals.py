"""What is refused on the command line says the problem, its cause and the fix, before any work."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
        ("protect photos -o file -p random", "file is a file, not a folder. Choose another name."),
        ("generate -p random -d digits -o file", "file is a file, not a folder. Choose another name."),
        ("protect photos -o out --labels none.csv", "none.csv: does not exist. Give a CSV file with name and label"),
        ("protect photos -o out --labels photos", "photos: is a folder. Give a CSV file with name and label"),
        ("protect tiny -o out -p random --side 32", "tiny/a/0.png has 7×40 pixels. Noise needs 8 on each side."),
        ("bench -d npz:other.npz --dry-run", "lacks x_train, x_test. Write it with numpy.savez(FILE, x_train=images, "),
        ("bench -d npz:floats.npz --dry-run", "x_train is float64 (2, 8, 8), but must be uint8 images"),
        ("bench -d folder:mixed --dry-run", "mixed/b/0.png is 40×41, but mixed/a/0.png is 40×40. Resize them to one"),
        ("bench -d folder:photos --dry-run", "photos/b/broken.png is not a readable image"),
        ("verify photos photos --dry-run", "photos and photos are the same folder, so nothing is protected."),
    ],
)
def test_it_says_problem_cause_and_fix(command: str, message: str, place: Path) -> None:
    code, shown, found = told(command)
    assert code in (1, 2)
    assert message in found
    assert shown == ""
    assert not (place / "runs").exists()


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

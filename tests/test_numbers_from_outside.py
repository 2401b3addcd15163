"""Numbers and names from flags, TOML and archives: each has a type and bounds, and what is wrong is one line."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from howfar.data import DATASETS
from howfar.data.taskonomy import read_split
from howfar.defend import DEFENSES
from howfar.errors import HowfarError, UsageError
from howfar.grid.overrides import make_suite, read_suite
from howfar.models import MODELS
from howfar.protectors import PROTECTORS
from howfar.spec import LARGEST, parse
from howfar.spec.syntax import quoted, split_list
from howfar.tasks import TASKS
from howfar.training import Recipe

from .test_cli import inside

TABLES: dict[str, Any] = {
    "protector": PROTECTORS, "defense": DEFENSES, "task": TASKS, "model": MODELS, "dataset": DATASETS
}  # fmt: skip
GRID = ("--dataset", "digits", "--models", "linear", "--defenses", "none", "--seeds", "0", "--runs", "r", "--dry-run")


def numbers(kind: type) -> list[tuple[str, str, str]]:
    """Return table, method and setting of every number of a kind."""
    found = []
    for what, table in TABLES.items():
        for name in table:
            try:
                spec = parse(name, table, what)
            except UsageError:
                continue  # it needs a file
            found += [(what, name, key) for key, value in spec.settings.items() if type(value) is kind]
    return found


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_no_setting_takes_what_is_not_finite(value: str) -> None:
    known = numbers(float)
    assert len(known) > 40
    for what, name, key in known:
        with pytest.raises(UsageError, match=key):
            parse(f"{name}[{key}={value}]", TABLES[what], what)
    for entry in fields(Recipe):
        if isinstance(entry.default, float):
            with pytest.raises(UsageError, match=entry.name):
                Recipe(**{entry.name: float(value)})
    for flags in ({"eps": value}, {"radius": value}):
        with pytest.raises(UsageError):
            make_suite("digits", flags).experiments()


def test_no_count_or_size_is_larger_than_any_memory() -> None:
    known = [place for place in numbers(int) if "seed" not in place[2]]
    assert len(known) > 60
    for what, name, key in known:
        with pytest.raises(UsageError, match=key):
            parse(f"{name}[{key}={10**12 + 1}]", TABLES[what], what)
    with pytest.raises(UsageError, match="is too much"):
        make_suite("digits", {"seeds": "0-9999999999"})
    with pytest.raises(UsageError, match=str(LARGEST)):
        make_suite("digits", {}, settings=["train.epochs=99999999999"]).experiments()


def test_a_setting_that_is_a_table_by_mistake_is_refused() -> None:
    with pytest.raises(UsageError, match="epochs"):
        make_suite("digits", {"train": {"epochs": {}}})
    assert make_suite("digits", {"train": {"linear": {"epochs": 3}}}).train["linear"] == {"epochs": 3}


@pytest.mark.parametrize("name", ["@", "@@", "ops@", "@normal"])
def test_a_protector_without_a_name_or_task_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="names no"):
        make_suite("digits", {"protectors": [name]}).experiments()


@pytest.mark.parametrize("size", [-5, 100_000])
def test_a_folder_has_sides_that_can_be(size: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a valid size"):
        DATASETS["folder"](root=tmp_path, size=size)


def test_labels_of_an_archive_count_from_0(tmp_path: Path) -> None:
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 5_000_000_000])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(HowfarError, match="goes up to 5000000000"):
        DATASETS["npz"](root=tmp_path / "a.npz")


def test_a_setting_stands_once_and_quotes_keep_commas() -> None:
    for text in ("em[eps=8/255,eps=4/255]", "em:class[granularity=sample]"):
        with pytest.raises(UsageError, match="twice"):
            parse(text, PROTECTORS, "protector")
    text = f"em,import:{quoted('Photos, 2024/n.npy')}[share=0.5],lsp"
    assert split_list(text) == ["em", 'import:"Photos, 2024/n.npy"[share=0.5]', "lsp"]
    spec = parse(split_list(text)[1], PROTECTORS, "protector")
    assert spec.settings["file"] == "Photos, 2024/n.npy"
    assert parse(spec.label, PROTECTORS, "protector") == spec


def test_generate_takes_one_protector_whatever_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Photos, 2024").mkdir()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(60, 190, (12, 8, 8, 3), dtype=np.uint8), np.arange(12) % 3
    np.savez("base.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    np.save("Photos, 2024/n.npy", np.zeros(images.shape, np.float32))
    code, _, message = inside("generate", "-d", "npz:base.npz", "-p", "import:Photos, 2024/n.npy", "-o", "a")
    assert code == 0, message
    code, _, message = inside("generate", "-d", "npz:base.npz", "-p", "random,lsp", "-o", "b")
    assert code == 2
    assert "names no protector" in message


def test_marks_of_editors_missing_folders_and_broken_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bom.toml").write_bytes(b'\xef\xbb\xbfdataset = "digits"\n')
    assert read_suite(Path("bom.toml")) == {"dataset": "digits"}
    Path("split.csv").write_bytes(b"\xef\xbb\xbfid,train,val,test\nallensville,1,0,0\n")
    assert set(read_split(Path("split.csv"))) == {"allensville"}
    for command in (("audit", "nofolder"), ("ud", "--clean", "nofolder", "--poisoned", "other", "--runs", "r")):
        code, _, message = inside(*command)
        assert code == 2
        assert "there is no folder 'nofolder', and no data set of that name" in message

    class Broken:
        names = ("broken",)

        def __getitem__(self, name: str) -> "Broken":
            return self

        def load(self) -> None:
            raise ImportError("no module named 'gone'")

    monkeypatch.setattr("howfar.spec.method.entry_points", lambda group: Broken())
    with pytest.raises(UsageError, match=r"is a plug-in that cannot be loaded \(ImportError: no module named 'gone'\)"):
        parse("broken", PROTECTORS, "protector")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("bench", *GRID, "--protectors", "random", "--set", "train.lr=inf"), "lr"),
        (("bench", *GRID, "--protectors", "random", "--set", "radius=inf"), "radius"),
        (("bench", *GRID, "--protectors", "em[lr=inf]"), "lr"),
        (("ablate-ud", *GRID, "--models", "lenet5", "--protectors", "random", "--radius", "inf"), "radius"),
        (("landscape", *GRID, "--protectors", "random", "--extent", "nan"), "--extent nan"),
        (("landscape", *GRID, "--protectors", "random", "--plane", "weights", "--weights", "a:0,a:0"), "twice"),
        (("submit", "r3", "--only", "lsp", "--source", "x", "--reported", "nan"), "--reported nan"),
    ],
)
def test_flags_without_sense_are_one_line(command: tuple[str, ...], says: str, tmp_path: Path) -> None:
    code, _, message = inside(*command)
    assert code == 2, message
    assert says in message
    assert message.strip().count("\n") == 0, message


@pytest.mark.parametrize("size", [-1, 0, 5000])
def test_no_side_of_an_image_is_below_1_or_above_4096(size: int, tmp_path: Path) -> None:
    for dataset in ("digits", "rooms", "taskonomy:x", "camvid:x", "folder:x"):
        settings = f"height={size},width=8" if dataset.startswith("camvid") else f"size={size}"
        if dataset.startswith("folder") and size == 0:
            continue  # images as they are
        code, _, message = inside("bench", "--dataset", f"{dataset}[{settings}]", *GRID[2:-2], str(tmp_path / "r"))
        assert code == 2, (dataset, message)
        assert "howfar: " in message
        assert "Traceback" not in message


def test_a_landscape_has_a_largest_size(tmp_path: Path) -> None:
    for flag in ("--points", "--images", "--draws"):
        code, _, message = inside("landscape", *GRID[:-2], str(tmp_path / "r"), flag, "99999999999999999999")
        assert code == 2
        assert "Use at most 1000 points" in message or "Use at most 10000000" in message, message
        assert not (tmp_path / "r").exists()

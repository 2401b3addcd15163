"""``howfar ud``: two runs of a store, or two folders of images."""

import json
from pathlib import Path

import pytest
from PIL import Image

from howfar import arrays
from howfar.cli import main
from howfar.data import Splits, balanced
from howfar.protectors import PROTECTORS
from howfar.tasks import Task

BENCH = [
    "bench", "--dataset", "digits",
    "--protectors", "lsp[eps=32/255]", "--models", "lenet5", "--defenses", "none", "--epochs", "3",
    "--limit-train", "200", "--limit-test", "100", "--seeds", "0,1", "--workers", "1",
]  # fmt: skip


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    assert call([*BENCH, "--runs", str(folder)]) == 0
    return folder


def test_two_protectors_of_a_store(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["ud", "clean", "lsp[eps=32/255]", "--runs", str(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    board = json.loads((runs / "leaderboard.json").read_text())
    row = next(row for row in board if row["protector"].startswith("lsp"))
    assert found["value"] == pytest.approx(row["ud"])
    assert found["low"] <= found["value"] <= found["high"]
    assert len(found["clean_margins"]) == 3
    above = sum(margin > 0 for epoch in found["poisoned_margins"] for margin in epoch.values())
    assert abs(above - sum(found["poisoned_layers"])) <= 3  # the mean over seeds may fall on the other side
    assert "sal-0" in (runs / "ud.html").read_text()


def test_runs_by_key_and_by_file(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from howfar.store import Store

    keys = {(r.spec["protector"]["name"], r.spec["seed"]): r.key for r in Store(runs).records("victim")}
    first, second = keys["clean", 0], keys["lsp", 0]
    assert call(["ud", first[:10], f"victim/{second}.json", "--runs", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value"] > 0
    assert call(["ud", first, first, "--runs", str(runs)]) == 0
    assert "1.000" in capsys.readouterr().out  # clean against itself


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["clean", "emm"], "no finished run 'emm'"),
        (["clean"], "two runs"),
        (["clean", "clean", "--poisoned", "x"], "two runs"),
        (["clean", "clean", "--confidence", "95"], "is no share"),
    ],
)
def test_mistakes_are_named(
    runs: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert call(["ud", *arguments, "--runs", str(runs)]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_two_folders_of_images(
    digits: Splits, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    data = balanced(digits.train, 800)
    protected = PROTECTORS["lsp"](eps=64 / 255).protect(data, task, generator=arrays.seeded(0))
    for name, pixels in {"clean": data.pixels, "cloaked": protected.pixels}.items():
        for number, (image, label) in enumerate(zip(pixels, data.targets["label"].tolist(), strict=True)):
            path = tmp_path / name / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(path)
    command = [
        "ud", "--clean", str(tmp_path / "clean"), "--poisoned", str(tmp_path / "cloaked"), "--size", "8", "--model",
        "resnet8[width=4]", "--epochs", "4", "--seeds", "0", "--workers", "1", "--json",
        "--runs", str(tmp_path / "runs"),
    ]  # fmt: skip
    assert call(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clean"] > found["poisoned"] + 0.15  # both on clean test images
    page = (tmp_path / "runs" / "ud.html").read_text()
    assert "cloaked" in page
    assert call(command) == 0  # nothing is trained twice
    assert json.loads(capsys.readouterr().out) == found

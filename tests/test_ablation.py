"""``howfar ablate-ud``: one training, many ways to measure."""

import json
from pathlib import Path

import pytest

from howfar import arrays
from howfar.cli import main
from howfar.data import Splits
from howfar.models import MODELS, build
from howfar.probe import Probe, sharpness
from howfar.store import Store
from howfar.tasks import Task

ABLATE = [
    "ablate-ud", "--dataset", "digits",
    "--protectors", "lsp[eps=32/255],random,ops", "--models", "resnet8[width=2]", "--defenses", "none",
    "--epochs", "1", "--limit-train", "100", "--limit-test", "60", "--seeds", "0,1", "--workers", "1",
    "--set", "probe_images=20", "--radius", "0.05,0.5", "--steps", "1", "--modes", "exact", "--images", "10",
]  # fmt: skip


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_every_way_is_measured_on_the_same_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*ABLATE, "--runs", str(tmp_path), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "ablation.json").read_text()) == lines
    assert [line["rule"] for line in lines[:5]] == [
        "per-epoch", "pooled", "counting parameters", "k-means, random start", "SAL ÷ training loss",
    ]  # fmt: skip
    assert [line["probe"] for line in lines[5:]] == [
        "fast, 12 steps, radius 0.5, 20 images", "fast, 1 step, radius 0.05, 20 images",
        "exact, radius 0.05, 20 images", "fast, 12 steps, radius 0.05, 10 images",
    ]  # fmt: skip
    assert lines[0]["moved"] == 0
    assert lines[0]["close"] == 6
    assert all((line["close"] < 6) == (line["moved"] > 0.03) for line in lines)
    assert all(line["pairs"] == 6 and set(line["ud"]) == set(lines[0]["ud"]) for line in lines)
    assert all(-1 <= line["correlation"]["value"] <= 1 for line in lines)
    records = list(Store(tmp_path).records("ablation"))
    assert len(records) == 8
    wider = [r.result["epochs"][0]["variants"][0]["head.weight"][0] for r in records]
    base = [r.result["epochs"][0]["sharpness"]["head.weight"]["rise"] for r in records]
    assert all(wide > narrow for wide, narrow in zip(wider, base, strict=True)), "ten times the radius, less SAL"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/record.json")}
    assert call([*ABLATE, "--runs", str(tmp_path)]) == 0  # from the store
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/record.json")} == before
    assert (tmp_path / "ablation.md").read_text().count("|\n") == len(lines) + 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--models", "lenet5,linear"], "Choose one"),
        (["--tasks", "classification,edge_texture"], "--tasks 'classification'"),
        (["--radius", "zero"], "--radius"),
        (["--modes", "exactly"], "--modes"),
        (["--radius", "", "--steps", "", "--modes", "", "--images", ""], "nothing to vary"),
    ],
)
def test_wrong_requests_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str) -> None:
    assert call([*ABLATE, *more, "--runs", str(tmp_path)]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_probe_reproduces_the_released_baseline(digits: Splits, task: Task) -> None:
    model = build(MODELS["linear"](), digits.train.shape, 10, generator=arrays.seeded(0))
    plain, moved = Probe(30, mode="reference"), Probe(30, mode="reference", baseline=True)
    part = plain.part(digits.train, task)
    found = plain.measure(model, task, part, training_loss=9.0, generator=arrays.seeded(0))
    shifted = moved.measure(model, task, part, training_loss=9.0, generator=arrays.seeded(0))
    assert found == sharpness(model, task, part, mode="reference", generator=arrays.seeded(0))
    for name, reading in found.items():
        assert (shifted[name].fall or 0) > (reading.fall or 0) + 1, "9 nats lie far above the loss itself"
    assert plain.label != moved.label

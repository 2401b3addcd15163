"""``howfar ablate-ud``: one training, many ways to measure."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from howfar import arrays
from howfar.cli import main
from howfar.data import Splits
from howfar.defend import DEFENSES, Chain
from howfar.grid.overrides import make_suite
from howfar.models import MODELS, build
from howfar.probe import Probe, Released, sharpness
from howfar.steps import run as run_step
from howfar.store import Store
from howfar.tasks import Task
from howfar.training import pgd
from howfar.training.loss import plain

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


@pytest.mark.parametrize(("defense", "mixes"), [("mixup", True), ("cutout+cutmix", True), ("cutout", False)])
def test_the_released_baseline_of_mixed_targets_is_one_more_pass(
    defense: str, mixes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release's training loop reports no loss under mixup and cutmix."""
    given: list[float | None] = []
    measure = Probe.measure

    def noted(self: Probe, *data: Any, training_loss: float | None, generator: torch.Generator) -> Any:
        given.append(training_loss)
        return measure(self, *data, training_loss=training_loss, generator=generator)

    monkeypatch.setattr(Probe, "measure", noted)
    keys = {"protectors": "random", "models": "lenet5", "defenses": defense, "seeds": "0", "limit_train": 40,
            "limit_test": 20, "held_out": 0, "probe_images": 10, "train": {"epochs": 1}}  # fmt: skip
    variants = (Probe(10, mode="reference"), Probe(10, mode="reference", baseline=True))
    protect, victim = replace(make_suite("digits", keys).experiments()[0], variants=variants).steps()
    plain, released = victim.spec["variants"]
    assert plain["baseline"] is False
    assert released["baseline"] == ("one more pass" if mixes else True)
    store, device = Store(tmp_path), torch.device("cpu")
    for step in (protect, victim):
        list(run_step(step, store, device))
    assert [loss is None for loss in given] == [mixes] * 3
    assert store.done("ablation", victim.key)


def test_a_probe_reproduces_the_released_baseline(digits: Splits, task: Task) -> None:
    model = build(MODELS["linear"](), digits.train.shape, 10, generator=arrays.seeded(0))
    plain, moved = Probe(30, mode="reference"), Probe(30, mode="reference", baseline=True)
    part = plain.part(digits.train, task)
    found = plain.measure(model, task, part, training_loss=9.0, generator=arrays.seeded(0))
    shifted = moved.measure(model, task, part, training_loss=9.0, generator=arrays.seeded(0))
    assert found == sharpness(model, part, task, mode="reference", generator=arrays.seeded(0))
    for name, reading in found.items():
        assert (shifted[name].fall or 0) > (reading.fall or 0) + 1, "9 nats lie far above the loss itself"
    assert plain.label != moved.label
    another = moved.measure(model, task, part, training_loss=None, generator=arrays.seeded(0))
    released = Released(None, crop=0, flip=False)
    assert another == sharpness(model, part, task, mode="reference", released=released, generator=arrays.seeded(0))


@pytest.mark.parametrize(("norm", "name"), [("linf", "descend"), ("l2", "descend_l2")])
def test_adversarial_steps_are_of_the_documented_size(
    norm: str, name: str, digits: Splits, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.5 · eps ÷ steps: 2/255 at the defaults of ``at``."""
    sizes: list[float] = []
    descend = getattr(pgd, name)

    def noted(*arguments: Any, step_size: float, **more: Any) -> Any:
        sizes.append(step_size)
        return descend(*arguments, step_size=step_size, **more)

    monkeypatch.setattr(pgd, name, noted)
    part = digits.train.take(range(4))
    model = build(MODELS["linear"](), part.shape, 10, generator=arrays.seeded(0))
    around = Chain.parse(f"at[norm={norm}]", DEFENSES).build().around(plain, 0.0)
    around(task, model, arrays.to_images(part.pixels, torch.device("cpu")), part.targets["label"], arrays.seeded(0))
    assert sizes == [pytest.approx(2 / 255)]

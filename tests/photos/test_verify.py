"""A verdict on photographs whose protection is known."""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from howfar.commands import terminal
from howfar.commands.grid import Grid
from howfar.commands.plan import _listed
from howfar.data import DATASETS, balanced
from howfar.data.npz import npz
from howfar.errors import UsageError
from howfar.photos.losses import Loss
from howfar.photos.pairs import pairs_of
from howfar.photos.remedies import LONGER, advice
from howfar.photos.trainable import LEAST, Trainable
from howfar.photos.verification import LIMITS, TUNED_LIMITS, Tried, required, sentences
from howfar.score import Best, Estimate, WorstCase

from ..test_cli import inside

QUICK = [
    "--size", "16", "--model", "linear", "--defenses", "none", "--tasks", "", "--shares", "", "--seeds", "0-2",
    "--epochs", "8", "--workers", "0", "--json",
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as photographs, and their protected copies."""
    root = tmp_path_factory.mktemp("verify")
    chosen = DATASETS["digits"]().train.take(torch.arange(300))
    for place, (pixels, label) in enumerate(zip(chosen.pixels, chosen.targets["label"].tolist(), strict=True)):
        folder = root / "photos" / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels[0].numpy()).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
        image.save(folder / f"{place}.png")
    how = ("-p", "lsp[eps=48/255]", "--side", "64", "--json")
    code, _, errors = inside("protect", str(root / "photos"), "-o", str(root / "protected"), *how)
    assert code == 0, errors
    return root


def verified(root: Path, protected: Path, *flags: str) -> tuple[int, dict[str, object]]:
    if protected == root / "photos":  # copies that are not protected
        protected = root / "copies"
        shutil.copytree(root / "photos", protected, dirs_exist_ok=True)
    runs = ["--runs", str(root / f"verify-{protected.name}")]
    code, output, errors = inside("verify", str(root / "photos"), str(protected), *QUICK, *runs, *flags)
    assert output, errors
    return code, json.loads(output)


def test_strong_protection_is_found_with_its_number(photos: Path) -> None:
    code, found = verified(photos, photos / "protected", "--require", "drop>=20")
    first = found["losses"][0]  # type: ignore[index]
    assert first["way"] == "as-is"
    assert first["value"] > 0.2
    assert "it loses" in found["verdict"][0]  # type: ignore[index]
    assert [loss["way"] for loss in found["losses"]] == ["as-is", "jpeg-75", "halved", "screenshot", "cropped"]  # type: ignore[attr-defined]
    assert code == 0
    page = (photos / "verify-protected" / "report.html").read_text()
    assert "it loses" in page
    assert "people who hold the originals" in page
    assert verified(photos, photos / "protected", "--require", "drop>=99")[0] == 4


def test_photographs_that_were_not_protected_lose_nothing(photos: Path) -> None:
    code, found = verified(photos, photos / "photos", "--require", "drop>=20")
    first = found["losses"][0]  # type: ignore[index]
    assert first["value"] == 0
    assert "The protection does not hold" in found["verdict"][0]  # type: ignore[index]
    assert code == 4


def test_tasks_without_labels_are_judged_too(photos: Path) -> None:
    tasks = ["--tasks", "edge_texture,autoencoding", "--model", "resnet8[width=4]", "--epochs", "1", "--seeds", "0"]
    _, found = verified(photos, photos / "protected", *tasks, "--ways", "as-is", "--require", "drop>=-100")
    assert {loss["task"] for loss in found["losses"]} == {"classification", "edge_texture", "autoencoding"}  # type: ignore[attr-defined]
    assert any(sentence.startswith("Cannot tell") for sentence in found["verdict"])  # type: ignore[attr-defined]


@pytest.mark.slow
def test_cifar_images_as_a_folder_of_pngs_lose_most_of_what_they_teach(shared: Path, tmp_path: Path) -> None:
    images = balanced(npz(shared / "cifar10.npz").train, 1000, target="label")
    for place, (pixels, label) in enumerate(zip(images.pixels, images.targets["label"].tolist(), strict=True)):
        folder = tmp_path / "photos" / f"kind {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(folder / f"{place}.png")
    assert inside("protect", str(tmp_path / "photos"), "-o", str(tmp_path / "protected"), "--side", "32")[0] == 0
    how = ("--model", "resnet8[width=8]", "--size", "32", "--ways", "as-is", "--epochs", "20", "--workers", "2")
    code, found = verified(tmp_path, tmp_path / "protected", *how, "--require", "drop>=12")
    assert code == 0, found["verdict"]
    assert str(found["verdict"][0]).startswith("The protection holds")  # type: ignore[index]


def test_files_are_paired_by_manifest_or_name(photos: Path, tmp_path: Path) -> None:
    by_manifest = pairs_of(photos / "photos", photos / "protected")
    by_name = pairs_of(photos / "photos", photos / "photos")
    assert len(by_manifest) == len(by_name) == 300
    assert {label for *_, label in by_manifest} == {f"digit {k}" for k in range(10)}
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    with pytest.raises(UsageError, match="no file in"):
        pairs_of(photos / "photos", tmp_path)


def loss(
    value: float, way: str = "as-is", task: str = "classification", *,
    kept: tuple[float, float | None, float | None] | None = (0.0, -0.04, 0.04), seeds: int = 3, images: int = 10_000,
) -> Loss:  # fmt: skip
    low, high = (value - 0.04, value + 0.04) if seeds > 1 else (None, None)
    found = None if kept is None else Estimate(*kept, seeds, "delta")
    lost = Estimate(value, low, high, seeds, "t")
    return Loss(task, way, "accuracy", 0.1, 0.8, 0.8 - value, lost, found, images)


def best(defense: str, quality: float) -> Best:
    return Best(defense, Estimate(quality, quality - 0.1, quality + 0.1, 3, "selection"), 2)


def test_the_verdict_says_what_was_measured() -> None:
    text = sentences(
        [loss(0.61), loss(0.23, "jpeg-75"), loss(0.1, "50%"), loss(0, task="edge_texture", kept=(0.97, 0.9, 1.04))],
        "resnet8", Tried(WorstCase(best("none", 0.8), best("jpeg", 0.5), Estimate(0.4, 0.3, 0.5, 3, "selection"))), 500,
    )  # fmt: skip
    assert text[0].startswith("The protection holds: a small network (resnet8)")
    assert "it loses 61 ± 4 points (3 seeds, 10000 test photographs, chance 10 %)." in text[0]
    assert text[0].endswith("retained to 0 % (-4 to 4); a protection holds if that is surely less than half.")
    assert text[1] == "After JPEG 75 it loses 23 ± 4 points."
    assert text[2] == "If 50% of the photographs are protected, it loses 10 ± 4 points."
    assert "gets 50 %; protection kept: 40 % (30 to 50)." in text[3]
    assert text[4].startswith("Remains learnable: edge_texture (97 %)")


@pytest.mark.parametrize(
    ("kept", "seeds", "begins", "ends"),
    [
        ((0.2, 0.0, 0.4), 3, "The protection holds:", "surely less than half."),
        ((0.7, 0.6, 0.8), 3, "The protection does not hold:", "surely less than half."),
        ((0.5, 0.3, 0.7), 3, "Cannot tell from 3 seeds whether the protection holds:", "would decide it."),
        ((0.2, -0.3, 0.7), 3, "Cannot tell from 3 seeds whether the protection holds:", "if the loss stays as it is."),
        ((0.2, None, None), 1, "Cannot tell from 1 seed whether the protection holds:", "add seeds (--seeds 0-4)."),
        ((0.2, None, None), 3, "Cannot tell, because the originals were not learned:", f"{LONGER}."),
        (None, 3, "Cannot tell, because the originals were not learned:", f"{LONGER}."),
        (None, 1, "Cannot tell, because the originals were not learned:", f"{LONGER}."),
    ],
)
def test_the_verdict_is_what_its_interval_decides(
    kept: tuple[float, float | None, float | None] | None, seeds: int, begins: str, ends: str
) -> None:
    first = sentences([loss(0.5, kept=kept, seeds=seeds)], "resnet8", Tried(), 500)[0]
    assert first.startswith(begins)
    assert first.endswith(ends)


def test_few_test_photographs_decide_nothing() -> None:
    """Three seeds that agree to a point, tested on 16 photographs."""
    few, many = (
        sentences([loss(0.6, kept=(0.2, 0.19, 0.21), images=n)], "resnet8", Tried(), 4 * n)[0] for n in (16, 400)
    )
    assert few.startswith("Cannot tell from 16 test photographs whether the protection holds:")
    assert few.endswith("photographs would decide it if the loss stays as it is.")
    assert many.startswith("The protection holds:")


def test_as_many_photographs_and_seeds_as_are_advised_would_decide() -> None:
    """The same means, with an interval that shrinks with the root of the seeds, on as many photographs as advised."""
    for value, half, images in ((0.2, 0.01, 16), (0.3, 0.3, 60), (0.75, 0.05, 20), (0.1, 0.6, 30)):
        found = loss(0.6, kept=(value, value - half, value + half), images=images)
        assert found.decision.outcome == "cannot tell"
        message = advice(found, 4 * images)
        numbers = [int(number) for number in re.findall(r"(\d+) (?:photographs|seeds)", message)]
        photographs = numbers[0] if "photographs" in message else 4 * images
        seeds = numbers[-1] if "seeds" in message else 3
        less = half * (3 / seeds) ** 0.5
        again = loss(0.6, kept=(value, value - less, value + less), seeds=seeds, images=photographs // 4)
        assert again.decision.outcome != "cannot tell", message


def test_a_fine_tuned_learner_has_its_own_verdict() -> None:
    tuned = replace(loss(0.1, kept=(0.8, 0.75, 0.85)), learner="fine-tuned")
    text = sentences([loss(0.61), tuned], "resnet8", Tried(pretrained="cifar100"), 500)
    assert text[0].startswith("The protection holds")
    assert text[1].startswith(
        "Pretrained on cifar100 and fine-tuned on your photographs: the protection does not hold."
    )
    assert text[-1] == TUNED_LIMITS
    assert sentences([loss(0.61)], "resnet8", Tried(), 500)[-1] == LIMITS


def test_kinds_with_too_few_photographs_are_left_out_by_name() -> None:
    names = [("car", 9), ("dog", 12), ("cat", 3)]
    chosen = Trainable.of([(f"{kind}/{n}.png", f"{kind}/{n}.png", kind) for kind, count in names for n in range(count)])
    assert (chosen.left_out, chosen.kinds, chosen.enough) == ({"cat": 3}, 2, True)
    assert sorted(chosen.train + chosen.test) == list(range(21))
    assert {chosen.labels[place] for place in chosen.test} == {0, 1}
    alone = Trainable.of([(f"car/{n}.png", f"car/{n}.png", "car") for n in range(30)])
    assert not alone.labeled


def test_tasks_without_labels_are_judged_by_their_intervals() -> None:
    losses = [
        loss(0, task="sure", kept=(0.9, 0.8, 1.0)), loss(0, task="lost", kept=(0.1, 0.0, 0.2)),
        loss(0, task="wide", kept=(0.9, -3.0, 4.8)), loss(0, task="single", kept=(0.9, None, None), seeds=1),
        loss(0, task="nothing", kept=None), loss(0, task="chance", kept=(0.9, None, None)),
    ]  # fmt: skip
    _, left, gone, unknown, unlearned, _ = sentences(losses, "resnet8", Tried(), 500)
    assert left == "Remains learnable: sure (90 %) of what the originals teach."
    assert gone == "Mostly lost: lost (10 %) of what the originals teach remains."
    assert "wide, single (90 %, 1 seed) of what" in unknown
    assert unlearned.startswith("Cannot tell, because the originals did not teach it: nothing, chance.")


def test_originals_that_teach_nothing_show_nothing_about_the_protection(tmp_path: Path) -> None:
    """All photographs are the same gray, whatever their label."""
    for place in range(LEAST):
        path = tmp_path / "photos" / f"kind {place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (128, 128, 128)).save(path)
    code, found = verified(tmp_path, tmp_path / "photos", "--epochs", "1", "--require", "drop<=5")
    verdict = found["verdict"][0]  # type: ignore[index]
    assert verdict.startswith("Cannot tell, because the originals were not learned")
    assert verdict.endswith(f"{LONGER}.")
    assert (code, found["required"]) == (4, ["drop is unknown, required <= 5: not met"])


@pytest.mark.parametrize("count", [1, 10, LEAST - 1])
def test_too_few_photographs_end_in_a_verdict_with_the_number_that_is_enough(count: int, tmp_path: Path) -> None:
    for place in range(count):
        folder = tmp_path / "photos" / f"kind {place % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(folder / f"{place}.png")
    code, found = verified(tmp_path, tmp_path / "photos")
    assert code == 0
    assert found["verdict"][0].startswith("Cannot tell whether the protection holds:")  # type: ignore[index]
    assert f"Take {LEAST} or more" in found["verdict"][0]  # type: ignore[index]
    assert verified(tmp_path, tmp_path / "photos", "--require", "drop>=1")[0] == 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn photographs of four kinds, 96×64, as a person has them, and their protected copies: 10, 20 and 60."""
    root = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    for count in (10, 20, 60):
        for place in range(count):
            kind = place % (4 if count == 60 else 2)
            sky = np.linspace(200, 60, 64)[:, None, None] + rng.normal(0, 6, (64, 96, 3))
            sky[16 * kind : 16 * kind + 14, 20:70, kind % 3] += 70 + rng.normal(0, 10)
            path = root / f"photos-{count}" / f"kind {kind}" / f"{place}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sky.clip(0, 255).astype(np.uint8)).save(path, quality=92)
        how = ("-o", str(root / f"protected-{count}"), "--json")
        code, _, errors = inside("protect", str(root / f"photos-{count}"), *how)
        assert code == 0, errors
    return root


@pytest.mark.parametrize(("count", "verdict"), [(10, "too few"), (20, "it loses"), (60, "it loses")])
def test_a_person_with_few_photographs_gets_from_protect_to_a_verdict(scenes: Path, count: int, verdict: str) -> None:
    protected = scenes / f"protected-{count}"
    how = ["--size", "16", "--model", "linear", "--tasks", "", "--epochs", "4", "--workers", "0", "--ways", "as-is"]
    runs = ["--runs", str(scenes / f"verify-{count}")]
    code, output, errors = inside("verify", str(scenes / f"photos-{count}"), str(protected), *how, *runs)
    assert code == 0, errors
    assert re.search(r"The protection (holds|does not hold)|Cannot tell", output)
    assert verdict in output
    assert "import:" not in output + errors
    page = scenes / f"verify-{count}" / "report.html"
    assert page.exists() == (count >= LEAST)
    if page.exists():
        text = page.read_text(encoding="utf-8")
        assert "Of 100 unseen photographs" in text
        assert "as-is.npy" not in text
    code, output, _ = inside("audit", str(scenes / f"photos-{count}"), "--json")
    assert code == 0
    assert json.loads(output)["protected"] in (None, False)


def test_a_defense_that_fails_does_not_cost_the_verdict(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(sys.modules["howfar.defend.dfr"], "head_inputs", broken)
    runs = ("--runs", str(tmp_path / "runs"), "--defenses", "worst", "--ways", "as-is", "--epochs", "1")
    code, output, errors = inside("verify", str(photos / "photos"), str(photos / "protected"), *QUICK, *runs)
    assert code == 0, errors
    text = json.loads(output)["verdict"]
    assert any("Not tried: dfr, which failed" in sentence for sentence in text)
    assert any(sentence.startswith(("Cannot tell", "The protection")) for sentence in text)


def test_a_killed_verification_keeps_its_victims(scenes: Path, tmp_path: Path) -> None:
    """The process is killed once a victim is finished; the same command finishes with the rest."""
    how = [
        "verify", str(scenes / "photos-60"), str(scenes / "protected-60"), *QUICK, "--ways", "as-is",
        "--runs", str(tmp_path / "runs"),
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "howfar", *how], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not list((tmp_path / "runs").glob("victim/*/record.json")):
        time.sleep(0.05)
    process.kill()
    process.communicate()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("victim/*/record.json")}
    assert finished
    code, output, errors = inside(*how)
    assert code == 0, errors
    assert json.loads(output)["losses"]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "nothing was trained twice"


def test_other_photographs_are_learned_first_and_once(scenes: Path, tmp_path: Path) -> None:
    how = (*QUICK, "--ways", "as-is", "--model", "resnet8[width=4]", "--pretrain", str(scenes / "photos-20"))
    paths = (str(scenes / "photos-60"), str(scenes / "protected-60"), "--runs", str(tmp_path / "runs"))
    code, output, errors = inside("verify", *paths, *how)
    assert code == 0, errors
    assert {loss["learner"] for loss in json.loads(output)["losses"]} == {"from scratch", "fine-tuned"}
    (weights,) = (tmp_path / "runs" / "seen").glob("pretrained-*.safetensors")
    before = weights.stat().st_mtime_ns
    assert inside("verify", *paths, *how)[0] == 0
    assert weights.stat().st_mtime_ns == before


def test_defenses_that_cannot_run_are_left_out_before_any_training(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 photographs in four classes leave too few to keep clean ones back, which DFR needs."""
    for kind in ("photos", "protected"):
        for label in range(4):
            (tmp_path / kind / f"digit {label}").mkdir(parents=True)
            for path in sorted((photos / kind / f"digit {label}").glob("*.png"))[:15]:
                (tmp_path / kind / f"digit {label}" / path.name).write_bytes(path.read_bytes())
    order: list[str] = []
    complete = Grid.complete
    monkeypatch.setattr(terminal, "say", lambda text, style=None: order.append(text))
    monkeypatch.setattr(
        Grid, "complete", lambda self, *rest, **how: order.append("trains") or complete(self, *rest, **how)
    )
    how = ("--defenses", "worst", "--ways", "as-is", "--epochs", "1", "--seeds", "0", "--require", "kept>=-1000")
    _, found = verified(tmp_path, tmp_path / "protected", *how)
    assert order[0].startswith("left out: dfr: it needs clean images, and 44 training images are too few")
    (sentence,) = (text for text in found["verdict"] if text.startswith("Not tried"))  # type: ignore[attr-defined]
    assert sentence.startswith("Not tried: dfr, which needs clean images")


@pytest.mark.parametrize("demand", ["drop>>30", "kept>=50", "nothing"])
def test_a_requirement_that_cannot_be_judged_is_refused_before_any_work(
    demand: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without defenses no worst case is measured."""
    how = ("verify", str(photos / "photos"), str(photos / "protected"), *QUICK, "--runs", str(tmp_path / "runs"))
    code, _, message = inside(*how, "--require", demand)
    assert (code, "is not a requirement" in message) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_reads_no_photograph(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("photographs were read")

    monkeypatch.setattr("howfar.photos.pairs.read_rgb", refuse)
    how = ("verify", str(photos / "photos"), str(photos / "protected"), "--runs", str(tmp_path / "runs"), "--dry-run")
    code, shown, message = inside(*how)
    assert code == 0, message
    assert "orthogonal-projection" in shown
    assert "import:" not in shown
    assert "protected, as it is, against jpeg" in shown
    assert max(len(line) for line in shown.splitlines() if line.startswith(("│", "┃"))) <= 80
    assert shown.count("steps to do") == 1, "one estimate for all that is done"
    assert "187 training and 76 test images of 32×32 pixels in 3 channels, 10 classes." in shown, "37 are held back"
    plan = json.loads(inside(*how, "--json")[1])
    keys = [step["key"] for step in plan["todo"]]
    assert len(keys) == len(set(keys))
    assert sum("protect" in step["step"] for step in plan["todo"]) == 3 * 7, "clean, five ways and a share, by seed"


def test_one_seed_decides_nothing() -> None:
    single = {value: Estimate(value, None, None, 1, "selection") for value in (0.8, 0.5, 0.4)}
    worst = WorstCase(Best("none", single[0.8], 2), Best("jpeg", single[0.5], 2), single[0.4])
    text = sentences([loss(0.6, kept=(0.1, None, None), seeds=1)], "resnet8", Tried(worst), 500)
    assert text[0].startswith("Cannot tell from 1 seed")
    assert "it loses 60 points (1 seed)" in text[0]
    assert "protection kept: 40 % (1 seed)" in text[1]
    assert not any("inf" in sentence for sentence in text)


def test_requirements() -> None:
    assert required("drop>=30", {"drop": 31.0}) == (True, "drop is 31.0, required >= 30: met")
    assert not required("kept <= 5", {"kept": 31.0})[0]
    assert required("kept<=5", {"kept": float("nan")}) == (False, "kept is unknown, required <= 5: not met")
    for text in ("drop", "other>=3", "drop>=much"):
        with pytest.raises(UsageError, match="not a requirement"):
            required(text, {"drop": 1.0})


def test_the_photographs_as_they_are_are_no_share() -> None:
    losses = [
        Loss("classification", way, "accuracy", 0.1, 0.9, 0.2, Estimate(0.7, 0.6, 0.8, 2, "t"), None, 100)
        for way in ("halved", "as-is")
    ]
    text = sentences(losses, "linear", Tried(), 500)
    assert text[1] == "As it is it loses 70 ± 10 points."


def test_json_knows_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_json({"a": [float("inf"), -float("inf"), float("nan"), 1.5], "b": (2, {"c": float("nan")})})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": [None, None, None, 1.5], "b": [2, {"c": None}]}
    assert not {"NaN", "Infinity"} & set(out.replace(",", " ").split())


def test_a_plan_in_words_names_what_is_protected_first() -> None:
    wide = (["learns", "clean", "protected"], [["none", "1", "2"], ["jpeg", "–", "3"]])
    tall = (["learns", "none", "jpeg"], [["clean", "1", "–"], ["protected", "2", "3"]])
    lines = [["clean", "1"], ["protected", "2"], ["protected, against jpeg", "3"]]
    assert sorted(_listed(*wide)[1]) == sorted(_listed(*tall)[1]) == lines

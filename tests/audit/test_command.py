"""``howfar audit`` on real images, clean and protected."""

import json
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from howfar import arrays
from howfar.audit import AuditResult, audit, calibrated
from howfar.audit.detect import POWER, _why_open
from howfar.audit.sample import Sample
from howfar.data import Data, balanced
from howfar.data.npz import npz
from howfar.protectors import PROTECTORS, Progress
from howfar.spec import parse
from howfar.tasks import classification

from ..test_cli import inside


def photographs(shared: Path, count: int = 600) -> Data:
    return balanced(npz(shared / "cifar10.npz").test, count, target="label")


def protected(data: Data, protector: str) -> Data:
    method = parse(protector, PROTECTORS, "protector").build()
    return method.protect(data, classification()(data), generator=arrays.seeded(0))


def saved(data: Data, path: Path) -> Path:
    images, labels = data.pixels.permute(0, 2, 3, 1).numpy(), data.targets["label"].numpy()
    np.savez(path, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    return path


def foldered(data: Data, root: Path) -> Path:
    for place, (pixels, label) in enumerate(zip(data.pixels, data.targets["label"].tolist(), strict=True)):
        path = root / f"kind {label}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path)
    return root


def test_clean_photographs_raise_no_alarm(shared: Path, tmp_path: Path) -> None:
    path = saved(photographs(shared), tmp_path / "suspect.npz")
    code, out, errors = inside("audit", str(path), "--require", "clean")
    assert code == 0, errors
    assert "No protection was found (512 images in 10 classes" in out
    assert "examined: 512 of 600 images" in errors
    code, out, _ = inside("audit", str(path), "--require", "protected", "--json")
    assert code == 4
    assert json.loads(out)["protected"] is False


@pytest.mark.parametrize(("protector", "family"), [("lsp[eps=8/255]", "patches"), ("ops", "single pixels")])
def test_protected_photographs_are_found_and_named(shared: Path, tmp_path: Path, protector: str, family: str) -> None:
    clean = photographs(shared)
    suspect, originals = (
        foldered(protected(clean, protector), tmp_path / "suspect"),
        foldered(clean, tmp_path / "clean"),
    )
    code, out, errors = inside("audit", str(suspect), "--reference", str(originals), "--json")
    assert code == 0, errors
    found = json.loads(out)
    assert found["protected"] is True
    assert found["family"] == family
    assert found["labeled"] is True
    assert found["difference"]["changed"] == 1.0
    assert found["difference"]["shared"] > 0.5


def test_photographs_of_which_none_is_examined_are_not_counted(tmp_path: Path) -> None:
    for place, color in enumerate(((200, 30, 30), (30, 200, 30), (30, 30, 200))):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{place}.png")
    code, out, errors = inside("audit", str(tmp_path))
    assert code == 0
    assert out.startswith("Cannot tell: labels are unknown")
    assert "examined" not in errors


def test_reference_and_suspect_must_belong_together(shared: Path, tmp_path: Path) -> None:
    some = saved(photographs(shared, 40), tmp_path / "a.npz")
    code, _, errors = inside("audit", str(some), "--reference", str(shared / "cifar10.npz"))
    assert code == 2
    assert "Give the same images" in errors
    code, _, errors = inside("audit", str(some), "--size", "4")
    assert code == 2


def noise(count: int, side: int, classes: int = 2) -> Data:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))
    return Data(pixels, {"label": torch.arange(count) % classes}, torch.arange(count))


@pytest.mark.parametrize(
    ("count", "side", "says"),
    [
        (500, 8, "outside the calibration"), (500, 16, "outside the calibration"), (500, 28, ""), (500, 32, ""),
        (500, 33, "outside the calibration"), (29, 32, "30 images together"), (30, 32, ""), (5000, 28, ""),
    ],
)  # fmt: skip
def test_the_calibration_reaches_so_many_images_of_so_many_pixels(count: int, side: int, says: str) -> None:
    found = _why_open(Sample.of(noise(count, side)), calibrated(), labeled=True)
    assert says in found
    assert bool(found) == bool(says)


def test_no_verdict_on_images_that_the_calibration_does_not_reach(tmp_path: Path) -> None:
    path = saved(noise(24, 32, 3), tmp_path / "a.npz")
    code, out, _ = inside("audit", str(path), "--json", "--require", "clean")
    found = json.loads(out)
    assert found["protected"] is None
    assert "30 images together, are needed" in found["why_open"]
    assert code == 4, "what cannot be told meets no requirement"
    assert inside("audit", str(path))[1].lstrip().startswith("Cannot tell (24 images in 3 groups): at least two")


def test_one_class_or_none_large_enough_gives_no_verdict_and_no_error(tmp_path: Path) -> None:
    for classes in (1, 30):
        path = saved(noise(60, 32, classes), tmp_path / f"{classes}.npz")
        code, out, errors = inside("audit", str(path), "--json")
        assert code == 0, errors
        found = json.loads(out)
        assert (found["protected"], found["scores"]) == (None, {})


def test_finding_nothing_in_few_images_is_not_finding_none(tmp_path: Path) -> None:
    known = calibrated()
    least = known.enough(POWER)
    assert least is not None
    for count in (least - 1, least):
        finding = list_end(audit(noise(count, 32)))
        assert finding.suspicion <= 1
        assert finding.protected is (None if count < least else False)
        assert ("nothing was found" in finding.why_open) == (count < least)


def test_copies_of_one_scene_give_no_verdict() -> None:
    data = noise(60, 32)
    smooth = torch.nn.functional.interpolate(data.pixels[:2, :, ::8, ::8].float(), (32, 32), mode="bicubic")
    copies = smooth.clamp(0, 255).to(torch.uint8)[data.targets["label"]]
    copies = (copies.int() + data.pixels.int() % 5).clamp(0, 255).to(torch.uint8)
    assert "nearly the same" in list_end(audit(data.with_pixels(copies))).why_open


def list_end(work: Generator[Progress, None, AuditResult]) -> AuditResult:
    """Return the result of a generator."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: AuditResult = end.value
            return found


def test_images_of_photographs_are_looked_at_in_the_size_of_the_calibration(tmp_path: Path) -> None:
    path = saved(noise(520, 64), tmp_path / "a.npz")
    code, out, _ = inside("audit", str(path), "--json")
    assert code == 0
    assert json.loads(out)["protected"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "camvid_96x128", "rooms"])
def test_other_clean_sets_raise_no_alarm(shared: Path, tmp_path: Path, name: str) -> None:
    from howfar.data import DATASETS

    if name == "rooms":
        rooms = DATASETS["rooms"](train=600, test=10, size=32).train
        data = Data(rooms.pixels, {"label": rooms.targets["class_scene"].long()}, rooms.ids)
    elif name == "mnist":
        data = balanced(npz(shared / "mnist.npz").train, 1000, target="label")
    else:
        frames = torch.from_numpy(np.load(shared / f"{name}.npz", allow_pickle=False)["x_train"]).permute(0, 3, 1, 2)
        small = torch.nn.functional.interpolate(frames.float(), (32, 32), mode="bilinear", antialias=True)
        data = Data(small.round().to(torch.uint8), {}, torch.arange(len(small)))
        path = tmp_path / "frames"
        for place, pixels in enumerate(data.pixels):
            path.mkdir(exist_ok=True)
            Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path / f"{place:04d}.png")
        code, out, _ = inside("audit", str(path))
        assert code == 0
        assert "Cannot tell (367 images in" in out
        assert "--labels" in out
        return
    assert inside("audit", str(saved(data, tmp_path / "set.npz")), "--require", "clean")[0] == 0


def test_the_calibration_keeps_its_rate() -> None:
    known = calibrated()
    for size in (30, 60, 100, 200, 500, 5000):
        assert known.false_alarms(size)[0] <= 0.05
        assert known.power(size) > 0.4

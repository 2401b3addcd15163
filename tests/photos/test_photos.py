"""Photographs of every kind in, the same out, but for the noise."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage.metrics import structural_similarity

from howfar.arrays import finished
from howfar.data import DATASETS
from howfar.data.tree import labels_by_folder
from howfar.errors import HowfarError, UsageError
from howfar.models import MODELS, build
from howfar.photos import (
    Encoding,
    ProtectionJob,
    arranged,
    checked,
    labels_by_table,
    photos_in,
    protect_folder,
)
from howfar.photos.encoding import GPS, ORIENTATION, PROHIBITED, encoded
from howfar.photos.manifest import digest_of, originals_of, summary
from howfar.photos.pairs import pairs_of
from howfar.photos.picture import REST, changed, is_gray, measured, upright
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.tasks import classification
from howfar.training import Recipe, evaluate, train

from ..test_cli import inside

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
SIZES = ((90, 61), (64, 64), (33, 200))


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(60, 196, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two classes of photographs of several sizes and formats."""
    root = tmp_path / "album"
    for number, kind in enumerate(("jpg", "png", "webp", "tif", "bmp", "jpeg")):
        for label in ("cats", "dogs"):
            (root / label).mkdir(parents=True, exist_ok=True)
            scene(*SIZES[number % 3], seed=number).save(root / label / f"Ünï {number}.{kind}")
    return root


def run(album: Path, output: Path, name: str = "lsp[eps=8/255]", kind: str = "png", **options: Any) -> dict[str, Any]:
    spec = parse(name, PROTECTORS, "protector")
    names = photos_in(album)
    encoding = Encoding.parse(kind, options.pop("metadata", "keep"), opt_out=options.pop("opt_out", False))
    options.setdefault("strength", None)  # the noise as it was crafted
    job = ProtectionJob(album, output, spec.label, spec.build(), encoding, **options)
    work = protect_folder(arranged(names, encoding.suffix, labels_by_folder(names)), job, device=CPU, workers=2)
    while True:
        try:
            next(work)
        except StopIteration as end:
            manifest: dict[str, Any] = end.value
            return manifest


def test_the_same_tree_comes_out_protected_and_originals_are_untouched(album: Path, tmp_path: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in album.rglob("*.*")}
    manifest = run(album, tmp_path / "out")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in album.rglob("*.*")} == before
    assert manifest["counts"] == {"protected": 12, "unchanged": 0, "copied": 0, "skipped": 0}
    assert 8 <= manifest["linf"] <= 40
    assert manifest["ssim"] > 0.8
    for entry in manifest["photos"]:
        original, protected = upright(album / entry["name"]), Image.open(tmp_path / "out" / entry["output"])
        assert protected.size == original.size
        difference = np.asarray(protected).astype(int) - np.asarray(original.convert("RGB"))
        assert np.abs(difference).max() == entry["linf"]
        assert difference.any(axis=(0, 1)).all()
        assert (tmp_path / "out" / entry["output"]).stat().st_mtime_ns == (album / entry["name"]).stat().st_mtime_ns
    assert checked(tmp_path / "out") == []


def test_the_budget_of_an_l_infinity_protector_holds_at_every_size(album: Path, tmp_path: Path) -> None:
    assert run(album, tmp_path / "out", "random[eps=8/255,granularity=class]")["linf"] == 8


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "CMYK", "P", "1"])
def test_every_mode_stays_what_it_is_where_the_format_has_it(mode: str, kind: str, tmp_path: Path) -> None:
    whole = scene(40, 30)
    image = (
        Image.fromarray(np.asarray(whole.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else whole.convert(mode)
    )
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(RNG.integers(0, 256, (30, 40), dtype=np.uint8)))
    path = tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}"
    image.save(path)
    original = upright(path)
    noise = Image.new("RGB", (40, 30), (REST + 5,) * 3)
    after = changed(original, noise.convert("L") if is_gray(original) else noise)
    apart = (np.asarray(after).astype(float) - np.asarray(original)) / (257 if mode == "I;16" else 1)
    change = measured(original, after, with_ssim=False)
    assert change.linf == np.abs(apart).max() == 5
    assert change.square == pytest.approx(np.square(apart).mean())
    (tmp_path / f"b.{kind}").write_bytes(encoded(after, original, Encoding.parse(kind, "keep", opt_out=False)))
    read = Image.open(tmp_path / f"b.{kind}")
    expected = {"P": "RGB", "1": "L"}.get(mode, mode)
    if kind != "webp" and not (mode == "CMYK" and kind == "png"):
        assert read.mode == expected
        assert np.array_equal(np.asarray(read), np.asarray(after)), "nothing is lost"
    if mode in ("LA", "RGBA"):
        assert np.array_equal(np.asarray(read)[..., -1], np.asarray(image)[..., -1]), "alpha stays"
    if mode == "1":
        return  # black and white: what is white cannot get brighter
    gray = np.asarray(original.convert("L") if mode != "I;16" else original).astype(int)
    brighter = np.asarray(after.convert("L") if mode != "I;16" else after).astype(int) - gray
    assert 3 <= np.median(brighter) / (257 if mode == "I;16" else 1) <= 7


def rich(path: Path) -> None:
    """Write a photograph with all that may belong to one."""
    image = scene(60, 40)
    exif = image.getexif()
    exif[ORIENTATION], exif[0x010F] = 6, "Maker"
    exif.get_ifd(GPS)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(path, quality=95, exif=exif, icc_profile=profile)


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "jpeg:95"])
@pytest.mark.parametrize("metadata", ["keep", "strip-gps", "strip-all"])
def test_what_belongs_to_a_photograph_stays_as_asked(kind: str, metadata: Any, tmp_path: Path) -> None:
    rich(tmp_path / "a.jpg")
    original = upright(tmp_path / "a.jpg")
    assert original.size == (40, 60), "it stands upright"
    raw = encoded(original, original, Encoding.parse(kind, metadata, opt_out=True))
    (tmp_path / "b").write_bytes(raw)
    read = Image.open(tmp_path / "b")
    exif = read.getexif()
    assert read.info["icc_profile"] == original.info["icc_profile"]
    assert ORIENTATION not in exif
    assert (0x010F in exif) == (metadata != "strip-all")
    assert bool(exif.get_ifd(GPS)) == (metadata == "keep")
    assert PROHIBITED.encode() in raw
    assert read.size == (40, 60)


def test_heic_is_read_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="howfar[heic] is not installed")
    album = tmp_path / "album"
    for label in ("cats", "dogs"):
        (album / label).mkdir(parents=True)
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        file = heif.from_pillow(scene(90, 61))
        file.save(album / label / "a.heic", quality=90, exif=exif.tobytes())
    job = ProtectionJob(
        album, tmp_path / "out", "lsp", PROTECTORS["lsp"](), Encoding.parse("png", "keep", opt_out=False)
    )
    names = photos_in(album)
    work = protect_folder(arranged(names, lambda _: ".png", labels_by_folder(names)), job, device=CPU, workers=1)
    manifest = finished(work)
    assert manifest["counts"]["protected"] == 2
    written = Image.open(tmp_path / "out" / "cats" / "a.png")
    assert written.size == (90, 61)
    assert written.getexif()[0x010F] == "Maker"


def test_clusters_stand_in_for_labels(tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for number in range(12):
        scene(40, 30, seed=number % 2).save(album / f"{number}.png")
    for name, how in (("asked", ("--labels", "clusters")), ("without labels", ())):
        code, _, message = inside("protect", str(album), "-o", str(tmp_path / name), *how)
        assert code == 0
        assert "10 clusters instead of labels" in message
        assert "weaker" in message
        assert json.loads((tmp_path / name / "manifest.json").read_text())["clusters"] == 10


@pytest.mark.parametrize("names", [["one.jpg"], ["me/1.jpg", "me/2.jpg"], ["a.jpg", "b.png", "c.webp"]])
def test_one_photograph_one_album_and_mixed_sizes_are_protected(names: list[str], tmp_path: Path) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    for number, name in enumerate(names):
        (album / name).parent.mkdir(parents=True, exist_ok=True)
        scene(*SIZES[number], seed=number).save(album / name)
    code, _, message = inside("protect", str(album), "-o", str(out))
    assert code == 0, message
    assert photos_in(out) == names, "formats and names stay"
    assert json.loads((out / "manifest.json").read_text())["counts"]["protected"] == len(names)
    assert checked(out, album) == []
    for name in names:
        before, after = (np.asarray(Image.open(folder / name).convert("RGB")).astype(int) for folder in (album, out))
        assert after.shape == before.shape
        assert (after != before).any(2).mean() > 0.5


def test_names_never_collide_and_labels_come_from_folders_or_a_table(tmp_path: Path) -> None:
    names = ["a/x.jpg", "a/x.png", "a/X.jpeg", "b/y.JPG"]
    assert [photo.output for photo in arranged(names, lambda _: ".png", {})] == [
        "a/x.jpg.png", "a/x.png.png", "a/X.jpeg.png", "b/y.png",
    ]  # fmt: skip
    assert labels_by_folder(names) == {"a/x.jpg": "a", "a/x.png": "a", "a/X.jpeg": "a", "b/y.JPG": "b"}
    assert labels_by_folder(["x.jpg", "a/y.jpg"]) == {}
    table = tmp_path / "labels.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["name", "label"], *([name, "cat"] for name in names)])
    assert set(labels_by_table(table, names).values()) == {"cat"}
    with pytest.raises(HowfarError, match=r"lacks 1 photographs, the first one c.jpg"):
        labels_by_table(table, [*names, "c.jpg"])
    with table.open("a", newline="") as file:
        csv.writer(file).writerow([names[0], "dog"])
    with pytest.raises(HowfarError, match=r"has labels 'cat' and 'dog' for a/x.jpg"):
        labels_by_table(table, names)


def test_photographs_that_clash_are_all_written_and_paired(tmp_path: Path) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    for seed, name in enumerate(("a.jpg", "a.png", "a.jpg.png", "b.bmp")):
        for label in ("cats", "dogs"):
            (album / label).mkdir(parents=True, exist_ok=True)
            scene(40, 30, seed=seed).save(album / label / name)
    manifest = run(album, out)
    assert manifest["counts"]["protected"] == len(photos_in(out)) == 8
    expected = {(entry["name"], entry["output"]) for entry in manifest["photos"]}
    (out / "manifest.json").unlink()  # names alone say the same as the manifest
    assert {pair[:2] for pair in pairs_of(album, out)} == expected


def test_a_broken_file_is_named_left_out_or_copied(album: Path, tmp_path: Path) -> None:
    (album / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    deep = (np.zeros((4, 4, 3), np.uint8), "deep")
    Image.fromarray(deep[0]).save(album / "dogs" / "deep.png")
    raw = bytearray((album / "dogs" / "deep.png").read_bytes())
    raw[24] = 16
    (album / "dogs" / "deep.png").write_bytes(raw)
    with pytest.raises(HowfarError, match=r"broken.png is not a readable image .*--broken skip"):
        run(album, tmp_path / "stop")
    skipped = run(album, tmp_path / "skip", broken="skip")
    assert skipped["counts"] == {"protected": 12, "unchanged": 0, "copied": 0, "skipped": 2}
    assert any("16 bits" in entry.get("why", "") for entry in skipped["photos"])
    assert not (tmp_path / "skip" / "cats" / "broken.png").exists()
    assert run(album, tmp_path / "copy", broken="copy")["counts"]["copied"] == 2
    assert (tmp_path / "copy" / "cats" / "broken.png").read_bytes() == (album / "cats" / "broken.png").read_bytes()
    assert checked(tmp_path / "copy") == []


def test_what_makes_no_sense_is_refused_before_any_work(album: Path, tmp_path: Path) -> None:
    for output in (album, album / "inside", album.parent):
        with pytest.raises(UsageError, match="Originals are never modified"):
            run(album, output)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="other files"):
        run(album, tmp_path / "full")
    with pytest.raises(UsageError, match="does not add noise"):
        run(album, tmp_path / "cuda", "cuda")
    for path in list(album.rglob("*.*")):
        path.rename(album / f"{path.parent.name} {path.name}")
    with pytest.raises(UsageError, match="needs labels"):
        run(album, tmp_path / "flat")
    with pytest.raises(UsageError, match="is not a folder"):
        photos_in(tmp_path / "nowhere")
    with pytest.raises(HowfarError, match="unknown format"):
        Encoding.parse("png:3", "keep", opt_out=False)


def test_links_to_folders_are_not_followed_and_hidden_files_stay_hidden(album: Path) -> None:
    names = photos_in(album)
    (album / "cats" / "loop").symlink_to(album, target_is_directory=True)
    (album / ".thumbs").mkdir()
    scene(9, 9).save(album / ".thumbs" / "a.png")
    (album / "notes.txt").write_text("no photograph")
    assert photos_in(album) == names


def test_other_settings_are_refused_and_the_same_ones_go_on(album: Path, tmp_path: Path) -> None:
    first = run(album, tmp_path / "out")
    stamps = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.png")}
    (tmp_path / "out" / first["photos"][3]["output"]).unlink()
    assert run(album, tmp_path / "out") == first
    assert sum(path.stat().st_ino != stamp for path, stamp in stamps.items()) <= 1, "only the lost one is made again"
    with pytest.raises(UsageError, match="other settings"):
        run(album, tmp_path / "out", seed=1)


def test_the_settings_that_differ_are_named(album: Path, tmp_path: Path) -> None:
    run(album, tmp_path / "out", seed=0)
    with pytest.raises(UsageError, match=r"photographs \(seed 0 → 1, encoding.kind png → webp\)\. Give"):
        run(album, tmp_path / "out", kind="webp", seed=1)
    next(album.rglob("*.png")).unlink()
    with pytest.raises(UsageError, match=r"photographs \(photographs 12 \(\w{8}\) → 11 \(\w{8}\)\)"):
        run(album, tmp_path / "out", seed=0)


def repainted(path: Path, seed: int = 77) -> None:
    scene(90, 61, seed=seed).save(path)


def within_budget(album: Path, output: Path, manifest: dict[str, Any]) -> None:
    """Every copy is its present original plus at most the budget, and the manifest describes the present files."""
    for entry in manifest["photos"]:
        original = np.asarray(upright(album / entry["name"]).convert("RGB")).astype(int)
        assert np.abs(np.asarray(Image.open(output / entry["output"])) - original).max() == entry["linf"] <= 8
        assert entry["before"] == digest_of((album / entry["name"]).read_bytes())
        assert entry["after"] == digest_of((output / entry["output"]).read_bytes())


def test_an_edited_photograph_is_protected_again(album: Path, tmp_path: Path) -> None:
    name, out = "random[eps=8/255,granularity=class]", tmp_path / "out"
    first = run(album, out, name)
    assert first["redone"] == {}
    inodes = {path: path.stat().st_ino for path in out.rglob("*.png")}
    repainted(album / "cats" / "Ünï 1.png")
    assert checked(out, album) == ["cats/Ünï 1.png was edited after it was protected. Run howfar protect again."]
    assert checked(out) == []
    again = run(album, out, name)
    assert again["redone"] == {"cats/Ünï 1.png": "the photograph was edited"}
    assert [path for path in inodes if path.stat().st_ino != inodes[path]] == [out / "cats" / "Ünï 1.png"]
    within_budget(album, out, again)
    assert json.loads((out / "manifest.json").read_text()) == json.loads(json.dumps(again))
    assert checked(out, album) == []
    assert run(album, out, name)["redone"] == {}


def test_an_edit_that_keeps_time_and_size_in_pixels_is_seen(album: Path, tmp_path: Path) -> None:
    path = album / "dogs" / "Ünï 4.bmp"  # another picture has the same number of bytes
    run(album, tmp_path / "out")
    before = path.stat()
    repainted(path, seed=5)
    assert path.stat().st_size != before.st_size or path.stat().st_mtime_ns != before.st_mtime_ns
    assert run(album, tmp_path / "out")["redone"] == {"dogs/Ünï 4.bmp": "the photograph was edited"}


def test_a_photograph_that_was_merely_touched_is_left_alone(album: Path, tmp_path: Path) -> None:
    first = run(album, tmp_path / "out")
    inodes = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.png")}
    for path in album.rglob("*.*"):
        os.utime(path)
    assert run(album, tmp_path / "out") == first
    assert {path: path.stat().st_ino for path in inodes} == inodes


def test_a_changed_copy_is_named_and_made_again(album: Path, tmp_path: Path) -> None:
    first = run(album, tmp_path / "out")
    entry = first["photos"][3]
    copy = tmp_path / "out" / entry["output"]
    copy.write_bytes(copy.read_bytes() + b"damage")
    again = run(album, tmp_path / "out")
    assert again["redone"] == {entry["name"]: "its copy was changed"}
    assert {**again, "redone": {}} == first
    assert checked(tmp_path / "out") == []


def test_noise_that_changes_with_another_photograph_is_brought_up_to_date(album: Path, tmp_path: Path) -> None:
    """EM trains a surrogate on all photographs: after an edit, no copy may keep noise of the earlier set."""
    name, how = "em:class[rounds=1,steps=1]", {"sides": (16,)}
    run(album, tmp_path / "out", name, **how)
    repainted(album / "cats" / "Ünï 1.png")
    again = run(album, tmp_path / "out", name, **how)
    fresh = run(album, tmp_path / "fresh", name, **how)
    assert [e["after"] for e in again["photos"]] == [e["after"] for e in fresh["photos"]]
    assert "its noise changed because other photographs did" in again["redone"].values()


def test_a_draft_of_noise_for_other_photographs_is_not_continued(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "out" / ".howfar"
    notes.mkdir(parents=True)
    (notes / "crafting-16-0123456789abcdef.draft").write_bytes(b"of another set")
    run(album, tmp_path / "out", sides=(16,))
    assert list(notes.glob("*.draft")) == []


def test_the_copy_of_a_photograph_that_broke_since_does_not_stay(album: Path, tmp_path: Path) -> None:
    run(album, tmp_path / "out", broken="skip")
    (album / "cats" / "Ünï 1.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    again = run(album, tmp_path / "out", broken="skip")
    assert again["counts"] == {"protected": 11, "unchanged": 0, "copied": 0, "skipped": 1}
    assert again["redone"]["cats/Ünï 1.png"] == "the photograph was edited"
    assert not (tmp_path / "out" / "cats" / "Ünï 1.png").exists()
    repainted(album / "cats" / "Ünï 1.png")
    assert run(album, tmp_path / "out", broken="skip")["counts"]["protected"] == 12


def test_the_command_names_what_it_protects_again_and_compares_with_the_originals(album: Path, tmp_path: Path) -> None:
    how = ("protect", str(album), "-o", str(tmp_path / "out"), "--side", "16", "--workers", "1")
    assert inside(*how)[0] == 0
    repainted(album / "cats" / "Ünï 1.png")
    code, _, message = inside("protect", "--check", str(tmp_path / "out"))
    assert code == 1
    assert "Ünï 1.png was edited after it was protected" in message
    code, _, message = inside(*how)
    assert code == 0
    assert "protected again: cats/Ünï 1.png: the photograph was edited" in message
    code, _, message = inside("protect", "--check", str(tmp_path / "out"))
    assert code == 0
    assert "Compared with the originals" in message
    for path in album.rglob("*.*"):
        path.unlink()
    assert inside("protect", "--check", str(tmp_path / "out"))[0] == 0, "originals need not be kept next to the copies"


def test_a_kill_loses_nothing(album: Path, tmp_path: Path) -> None:
    for number in range(30):
        scene(700, 500, seed=number).save(album / "cats" / f"more {number}.jpg")
    how = ("-p", "lsp", "--format", "png", "--metadata", "keep")
    command = [sys.executable, "-m", "howfar", "protect", str(album), "-o", "out", *how]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "out" / ".howfar" / "journal.jsonl"
    end = time.monotonic() + 60
    while not (journal.is_file() and journal.read_text().count("\n") > 5) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.png")}
    assert len(done) >= 5
    drafts = {path.parent.name for path in (tmp_path / "out").rglob("*.tmp")}
    assert drafts <= {".howfar"}, "among photographs there are only whole ones"
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    again = [path for path, stamp in done.items() if path.stat().st_ino != stamp]
    assert len(again) <= 4, "what was noted stays; what was under way is made again"
    run(album, tmp_path / "whole")
    digests = [
        [entry["after"] for entry in json.loads((tmp_path / name / "manifest.json").read_text())["photos"]]
        for name in ("out", "whole")
    ]
    assert len(digests[0]) == 42
    assert digests[0] == digests[1]
    assert [path.name for path in (tmp_path / "out").rglob("*.tmp")] == []


def test_what_a_kill_left_half_written_lies_apart_and_goes(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, killed, fsync = tmp_path / "out" / ".howfar", "999999999", os.fsync

    def kill(handle: int) -> None:
        if (tmp_path / "out" / "cats").exists():
            monkeypatch.setattr("howfar.unfinished.remove", lambda path: None)  # a killed process clears nothing up
            raise KeyboardInterrupt
        fsync(handle)

    monkeypatch.setattr("howfar.store.writing.os.fsync", kill)
    with pytest.raises(KeyboardInterrupt):
        run(album, tmp_path / "out")
    drafts = list((tmp_path / "out").rglob("*.tmp"))
    assert drafts
    assert {draft.parent for draft in drafts} == {notes}
    for draft in drafts:
        draft.rename(draft.with_name(draft.name.replace(f".{os.getpid()}.", f".{killed}.")))
    alive = notes / f".0123456789ab.{os.getpid()}.tmp"
    alive.touch()
    monkeypatch.undo()
    run(album, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*.tmp")) == [alive], "those of a process that lives stay"


def test_the_longest_of_names_can_be_written(album: Path, tmp_path: Path) -> None:
    name = "n" * 251
    scene(90, 70).save(album / "cats" / f"{name}.png")
    run(album, tmp_path / "out")
    assert (tmp_path / "out" / "cats" / f"{name}.png").is_file()


def test_check_finds_what_changed(album: Path, tmp_path: Path) -> None:
    manifest = run(album, tmp_path / "out")
    first, second = (entry["output"] for entry in manifest["photos"][:2])
    (tmp_path / "out" / first).unlink()
    (tmp_path / "out" / second).write_bytes(b"other")
    assert checked(tmp_path / "out") == [f"{first} is missing.", f"{second} was changed: its digest differs."]
    code, _, errors = inside("protect", "--check", str(tmp_path / "out"))
    assert code == 1
    assert "2 files" in errors
    (tmp_path / "out" / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(HowfarError, match="damaged"):
        checked(tmp_path / "out")


def test_the_command_line_shows_what_it_would_do_and_does_it(album: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    code, output, errors = inside("protect", str(album), "-o", str(target), "--dry-run", "--json")
    assert code == 0
    assert len(json.loads(output)) == 12
    assert "2 labels" in errors
    assert not target.exists()
    code, output, _ = inside(
        "protect", str(album), "-o", str(target), "-p", "random:class", "--strength", "low", "--format", "png", "--json"
    )
    assert code == 0
    assert json.loads(output)["linf"] == 4
    assert inside("protect", str(album))[0] == 2


@pytest.mark.parametrize("size", [32, pytest.param(112, marks=pytest.mark.slow)])
def test_networks_that_learn_from_protected_photographs_at_their_own_size_fail(size: int, tmp_path: Path) -> None:
    splits = DATASETS["digits"]()
    chosen = splits.train.take(torch.arange(800))
    for place, (pixels, label) in enumerate(zip(chosen.pixels, chosen.targets["label"].tolist(), strict=True)):
        folder = tmp_path / "clean" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).convert("RGB").resize((120, 96), Image.Resampling.BICUBIC).save(
            folder / f"{place}.png"
        )
    run(tmp_path / "clean", tmp_path / "protected", "carriers[cell=2,mirrored=true]", sides=(64, 128, 224))
    found = {}
    for name in ("clean", "protected"):
        learned = DATASETS["folder"](root=tmp_path / name, size=size).train
        test = DATASETS["folder"](root=tmp_path / "clean", size=size).test
        task = classification("label")(learned)
        model = build(
            MODELS["resnet8"](width=4), learned.shape, task.outputs, generator=torch.Generator().manual_seed(0)
        )
        recipe = Recipe(epochs=6, batch_size=32, optimizer="adam", lr=0.01, crop=0, flip=False)
        for _ in train(model, learned, task, recipe):
            pass
        found[name] = evaluate(model, test, task)["accuracy"]
    assert found["clean"] > 0.6, found
    assert found["protected"] < 0.1 + (found["clean"] - 0.1) / 2, found


@pytest.mark.parametrize(("share", "count"), [("0", 0), ("0.5", 6), ("1", 12)])
def test_photographs_outside_the_share_are_not_called_protected(
    share: str, count: int, album: Path, tmp_path: Path
) -> None:
    how = ("--share", share, "--side", "16", "--json", "-p", "random:class", "--format", "png")
    code, out, message = inside("protect", str(album), "-o", str(tmp_path / "out"), *how)
    assert code == 0, message
    found = json.loads(out)
    assert found["counts"] == {"protected": count, "unchanged": 12 - count, "copied": 0, "skipped": 0}
    assert found["linf"] == (8 if count else None)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert all((entry["linf"] > 0) == (entry["status"] == "protected") for entry in manifest["photos"])
    assert checked(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--eps", "4/255", "-p", "em:class[eps=2/255]"), "--eps and eps in -p set"),
        (("--share", "0.5", "-p", "em:class[share=0.2]"), "--share and share in -p set"),
        (("--eps", "4/255", "-p", "clean"), "clean has no eps, so --eps has no effect"),
        (("--key", "secret"), "--key and --label belong to one photograph"),
        (("--preview", "page.html"), "Leave out -o and the strength"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    flags: tuple[str, ...], says: str, album: Path, tmp_path: Path
) -> None:
    code, _, message = inside("protect", str(album), "-o", str(tmp_path / "out"), "--dry-run", *flags)
    assert code == 2
    assert says in message


def test_unreadable_files_are_named(album: Path, tmp_path: Path) -> None:
    path = album / "cats" / "Ünï 0.jpg"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(HowfarError, match="not a readable image"):
        run(album, tmp_path / "out")


def test_a_manifest_that_leads_out_of_its_folder_is_refused(album: Path, tmp_path: Path) -> None:
    run(album, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    for outside in ("../secret.png", str(tmp_path / "secret.png")):
        manifest["photos"][0]["output"] = outside
        path.write_text(json.dumps(manifest))
        with pytest.raises(HowfarError, match="leads out of the folder"):
            checked(tmp_path / "out")
        with pytest.raises(HowfarError, match="leads out of the folder"):
            pairs_of(album, tmp_path / "out")
    manifest["photos"][0]["output"] = 5
    path.write_text(json.dumps(manifest))
    with pytest.raises(HowfarError, match=r"is damaged \(it lacks name, output or status"):
        checked(tmp_path / "out")


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[" * 100_000, b"3", b'{"name": "cats/0.jpg"}', b'{"name": 1, "output": 2, "status": "protected"}'],
)
def test_a_damaged_line_of_the_journal_counts_for_nothing(line: bytes, album: Path, tmp_path: Path) -> None:
    run(album, tmp_path / "out")
    journal = tmp_path / "out" / ".howfar" / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([*lines[:-1], line]) + b"\n")
    before = json.loads((tmp_path / "out" / "manifest.json").read_text())["photos"]
    again = run(album, tmp_path / "out")
    assert [entry["after"] for entry in again["photos"]] == [entry["after"] for entry in before]
    assert checked(tmp_path / "out", album) == []


def test_a_journal_that_names_a_file_outside_removes_nothing_there(album: Path, tmp_path: Path) -> None:
    run(album, tmp_path / "out")
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    journal = tmp_path / "out" / ".howfar" / "journal.jsonl"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    entries[1] |= {"output": "../mine.txt", "after": digest_of(b"mine"), "noise": "other"}
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    run(album, tmp_path / "out")
    assert mine.read_text() == "mine"


def test_a_note_of_the_originals_that_can_be_no_path_is_none(tmp_path: Path) -> None:
    (tmp_path / ".howfar").mkdir()
    for note in (b"x" * 5000, b"a\0b", b"\xff", b"nowhere"):
        (tmp_path / ".howfar" / "source").write_bytes(note)
        assert originals_of(tmp_path) is None


def test_sizes_take_turns_in_the_squares_of_a_board(tmp_path: Path) -> None:
    root = tmp_path / "album"
    root.mkdir()
    Image.new("RGB", (128, 128), "gray").save(root / "plain.png")
    change = {}
    for sides in ((16,), (64,), (16, 64)):
        output = tmp_path / str(sides)
        manifest = run(root, output, "random[eps=8/255]", sides=sides)
        assert manifest["linf"] <= 8
        change[sides] = np.asarray(Image.open(output / "plain.png")).astype(int) - 128
    coarse, fine, both = (noise.reshape(8, 16, 8, 16, 3)[:, 4:-4, :, 4:-4] for noise in change.values())
    first = (np.arange(8)[:, None] + np.arange(8)) % 2 == 0
    near = np.abs(both - coarse).mean((1, 3, 4))
    assert near[first].max() < 1 < near[~first].min(), "coarse noise is enlarged in two steps"
    assert (both == fine).all((1, 3, 4)).tolist() == (~first).tolist()


@pytest.mark.parametrize(("mode", "size"), [("RGB", (160, 90)), ("L", (40, 130)), ("RGB", (300, 64))])
def test_noise_lies_on_the_middle_square_that_learners_see(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    root = tmp_path / "album"
    root.mkdir()
    Image.new(mode, size, "gray").save(root / "plain.png")
    run(root, tmp_path / "out", "random[eps=8/255]", sides=(16,))
    noise = np.asarray(Image.open(tmp_path / "out" / "plain.png")).astype(int) - 128
    noise = noise if size[0] > size[1] else noise.swapaxes(0, 1)
    short, long = noise.shape[:2]
    start = (long - short) // 2
    square = noise[:, start : start + short]
    mirrored = np.concatenate([square, square[:, ::-1]] * 4, 1)[:, 4 * short - start :]
    assert np.array_equal(noise, mirrored[:, :long])
    assert np.unique(square).size > 4


@pytest.mark.parametrize("side", ["4", "64,64", "large", ""])
def test_sizes_that_make_no_sense_are_refused(album: Path, tmp_path: Path, side: str) -> None:
    code, _, errors = inside("protect", str(album), "-o", str(tmp_path / "out"), "--side", side)
    assert code == 2
    assert "8 to 256" in errors


@pytest.mark.parametrize("deep", [False, True])
def test_ssim_of_a_photograph_is_that_of_scikit_image(deep: bool) -> None:
    rng = np.random.default_rng(0)
    before = np.cumsum(rng.normal(0, 9, (40, 60)), 1) + 128
    after = before + rng.normal(0, 8, before.shape)
    scale, kind = (257, np.uint16) if deep else (1, np.uint8)
    first, second = ((array.clip(0, 255) * scale).astype(kind) for array in (before, after))
    expected = structural_similarity(
        first / scale, second / scale, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    found = measured(Image.fromarray(first), Image.fromarray(second), with_ssim=True).ssim
    assert found == pytest.approx(expected, abs=1e-5)


def test_what_cannot_be_measured_is_not_perfect() -> None:
    tiny, other = Image.new("RGB", (40, 10), (9, 9, 9)), Image.new("RGB", (40, 10), (99, 9, 9))
    assert measured(tiny, other, with_ssim=True).ssim is None, "no window of SSIM fits into 10 pixels"
    empty = summary([{"status": "skipped"}])
    assert (empty["linf"], empty["psnr"], empty["ssim"]) == (None, None, None), "nothing was protected"
    same = summary([{"status": "protected", "linf": 0.0, "square": 0.0, "ssim": 1.0}])
    assert (same["linf"], same["psnr"], same["ssim"]) == (0.0, None, 1.0)


@pytest.mark.slow
def test_ten_thousand_photographs_in_one_folder_with_names_in_any_script(tmp_path: Path) -> None:
    root, scripts = tmp_path / "album", ("naïve", "снимок", "写真", "صورة", "ภาพ", "🐈 photo", "a'b\"c", "x;y&z")
    root.mkdir()
    content = [encoded(tile := scene(8, 8, seed), tile, Encoding("png")) for seed in range(2)]
    for number in range(10_000):
        (root / f"{scripts[number % len(scripts)]} {number}.png").write_bytes(content[number % 2])
    manifest = run(root, tmp_path / "out", "random[eps=8/255]", side=8, ssim_photos=20)
    assert manifest["counts"] == {"protected": 10_000, "unchanged": 0, "copied": 0, "skipped": 0}
    assert len(photos_in(tmp_path / "out")) == 10_000
    assert checked(tmp_path / "out") == []

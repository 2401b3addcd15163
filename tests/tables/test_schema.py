"""Records of others: what a step must hold is checked before any number of it is shown."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from howfar.store import DamagedError, Store
from howfar.store.seal import has_seal, sealed, unsealed
from howfar.tables.sound import sound_record

from ..test_cli import inside

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two seeds."""
    place = tmp_path_factory.mktemp("schema") / "runs"
    grid = ("--dataset", "digits", "--protectors", "lsp", "--models", "linear", "--defenses", "none", "--seeds", "0-1")
    code, _, message = inside(
        "bench", *grid, "--epochs", "1", "--limit-train", "100", "--workers", "0", "--runs", str(place)
    )
    assert code == 0, message
    return place


def changed(runs: Path, target: Path, change: Change, *, seal: bool = False) -> Path:
    """Return the record that was changed, in a copy of the store."""
    shutil.copytree(runs, target)
    (target / ".index.sqlite").unlink(missing_ok=True)
    path = next(path for path in sorted(target.glob("victim/*/record.json")) if '"label":"lsp' in path.read_text())
    members = json.loads(unsealed(path.read_bytes()))
    change(members)
    text = json.dumps(members, separators=(",", ":"))
    path.write_text(sealed(text) if seal else text)
    return path


def layer(members: dict[str, Any]) -> Any:
    """Return the reading of the only layer."""
    return members["result"]["epochs"][0]["sharpness"]["head.weight"]


IMPOSSIBLE: list[tuple[Change, str]] = [
    (lambda m: m["result"].update(quality=7.5), "quality is 7.5, outside the range of accuracy, 0 to 1"),
    (lambda m: m["result"].update(quality="much"), "quality is 'much', not a finite number"),
    (lambda m: m["result"].update(chance=-1), "chance is -1, outside the range of accuracy"),
    (lambda m: m["result"].pop("quality"), "it lacks quality"),
    (lambda m: m["result"].update(higher_is_better=1), "higher_is_better is 1, not true or false"),
    (lambda m: m["result"].update(train_images=-3), "train_images is -3, not a whole number"),
    (lambda m: m["result"].pop("epochs"), "it lacks epochs"),
    (lambda m: m["result"].update(epochs=[{}]), "epoch 1 has no accuracy"),
    (lambda m: m["result"].update(metric="furlongs"), "epoch 1 has no furlongs"),
    (lambda m: m["result"].update(quality=float("nan")), "expected value"),
    (lambda m: m["spec"].pop("defense"), "it lacks defense.label|is in the place of another record"),
    (lambda m: m["spec"].update(seed="0"), "seed is '0', not a whole number|is in the place of another record"),
    (lambda m: m.update(status="perfect"), "status is 'perfect'"),
    (lambda m: m.update(step=None), "it is not a record"),
    (lambda m: m["result"].update(metric="\x1b[31m"), "metric is .*, not text without control characters"),
    (lambda m: m.update(key="0" * 20), "is in the place of another record"),
    (lambda m: m.update(key="../../x"), "is in the place of another record"),
    (lambda m: m["made"].pop("wall_seconds"), "it lacks made.wall_seconds"),
    (lambda m: m["made"].update(threads="one"), "made.threads is 'one', not a whole number"),
    (lambda m: m["result"]["epochs"][0].update(alignment=3), "alignment is 3, not an object"),
    (lambda m: layer(m).update(rise="high"), "sharpness of head.weight: rise is 'high', not a finite number"),
    (lambda m: layer(m).pop("fall"), "it lacks sharpness of head.weight: fall"),
    (lambda m: layer(m).update(more=1), "not a reading"),
    (lambda m: m["result"].update(correct=[1, 0]), "correct is .*, not text"),
    (lambda m: m["result"].update(correct="AAAA"), "correct holds 24 bits for [0-9]+ images"),
    (lambda m: m["result"].update(correct="no base64"), "correct holds no base64"),
    (lambda m: m.update(status="failed", result={}), "it lacks error"),
]


@pytest.mark.parametrize("number", range(len(IMPOSSIBLE)))
def test_no_command_shows_an_impossible_record(number: int, runs: Path, tmp_path: Path) -> None:
    change, says = IMPOSSIBLE[number]
    path = changed(runs, tmp_path / "odd", change)
    place, other = str(tmp_path / "odd"), str(tmp_path / "other")
    code, out, _ = inside("store", "check", place, "--json")
    assert code == 1
    assert any(re.search(says, finding["what"]) for finding in json.loads(out)), out
    for command in (
        ("report", place, "-o", str(tmp_path / "page.html")), ("submit", place, "-o", other),
        ("store", "export", str(tmp_path / "t.csv"), "--runs", place), ("ud", "clean", "lsp", "--runs", place),
        ("store", "import", place, "--runs", other),
    ):  # fmt: skip
        code, out, message = inside(*command)
        if number == len(IMPOSSIBLE) - 1 and command[0] != "report":
            continue  # failures are no rows anyway
        assert code == 1, (command, out, message)
        assert str(path.parent) in message, (command, message)
        assert "Traceback" not in message
        assert message.strip().count("\n") <= 1, message
    assert not (tmp_path / "page.html").exists()


def test_records_without_a_seal_are_named_and_stay_so(runs: Path, tmp_path: Path) -> None:
    path = changed(runs, tmp_path / "open", lambda members: members["result"].update(quality=0.75))
    assert not has_seal(path)
    code, out, _ = inside("store", "check", str(tmp_path / "open"))
    assert code == 0, "older versions wrote none"
    assert out.count("has no seal") == 1
    code, _, message = inside("store", "import", str(tmp_path / "open"), "--runs", str(tmp_path / "mine"))
    assert code == 0
    assert "1 of them have no seal" in message
    assert has_seal(tmp_path / "mine" / path.relative_to(tmp_path / "open"))
    assert "was imported without a seal" in inside("store", "check", str(tmp_path / "mine"))[1].replace("\n", " ")
    assert inside("store", "check", str(runs))[1].count("seal") == 0


def test_reading_needs_no_right_to_write(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shutil.copytree(runs, tmp_path / "ro")
    (place / ".index.sqlite").unlink(missing_ok=True)
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in place.rglob("*")}
    monkeypatch.setattr("os.access", lambda path, mode: False)
    real = Store.__init__

    def reading(self: Store, root: Path, *, reading: bool = False) -> None:
        assert reading or Path(root) != place, "it was opened to be written"
        real(self, root, reading=reading)

    monkeypatch.setattr(Store, "__init__", reading)
    monkeypatch.chdir(tmp_path)
    for command in (
        ("leaderboard", str(place)), ("report", str(place)), ("submit", str(place)), ("store", "check", str(place)),
        ("store", "import", str(place), "--runs", "r2"), ("compare", str(place), str(place)),
        ("ud", "clean", "lsp", "--runs", str(place)), ("store", "export", "t.csv", "--runs", str(place)),
    ):  # fmt: skip
        code, _, message = inside(*command)
        assert code == 0 or "UD has no denominator" in message, (command, message)
    assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in place.rglob("*")} == before
    assert inside("ud", "clean", "lsp", "--runs", "tpyo")[0] == 2
    assert not (tmp_path / "tpyo").exists()


def test_a_page_in_a_store_replaces_a_link_of_its_name(runs: Path, tmp_path: Path) -> None:
    place = shutil.copytree(runs, tmp_path / "linked")
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (place / "report.html").unlink()
    (place / "report.html").symlink_to(mine)
    grid = ("--dataset", "digits", "--protectors", "lsp", "--models", "linear", "--defenses", "none", "--seeds", "0-1")
    code, _, message = inside(
        "bench", *grid, "--epochs", "1", "--limit-train", "100", "--workers", "0", "--runs", str(place)
    )
    assert code == 0, message
    assert mine.read_text() == "mine"
    assert not (place / "report.html").is_symlink()
    assert (place / "report.html").read_text().startswith("<!")


def test_files_are_written_through_links_and_never_over_devices(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "page.html"
    link.symlink_to(tmp_path / "real" / "page.html")
    assert inside("report", str(runs), "-o", str(link))[0] == 0
    assert link.is_symlink()
    assert (tmp_path / "real" / "page.html").read_text().startswith("<!")
    for device in ("/dev/null", "/dev/stdout"):
        before = Path(device).stat(follow_symlinks=False)
        code, _, message = inside("report", str(runs), "-o", device)
        assert code == 2
        assert "not a file that can be replaced" in message
        assert Path(device).stat(follow_symlinks=False).st_ino == before.st_ino


def test_a_store_without_victims_is_no_folder_of_rows(tmp_path: Path) -> None:
    store = Store(tmp_path / "r")
    (store.root / "trajectory.json").write_text("{}")
    code, _, message = inside("leaderboard", str(store.root))
    assert code == 1
    assert "holds no finished victim" in message


def test_seeds_of_one_cell_have_the_same_epochs(runs: Path, tmp_path: Path) -> None:
    path = changed(runs, tmp_path / "odd", lambda m: m["result"].update(epochs=2 * m["result"]["epochs"]), seal=True)
    code, _, message = inside("report", str(tmp_path / "odd"), "-o", str(tmp_path / "page.html"))
    assert code == 1
    assert re.search("has? other epochs or layers than", message), message
    assert path.parent.name in message


def test_a_row_without_runs_is_shown_as_empty_and_its_fault_named(runs: Path, tmp_path: Path) -> None:
    assert inside("submit", str(runs), "-o", str(tmp_path / "rows"))[0] == 0
    (path,) = [path for path in (tmp_path / "rows").glob("*.json") if "lsp" in path.name]
    path.write_text(json.dumps({**json.loads(path.read_text()), "runs": {}}))
    code, out, message = inside("leaderboard", str(tmp_path / "rows"))
    assert (code, "lsp" in out) == (0, True), message
    assert "there are no runs" in inside("validate", str(path))[1]


def test_the_leaderboard_checks_what_it_reads_of_epochs(runs: Path, tmp_path: Path) -> None:
    path = changed(
        runs, tmp_path / "odd", lambda m: m["result"]["epochs"][0].update(alignment={"head.weight": True}), seal=True
    )
    code, _, message = inside("leaderboard", str(tmp_path / "odd"))
    assert code == 1
    assert path.parent.name in message
    assert "alignment of head.weight is True, not a list of finite numbers and nulls" in message


@pytest.mark.parametrize("text", ["[]", "[{}]", '["step"]', "3", "null", '{"step": {}}', "[" * 100_000])
def test_json_of_another_kind_is_no_record(text: str, runs: Path, tmp_path: Path) -> None:
    path = changed(runs, tmp_path / "odd", lambda members: members)
    path.write_text(text)
    code, _, message = inside("leaderboard", str(tmp_path / "odd"))
    assert code == 1
    assert f"{path} is damaged" in message


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with trajectories, curvature and an ablation."""
    place = tmp_path_factory.mktemp("steps") / "runs"
    grid = ("--dataset", "digits", "--protectors", "lsp", "--models", "linear", "--seeds", "0", "--epochs", "2",
            "--limit-train", "64", "--workers", "0", "--runs", str(place))  # fmt: skip
    deeper = ["lenet5" if word == "linear" else word for word in grid]
    for command in (
        ("curvature", *grid, "--images", "16"),
        ("ablate-ud", *deeper, "--images", "16", "--modes", "exact", "--radius", "0.02", "--steps", "2"),
    ):
        code, _, message = inside(*command)
        assert code == 0, message
    return place


WRONG: list[tuple[str, Change, str]] = [
    ("trajectory", lambda m: m["result"].update(moments=3), "moments is 3, not a list of objects"),
    ("trajectory", lambda m: m["result"]["moments"][1].pop("accuracy"), r"it lacks accuracy \(in moment 2\)"),
    ("trajectory", lambda m: m["result"]["moments"][0].update(steps=-1), "steps is -1, not a whole number"),
    ("trajectory", lambda m: m["result"].update(quality=7), "quality is 7, outside the range of accuracy"),
    ("trajectory", lambda m: m["made"].pop("threads"), "it lacks made.threads"),
    ("curvature", lambda m: m["result"].update(layers=[]), "layers is .*, not an object"),
    ("curvature", lambda m: m["result"]["layers"].pop(""), "it lacks the curvature of the whole network"),
    ("curvature", lambda m: m["result"]["layers"]["head.weight"].pop("sal"), "it lacks curvature of head.weight: sal"),
    ("curvature", lambda m: m["result"]["layers"][""].update(eigenvalues=[]), "the whole network: eigenvalues is "),
    ("curvature", lambda m: m["result"]["layers"].update({"head.weight": 1}), "head.weight is 1, not an object"),
    ("ablation", lambda m: m["result"]["epochs"][0].update(variants=[]), "not a list of 4 objects"),
    ("ablation", lambda m: m["result"]["epochs"][1]["variants"][0].update({"fc3.weight": [1]}), "not two finite"),
    ("ablation", lambda m: m["result"]["epochs"][0]["variants"][0].clear(), "its variants are of other layers"),
    ("ablation", lambda m: m["result"]["epochs"][0].pop("sharpness"), "it lacks sharpness"),
]


@pytest.mark.parametrize(("step", "change", "says"), WRONG)
def test_records_of_every_step_are_checked_before_they_are_used(
    step: str, change: Change, says: str, studies: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(studies, tmp_path / "odd")
    for other in {"trajectory", "curvature", "ablation"} - {step}:
        shutil.rmtree(place / other)
    key = Store(place).keys(step)[0]
    assert sound_record(Store(place), step, key) is not None
    path = place / step / key / "record.json"
    members = json.loads(unsealed(path.read_bytes()))
    change(members)
    path.write_text(sealed(json.dumps(members, separators=(",", ":"))))
    with pytest.raises(DamagedError, match=says):
        sound_record(Store(place), step, key)
    code, out, _ = inside("store", "check", str(place), "--json")
    assert code == 1
    assert any(re.search(says, finding["what"]) for finding in json.loads(out)), out


def test_curvature_names_the_record_that_it_cannot_use(studies: Path, tmp_path: Path) -> None:
    place = shutil.copytree(studies, tmp_path / "odd")
    path = next(place.glob("curvature/*/record.json"))
    members = json.loads(unsealed(path.read_bytes()))
    members["result"]["layers"][""]["trace"] = "large"
    path.write_text(sealed(json.dumps(members, separators=(",", ":"))))
    code, _, message = inside(
        "curvature", "--dataset", "digits", "--protectors", "lsp", "--models", "linear", "--seeds", "0", "--epochs",
        "2", "--limit-train", "64", "--workers", "0", "--images", "16", "--runs", str(place),
    )  # fmt: skip
    assert code == 1
    assert "curvature of the whole network: trace is 'large', not a finite number" in message
    assert path.parent.name in message

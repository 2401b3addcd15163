"""Rows of a public leaderboard: they hold what was measured, and what does not follow from it is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howfar.cli import main
from howfar.errors import HowfarError
from howfar.report import site
from howfar.score import Estimate
from howfar.tables.distances import Ud
from howfar.tables.entry import Entry, Reported, SeedQualities
from howfar.tables.entry_file import faults, read

from .conftest import serious
from .test_page import HOSTILE, opened


def entry(name: str = "em", **changes: Any) -> Entry:
    validation = ([0.9, 0.9, 0.88], [0.2, 0.2, 0.22])
    return replace(
        Entry(
            protector=name, dataset=name, data="0123456789", test="9876543210", task="classification", model=name,
            versions={"task": 1, "source_task": 1, "model": 1},
            metric="accuracy", higher_is_better=True, chance=0.1, train_images=100, test_images=50,
            recipe={"epochs": 8}, settings={"name": name, "eps": 8 / 255},
            norm="L∞", visibility={"linf": 8, "ssim": 0.91, "psnr": None}, needs_labels=True,
            runs={
                "none": SeedQualities([0, 1, 2], [0.9, 0.91, 0.89], [0.2, 0.22, 0.21], validation),
                name: SeedQualities([0, 1, 2], [0.8, 0.81, 0.79], [0.6, 0.5, 0.55], ([0.8, 0.8, 0.8], [0.6, 0.5, 0.6])),
            },
            ud=Ud(Estimate(0.3, 0.2, 0.4, 3, "t"), 0.01, 0.05), made={"torch": "2"}, commands=["howfar bench"],
        ),
        **changes,
    )  # fmt: skip


def written(folder: Path, row: Entry) -> Path:
    path = folder / row.name
    path.write_text(row.as_json(), encoding="utf-8")
    return path


def test_rows_survive_their_file_and_say_what_follows(tmp_path: Path) -> None:
    row = entry(reported=Reported(0.2078, "APBench"))
    path = written(tmp_path, row)
    assert read(path).as_json() == row.as_json()
    assert list(faults(path)) == []
    found = json.loads(path.read_text())
    assert found["summary"]["drop"] == pytest.approx(0.69)
    assert found["summary"]["worst_defense"] == "em"
    assert found["summary"]["kept"] == pytest.approx((0.9 - 0.55) / 0.8, abs=1e-6)
    assert found["unreliable"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["summary"].update(drop=0.8), "drop is stated as 0.8"),
        (lambda row: row["summary"].update(kept=1.0), "kept is stated as 1.0"),
        (lambda row: row["summary"].update(more=1.0), "more does not follow"),
        (lambda row: row.update(unreliable=["x"]), "'unreliable' should be"),
        (lambda row: row["runs"]["none"]["protected"].pop(), "not one per seed"),
        (lambda row: row["runs"]["none"].update(seeds=[0, 0, 1]), "a seed stands twice"),
        (lambda row: row["runs"]["none"]["clean"].__setitem__(0, 91.0), "outside 0 to 1"),
        (lambda row: row.update(runs={}), "there are no runs"),
    ],
)
def test_what_does_not_follow_is_found(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, entry())
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(row))
    assert any(message in fault for fault in faults(path))
    with pytest.raises(SystemExit) as end:
        main(["validate", str(path)])
    assert end.value.code == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "no row of the format"),
        ('{"format": "howfar-row-3"}', "protector: Field required"),
        ('{"format": "howfar-row-3", "surprise": 1}', "howfar submit"),
    ],
)
def test_files_that_are_no_rows_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "row.json"
    path.write_text(text)
    with pytest.raises(HowfarError, match=message):
        read(path)


@given(st.recursive(st.none() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_wrong_values_are_named(value: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), entry())
        row = json.loads(path.read_text())
        path.write_text(json.dumps(row | {"runs": {"none": value}, "chance": value}))
        with pytest.raises(HowfarError, match=r"chance|runs\.none"):
            read(path)


def test_doubts_are_flagged() -> None:
    assert entry().doubts() == []
    few = entry(runs={"none": SeedQualities([0], [0.9], [0.2])})
    assert few.doubts() == ["1 seed, fewer than 3"]
    assert few.summary()["drop_low"] is None
    loud = entry(visibility={"linf": 9})
    assert "changed by 9/255" in loud.doubts()[0]
    assert entry(norm="L2", visibility={"linf": 9}).doubts() == []
    weak = entry(runs={"none": SeedQualities([0, 1, 2], [0.12, 0.12, 0.12], [0.1, 0.1, 0.1])})
    assert weak.doubts() == ["the clean images were hardly learned"]


def test_names_of_files_stay_in_their_folder() -> None:
    assert "/" not in entry("../../etc/passwd").name
    assert entry("../../etc/passwd").name.startswith("etc-passwd_")
    assert entry("a b").name != entry("a-b").name
    assert len(entry("x" * 1000).name) < 200


def test_a_site_keeps_every_row_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two, built = tmp_path / "two", tmp_path / "site"
    two.mkdir()
    mine, yours = entry(), entry(made={"torch": "3"})
    (two / "alice.json").write_text(mine.as_json(), encoding="utf-8")
    (two / "bob.json").write_text(yours.as_json(), encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["leaderboard", str(two), "--html", str(built)])
    assert not end.value.code
    assert {read(path).as_json() for path in (built / "rows").iterdir()} == {mine.as_json(), yours.as_json()}
    page = (built / "index.html").read_text()
    assert all(f"rows/{path.name}" in page for path in (built / "rows").iterdir())
    (two / "carol.json").write_text(mine.as_json(), encoding="utf-8")
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["leaderboard", str(two), "--html", str(tmp_path / "other")])
    assert end.value.code == 2
    assert "is given twice" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["em", HOSTILE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_site_ranks_flags_and_serves_all_readers(browser: Any, tmp_path: Path, name: str, scheme: str) -> None:
    weak = entry(name, protector="weak", runs={"none": SeedQualities([0], [0.9], [0.8])})
    text = site.render([weak, entry(name), entry(name, protector="none", visibility={})])
    tab = opened(browser, tmp_path, text, color_scheme=scheme)
    rows = tab.locator("tbody tr th").all_inner_texts()
    assert rows[0] == name
    assert rows[2].startswith("weak unreliable: 1 seed")
    assert tab.title() == "How far from unlearnable? Leaderboard"
    assert tab.locator("img").count() == 0
    tab.click("thead th:nth-child(2) button")
    tab.fill("#filter", "weak")
    assert tab.locator("tbody tr:visible").count() == 1
    assert serious(tab) == []
    tab.close()


def test_from_runs_to_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, rows, built = tmp_path / "runs", tmp_path / "rows", tmp_path / "site"

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return int(end.value.code or 0), capsys.readouterr().out

    call("bench", "--dataset", "digits", "--protectors", "lsp,random", "--models", "linear", "--seeds", "0-1",
         "--defenses", "none,gray", "--limit-train", "80", "--epochs", "1", "--set", "held_out=60", "--runs",
         runs, "--workers", "1")  # fmt: skip
    code, out = call("submit", runs, "-o", rows, "--dry-run")
    assert code == 0
    assert not rows.exists()
    assert out.count("unreliable: 2 seeds") == 2
    call("submit", runs, "-o", rows)
    told = ["--only", "lsp", "--reported", "0.13", "--source", "a paper"]
    call("submit", runs, "-o", rows, *told)
    files = sorted(rows.iterdir())
    assert len(files) == 2
    for path in files:
        code, out = call("validate", path)
        assert code == 0
        assert "follows from its runs" in out
    assert call("leaderboard", rows, "--html", built)[0] == 0
    page = (built / "index.html").read_text()
    assert "13.0 (a paper)" in page
    assert sorted((built / "rows").iterdir())[0].read_text() == files[0].read_text()
    assert call("leaderboard", rows, "--html", built)[0] == 0, "the same site may be made again"
    (built / "index.html").write_text("<title>My home page</title>")
    assert call("leaderboard", rows, "--html", built)[0] == 2
    assert (built / "index.html").read_text() == "<title>My home page</title>"
    assert call("leaderboard", rows, "--html", built, "--overwrite")[0] == 0
    code, out = call("leaderboard", rows, "--json")
    assert {row["protector"] for row in json.loads(out)} == {"lsp", "random[eps=16/255]"}
    assert all(len(row["runs"]) == 2 for row in json.loads(out))
    assert call("submit", runs, "-o", rows, "--only", "nothing")[0] == 2
    assert call("submit", runs, "-o", rows, "--reported", "0.1")[0] == 2

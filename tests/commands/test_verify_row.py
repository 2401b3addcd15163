"""A submitted row is run again: it comes out the same, or it is not verified."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from howfar.score import Estimate
from howfar.tables.entry import Entry, SeedQualities
from howfar.tables.entry_file import read
from howfar.tables.verified import LIST, identical, repeated, verified_in

from ..report.test_entry import entry
from ..test_cli import inside

GRID = (
    "bench", "--dataset", "digits", "--protectors", "lsp,random", "--models", "linear", "--seeds", "0-1", "--defenses",
    "none,gray", "--limit-train", "120", "--limit-test", "80", "--epochs", "1", "--workers", "0", "--set",
    "held_out=40", "--set", "probe_images=0", "--set", "alignment_images=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, its rows, and a store in which they were run again."""
    folder = tmp_path_factory.mktemp("row")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert inside(*GRID)[0] == 0
        assert inside("submit", "runs", "-o", "rows")[0] == 0
    return folder


@pytest.fixture
def row(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one row beside another one."""
    shutil.copytree(place / "rows", tmp_path / "rows")
    monkeypatch.chdir(place)
    return next((tmp_path / "rows").glob("*lsp*.json"))


def again(row: Path, *more: str) -> tuple[int, str, str]:
    code, out, message = inside("verify-row", str(row), "--workers", "0", *more)
    return code, out, message


def rewritten(row: Path, change: Callable[[Entry], Entry]) -> None:
    row.write_text(change(read(row)).as_json(), encoding="utf-8")


def with_protected(found: Entry, values: list[float]) -> Entry:
    return replace(found, runs={**found.runs, "none": replace(found.runs["none"], protected=values)})


def test_a_row_that_comes_out_again_is_verified_until_it_changes(row: Path) -> None:
    def marks() -> dict[str, str]:
        code, out, _ = inside("leaderboard", str(row.parent), "--markdown")
        assert code == 0
        lines = [line.strip("|\n ").split(" | ") for line in out.splitlines() if line.startswith("| ")]
        return {line[0].partition("[")[0]: line[-1] for line in lines}

    assert (marks()["lsp"], marks()["random"]) == ("no", "no")
    code, out, message = again(row)
    assert code == 0, message
    assert "every seed gives the same quality" in out
    assert (row.parent / LIST).read_text() == f"{sha256(row.read_bytes()).hexdigest()}  {row.name}\n"
    assert (marks()["lsp"], marks()["random"]) == ("yes", "no")
    assert inside("leaderboard", str(row.parent), "--html", str(row.parent / "site"))[0] == 0
    assert len(verified_in(row.parent / "site" / "rows")) == 1
    assert again(row)[0] == 0
    assert (row.parent / LIST).read_text().count("\n") == 1, "a row is listed once"
    rewritten(row, lambda found: replace(found, commands=[*found.commands, "echo"]))
    assert marks()["lsp"] == "no"


def test_a_store_has_no_rows_to_verify(place: Path) -> None:
    code, _, _ = inside("leaderboard", str(place / "runs"), "--html", str(place / "own"))
    assert code == 0
    assert "<td>yes</td>" not in (place / "own" / "index.html").read_text().partition("verified")[2].partition("–")[0]
    assert not (place / "own" / "rows" / LIST).exists()


def test_other_results_are_not_verified(row: Path) -> None:
    rewritten(row, lambda found: with_protected(found, [0.97, 0.98]))
    code, out, _ = again(row)
    assert code == 1
    assert "not verified" in out
    assert not (row.parent / LIST).exists()


def test_one_seed_must_come_out_the_same(row: Path) -> None:
    def one_seed(found: Entry) -> Entry:
        runs = {
            name: SeedQualities(
                of.seeds[:1], of.clean[:1], of.protected[:1],
                of.validation and (of.validation[0][:1], of.validation[1][:1]),
            )
            for name, of in found.runs.items()
        }  # fmt: skip
        return replace(found, runs=runs)

    rewritten(row, one_seed)
    assert again(row)[0] == 0
    rewritten(row, lambda found: with_protected(found, [found.runs["none"].protected[0] + 0.0125]))
    assert again(row)[0] == 1, "one test image more"


def test_a_dry_run_writes_nothing(row: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    code, out, _ = again(row, "--dry-run", "--runs", str(store))
    assert code == 0
    assert "lsp" in out
    assert "random" not in out, "the other row is not run"
    assert not store.exists()
    assert not (row.parent / LIST).exists()


def edited(row: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    found = json.loads(row.read_text())
    change(found)
    row.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["summary"].update(drop=0.9), "drop is stated as 0.9"),
        (lambda row: row.update(commands=[]), "names no command"),
        (lambda row: row.update(commands=["rm -rf /"]), "not run by howfar bench, but by: rm -rf /"),
        (lambda row: row.update(commands=["howfar bench 'x"]), "not run by howfar bench"),
        (lambda row: row.update(commands=["howfar bench --help"]), "not run by howfar bench"),
        (lambda row: row.update(commands=["howfar bench --config a.toml"]), "reads a.toml"),
        (lambda row: row.update(commands=["howfar bench --nonsense"]), "--nonsense"),
        (lambda row: row["settings"].update(version=99), "train no such victim"),
        (lambda row: row.update(data="0" * 64), "other data"),
    ],
)
def test_rows_that_cannot_be_run_are_refused(change: Callable[[Any], Any], message: str, row: Path) -> None:
    edited(row, change)
    code, _, said = again(row)
    assert code in (1, 2)
    assert message in said
    assert "Traceback" not in said
    assert not (row.parent / LIST).exists()


def test_how_far_numbers_may_be_apart() -> None:
    """Eight columns of three seeds: t at 1 − 0.05 ÷ 8, times √2, plus one of 50 test images."""
    row = entry()
    found = {one.what: one for one in repeated(row, row)}
    assert set(found) == {
        *(f"{name} of {of}" for of in ("none", "em") for name in ("clean", "protected")), "UD", "L∞",
        *(f"validation, {name} of {of}" for of in ("none", "em") for name in ("clean", "protected")),
    }  # fmt: skip
    assert identical(row, row)
    clean = found["clean of none"]
    assert clean.stated == clean.again == pytest.approx(0.9)
    assert clean.allowed == pytest.approx(2**0.5 * 12.590 * 0.01 / 3**0.5 + 0.02, rel=1e-3)
    assert found["UD"].allowed == pytest.approx(0.1 * 2**0.5)
    assert found["validation, clean of em"].allowed == pytest.approx(0.02)
    assert found["L∞"].allowed == 1
    assert row.ud is not None
    far = replace(row, ud=replace(row.ud, mean=Estimate(0.45, 0.4, 0.5, 3, "t")), visibility={"linf": 10})
    assert {one.what for one in repeated(row, far) if not one.agrees} == {"UD", "L∞"}

"""What ``howfar bench`` says before, during and after a run."""

import json
import shlex
from pathlib import Path

import pytest

from howfar.commands.bench import _with_more_seeds

from ..test_cli import inside


def test_two_forms_of_output_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howfar.data.loaded._load", None)
    for command in ("bench", "leaderboard", "ablate-ud", "trajectory", "curvature"):
        code, shown, message = inside(command, "--json", "--latex")
        assert (code, shown) == (2, "")
        assert "--json and --latex exclude each other" in message


QUICK = [
    "bench", "--dataset", "digits", "--protectors", "ops", "--models", "linear", "--defenses", "none", "--epochs", "1",
    "--limit-train", "60", "--limit-test", "30", "--set", "probe_images=0", "--workers", "0",
]  # fmt: skip


def test_a_plan_tells_core_hours_and_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("howfar.grid.estimate.estimate", lambda steps, _: {step.key: 540.0 for step in steps})
    code, shown, message = inside(*QUICK, "--seeds", "0-2", "--dry-run", "--workers", "2")
    assert code == 0, message
    assert "12 steps to do, 0 in the store; about 54 min with 2 workers on idle cores (1.8 core-hours)." in shown
    assert "60 training and 30 test images of 16×16 pixels in 1 channel, 10 classes." in shown
    assert "warning" not in message
    plan = json.loads(inside(*QUICK, "--seeds", "0-2", "--dry-run", "--json")[1])
    assert plan["core_hours"] == 1.8


@pytest.mark.parametrize(
    ("arguments", "smaller"),
    [
        (["--suite", "digits"], "--suite two-tasks"),
        (["--suite", "paper"], "--suite paper-fast"),
        ([], "--suite quick"),
        (["--dataset", "digits", "--limit-train", "400"], "--limit-train 100"),
        (["--quick"], "--limit-train 250"),
    ],
)
def test_a_plan_of_more_than_an_hour_warns_and_names_the_next_smaller_choice(
    arguments: list[str], smaller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("howfar.grid.estimate.estimate", lambda steps, _: {step.key: 7200.0 for step in steps})
    code, _, message = inside("bench", *arguments, "--dry-run")
    assert code == 0, message
    assert f"warning: this takes more than an hour. The next smaller choice: {smaller}." in message


def test_one_seed_ends_with_a_first_reading_and_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--epochs", "30", "--limit-train", "400", "--limit-test", "100"]
    code, shown, message = inside(*QUICK, *more, "--seeds=3")
    assert code == 0, message
    assert "With one seed, ops retains " in shown
    assert f"for intervals: howfar {shlex.join([*QUICK, *more])} --seeds 3-5" in message
    assert _with_more_seeds(["bench", "--seeds", "0", "--quick"], 0) == "howfar bench --quick --seeds 0-2"
    code, shown, message = inside(*QUICK, *more, "--seeds=3", "--json")
    assert (code, "for intervals" in message) == (0, False)


def test_no_seeds_are_added_while_the_clean_victim_has_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    still = [*QUICK, "--set", "train.lr=1e-9", "--set", "train.crop=4", "--seeds", "0-4", "--until", "0.01", "--json"]
    code, shown, message = inside(*still)
    assert code == 0, message
    assert {row["seeds"] for row in json.loads(shown)} == {2}
    assert "not learned: linear on clean images (classification, defense none) reaches accuracy" in message
    assert "(--epochs 2), use another --recipe or leave out augmentation (--set train.crop=0)." in message
    assert "adding seed" not in message


def test_a_data_set_without_settings_is_that_of_its_suite() -> None:
    from howfar.grid.overrides import make_suite

    default = make_suite(None)
    assert make_suite(None, {"dataset": "rooms"}) == default
    assert make_suite("quick", {"dataset": "rooms"}) == make_suite("quick")
    assert make_suite(None, {"dataset": "rooms[size=64]"}).dataset == "rooms[size=64]"
    assert make_suite("digits", {"dataset": "rooms"}).dataset == "rooms"

"""A few hundred calls of the campaign over whole commands, and what its judge would notice."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from howfar import cli
from howfar.commands.parser import COMMANDS
from howfar.errors import HowfarError

from .commands import FLAGS, Draw, known_parts
from .judge import judged_page, made
from .values import POSITIONS, VALUES, WEIGHTS
from .world import disturbed, fresh, stamps, template

CALLS, EPISODE = 60, 20  # python benchmarks/campaign.py makes 20,000


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = Path.cwd()
    place = template().parent / "world"
    for name, folder in (("HOME", "home"), ("HOWFAR_DATA", "data"), ("TMPDIR", "tmp"), ("MPLCONFIGDIR", "tmp")):
        monkeypatch.setenv(name, str(place / folder))
    monkeypatch.setattr("tempfile.tempdir", str(place / "tmp"))
    yield fresh()
    os.chdir(before)


@pytest.mark.parametrize("episode", range(CALLS // EPISODE))
def test_calls_end_as_they_may(episode: int, world: Path) -> None:
    dice = random.Random(f"test {episode}")
    draw = Draw(dice)
    for turn in range(EPISODE):
        if turn and dice.random() < 0.35:
            disturbed(world, dice)
        os.chdir(world / "here")
        call = made(draw.call(), world, set())
        assert call.faults == [], (call.words, call.errors, call.trace)


def test_every_flag_and_setting_is_drawn_and_has_a_value() -> None:
    draw = Draw(random.Random(0))
    for _ in range(120_000):
        draw.call()
    assert known_parts() - draw.seen == set()
    assert set(WEIGHTS) == set(COMMANDS)
    assert {flag for each in FLAGS.values() for flag, takes in each.items() if takes} - VALUES.keys() - {
        "--set"
    } == set()


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: (_ for _ in ()).throw(KeyError("x")), "escaped: KeyError at cli.py"),
    (lambda: sys.exit(7), "exit code 7"),
    (lambda: sys.exit(2), "exit code 2 without a word"),
    (lambda: cli.terminal.say("howfar: one\ntwo") or sys.exit(1), "error in several lines"),
    (lambda: cli.terminal.out("{") or sys.exit(0), "no JSON"),
    (lambda: cli.terminal.out('{"value": NaN}') or sys.exit(0), "no JSON"),
    (lambda: cli.terminal.out('{"value": 3, "low": 1, "high": 2}') or sys.exit(0), "value outside its interval"),
    (
        lambda: cli.terminal.out('{"drop": 3, "drop_low": null, "drop_high": 2}') or sys.exit(0),
        "drop has half an interval",
    ),
    (lambda: Path("../bystanders/a.txt").write_text("x") and sys.exit(0), "changed outside: bystanders/a.txt"),
    (lambda: Path("runs/notes.txt").write_text("x") and sys.exit(0), "changed a file of others: here/runs/notes.txt"),
    (
        lambda: cli.terminal.say("failed: a: 'NoneType' object is not iterable") or sys.exit(3),
        "internal words: object is not",
    ),
]


@pytest.mark.parametrize(("does", "fault"), WRONG, ids=[fault for _, fault in WRONG])
def test_the_judge_notices(
    does: Callable[[], object], fault: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howfar.commands.inspect.Doctor.__call__", lambda self: does())
    call = made(["doctor", "--json"], world, {path for path in stamps(world) if path.endswith(b"notes.txt")})
    assert any(found.startswith(fault) for found in call.faults), call.faults


def test_the_judge_lets_pass_what_may_be(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(["doctor", "--json"], world, set()).faults == []

    def refuses(self: object) -> int:
        raise HowfarError("a cause. A fix.")

    monkeypatch.setattr("howfar.commands.inspect.Doctor.__call__", refuses)
    assert made(["doctor"], world, set()).faults == []
    assert made(["doctor", "--debug"], world, set()).faults == []


def test_a_verdict_follows_from_its_numbers(world: Path) -> None:
    from howfar.store import Store
    from howfar.tables import collect

    page = collect(Store("runs"), brief=True)
    assert page.verdicts
    assert list(judged_page(page)) == []
    wrong = [replace(one, decision=replace(one.decision, outcome="holds", lack="")) for one in page.verdicts]
    assert list(judged_page(replace(page, verdicts=wrong))) != []
    assert set(POSITIONS) <= set(WEIGHTS)

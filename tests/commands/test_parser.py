"""Help, examples, suggestions and completion of the command line."""

import shlex
import subprocess
from pathlib import Path

import pytest

from howfar.commands.parser import ANSI, COMMANDS, EXAMPLES, GROUPS, STORE, parse

from ..test_cli import inside


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_overview_has_every_command_on_one_line_of_80_columns() -> None:
    code, shown, _ = inside("--help")
    assert (code, inside()[1], inside("-h")[1]) == (0, shown, shown)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    for title, group in GROUPS.items():
        first = lines.index(f"{title}:") + 1
        assert [line.split()[0] for line in lines[first : first + len(group)]] == list(group)
    assert [line.strip() for line in lines if line.startswith("  howfar ")] == list(EXAMPLES)
    code, shown, _ = inside("store")
    assert code == 0
    assert all(f"  {name.removeprefix('store ')} " in shown for name in STORE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_defaults_resolve_to_and_ends_with_two_examples(name: str) -> None:
    code, shown, _ = inside(*name.split(), "--help")
    assert code == 0
    text, _, examples = ANSI.sub("", shown).rpartition("\n\nExamples:\n")
    assert "None" not in text
    assert "STR" not in text.replace("[STORE]", "").replace("STRENGTH", "")
    assert "(default: False)" not in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("usage:")) <= 80
    assert [line.strip() for line in examples.splitlines()] == list(COMMANDS[name].examples)
    assert len(COMMANDS[name].examples) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_understood(name: str) -> None:
    for example in COMMANDS[name].examples:
        program, *arguments = shlex.split(example)
        assert program == "howfar"
        assert type(parse(arguments)) is COMMANDS[name]


def test_examples_of_the_overview_are_understood() -> None:
    for example in EXAMPLES:
        parse(shlex.split(example)[1:])


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("benhc", "unknown command 'benhc'. Did you mean 'bench'?"),
        ("store chek", "unknown command 'store chek'. Did you mean 'store check'?"),
        ("bench --model lenet5", "bench has no option '--model'. Did you mean '--models'? See howfar bench --help."),
        ("bench lenet5", "Unrecognized options: lenet5. See howfar bench --help."),
        ("generate --protectr em -o x", "generate has no option '--protectr'. Did you mean '--protector'?"),
        ("generate -p em", "Missing from howfar generate: -o PATH, --output PATH. See howfar generate --help."),
        ("bench --workers x", "howfar: --workers takes a whole number, not 'x'. See howfar bench --help."),
        ("bench --workers 1.5", "howfar: --workers takes a whole number, not '1.5'. See howfar bench --help."),
        ("landscape --share x", "howfar: --share takes a number, not 'x'. See howfar landscape --help."),
        ("protect x --strength foo", "unknown --strength 'foo'. Known: high, low, mid. See"),
        ("--tyro-print-completion fish", "there is no completion for 'fish'. Name one of: bash, zsh."),
        ("bench --workers", "Missing value for argument '--workers'."),
    ],
)
def test_wrong_usage_is_one_line_with_a_suggestion(command: str, says: str) -> None:
    code, shown, message = inside(*command.split())
    assert (code, shown, message.count("\n")) == (2, "", 1), message
    assert says in message.replace("FOLDER", "PATH")
    assert "None" not in message


def test_hyphens_and_underscores_are_the_same() -> None:
    assert parse(["bench", "--limit_train", "5"]) == parse(["bench", "--limit-train=5"])
    assert parse(["ablate_ud", "--dry_run"]) == parse(["ablate-ud", "--dry-run"])


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "howfar"
    assert inside("--tyro-write-completion", shell, str(script))[0] == 0
    text = script.read_text()
    assert all(name.removeprefix("store ") in text for name in COMMANDS)
    if shell == "bash":
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_suites_are_listed_and_shown() -> None:
    from howfar.grid.presets import ABOUT, SUITES

    assert ABOUT.keys() == SUITES.keys()
    code, shown, _ = inside("list", "suites")
    assert code == 0
    assert all(name in shown for name in SUITES)
    code, shown, _ = inside("show", "two-tasks")
    assert code == 0
    assert "rooms[size=32,train=2000,test=400]" in shown
    assert "airbench.epochs=10" in shown.replace("\n", "")

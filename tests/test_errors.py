"""Errors are one line, whatever names and messages of others stand in them."""

import pytest

from howfar.commands import terminal
from howfar.errors import HowfarError, UsageError, unknown
from howfar.store import DamagedError


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a cause. A fix.", "a cause. A fix."),
        ("a.png\nb.png is broken", "a.png b.png is broken"),
        ("lines:\n  - one\n\n  - two\r\n", "lines: - one - two"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("left\u202eright and \udcff", "left\\u202eright and \\udcff"),
        ("eps = 8/255, L∞, é", "eps = 8/255, L∞, é"),
    ],
)
def test_errors_are_one_line_without_control_characters(text: str, line: str) -> None:
    assert str(HowfarError(text)) == str(UsageError(text)) == line


def test_what_is_printed_gives_a_terminal_nothing_to_act_on(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("failed: \x1b[2Ja.png")
    terminal.show_table(["what"], [["\x1b[31mred"]])
    found = capsys.readouterr()
    assert "\x1b" not in found.out + found.err
    assert "failed: \\x1b[2Ja.png" in found.err
    assert "\\x1b[31mred" in found.out


def test_names_of_others_stay_on_the_line() -> None:
    assert str(unknown("model", "a\nb", ["linear"])).startswith("unknown model 'a b'")
    assert "\n" not in str(DamagedError("a/record.json", "one\ntwo"))

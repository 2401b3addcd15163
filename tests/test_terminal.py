"""What is drawn on a terminal of 80 columns."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from howfar.commands import progress, terminal
from howfar.commands.parser import ANSI
from howfar.protectors import Progress
from howfar.report.text_tables import TextTable


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "console_on", lambda _: Console(file=stream, width=80, force_terminal=True))
    return stream


def test_a_long_name_leaves_room_for_the_progress_bar(screen: io.StringIO) -> None:
    def work() -> Iterator[Progress]:
        for done in range(3):
            yield Progress(done, 3)

    progress.watch(work(), "airbench learns class_scene on refined-carriers / orthogonal-projection seed 0")  # type: ignore[arg-type]
    lines = [line for line in ANSI.sub("", screen.getvalue()).splitlines() if "airbench" in line]
    assert lines
    assert all("…" in line and "━" * 5 in line and ":" in line for line in lines)


def test_sentences_end_their_lines_between_words_and_examples_stay(screen: io.StringIO) -> None:
    terminal.tell(f"{'A sentence of words. ' * 8}\n\n    >>> code {'x' * 90}")
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines[:2])
    assert not any(line.rstrip().endswith(("sentenc", "wor")) for line in lines)
    assert f"    >>> code {'x' * 90}" in lines


def test_names_in_tables_are_neither_markup_nor_control_sequences(screen: io.StringIO) -> None:
    hostile = "[red]em[/red]\x1b[2J"
    terminal.show_tables([TextTable("title", ("protector",), [(hostile,)])])
    shown = ANSI.sub("", screen.getvalue())
    assert "[red]em[/red]" in shown
    assert "\x1b[2J" not in screen.getvalue()

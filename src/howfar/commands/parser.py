"""Arguments -> a command, with help, suggestions and shell completion."""

import contextlib
import inspect
import io
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields, make_dataclass
from typing import Annotated, Any, Union

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, arg, subcommand

from howfar.commands import terminal
from howfar.commands.ablate import AblateUd
from howfar.commands.audit import Audit
from howfar.commands.bench import Bench
from howfar.commands.common import Common
from howfar.commands.compare import Compare
from howfar.commands.generate import Export, Generate, Validate
from howfar.commands.inspect import Doctor, List, Show
from howfar.commands.landscape import Curvature, Landscape
from howfar.commands.protect import Protect
from howfar.commands.report import Leaderboard, Report, Submit
from howfar.commands.store import Check, ExportStore, Gc, ImportStore, Pack
from howfar.commands.trajectory import Trajectory
from howfar.commands.ud import Ud
from howfar.commands.verify import Verify
from howfar.commands.verify_row import VerifyRow
from howfar.errors import UsageError, in_one_line, lacking, unknown

GROUPS: dict[str, dict[str, type[Common]]] = {
    "Measure": {"bench": Bench, "ud": Ud, "leaderboard": Leaderboard, "report": Report},
    "Protect photographs": {"protect": Protect, "verify": Verify, "audit": Audit},
    "Look closer": {
        "landscape": Landscape, "curvature": Curvature, "trajectory": Trajectory, "ablate-ud": AblateUd,
    },
    "Share": {
        "generate": Generate, "validate": Validate, "export": Export, "submit": Submit, "verify-row": VerifyRow,
    },
    "Maintain": {"list": List, "show": Show, "doctor": Doctor, "compare": Compare},
}  # fmt: skip
STORE: dict[str, type[Common]] = {
    "store check": Check, "store gc": Gc, "store export": ExportStore, "store pack": Pack, "store import": ImportStore,
}  # fmt: skip
COMMANDS = {name: command for group in (*GROUPS.values(), STORE) for name, command in group.items()}
SHELLS = ("bash", "zsh")
HELP = {"-h", "--help"}
COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")
ABOUT = "Measure how far protected data is from being truly unlearnable."
EXAMPLES = ("howfar bench --quick", "howfar protect photos -o protected", "howfar show lsp")
NOTE = (
    "Settings of a method follow its name and a colon, as in lsp:eps=8/255,share=0.5. "
    "'howfar COMMAND --help' describes a command."
)
WIDEST = 100  # columns of help
RULE = re.compile(r"^(?:[╭╰].*|[│ ]*[─-]{5,}.*)$", re.MULTILINE)  # line in the box of an error
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def parse(arguments: list[str]) -> Common:
    """Return the command that arguments name, ready to be called.

    Raises:
        UsageError: for wrong usage; SystemExit: after help or a completion script was printed.
    """
    first, second = (*(word.replace("_", "-") for word in arguments[:2]), "", "")[:2]
    if first in {"", *HELP}:
        _show(_overview())
    if first in COMPLETION:
        if second not in SHELLS:
            raise UsageError(f"there is no completion for '{second}'. Name one of: {', '.join(SHELLS)}.")
        tyro.cli(union(), prog="howfar", args=arguments)
    if first == "store" and second in {"", *HELP}:
        _show(_commands({"Look after a store": STORE}, "howfar store"))
    name = f"store {second}" if first == "store" else first
    if name not in COMMANDS:
        raise unknown("command", name, [*COMMANDS, "store"])
    return _parsed(name, arguments[len(name.split()) :])


def listed(examples: Iterable[str]) -> str:
    """Return examples as help shows them."""
    return "\n".join(["Examples:", *(f"  {example}" for example in examples)])


def about(command: type[Common]) -> list[str]:
    """Return the paragraphs that describe a command; the first one is a line."""
    return [" ".join(part.split()) for part in inspect.cleandoc(command.__doc__ or "").split("\n\n")]


def _parsed(name: str, arguments: list[str]) -> Common:
    command, prog, printed = COMMANDS[name], f"howfar {name}", io.StringIO()
    _refuse_unknown_option(name, arguments)
    if HELP & {*arguments}:  # tyro would not break these lines
        terminal.out("".join(f"{textwrap.fill(part, _width())}\n\n" for part in about(command)).removesuffix("\n"))
    try:
        with contextlib.redirect_stderr(printed):
            parsed: Common = tyro.cli(
                command, prog=prog, description="", args=arguments, config=(FlagCreatePairsOff, DisallowNone)
            )
    except SystemExit as stop:
        if stop.code:
            raise UsageError(f"{_reason(printed.getvalue())} See {prog} --help.") from None
        terminal.out(f"\n{listed(command.examples)}")
        raise
    return parsed


def _refuse_unknown_option(name: str, arguments: list[str]) -> None:
    known = [*HELP, *(f"--{field.name.replace('_', '-')}" for field in fields(COMMANDS[name]))]
    for word in arguments:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise lacking(name, "option", flag, known, f"See howfar {name} --help.")


def _reason(box: str) -> str:
    """Return the message in a box of tyro, without its title, the help of options and the pointer to --help."""
    sections = RULE.split(ANSI.sub("", box))
    lines = [line[2:].rstrip("│ ") for line in sections[len(sections) > 1].splitlines()]
    text = in_one_line("\n".join(line for line in lines if not line.startswith(" " * 8)))
    text = re.sub(r"no type matching .* <class '\w+'>: ", "", text)  # of options that may be None
    text = text.replace("Expected 1 values", "Expected 1 value")
    text = text.replace("'None', ", "").replace(", 'None'", "")
    if choice := re.match(r"(?i)invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", text):
        return str(unknown(choice[2], choice[1], re.findall(r"'([^']*)'", choice[3])))
    text = re.sub(
        r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 takes a whole number, not \2", text
    )
    text = re.sub(r"Error parsing (\S+): could not convert string to float: (.*)", r"\1 takes a number, not \2", text)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _overview() -> str:
    groups = {title: dict(group) for title, group in GROUPS.items()}
    groups["Maintain"]["store"] = _Store
    return "\n\n".join([_commands(groups, "howfar", ABOUT), listed(EXAMPLES), textwrap.fill(NOTE, min(_width(), 80))])


def _commands(groups: Mapping[str, Mapping[str, type[Common]]], prog: str, text: str = "") -> str:
    """Return commands in groups, one line each where the terminal is 80 columns wide."""
    parts = [f"usage: {prog} COMMAND [OPTIONS]", *([textwrap.fill(text, _width())] if text else [])]
    for title, group in groups.items():
        lines = [
            textwrap.fill(
                about(command)[0].rstrip("."), _width(), subsequent_indent=" " * 15,
                initial_indent=f"  {name.removeprefix('store '):<13}",
            )
            for name, command in group.items()
        ]  # fmt: skip
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join(parts)


def _show(text: str) -> None:
    terminal.out(text)
    raise SystemExit(0)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)


class _Store(Common):
    """Check, clean up, export, pack or merge stores."""


def union() -> Any:
    """Return all commands as tyro's completion needs them."""
    store = [Annotated[command, subcommand(name.split()[1])] for name, command in STORE.items()]
    nested = make_dataclass("Store", [("do", Annotated[Union[tuple(store)], arg(name="")])])  # noqa: UP007
    tables = [Annotated[command, subcommand(name)] for name, command in COMMANDS.items() if name not in STORE]
    return Union[(*tables, Annotated[nested, subcommand("store")])]

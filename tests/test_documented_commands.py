"""Every fenced command, every fenced Python block and every fenced TOML of README and docs is tried, small."""

import argparse
import contextlib
import importlib
import io
import json
import re
import shlex
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from howfar.commands.catalog import TABLES
from howfar.commands.parser import COMMANDS
from howfar.models.published import ResNet
from howfar.store import Store

from .data.test_taskonomy import save
from .test_cli import inside

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md", "CONTRIBUTING.md", "results/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]  # fmt: skip
FENCE = re.compile(r"^(?P<margin> *)```(?P<language>[^\n]*)\n(?P<block>.*?)^(?P=margin)```", re.MULTILINE | re.DOTALL)
CLI = (ROOT / "docs" / "cli.md").read_text()
SHELL = ("sh", "bash", "console")
SHOWN = ("", "mermaid", "text", "json", "toml")  # blocks in these languages hold nothing to run
QUICK = "--epochs 2 --seeds 0 --limit-train 120 --limit-test 40 --workers 0"
PATHS = f"--dataset digits {QUICK} --models linear --protectors random --images 16 --runs paths"

# How a command of the docs is tried: the first pattern that it matches says what is added, so that it takes a second.
# What is added wins over what the command says. A command that matches nothing runs as it is.
SMALL: list[tuple[str, str]] = [
    (r"bench .*--watch", f"--dataset digits {QUICK} --models linear --protectors ops --defenses none --runs runs"),
    (r"bench --suite (paper|cifar10-core) .*--runs (runs|/)", "--models linear --defenses none --dry-run --runs dry"),
    (r"bench", "--dry-run --seeds 0 --runs dry"),
    (r"generate", "-p lsp -d digits --limit-train 60 --source-task classification"),
    (r"protect (?!--check)", "--side 16 --workers 1"),
    (r"verify", "--dry-run --runs dry-verify"),
    (r"ud clean", "--model resnet8[width=4] --runs trained"),
    (r"ud --clean", "--model resnet8[width=4] --size 16 --seeds 0 --epochs 2 --workers 0 --runs folders"),
    (r"ud ", "--runs trained"),
    (r"ablate-ud .*--data-root", "--dry-run --runs dry"),
    (
        r"ablate-ud",
        f"--dataset digits {QUICK} --protectors random --models lenet5 --epochs 1 --runs ablated --steps 1 "
        "--radius 0.02 --modes fast --images 32 --set probe_images=16",
    ),
    (r"trajectory", f"--dataset digits {QUICK} --models linear --protectors random --orders 2 --runs paths"),
    (r"landscape", f"{PATHS} --points 3"),
    (r"curvature", f"{PATHS} --top 1 --draws 2"),
    (r"audit", "--size 16"),
]
# Exit codes besides 0 that the docs promise: the verdict on images drawn here is not theirs.
CODES = {r"audit .*--require": (0, 4)}
NOTHING = "nothing"
# Names that stand for something of the reader's.
STANDS_FOR = {
    "...": NOTHING,
    "3fa2c1": "KEY-OF-CLEAN",
    "9b11d0": "KEY-OF-OTHER",
    "em:class": "random:class[eps=16/255]",
    "ops": "lsp",
}
# Commands within sentences: with these words in them, they are forms to fill in.
STANDS_FOR_ANY = re.compile(r"^[A-Z]{3,}$|…|\.\.\.|checkerboard|poison/|/shared|s3:")
WITHIN = re.compile(r"(?<!`)`(howfar\s[^`]+)`")
FLAGS = {
    name: set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    for name, text in re.findall(r"^## howfar ([a-z -]+)\n(.*?)(?=^## |\Z)", CLI, re.MULTILINE | re.DOTALL)
}
# Programs of others: what they start is tried, they themselves are not.
OTHERS = ("pip", "ray", "srun", "sleep", "jupyter")
EXTRA = re.compile(r"howfar\[([a-z0-9,]+)\]")
STARTERS = ("accelerate", "torchrun")
PYTHON = {
    "epochs=8": "epochs=1",
    '"epochs": 10': '"epochs": 1',
    'suite="quick"': 'suite="quick", limit_train=60, limit_test=20, train={"epochs": 1}',
    'defenses="none", seeds="0-1")': 'defenses="none", seeds=0, limit_train=60, limit_test=40, train={"epochs": 1})',
}
# Values that stand for a choice of the reader's in calls of benchmarks.
CHOICES = {"NAME": "judgement", "MODEL": "resnet8"}


def blocks_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of all fenced blocks of a page, also of those within lists."""
    for found in FENCE.finditer(text):
        yield found["language"].strip(), textwrap.dedent(found["block"])


def commands_in(language: str, block: str) -> Iterator[list[str]]:
    """Yield the arguments of all commands in a fenced block."""
    for line in block.replace("\\\n", " ").splitlines():
        if language != "console" or line.startswith("$ "):
            yield from _split(line.removeprefix("$ "))


def _split(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word != ";":
            command.append(word)
        elif command:
            yield command
            command = []


def arguments_of(command: list[str]) -> list[str]:
    """Return the arguments of ``howfar`` in a command; none where the command is another program's.

    A program that nobody has entered in the table above fails the test.
    """
    if command[0] == "make":
        assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        return []
    if command[0] in OTHERS or re.match(r"\w+=\$", command[0]):
        return []
    if command[0] in STARTERS:
        return command[command.index("howfar") + 1 :]
    assert command[0] == "howfar", f"{shlex.join(command)}: enter in this file how it is to be tried"
    return command[1:]


def small(arguments: list[str], keys: dict[str, str]) -> list[str]:
    """Return the arguments with what makes them quick."""
    known = [
        STANDS_FOR.get(word, word) if arguments[0] in ("ud", "landscape", "curvature") else word for word in arguments
    ]
    known = [keys.get(word, word) for word in known if word != NOTHING]
    text = " ".join(known)
    added = next((added for pattern, added in SMALL if re.match(pattern, text + " ")), "")
    return [*known, *shlex.split(added)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with everything that the docs take for granted, tiny."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("HOWFAR_DATA", str(folder / "data"))
        _images(folder)
        trained = (
            "bench --dataset digits --protectors lsp,random:class[eps=16/255] --models resnet8[width=4] "
            "--defenses none --seeds 0 --epochs 2 --limit-train 80 --limit-test 40 --set probe_images=16 --workers 0"
        )
        code, _, errors = inside(*trained.split(), "--runs", "trained")
        assert code == 0, errors
        yield folder


def _images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("photos", "cloaked", "suspect"):
        for label in ("cat", "dog", "owl", "yak"):
            (folder / name / label).mkdir(parents=True)
            for number in range(16):
                shade = rng.integers(40, 200, (6, 6, 3), dtype=np.uint8)
                picture = Image.fromarray(shade).resize((40, 32), Image.Resampling.BICUBIC)
                picture.save(folder / name / label / f"{number}.png")
    table = {}
    for part, count in (("train", 200), ("test", 40)):
        table[f"x_{part}"] = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        table[f"y_{part}"] = np.arange(count) % 10
    np.savez(folder / "cifar10.npz", **table)
    places = ("cifar100_sample.npz", "cifar100.npz", "suspect.npz", "data/cifar10/cifar10.npz")
    for place in (folder / name for name in places):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "cifar10.npz", place)
    maps = {
        f"seg_{part}": rng.integers(0, 11, table[f"x_{part}"].shape[:3], dtype=np.uint8) for part in ("train", "test")
    }
    for name in ("camvid", "camvid_96x128", "mine"):
        np.savez(folder / f"{name}.npz", **{key: table[key] for key in ("x_train", "x_test")}, **maps)
    for building in ("allensville", "beechwood"):
        for point in range(3):
            image = rng.integers(1, 250, (16, 16, 3), dtype=np.uint8)
            save(folder / "DIR", "rgb", building, point, image)
            save(folder / "DIR", "normal", building, point, image)
            for domain in ("depth_euclidean", "edge_texture"):
                save(folder / "DIR", domain, building, point, image[..., 0].astype(np.uint16) + 1)
    save(folder / "DIR", "rgb", "corozal", 0, image)
    _public(folder / "DIR")
    save_file(ResNet(4, (1, 1, 1, 1), bottleneck=False).state_dict(), folder / "weights.safetensors")


def _public(folder: Path) -> None:
    """Let a folder be the ``DIR`` of CIFAR-10 as well."""
    shutil.copy(folder.parent / "cifar10.npz", folder / "cifar10.npz")


@pytest.mark.parametrize("page", PAGES)
def test_fenced_blocks_run(page: str, desk: Path, tmp_path: Path) -> None:
    """The blocks of a page run one after the other in one folder, as a reader would run them."""
    blocks = [(language, block) for language, block in blocks_in((ROOT / page).read_text()) if language not in SHOWN]
    if not blocks:
        pytest.skip("nothing to run on this page")
    keys = _laid_out(tmp_path, desk)
    names: dict[str, object] = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path):
        for language, block in blocks:
            if language in SHELL:
                for command in commands_in(language, block):
                    _try(arguments_of(command), keys)
            else:
                assert language == "python", f"{page}: enter in this file how a block of {language} is tried"
                for long, short in PYTHON.items():
                    block = block.replace(long, short)
                exec(compile(block, page, "exec"), names)


def _laid_out(folder: Path, desk: Path) -> dict[str, str]:
    """Put everything that pages take for granted into a folder; return the keys of the victims there by placeholder."""
    for entry in desk.iterdir():
        (folder / entry.name).symlink_to(entry)
    for name in ("results", "examples"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("runs", "other"):
        shutil.copytree(desk / "trained", folder / name)
    victims = {record.spec["protector"]["name"]: record.key for record in Store(desk / "trained").records("victim")}
    return {"KEY-OF-CLEAN": victims["clean"][:8], "KEY-OF-OTHER": victims["lsp"][:8]}


def _try(arguments: list[str], keys: dict[str, str]) -> None:
    if not arguments:
        return
    # The name of a row follows from its runs, and those from the versions of what made them.
    keys |= {word: str(path) for word in arguments if word.startswith("rows/") for path in Path("rows").glob("*")}
    tried = small(arguments, keys)
    code, shown, message = inside(*tried)
    allowed = next((codes for pattern, codes in CODES.items() if re.match(pattern, " ".join(tried))), (0,))
    assert code in allowed, f"howfar {shlex.join(arguments)}\ntried as {shlex.join(tried)}\n{shown}\n{message}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_sentences_are_understood(page: str, desk: Path, tmp_path: Path) -> None:
    """Their flags exist, and what can be tried dry is: the commands of tables are too long for a block."""
    prose = FENCE.sub("", (ROOT / page).read_text())
    _laid_out(tmp_path, desk)
    with contextlib.chdir(tmp_path):
        for words in (shlex.split(span) for span in WITHIN.findall(prose)):
            name = next((name for name in (" ".join(words[1:3]), words[1]) if name in COMMANDS), None)
            assert name is not None, shlex.join(words)
            flags = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert flags <= FLAGS[name], shlex.join(words)
            dry = {"--dry-run", "--runs"} <= FLAGS[name]
            if dry and flags and not any(map(STANDS_FOR_ANY.search, words)):
                code, _, message = inside(*words[1:], "--dry-run", "--runs", "dry")
                assert code == 0, f"{shlex.join(words)}\n{message}"


@pytest.mark.parametrize("page", PAGES)
def test_fenced_toml_is_right(page: str) -> None:
    for language, block in blocks_in((ROOT / page).read_text()):
        if language == "toml":
            assert tomllib.loads(block), block


def test_extras_that_pages_and_messages_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = [ROOT / page for page in PAGES] + list((ROOT / "src").rglob("*.py"))
    named = {name for path in sources for names in EXTRA.findall(path.read_text()) for name in names.split(",")}
    assert named
    assert named <= extras.keys()


def test_every_kind_of_block_is_found() -> None:
    page = "- list:\n\n    ```sh\n    howfar a; howfar b \\\n      c\n    ```\n\n```console\n$ howfar d\nshown\n```\n"
    found = [command for language, block in blocks_in(page) for command in commands_in(language, block)]
    assert found == [["howfar", "a"], ["howfar", "b", "c"], ["howfar", "d"]]


def test_the_five_commands_that_take_no_flags_do_what_they_say(desk: Path) -> None:
    """Without flags they have a task, a defense and models that they can work with."""
    found = {}
    for command in ("bench --defenses worst --stop-when-broken", "ablate-ud", "trajectory", "landscape", "curvature"):
        code, shown, message = inside(*command.split(), "--dry-run", "--json", "--runs", "flagless")
        assert code == 0, (command, message)
        found[command.split()[0]] = json.loads(shown)
        if command.startswith("bench"):
            assert "left out: orthogonal-projection:momentum: it needs one class per image" in message
            assert "left out: dfr: it needs one class per image" in message
    labels = {name: " ".join(step["step"] for step in plan["todo"]) for name, plan in found.items()}
    assert "airbench:32-64-128 learns class_scene on em / dfr seed 1" in labels["bench"]
    assert "unet:24-48-96 learns segment_semantic on em / jpeg seed 1" in labels["bench"]
    assert "learns segment_semantic on em / dfr" not in labels["bench"]
    for name in ("ablate-ud", "trajectory", "landscape", "curvature"):
        assert "lenet5 on em[eps=16/255] / none seed 0" in labels[name]
        assert "jpeg" not in labels[name]
    assert "order 2" in labels["trajectory"]


@pytest.mark.parametrize("command", ["trajectory", "landscape", "curvature", "ablate-ud"])
def test_of_a_suite_with_several_the_first_is_taken_and_of_flags_none_is_dropped(command: str, desk: Path) -> None:
    """CIFAR-10's suite has two defenses."""
    how = (command, "--dataset", "cifar10", "--dry-run", "--json", "--runs", "flagless")
    code, shown, message = inside(*how)
    assert code == 0, message
    assert not any("jpeg" in step["step"] for step in json.loads(shown)["todo"])
    code, _, message = inside(*how, "--defenses", "none,jpeg")
    assert code == 2
    assert "Choose one" in message


class _ParsedError(Exception):
    """The arguments were understood."""


def _benchmarks() -> Iterator[tuple[str, str]]:
    call = re.compile(r"python ((?:benchmarks|studies)/(\w+)\.py[^`]*)`")
    for page in PAGES:
        for text, name in call.findall((ROOT / page).read_text()):
            yield name, " ".join(text.split())


def test_benchmarks_and_studies_that_the_docs_name_take_the_arguments_that_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in ("benchmarks", "studies"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    parse: Callable[..., argparse.Namespace] = argparse.ArgumentParser.parse_args

    def understood(self: argparse.ArgumentParser) -> NoReturn:
        parse(self)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", understood)
    calls = sorted(set(_benchmarks()))
    assert len(calls) > 20
    tables = [set(each) for each in TABLES.values()]
    for name, text in calls:
        script, *arguments = (CHOICES.get(word, word) for word in shlex.split(text))
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.suppress(_ParsedError):
            try:
                importlib.import_module(name).main()
            except SystemExit:
                pytest.fail(f"python {text}: {errors.getvalue()}")
            else:
                pytest.fail(f"python {text}: takes no arguments")
    assert tables == [set(each) for each in TABLES.values()]  # none of them registers entries when imported

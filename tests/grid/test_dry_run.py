"""A dry run says what would be done, and writes nothing at all."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from howfar.commands.parser import COMMANDS
from howfar.grid.overrides import make_suite
from howfar.store import Store, open_store
from howfar.store.index import NAME
from howfar.store.seal import sealed, unsealed

from ..test_cli import TINY, inside

GRID = ["--dataset", "digits", "--models", "linear", "--protectors", "lsp", "--seeds", "0", "--epochs", "1",
        "--limit-train", "60", "--limit-test", "30"]  # fmt: skip
DRY = {
    "bench": [*GRID, "--defenses", "none"],
    "protect": ["photos", "-o", "out"],
    "verify": ["photos", "copies"],
    "ablate-ud": [*GRID, "--models", "lenet5"],
    "trajectory": GRID,
    "landscape": GRID,
    "curvature": GRID,
    "generate": ["--dataset", "digits", "-p", "lsp", "-o", "out"],
    "store gc": ["kept", "--failed", "--arrays", "--damaged", "--drafts"],
    "submit": ["kept", "-o", "out"],
    "verify-row": ["row.json"],
    "store pack": ["kept", "-o", "packed.jsonl.xz"],
}


def state(folder: Path) -> dict[str, int]:
    """Return when every file and folder was changed."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with finished work, a failed step and something left over."""
    runs = tmp_path_factory.mktemp("store") / "runs"
    code, _, message = inside(*TINY, "--runs", str(runs))
    assert code == 0, message
    (runs / NAME).unlink()
    (runs / "protect" / ".0.draft").mkdir()
    return runs


def test_every_command_with_a_dry_run_is_listed_here() -> None:
    dry = {name for name, command in COMMANDS.items() if "dry_run" in {field.name for field in fields(command)}}
    assert dry == set(DRY)


@pytest.mark.parametrize("command", DRY)
@pytest.mark.parametrize("begun", [False, True])
def test_a_dry_run_writes_nothing(
    command: str, begun: bool, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where nothing is, nor in a store that is there, without its index."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "data"))
    if begun or "kept" in DRY[command]:
        shutil.copytree(kept, tmp_path / "kept")
    for place in range(40):
        path = tmp_path / "photos" / f"kind {place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(path)
    shutil.copytree(tmp_path / "photos", tmp_path / "copies")
    if command == "verify-row":
        assert inside("submit", str(kept), "-o", str(tmp_path / "rows"))[0] == 0
        next((tmp_path / "rows").iterdir()).rename(tmp_path / "row.json")
        (kept / NAME).unlink(missing_ok=True)
    has_runs = "runs" in {field.name for field in fields(COMMANDS[command])} and "kept" not in DRY[command]
    before = state(tmp_path)
    runs = ["--runs", "kept" if begun else "new"] if has_runs else []
    code, out, message = inside(*command.split(), *DRY[command], *runs, "--dry-run")
    assert code == 0, message
    assert out + message
    assert state(tmp_path) == before


def test_a_dry_run_needs_no_right_to_write(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is root perhaps, to whom everything may be written: the attempt alone counts."""
    shutil.copytree(kept, tmp_path / "kept")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("read-only")

    for name in ("mkdir", "touch", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "replace", refuse)
    store = open_store(tmp_path / "kept", reading=True)
    assert len(store.records("victim")) == 2
    assert store.recognized
    assert store.claims() == []


def test_a_dry_run_of_a_url_writes_nothing_there_nor_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWFAR_DATA", str(tmp_path / "data"))
    url = f"memory://{tmp_path.name}/runs"
    assert inside("bench", *DRY["bench"], "--runs", url, "--dry-run")[0] == 0
    assert not fsspec.filesystem("memory").exists(f"/{tmp_path.name}")
    assert not (tmp_path / "data").exists()


def test_a_store_that_is_open_for_reading_keeps_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs", reading=True)
    assert (store.steps(), store.records("victim"), store.find("victim", "0" * 20)) == ([], [], None)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", [["store", "check"], ["leaderboard"], ["store", "gc"]])
def test_an_empty_folder_does_not_become_a_store_by_being_looked_at(command: list[str], tmp_path: Path) -> None:
    code, _, message = inside(*command, str(tmp_path))
    assert (code, "is no store" in message) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_watching_makes_no_store(tmp_path: Path) -> None:
    assert inside("bench", *DRY["bench"], "--runs", str(tmp_path / "new"), "--watch", "--json")[0] == 0
    assert not (tmp_path / "new").exists()


HEAVY = (
    "accelerate", "diffusers", "jinja2", "matplotlib", "pandas", "pebble", "plotly", "pyarrow", "ray", "scipy",
    "sklearn", "torch._dynamo", "torch._inductor", "torchmetrics", "transformers",
)  # fmt: skip
LOADED = """
import contextlib, os, sys
from howfar.cli import main
with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.suppress(SystemExit):
    main({arguments!r})
print(*(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    "command", [name for name in DRY if "kept" not in DRY[name] and name not in ("protect", "verify-row")]
)
def test_a_dry_run_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    """What draws, computes scores or works in other processes is loaded when that begins."""
    for place in range(40):
        path = tmp_path / "photos" / f"kind {place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(path)
    shutil.copytree(tmp_path / "photos", tmp_path / "copies")
    _loads_nothing_heavy([*command.split(), *DRY[command]], tmp_path)


def test_a_dry_run_of_the_default_renders_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _loads_nothing_heavy(["bench"], tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a room was rendered")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("howfar.data.rooms.load"), "render", refuse)
    code, _, message = inside("bench", "--dry-run")
    assert code == 0, message


def _loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = LOADED.format(arguments=[*arguments, "--dry-run"], heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        (
            "--seeds",
            "",
            "seeds are empty, so there is nothing to run. Name at least one, e.g. 0-2, or omit the flag",
        ),
        ("--seeds", "3-1", "seeds '3-1': 3-1 counts down, so it names none. Write 1-3."),
        ("--seeds", "0,4 - 2", "4 - 2 counts down, so it names none. Write 2-4."),
        ("--seeds", "a", "seeds 'a': 'a' is not a seed. Write whole numbers from 0, e.g. 0-4 or 0,7."),
        ("--seeds", "1-", "'1-' is not a seed"),
        ("--seeds", "-1", "'-1' is not a seed"),
        ("--protectors", "", "protectors are empty"),
        ("--models", " , ", "models are empty"),
        ("--defenses", "", "defenses are empty"),
        ("--tasks", "", "tasks are empty"),
        ("--source-tasks", "", "source tasks are empty"),
    ],
)
def test_lists_that_name_nothing_say_what_to_write(flag: str, value: str, says: str, tmp_path: Path) -> None:
    code, _, message = inside("bench", *GRID, f"{flag}={value}", "--runs", str(tmp_path / "new"), "--dry-run")
    assert code == 2
    assert says in " ".join(message.split())
    assert "Value should" not in message


def test_seeds_may_be_written_in_any_of_three_ways() -> None:
    for seeds, found in (("0-2,5", [0, 1, 2, 5]), ("4", [4]), (7, [7]), ([1, 3], [1, 3])):
        suite = make_suite("digits", {"seeds": seeds})
        assert list(suite.seeds) == found


@pytest.mark.parametrize("digests", [{}, {"test": "0" * 20}, {"train": 1, "test": 2}, "none", None])
def test_a_dry_run_passes_over_a_note_without_digests(digests: object, kept: Path, tmp_path: Path) -> None:
    place = shutil.copytree(kept, tmp_path / "odd")
    for path in place.glob("data/*/record.json"):
        members = json.loads(unsealed(path.read_bytes()))
        members["result"] = {"digests": digests}
        path.write_text(sealed(json.dumps(members, separators=(",", ":"))))
    code, out, message = inside(*TINY, "--dry-run", "--runs", str(place))
    assert code == 0, message
    assert "0 in the store" in message + out

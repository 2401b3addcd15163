"""The second half of the campaign: whole calls of the command line in a small world that changes between them."""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from campaign_tools import Counts, apart
from tests.security.commands import Draw, known_parts
from tests.security.judge import judged_page, made
from tests.security.seeds import howfar
from tests.security.values import WEIGHTS
from tests.security.world import disturbed, fresh, stamps, template

GRID = ("--dataset", "npz:../in/t.npz", "--models", "linear", "--defenses", "none", "--epochs", "1", "--workers", "0")
WARM = (
    ("report", "runs"), ("leaderboard", "runs"), ("compare", "runs", "other"), ("doctor",), ("audit", "../in/u.npz"),
    ("landscape", *GRID, "--points", "3", "--images", "8", "--save", "x.png"), ("curvature", *GRID, "--images", "8"),
    ("trajectory", *GRID, "--orders", "2"), ("ablate-ud", *GRID, "--dry-run"), ("validate", "../in/set"),
    ("store", "export", "x.parquet"), ("bench", "--bogus"), ("verify", "../in/many", "../in/hidden", "--dry-run"),
)  # fmt: skip
EPISODE = 20  # calls in one world
PIECE = 5  # episodes a process
TRACES = 3  # of one kind of fault that are kept


def run(calls: int, seed: int, counts: Counts, say: Callable[[str], None]) -> int:
    """Make so many calls in all, those included that the counts hold already; returns how many did what they may not.

    Args:
        calls: of all commands together.
        seed: of all of them.
        counts: of what was done before; they are kept as the campaign goes on.
        say: prints a line.
    """
    place = template()
    surroundings(place.parent / "world")
    for words in WARM:  # what they import is there before processes are split off
        fresh()
        howfar(*words)
    shown = time.monotonic()
    while counts.done["calls"] < calls:
        first = counts.done["calls"] // EPISODE
        begun = time.monotonic()
        result, last, peak = apart(partial(episodes, range(first, first + PIECE), seed))
        counts.done["calls"] += PIECE * EPISODE
        counts.peak, counts.seconds = max(counts.peak, peak), counts.seconds + time.monotonic() - begun
        if result is None:
            counts.note("faults", "killed the process")
            counts.note("traces", f"episode {last // EPISODE}, call {last % EPISODE}, seed {seed}: killed the process")
        for name, number in (result or {}).get("found", {}).items():
            counts.found[name] += number
        for kind, each in (result or {}).get("notes", {}).items():
            for name, number in each.items():
                if (
                    kind != "traces"
                    or sum(name.splitlines()[0] == k.splitlines()[0] for k in counts.notes.get(kind, {})) < TRACES
                ):
                    counts.note(kind, name, number)
        slow = (result or {}).get("slowest", (0.0, ""))
        counts.slowest = max(counts.slowest, tuple(slow))
        counts.save()
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            say(f"{counts.done['calls']} calls, {sum(counts.notes.get('faults', {}).values())} faults")
    return sum(counts.notes.get("faults", {}).values())


def again(numbers: Sequence[int], seed: int) -> list[str]:
    """Play some episodes again; returns what was found."""
    surroundings(template().parent / "world")
    return sorted(episodes(numbers, seed, lambda number: None)["notes"]["traces"])


def surroundings(world: Path) -> None:
    """Let everything that a call may look for be inside the world."""
    os.environ.update(HOME=str(world / "home"), HOWFAR_DATA=str(world / "data"), TMPDIR=str(world / "tmp"),
        HOWFAR_NO_UPDATE="1",
                      MPLCONFIGDIR=str(world / "tmp"), XDG_CACHE_HOME=str(world / "home"))  # fmt: skip
    tempfile.tempdir = str(world / "tmp")


def episodes(numbers: Sequence[int], seed: int, mark: Callable[[int], None]) -> dict[str, Any]:
    """Play episodes, each in a fresh world, and return what came of their calls."""
    found: dict[str, int] = {}
    notes: dict[str, dict[str, int]] = {"faults": {}, "traces": {}, "seen": {}, "disturbed": {}, "milliseconds": {}}
    slowest: tuple[float, str] = (0.0, "")
    for number in numbers:
        dice = random.Random(f"{seed} episode {number}")
        world, draw = fresh(), Draw(dice)
        before = stamps(world)
        originals = {path for path, stamp in before.items() if stamp != (-1,) and not _own(path)}
        for turn in range(EPISODE):
            if turn and dice.random() < 0.35:
                known = stamps(world)
                add(notes["disturbed"], disturbed(world, dice))
                fresh_ones = {
                    path for path, stamp in stamps(world).items() if known.get(path) != stamp and stamp != (-1,)
                }
                originals |= {path for path in fresh_ones if not _own(path)}
            words = draw.call()
            mark(number * EPISODE + turn)
            os.chdir(world / "here")
            call = made(words, world, originals)
            if call.code == 0 and words[0] in ("leaderboard", "bench", "report") and dice.random() < 0.3:
                call.faults += judged(words)
            command = next((name for name in WEIGHTS if words[: len(name.split())] == name.split()), "none")
            add(found, f"{command}: {'-' if call.code is None else call.code}")
            notes["milliseconds"][command] = notes["milliseconds"].get(command, 0) + round(1000 * call.seconds)
            slowest = max(slowest, (round(call.seconds, 2), " ".join(words)))
            for fault in call.faults:
                add(notes["faults"], f"{command}: {fault}")
                text = (
                    f"{command}: {fault}\nepisode {number} turn {turn} seed {seed}\n{json.dumps(words)}\n{call.code}\n"
                )
                add(notes["traces"], text + call.errors[-1500:] + call.trace[-2500:])
            if os.fsencode(world / "bystanders") not in stamps(world):
                break
        for part in draw.seen:
            add(notes["seen"], part)
    return {"found": found, "notes": notes, "slowest": slowest}


def judged(words: list[str]) -> list[str]:
    """Return where the verdict on a store says more than its numbers."""
    from howfar.errors import HowfarError
    from howfar.store import open_store
    from howfar.tables import collect

    place = words[1] if words[0] != "bench" and len(words) > 1 and not words[1].startswith("-") else "runs"
    try:
        store = open_store(place, reading=True)
        return list(judged_page(collect(store, brief=True))) if store.recognized else []
    except (HowfarError, OSError):
        return []


def add(counts: dict[str, int], name: str) -> None:
    """Count one more."""
    counts[name] = counts.get(name, 0) + 1


def _own(path: bytes) -> bool:
    """Return whether howfar made a file: what lies in stores and in its outputs, besides notes of others."""
    places = (b"/here/", b"/in/set/", b"/in/hidden/", b"/in/exported/", b"/in/rows/", b"/in/packed")
    return any(place in path for place in places) and not path.endswith(b"notes.txt")


def table(counts: Counts) -> str:
    """Return a table in Markdown of what was tried."""
    codes = ("0", "1", "2", "3", "4", "-")
    lines = [
        "| command | calls | " + " | ".join(f"exit {code}" for code in codes[:-1]) + " | faults |",
        "| - |" + " -: |" * 7,
    ]
    for name in WEIGHTS:
        by_code = [counts.found[f"{name}: {code}"] for code in codes]
        faults = sum(n for what, n in counts.notes.get("faults", {}).items() if what.startswith(f"{name}: "))
        lines.append(
            f"| `{name}` | {sum(by_code):,} | " + " | ".join(f"{n:,}" for n in by_code[:-1]) + f" | {faults or '–'} |"
        )
    known, seen = known_parts(), set(counts.notes.get("seen", {}))
    lines.append(
        f"\n{len(known & seen)} of {len(known)} flags and settings drawn; never: {sorted(known - seen) or 'none'}"
    )
    for what, number in sorted(counts.notes.get("faults", {}).items()):
        lines.append(f"FAULT {number} × {what}")
    return "\n".join(lines)

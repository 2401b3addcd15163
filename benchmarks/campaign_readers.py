"""The first half of the campaign: files and texts, right but for some changes, to everything that reads them."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from campaign_tools import Counts, apart
from tests.security.fuzz import CORPUS, FINE, folder_of, input_of, outcome, smallest
from tests.security.readers import READERS
from tests.security.seeds import room
from tests.security.structured import INPUTS, tried

PIECE = 2000  # inputs a process
SHARE = 0.03  # of all inputs that Hypothesis draws: each takes ten times as long
KEPT = 3  # files of one kind


def run(inputs: int, seed: int, counts: Counts, say: Callable[[str], None]) -> int:
    """Try so many inputs in all, those included that the counts hold already; returns how many escaped.

    Args:
        inputs: over all readers.
        seed: of all of them.
        counts: of what was done before; they are kept as the campaign goes on.
        say: prints a line.
    """
    room("x").parent.mkdir(exist_ok=True)
    weights = {name: reader.weight for name, reader in READERS.items()}
    drawn = {name: entry.weight for name, entry in INPUTS.items()}
    shown = time.monotonic()
    for name, target in [
        *shares(weights, round(inputs * (1 - SHARE))), *shares(drawn, round(inputs * SHARE))
    ]:  # fmt: skip
        whole = READERS[name].seed() if name in READERS else b""
        while counts.done[name] < target:
            start, count = counts.done[name], min(PIECE, target - counts.done[name])
            begun = time.monotonic()
            kind = partial(mutations, name, whole) if name in READERS else partial(drawings, name)
            result, last, peak = apart(partial(tallied, partial(kind, start, count, seed)))
            if result is None:  # the process is gone
                found, escaped = {"killed the process": 1}, [("killed", last)]
                count = max(last - start + 1, 1)
            else:
                found, escaped = result
            counts.done[name] += count if name in READERS or result is None else sum(found.values())
            for what, number in found.items():
                counts.found[f"{name}: {what}"] += number
            for what, value in escaped:
                keep(name, what, value, whole, seed)
            counts.peak, counts.seconds = max(counts.peak, peak), counts.seconds + time.monotonic() - begun
            counts.save()
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                say(f"{sum(counts.done.values())} inputs, {bad(counts)} escaped; at {name}")
    return bad(counts)


def shares(weights: dict[str, float], inputs: int) -> Iterator[tuple[str, int]]:
    """Yield how many inputs everything gets."""
    for name, weight in weights.items():
        yield name, math.ceil(inputs * weight / sum(weights.values()))


def tallied(steps: Callable[[], Iterator[tuple[int, str, Any]]], mark: Callable[[int], None]) -> Any:
    """Return how often everything came out, and the first inputs that escaped."""
    found: Counter[str] = Counter()
    escaped: list[Any] = []
    for number, what, value in steps():
        mark(number)
        if what:
            found[what] += 1
            if what not in FINE and sum(other == what for other, _ in escaped) < KEPT:
                escaped.append((what, value))
    return [found, escaped]


def mutations(name: str, whole: bytes, start: int, count: int, seed: int) -> Iterator[tuple[int, str, Any]]:
    """Yield number, outcome and number of inputs of a reader; the number once before and once after each."""
    folder = room("x").parent
    for number in range(start, start + count):
        yield number, "", None
        yield number, outcome(READERS[name], input_of(name, number, seed, whole), folder), number


def drawings(name: str, start: int, count: int, seed: int) -> Iterator[tuple[int, str, Any]]:
    """Yield the same of inputs that Hypothesis draws; what escaped comes with its value."""
    yield start, "", None
    counts, escaped = tried(name, count, seed * 1_000_003 + start)
    for what, number in counts.items():
        for place in range(number):
            last = what not in FINE and place == 0 and escaped is not None and escaped[0] == what
            yield start, what, escaped[1] if last and escaped else None


def keep(name: str, what: str, value: Any, whole: bytes, seed: int) -> None:
    """Keep what escaped, as small as it gets, where the tests find it."""
    if value is None:
        return
    if name in READERS:
        place = CORPUS / folder_of(name)
        raw = input_of(name, value, seed, whole)
        small = raw if what == "killed" else smallest(READERS[name], raw, what, room("x").parent)
        content, end = small, ""
    else:
        place = CORPUS / name.replace(" ", "-")
        content, end = json.dumps(value).encode(), ".json"
    known = [path.read_bytes() for path in sorted(place.glob(f"{what}-*{end}"))]
    if content in known or len(known) >= KEPT:
        return
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{what.replace(' ', '-')}-{len(known) + 1}{end}").write_bytes(content)


def bad(counts: Counts) -> int:
    """Return how many inputs escaped."""
    return sum(number for what, number in counts.found.items() if what.rpartition(": ")[2] not in FINE)


def table(counts: Counts) -> str:
    """Return a table in Markdown of what was tried."""
    lines = ["| what is read | inputs | read | refused | anything else |", "| - | -: | -: | -: | - |"]
    for name in [*READERS, *INPUTS]:
        found = {what.rpartition(": ")[2]: n for what, n in counts.found.items() if what.rpartition(": ")[0] == name}
        others = ", ".join(f"{n} {what}" for what, n in sorted(found.items()) if what not in FINE)
        done, ok, no = counts.done[name], found.get("read", 0), found.get("refused", 0)
        lines.append(f"| {name} | {done:,} | {ok:,} | {no:,} | {others or '–'} |")
    return "\n".join(lines)


def corpus() -> list[Path]:
    """Return all files that escaped once."""
    return sorted(path for path in CORPUS.glob("*/*") if path.is_file())

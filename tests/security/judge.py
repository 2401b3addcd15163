"""What a call of the command line may come to: exit codes, one-line errors, honest JSON, and nothing else changed."""

import io
import json
import math
import os
import re
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from howfar.cli import main
from howfar.errors import HowfarError

from .fuzz import TooLongError
from .world import Stamps, changed, stamps

SECONDS, BUSY = 60.0, 150.0  # of a processor that a call may take, and of a clock where others take it too
CODES = (0, 1, 2, 3, 4)
OUTPUTS = ("--output", "-o", "--runs", "--html", "--save", "--data-root")  # the last for what rooms draws
DEFAULTS = (
    "runs.jsonl.xz",
    "runs",
    "verify",
    "rows",
    "report.html",
    "ud.html",
)  # where commands write in the folder they stand in
INTERNAL = re.compile(
    r"\b(Type|Key|Index|Attribute|Assertion|ZeroDivision|Unicode\w*|Recursion|Name|UnboundLocal|NotImplemented)Error\b"
    r"|object is not|has no attribute|index out of range|unsupported operand|invalid literal|not subscriptable"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass
class Call:
    """What came of a call.

    Attributes:
        words: its arguments.
        code: exit code; None where it did not end with one.
        out: what it printed.
        errors: what it printed on the error stream.
        seconds: of the processor that it took.
        faults: what may not be, each with a short name first.
        trace: of what escaped.
    """

    words: list[str]
    code: int | None = None
    out: str = ""
    errors: str = ""
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    trace: str = ""


def made(words: list[str], world: Path, originals: set[bytes]) -> Call:
    """Make a call and judge it.

    Args:
        words: its arguments.
        world: everything there is; see ``world.fresh``.
        originals: files that howfar did not make.
    """
    call, before = Call(words), stamps(world)
    output, errors = io.StringIO(), io.StringIO()
    handler = signal.signal(signal.SIGALRM, _too_long)
    start = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, BUSY)
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            main(list(words))
        call.faults.append("no exit code")
    except SystemExit as stop:
        call.code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except (Exception, KeyboardInterrupt, TooLongError) as error:
        if not ("--debug" in words and isinstance(error, HowfarError | OSError)):
            call.faults.append(f"escaped: {_where(error)}")
            call.trace = "".join(traceback.format_exception(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    call.seconds = time.process_time() - start
    if call.seconds > SECONDS:
        call.faults.append("too long")
    call.out, call.errors = output.getvalue(), errors.getvalue()
    call.faults += [*_ended(call), *_messages(call), *_touched(call, before, stamps(world), world, originals)]
    return call


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError


def _where(error: BaseException) -> str:
    own = [each for each in traceback.extract_tb(error.__traceback__) if "/src/howfar/" in each.filename]
    place = f"{own[-1].filename.rpartition('/src/howfar/')[2]}:{own[-1].lineno}" if own else "elsewhere"
    return f"{type(error).__name__} at {place}"


def _ended(call: Call) -> Iterator[str]:
    """Yield what is wrong with the end of a call: its code, and what it says of it."""
    if call.code is None:
        return
    if call.code not in CODES:
        yield f"exit code {call.code}"
    lines = [line for line in call.errors.splitlines() if line.strip()]
    told = [place for place, line in enumerate(lines) if line.startswith("howfar: ")]
    usage = call.code == 2 and not told
    if told and (len(told) > 1 or told[0] != len(lines) - 1):
        yield "error in several lines"
    if told and call.code not in (1, 2):
        yield f"an error, and exit code {call.code}"
    if usage and not ("help" in call.errors or "help" in call.out):
        yield "exit code 2 without a word"
    if not call.code and not told and "Traceback" in call.errors + call.out:
        yield "traceback"
    if not usage and re.search(r"site-packages|\w+Warning:", call.errors):
        leaked = re.search(r"[^/ ]+: [A-Za-z]*Warning", call.errors)
        yield f"warning: {leaked[0] if leaked else 'another'}"
    if not usage and (control := CONTROL.search(call.errors + call.out)):
        call.trace += repr((call.errors + call.out)[max(control.start() - 200, 0) : control.end() + 200])
        yield "control characters"
    for line in lines:
        if line.startswith(("failed: ", "howfar: ", "broken: ")) and INTERNAL.search(line):
            yield f"internal words: {INTERNAL.search(line)[0]}"  # type: ignore[index]


def _messages(call: Call) -> Iterator[str]:
    """Yield what is wrong with JSON that a call printed, and where exit code and output disagree."""
    words, command = call.words, " ".join(call.words[:2] if call.words[:1] == ["store"] else call.words[:1])
    if (
        call.code is None
        or "--json" not in words
        or "--help" in words
        or "howfar: " in call.errors
        or not call.out.strip()
    ):
        return
    if call.code == 2:
        return
    try:
        found = json.loads(call.out, parse_constant=_refuse)
    except ValueError:
        yield "no JSON"
        return
    yield from _intervals(found)
    code = {
        "validate": lambda: bool(found["faults"]), "compare": lambda: bool(found),
        "store check": lambda: any(each["harm"] for each in found),
    }.get(command)  # fmt: skip
    if command == "protect" and "--check" in words:
        code = lambda: bool(found)  # noqa: E731
    if code is not None and code() != bool(call.code):
        yield "exit code and output disagree"
    if command == "audit":
        yield from _audited(call, found)
    if command == "verify" and "verdict" in found:
        yield from _verified(found)


def _refuse(text: str) -> None:
    raise ValueError(text)


def _intervals(value: Any) -> Iterator[str]:
    """Yield where a value lies outside its own interval."""
    if isinstance(value, list):
        for each in value:
            yield from _intervals(each)
    if not isinstance(value, dict):
        return
    for name in value:
        stem = "" if name == "low" else name.removesuffix("_low") if name.endswith("_low") else None
        if stem is None:
            continue
        low, high = value[name], value.get(f"{stem}_high" if stem else "high")
        middle = value.get(stem or "value", value.get("retention"))
        numbers = [each for each in (low, middle, high) if isinstance(each, int | float)]
        if len(numbers) == 3 and not (low - 1e-9 <= middle <= high + 1e-9):
            yield f"{stem or 'value'} outside its interval"
        if (low is None) != (high is None):
            yield f"{stem or 'value'} has half an interval"
    for each in value.values():
        yield from _intervals(each)


def _audited(call: Call, found: dict[str, Any]) -> Iterator[str]:
    from howfar.audit import calibrated

    protected, wanted = found["protected"], _value(call.words, "--require")
    if (protected is None) != bool(found["why_open"]):
        yield "a verdict with a reason to give none"
    if protected is not None and protected != (found["suspicion"] > calibrated().threshold):
        yield "a verdict against its suspicion"
    met = wanted is None or protected is (wanted == "protected")
    if (call.code == 0) != met:
        yield "exit code and requirement disagree"


def _verified(found: dict[str, Any]) -> Iterator[str]:
    """Yield where the verdict says more than the interval of the retention."""
    first = found["verdict"][0]
    loss = next((each for each in found["losses"] if each["task"] == "classification"), None)
    kept = (loss or {}).get("retention") or {}
    low, high = kept.get("low"), kept.get("high")
    if first.startswith("The protection holds") and (high is None or high > 0.5):
        yield "holds against its interval"
    if first.startswith("There is no measurable protection") and (low is None or low < 0.85):
        yield "no protection against its interval"


def judged_page(page: Any) -> Iterator[str]:
    """Yield sentences of a page's verdict that its numbers do not bear out."""
    from howfar.report.verdict import reason, sentence
    from howfar.tables.decisions import BROKEN

    for one in page.verdicts:
        kept, outcome = one.decision.retention, one.decision.outcome
        ends = kept.ends if kept else None
        if outcome == "holds" and (one.seeds < 2 or ends is None or ends[1] >= BROKEN):
            yield "holds, with an interval that does not lie below the threshold"
        if outcome == "does not hold" and (one.seeds < 2 or ends is None or ends[0] <= BROKEN):
            yield "does not hold, with an interval that does not lie above the threshold"
        if (outcome == "cannot tell") != bool(one.decision.lack):
            yield "cannot tell, without what would decide it, or the other way around"
        if re.search(r"\bnan\b|\binf\b", sentence(one) + reason(one)):
            yield "a verdict with nan"
    rows = [(group, row) for group in page.groups for row in group.rows if row.protector != "clean"]
    for profile in page.profiles:
        for name, worst in profile.worst.items():
            ends = (worst.kept.low, worst.kept.value, worst.kept.high)
            if None not in ends and not ends[0] - 1e-9 <= ends[1] <= ends[2] + 1e-9:
                yield f"kept of {name} outside its interval"
    if not 0 < BROKEN < 1 or any(math.isnan(row.drop.value) for _, row in rows):
        yield "a drop that is nan"


def _value(words: list[str], flag: str) -> str | None:
    return words[words.index(flag) + 1] if flag in words[:-1] else None


def _touched(call: Call, before: Stamps, after: Stamps, world: Path, originals: set[bytes]) -> Iterator[str]:
    """Yield what was changed outside the folders that the call names, and files of others that were changed."""
    here = world / "here"
    words = call.words
    named = [words[place + 1] for place, word in enumerate(words[:-1]) if word in OUTPUTS]
    if words[:1] in (["store"], ["leaderboard"], ["submit"], ["report"], ["compare"]):  # a reader keeps an index there
        named += [word for word in words if not word.startswith("-")]
    places = [os.fsencode(place.removeprefix("file://")) for place in (*DEFAULTS, *named)]
    chosen = {os.path.normpath(os.path.join(os.fsencode(here), place)) for place in places}  # noqa: PTH118  # bytes
    chosen |= {os.path.realpath(place) for place in chosen}
    free = {os.fsencode(world / "data"), os.fsencode(world / "tmp")}
    for path in changed(before, after):
        inside = any(path == place or path.startswith(place + b"/") for place in chosen)
        scratch = any(path == place or path.startswith(place + b"/") for place in free)
        exactly = path in chosen or _numbered(path, chosen)
        parent = any(place.startswith(path + b"/") for place in chosen) and after.get(path) == (-1,)
        if path in originals and not exactly:
            yield f"changed a file of others: {_kind(path, world)}"
        elif not (inside or scratch or parent or exactly):
            yield f"changed outside: {_kind(path, world)}"
    if (
        "--dry-run" in words
        and call.code == 0
        and any(path for path in changed(before, after) if not _passing(path, free))
    ):
        yield "a dry run wrote"


def _numbered(path: bytes, chosen: set[bytes]) -> bool:
    """Return whether a file is one of several figures, of which the call names the first."""
    stem, end = os.path.splitext(path)  # noqa: PTH122  # bytes
    return re.sub(rb"-\d+$", b"", stem) + end in chosen


def _passing(path: bytes, free: set[bytes]) -> bool:
    return path.endswith(b".sqlite") or any(path.startswith(place) for place in free)


def _kind(path: bytes, world: Path) -> str:
    return re.sub(r"[0-9a-f]{12,}", "KEY", os.fsdecode(os.path.relpath(path, os.fsencode(world))))[:80]

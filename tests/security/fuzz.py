"""Every reader of foreign files, on files that were right until some of their bytes were changed.

A reader may read what it gets or refuse it with howfar's own error, in one line; nothing else may escape, nothing may
run, and no input may take longer than ``SECONDS`` or more than ``MEMORY`` bytes. ``python benchmarks/campaign.py
--only readers`` tries a million files and keeps what escaped under ``corpus/``, where the tests find it again.
"""

import random
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from howfar.errors import HowfarError

from .readers import READERS, Reader

CORPUS = Path(__file__).parent / "corpus"
EDGES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"{", b"[")
SECONDS = 20.0  # that one input may take
FINE = ("read", "refused")


class TooLongError(BaseException):
    """Something took longer than it may; no handler of ``Exception`` keeps it."""


def mutated(seed: bytes, dice: random.Random) -> bytes:
    """Return a file with one to four changes."""
    raw = bytearray(seed)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(max(len(raw), 1))
        match dice.randrange(6):
            case 0 if raw:
                raw[min(place, len(raw) - 1)] ^= 1 << dice.randrange(8)
            case 1:
                edge = dice.choice(EDGES)
                raw[place : place + len(edge)] = edge
            case 2:
                del raw[place:]
            case 3:
                raw[place:place] = dice.randbytes(dice.randint(1, 8))
            case 4:
                raw[place:place] = raw[place : place + dice.randint(1, 64)] * dice.randint(1, 39)
            case _:
                del raw[place : place + dice.randint(1, 32)]
    return bytes(raw)


def input_of(name: str, number: int, seed: int, whole: bytes) -> bytes:
    """Return one input of a reader: the same for the same number and seed, whatever came before."""
    return mutated(whole, random.Random(f"{seed} {name} {number}"))


def outcome(reader: Reader, raw: bytes, folder: Path) -> str:
    """Return ``read``, ``refused``, or the name of what escaped."""
    path = folder / f"file{reader.suffix}"
    path.write_bytes(raw)
    return called(lambda: reader.read(path))


def called(call) -> str:  # type: ignore[no-untyped-def]
    """Return ``read``, ``refused``, or the name of what escaped a call."""
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except HowfarError as error:
        text = str(error).strip()
        return "refused" if text and "\n" not in text else "refused in many lines" if text else "refused without a word"
    except (Exception, TooLongError) as error:  # what this is all about
        return type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return "read"


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError


def smallest(reader: Reader, raw: bytes, found: str, folder: Path, tries: int = 300) -> bytes:
    """Return a shorter file that escapes in the same way."""
    size = max(len(raw) // 2, 1)
    while size and tries > 0:
        place = 0
        while place < len(raw) and tries > 0:
            shorter = raw[:place] + raw[place + size :]
            tries -= 1
            if outcome(reader, shorter, folder) == found:
                raw = shorter
            else:
                place += size
        size //= 2
    return raw


def kept() -> Iterator[tuple[str, Path]]:
    """Yield the readers' names and the files that escaped them once."""
    names = {folder_of(name) for name in READERS}
    for path in sorted(CORPUS.glob("*/*")):
        if path.parent.name in names:
            yield path.parent.name, path


def folder_of(name: str) -> str:
    """Return the name of a reader as the name of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")

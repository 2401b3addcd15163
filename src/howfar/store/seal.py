"""What tells whether a file is still what was written: its SHA-256, and the seal at the end of a record."""

import hashlib
from pathlib import Path

SEAL = ',"sha256":"'


def sealed(text: str) -> str:
    """Return the JSON of an object with the SHA-256 of its text as the last member."""
    return f'{text[:-1]}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}"}}'


def unsealed(text: bytes) -> bytes:
    """Return the JSON of an object without its seal, if it has one.

    Raises:
        ValueError: if the text is not what was sealed.
    """
    head, seal, tail = text.rpartition(SEAL.encode())
    if not seal:
        return text
    plain = head + b"}"
    if tail != hashlib.sha256(plain).hexdigest().encode() + b'"}':
        raise ValueError("its content is not what was written")
    return plain


def has_seal(path: Path) -> bool:
    """Return whether a record carries a seal; older versions wrote none, and anybody can take it off."""
    with path.open("rb") as file:
        return SEAL.encode() in file.read()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

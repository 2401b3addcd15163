"""Integrity checks: SHA-256 of files, and the seal at the end of a record."""

import hashlib
from pathlib import Path

SEAL = ',"sha256":"'


def sealed(text: str) -> str:
    """Return the JSON of an object with the SHA-256 of its text as the last member."""
    return f'{text[:-1]}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}"}}'


def unsealed(text: bytes) -> bytes:
    """Return the JSON of an object without its seal, if it has one.

    Raises:
        ValueError: if the text does not match its seal.
    """
    head, seal, tail = text.rpartition(SEAL.encode())
    if not seal:
        return text
    plain = head + b"}"
    if tail != hashlib.sha256(plain).hexdigest().encode() + b'"}':
        raise ValueError("its content does not match its digest")
    return plain


def has_seal(path: Path) -> bool:
    """Return whether a record has a seal; older versions wrote none, and a seal can be removed."""
    with path.open("rb") as file:
        return SEAL.encode() in file.read()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

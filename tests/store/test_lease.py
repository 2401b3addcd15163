"""A lease says who is at work, or that it cannot be read; nothing else comes of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from howfar.store import Store
from howfar.store.lease import Claim

RIGHT = asdict(Claim("victim", "0" * 20, "a step", share=0.5))


def read(raw: bytes, root: Path) -> Claim:
    store = Store(root)
    (root / "victim").mkdir()
    (root / "victim" / f".{'0' * 20}.lease").write_bytes(raw)
    (found,) = store.claims()
    return found


def test_a_right_lease_is_read(tmp_path: Path) -> None:
    assert asdict(read(json.dumps(RIGHT).encode(), tmp_path)) == RIGHT


@pytest.mark.parametrize(
    "change",
    [{"pid": "1"}, {"pid": -1}, {"pid": 2**40}, {"share": None}, {"share": float("nan")}, {"started": float("inf")},
     {"note": 3}, {"label": None}, {"unknown": 1}],
)  # fmt: skip
def test_members_that_cannot_be_make_a_lease_unreadable(change: dict[str, Any], tmp_path: Path) -> None:
    found = read(json.dumps({**RIGHT, **change}).encode(), tmp_path)
    assert (found.label, found.orphaned, found.pid) == ("unreadable", False, 0)


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[" * 100_000, b"{", b"3", b"null"])
def test_what_is_no_lease_is_unreadable(raw: bytes, tmp_path: Path) -> None:
    assert read(raw, tmp_path).label == "unreadable"

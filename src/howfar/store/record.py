"""The record of a step, and reading its file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from howfar.errors import HowfarError
from howfar.store.seal import sealed, unsealed

RECORD, ARRAYS = "record.json", "arrays.safetensors"
SUM = "arrays_sha256"  # key in ``Record.made``


class DamagedError(HowfarError):
    """A record or its arrays are damaged."""

    def __init__(self, path: Path | str, why: object) -> None:
        super().__init__(f"{path} is damaged ({why}). Delete {str(path).rpartition('/')[0]} and run again.")
        self.why = str(why)


@dataclass(frozen=True)
class Record:
    """The record of a finished or failed step.

    Attributes:
        step: kind of step, and name of its folder.
        key: hash of ``spec``.
        spec: everything that determines the result.
        status: ``done`` or ``failed``.
        result: the result, as JSON values.
        made: circumstances that must not affect the result: device, versions, seconds, memory.
    """

    step: str
    key: str
    spec: Mapping[str, Any]
    status: str
    result: Mapping[str, Any]
    made: Mapping[str, Any]


MEMBERS = {member.name for member in fields(Record)}


def text_of(record: Record) -> str:
    """Return the text of a record's file: sealed JSON on one line."""
    members = {**record.__dict__, "result": dict(record.result)}
    return sealed(json.dumps(members, separators=(",", ":"), allow_nan=False))


def members_of(text: bytes) -> dict[str, Any]:
    """Return the members of a record from the text of its file.

    Raises:
        ValueError: if it is damaged.
    """
    members = from_json(unsealed(text), allow_inf_nan=False)
    if not isinstance(members, dict) or set(members) != MEMBERS:
        raise ValueError("it is not a record")
    kinds = {"step": str, "key": str, "status": str, "spec": dict, "result": dict, "made": dict}
    if not all(isinstance(members[name], kind) for name, kind in kinds.items()):
        raise ValueError("it is not a record")
    return members


def read_record(path: str) -> dict[str, Any] | None:
    """Return the members of a record from its file, or None if there is none.

    Raises:
        DamagedError: if it is damaged.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # for ten thousand records, pathlib would double the time
            members = members_of(file.read())
        if [members["step"], members["key"]] != path.split("/")[-3:-1]:
            raise ValueError("it is in the place of another record")
        return members
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise DamagedError(Path(path), error) from None

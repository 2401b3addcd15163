"""JSON Schemas of the files that howfar writes for users, made from the classes of this folder.

The version of a schema increases with every change of its fields; files of the earlier version then keep the earlier
schema. ``make docs`` writes ``NAME-VERSION.json`` into this folder.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from howfar.errors import unknown
from howfar.schemas.findings import AuditFinding, UdFinding, Verification
from howfar.schemas.rows import BenchRow, CellRow, VictimRow
from howfar.schemas.runs import Plan, Watch
from howfar.schemas.sets import ExportedSet, PhotoManifest, ProtectedSet
from howfar.schemas.submitted import LeaderboardRow
from howfar.schemas.tables import AblationRow, ComparedRow, CostTable, TaskTable, WorstCaseTable

PLACE = "https://github.com/howfar/howfar/blob/main/src/howfar/schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Schema:
    """A kind of file.

    Attributes:
        version: of its fields.
        content: type of the whole file.
        what: what the file holds.
        written: which commands write it.
    """

    version: int
    content: Any
    what: str
    written: str


SCHEMAS: Mapping[str, Schema] = {
    "bench": Schema(
        1, list[BenchRow], "One row per protector, victim and defense, over seeds",
        "`howfar bench --json`, `howfar leaderboard STORE --json`, and `leaderboard.json` in the store",
    ),
    "ud": Schema(1, UdFinding, "The unlearnable distance of two runs or image sets", "`howfar ud --json`"),
    "audit": Schema(2, AuditFinding, "Whether a data set looks protected", "`howfar audit --json`"),
    "verify": Schema(
        2, Verification, "Whether the protection of photographs holds", "`howfar verify PHOTOS PROTECTED --json`"
    ),
    "row": Schema(
        3, LeaderboardRow, "One row of a public leaderboard, with the result of every seed", "`howfar submit`",
    ),
    "protected": Schema(
        1, ProtectedSet, "The manifest of a protected set",
        "`howfar generate` (`manifest.json`) and `howfar generate --json`",
    ),
    "exported": Schema(
        1, ExportedSet, "The manifest of a protected set that was exported as images",
        "`howfar export` (`manifest.json`)",
    ),
    "photos": Schema(
        1, PhotoManifest, "The manifest of protected photographs",
        "`howfar protect` (`manifest.json`; `--json` prints it without `photos`)",
    ),
    "cells": Schema(
        2, list[CellRow],
        "One row per protector, victim and defense, over seeds, with verdict, settings, versions and device",
        "`howfar store export`; `Results.to_pandas()` and the other formats have the same columns",
    ),
    "victims": Schema(1, list[VictimRow], "One row per finished victim", "`howfar store export FILE --victims`"),
    "worst_case": Schema(
        1, list[WorstCaseTable], "What every defense gets out of every protected set, and the worst case, by victim",
        "`worst_case.json` in the store",
    ),
    "crosstask": Schema(
        1, list[TaskTable], "What every task learns from every protected set", "`crosstask.json` in the store"
    ),
    "cost": Schema(1, CostTable, "Seconds per protected image and per victim", "`cost.json` in the store"),
    "ablation": Schema(
        1, list[AblationRow], "UD by the way it is measured",
        "`howfar ablate-ud --json`, and `ablation.json` in the store",
    ),
    "compared": Schema(
        1, list[ComparedRow], "Protectors compared with one of them on the same test images",
        "`howfar leaderboard STORE --against PROTECTOR --json`",
    ),
    "plan": Schema(
        1, Plan, "What a run would do, and for how long",
        "`--dry-run --json` of `howfar bench` and of the other commands that train",
    ),
    "watch": Schema(1, Watch, "Progress of other runs of a grid", "`howfar bench --watch --json`"),
}  # fmt: skip


class _Plain(GenerateJsonSchema):
    """Leaves out the titles of fields, which repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False."""
        return False


def generated(name: str) -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) as made from its class.

    Example:
        >>> generated("ud")["properties"]["beta"]
        {'description': 'Threshold on SAL, nats.', 'type': 'number'}
    """
    schema = SCHEMAS[name]
    found = TypeAdapter(schema.content).json_schema(schema_generator=_Plain)
    about = {"$schema": DIALECT, "$id": f"{PLACE}/{file_of(name)}", "title": f"howfar {name}, version {schema.version}"}
    return {**about, **found, "description": f"{schema.what}."}


def file_of(name: str) -> str:
    """Return the name of a schema's file."""
    return f"{name}-{SCHEMAS[name].version}.json"


def text_of(name: str) -> str:
    """Return the text of a schema's file, as it is shipped.

    Raises:
        UsageError: for an unknown name.
    """
    if name not in SCHEMAS:
        raise unknown("schema", name, SCHEMAS)
    return files(__name__).joinpath(file_of(name)).read_text(encoding="utf-8")


def written(name: str) -> str:
    """Return the text that a schema's file should have."""
    return json.dumps(generated(name), indent=1, ensure_ascii=False) + "\n"

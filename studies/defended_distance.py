"""Do defenses raise UD, and JPEG most? Reads the victims of ``alignment_judgment.py``, trains nothing.

UD of every method under a defense is that of its victim ÷ the clean victim under the same defense.
Run: ``python studies/defended_distance.py`` prints the table of docs/paper.md.
"""

import argparse

from alignment_judgment import METHODS
from drawn import study, table
from judgment import SMALL
from protectors import CHANCE

from howfar.report.numbers import ranged
from howfar.score.intervals import mean_estimate
from howfar.store import Record
from howfar.tables import collect
from howfar.tables.leaderboard import Row

PROTECTIONS = tuple(name for name in METHODS if name != "random")


def tables() -> dict[str, str]:
    """Return the table of docs/paper.md."""
    store = study("alignment-judgment")
    keys = [record.key for record in store.records("victim") if _same_training(record)]
    groups = (group for group in collect(store, keys, brief=True).groups if group.rows)
    found = {group.rows[0].defense: _rows(group.rows) for group in groups}
    plain = found.pop("none")
    lines = [
        ["none", _retained(plain), ranged(mean_estimate([_ud(row) for row in plain.values()])), "–", _seeds(plain)]
    ]
    for defense, rows in found.items():
        raised = [_ud(rows[name]) - _ud(plain[name]) for name in PROTECTIONS]
        mean = mean_estimate([_ud(row) for row in rows.values()])
        lines.append([defense, _retained(rows), ranged(mean), ranged(mean_estimate(raised)), _seeds(rows)])
    columns = ["defense", "retention, %", "UD, mean over 7 protections", "UD − UD undefended", "seeds"]
    return {"paper: UD under defenses": table(columns, lines)}


def _same_training(record: Record) -> bool:
    spec = record.spec
    recipe = spec["recipe"]
    alike = (spec["dataset"]["label"], spec["model"]["label"], recipe["optimizer"]) == ("cifar10", SMALL, "nesterov")
    return alike and bool(recipe["crop"])


def _rows(rows: list[Row]) -> dict[str, Row]:
    known = {row.protector: row for row in rows}
    return {name: known[name] for name in PROTECTIONS}


def _ud(row: Row) -> float:
    return row.ud.mean.value if row.ud else float("nan")


def _retained(rows: dict[str, Row]) -> str:
    kept = [(row.poisoned - CHANCE) / (row.clean - CHANCE) for row in rows.values()]
    return f"{100 * sum(kept) / len(kept):.0f}"


def _seeds(rows: dict[str, Row]) -> str:
    return str(min(row.seeds for row in rows.values()))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in tables().items():
        print(f"{name}\n\n{text}")


if __name__ == "__main__":
    main()

"""Names of the rows and tables of a store: labels, with suffixes where two would be equal.

Labels leave out versions, digests and whatever a recipe holds. Records are therefore grouped by their whole
specification, and a label gets what differs behind it only where the records at hand hold two kinds of that name.
"""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from howfar.arrays import canonical
from howfar.errors import UsageError
from howfar.protectors import PROTECTORS
from howfar.spec import ABOUT, parse
from howfar.spec.suffixes import distinguishing_suffixes
from howfar.store import Record
from howfar.tasks import TASKS

CLEAN = "clean"
PARTS = ("dataset", "task", "model", "defense")
OWN = ("protector", "source_task", "seed")  # in which the rows of one table differ

Spec = Mapping[str, Any]


def shared(spec: Spec, *but: str) -> dict[str, Any]:
    """Return what all rows of a table share: everything except the protected set, the seed, and ``but``."""
    return {key: value for key, value in spec.items() if key not in (*OWN, *but)}


def victim(spec: Spec) -> str:
    """Return what identifies a victim, except for its training images and its defense."""
    return canonical(shared(spec, "defense"))


def protection(spec: Spec) -> str:
    """Return what identifies a protected set whatever its seed and data: the protector and, if it matters, its task."""
    return canonical(_protection(spec))


def _protection(spec: Spec) -> dict[str, Any]:
    known = knows_targets(str(spec["protector"]["label"]))
    return {**_bare(spec["protector"]), **({"source_task": _bare(spec["source_task"])} if known else {})}


def crafted(spec: Spec) -> str:
    """Return the protector's label, with the task that it was crafted against where that is another one."""
    return str(spec["protector"]["label"]) if spec["source_task"] == _bare(spec["task"]) else crafted_for(spec)


def crafted_for(spec: Spec) -> str:
    """Return the protector's label, with the task that it was crafted against unless it knows of none."""
    label = str(spec["protector"]["label"])
    return f"{label} ← {source_of(spec)}" if knows_targets(label) else label


def source_of(spec: Spec) -> str:
    """Return the label of the task that the protection was crafted against."""
    return _label_of(canonical(spec["source_task"]))


@functools.cache
def _label_of(task: str) -> str:
    """Return the label of a task from its part of a specification, as canonical JSON."""
    spec = json.loads(task)
    settings = ",".join(f"{key}={value}" for key, value in spec.items() if key not in ABOUT)
    return parse(f"{spec['name']}[{settings}]", TASKS, "task").label


@functools.cache
def knows_targets(protector: str) -> bool:
    """Return whether a protector makes use of targets; of one that is not installed here, this is taken for granted."""
    try:
        return parse(protector, PROTECTORS, "protector").build().uses_labels
    except UsageError:
        return True  # its records can be shown all the same


class Names:
    """Names of the tables and rows of some victims; two that differ in their specification never share one."""

    def __init__(self, victims: Iterable[Record], *, but: Sequence[str] = ()) -> None:
        """Find out which labels stand for several kinds.

        Args:
            victims: all that are shown together.
            but: parts of their specification that make no difference.
        """
        specs = [record.spec for record in victims]
        self._but = (*PARTS, *but)
        self._parts = {
            part: distinguishing_suffixes((s[part]["label"], _bare(s[part])) for s in specs) for part in PARTS
        }
        self._rest = distinguishing_suffixes((self._learner(s), shared(s, *self._but)) for s in specs)
        protections = [(crafted_for(spec), _protection(spec)) for spec in specs]
        self._protections = distinguishing_suffixes(protections)
        clean = [spec for label, spec in protections if label == CLEAN]
        if clean:  # all others are compared with the newest, which keeps its bare name
            newest = max(clean, key=lambda spec: (spec.get("version", 0), canonical(spec)))
            self._protections[CLEAN, canonical(newest)] = ""

    def tables(self, spec: Spec) -> dict[str, str]:
        """Return the names of data set, task, model and defense of a victim."""
        found = {part: self._part(spec, part) for part in PARTS}
        rest = self._rest[self._learner(spec), canonical(shared(spec, *self._but))]
        return {**found, "model": found["model"] + rest}

    def dataset(self, spec: Spec) -> str:
        """Return the name of the data set of a victim or of a protected set."""
        return self._part(spec, "dataset")

    def row(self, spec: Spec) -> str:
        """Return the name of what a victim learned from, in a table of its own task."""
        return self._named(spec, crafted(spec))

    def crafted_for(self, spec: Spec) -> str:
        """Return the same with the source task, unless the protector knows of none."""
        return self._named(spec, crafted_for(spec))

    def parts(self, spec: Spec) -> tuple[str, str]:
        """Return the same as two names, of the protector and of its source task; the latter is empty without one."""
        label = str(spec["protector"]["label"])
        return (label, self._named(spec, source_of(spec))) if knows_targets(label) else (self._named(spec, label), "")

    def protector(self, spec: Spec) -> str:
        """Return the name of a protected set, without its source task."""
        return self._named(spec, str(spec["protector"]["label"]))

    def _named(self, spec: Spec, label: str) -> str:
        return label + self._protections.get((crafted_for(spec), protection(spec)), "")

    def _part(self, spec: Spec, part: str) -> str:
        return str(spec[part]["label"]) + self._parts[part].get((spec[part]["label"], canonical(_bare(spec[part]))), "")

    def _learner(self, spec: Spec) -> str:
        return " · ".join(self._part(spec, part) for part in PARTS if part != "defense")


def _bare(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "label"}

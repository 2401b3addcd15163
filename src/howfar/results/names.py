"""What the rows and tables of a store are called: labels, and what tells them apart where two would be the same.

Labels leave out versions, digests and whatever a recipe holds. Records are therefore grouped by their whole
specification, and a label gets what differs behind it only where the records at hand hold two kinds of that name.
"""

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from howfar.arrays import canonical
from howfar.protect import PROTECTORS
from howfar.spec import parse
from howfar.store import Record
from howfar.tasks import TASKS

CLEAN = "clean"
PARTS = ("dataset", "task", "model", "defense")
OWN = ("protector", "source_task", "seed")  # in which the rows of one table differ
LONG = 12  # characters of a value in a label

Spec = Mapping[str, Any]


def shared(spec: Spec, *but: str) -> dict[str, Any]:
    """Return what all rows of a table share: everything except the protected set, the seed, and ``but``."""
    return {key: value for key, value in spec.items() if key not in (*OWN, *but)}


def victim(spec: Spec) -> str:
    """Return what identifies a victim whatever it learned from and whatever its defense."""
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
    settings = ",".join(f"{key}={value}" for key, value in spec.items() if key not in ("name", "version"))
    return parse(f"{spec['name']}[{settings}]", TASKS, "task").label


@functools.cache
def knows_targets(protector: str) -> bool:
    """Return whether a protector makes use of targets."""
    return parse(protector, PROTECTORS, "protector").build().uses_labels


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
        self._parts = {part: told_apart((s[part]["label"], _bare(s[part])) for s in specs) for part in PARTS}
        self._rest = told_apart((self._learner(s), shared(s, *self._but)) for s in specs)
        self._protections = told_apart(
            (crafted_for(s), _protection(s)) for s in {canonical(s): s for s in specs}.values()
        )

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

    def protector(self, spec: Spec) -> str:
        """Return the name of a protected set, without its source task."""
        return self._named(spec, str(spec["protector"]["label"]))

    def _named(self, spec: Spec, label: str) -> str:
        return label + self._protections.get((crafted_for(spec), protection(spec)), "")

    def _part(self, spec: Spec, part: str) -> str:
        return str(spec[part]["label"]) + self._parts[part].get((spec[part]["label"], canonical(_bare(spec[part]))), "")

    def _learner(self, spec: Spec) -> str:
        return " · ".join(self._part(spec, part) for part in PARTS if part != "defense")


def told_apart(named: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[tuple[str, str], str]:
    """Return what to put behind each label, by label and specification as canonical JSON.

    Nothing where a label stands for one specification; else the versions in which they differ, if these are enough,
    else all other differences, else a digest. The clean images keep their bare name in their newest version, because
    all others are compared with them.

    Args:
        named: labels, and the specification that each stands for.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for label, spec in named:
        kinds[label][canonical(spec)] = dict(_flat(spec))
    found: dict[tuple[str, str], str] = {}
    for label, specs in kinds.items():
        texts = _differences(list(specs.values())) if len(specs) > 1 else [""]
        for (key, _), text in zip(specs.items(), texts, strict=True):
            found[label, key] = f" ({text})" if text else ""
        if label == CLEAN and len(specs) > 1:
            newest = max(specs, key=lambda key: (specs[key].get("version", 0), key))
            found[label, newest] = ""
    return found


def _differences(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    paths = sorted({path for spec in specs for path in spec})
    differing = [path for path in paths if len({canonical(spec.get(path)) for spec in specs}) > 1]
    versions = [path for path in differing if path.rpartition(".")[2] == "version"]
    others = [path for path in differing if path not in versions]
    for chosen in (versions, [*versions, *others] if len(differing) < 4 else []):
        texts = [", ".join(f"{path} {str(spec.get(path, 'none'))[:LONG]}" for path in chosen) for spec in specs]
        if chosen and len(set(texts)) == len(specs):
            return texts
    return [hashlib.sha256(canonical(spec).encode()).hexdigest()[:8] for spec in specs]


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{path}.{key}" if path else str(key))


def _bare(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "label"}

"""Dry runs without loading data: sketches of data sets, and digests recorded by earlier runs."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from howfar.data.loaded import digests_of
from howfar.data.outline import Outline, outline
from howfar.grid.experiment import Experiment, Sketch
from howfar.store import Record, Store
from howfar.store.clock import circumstances

NOT_COMPARED = "steps that {place} already holds are counted as well: the data were not loaded to compare them."


def sketched(
    experiments: Sequence[Experiment], store: Store | None = None, known: Outline | None = None
) -> list[Experiment]:
    """Return experiments with sketches instead of loaded data.

    Args:
        experiments: the cells.
        store: may hold the digests of the data from an earlier run, with which finished steps are recognized.
        known: outline of the data set, if the caller has it; None determines it.
    """
    made: dict[Any, Sketch] = {}
    for experiment in experiments:
        (choice, *_) = experiment.choices
        if choice not in made:
            made[choice] = _sketch(experiment, store, known or outline(experiment.dataset))
    return [replace(experiment, sketch=made[experiment.choices[0]]) for experiment in experiments]


def note_data(experiments: Iterable[Experiment], store: Store) -> None:
    """Record the digests of all data sets of a grid, so that later dry runs need not load them."""
    for experiment in {experiment.choices[0]: experiment for experiment in experiments}.values():
        spec = _spec(experiment)
        key = store.key("data", spec)
        if not store.done("data", key):
            result = {"digests": digests_of(experiment.choices[0])}
            store.save(Record("data", key, spec, "done", result, circumstances()))


def notes_of(experiments: Iterable[Experiment]) -> list[str]:
    """Return sentences on what is estimated or unknown in a dry run."""
    return list(dict.fromkeys(note for e in experiments if e.sketch is not None for note in e.sketch.notes))


def _sketch(experiment: Experiment, store: Store | None, known: Outline) -> Sketch:
    splits, test = known.sample, min(known.test, experiment.limit_test or known.test)
    held = min(experiment.held_out, known.train // 5)
    if held >= 2 * max(len(splits.classes), 1):  # as in ``held_back``
        splits = replace(splits, clean=splits.train, validation=splits.train)
    else:
        held = 0
    train = min(known.train - held, experiment.limit_train or known.train)
    digests, notes = None, [known.note] if known.note else []
    if store is not None:
        spec = _spec(experiment)
        record = store.find("data", store.key("data", spec))
        digests = _recorded(record) if record is not None else None
        if digests is None and next(iter(store.records("protect", damaged=True)), None) is not None:
            notes.append(NOT_COMPARED.format(place=store.place))
    return Sketch(splits, train, test, digests, tuple(notes), known.classes or len(splits.classes))


def _recorded(record: Record) -> dict[str, str] | None:
    """Return the digests recorded by an earlier run; None if they are missing or invalid."""
    digests = record.result.get("digests")
    if not isinstance(digests, Mapping) or not {"train", "test"} <= digests.keys():
        return None
    return dict(digests) if all(isinstance(digest, str) for digest in digests.values()) else None


def _spec(experiment: Experiment) -> dict[str, Any]:
    """Return a key of the data of an experiment, in which files are identified by size and time, not by path."""
    label, *limits = experiment.choices[0]
    version = experiment.dataset.key()["version"] if experiment.dataset.name == "rooms" else 1
    root = experiment.dataset.settings.get("root")
    stamps = _stamps(Path(root)) if root else []
    return {"dataset": _short([label, version, stamps]), "limits": limits}


def _stamps(root: Path) -> list[list[Any]]:
    """Return names, sizes and times of a file, or of a folder and its direct content."""
    paths = [root, *sorted(root.iterdir())] if root.is_dir() else [root]
    found = []
    for path in paths:
        if path.exists():
            about = path.stat()
            found.append([path.name, about.st_size, about.st_mtime_ns])
    return found


def _short(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:20]

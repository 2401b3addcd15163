"""How well ``howfar audit`` tells protected sets from clean ones, by number of images, source and kind of protection.

Random parts of six sources, after three histories, are left clean, made noisy or protected, and scored: they are what
``--write`` calibrates ``howfar audit`` on. Three further sources (``UNSEEN``) only test it. Scores are kept in
``--runs``: an interrupted run goes on, finished ones give the tables again.
Run: ``python studies/audit_roc.py --data DIR`` with ``cifar10.npz``, ``cifar100_sample.npz``, ``mnist.npz``,
``camvid_96x128.npz`` and the folder ``clothing_160`` in DIR.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from audit_sets import HISTORIES, SOURCES, UNSEEN, drawn
from drawn import study, table
from sklearn.metrics import roc_auc_score

import howfar.audit
from howfar import arrays
from howfar.audit.calibration import Calibration
from howfar.audit.detect import DETECTORS, scored
from howfar.audit.fit import Case, fit, fitted
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.store import Record, Store, open_store, write_text
from howfar.store.clock import circumstances
from howfar.tasks import classification

CHEAP = {
    "lsp": "patches", "random[granularity=class]": "class-wise noise", "ops": "single pixels", "ar": "autoregressive",
    "cuda": "filters", "carriers[cell=2,mirrored=true]": "textures", "waves": "textures", "woven": "textures",
}  # fmt: skip
TRAINED = {
    "em:class": "class-wise noise", "em": "error-minimizing", "sem[iterations=100]": "error-minimizing",
    "tap[epochs=8,steps=20]": "adversarial",
}  # fmt: skip
FAMILIES = CHEAP | TRAINED
SIZES = (30, 60, 100, 200, 500)
LARGER = (1000, 2000)  # of unseen sources; examined in part
DRAWS = 7  # clean sets of every source, history and size; twice as many of unseen ones
STEP = "audit"  # of its records
Cell = tuple[str, str, str, int, int]  # source, history, method, size, number of sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--runs", type=Path, default=Path("runs/audit"))
    parser.add_argument("--finished", action="store_true", help="show what the records hold, and score nothing")
    parser.add_argument("--write", action="store_true", help="put the calibration into the package")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = open_store(options.runs, reading=options.finished)
    if not options.finished:
        for cell in planned():
            score(cell, store, options.data)
    known, unseen = cases_of(store)
    whole = fit(known)
    if options.write:
        write_text(Path(howfar.audit.__file__).with_name("calibration.json"), whole.as_json())
    for name, text in tables_of(known, unseen).items():
        print(f"{name}\n\n{text}")


def planned() -> Iterator[Cell]:
    """Yield all cells: clean and noisy sets, sets with noise that is drawn, sets with noise that is trained."""
    for size in SIZES:
        for source in SOURCES:
            for history in HISTORIES:
                yield source, history, "clean", size, DRAWS * (2 if source in UNSEEN else 1)
            yield source, "as-is", "random", size, 3
            for place, method in enumerate(CHEAP):
                yield source, HISTORIES[place % 3], method, size, 2
    for size in LARGER:
        for source in UNSEEN:
            for history in HISTORIES:
                yield source, history, "clean", size, DRAWS
            for place, method in enumerate(CHEAP):
                yield source, HISTORIES[place % 3], method, size, 1
    for place, method in enumerate(TRAINED):
        for source in ("cifar10", "mnist", "rooms", "clothing"):
            yield source, HISTORIES[place % 3], method, 200, 1


def score(cell: Cell, store: Store, folder: Path) -> None:
    """Score the sets of a cell, unless the store has them."""
    source, history, method, size, count = cell
    spec = {"source": source, "history": history, "method": method, "size": size, "draws": count}
    key = store.key(STEP, spec)
    if store.done(STEP, key):
        return
    start = time.perf_counter()
    sets = [scores_of(source, history, method, size, draw, folder) for draw in range(count)]
    store.save(Record(STEP, key, spec, "done", {"sets": sets}, circumstances()))
    print(*spec.values(), f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def scores_of(source: str, history: str, method: str, size: int, draw: int, folder: Path) -> dict[str, float]:
    """Draw a set, protect it, and let all detectors look."""
    data = drawn(source, history, size, draw, folder)
    if method != "clean":
        protector = parse(method, PROTECTORS, "protector").build()
        data = protector.protect(data, classification()(data), generator=arrays.seeded(draw, method))
    return {name: round(value, 5) for name, value in scored(data, seed=draw)}


def cases_of(store: Store) -> tuple[list[Case], list[Case]]:
    """Return the sets of the calibration, and those of sources that it never saw."""
    records = sorted(store.records(STEP), key=lambda record: [str(value) for value in record.spec.values()])
    cases = [
        Case(record.spec["source"], record.spec["size"], FAMILIES.get(record.spec["method"], ""), scores)
        for record in records
        for scores in record.result["sets"]
    ]
    return [case for case in cases if case.source not in UNSEEN], [case for case in cases if case.source in UNSEEN]


def tables() -> dict[str, str]:
    """Return the tables of docs/audit.md, from the records of the study."""
    return tables_of(*cases_of(study("audit")))


def tables_of(known: Sequence[Case], unseen: Sequence[Case]) -> dict[str, str]:
    """Return all tables.

    Args:
        known: sets of the calibration.
        unseen: sets of other sources.
    """
    return {
        "photographs: audit by size": by_size(fit(known), unseen),
        "photographs: detectors": detectors(known),
        "photographs: false alarms": alarms(known),
        "photographs: kinds left out": kinds_left_out(known, unseen),
    }


def suspected(part: Calibration, case: Case) -> bool:
    """Return whether a set counts as protected."""
    return part.suspicion(case.scores, examined(case)) > 1


def examined(case: Case) -> int:
    """Return the number of images that an audit looks at."""
    return min(case.size, SIZES[-1])


def by_size(whole: Calibration, unseen: Sequence[Case]) -> str:
    """Return how often sets of unseen sources are called protected, by number of images."""
    lines = []
    for size in (*SIZES, *LARGER):
        sets = [case for case in unseen if case.size == size]
        clean = [
            share([suspected(whole, case) for case in sets if case.source == source and not case.family])
            for source in UNSEEN
        ]
        everything = share([suspected(whole, case) for case in sets if not case.family])
        found = share([suspected(whole, case) for case in sets if case.family])
        lines.append([f"{size:,}", *clean, everything, found])
    return table(["images", *(f"clean {source}" for source in UNSEEN), "clean, all", "protected, all"], lines)


def share(called: Sequence[bool]) -> str:
    """Return how many sets are called protected, as in ``2 of 45 (4 %)``."""
    return f"{sum(called)} of {len(called)} ({np.mean(called):.0%})" if called else "–"


def left_out(known: Sequence[Case]) -> dict[str, Calibration]:
    """Return a calibration without each source."""
    return {
        source: fitted([case for case in known if case.source != source])
        for source in sorted({case.source for case in known})
    }


def detectors(known: Sequence[Case]) -> str:
    """Return how well every detector tells protected sets, and how well all of them do."""
    whole, parts = fitted(known), left_out(known)
    truth = np.array([bool(case.family) for case in known])
    lines = []
    for name in DETECTORS:
        values = np.array([whole.standard(case.scores, case.size)[name] for case in known])
        found = np.mean([name in whole.above(case.scores, case.size) for case in known if case.family])
        lines.append([name, f"{roc_auc_score(truth, values):.3f}", f"{found:.0%}"])
    judged = [parts[case.source].suspicion(case.scores, case.size) for case in known]
    found = np.mean([value > 1 for value, protected in zip(judged, truth, strict=True) if protected])
    lines.append(["all, source left out", f"{roc_auc_score(truth, judged):.3f}", f"{found:.0%}"])
    return table(["detector", "area under the ROC curve", "found at its threshold"], lines)


def alarms(known: Sequence[Case]) -> str:
    """Return how many sets are called protected by a calibration without their source."""
    lines = []
    for source, part in left_out(known).items():
        own = [case for case in known if case.source == source]
        named = [
            part.family(case.scores, case.size)[0] == case.family
            for case in own if case.family and case.size >= 200 and suspected(part, case)
        ]  # fmt: skip
        lines.append(
            [
                source,
                share([suspected(part, case) for case in own if not case.family]),
                share([suspected(part, case) for case in own if case.family and case.size >= 200]),
                share(named),
            ]
        )
    return table(["source left out", "clean, all sizes", "protected, 200 and more", "kind named rightly"], lines)


def kinds_left_out(known: Sequence[Case], unseen: Sequence[Case]) -> str:
    """Return how many sets of a kind are found by the calibration, and by one that never saw the kind."""
    whole, lines = fitted(known), []
    for family in sorted({case.family for case in known} - {""}):
        part = fitted([case for case in known if case.family != family])
        own = [case for case in known if case.family == family and case.size >= 200]
        others = [case for case in unseen if case.family == family and case.size >= 200]
        calls = [(whole, others), (part, own), (part, others)]
        lines.append([family, *(share([suspected(each, case) for case in cases]) for each, cases in calls)])
    heads = ["unseen sources", "kind left out", "kind left out, unseen sources"]
    return table(["kind of protection", *heads], lines)


if __name__ == "__main__":
    main()

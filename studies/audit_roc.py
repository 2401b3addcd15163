"""How well ``howfar audit`` tells protected sets from clean ones: ROC, false alarms, kinds of protection left out.

Sets are drawn from several data sets in different sizes and numbers of classes, left clean, made noisy or protected,
and scored. The scores are kept in ``--runs``: an interrupted run goes on, finished ones give the tables again.
``--write`` puts the calibration into the package.
Run: ``python studies/audit_roc.py --data DIR`` (cifar10.npz, cifar100_sample.npz, mnist.npz, camvid_96x128.npz).
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
from drawn import study, table
from sklearn.metrics import roc_auc_score
from torch.nn import functional

import howfar.audit
from howfar import arrays
from howfar.audit.calibration import RATE, Case, fit
from howfar.audit.detect import DETECTORS, scored
from howfar.clock import circumstances
from howfar.data import DATASETS, Data, balanced, clustered
from howfar.data.camvid import camvid
from howfar.data.npz import npz
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.store import Record, open_store, write_text
from howfar.tasks import classification

FAMILIES = {
    "lsp": "patches", "random[granularity=class]": "class-wise noise", "em:class": "class-wise noise",
    "ops": "single pixels", "ar": "autoregressive", "cuda": "filters", "em": "error-minimizing",
    "sem[iterations=100]": "error-minimizing", "tap[epochs=8,steps=20]": "adversarial",
}  # fmt: skip
UNPROTECTED = ("clean", "clean", "clean", "random")
BASES = ("cifar10", "cifar100", "mnist", "rooms")
SIZES = (500, 1000, 2000)
STEP = "audit"  # of its records
Judgment = tuple[float, bool, str]  # suspicion, whether it looks protected, kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--runs", type=Path, default=Path("runs/audit"))
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--finished", action="store_true", help="show what the records hold, and score nothing")
    parser.add_argument("--write", action="store_true", help="put the calibration into the package")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = open_store(options.runs, reading=options.finished)
    if not options.finished:
        for number, (base, method, draw) in enumerate(planned(options.draws)):
            spec = {"base": base, "method": method, "draw": draw}
            key = store.key(STEP, spec)
            if not store.done(STEP, key):
                start = time.perf_counter()
                found = scores_of(base, method, draw, options.data)
                store.save(Record(STEP, key, spec, "done", found, circumstances()))
                print(number, *spec.values(), f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    everything = sorted(store.records(STEP), key=_place)
    cases = [case_of(record) for record in everything if record.spec["base"] != "camvid"]
    show(cases)
    frames = [case_of(record) for record in everything if record.spec["base"] == "camvid"]
    whole = fit(cases)
    fooled = sum(whole.suspicion(case.scores) > whole.threshold for case in frames)
    print(f"\nclean CamVid with clusters for labels: {fooled} of {len(frames)} suspected, so no verdict without labels")
    if options.write:
        path = Path(howfar.audit.__file__).with_name("calibration.json")
        write_text(path, whole.as_json())


def _place(record: Record) -> str:
    """Return what cases are sorted by: the last digits of the calibration depend on their order."""
    spec = record.spec
    method = spec["method"].replace(":", "-").partition("[")[0] + ("-class" if "granularity" in spec["method"] else "")
    return f"{spec['base']}_{method}_{spec['draw']}.json"


def planned(draws: int) -> Iterator[tuple[str, str, int]]:
    """Yield data set, method and number of every set, so that any first part is a fair one."""
    for draw in range(draws):
        for method in (*FAMILIES, *UNPROTECTED):
            for base in BASES:
                yield base, method, draw
        for base in BASES:
            for extra in range(4):
                yield base, "clean", 100 + 10 * draw + extra
        for extra in range(3):
            yield "camvid", "clean", 100 + 10 * draw + extra


def scores_of(base: str, method: str, draw: int, folder: Path) -> dict[str, object]:
    """Draw a set, protect it, and let all detectors look."""
    rng = np.random.default_rng([draw, *base.encode(), *method.encode()])
    data = drawn(base, folder, rng)
    if method != "clean":
        task = classification()(data)
        protector = parse(method, PROTECTORS, "protector").build()
        data = protector.protect(data, task, generator=arrays.seeded(draw, method))
    return {
        "images": len(data), "classes": len(data.targets["label"].unique()), "scores": dict(scored(data, seed=draw)),
    }  # fmt: skip


def drawn(base: str, folder: Path, rng: np.random.Generator) -> Data:
    """Return a random part of a data set, 32×32: some of its classes, some of their images."""
    if base == "camvid":
        frames = camvid(folder / "camvid_96x128.npz").train
        pixels = scaled(frames.pixels)
        data = Data(
            pixels, {"label": clustered(pixels, int(rng.integers(3, 9)), seed=int(rng.integers(100)))}, frames.ids
        )
        return usable(data)
    loaders = {
        "cifar10": lambda: npz(folder / "cifar10.npz").train,
        "cifar100": lambda: npz(folder / "cifar100_sample.npz").train,
        "mnist": lambda: npz(folder / "mnist.npz").train,
        "rooms": lambda: DATASETS["rooms"](train=4000, test=10, size=32).train,
    }
    whole = loaders[base]()
    targets = {"cifar100": "coarse", "rooms": "class_scene"}
    labels = whole.targets[targets.get(base, "label")].long()
    kinds = labels.unique()
    most = min(10, len(kinds))
    chosen = kinds[torch.from_numpy(rng.permutation(len(kinds))[: int(rng.integers(max(most // 2, 2), most + 1))])]
    places = torch.isin(labels, chosen).nonzero().flatten()
    relabelled = torch.searchsorted(chosen.sort().values, labels[places])
    data = Data(whole.pixels[places], {"label": relabelled}, whole.ids[places])
    return balanced(data, int(rng.choice(SIZES)), seed=int(rng.integers(1000)), target="label")


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Return images at 32×32."""
    small = functional.interpolate(pixels.float(), (32, 32), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def usable(data: Data) -> Data:
    """Return a set without clusters that are too small."""
    labels = data.targets["label"]
    large = [int(label) for label in labels.unique() if int((labels == label).sum()) >= 20]
    places = torch.isin(labels, torch.tensor(large)).nonzero().flatten()
    relabelled = torch.searchsorted(torch.tensor(large), labels[places])
    return Data(data.pixels[places], {"label": relabelled}, data.ids[places])


def case_of(record: Record) -> Case:
    """Return a record as a case."""
    return Case(record.spec["base"], FAMILIES.get(record.spec["method"], ""), record.result["scores"])


def show(cases: Sequence[Case]) -> None:
    """Print what single detectors and all together tell."""
    truth = [bool(case.family) for case in cases]
    judged = unseen(cases)
    print(
        f"{len(cases)} sets, {sum(truth)} protected, torch {torch.__version__}; "
        f"thresholds at {RATE:.0%} of unprotected sets\n"
    )
    print(detectors(cases, judged))
    kinds = [named == case.family for case, (_, _, named) in zip(cases, judged, strict=True) if case.family]
    print(f"kind of protection named rightly, data set left out: {np.mean(kinds):.0%}\n")
    print(f"{alarms(cases, judged)}\n{kinds_left_out(cases)}")


def tables() -> dict[str, str]:
    """Return the tables of docs/photographs.md, from the records of the study."""
    records = sorted(study("audit").records(STEP), key=_place)
    cases = [case_of(record) for record in records if record.spec["base"] != "camvid"]
    judged = unseen(cases)
    return {
        "photographs: detectors": detectors(cases, judged),
        "photographs: false alarms": alarms(cases, judged),
        "photographs: kinds left out": kinds_left_out(cases),
    }


def unseen(cases: Sequence[Case]) -> list[Judgment]:
    """Return what a calibration without the data set of a case says of it: suspicion, whether protected, kind."""
    parts = {base: fit([case for case in cases if case.base != base]) for base in {case.base for case in cases}}
    judged = []
    for case in cases:
        part = parts[case.base]
        suspicion = part.suspicion(case.scores)
        judged.append((suspicion, suspicion > part.threshold, part.family(case.scores)[0]))
    return judged


def detectors(cases: Sequence[Case], judged: Sequence[Judgment]) -> str:
    """Return how well every detector tells protected sets, and how well all of them do."""
    whole = fit(cases)
    truth = np.array([bool(case.family) for case in cases])
    lines = []
    for name in DETECTORS:
        values = np.array([case.scores[name] for case in cases])
        found = np.mean(values[truth] > whole.thresholds[name])
        lines.append([name, f"{roc_auc_score(truth, values):.3f}", f"{found:.0%}"])
    found = np.mean([called for (_, called, _), protected in zip(judged, truth, strict=True) if protected])
    area = roc_auc_score(truth, [suspicion for suspicion, _, _ in judged])
    lines.append(["all, data set left out", f"{area:.3f}", f"{found:.0%}"])
    return table(["detector", "area under the ROC curve", "found at its threshold"], lines)


def alarms(cases: Sequence[Case], judged: Sequence[Judgment]) -> str:
    """Return how many unprotected sets are called protected, by a calibration without their data set."""
    lines = []
    for base in sorted({case.base for case in cases}):
        called = [
            found for case, (_, found, _) in zip(cases, judged, strict=True) if case.base == base and not case.family
        ]
        lines.append([base, f"{sum(called)} of {len(called)}"])
    return table(["unprotected sets of", "called protected"], lines)


def kinds_left_out(cases: Sequence[Case]) -> str:
    """Return how many sets of a kind of protection are found by a calibration that never saw the kind."""
    lines = []
    for family in sorted({case.family for case in cases} - {""}):
        part = fit([case for case in cases if case.family != family])
        hits = [part.suspicion(case.scores) > part.threshold for case in cases if case.family == family]
        lines.append([family, f"{sum(hits)} of {len(hits)}"])
    return table(["kind of protection left out", "found"], lines)


if __name__ == "__main__":
    main()

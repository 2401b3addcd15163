"""Which protection holds against learners of today? Mixtures with clean images, and pretrained networks.

Each learner has some clean images of its own; the worth of the protected ones follows (``howfar.score.worth``).
Finished victims stay in the store, so that the script goes on where it stopped.
Run: ``python studies/learners.py --data cifar10.npz --other npz:cifar100.npz --runs DIR``, with ``--imagenet FILE`` for
weights from ``examples/efficientnet_lite0.py``, then ``howfar store pack DIR -o results/learners.jsonl.xz --steps
protect,victim``. ``--small`` is a run of minutes. ``python studies/docs.py`` draws the tables of docs/learners.md, and
``--figure FILE`` draws the figure.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from drawn import code, run, study, table

from howfar import engine
from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite
from howfar.report.worth import percent
from howfar.score import Estimate
from howfar.store import Store
from howfar.tables import collect
from howfar.tables.worth import Worth

METHODS = ("random", "ops", "lsp", "ar", "pil", "cuda", "em:class", "carriers")
SHARED = ("ops", "lsp", "em:class", "carriers")
SHARES = (0.25, 0.5, 0.75, 1.0)
COUNTS = (100, 500, 2000)
TUNES = ("linear", "last", "all")
NETWORK, WIDER = "airbench:16-32-32", "airbench:small"  # from scratch, pretrained
CLEAN = 500  # clean images of the learner in the tables of worth
FULL: dict[str, Any] = {
    "dataset": "cifar10", "models": (NETWORK,), "limit_train": 10_000, "limit_test": 4000, "held_out": 4000,
    "probe_images": 0, "alignment_images": 0, "train": {"epochs": 6, "batch_size": 200},
}  # fmt: skip
SMALL: dict[str, Any] = {
    **FULL, "limit_train": 2000, "limit_test": 1000, "held_out": 1000, "train": {"epochs": 6, "batch_size": 100},
}  # fmt: skip
FEW, FEW_COUNTS = ("random", "ops", "lsp", "carriers"), (100, 500)  # of the small run
LINES = ("scratch", "pretrained", "shares", "imagenet")
LEARNERS = {  # by a part of the network's label, the last that fits; ``tune=all`` is the default and not in it
    NETWORK: "from scratch",
    "pretrained": "CIFAR-100, fine-tuned",
    "tune=linear": "CIFAR-100, linear probe",
    "tune=last": "CIFAR-100, last block",
    "tune=lora": "CIFAR-100, adapters",
    "normalization=inception": "ImageNet, linear probe",
}


def mixtures(counts: Sequence[int]) -> tuple[str, ...]:
    """Return the learners with so many clean images, with and without the protected ones."""
    return tuple(f"mix[clean={count}{alone}]" for count in counts for alone in ("", ",alone=true"))


def keys_of(line: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the keys of the suites of a line."""
    methods, counts = (FEW, FEW_COUNTS) if options.small else (METHODS, COUNTS)
    base = {"protectors": methods, "defenses": mixtures(counts)}
    if line == "scratch":
        yield base
    elif line == "shares":
        shared = [name for name in methods if name in SHARED]
        yield base | {"protectors": [f"{name}[share={share}]" for name in shared for share in SHARES if share < 1]}
    elif line == "pretrained":
        names = [f"pretrained[data={options.other},network={WIDER},tune={tune}]" for tune in options.tunes.split(",")]
        yield base | {"models": tuple(names), "train": {"epochs": 6}}
    elif line == "imagenet" and options.imagenet:
        name = f"pretrained:{options.imagenet},tune=linear,side=64,normalization=inception"
        yield base | {"models": (name,), "train": {"epochs": 3}}


def experiments(line: str, options: argparse.Namespace) -> list[Experiment]:
    """Return the cells of a line, seed by seed, so that all rows grow together."""
    size = SMALL if options.small else FULL
    found = [
        cell
        for keys in keys_of(line, options)
        for cell in make_suite(
            "standard", size, keys, {"seeds": options.seeds, "data_root": options.data}
        ).experiments()
    ]
    return sorted(found, key=lambda cell: cell.seed)


def tables() -> dict[str, str]:
    """Return the tables of docs/learners.md."""
    worths = largest(collect(study("learners"), brief=True).worths)
    return {
        "learners: worth": by_learner(worths, lambda one: percent(one.worth)),
        "learners: accuracy": by_learner(worths, lambda one: f"{100 * one.quality:.1f}", alone=True),
        "learners: clean images": by_count(worths),
        **({"learners: shares": by_share(worths)} if any(one.share < 1 for one in worths) else {}),
    }


def largest(worths: Sequence[Worth]) -> list[Worth]:
    """Return what was measured with the most images."""
    most = max(one.images for one in worths)
    return [one for one in worths if one.images == most]


def by_learner(worths: Sequence[Worth], text: Any, *, alone: bool = False) -> str:
    """Return a row per protector and a column per learner, with 500 clean images.

    Args:
        worths: entries.
        text: of an entry.
        alone: add rows without protected images and without protection.
    """
    found: dict[str, dict[str, Worth]] = {}
    for one in worths:
        if one.clean == CLEAN and one.share == 1:
            found.setdefault(one.protector, {})[learner(one)] = one
    columns = [name for name in LEARNERS.values() if any(name in row for row in found.values())]
    rows = [[code(name), *(text(row[c]) if c in row else "–" for c in columns)] for name, row in sorted(found.items())]
    if alone:
        first = next(iter(found.values()))
        own = [f"{100 * first[c].alone:.1f}" for c in columns]
        full = [f"{100 * first[c].full:.1f}" for c in columns]
        rows = [["clean images alone", *own], *rows, ["nothing protected", *full]]
    return table(["protector", *columns], rows)


def by_count(worths: Sequence[Worth]) -> str:
    """Return the worth to the learner from scratch by the number of its clean images."""
    own = [one for one in worths if learner(one) == LEARNERS[NETWORK] and one.share == 1]
    counts = sorted({one.clean for one in own})
    found = {(one.protector, one.clean): percent(one.worth) for one in own}
    names = sorted({one.protector for one in own})
    columns = ["protector", *(f"{count:,} clean" for count in counts)]
    return table(columns, [[code(name), *(found.get((name, count), "–") for count in counts)] for name in names])


def by_share(worths: Sequence[Worth]) -> str:
    """Return test accuracy by protected share, with 500 clean images, from scratch."""
    found: dict[str, dict[float, str]] = {}
    for one in worths:
        name = one.protector.partition("[share")[0]
        if one.clean == CLEAN and learner(one) == LEARNERS[NETWORK] and name in SHARED:
            found.setdefault(name, {})[one.share] = f"{100 * one.quality:.1f} · {percent(one.worth)}"
    columns = ["accuracy, % · worth", *(f"{100 * share:.0f} % protected" for share in SHARES)]
    return table(
        columns, [[code(name), *(row.get(s, "–") for s in SHARES)] for name, row in sorted(found.items())]
    )  # fmt: skip


def learner(one: Worth) -> str:
    """Return what the tables call a learner."""
    return next(words for part, words in reversed(LEARNERS.items()) if part in one.model)


def draw(worths: Sequence[Worth], file: Path) -> None:
    """Draw the worth of every protector to every learner, with intervals."""
    from matplotlib import pyplot

    own = [one for one in worths if one.clean == CLEAN and one.share == 1]
    names = sorted({one.protector for one in own})
    columns = [name for name in LEARNERS.values() if any(learner(one) == name for one in own)]
    figure, axes = pyplot.subplots(figsize=(7, 0.5 * len(names) + 1.6))
    for place, column in enumerate(columns):
        found = {one.protector: one.worth for one in own if learner(one) == column}
        rows = [names.index(name) + 0.15 * (place - len(columns) / 2) for name in found]
        values = [100 * each.value for each in found.values()]
        axes.errorbar(values, rows, xerr=_errors(list(found.values())), fmt="o", markersize=4, label=column)
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel=f"worth to a learner with {CLEAN} clean images, %")
    axes.axvline(0, color="gray", linewidth=0.8)
    axes.axvline(100, color="gray", linewidth=0.8, linestyle=":")
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _errors(found: Sequence[Estimate]) -> list[list[float]]:
    ends = [one.ends or (one.value, one.value) for one in found]
    below = [100 * max(one.value - low, 0) for one, (low, _) in zip(found, ends, strict=True)]
    above = [100 * max(high - one.value, 0) for one, (_, high) in zip(found, ends, strict=True)]
    return [below, above]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="CIFAR-10 as .npz")
    parser.add_argument("--other", default="cifar100", help="data set to pretrain on")
    parser.add_argument(
        "--imagenet", type=Path, help="weights of EfficientNet-Lite0; without them, the line is left out"
    )
    parser.add_argument("--runs", type=Path, help="folder of the store")
    parser.add_argument("--lines", default=",".join(LINES))
    parser.add_argument("--tunes", default=",".join(TUNES), help="lora needs peft")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--small", action="store_true", help="2,000 images and four protectors")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="draw the figure from results/learners.jsonl.xz, and stop")
    options = parser.parse_args()
    if options.figure:
        draw(largest(collect(study("learners"), brief=True).worths), options.figure)
        return
    if options.data is None or options.runs is None:
        parser.error("--data and --runs are needed")
    store = Store(options.runs)
    for line in options.lines.split(","):
        run(experiments(line, options), store, device=engine.choose_device("auto"), workers=options.workers)


if __name__ == "__main__":
    main()

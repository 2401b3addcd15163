"""Studies that one command of howfar runs; the docs hold the commands, and this file draws their tables.

``howfar bench --suite standard`` and ``--suite digits`` (docs/results.md), ``howfar ablate-ud`` (docs/sal.md).
"""

from collections.abc import Mapping

from alignment_judgment import LEVELS, SHARES
from drawn import code, study, table
from judgment import SMALL
from protectors import PUBLISHED

from howfar.report.numbers import plus_minus, ranged
from howfar.score import ssim_text
from howfar.store import Record
from howfar.tables import collect
from howfar.tables.ablation import Variant, compared

AMOUNTS = {"eps": lambda level: f"{255 * level:.0f}/255", "share": lambda level: f"{100 * level:.0f} %"}
REFERENCE = "reference, radius 0.05, 128 images"
RELEASE = {  # what the released code does: its name, and what it does to SAL and UD
    "exact, radius 0.05, 128 images": ("(none of this: `exact`)", ""),
    REFERENCE: (
        "SGD at lr 0.1 for a whole pass before one projection",
        "finds the smooth maxima only: the first layer of the clean model reads 1.2 nats where others within the ball "
        "are 4.0 high; may diverge, and losses that are not finite are passed over",
    ),
    f"{REFERENCE}, released baseline": (
        "+ counts from the training-mode mean loss of the epoch",
        "the fall contains ordinary progress of the epoch",
    ),
    f"{REFERENCE}, augmented": (
        "+ measures on re-augmented images instead",
        "a crop removes the shortcut, and its loss is compared with the loss with it: every layer of a poisoned model "
        "seems to rise by the same 4 to 8 nats",
    ),
    f"{REFERENCE}, released baseline, augmented": ("+ both, as released", ""),
    "SAL ÷ training loss": (
        "absolute differences against an absolute threshold (`fast`: {fast})",
        "UD follows the scale of the training loss; relative to it:",
    ),
    "k-means, random start": (
        "k-means from a random start",
        "β depends on the draw where clusters are not clear; not at all here, by up to {apart} over the pairs above",
    ),
}


def tables() -> dict[str, str]:
    """Return the tables of docs/results.md and docs/sal.md."""
    ablation = compared(study("ablation").records("ablation"))
    apart = max(line.moved for line in ablation if line.rule == "k-means, random start")
    eps, share = controls()
    return {
        "protectors: all of CIFAR-10": standard(),
        "results: controls along eps": eps,
        "results: controls along share": share,
        **digits(),
        "sal: ways to measure": ways(ablation),
        "sal: released": released(compared(study("released").records("ablation")), apart),
    }


def standard() -> str:
    """Return the leaderboard of victims that learn."""
    columns = [
        "protector", "poisoned, %", "published, %", "drop, points", "alignment", "UD", "L∞", "SSIM", "seeds",
    ]  # fmt: skip
    (group,) = collect(study("standard"), brief=True).groups
    lines = []
    for row in sorted(group.rows, key=lambda row: row.poisoned):
        known = PUBLISHED.get(row.protector)
        lines.append([
            code(row.protector), f"{100 * row.poisoned:.1f}", f"{known:.1f}" if known else "–",
            plus_minus(row.drop, ".1f", 100),
            ranged(row.alignment), ranged(row.ud.mean if row.ud else None),
            f"{row.linf}", ssim_text(row.ssim), f"{row.seeds}",
        ])  # fmt: skip
    return table(columns, lines)


def controls() -> tuple[str, str]:
    """Return drop and UD at every amount of protection, along eps and along share."""
    store = study("alignment-judgment")
    keys = [record.key for record in store.records("victim") if _is_base(record)]
    (group,) = collect(store, keys).groups
    tables = []
    for along, amounts in {"eps": [level / 255 for level in LEVELS], "share": list(SHARES)}.items():
        lines = []
        for control in sorted(group.controls, key=lambda one: one.protector):
            found = control.response
            if control.along != along or not set(amounts) <= set(found.levels):
                continue
            places = [found.levels.index(amount) for amount in amounts]
            uds = [found.ud[place] for place in places]
            drops = [100 * found.drop[place].value for place in places]
            cells = [f"{drop:.0f} · {ud.value:.2f}" for drop, ud in zip(drops, uds, strict=True)]
            widest = max(ud.ends[1] - ud.value for ud in uds if ud.ends)  # the lower end is cut at 0
            lines.append([code(control.protector), *cells, f"± {widest:.2f}", f"{found.ud_trend.rank.value:.2f}"])
        head = [AMOUNTS[along](amount) for amount in amounts]
        columns = [
            f"drop, points · UD at {along}",
            *head,
            "interval of UD, at most",
            "rank correlation of UD (should be −1)",
        ]
        tables.append(table(columns, lines))
    return tables[0], tables[1]


def _is_base(record: Record) -> bool:
    """Return whether a victim is an undefended one of the fixed network and recipe on CIFAR-10."""
    spec = record.spec
    recipe = spec["recipe"]
    return (
        (spec["dataset"]["label"], spec["defense"]["label"], spec["model"]["label"]) == ("cifar10", "none", SMALL)
        and recipe["optimizer"] == "nesterov"
        and bool(recipe["crop"])
    )


def digits() -> dict[str, str]:
    """Return the table of every network and defense."""
    found = {}
    for group in collect(study("digits"), brief=True).groups:
        row = group.rows[0]
        name = f"results: digits, {row.model.partition('[')[0]}, {row.defense}"
        found[name] = table(
            ["protector", "poisoned, %", "drop, points", "alignment", "UD", "L∞", "SSIM"],
            [
                [
                    code(row.protector), f"{100 * row.poisoned:.1f}", plus_minus(row.drop, ".1f", 100),
                    ranged(row.alignment), ranged(row.ud.mean if row.ud else None),
                    f"{row.linf}", ssim_text(row.ssim),
                ]
                for row in sorted(group.rows, key=lambda row: row.poisoned)
            ],
        )  # fmt: skip
    return found


def ways(lines: list[Variant]) -> str:
    """Return UD by the way it is measured, means over seeds."""
    columns = [
        "way to measure", *map(code, lines[0].ud), "rank correlation with drop", f"same to 0.03, of {lines[0].pairs}",
        "moved at most",
    ]  # fmt: skip
    found = []
    for line in lines:
        ranks = line.correlation
        numbers = [f"{ud.value:.2f}" for ud in line.ud.values()]
        rank = "–" if ranks is None else f"{ranks.rank.value:.2f}"
        found.append([_way(line), *numbers, rank, str(line.close), f"{line.moved:.2f}"])
    return table(columns, found)


def released(lines: list[Variant], apart: float) -> str:
    """Return what each step of the released code does to UD."""
    by_way = {_way(line): line for line in lines}
    words: Mapping[str, str] = {
        "fast": ", ".join(f"{ud.value:.2f}" for ud in lines[0].ud.values()), "apart": f"{apart:.2f}"
    }  # fmt: skip
    return table(
        ["the release", "what it does to SAL and UD", *(f"UD {code(name)}" for name in lines[0].ud)],
        [
            [what.format(**words), how.format(**words), *(f"{ud.value:.2f}" for ud in by_way[way].ud.values())]
            for way, (what, how) in RELEASE.items()
        ],
    )


def _way(line: Variant) -> str:
    return line.probe if line.rule == "per-epoch" else line.rule

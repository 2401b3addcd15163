"""The verdict in plain words: three sentences that sum it up, and one about every protector and victim."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from howfar.report.numbers import counted, percent, scale, shown, span, unit
from howfar.score import Correlation, DoseResponse
from howfar.score.metrics import LEARNED
from howfar.tables.decisions import BROKEN, CONFIDENCE, LEAST_GAIN, Outcome
from howfar.tables.verdicts import Verdict

NAMED = 8  # protectors that a sentence of the summary names; half of them where several victims are told apart
LONG = 40  # letters of a name in the summary
FEW, SHORT = 3, 28  # victims that it names, and letters of their names; otherwise it counts them
OUTCOMES: tuple[Outcome, ...] = ("holds", "does not hold", "cannot tell")
RULE = (
    f"Retention: (protected − chance) ÷ (clean − chance), with its {100 * CONFIDENCE:.0f} % interval over seeds and "
    f"test images. A protection holds if the whole interval lies below {100 * BROKEN:.0f} %, and does not hold if it "
    f"lies above. It takes {100 * CONFIDENCE:.0f} % to be wrong in about 5 % of the cases at most, also for the "
    "protector that scatters most; there is no correction for the number of pairs. Intervals of tables are 95 %, over "
    "seeds alone."
)
WANTED = {"seeds": "more seeds", "images": "more test images", "learning": "a victim that learns"}
WEAK = 2.0  # times the gain over chance from which a victim has learned: intervals of retention divide by the gain
UNKNOWN = "an unknown share"  # retained


def findings(response: DoseResponse) -> list[str]:
    """Return whether drop and UD follow the amount of protection."""
    return [_trend("drop", response.drop_trend), _trend("UD", response.ud_trend)]


def verdict(found: Sequence[Verdict]) -> list[str]:
    """Return the verdict as a terminal shows it: the summary, single seeds and the rule; nothing without verdicts."""
    return [*summary(found), *tentative(found), RULE] if found else []


def tentative(found: Sequence[Verdict]) -> list[str]:
    """Return what protectors with one seed retain, in one sentence; none where every protector has an interval."""
    names, told = victims(found), defaultdict(list)
    for one in found:
        if one.seeds == 1 and one.decision.lack == "seeds" and one.decision.retention is not None:
            where = f" of {_cut(names[one.victim])}" if len(names) > 1 else ""
            told[one.protector].append(f"{percent(one.decision.retention.value)} %{where}")
    if not told:
        return []
    most = NAMED if len(names) == 1 else NAMED // 2
    parts = [f"{_cut(name)} retains {_listed(shares)}" for name, shares in list(told.items())[:most]]
    more = f", {len(told) - most} more in the table" if len(told) > most else ""
    return [f"With one seed, {'; '.join(parts)}{more}: a first reading without an interval, not a verdict."]


def details(found: Sequence[Verdict]) -> list[str]:
    """Return one sentence about every protector and victim."""
    return [sentence(one) for one in found]


def sentences(found: Sequence[Verdict]) -> list[str]:
    """Return the same with the shortest names that tell the victims apart; none where there is one victim."""
    names = victims(found) if found else {}
    return [
        f"{one.protector}{f' on {names[one.victim]}' if len(names) > 1 else ''}: {one.decision.outcome}. {reason(one)}"
        for one in found
    ]


def as_markdown(found: Sequence[Verdict]) -> str:
    """Return the verdict and the sentence about every protector and victim, as Markdown."""
    if not found:
        return ""
    lines = [f"- {text}" for text in (*summary(found), RULE)]
    return "\n".join(["### Verdict", "", *lines, "", *(f"- {text}" for text in details(found)), "", ""]).replace(
        "<", "&lt;"
    )


def summary(found: Sequence[Verdict]) -> list[str]:
    """Return the answer and what it rests on."""
    return [*answer(found), *footing(found)]


def answer(found: Sequence[Verdict]) -> list[str]:
    """Return one sentence per outcome about all protectors but the baselines."""
    judged = [one for one in found if not one.baseline]
    return [_outcome(judged, outcome, victims(found)) for outcome in OUTCOMES] if judged else []


def footing(found: Sequence[Verdict]) -> list[str]:
    """Return one sentence on the baselines, and one on what was tried."""
    baselines = [one for one in found if one.baseline]
    return [*([_baselines(baselines, victims(found))] if baselines else []), *([scope(found)] if found else [])]


def victims(found: Sequence[Verdict]) -> dict[str, str]:
    """Return the shortest names that tell the victims of a page apart: their task, their network, or both."""
    known = {one.victim: one for one in found}
    for parts in (("task",), ("model",), ("task", "model"), ("dataset", "task"), ("dataset", "task", "model")):
        names = {victim: " · ".join(getattr(one, part) for part in parts) for victim, one in known.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def scope(found: Sequence[Verdict]) -> str:
    """Return what the verdicts rest on: victims, defenses, seeds, images and chance."""
    victims = sorted({one.victim for one in found})
    against = victims[0] if len(victims) == 1 else counted(len(victims), "victim")
    chances = sorted({_quality(one.metric, one.chance) for one in found})
    chance = f"chance {chances[0]}" if len(chances) == 1 else "chance differs by task"
    return (
        f"Tested against {against}; {span({one.defenses for one in found}, 'defense')} tried, "
        f"{span({one.seeds for one in found}, 'seed')}, "
        f"{span({one.test_images for one in found}, 'test image')}, {chance}."
    )


def sentence(one: Verdict) -> str:
    """Return the verdict on one protector and victim, with all that it rests on."""
    return f"{one.protector} on {one.victim}: {one.decision.outcome}. {reason(one)}"


def reason(one: Verdict) -> str:
    """Return the numbers that a verdict rests on, and what would decide an open one."""
    chance = _quality(one.metric, one.chance)
    learner = "The victim" if one.defense == "none" else f"The victim with {one.defense}"
    reached = (
        f"{learner} reaches {_quality(one.metric, one.protected)} (clean {_quality(one.metric, one.clean)}, "
        f"chance {chance})"
    )
    tried = "no defense" if not one.defenses else counted(one.defenses, "defense")
    basis = f"{counted(one.seeds, 'seed')}, {one.test_images:,} test images, {tried} tried"
    return f"{reached} and retains {retained(one)}; {basis}.{_remedy(one)}"


def retained(one: Verdict) -> str:
    """Return the retention with its interval, as in ``12 % (4 to 20)``; without one where it is too wide."""
    kept = one.decision.retention
    if kept is None or one.decision.lack == "learning":
        return UNKNOWN
    value = f"{percent(kept.value)} %"
    if one.decision.shown is not None:
        low, high = one.decision.shown
        return f"{value} ({percent(low)} to {percent(high)})"
    if kept.ends is not None:
        return f"{UNKNOWN} (the interval is wider than 100 points)"
    if one.seeds == 1:
        return f"{value} (one seed, so no interval)"
    return f"{value} (no interval: the clean victims of {one.seeds} seeds differ {_by(one)}too much for one; add seeds)"


def _by(one: Verdict) -> str:
    """Return by how much the clean victims differ, as in ``by 7 points, ``; empty where that is not known."""
    if one.clean_spread is None:
        return ""
    if scale(one.metric) > 1:
        return f"by {100 * one.clean_spread:.0f} points, "
    return f"by {shown(one.metric, one.clean_spread)}{unit(one.metric).replace(' in', '')}, "


def _remedy(one: Verdict) -> str:
    """Return what would decide an open verdict."""
    if one.decision.lack == "images":
        return f" {one.test_images} test images are too few: more of them would decide it, more seeds would not."
    if one.decision.lack == "learning":
        return (
            " The clean victim learned too little: train it longer (--epochs), on more images, or, if images are "
            "smaller than 16 pixels, without augmentation (--set train.crop=0 --set train.flip=false)."
        )
    if one.decision.lack == "seeds" and one.seeds == 1 and not _weak(one):
        return f" One seed has no interval; three have one ({_more(one)})."
    if one.decision.lack == "seeds" and _weak(one):
        return f" The clean victim is close to chance: train it longer (--epochs), then add seeds ({_more(one)})."
    if one.decision.lack == "seeds":
        return f" More seeds would decide it ({_more(one)})."
    return ""


def _more(one: Verdict) -> str:
    """Return how to ask for three seeds instead of one; else for about twice as many, at least six."""
    return f"--seeds 0-{2 if one.seeds == 1 else max(2 * one.seeds, 6) - 1}"


def _weak(one: Verdict) -> bool:
    """Return whether the clean victim has learned so little that more epochs help more than more seeds."""
    whole = LEAST_GAIN.get(one.metric, LEARNED) * (1.0 if scale(one.metric) > 1 else max(abs(one.chance), 1e-9))
    return abs(one.clean - one.chance) < WEAK * whole


def _wanted(one: Verdict) -> str:
    """Return what an open verdict lacks, in two or three words; empty where it is decided."""
    if one.decision.lack == "seeds" and _weak(one):
        return "more epochs"
    return WANTED[one.decision.lack] if one.decision.lack else ""


def _outcome(found: Sequence[Verdict], outcome: Outcome, names: Mapping[str, str]) -> str:
    """Return which protectors have an outcome, and against which victims."""
    rows: dict[str, list[Verdict]] = defaultdict(list)
    for one in found:
        rows[one.protector].append(one)
    having = {name: [one for one in ones if one.decision.outcome == outcome] for name, ones in rows.items()}
    order = sorted((name for name in having if having[name]), key=lambda name: -len(having[name]) / len(rows[name]))
    most = NAMED if len(names) == 1 else NAMED // 2
    title, all_of = outcome.capitalize(), counted(len(rows), "protector")
    if not order:
        return f"{title}: none."
    told = [f"{_cut(name)} ({_where(having[name], len(rows[name]), names)})" for name in order[:most]]
    more = [f"{len(order) - most} more"] if len(order) > most else []
    text = f"{title} ({len(order)} of {all_of}): {_listed([*told, *more])}."
    return text + _would_decide(having, rows, names) if len(names) > 1 else text


def _cut(name: str) -> str:
    return name if len(name) <= LONG else f"{name[: LONG - 1]}…"


def _would_decide(
    having: Mapping[str, Sequence[Verdict]], rows: Mapping[str, Sequence[Verdict]], names: Mapping[str, str]
) -> str:  # fmt: skip
    """Return what open verdicts lack, and which protectors they are about."""
    lacks: dict[str, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for protector, ones in having.items():
        for one in ones:
            if wanted := _wanted(one):
                lacks[wanted][protector].append(one)
    told = []
    for lack, about in lacks.items():
        most = NAMED // 2
        each = [f"{_cut(name)} ({_where(ones, len(rows[name]), names)})" for name, ones in list(about.items())[:most]]
        told.append(f"{lack} for {_listed([*each, *([f'{len(about) - most} more'] if len(about) > most else [])])}")
    return f" What would decide them: {'; '.join(told)}." if told else ""


def _where(found: Sequence[Verdict], tested: int, names: Mapping[str, str]) -> str:
    """Return which victims an outcome is about, or how many of those tested; with one victim, what it retains."""
    if len(names) == 1:
        return _short(found[0])
    if len(found) <= FEW and all(len(names[one.victim]) <= SHORT for one in found):
        return ", ".join(names[one.victim] for one in found)
    return f"{len(found)} of {counted(tested, 'victim')}"


def _short(one: Verdict) -> str:
    """Return what a summary says of a protector that met one victim."""
    if wanted := _wanted(one):
        return f"needs {wanted}"
    return f"retains {retained(one).partition(' (')[0]}"


def _baselines(found: Sequence[Verdict], names: Mapping[str, str]) -> str:
    if len(names) == 1:
        told = [f"{one.protector} {one.decision.outcome} ({_short(one)})" for one in found]
        return f"Baseline, random noise: {_listed(told)}."
    counts = [f"{outcome} in {sum(one.decision.outcome == outcome for one in found)}" for outcome in OUTCOMES]
    return f"Baseline, random noise, in {counted(len(found), 'case')}: {_listed(counts)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _trend(name: str, trend: Correlation) -> str:
    """Return how a measure follows the amount of protection; its direction only where the interval has one sign."""
    if trend.rank.ends is None:
        return f"rank correlation of amount and {name} {trend.rank.value:.2f}, too few amounts for an interval"
    low, high = trend.rank.ends
    known = f"(rank correlation {trend.rank.value:.2f}, {low:.2f} to {high:.2f})"
    if trend.direction == "open":
        return f"{name} is not shown to rise or fall {known}"
    return f"{name} {trend.direction}{' at every step' if trend.monotone else ', not at every step,'} {known}"


def _quality(metric: str, value: float) -> str:
    if scale(metric) > 1:
        return f"{100 * value:.0f} %"
    return f"{metric} {shown(metric, value)}{unit(metric).replace(' in', '')}"

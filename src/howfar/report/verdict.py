"""What the numbers say, in plain words."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from howfar.report.leaderboard import Row
from howfar.score import Correlation, DoseResponse, WorstCase

if TYPE_CHECKING:
    from howfar.report.page import Group
    from howfar.report.profile import Profile

BROKEN = 0.5  # protection holds where it takes more than this share of (clean − chance)
LEARNED = 0.1  # a clean model must be this far above chance before anything follows from it


def findings(response: DoseResponse) -> list[str]:
    """Return whether drop and UD follow the amount of protection."""
    return [_trend("drop", response.drop_trend), _trend("UD", response.ud_trend)]


def verdict(groups: "Sequence[Group]", profiles: "Sequence[Profile]" = ()) -> list[str]:
    """Return the answer in plain words: one sentence a protector, the weakest point of each named.

    Args:
        groups: tables of one victim and defense each.
        profiles: worst cases, believed first.
    """
    weakest: dict[tuple[str, str], tuple[Profile, WorstCase]] = {}
    for profile in profiles:
        for protector, found in profile.worst.items():
            key = profile.dataset, protector
            if protector != "clean" and (key not in weakest or found.kept < weakest[key][1].kept):
                weakest[key] = profile, found
    ranked = sorted(weakest.items(), key=lambda item: -item[1][1].kept)
    sentences = [_worst(protector, *found) for (_, protector), found in ranked]
    return sentences + _plain(groups, set(weakest))


def _worst(protector: str, profile: "Profile", found: WorstCase) -> str:
    reach = "" if math.isinf(found.high) else f" ± {100 * (found.high - found.kept):.0f}"
    most = "at most " if profile.stopped(protector) else ""
    best, how = found.poisoned, f"with defense {found.poisoned.defense}"
    return (
        f"{protector} on {profile.dataset} keeps {most}{100 * found.kept:.0f}{reach} % of its protection "
        f"when the learner chooses among {best.tried} defenses: a {profile.model} "
        f"{'without defense' if best.defense == 'none' else how} reaches {100 * best.quality:.0f} % "
        f"(clean {100 * found.clean.quality:.0f} %)."
    )


def _plain(groups: "Sequence[Group]", known: set[tuple[str, str]]) -> list[str]:
    """Return a sentence for every protector without a worst case."""
    best: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    sentences = []
    for group in groups:
        for row in group.rows:
            learned = row.clean - group.chance
            if (row.dataset, row.protector) in known:
                continue
            if row.protector != "clean" and learned >= LEARNED:
                kept = (row.clean - row.poisoned) / learned
                best.setdefault((row.dataset, row.protector), []).append((kept, row))
            elif row.protector == "clean" and learned < LEARNED:
                little = f"{_learner(row).capitalize()} learned little of the clean {row.dataset} itself"
                sentences.append(f"{little} ({100 * row.clean:.0f} %), so nothing follows from it: train for longer.")
    for (dataset, protector), found in sorted(best.items(), key=lambda item: -min(kept for kept, _ in item[1])):
        kept, row = min(found, key=lambda pair: pair[0])
        top_kept, top = max(found, key=lambda pair: pair[0])
        where = f"{_learner(row)} reaches {100 * row.poisoned:.0f} % (clean {100 * row.clean:.0f} %)"
        if kept > BROKEN:
            sentences.append(f"{protector} on {dataset} held against every victim and defense tried: at best {where}.")
        elif top_kept > BROKEN:
            sentences.append(
                f"{protector} on {dataset} hurts {_learner(top)} "
                f"(down to {100 * top.poisoned:.0f} %), but {where}: a learner has a way around it."
            )
        else:
            sentences.append(f"{protector} on {dataset} did not protect: {where}.")
    return sentences


def _trend(name: str, trend: Correlation) -> str:
    way = "rises" if trend.value > 0 else "falls" if trend.value < 0 else "does not move"
    steps = "" if not trend.value else " at every step" if trend.monotone else ", not at every step,"
    reach = "" if trend.low is None or trend.high is None else f", {trend.low:.2f} to {trend.high:.2f}"
    return f"{name} {way}{steps} (rank correlation {trend.value:.2f}{reach})"


def _learner(row: Row) -> str:
    return f"a {row.model} without defense" if row.defense == "none" else f"a {row.model} with defense {row.defense}"

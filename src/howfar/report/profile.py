"""The whole profile of a victim, every protector under every defense, for the terminal, the page and Markdown."""

import json
from collections.abc import Sequence

from howfar.report.numbers import quality, shown, unit
from howfar.score import WorstCase, kept_text
from howfar.tables.profiles import Profile

HEADER = ("protector", "protection kept (95 %)", "best learner gets", "by", "clean gets", "by", "tried", "seeds")


def title(profile: Profile) -> str:
    """Return the heading."""
    return (
        f"{profile.learner} · worst case of {len(profile.defenses)} defenses · {profile.metric}{unit(profile.metric)}"
    )


def lines(profile: Profile) -> list[tuple[str, ...]]:
    """Return the ranking as a person reads it."""
    return [_line(profile, name, profile.worst[name]) for name in profile.quality if name in profile.worst]


def qualities(profile: Profile) -> list[tuple[str, ...]]:
    """Return mean quality under every defense, one line per protector, in the order of ``defenses``."""
    return [
        (name, *(shown(profile.metric, values[d]) if d in values else "–" for d in profile.defenses))
        for name, values in profile.quality.items()
    ]


def _line(profile: Profile, protector: str, found: WorstCase) -> tuple[str, ...]:
    best = found.poisoned
    return (
        protector,
        kept_text(found, stopped=profile.stopped(protector)),
        quality(profile.metric, best.quality),
        best.defense,
        shown(profile.metric, found.clean.quality.value),
        found.clean.defense,
        f"{best.tried}",
        f"{best.quality.n}",
    )


def as_json(profiles: Sequence[Profile]) -> str:
    """Return the profiles as a JSON list."""
    return json.dumps([profile.as_dict() for profile in profiles], indent=1, ensure_ascii=False) + "\n"


def as_markdown(profiles: Sequence[Profile]) -> str:
    """Return one Markdown table per victim."""
    text: list[str] = []
    for profile in profiles:
        if profile.worst:
            rows = [HEADER, ("-",) * len(HEADER), *lines(profile)]
            text += [f"### {_escape(title(profile))}", ""]
            text += [f"| {' | '.join(_escape(text) for text in row)} |" for row in rows] + [""]
    return "\n".join(text) + ("\n" if text else "")


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")

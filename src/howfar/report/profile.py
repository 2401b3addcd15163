"""The whole profile of a victim: every protector under every defense, ranked by the worst case."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from howfar.report.numbers import quality, rounded, shown, unit
from howfar.score import WorstCase, kept_text

HEADER = ("protector", "protection kept (95 %)", "best learner gets", "by", "clean gets", "by", "tried", "seeds")


@dataclass(frozen=True)
class Profile:
    """What every defense gets out of every protected set, for one victim.

    Attributes:
        dataset: label of the data.
        task: what the victim learns.
        model: the victim.
        metric: name of the quality.
        chance: quality of a constant guess.
        defenses: in the order of the table.
        quality: by protector and defense, mean quality over seeds on clean test images; the best protection first.
        worst: by protector; empty where no images were kept back to choose a defense by.
    """

    dataset: str
    task: str
    model: str
    metric: str
    chance: float
    defenses: list[str]
    quality: dict[str, dict[str, float]]
    worst: dict[str, WorstCase]

    @property
    def learner(self) -> str:
        """What the table is about, for a heading."""
        return f"{self.dataset} · {self.task} · {self.model}"

    @property
    def title(self) -> str:
        """The heading."""
        return f"{self.learner} · worst case of {len(self.defenses)} defenses · {self.metric}{unit(self.metric)}"

    def stopped(self, protector: str) -> bool:
        """Return whether not every defense was tried, so that even less may be left."""
        return len(self.quality[protector]) < len(self.defenses)

    def lines(self) -> list[tuple[str, ...]]:
        """Return the ranking as a person reads it."""
        return [self._line(name, self.worst[name]) for name in self.quality if name in self.worst]

    def qualities(self) -> list[tuple[str, ...]]:
        """Return mean quality under every defense, one line a protector, in the order of ``defenses``."""
        return [
            (name, *(shown(self.metric, values[d]) if d in values else "–" for d in self.defenses))
            for name, values in self.quality.items()
        ]

    def _line(self, protector: str, found: WorstCase) -> tuple[str, ...]:
        kept = kept_text(found)
        most = "≤ " if self.stopped(protector) and kept[0].isdigit() else ""
        return (
            protector,
            f"{most}{kept}",
            quality(self.metric, found.poisoned.quality, found.poisoned.low, found.poisoned.high),
            found.poisoned.defense,
            shown(self.metric, found.clean.quality),
            found.clean.defense,
            f"{found.poisoned.tried}",
            f"{found.poisoned.seeds}",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as JSON values."""
        found: dict[str, Any] = rounded(asdict(self))
        return found


def as_json(profiles: Sequence[Profile]) -> str:
    """Return the profiles as a JSON list."""
    return json.dumps([profile.as_dict() for profile in profiles], indent=1, ensure_ascii=False) + "\n"


def as_markdown(profiles: Sequence[Profile]) -> str:
    """Return one Markdown table a victim."""
    lines: list[str] = []
    for profile in profiles:
        if profile.worst:
            rows = [HEADER, ("-",) * len(HEADER), *profile.lines()]
            lines += [f"### {_escape(profile.title)}", ""]
            lines += [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in rows] + [""]
    return "\n".join(lines) + ("\n" if lines else "")


def as_table(profile: Profile) -> Table:
    """Return the ranking for the terminal."""
    table = Table(title=Text(profile.title), title_justify="left", header_style="bold")
    for name in HEADER:
        table.add_column(name, justify="left" if name in ("protector", "by") else "right")
    for line in profile.lines():
        table.add_row(*(Text(cell) for cell in line))
    return table


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")

"""Drops in accuracy through the protection of photographs, from the records of the victims."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from howfar.errors import UsageError
from howfar.score import Estimate, retention, to_json
from howfar.store import Record
from howfar.tables.decisions import CONFIDENCE, Decision, decide, has_learned, image_error
from howfar.tables.groups import Spreads, VictimGroup, drop_of, drops_of, mean_quality, seeds_of

SCRATCH, TUNED = "from scratch", "fine-tuned"  # how a learner begins


@dataclass(frozen=True)
class Loss:
    """Loss of quality caused by the protection, over seeds.

    Attributes:
        task: label of the task.
        way: upload transform of the photographs, or the protected share.
        metric: name of the metric.
        chance: quality of the best image-independent baseline.
        clean: quality after training on the originals.
        protected: quality after training on the protected copies.
        drop: clean − protected, with the sign changed if lower is better.
        retention: (protected − chance) ÷ (clean − chance) with the interval of ``howfar.tables.decisions``; None if the
            originals were not learned.
        test_images: number of photographs that the networks were tested with.
        learner: ``from scratch``, or ``fine-tuned`` from a network pretrained on other photographs.
    """

    task: str
    way: str
    metric: str
    chance: float
    clean: float
    protected: float
    drop: Estimate
    retention: Estimate | None
    test_images: int
    learner: str = SCRATCH

    @property
    def error(self) -> float | None:
        """Standard error of the retention from the choice of test photographs; None if it is not known."""
        return image_error(
            self.metric, self.retention.value if self.retention else 1.0, clean=self.clean, protected=self.protected,
            chance=self.chance, images=self.test_images,
        )  # fmt: skip

    @property
    def decision(self) -> Decision:
        """Whether the protection holds, by the rule of all verdicts."""
        learned = has_learned(self.metric, self.clean, self.chance)
        return decide(self.retention, learned=learned, error=self.error)

    @property
    def learned(self) -> bool:
        """Whether training on the originals is better than chance, as far as the seeds show."""
        return self.decision.lack != "learning"

    def as_dict(self) -> dict[str, Any]:
        """Return the values that files hold."""
        about = ("task", "way", "learner", "metric", "chance", "clean", "protected")
        kept = self.retention and {**to_json(self.retention), "seeds": self.retention.n}
        return {
            **{name: getattr(self, name) for name in about},
            **to_json(self.drop), "retention": kept, "seeds": self.drop.n, "test_images": self.test_images,
            "outcome": self.decision.outcome,
        }  # fmt: skip


def losses_of(tables: Sequence[VictimGroup], ways: Mapping[str, str], order: Sequence[str]) -> list[Loss]:
    """Return what learners without a defense lose: classification as it is first, then other ways, shares and tasks.

    Args:
        tables: of one victim and defense each.
        ways: what happened to the photographs, by file of the copies.
        order: of ways and shares.
    """
    found = [
        loss for group in tables if (learner := _learner(group.labels)) for loss in _of_table(group, ways, learner)
    ]
    return sorted(
        found, key=lambda loss: (loss.task != "classification", loss.learner, order.index(loss.way), loss.task)
    )


def way_of(settings: Mapping[str, Any], ways: Mapping[str, str]) -> str:
    """Return what happened to the photographs, or the share that was protected; empty for the originals.

    Args:
        settings: of the protector.
        ways: by file of the copies.
    """
    way, share = ways.get(str(settings.get("file")), ""), settings.get("share", 1.0)
    return f"{share:.0%}" if way and share < 1 else way


def _learner(labels: Mapping[str, str]) -> str:
    """Return how a learner begins, from the names of its network and defense; empty for learners with a defense."""
    if labels["defense"] != "none":
        return ""
    return TUNED if labels["model"].startswith("pretrained") else SCRATCH


def _of_table(group: VictimGroup, ways: Mapping[str, str], learner: str) -> Iterator[Loss]:
    """Yield what one victim loses to every protected set; intervals know how all of them scatter."""
    pairs = {label: pair for label, pair in group.rows().items() if _way(pair[1][0], ways)}
    seeds = {label: seeds_of(after) for label, (_, after) in pairs.items()}
    spreads = Spreads((label, seeds[label], drops_of(*pair)) for label, pair in pairs.items())
    for label, (before, after) in pairs.items():
        first, lost = after[0].result, drop_of(before, after, spreads.of(label, seeds[label]))
        chance, better = first["chance"], first["higher_is_better"]
        clean, protected = _qualities(before), _qualities(after)
        others = [_qualities(pairs[other][1]) for other in pairs if other != label and seeds[other] == seeds[label]]
        try:
            kept = retention(
                clean, protected, chance=chance, higher_is_better=better, others=others, confidence=CONFIDENCE
            )
        except UsageError:  # the victims of the originals did not learn
            kept = None
        yield Loss(
            group.labels["task"], _way(after[0], ways), first["metric"], chance,
            mean_quality(before), mean_quality(after), lost, kept, first["test_images"], learner,
        )  # fmt: skip


def _way(victim: Record, ways: Mapping[str, str]) -> str:
    return way_of(victim.spec["protector"], ways)


def _qualities(records: Sequence[Record]) -> list[float]:
    return [record.result["quality"] for record in records]

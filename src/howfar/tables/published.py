"""Accuracies published by others, shown next to measured ones."""

from howfar.tables.verdicts import Verdict

SOURCE = (
    "Published: an undefended ResNet-18 on all of CIFAR-10 (APBench, June 2023; ISS for SEP; the authors' releases for "
    "PIL and Delusive). The scale differs: compare the order, not the values."
)
CIFAR10: dict[str, float] = {
    "lsp": 0.1306, "ar": 0.1174, "ops": 0.1469, "pil": 0.1277, "ntga": 0.2276, "tap": 0.0627, "sep": 0.0385,
    "hypo": 0.7038, "delusive": 0.1514, "delusive:p1": 0.3787, "delusive:p2": 0.7424, "delusive:p4": 0.2369,
    "delusive:p5": 0.1176, "em": 0.2078, "rem": 0.1747, "dc": 0.1519,
}  # fmt: skip


def published(one: Verdict) -> float | None:
    """Return the published accuracy of an undefended learner; None where none is known."""
    cifar10 = one.dataset.split(" ")[0].split("[")[0] == "cifar10"
    return CIFAR10.get(one.protector) if cifar10 and one.task == "classification" else None

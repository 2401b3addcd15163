"""The verdict of an audit, in plain language."""

from howfar.audit.detect import AuditResult
from howfar.audit.difference import Difference
from howfar.score import psnr_text, ssim_text


def sentences(finding: AuditResult) -> list[str]:
    """Return the sentences of the verdict."""
    if finding.protected is None:
        about = f" ({finding.images} images in {finding.classes} groups)" if finding.images else ""
        return [f"Cannot tell{about}: {finding.why_open}"]
    score = f"{finding.images} images in {finding.classes} classes; suspicion {finding.suspicion:.2f}, limit 1"
    if finding.protected:
        return [
            f"This looks protected ({score}).",
            f"Of clean sets like those of a calibration source, at most {100 * finding.false_alarms:.0f} % are called "
            f"protected (n = {finding.clean_sets} sets a source).",
            f"It looks most like {finding.family} (probability {finding.sure:.2f} among known kinds).",
        ]
    return [
        f"No protection was found ({score}).",
        f"Of protected sets of this size, {100 * finding.power:.0f} % are found. Weak protection and kinds that the "
        "detectors were not calibrated on may be missed.",
    ]


def left_out(finding: AuditResult, images: int, classes: int | None) -> str:
    """Return a sentence on the part of a set that was examined; empty if it is all of it, or nothing.

    Args:
        finding: of the examined part.
        images: number of images of the whole set.
        classes: number of its labels; None where they are clusters.
    """
    if not finding.images or (finding.images, finding.classes) == (images, classes or finding.classes):
        return ""
    labels = "" if classes is None else f", {finding.classes} of {classes} classes"
    return f"examined: {finding.images} of {images} images{labels}"


def changes(change: Difference) -> list[str]:
    """Return sentences about the change."""
    budget = change.budget
    bands = ", ".join(f"{name} {100 * share:.0f} %" for name, share in change.bands.items())
    classes = ", ".join(f"{label}: {norm:.2f}" for label, norm in change.by_class.items())
    low, middle, high = change.largest
    return [
        f"{100 * change.changed:.0f} % of the images were changed, by at most {budget.linf}/255 (per image: {low} to "
        f"{high}, median {middle}); L2 {budget.l2:.2f}, PSNR {psnr_text(budget.psnr, budget.linf, ' dB')}, "
        f"SSIM {ssim_text(budget.ssim)}.",
        f"Energy of the change by frequency: {bands}. L2 by class: {classes}.",
        f"Images of one class share {'their noise' if change.shared > 0.5 else 'little of their noise'} "
        f"(cosine within classes minus between classes {change.shared:.2f}).",
    ]

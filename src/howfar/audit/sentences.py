"""What an audit found, in plain words."""

from howfar.audit.detect import AuditResult
from howfar.audit.difference import Difference
from howfar.score import psnr_text, ssim_text


def sentences(finding: AuditResult) -> list[str]:
    """Return the verdict in plain words."""
    about = f"{finding.images} images in {finding.classes} groups"
    if finding.protected is None:
        return [f"Cannot tell ({about}): {finding.why_open}"]
    about = f"{finding.images} images in {finding.classes} classes"
    alarms = f"{100 * finding.false_alarms:.0f} % of clean sets are called protected by mistake"
    if finding.protected:
        return [
            f"This looks protected ({about}; suspicion {finding.suspicion:.2f}; {alarms}).",
            f"It looks most like {finding.family} (probability {finding.sure:.2f} among the kinds that are known).",
        ]
    return [
        f"No protection was found ({about}; suspicion {finding.suspicion:.2f}; {alarms}). Kinds that the detectors "
        "were not calibrated on may escape them."
    ]


def changes(change: Difference) -> list[str]:
    """Return what was changed, in plain words."""
    seen = change.budget
    bands = ", ".join(f"{name} {100 * share:.0f} %" for name, share in change.bands.items())
    classes = ", ".join(f"{label}: {norm:.2f}" for label, norm in change.by_class.items())
    low, middle, high = change.largest
    return [
        f"{100 * change.changed:.0f} % of the images were changed, by at most {seen.linf}/255 (an image: {low} to "
        f"{high}, median {middle}); L2 {seen.l2:.2f}, PSNR {psnr_text(seen.psnr, seen.linf, ' dB')}, "
        f"SSIM {ssim_text(seen.ssim)}.",
        f"Energy of the change by frequency: {bands}. L2 by class: {classes}.",
        f"Images of one class share {'their noise' if change.shared > 0.5 else 'little of their noise'} "
        f"(cosine within classes less that between them {change.shared:.2f}).",
    ]

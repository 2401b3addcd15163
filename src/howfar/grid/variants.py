"""Other ways to measure SAL, for an ablation: one setting is changed at a time."""

from collections.abc import Sequence
from dataclasses import replace

from howfar.probe import Probe


def varied(
    base: Probe, *, radii: Sequence[float], steps: Sequence[int], modes: Sequence[str], images: Sequence[int],
    released: bool = False,
) -> tuple[Probe, ...]:  # fmt: skip
    """Return ``base`` with one setting changed at a time.

    Args:
        base: the unchanged setting, not included.
        radii: of the ball.
        steps: of ``fast``.
        modes: other modes.
        images: sizes of the probe set.
        released: include ``reference`` with details of the released code beyond the definition.
    """
    found: list[Probe] = [replace(base, radius=radius) for radius in radii]
    found += [replace(base, steps=count) for count in steps]
    found += [replace(base, mode=mode) for mode in modes]  # type: ignore[arg-type]
    found += [replace(base, images=count) for count in images]
    if released:
        reference = replace(base, mode="reference")
        found += [reference, replace(reference, baseline=True), replace(reference, augment=True)]
        found += [replace(reference, baseline=True, augment=True)]
    return tuple(probe for probe in dict.fromkeys(found) if probe != base)

"""Early stopping."""

from howfar.defend.defense import Defense

VERSION = 1


def early_stop() -> Defense:
    """Early stopping: the weights of the best epoch on clean validation images (arXiv:2204.08615).

    Shortcuts are not always learned first. Test images are not used.

    Example:
        >>> from howfar import DEFENSES
        >>> DEFENSES["early-stop"]().selects  # the best epoch on validation images is kept
        True
    """
    return Defense(selects=True)

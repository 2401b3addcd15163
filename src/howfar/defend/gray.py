"""Grayscale."""

from howfar.arrays import Images
from howfar.defend.defense import Defense, image_by_image

VERSION = 1
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # ITU-R BT.601


def gray() -> Defense:
    """Grayscale: the luminance three times, once for every training image (Liu et al., ICML 2023, arXiv:2301.13838).

    Images of one channel stay as they are.
    """
    return Defense(purify=image_by_image(_luminance))


def _luminance(images: Images) -> Images:
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    return (RED * red + GREEN * green + BLUE * blue)[:, None].expand_as(images)

"""One photograph at a time, with noise that depends on a key alone: for servers that resize uploads."""

import functools
import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from howfar import arrays
from howfar.errors import HowfarError, UsageError, unknown
from howfar.photos.encoding import Encoding, encoded
from howfar.photos.mask import shaped
from howfar.photos.noise import NoiseSet, craft, enlarged, together
from howfar.photos.picture import changed, upright_bytes
from howfar.photos.strength import PROTECTOR, SIDES, STRENGTH, STRENGTHS
from howfar.protectors import PROTECTORS, Draft
from howfar.spec import parse

MODES = {2: "L", 3: "RGB", 4: "RGBA"}


def protect_image(image: Any, *, key: str, label: str = "", strength: str = STRENGTH) -> NDArray[np.uint8]:
    """Return one photograph with noise that depends on a key, and on a label if there is one.

    All photographs with the same key and label get the same pattern, shaped to what the eye forgives in each of them.
    Resize photographs before, since resizing afterwards weakens the noise. The first call with a key crafts its
    pattern, which takes a moment; later ones take 25 ms per megapixel on one core.

    Args:
        image: gray (height, width), RGB (height, width, 3) or RGBA (height, width, 4).
        key: any text; keep it secret, since who knows it can subtract the noise.
        label: what the photograph shows, or who published it.
        strength: ``low``, ``mid`` or ``high``, as in ``howfar protect``.

    Raises:
        HowfarError: for anything but bytes in one of these shapes.
        UsageError: for an empty key, or an unknown strength.

    Example:
        >>> import numpy as np
        >>> from howfar import protect_image
        >>> photo = np.full((60, 80, 3), 128, np.uint8)
        >>> protected = protect_image(photo, key="secret", label="cats")
        >>> protected.shape, int(abs(protected.astype(int) - photo).max()) <= 8
        ((60, 80, 3), True)
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise HowfarError("protect_image takes a NumPy array of bytes (uint8). Convert the image first.")
    kind = MODES.get(image.shape[2]) if image.ndim == 3 else "L" if image.ndim == 2 else None
    if kind is None or (kind == "L" and image.ndim == 3) or 0 in image.shape:
        raise HowfarError(
            f"protect_image takes (height, width), (height, width, 3) or (height, width, 4), not {image.shape}."
        )
    return np.asarray(protected_picture(Image.fromarray(image), key=key, label=label, strength=strength))


def protected_picture(image: Image.Image, *, key: str, label: str = "", strength: str = STRENGTH) -> Image.Image:
    """Return the same for an image as ``howfar.photos.picture.upright`` returns it."""
    if not key:
        raise UsageError("the key is empty. Give any text, and keep it secret.")
    if strength not in STRENGTHS:
        raise unknown("strength", strength, STRENGTHS)
    seen, eps = STRENGTHS[strength]
    noises = pattern(key, label, eps)
    noise = enlarged(noises.values[0], image.width, image.height, noises.limit)
    return changed(image, shaped(noise, noises.limit, image, seen))


def protected_file(content: bytes, encoding: Encoding, *, key: str, label: str = "", strength: str = STRENGTH) -> bytes:
    """Return the bytes of a protected copy of the bytes of one photograph.

    Args:
        content: of the file.
        encoding: ``auto`` keeps JPEG, PNG, WebP and TIFF.
        key: as in ``protect_image``.
        label: as in ``protect_image``.
        strength: as in ``protect_image``.

    Raises:
        HowfarError: if it is no photograph that can be protected.
    """
    image = upright_bytes(content, "the photograph")
    kind = str(image.info.get("format") or "PNG").lower().replace("mpo", "jpeg")
    name = f"photo.{kind}"
    return encoded(protected_picture(image, key=key, label=label, strength=strength), image, encoding.of(name))


@functools.lru_cache(maxsize=256)
def pattern(key: str, label: str, eps: str) -> NoiseSet:
    """Return the pattern of a key and a label, as the noise of a single photograph.

    Args:
        key: any text.
        label: any text.
        eps: largest change of any value, e.g. ``8/255``.
    """
    protector: Any = parse(PROTECTOR, PROTECTORS, "protector", eps=eps).build()
    seed = int.from_bytes(hashlib.sha256(f"{len(key)}:{key}{label}".encode()).digest()[:4], "big")
    before = [torch.full((1, 3, side, side), 128, dtype=torch.uint8) for side in SIDES]
    after: list[Tensor] = [
        arrays.finished(craft(gray, ["one"], protector, seed=seed, device=torch.device("cpu"), draft=Draft()))
        for gray in before
    ]
    return together(before, after)

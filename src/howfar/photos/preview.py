"""A page that shows crops of photographs before and after protection, at 100 %, for all strengths."""

import base64
import io
from collections.abc import Generator, Sequence
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from howfar.data import clustered
from howfar.errors import HowfarError
from howfar.photos.listing import Photo
from howfar.photos.noise import craft, together
from howfar.photos.picture import changed, eight_bits, measured, thumbnails, upright
from howfar.photos.strength import SIDES, STRENGTHS
from howfar.protectors import Draft, Progress, Protector

COUNT, SIDE = 10, 240  # photographs on the page; pixels of a crop
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>howfar protect: preview</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 1rem; color: #222; background: #fff; overflow-wrap: anywhere; }}
figure {{ display: inline-block; margin: 0 .5rem 1rem 0; }}
figcaption {{ font-size: .85rem; }}
img {{ display: block; width: {side}px; image-rendering: pixelated; }}
h2 {{ font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }}
</style></head><body>
<h1>Before and after</h1>
<p>{count} photographs, one crop each at 100 %: the smoothest part of the photograph, where noise is seen first. SSIM
belongs to the crop. The noise is of the kind that <code>howfar protect</code> adds, but was made for these photographs
alone.</p>
{rows}
</body></html>
"""


def preview(photos: Sequence[Photo], folder: Path, protectors: dict[str, Protector]) -> Generator[Progress, None, str]:
    """Return the page as HTML; photographs that cannot be read are named in their place.

    Args:
        photos: of the folder; ``COUNT`` of them, evenly spaced, are shown.
        folder: of the photographs.
        protectors: by strength.
    """
    places = np.linspace(0, len(photos) - 1, min(COUNT, len(photos))).round().astype(int)
    chosen, small, rows = [], [], []
    for photo in (photos[place] for place in places):
        try:
            small.append(thumbnails(folder / photo.name, SIDES))
            chosen.append(photo)
        except HowfarError as error:
            rows.append(f"<h2>{escape(photo.name)}</h2><p>{escape(str(error))}</p>")
    if not chosen:
        raise HowfarError("none of the photographs can be shown.")
    before = [torch.from_numpy(np.stack(pixels)) for pixels in zip(*small, strict=True)]
    labels = [photo.label for photo in chosen]
    if not all(labels):
        labels = [f"cluster {number}" for number in clustered(before[0], len(chosen)).tolist()]
    noises = {}
    for strength, protector in protectors.items():
        after = []
        for pixels in before:
            after.append((yield from craft(
                pixels, labels, protector, seed=0, device=torch.device("cpu"), draft=Draft()
            )))  # fmt: skip
        noises[strength] = together(before, after)
    for place, photo in enumerate(chosen):
        image = upright(folder / photo.name)
        crop = _smoothest(image)
        shown = [_figure(image.crop(crop), "original")]
        for strength, noise in noises.items():
            changed_one = changed(image, noise.shaped(place, image, STRENGTHS[strength][0])).crop(crop)
            ssim = measured(image.crop(crop), changed_one, with_ssim=True).ssim
            known = "" if ssim is None else f", SSIM {ssim:.3f}"
            shown.append(_figure(changed_one, f"{strength}{known}"))
        rows.append(f"<h2>{escape(photo.name)}</h2>\n{''.join(shown)}")
        yield Progress(place + 1, len(chosen), photo.name)
    return PAGE.format(rows="\n".join(rows), count=len(chosen), side=SIDE)


def _smoothest(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the square crop with the least texture; all of a small photograph."""
    width, height = (min(SIDE, extent) for extent in image.size)
    gray = np.asarray(eight_bits(image).convert("L"), np.float32)
    best, found = np.inf, (0, 0)
    for top in range(0, image.height - height + 1, max((image.height - height) // 4, 1)):
        for left in range(0, image.width - width + 1, max((image.width - width) // 4, 1)):
            part = gray[top : top + height, left : left + width]
            texture = float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())
            if texture < best:
                best, found = texture, (left, top)
    left, top = found
    return left, top, left + width, top + height


def _figure(image: Image.Image, caption: str) -> str:
    file = io.BytesIO()
    eight_bits(image).convert("RGB").save(file, "WEBP", lossless=True, quality=0, method=0)
    data = base64.b64encode(file.getvalue()).decode()
    text = escape(caption)
    return f'<figure><img src="data:image/webp;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'

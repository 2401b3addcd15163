"""Photographs in, protected photographs out: every file is written once, whole, and noted; a kill loses nothing."""

import hashlib
import json
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from howfar import arrays
from howfar.data import clustered
from howfar.errors import HowfarError, UsageError
from howfar.photos.encoding import Encoding, decoded, encoded
from howfar.photos.journal import Journal
from howfar.photos.listing import Photo
from howfar.photos.manifest import MANIFEST, digest_of, summary
from howfar.photos.noise import SIDES, Plates, crafted, together
from howfar.photos.picture import changed, glimpse, is_gray, keep_times, measured, upright
from howfar.protect import Draft, Progress, Protector
from howfar.store import write_text
from howfar.store.writing import sweep, write_bytes

NOTES = ".howfar"
Broken = Literal["stop", "skip", "copy"]
AHEAD = 2  # photographs a worker may be ahead of what is noted: bounds the memory


@dataclass(frozen=True)
class Order:
    """What shall be done with a folder.

    Attributes:
        source: the folder of photographs.
        output: the folder of the protected ones.
        label: of the protector.
        protector: the protector.
        encoding: how files are written.
        seed: of all randomness.
        broken: what to do with files that cannot be protected: ``stop``, ``skip`` or ``copy`` them as they are.
        ssim_photos: SSIM is slow, so it is measured on so many photographs, evenly spaced.
        clusters: number of clusters that stand in for labels; 0 takes the labels of the photographs.
        sides: of the small versions that noise is crafted on, pixels.
    """

    source: Path
    output: Path
    label: str
    protector: Protector
    encoding: Encoding
    seed: int = 0
    broken: Broken = "stop"
    ssim_photos: int = 20
    clusters: int = 0
    sides: tuple[int, ...] = SIDES

    def described(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "protector": self.label,
            "seed": self.seed,
            "clusters": self.clusters,
            "sides": self.sides,
            "encoding": asdict(self.encoding),
        }

    def digest(self, photos: Sequence[Photo]) -> str:
        """Return what must be the same for work to go on."""
        how = [self.label, self.seed, self.clusters, self.sides, asdict(self.encoding)]
        content = [*how, [asdict(photo) for photo in photos]]
        return hashlib.sha256(arrays.canonical(content).encode()).hexdigest()


def check(order: Order) -> None:
    """Raise ``UsageError`` unless the output is a folder of its own, empty or begun by this function."""
    source, output = order.source.resolve(), order.output.resolve()
    if source == output or source in output.parents or output in source.parents:
        raise UsageError(
            f"{order.output} lies in {order.source} or around it. Originals are never touched: choose another."
        )
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / NOTES).is_dir())):
        raise UsageError(f"{order.output} holds other files. Choose an empty folder.")


def protect_folder(
    photos: Sequence[Photo], order: Order, *, device: torch.device, workers: int
) -> Generator[Progress, None, dict[str, Any]]:
    """Protect all photographs of a folder; yields progress, returns the manifest, which is written too.

    An interrupted run goes on where it stopped.

    Args:
        photos: what to protect.
        order: how.
        device: where a surrogate is trained.
        workers: photographs at a time.

    Raises:
        HowfarError: for a photograph that cannot be protected, if ``broken`` says stop.
        UsageError: for an output begun with other settings.
    """
    check(order)
    notes = order.output / NOTES
    notes.mkdir(parents=True, exist_ok=True)
    sweep(notes)
    journal = Journal(notes / "journal.jsonl", order.digest(photos))
    small, faults = yield from _looked_at(photos, order, workers)
    whole = [photo for photo in photos if photo.name not in faults]
    labels = [photo.label for photo in whole]
    if order.clusters:
        labels = [f"cluster {number}" for number in clustered(small[0], order.clusters, seed=order.seed).tolist()]
    plates = yield from _plates(small, labels, order, device)
    del small  # large, and no longer needed
    places = {photo.name: place for place, photo in enumerate(whole)}
    left = [photo for photo in photos if not journal.holds(photo, order.output)]
    done = len(photos) - len(left)
    with ThreadPoolExecutor(workers) as pool:
        for entry in _in_order(pool, left, order, plates, places, faults, window=AHEAD * workers):
            journal.add(entry)
            done += 1
            yield Progress(done, len(photos), entry["name"])
    manifest = {**order.described(), **summary([journal.entries[photo.name] for photo in photos])}
    write_text(order.output / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", aside=notes)
    return manifest


def _looked_at(
    photos: Sequence[Photo], order: Order, workers: int
) -> Generator[Progress, None, tuple[list[torch.Tensor], dict[str, str]]]:
    """Return small versions of the photographs that can be protected, size by size, and why the others cannot."""
    small = [arrays.empty_pixels((len(photos), 3, side, side)) for side in order.sides]
    faults, count = dict[str, str](), 0

    def look(photo: Photo) -> list[NDArray[np.uint8]] | str:
        try:
            return glimpse(order.source / photo.name, order.sides)
        except HowfarError as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        for number, (photo, seen) in enumerate(zip(photos, pool.map(look, photos), strict=True)):
            if isinstance(seen, str):
                if order.broken == "stop":
                    pool.shutdown(cancel_futures=True)
                    raise HowfarError(
                        f"{seen} Or leave such files out with --broken skip, or copy them with --broken copy."
                    )
                faults[photo.name] = seen
            else:
                for pixels, square in zip(small, seen, strict=True):
                    pixels[count] = torch.from_numpy(square)
                count += 1
            if number % 20 == 0:
                yield Progress(number, len(photos), "looking at all photographs")
    if not count:
        raise HowfarError("none of the photographs can be protected.")
    return [pixels[:count] for pixels in small], faults


def _plates(
    small: Sequence[torch.Tensor], labels: Sequence[str], order: Order, device: torch.device
) -> Generator[Progress, None, Plates]:
    """Return the noise of all photographs, crafted size by size."""
    after = []
    for side, before in zip(order.sides, small, strict=True):
        draft = Draft(order.output / NOTES / f"crafting-{side}.draft")
        work = crafted(before, labels, order.protector, seed=order.seed, device=device, draft=draft)
        after.append((yield from work))
        draft.discard()
    return together(small, after)


def _in_order(
    pool: ThreadPoolExecutor, photos: Sequence[Photo], order: Order, plates: Plates, places: Mapping[str, int],
    faults: Mapping[str, str], *, window: int,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield what was done with each photograph, with no more than ``window`` of them under way."""
    under_way: deque[Future[dict[str, Any]]] = deque()
    for photo in photos:
        if photo.name in faults:
            under_way.append(pool.submit(_left_out, photo, order, faults[photo.name]))
        else:
            under_way.append(pool.submit(_protected, photo, order, plates, places[photo.name]))
        if len(under_way) >= window:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _protected(photo: Photo, order: Order, plates: Plates, place: int) -> dict[str, Any]:
    source = order.source / photo.name
    image = upright(source)
    after = changed(image, plates.enlarged(place, image.width, image.height, gray=is_gray(image)))
    content = encoded(after, image, order.encoding)
    if order.encoding.kind == "jpeg":
        after = decoded(content, image)
    change = measured(image, after, with_ssim=place % max(len(plates) // order.ssim_photos, 1) == 0)
    _write(order, photo, photo.output, content)
    return {
        "name": photo.name, "output": photo.output, "label": photo.label, "status": "protected",
        "before": digest_of(source.read_bytes()), "after": digest_of(content), **asdict(change),
    }  # fmt: skip


def _left_out(photo: Photo, order: Order, fault: str) -> dict[str, Any]:
    entry = {"name": photo.name, "output": photo.name, "label": photo.label, "status": "skipped", "why": fault}
    if order.broken == "skip":
        return entry
    content = (order.source / photo.name).read_bytes()
    _write(order, photo, photo.name, content)
    return {**entry, "status": "copied", "before": digest_of(content), "after": digest_of(content)}


def _write(order: Order, photo: Photo, name: str, content: bytes) -> None:
    output = order.output / name
    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, content, aside=order.output / NOTES)
    keep_times(order.source / photo.name, output)

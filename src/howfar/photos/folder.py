"""Photographs in, protected photographs out: every file is written once, whole, and noted; a kill loses nothing."""

import json
import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from howfar import arrays
from howfar.data import clustered
from howfar.errors import HowfarError, require
from howfar.photos.encoding import decoded, encoded
from howfar.photos.journal import Journal, stamp
from howfar.photos.listing import Photo
from howfar.photos.manifest import MANIFEST, NOTES, SOURCE, digest_of, summary
from howfar.photos.noise import Plates, crafted, together
from howfar.photos.order import Order, check
from howfar.photos.picture import changed, glimpse, is_gray, keep_times, measured, upright
from howfar.protect import Draft, Progress
from howfar.store import write_text
from howfar.store.writing import sweep, write_bytes

OTHERWISE = "Or leave such files out with --broken skip, or copy them with --broken copy."
AHEAD = 2  # photographs a worker may be ahead of what is noted: bounds the memory


def protect_folder(
    photos: Sequence[Photo], order: Order, *, device: torch.device, workers: int
) -> Generator[Progress, None, dict[str, Any]]:
    """Protect all photographs of a folder; yields progress, returns the manifest, which is written too.

    An interrupted run goes on where it stopped. A photograph that was edited since, one whose copy was changed, and one
    whose noise is another because other photographs changed are protected again; ``redone`` in the manifest names them.

    Args:
        photos: what to protect.
        order: how.
        device: where a surrogate is trained.
        workers: photographs at a time.

    Raises:
        HowfarError: for a photograph that cannot be protected, if ``broken`` says stop.
        UsageError: for an output begun with other settings.
    """
    require("skimage", "photos", "the protection of photographs")
    check(order, photos)
    notes = order.output / NOTES
    notes.mkdir(parents=True, exist_ok=True)
    sweep(notes)
    journal = Journal(notes / "journal.jsonl", order.digest(photos))
    write_bytes(notes / SOURCE, os.fsencode(_way_to(order.source, order.output)), aside=notes)
    small, faults = yield from _looked_at(photos, order, workers)
    whole = [photo for photo in photos if photo.name not in faults]
    labels = [photo.label for photo in whole]
    if order.clusters:
        labels = [f"cluster {number}" for number in clustered(small[0], order.clusters, seed=order.seed).tolist()]
    plates = yield from _plates(small, labels, order, device)
    del small  # large, and no longer needed
    places = {photo.name: place for place, photo in enumerate(whole)}
    again = _todo(photos, order, journal, plates, places)
    left = [photo for photo in photos if photo.name in again]
    done = len(photos) - len(left)
    with ThreadPoolExecutor(workers) as pool:
        for entry in _in_order(pool, left, order, plates, places, faults, window=AHEAD * workers):
            _retract(journal.entries.get(entry["name"]), entry, order.output)
            journal.add(entry)
            done += 1
            yield Progress(done, len(photos), entry["name"])
    redone = {name: reason for name, reason in again.items() if reason}
    manifest = {**order.described(), **summary([journal.told(photo.name) for photo in photos]), "redone": redone}
    write_text(order.output / MANIFEST, json.dumps(manifest, indent=1) + "\n", aside=notes)
    return manifest


def _way_to(source: Path, output: Path) -> str:
    """Return the path from the protected folder to the originals, which names no more folders than it must."""
    try:
        return os.path.relpath(source.resolve(), output.resolve())
    except ValueError:  # on another drive
        return str(source.resolve())


def _todo(
    photos: Sequence[Photo], order: Order, journal: Journal, plates: Plates, places: Mapping[str, int]
) -> dict[str, str]:
    """Return the photographs to protect, and why where they were protected before."""
    found = {}
    for photo in photos:
        noise = _noise_of(photo, order, plates, places)
        reason = journal.why_again(photo, order.source, order.output, noise)
        if reason is not None:
            found[photo.name] = reason
    return found


def _noise_of(photo: Photo, order: Order, plates: Plates, places: Mapping[str, int]) -> str:
    """Return a digest of the noise of a photograph; of one that is left out, what becomes of it."""
    return plates.digest(places[photo.name]) if photo.name in places else order.broken


def _retract(before: Mapping[str, Any] | None, now: Mapping[str, Any], output: Path) -> None:
    """Remove the earlier copy of a photograph that has none any more, or one of another name."""
    if before is None or before["status"] == "skipped":
        return
    copy = output / before["output"]
    replaced = now["status"] != "skipped" and now["output"] == before["output"]
    if not replaced and copy.is_file() and digest_of(copy.read_bytes()) == before.get("after"):
        copy.unlink()


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
                    raise HowfarError(f"{seen} {OTHERWISE}")
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
    after, notes = [], order.output / NOTES
    paths = {  # a draft belongs to these photographs: noise that was begun for others is begun anew
        side: notes / f"crafting-{side}-{arrays.digest(before)[:16]}.draft"
        for side, before in zip(order.sides, small, strict=True)
    }
    for path in set(notes.glob("crafting-*.draft")) - set(paths.values()):
        path.unlink()
    for side, before in zip(order.sides, small, strict=True):
        draft = Draft(paths[side])
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
    try:
        # Before the pixels are read: if the file is edited meanwhile, the next run sees that it is another one.
        stamped, before = stamp(source), digest_of(source.read_bytes())
        image = upright(source)
        after = changed(image, plates.enlarged(place, image.width, image.height, gray=is_gray(image)))
        content = encoded(after, image, order.encoding)
    except (HowfarError, OSError) as error:  # the fault of this file alone
        fault = str(error) if photo.name in str(error) else f"{source}: {error}"
        if order.broken == "stop":
            raise HowfarError(f"{fault} {OTHERWISE}") from None
        return {**_left_out(photo, order, fault), "noise": plates.digest(place)}
    if order.encoding.kind == "jpeg":
        after = decoded(content, image)
    change = measured(image, after, with_ssim=place % max(len(plates) // order.ssim_photos, 1) == 0)
    stamps = {"source": stamped, "copy": _write(order, photo, photo.output, content)}
    return {
        "name": photo.name, "output": photo.output, "label": photo.label,
        "status": "unchanged" if plates.empty(place) else "protected",
        "before": before, "after": digest_of(content), **asdict(change),
        "noise": plates.digest(place), "stamps": stamps, "notes": image.info["notes"],
    }  # fmt: skip


def _left_out(photo: Photo, order: Order, fault: str) -> dict[str, Any]:
    source = order.source / photo.name
    entry = {
        "name": photo.name, "output": photo.name, "label": photo.label, "status": "skipped", "why": fault,
        "noise": order.broken, "stamps": {"source": stamp(source)},
    }  # fmt: skip
    if order.broken == "skip":
        return entry
    content = source.read_bytes()
    stamps = {"source": stamp(source), "copy": _write(order, photo, photo.name, content)}
    digest = digest_of(content)
    return {**entry, "status": "copied", "before": digest, "after": digest, "stamps": stamps}


def _write(order: Order, photo: Photo, name: str, content: bytes) -> list[int]:
    """Write a file with the times of its original; returns its stamp."""
    output = order.output / name
    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, content, aside=order.output / NOTES)
    keep_times(order.source / photo.name, output)
    return stamp(output)

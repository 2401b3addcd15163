"""Protect a folder of photographs: files are written atomically and recorded in a journal, so that runs can resume."""

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
from howfar.errors import HowfarError
from howfar.photos.encoding import NO_PLACE, decoded, encoded, has_place
from howfar.photos.job import ProtectionJob, check
from howfar.photos.journal import Journal, stamp
from howfar.photos.listing import Photo
from howfar.photos.manifest import MANIFEST, NOTES, SOURCE, digest_of, summary
from howfar.photos.noise import NoiseSet, craft, together
from howfar.photos.picture import changed, keep_times, measured, thumbnails, upright
from howfar.protectors import Draft, Progress
from howfar.store import write_text
from howfar.store.writing import sweep, write_bytes

HINT = "Or leave such files out with --broken skip, or copy them with --broken copy."
WRITING = 3  # times as long as reading, for the time left
AHEAD = 2  # photographs per worker in flight: bounds the memory


def protect_folder(
    photos: Sequence[Photo], job: ProtectionJob, *, device: torch.device, workers: int
) -> Generator[Progress, None, dict[str, Any]]:
    """Protect all photographs of a folder; yields progress, writes and returns the manifest.

    Nothing is written before every photograph has been read.

    An interrupted run resumes. A photograph is protected again if it was edited, its copy was changed, or its noise
    changed because other photographs did; ``redone`` in the manifest lists these.

    Args:
        photos: photographs to protect.
        job: settings.
        device: of surrogates.
        workers: number of threads.

    Raises:
        HowfarError: if a photograph cannot be protected and ``broken`` is ``stop``.
        UsageError: if the output folder was begun with other settings.
    """
    check(job, photos)
    notes = job.output / NOTES
    journal = Journal(notes / "journal.jsonl", job.digest(photos), job.settings(photos))
    small, faults = yield from _thumbnails(photos, job, workers)
    notes.mkdir(parents=True, exist_ok=True)  # only now, when every photograph has been read
    sweep(notes)
    journal.begin()
    write_bytes(notes / SOURCE, os.fsencode(_relative(job.source, job.output)), aside=notes)
    whole = [photo for photo in photos if photo.name not in faults]
    labels = [photo.label for photo in whole]
    if job.clusters:
        labels = [f"cluster {number}" for number in clustered(small[0], job.clusters, seed=job.seed).tolist()]
    noises = yield from _crafted(small, labels, job, device)
    del small  # large
    places = {photo.name: place for place, photo in enumerate(whole)}
    again = _todo(photos, job, journal, noises, places)
    left = [photo for photo in photos if photo.name in again]
    done = len(photos) - len(left)
    with ThreadPoolExecutor(workers) as pool:
        for entry in _in_order(pool, left, job, noises, places, faults, window=AHEAD * workers):
            _remove_old_copy(journal.entries.get(entry["name"]), entry, job.output)
            journal.add(entry)
            done += 1
            yield Progress(len(photos) + WRITING * done, (1 + WRITING) * len(photos), entry["name"])
    redone = {name: reason for name, reason in again.items() if reason}
    manifest = {
        **job.description(),
        **summary([journal.manifest_entry(photo.name) for photo in photos]),
        "redone": redone,
    }
    write_text(job.output / MANIFEST, json.dumps(manifest, indent=1) + "\n", aside=notes)
    return manifest


def _relative(source: Path, output: Path) -> str:
    """Return the relative path from the protected folder to the originals, if there is one."""
    try:
        return os.path.relpath(source.resolve(), output.resolve())
    except ValueError:  # on another drive
        return str(source.resolve())


def _todo(
    photos: Sequence[Photo], job: ProtectionJob, journal: Journal, noises: NoiseSet, places: Mapping[str, int]
) -> dict[str, str]:
    """Return the photographs to protect, with the reason if they were protected before."""
    found = {}
    for photo in photos:
        noise = _noise_of(photo, job, noises, places)
        reason = journal.why_again(photo, job.source, job.output, noise)
        if reason is not None:
            found[photo.name] = reason
    return found


def _noise_of(photo: Photo, job: ProtectionJob, noises: NoiseSet, places: Mapping[str, int]) -> str:
    """Return a digest of the noise of a photograph; for an unreadable one, the value of ``broken``."""
    return noises.digest(places[photo.name]) if photo.name in places else job.broken


def _remove_old_copy(before: Mapping[str, Any] | None, now: Mapping[str, Any], output: Path) -> None:
    """Remove the earlier copy of a photograph if it is now skipped or renamed."""
    if before is None or before["status"] == "skipped":
        return
    copy = output / before["output"]
    replaced = now["status"] != "skipped" and now["output"] == before["output"]
    if not replaced and copy.is_file() and digest_of(copy.read_bytes()) == before.get("after"):
        copy.unlink()


def _thumbnails(
    photos: Sequence[Photo], job: ProtectionJob, workers: int
) -> Generator[Progress, None, tuple[list[torch.Tensor], dict[str, str]]]:
    """Return thumbnails of the readable photographs, size by size, and the errors of the others."""
    small = [arrays.empty_pixels((len(photos), 3, side, side)) for side in job.sides]
    faults, count = dict[str, str](), 0

    def read(photo: Photo) -> list[NDArray[np.uint8]] | str:
        try:
            return thumbnails(job.source / photo.name, job.sides)
        except HowfarError as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        for number, (photo, found) in enumerate(zip(photos, pool.map(read, photos), strict=True)):
            if isinstance(found, str):
                if job.broken == "stop":
                    pool.shutdown(cancel_futures=True)
                    raise HowfarError(f"{found} {HINT}")
                faults[photo.name] = found
            else:
                for pixels, square in zip(small, found, strict=True):
                    pixels[count] = torch.from_numpy(square)
                count += 1
            if number % 20 == 0:
                yield Progress(number, (1 + WRITING) * len(photos), "reading all photographs")
    if not count:
        raise HowfarError("none of the photographs can be protected.")
    return [pixels[:count] for pixels in small], faults


def _crafted(
    small: Sequence[torch.Tensor], labels: Sequence[str], job: ProtectionJob, device: torch.device
) -> Generator[Progress, None, NoiseSet]:
    """Craft the noise of all photographs, size by size."""
    after, notes = [], job.output / NOTES
    paths = {  # drafts of other photographs are discarded
        side: notes / f"crafting-{side}-{arrays.digest(before)[:16]}.draft"
        for side, before in zip(job.sides, small, strict=True)
    }
    for path in set(notes.glob("crafting-*.draft")) - set(paths.values()):
        path.unlink()
    for side, before in zip(job.sides, small, strict=True):
        draft = Draft(paths[side])
        work = craft(before, labels, job.protector, seed=job.seed, device=device, draft=draft)
        after.append((yield from work))
        draft.discard()
    return together(small, after)


def _in_order(
    pool: ThreadPoolExecutor, photos: Sequence[Photo], job: ProtectionJob, noises: NoiseSet, places: Mapping[str, int],
    faults: Mapping[str, str], *, window: int,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield the journal entry of each photograph in order, with at most ``window`` of them in flight."""
    pending: deque[Future[dict[str, Any]]] = deque()
    for photo in photos:
        if photo.name in faults:
            pending.append(pool.submit(_left_out, photo, job, faults[photo.name]))
        else:
            pending.append(pool.submit(_protected, photo, job, noises, places[photo.name]))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _protected(photo: Photo, job: ProtectionJob, noises: NoiseSet, place: int) -> dict[str, Any]:
    source = job.source / photo.name
    try:
        # Before the pixels are read, so that the next run detects an edit in the meantime.
        stamped, before = stamp(source), digest_of(source.read_bytes())
        image, encoding = upright(source), job.encoding.of(photo.output)
        after = changed(image, noises.shaped(place, image, job.strength))
        content = encoded(after, image, encoding)
    except (HowfarError, OSError) as error:  # an error of this file only
        fault = str(error) if photo.name in str(error) else f"{source}: {error}"
        if job.broken == "stop":
            raise HowfarError(f"{fault} {HINT}") from None
        return {**_left_out(photo, job, fault), "noise": noises.digest(place)}
    if encoding.kind == "jpeg":
        after = decoded(content, image)
    removed = [NO_PLACE] if encoding.metadata != "keep" and has_place(image) else []
    change = measured(image, after, with_ssim=place % max(len(noises) // job.ssim_photos, 1) == 0)
    stamps = {"source": stamped, "copy": _write(job, photo, photo.output, content)}
    return {
        "name": photo.name, "output": photo.output, "label": photo.label,
        "status": "unchanged" if noises.empty(place) else "protected",
        "before": before, "after": digest_of(content), **asdict(change),
        "noise": noises.digest(place), "stamps": stamps, "notes": [*image.info["notes"], *removed],
    }  # fmt: skip


def _left_out(photo: Photo, job: ProtectionJob, fault: str) -> dict[str, Any]:
    source = job.source / photo.name
    entry = {
        "name": photo.name, "output": photo.name, "label": photo.label, "status": "skipped", "why": fault,
        "noise": job.broken, "stamps": {"source": stamp(source)},
    }  # fmt: skip
    if job.broken == "skip":
        return entry
    content = source.read_bytes()
    stamps = {"source": stamp(source), "copy": _write(job, photo, photo.name, content)}
    digest = digest_of(content)
    return {**entry, "status": "copied", "before": digest, "after": digest, "stamps": stamps}


def _write(job: ProtectionJob, photo: Photo, name: str, content: bytes) -> list[int]:
    """Write a file with the timestamps of its original; returns its stamp."""
    output = job.output / name
    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, content, aside=job.output / NOTES)
    keep_times(job.source / photo.name, output)
    return stamp(output)

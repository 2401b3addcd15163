"""Everything that reads a file that somebody else may have made, one entry a kind of file."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from howfar.audit.calibration import calibrated
from howfar.data import cifar, domains, idx, pictures
from howfar.data.camvid import camvid
from howfar.data.npz import npz
from howfar.data.svhn import svhn
from howfar.data.taskonomy import read_split
from howfar.errors import HowfarError
from howfar.grid.overrides import make_suite, read_suite
from howfar.photos import Encoding, labels_by_table
from howfar.photos.encoding import encoded
from howfar.photos.journal import Journal
from howfar.photos.manifest import checked, originals_of
from howfar.photos.pairs import pairs_of
from howfar.photos.picture import upright
from howfar.poison import artifact, validation
from howfar.protectors import Draft
from howfar.protectors.imported import read_array
from howfar.report import site
from howfar.report.render import outputs
from howfar.store import Record, Store, check, open_store, packed
from howfar.tables import collect
from howfar.tables.entries import entries
from howfar.tables.entry_file import faults, read
from howfar.tables.sound import sound_records
from howfar.tables.victims import rows

from . import seeds
from .seeds import arrays_of, crafted, picture, record_of, room, saved, stored

NAMES = ["a/1.png", "a/2.jpg", "b/1.png"]


@dataclass(frozen=True)
class Reader:
    """Something that reads a file.

    Attributes:
        suffix: what names of its files end with.
        seed: the bytes of a right one.
        read: reads one.
        weight: how many of its files are tried where a quick reader gets one.
    """

    suffix: str
    seed: Callable[[], bytes]
    read: Callable[[Path], object]
    weight: float = 1.0


def all_of(*calls: Callable[[], object]) -> None:
    """Make all calls, and raise the first refusal once all are made."""
    refusals = []
    for call in calls:
        try:
            call()
        except HowfarError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def read_stored(path: Path) -> object:
    """Read a record of which one file was changed."""
    place = room("stored") / "step" / ("0" * 20)
    place.mkdir(parents=True, exist_ok=True)
    for name in ("record.json", "arrays.safetensors"):
        (place / name).write_bytes(path.read_bytes() if path.name.endswith(name) else stored(name))
    store = Store(room("stored"))
    (store.root / ".index.sqlite").unlink(missing_ok=True)
    all_of(
        lambda: [len(str(dict(record.result))) for record in store.records("step")],
        lambda: store.arrays("step", "0" * 20),
        lambda: list(check(store)),
    )
    return None


def read_store(path: Path) -> object:
    """Read a real store of which one victim's record was changed: all that a page and a leaderboard need."""
    place = room("read-store")
    if not place.exists():
        seeds.copied(seeds.store(), place)
    (place / "victim" / seeds.victim().name / "record.json").write_bytes(path.read_bytes())
    (place / ".index.sqlite").unlink(missing_ok=True)
    return shown(Store(place))


def shown(store: Store) -> object:
    """Show all that a store holds."""
    all_of(
        lambda: list(check(store)),
        lambda: sound_records(store, "victim"),
        lambda: rows(store),
        lambda: site.render(entries(store)),
        lambda: outputs(collect(store)),
    )
    return None


def read_protect_record(path: Path) -> object:
    """Read a real store of which the record of a protected set was changed."""
    place = room("read-protect")
    if not place.exists():
        seeds.copied(seeds.store(), place)
    (sorted((place / "protect").iterdir())[0] / "record.json").write_bytes(path.read_bytes())
    (place / ".index.sqlite").unlink(missing_ok=True)
    return shown(Store(place))


def read_index(path: Path) -> object:
    """Read a real store with another index."""
    place = room("read-index")
    if not place.exists():
        seeds.copied(seeds.store(), place)
    (place / ".index.sqlite").write_bytes(path.read_bytes())
    store = Store(place)
    all_of(lambda: entries(store), lambda: store.index.notes("notes"))
    return None


def read_lease(path: Path) -> object:
    """Read a store on which somebody is at work."""
    place = room("read-lease")
    (place / "step").mkdir(parents=True, exist_ok=True)
    (place / "step" / f".{'0' * 20}.lease").write_bytes(path.read_bytes())
    store = Store(place)
    return [(claim.label, claim.orphaned) for claim in store.claims()]


def read_draft(path: Path) -> object:
    """Go on with an interrupted crafting."""
    whole = Draft(path, every=1e9)
    parts = seeds.parts()
    reached, done = whole.reached("stage"), whole.enter("stage", **parts)
    return reached, done, float(parts["noise"].sum())


def read_crafted(path: Path) -> object:
    """Read and check a protected set of which one file was changed."""
    folder = room("crafted")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (artifact.ARRAYS, artifact.MANIFEST):
        (folder / name).write_bytes(path.read_bytes() if path.name.endswith(name) else crafted(name))
    found = artifact.read(folder)
    all_of(
        lambda: list(validation.faults(found)),
        lambda: list(validation.doubts(found)),
        lambda: artifact.difference(folder, {"method": "x", "seed": 0, "dataset": {}}),
    )
    return None


def read_svhn(path: Path) -> object:
    """Read a folder in which both files are this one: nothing but the published files gets to SciPy's reader."""
    folder = room("svhn")
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        (folder / f"{part}_32x32.mat").write_bytes(path.read_bytes())
    return svhn(root=folder)


def read_manifest(path: Path) -> object:
    """Check a folder of protected photographs against its manifest, and pair it with the originals."""
    place = room("read-photographs")
    if not place.exists():
        seeds.copied(seeds.photographs(), place)
    (place / "out" / "manifest.json").write_bytes(path.read_bytes())
    all_of(
        lambda: checked(place / "out", originals_of(place / "out")),
        lambda: pairs_of(place / "in", place / "out"),
    )
    return None


def journal_seed() -> bytes:
    """Return the journal of a protected folder."""
    return (seeds.photographs() / "out" / ".howfar" / "journal.jsonl").read_bytes()


def read_journal(path: Path) -> object:
    """Ask a journal what there is to do."""
    place = seeds.photographs()
    digest = journal_seed().split(b'"')[3].decode()
    own = room("journal") / ".howfar" / "journal.jsonl"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(path.read_bytes())
    journal = Journal(own, digest)
    photos = [photo for photo in _photos() if photo.name in journal.entries]
    return [
        (journal.why_again(photo, place / "in", place / "out", "noise"), journal.manifest_entry(photo.name))
        for photo in photos
    ]


def _photos() -> list[Any]:
    from howfar.photos import arranged

    return arranged(NAMES, lambda _: ".png", {})


def read_source(path: Path) -> object:
    """Look for the originals of a protected folder."""
    own = room("source") / ".howfar" / "source"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(path.read_bytes())
    return originals_of(own.parent.parent)


def read_photograph(path: Path) -> object:
    """Read a photograph as a person sees it, and write it in two formats with all that belongs to it."""
    image = upright(path)
    if image.width * image.height > 1_000_000:  # what is written is checked on smaller ones
        return image.size
    all_of(
        *(
            lambda kind=kind: encoded(image, image, Encoding.parse(kind, "strip-gps", opt_out=True))
            for kind in ("png", "jpeg:90")
        )
    )
    return None


def read_calibration(path: Path) -> object:
    """Read the calibration of the audit, and judge with it."""

    class Files:
        def __init__(self, package: str) -> None: ...

        def joinpath(self, name: str) -> Path:
            return path

    calibrated.cache_clear()
    with patch("howfar.audit.calibration.files", Files):
        found = calibrated()
    calibrated.cache_clear()
    scores = dict.fromkeys(found.weights, 0.1)
    return found.suspicion(scores, 500), found.family(scores, 500), found.false_alarms(500), found.enough(0.7)


def calibration() -> bytes:
    """Return the calibration that comes with the package."""
    import howfar.audit

    return (Path(howfar.audit.__file__).parent / "calibration.json").read_bytes()


READERS = {
    "CIFAR batch": Reader("", seeds.batch, lambda path: cifar.read_batch(path.read_bytes(), str(path)), 0.5),
    "CIFAR archive": Reader(".tar.gz", seeds.archive, lambda path: cifar.cifar10(path), 0.4),
    "IDX": Reader("", seeds.idx_bytes, idx.read_idx, 2.0),
    "IDX, gzipped": Reader(".gz", lambda: gzip.compress(seeds.idx_bytes(), mtime=0), idx.read_idx, 2.0),
    "SVHN": Reader(".mat", lambda: b"", read_svhn, 0.2),
    "npz:": Reader(".npz", arrays_of("x_train", "y_train", "x_test", "y_test"), npz),
    "camvid:": Reader(
        ".npz",
        arrays_of("x_train", "seg_train", "x_test", "seg_test"),
        lambda path: camvid(path, height=3, width=3),
    ),
    "import: .npy": Reader(".npy", saved(np.save, np.zeros((2, 3, 4, 4), np.float32)), read_array, 2.0),
    "import: .npz": Reader(".npz", saved(np.savez, np.zeros((2, 3, 4, 4), np.float32)), read_array),
    "import: .pt": Reader(".pt", saved(lambda file, value: torch.save(value, file), torch.zeros(9)), read_array),
    "Taskonomy vector": Reader(
        ".npy", saved(np.save, np.zeros(365, np.float32)), lambda path: domains.decoded("class_scene", path, 8)
    ),
    "Taskonomy depth": Reader(".png", picture("PNG", "I;16"), lambda path: domains.decoded("depth_euclidean", path, 8)),
    "Taskonomy split": Reader(".csv", lambda: b"id,train,val,test\nallensville,1,0,0\nbeechwood,0,0,1\n", read_split),
    **{
        f"image: {kind} {mode}": Reader(f".{kind.lower()}", picture(kind, mode), pictures.read_rgb)
        for kind, mode in (
            ("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGBA"),
            ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "I;16"), ("GIF", "P"), ("PPM", "RGB"),
        )
    },
    "photograph: JPEG": Reader(".jpg", seeds.described, read_photograph, 0.3),
    "photograph: PNG": Reader(".png", picture("PNG", "RGBA", exif=b"Exif\0\0II*\0"), read_photograph, 0.3),
    "record": Reader("record.json", lambda: stored("record.json"), read_stored, 0.2),
    "arrays of a record": Reader("arrays.safetensors", lambda: stored("arrays.safetensors"), read_stored, 0.2),
    "packed store": Reader(
        ".jsonl.xz",
        lambda: packed([Record("step", Store.key("step", {"a": 1}), {"a": 1}, "done", {"value": 1.5}, {})]),
        lambda path: open_store(path, reading=True).records("step"),
    ),
    "victim without its seal": Reader("record.json", record_of("victim"), read_store, 0.015),
    "protected set's record": Reader("record.json", record_of("protect"), read_protect_record, 0.015),
    "index of a store": Reader("", seeds.index, read_index, 0.05),
    "lease": Reader("", seeds.claim, read_lease),
    "draft": Reader(".draft", seeds.draft, read_draft, 0.3),
    "protected set": Reader(artifact.ARRAYS, lambda: crafted(artifact.ARRAYS), read_crafted, 0.2),
    "its manifest": Reader(artifact.MANIFEST, lambda: crafted(artifact.MANIFEST), read_crafted, 0.2),
    "manifest of photographs": Reader(
        ".json", lambda: (seeds.photographs() / "out" / "manifest.json").read_bytes(), read_manifest, 0.3
    ),
    "journal of photographs": Reader(".jsonl", journal_seed, read_journal, 0.3),
    "where the originals are": Reader("", lambda: b"../in", read_source, 0.5),
    "labels.csv": Reader(
        ".csv", lambda: b"name,label\n" + b"".join(f"{name},x\n".encode() for name in NAMES),
        lambda path: labels_by_table(path, NAMES),
    ),
    "row of a leaderboard": Reader(
        ".json", seeds.row, lambda path: (list(faults(path)), site.render([read(path)]), read(path).as_json()), 0.1
    ),
    "calibration": Reader(".json", calibration, read_calibration, 0.2),
    "--config": Reader(
        ".toml",
        lambda: b'dataset = "digits"\nprotectors = "em,lsp"\nseeds = "0-1"\n[train]\nepochs = 2\nlr = 0.1\n',
        lambda path: make_suite(None, read_suite(path)), 0.5,
    ),
}  # fmt: skip

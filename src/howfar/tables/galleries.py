"""Maps from the store: the targets of a data set, and what networks of dense tasks predict."""

from collections.abc import Sequence

from howfar.arrays import canonical
from howfar.store import Record, Store
from howfar.tables.groups import VictimGroup
from howfar.tables.names import CLEAN
from howfar.tables.page import Gallery, Maps

TARGET = "target_"


def contact_sheets(store: Store, protects: Sequence[Record]) -> list[Gallery]:
    """Return every dense target of each data set, from its clean images."""
    found: dict[str, Gallery] = {}
    for record in protects:
        name, kind = record.spec["dataset"]["label"], canonical(record.spec["dataset"])
        if record.spec["protector"]["label"] != CLEAN or kind in found or not store.has_arrays("protect", record.key):
            continue
        kept = store.arrays("protect", record.key)
        maps = [(key.removeprefix(TARGET), kept[key].numpy()) for key in sorted(kept) if key.startswith(TARGET)]
        if maps:
            images = Maps("image", "image", kept["preview_clean"].numpy())
            found[kind] = Gallery(f"{name}: all targets", [images, *(Maps(key, key, values) for key, values in maps)])
    return list(found.values())


def predictions(store: Store, groups: Sequence[VictimGroup]) -> list[Gallery]:
    """Return what networks of every dense task predict after clean and after protected training, lowest seed."""
    found = []
    for group in groups:
        rows: list[Maps] = []
        for label in sorted(group.runs, key=lambda name: (name != CLEAN, name)):
            record = group.runs[label][min(group.runs[label])]
            if not store.has_arrays(record.step, record.key):
                continue
            kept = {name: values.numpy() for name, values in store.arrays(record.step, record.key).items()}
            name = record.spec["task"]["name"]
            if not rows:
                rows = [Maps("image", "image", kept["images"]), Maps("truth", name, kept["truth"])]
            rows.append(Maps(label, name, kept["said"], kept["truth"]))
        if rows:
            names = group.labels
            found.append(Gallery(f"{names['task']} · {names['model']} · defense {names['defense']}", rows))
    return found

"""Inputs that are right in form and wrong in what they say, drawn by Hypothesis: names, settings, TOML, JSON, folders.

Every entry of ``INPUTS`` is a strategy of JSON values and what reads one. What escaped once is kept as JSON under
``corpus/``, in a folder named like the entry.
"""

import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from howfar.commands.common import to_seconds
from howfar.data import DATASETS
from howfar.data.folder import counted, left_out
from howfar.data.tree import labels_by_folder, parts_of, read_tree, summary, unlabeled
from howfar.defend import DEFENSES, Chain
from howfar.grid.overrides import make_suite, read_suite
from howfar.models import MODELS
from howfar.naming import with_suffix
from howfar.photos import Encoding, labels_by_table, pairs
from howfar.photos.verification import demanded
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.spec.syntax import split_list
from howfar.tables.entry_file import read
from howfar.tasks import TASKS

from . import readers
from .fuzz import FINE, called
from .readers import READERS, all_of
from .seeds import picture, room

TABLES: dict[str, Any] = {
    "protector": PROTECTORS, "model": MODELS, "task": TASKS, "dataset": DATASETS, "defense": DEFENSES
}  # fmt: skip
SUITE_KEYS = (
    "dataset", "protectors", "defenses", "models", "seeds", "recipe", "train", "limit_train", "limit_test", "held_out",
    "tasks", "dense_models", "until", "source_tasks", "eps", "probe_images", "radius", "alignment_images", "suite",
    "download", "data_root",
)  # fmt: skip
TRAIN_KEYS = (
    "epochs", "batch_size", "lr", "optimizer", "momentum", "weight_decay", "warmup", "crop", "flip", "schedule",
    "precision", "label_smoothing", "average", "linear", "resnet8", "wrong",
)  # fmt: skip
numbers = st.one_of(
    st.integers(-3, 300), st.sampled_from([0, -1, 1, 2**31, 2**63, 10**12, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
)  # fmt: skip
words = st.one_of(
    st.sampled_from(["", "all", "none", "auto", "off", "8/255", "1/0", "inf", "nan", "-1", "0", "1e999", "true", "±5",
                     "é", "a,b", "[", "]", "a[b", "a=b", '"', "\n", "\x1b[31m", "../x", "/", "~", "@", "+", "\u202e"]),
    st.text(max_size=12),
)  # fmt: skip
plain = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)


@dataclass(frozen=True)
class Input:
    """One kind of input.

    Attributes:
        strategy: of JSON values.
        read: reads one.
        weight: as of ``Reader``.
    """

    strategy: st.SearchStrategy[Any]
    read: Callable[[Any], object]
    weight: float = 1.0


def names_of(table: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return names of a table with settings of theirs, right and wrong."""

    def settings_of(name: str) -> st.SearchStrategy[str]:
        keys = [*inspect.signature(table[name]).parameters, "paper", "wrong"]
        item = st.tuples(st.sampled_from(keys), st.one_of(numbers, words)).map(lambda pair: f"{pair[0]}={pair[1]}")
        inside = st.lists(st.one_of(item, st.sampled_from(["paper"]), words), max_size=3).map(",".join)
        return st.one_of(
            inside.map(lambda text: f"{name}[{text}]"), words.map(lambda text: f"{name}:{text}"), st.just(name),
            st.tuples(words, inside).map(lambda two: f"{name}:{two[0]}[{two[1]}]"),
        )  # fmt: skip

    return st.one_of(st.sampled_from(sorted(table)).flatmap(settings_of), words)


def listed(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return lists as flags take them."""
    return st.lists(strategy, max_size=3).map(",".join)


suites = st.dictionaries(st.sampled_from(SUITE_KEYS), values, max_size=4).flatmap(
    lambda found: st.fixed_dictionaries(
        {
            key: {
                "protectors": listed(names_of(PROTECTORS)), "defenses": listed(names_of(DEFENSES)),
                "models": listed(names_of(MODELS)), "tasks": listed(names_of(TASKS)),
                "dataset": names_of(DATASETS) | st.just("digits"), "seeds": listed(words | numbers.map(str)),
                "suite": st.sampled_from(["quick", "digits", "standard", "paper", "controls", "x"]),
                "train": st.dictionaries(st.sampled_from(TRAIN_KEYS), values, max_size=3),
            }.get(key, st.just(value)) | st.just(value)
            for key, value in found.items()
        }
    )
)  # fmt: skip


def toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(str(value))


def read_toml(found: dict[str, Any]) -> object:
    """Read a suite from a file."""
    path = room("suite.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in found.items()), encoding="utf-8")
    return make_suite(None, read_suite(path)).experiments()


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container inside a JSON value with every key or place in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(inner):
        yield value, key
        yield from places(each)


def edited(whole: Any, edits: list[Any]) -> Any:
    """Return a JSON value with members replaced, removed, added or moved."""
    whole = json.loads(json.dumps(whole))
    for where, how, value in edits:
        known = list(places(whole))
        if not known:
            break
        inside, key = known[where % len(known)]
        if how == "remove":
            del inside[key]
        elif how == "add" and isinstance(inside, dict):
            inside["added"] = value
        elif how == "twice" and isinstance(inside, list):
            inside.append(inside[key])
        else:
            inside[key] = value
    return whole


edits = st.lists(
    st.tuples(st.integers(0, 2000), st.sampled_from(["replace", "remove", "add", "twice"]), values).map(list),
    min_size=1, max_size=3,
)  # fmt: skip


def edited_json(name: str) -> Callable[[Any], object]:
    """Return what reads the JSON file of a reader with edits."""

    def read_edited(found: Any) -> object:
        reader = READERS[name]
        path = room(f"edited-{reader.suffix.lstrip('.')}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(edited(json.loads(whole(name)), found)), encoding="utf-8")
        return reader.read(path)

    return read_edited


def edited_lines(found: Any) -> object:
    """Read a journal with edits of its lines."""
    lines = [json.loads(line) for line in whole("journal of photographs").decode().splitlines()]
    path = room("edited.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in edited(lines, found)), encoding="utf-8")
    return readers.read_journal(path)


WHOLE: dict[str, bytes] = {}


def whole(name: str) -> bytes:
    """Return the right file of a reader."""
    if name not in WHOLE:
        WHOLE[name] = READERS[name].seed()
    return WHOLE[name]


part = st.one_of(
    st.sampled_from(["train", "Train", "TEST", "val", "a", "A", "é", "e\u0301", ".hidden", "1", "01", "a b", "[b]"]),
    st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6),
).filter(lambda text: text not in (".", ".."))  # fmt: skip
trees = st.lists(
    st.tuples(st.lists(part, min_size=1, max_size=3), st.sampled_from([".png", ".PNG", ".jpg", ".txt", "", ".p.png"])),
    max_size=6,
).map(lambda found: ["/".join(parts) + end for parts, end in found])  # fmt: skip


def read_folder(found: list[str]) -> object:
    """Read a folder of such names in every way, and give outputs names."""
    root = room("tree")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in found:
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PICTURE)
        except OSError:  # a file where a folder should be
            continue
    tree = read_tree(root)
    names = with_suffix(tree.names, ".png")
    if len(set(names.values())) < len(names):
        raise AssertionError(f"two files of one name: {names}")
    all_of(
        lambda: labels_by_folder(tree.names), lambda: parts_of(found), lambda: unlabeled(tree.names),
        lambda: summary(tree.left_out), lambda: left_out(root), lambda: counted(root, 0.2),
        lambda: DATASETS["folder"](root, size=8), lambda: pairs.pairs_of(root, root),
    )  # fmt: skip
    return None


PICTURE = picture("PNG")()
KINDS = ("uint8", "int64", "float32", "float64", "bool", "complex64", "uint16", "float16", "U3")
shapes = st.lists(st.integers(0, 6), max_size=5)
arrays = st.fixed_dictionaries(
    {"kind": st.sampled_from(KINDS), "shape": shapes | st.sampled_from([[4, 6, 6, 3], [4], [4, 1, 6, 6], [4, 3, 6, 6]]),
     "fill": st.sampled_from([0, 1, -1, 3, 255, 1e9, "nan", "inf", 0.03, "range"])}
)  # fmt: skip
KEYS = ("x_train", "y_train", "x_test", "y_test", "y_train_b", "y_test_b", "seg_train", "seg_test", "classes", "z")


def array(about: dict[str, Any]) -> "np.ndarray[Any, Any]":
    """Return the array that a description means."""
    count = int(np.prod(about["shape"]))
    fill = np.arange(count) % 7 if about["fill"] == "range" else np.full(count, float(about["fill"]))
    with np.errstate(all="ignore"):
        return fill.reshape(about["shape"]).astype(about["kind"])


def read_archive(found: dict[str, Any]) -> object:
    """Read an archive of arrays as a data set and as noise."""
    path = room("arrays.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array(about) for name, about in found.items()})
    all_of(
        lambda: DATASETS["npz"](path),
        lambda: DATASETS["camvid"](path, height=3, width=3),
        lambda: DATASETS["mnist"](path),
        lambda: DATASETS["cifar10"](path),
    )
    return None


def read_noise(about: dict[str, Any]) -> object:
    """Protect four images of 6×6 with an array."""
    import torch

    from howfar import arrays as howfar_arrays
    from howfar.data import Data
    from howfar.tasks import classification

    path = room("noise.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array(about))
    data = Data(torch.full((4, 3, 6, 6), 99, dtype=torch.uint8), {"label": torch.arange(4) % 2}, torch.arange(4))
    method = parse(f"import:{path}", PROTECTORS, "protector").build()
    return method.protect(data, classification()(data), generator=howfar_arrays.seeded(0))


def read_table(rows: list[list[str]]) -> object:
    """Read labels from a CSV."""
    path = room("labels.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8", newline="")
    return labels_by_table(path, readers.NAMES)


def read_row(found: Any) -> object:
    """Read a row with edits, and what follows from it."""
    edited_json("row of a leaderboard")(found)
    entry = read(room("edited-json"))
    return entry.doubts(), entry.summary()


def small_texts(text: str) -> object:
    """Read the small languages of flags."""
    all_of(
        lambda: to_seconds(text), lambda: demanded(text, ("drop", "kept")), lambda: split_list(text),
        lambda: Encoding.parse(text, "keep", opt_out=False), lambda: make_suite("digits", {"seeds": text}),
        lambda: make_suite("digits", {"until": text}), lambda: make_suite("digits", {}, settings=[text]),
    )  # fmt: skip
    return None


SMALL = r"[0-9]{1,3}-[0-9]{1,3}|(drop|kept)(>=|<=).{0,5}|[0-9.]{0,4}[smh]|(jpeg|webp):[0-9]*"
INPUTS: dict[str, Input] = {
    **{f"{kind} by name": Input(names_of(table), lambda text, k=kind, t=table: parse(text, t, k))
       for kind, table in TABLES.items()},
    "chain of defenses": Input(
        st.lists(names_of(DEFENSES), min_size=1, max_size=3).map("+".join),
        lambda text: Chain.parse(text, DEFENSES).build(),
    ),
    "flags of a suite": Input(suites, lambda found: make_suite("digits", found).experiments(), 0.3),
    "suite in TOML": Input(suites, read_toml, 0.3),
    "small texts of flags": Input(
        st.one_of(words, listed(numbers.map(str) | words), st.from_regex(SMALL, fullmatch=True)),
        small_texts, 0.3,
    ),
    "edited record of a victim": Input(edits, edited_json("victim without its seal"), 0.03),
    "edited record of a protected set": Input(edits, edited_json("protected set's record"), 0.03),
    "edited row": Input(edits, read_row, 0.1),
    "edited manifest of a set": Input(edits, edited_json("its manifest"), 0.2),
    "edited manifest of photographs": Input(edits, edited_json("manifest of photographs"), 0.2),
    "edited journal": Input(edits, edited_lines, 0.2),
    "edited lease": Input(edits, edited_json("lease"), 0.2),
    "edited calibration": Input(edits, edited_json("calibration"), 0.2),
    "folder": Input(trees, read_folder, 0.1),
    "archive of arrays": Input(
        st.dictionaries(st.sampled_from(KEYS), arrays, min_size=1, max_size=6), read_archive, 0.2
    ),
    "array of noise": Input(arrays, read_noise, 0.2),
    "table of labels": Input(
        st.lists(st.lists(st.sampled_from(readers.NAMES) | words, max_size=3), max_size=5), read_table
    ),
}  # fmt: skip


def tried(name: str, count: int, seed: int) -> tuple[dict[str, int], tuple[str, Any] | None]:
    """Return how often an input was read and refused, and what escaped with the smallest value that lets it escape."""
    entry, counts = INPUTS[name], dict[str, int]()
    escaped: list[tuple[str, Any]] = []

    @seeded(seed)
    @settings(
        max_examples=count, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(entry.strategy)
    def run(value: Any) -> None:
        found = called(lambda: entry.read(value))
        counts[found] = counts.get(found, 0) + 1
        if found not in FINE:
            escaped.append((found, value))
            raise AssertionError(found)

    try:
        run()
    except AssertionError:
        return counts, escaped[-1]
    return counts, None


def kept(corpus: Path) -> Iterator[tuple[str, Any]]:
    """Yield the names of inputs and the values that escaped them once."""
    for name in INPUTS:
        for path in sorted((corpus / name.replace(" ", "-")).glob("*.json")):
            yield name, json.loads(path.read_text(encoding="utf-8"))

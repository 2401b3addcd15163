"""Every JSON file that howfar writes for users is as its schema says."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from howfar import DATASETS
from howfar.schemas import SCHEMAS, file_of, generated, text_of, written

from .test_cli import inside

SHIPPED = Path(__file__).parents[1] / "src" / "howfar" / "schemas"
OPTIONAL = {"howfar", "step_peak_gpu_bytes", "drop", "drop_low", "drop_high", "kept", "kept_low", "kept_high",
            "worst_quality", "worst_defense", "tried"}  # fmt: skip
BENCH = ["bench", "--dataset", "digits", "--models", "lenet5", "--epochs", "2", "--limit-train", "120",
         "--limit-test", "40", "--workers", "0", "--set", "train.batch_size=16", "--json"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schemas")


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, list[Any]]:
    """Return files of every kind, made by the commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return {**benchmarks(), **photographs(), **protected_sets()}


def told(*arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
    """Return what a command prints as JSON."""
    code, shown, printed = inside(*arguments)
    assert code in codes, printed
    return json.loads(shown)


def benchmarks() -> dict[str, list[Any]]:
    one = ["--protectors", "lsp:eps=32/255", "--defenses", "none", "--seeds", "0", "--set", "held_out=0",
           "--set", "alignment_images=0", "--runs", "one"]  # fmt: skip
    many = ["--protectors", "lsp:eps=32/255,ops", "--defenses", "none,jpeg:75", "--seeds", "0-1", "--set",
            "probe_images=20"]  # fmt: skip
    rows = [told(*BENCH, *many), told(*BENCH, *one, "--set", "probe_images=0"), told("leaderboard", "runs", "--json")]
    rows.append(json.loads(Path("runs", "leaderboard.json").read_text()))
    cells, victims = [], []
    for store in ("runs", "one"):
        assert inside("submit", store, "-o", f"rows-{store}")[0] == 0
        for found, more in ((cells, []), (victims, ["--victims"])):
            assert inside("store", "export", "rows.json", "--runs", store, *more)[0] == 0
            found.append(json.loads(Path("rows.json").read_text()))
    assert inside("submit", "runs", "-o", "rows-own", "--only", "ops", "--reported", "0.2", "--source", "us")[0] == 0
    brief = ["--seeds", "0", "--set", "alignment_images=0", "--limit-train", "60"]
    few = [*BENCH, *brief, "--protectors", "ops", "--set", "probe_images=0"]
    learned = ["--models", "linear", "--limit-train", "300", "--set", "held_out=40", "--defenses", "none,jpeg:75"]
    told(*few, *learned, "--runs", "held")
    told(
        *few, "--defenses", "none", "--tasks", "classification,rotation", "--set", "probe_images=10", "--runs", "tasks"
    )
    ablation = ["ablate-ud", *BENCH[1:], *brief, "--protectors", "ops,random", "--defenses", "none", "--radius",
                "0.05,0.1", "--set", "probe_images=10", "--runs", "ablation"]  # fmt: skip
    return {
        "worst_case": [json.loads(Path(store, "worst_case.json").read_text()) for store in ("held", "runs")],
        "crosstask": [json.loads(Path("tasks", "crosstask.json").read_text())],
        "cost": [json.loads(Path(store, "cost.json").read_text()) for store in ("runs", "one")],
        "ablation": [told(*ablation)],
        "plan": [told(*BENCH, *many, "--runs", "none", "--dry-run"), told(*BENCH, *many, "--dry-run")],
        "watch": [told(*BENCH, *many, "--watch"), told(*BENCH, *many, "--epochs", "3", "--watch")],
        "compared": [told("leaderboard", store, "--against", "clean", "--json") for store in ("runs", "one")],
        "bench": rows,
        "ud": [told("ud", "clean", "ops", "--defense", "none", "--json")],
        "row": [json.loads(path.read_text()) for path in Path().glob("rows-*/*.json")],
        "cells": cells,
        "victims": victims,
    }


def photographs() -> dict[str, list[Any]]:
    chosen = DATASETS["digits"]().train.take(range(100))
    for place, (pixels, label) in enumerate(zip(chosen.pixels, chosen.targets["label"].tolist(), strict=True)):
        path = Path("photos", f"digit {label}", f"{place}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).convert("RGB").resize((32, 32)).save(path)
    Path("photos", "digit 0", "broken.jpg").write_bytes(b"no photograph")
    protect = ["protect", "photos", "-p", "lsp:eps=48/255", "--side", "32", "--json"]
    told(*protect, "-o", "skipped", "--broken", "skip", "--share", "0.5")
    told(*protect, "-o", "copied", "--broken", "copy", "--format", "jpeg:90", "--metadata", "strip-all")
    Path("photos", "digit 0", "broken.jpg").unlink()
    brief = told(*protect, "-o", "whole")
    manifests = [json.loads(Path(name, "manifest.json").read_text()) for name in ("skipped", "copied", "whole")]
    assert manifests[2] == {**brief, "photos": manifests[2]["photos"]}
    verify = ["verify", "photos", "whole", "--size", "16", "--model", "linear", "--epochs", "2", "--workers", "0",
              "--ways", "as-is", "--defenses", "none", "--json"]  # fmt: skip
    verdicts = [
        told(*verify, "--seeds", "0-1", "--require", "drop>=0", codes=(0, 4)),
        told(*verify, "--seeds", "0", "--tasks", ""),
    ]
    audits = [
        told("audit", "whole", "--size", "16", "--json"),
        told("audit", "whole", "--reference", "photos", "--size", "16", "--json"),
        told("audit", "photos", "--reference", "photos", "--size", "16", "--json"),
    ]
    return {"photos": manifests, "verify": verdicts, "audit": audits}


def protected_sets() -> dict[str, list[Any]]:
    sets, exports = [], []
    for name in ("lsp", "em:class,rounds=1", "clean"):
        flags = ["-d", "digits", "--limit-train", "60", "-p", name, "-o", f"set-{name[:2]}"]
        sets.append(told("generate", *flags, "--overwrite", "--json"))
        sets.append(json.loads(Path(f"set-{name[:2]}", "manifest.json").read_text()))
    for quality in ([], ["--jpeg", "80"]):
        output = f"images{''.join(quality)}"
        assert inside("export", "set-ls", "-o", output, *quality)[0] == 0
        exports.append(json.loads(Path(output, "manifest.json").read_text()))
    return {"protected": sets, "exported": exports}


def faults(name: str, content: Any) -> list[str]:
    """Return what is wrong with a file by its schema."""
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"[:200]
        for error in Draft202012Validator(json.loads(text_of(name))).iter_errors(content)
    ]


@pytest.mark.parametrize("name", SCHEMAS)
def test_real_files_are_as_their_schema_says(name: str, files: dict[str, list[Any]]) -> None:
    assert files[name]
    for content in files[name]:
        assert faults(name, content) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_unknown_and_missing_fields_are_faults(name: str, files: dict[str, list[Any]]) -> None:
    """Everywhere that a schema lists the fields of an object."""
    for content in files[name][:2]:
        places = list(objects(content, generated(name), generated(name)))
        assert places
        for path, known in places:
            more = deepcopy(content)
            at(more, path)["surprise"] = 1
            assert faults(name, more), f"{path} takes unknown fields"
            for field in sorted(known - OPTIONAL):
                less = deepcopy(content)
                del at(less, path)[field]
                assert faults(name, less), f"{path} does without {field}"


def objects(content: Any, part: dict[str, Any], whole: dict[str, Any]) -> list[tuple[list[str | int], set[str]]]:
    """Return path and fields of the first object of each kind whose fields a schema lists."""
    if "$ref" in part:
        part = whole["$defs"][part["$ref"].rpartition("/")[2]]
    if "anyOf" in part:
        kinds = [option for option in part["anyOf"] if not_null(option, content, whole)]
        return objects(content, kinds[0], whole) if kinds else []
    if isinstance(content, list):
        return [([0, *path], known) for path, known in objects(content[0], part["items"], whole)] if content else []
    if not isinstance(content, dict):
        return []
    if "properties" not in part:
        first = next(iter(content), None)
        inner = part.get("additionalProperties")
        if first is None or not isinstance(inner, dict):
            return []
        return [([first, *path], known) for path, known in objects(content[first], inner, whole)]
    found: list[tuple[list[str | int], set[str]]] = [([], set(content))]
    for field, inner in part["properties"].items():
        if field in content:
            found += [([field, *path], known) for path, known in objects(content[field], inner, whole)]
    return found


def not_null(option: dict[str, Any], content: Any, whole: dict[str, Any]) -> bool:
    return Draft202012Validator({**option, "$defs": whole.get("$defs", {})}).is_valid(content) and content is not None


def at(content: Any, path: list[str | int]) -> Any:
    for key in path:
        content = content[key]
    return content


@pytest.mark.parametrize("name", SCHEMAS)
def test_shipped_schemas_are_fresh_closed_and_described(name: str) -> None:
    schema = json.loads((SHIPPED / file_of(name)).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert (SHIPPED / file_of(name)).read_text(encoding="utf-8") == written(name), "run python docs/generate.py"
    assert schema["$id"].endswith(f"/src/howfar/schemas/{file_of(name)}")
    top = schema if schema.get("type") == "object" else {}
    for part in [top, *schema.get("$defs", {}).values()]:
        if "properties" not in part:
            continue
        assert part["additionalProperties"] is False
        assert set(part["properties"]) - set(part.get("required", ())) <= OPTIONAL
        assert all(field["description"].endswith(".") for field in part["properties"].values())


WRONG: list[tuple[str, Callable[[Any], None]]] = [
    ("bench", lambda rows: rows[0].update(drop="much")),
    ("worst_case", lambda tables: next(iter(tables[0]["worst"].values())).update(kept=None)),
    ("crosstask", lambda tables: tables[0].update(seeds=[1])),
    ("cost", lambda table: next(iter(table["victims"].values())).update(seconds="long")),
    ("ablation", lambda rows: rows[0].update(rule="mean")),
    ("plan", lambda plan: plan["todo"][0].update(key=1)),
    ("watch", lambda found: found.update(left=3)),
    ("bench", lambda rows: rows[0].update(l0=1.5)),
    ("bench", lambda rows: rows[0].update(seeds=0)),
    ("verify", lambda found: found["losses"][0].update(outcome="perhaps")),
    ("row", lambda row: row.update(format="howfar-row-2")),
    ("row", lambda row: next(iter(row["runs"].values())).update(clean=[None])),
    ("protected", lambda manifest: manifest.update(format=2)),
    ("protected", lambda manifest: manifest.update(shape=[16, 16])),
    ("photos", lambda manifest: manifest["photos"][0].update(status="lost")),
]


@pytest.mark.parametrize(("name", "spoil"), WRONG)
def test_wrong_values_are_faults(name: str, spoil: Callable[[Any], None], files: dict[str, list[Any]]) -> None:
    content = deepcopy(files[name][0])
    spoil(content)
    assert faults(name, content)


def test_schemas_are_listed_and_shown() -> None:
    listed = told("list", "schemas", "--json")
    assert [(each["name"], each["version"]) for each in listed] == [
        (f"schema:{name}", schema.version) for name, schema in SCHEMAS.items()
    ]
    assert "schema:bench" in inside("list", "schemas")[1]
    assert told("show", "schema:row") == generated("row")
    code, _, printed = inside("show", "schema:bnch")
    assert (code, "unknown schema 'bnch'. Did you mean 'bench'?" in printed) == (2, True)

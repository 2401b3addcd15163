"""One row per cell says what its records say."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import pytest

from howfar import Results, Store, __version__, bench
from howfar.schemas import generated
from howfar.score.unlearnable_distance import VERSION
from howfar.store import Record
from howfar.tables.cells import origin

from ..test_cli import inside

OPTIONS: dict[str, Any] = {
    "dataset": "digits", "protectors": ["lsp[eps=32/255]", "random[eps=16/255]"], "models": "resnet8[width=4]",
    "defenses": "none", "seeds": "0-1", "limit_train": 200, "limit_test": 100, "held_out": 0, "probe_images": 10,
    "alignment_images": 10, "train": {"epochs": 3, "batch_size": 4, "lr": 0.1, "crop": 0, "flip": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def results(runs: Path) -> Results:
    return bench(runs=runs, **OPTIONS)


def victims(runs: Path, protector: str) -> list[Record]:
    records = Store(runs, reading=True).records("victim")
    found = [record for record in records if record.spec["protector"]["name"] == protector]
    return sorted(found, key=lambda record: int(record.spec["seed"]))


def test_a_row_holds_what_its_records_hold(runs: Path, results: Results) -> None:
    frame = results.to_pandas()
    assert sorted(frame["protector"]) == ["clean", "lsp[eps=32/255]", "random[eps=16/255]"]
    (row,) = frame[frame["protector"] == "lsp[eps=32/255]"].to_dict("records")
    clean, poisoned = victims(runs, "clean"), victims(runs, "lsp")
    before, after = ([r.result["quality"] for r in records] for records in (clean, poisoned))
    assert (row["dataset"], row["task"], row["model"], row["seeds"]) == (
        "digits",
        "classification",
        "resnet8[width=4]",
        2,
    )
    assert (row["clean"], row["poisoned"]) == pytest.approx((mean(before), mean(after)), abs=1e-6)
    assert row["drop"] == pytest.approx(mean(before) - mean(after), abs=1e-6)
    assert row["drop"] > 0.1
    assert row["drop_low"] <= row["drop"] <= row["drop_high"]
    assert row["ud_low"] <= row["ud"] <= row["ud_high"]
    assert row["alignment_low"] <= row["alignment"] <= row["alignment_high"]
    assert row["chance"] == pytest.approx(0.1)
    assert row["higher_is_better"] is True
    assert (row["train_images"], row["test_images"]) == (200, 100)
    assert (row["data"], row["test"]) == (clean[0].spec["dataset"]["train"], clean[0].spec["test"])
    settings = json.loads(row["protector_settings"])
    assert settings["eps"] == 32 / 255
    assert not {"name", "label", "version"} & settings.keys()
    assert json.loads(row["recipe"]).items() >= {"epochs": 3, "batch_size": 4, "flip": False}.items()
    assert json.loads(row["probe"])["images"] == 10
    assert row["source_task"] == "classification"
    spec = poisoned[0].spec
    assert row["protector_version"] == spec["protector"]["version"]
    assert row["model_version"] == spec["model"]["version"]
    assert row["training_version"] == spec["recipe"]["version"]
    assert (row["sal_version"], row["ud_version"]) == (spec["probe"]["version"], VERSION)
    assert row["alignment_version"] == spec["alignment"]["version"]
    assert (row["howfar"], row["torch"], row["device"]) == (__version__, clean[0].made["torch"], "cpu")
    assert set(frame["defense_version"]) == {"1"}
    random = frame[frame["protector"] == "random[eps=16/255]"]
    assert random["source_task"].isna().all(), "it uses no targets"
    assert random["source_task_version"].isna().all()


def test_every_kind_of_file_has_the_same_rows_and_documented_columns(
    runs: Path, results: Results, tmp_path: Path
) -> None:
    for kind in ("csv", "json", "parquet"):
        code, _, message = inside("store", "export", str(tmp_path / f"cells.{kind}"), "--runs", str(runs))
        assert code == 0, message
        assert "3 rows" in message
    rows = json.loads((tmp_path / "cells.json").read_text())
    columns = list(generated("cells")["$defs"]["CellRow"]["properties"])
    assert rows == [row.as_cell() for row in results.page.rows]
    with (tmp_path / "cells.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [list(row) for row in (*rows, *table)] == [columns] * 6
    assert [float(row["drop"]) for row in table] == [row["drop"] for row in rows]
    assert [row["recipe"] for row in table] == [row["recipe"] for row in rows]
    frame = pd.read_parquet(tmp_path / "cells.parquet")
    assert list(frame) == columns
    assert frame["poisoned"].tolist() == [row["poisoned"] for row in rows]
    assert results.to_pandas()["drop"].tolist() == [row["drop"] for row in rows]


def test_what_was_not_measured_is_none(tmp_path: Path) -> None:
    options = {**OPTIONS, "probe_images": 0, "alignment_images": 0, "seeds": 0, "protectors": "ops", "models": "linear"}
    for row in [row.as_cell() for row in bench(runs=tmp_path, **options).page.rows]:
        unknown = {name for name, value in row.items() if value is None}
        assert unknown >= {
            "ud", "ud_low", "ud_high", "ud_probe_error", "beta", "alignment", "alignment_low", "alignment_high",
            "probe", "sal_version", "ud_version", "alignment_version", "drop_low", "drop_high",
        }  # fmt: skip
        assert row["seeds"] == 1


def test_several_devices_are_all_named_and_older_records_lack_a_version(runs: Path, results: Results) -> None:
    clean, poisoned = victims(runs, "clean"), victims(runs, "lsp")

    def elsewhere(records: Sequence[Record], **made: str) -> list[Record]:
        return [replace(r, made={k: v for k, v in {**r.made, **made}.items() if k != "howfar"}) for r in records]

    found = origin(elsewhere(clean), elsewhere(poisoned, device="NVIDIA H200", torch="3.0"))
    assert found["device"] == "NVIDIA H200, cpu"
    assert found["torch"] == ", ".join(sorted(("3.0", clean[0].made["torch"])))
    assert found["howfar"] is None
    chain = {
        "label": "gray+cutout",
        "name": "gray+cutout",
        "parts": [{"name": "gray"}, {"name": "cutout", "version": 3}],
    }
    chained = [replace(record, spec={**record.spec, "defense": chain}) for record in poisoned]
    assert origin(clean, chained)["defense_version"] == "1+3"


def test_cells_need_pairs_and_victims_do_not(runs: Path, results: Results, tmp_path: Path) -> None:
    lone = Store(tmp_path / "lone")
    for record in victims(runs, "lsp"):
        lone.save(record)
    place = str(tmp_path / "lone")
    code, _, message = inside("store", "export", str(tmp_path / "cells.csv"), "--runs", place)
    assert code == 1
    assert "A cell needs a clean and a protected victim of the same seed" in message
    code, _, message = inside("store", "export", str(tmp_path / "victims.csv"), "--runs", place, "--victims")
    assert code == 0, message
    lines = (tmp_path / "victims.csv").read_text().splitlines()
    assert lines[0].startswith("key,dataset,protector")
    assert len(lines) == 3

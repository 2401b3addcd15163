"""Protectors compared on the same test images, from the records of a store and on the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from howfar import MODELS, TASKS, build, evaluate
from howfar.data import Splits
from howfar.errors import HowfarError, UsageError
from howfar.report.paired import tables
from howfar.score import false_discoveries, packed, paired, unpacked
from howfar.score.intervals import pooled
from howfar.steps.victim import _judged
from howfar.store import Record, Store, differences
from howfar.tables.paired import paired_rows

from ..test_cli import inside
from .test_names import FakeStore, record

GRID = (
    "bench", "--dataset", "digits", "--protectors", "ops,random", "--models", "linear", "--defenses", "none", "--seeds",
    "0-2", "--epochs", "4", "--limit-train", "300", "--limit-test", "60", "--workers", "0", "--set", "probe_images=0",
    "--set", "alignment_images=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("paired") / "runs"
    assert inside(*GRID, "--runs", str(place))[0] == 0
    return place


def victims(store: Store) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for one in sorted(store.records("victim"), key=lambda one: one.spec["seed"]):
        found.setdefault(one.spec["protector"]["name"], []).append(one)
    return found


def bits(records: list[Record]) -> Any:
    return np.array([unpacked(one.result["correct"], one.result["test_images"]) for one in records])


def test_a_record_says_which_test_images_are_correct(digits: Splits) -> None:
    """In the order of their ids, whatever the order of the images."""
    torch.manual_seed(0)
    task = TASKS["classification"]()(digits.train)
    model = build(MODELS["linear"](), (1, 16, 16), task.outputs)
    test = digits.test.take(torch.randperm(150))
    found = _judged(model, task, replace(digits, test=test, validation=None))
    correct = unpacked(found["correct"], 150)
    assert correct.mean() == pytest.approx(found["quality"])
    for place, where in enumerate(test.ids.argsort()[:40].tolist()):
        assert evaluate(model, test.take([where]), task)["accuracy"] == correct[place]
    assert 0 < correct[:40].sum() < 40


def test_only_classifiers_have_correct_images(digits: Splits) -> None:
    task = TASKS["autoencoding"]()(digits.train)
    model = build(MODELS["unet"](), (1, 16, 16), task.outputs)
    few = replace(digits, test=digits.test.take(range(8)), validation=None)
    assert "correct" not in _judged(model, task, few)


def test_rows_are_the_comparisons_of_the_bits(runs: Path) -> None:
    store = Store(runs, reading=True)
    found = {row.protector.partition("[")[0]: row for row in paired_rows(store, "clean")}
    known = victims(store)
    assert set(found) == {"ops", "random"}
    drops = [bits(known[name]).mean(1) - bits(known["clean"]).mean(1) for name in ("ops", "random")]
    spread = pooled([values.tolist() for values in drops])
    for name, row in found.items():
        alone = paired(bits(known["clean"]), bits(known[name]))
        assert row.found.difference.value == pytest.approx(alone.difference.value)
        qualities = [np.mean([one.result["quality"] for one in known[label]]) for label in (name, "clean")]
        assert row.found.difference.value == pytest.approx(qualities[0] - qualities[1])
        assert row.found.disagreement == alone.disagreement
        assert row.found == paired(bits(known["clean"]), bits(known[name]), spread=spread)
        assert (row.found.seeds, row.found.images) == (3, 60)
    assert [row.adjusted for row in found.values()] == false_discoveries([row.found.p_value for row in found.values()])


def test_on_the_command_line(runs: Path) -> None:
    code, out, message = inside("leaderboard", str(runs), "--against", "clean", "--json")
    assert code == 0, message
    rows = json.loads(out)
    assert {row["protector"].partition("[")[0] for row in rows} == {"ops", "random"}
    assert all(row["difference_low"] <= row["difference"] <= row["difference_high"] for row in rows)
    code, out, _ = inside("leaderboard", str(runs), "--against", "ops", "--markdown")
    assert code == 0
    assert "compared with ops" in out
    assert "| clean |" in out
    assert "Benjamini" in out
    code, _, message = inside("leaderboard", str(runs), "--against", "opps")
    assert code == 2
    assert "Did you mean 'ops'" in message
    assert inside("leaderboard", str(runs), "--against", "ops", "--html", str(runs.parent / "site"))[0] == 2
    assert not (runs.parent / "site").exists()


def known(name: str, seed: int, correct: Any) -> Record:
    """Return a victim that classifies these images correctly."""
    one = record(name, seed, float(np.mean(correct)))
    result = {**one.result, "test_images": len(correct), "correct": packed(correct)}
    return Record(one.step, one.key, one.spec, one.status, result, one.made)


def test_seeds_without_bits_are_left_out() -> None:
    rng = np.random.default_rng(0)
    new = [known(name, seed, rng.random(40) < 0.5) for name, seed in (("clean", 0), ("clean", 1), ("clean", 2))]
    new += [known("lsp", seed, rng.random(40) < 0.5) for seed in (0, 2)]
    store = FakeStore([*new, record("lsp", 1, 0.5), *(record("ops", seed, 0.5) for seed in range(3))])
    (row,) = paired_rows(store, "clean")
    assert (row.protector, row.found.seeds) == ("lsp", 2)
    store.place = "runs"
    with pytest.raises(HowfarError, match="Older versions did not record"):
        paired_rows(store, "ops")
    with pytest.raises(UsageError, match="Known: clean, lsp, ops"):
        paired_rows(store, "tap")


def test_one_seed_is_named_in_the_table() -> None:
    store = FakeStore([known("clean", 0, np.arange(100) < 90), known("lsp", 0, np.arange(100) < 20)])
    (table,) = tables(paired_rows(store, "clean"), "clean")
    assert table.rows[0][:3] == ("lsp", "-70.0 (-79.4 to -60.6)", "yes (1 seed)")


def test_old_and_new_records_of_the_same_results_do_not_differ() -> None:
    new, old = known("lsp", 0, np.arange(10) < 5), record("lsp", 0, 0.5)
    old = replace(old, result={**old.result, "test_images": 10})
    assert list(differences(FakeStore([new]), FakeStore([old]))) == []
    other = known("lsp", 0, np.arange(10) >= 5)
    assert len(list(differences(FakeStore([new]), FakeStore([other])))) == 1

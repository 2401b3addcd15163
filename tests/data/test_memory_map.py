"""A memory-mapped data set is the same as the loaded one."""

import os
from pathlib import Path

import pytest
import torch

from howfar.data import DATASETS, loaded, read_splits, write_splits
from howfar.grid.overrides import make_suite
from howfar.store import Store


@pytest.mark.parametrize("name", ["digits", "rooms"])
def test_a_data_set_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    splits = DATASETS[name](**({"size": 16, "train": 20, "test": 10} if name == "rooms" else {}))
    path = tmp_path / "deep" / "data.safetensors"
    write_splits(splits, path)
    found = read_splits(path)
    assert (found.classes, found.flip) == (splits.classes, splits.flip)
    assert (found.clean, found.validation) == (None, None)
    assert found.train.digest() == splits.train.digest()
    assert found.test.digest() == splits.test.digest()
    assert [path.name for path in path.parent.iterdir()] == ["data.safetensors"]


def test_a_grid_maps_what_lies_ready_and_loads_what_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        "protectors": "random", "models": "linear", "seeds": "0", "limit_train": 100, "held_out": 20, "probe_images": 0,
    }  # fmt: skip
    cells = make_suite("digits", keys).experiments()
    steps = [step.key for cell in cells for step in cell.steps()]
    choices = [choice for cell in cells for choice in cell.choices]
    assert loaded.write_memory_maps(choices, tmp_path) == {}, "small data are loaded as quickly as mapped"
    monkeypatch.setattr(loaded, "LARGE", 0)
    maps = loaded.write_memory_maps(choices, tmp_path)
    whole = cells[0].splits
    try:
        loaded.use_memory_maps(maps)
        monkeypatch.setitem(DATASETS, "digits", lambda: pytest.fail("it was loaded again"))
        mapped = cells[0].splits
        assert mapped is not whole
        assert torch.equal(mapped.train.pixels, whole.train.pixels)
        assert mapped.validation is not None
        assert [step.key for cell in cells for step in cell.steps()] == steps
        monkeypatch.undo()
        for memory_map in maps.values():
            memory_map.path.unlink()
        loaded._load.cache_clear()
        assert torch.equal(cells[0].splits.train.pixels, whole.train.pixels), "the run that had laid it ready is over"
    finally:
        loaded.use_memory_maps({})


def test_what_a_killed_run_laid_ready_is_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mine = store.scratch()
    other = Path(str(mine).replace(f".{os.getpid()}.", ".999999999."))
    for folder in (mine, other):
        folder.mkdir()
    store.sweep()
    assert (mine.exists(), other.exists()) == (True, False)

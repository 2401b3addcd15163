"""The calibration that comes with the package is whole, or said to be damaged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import howfar.audit
from howfar.audit import calibrated
from howfar.errors import HowfarError

SHIPPED = json.loads((Path(howfar.audit.__file__).parent / "calibration.json").read_text())


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    calibrated.cache_clear()
    yield
    calibrated.cache_clear()


def files_in(text: str, folder: Path) -> Callable[[str], Path]:
    (folder / "calibration.json").write_text(text)
    return lambda package: folder


def test_the_shipped_one_is_read_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howfar.audit.calibration.files", files_in(json.dumps(SHIPPED), tmp_path))
    assert json.loads(calibrated().as_json()) == SHIPPED


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["weights"].pop("linear"),
        lambda c: c["weights"].update(linear=-1.0),
        lambda c: c["scale"]["linear"].__setitem__(0, 0),
        lambda c: c["middle"]["linear"].__setitem__(0, None),
        lambda c: c["thresholds"]["linear"].__setitem__(0, 1e300),
        lambda c: c["thresholds"]["linear"].pop(),
        lambda c: c["limits"].__setitem__(0, 0.0),
        lambda c: c["limits"].append(1.0),
        lambda c: c["sizes"].reverse(),
        lambda c: c["families"].clear(),
        lambda c: c["families"]["filters"][0].pop("linear"),
        lambda c: c.pop("limits"),
        lambda c: c.update(found="many"),
    ],
)
def test_a_damaged_one_is_refused(
    change: Callable[[Any], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = json.loads(json.dumps(SHIPPED))
    change(damaged)
    monkeypatch.setattr("howfar.audit.calibration.files", files_in(json.dumps(damaged), tmp_path))
    with pytest.raises(HowfarError, match="calibration is damaged"):
        calibrated()

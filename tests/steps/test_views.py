"""From finished trajectories to surfaces, curvature, page and figures."""

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from howfar import arrays, engine
from howfar.cli import main
from howfar.errors import UsageError
from howfar.grid.estimate import build_victim
from howfar.grid.experiment import Experiment, TrajectoryOptions
from howfar.grid.overrides import make_suite
from howfar.models.build import weights_of
from howfar.report.curvatures import overview
from howfar.report.render import render
from howfar.steps import costs, curvature, landscape
from howfar.steps.landscape_settings import LandscapeSettings
from howfar.store import Store
from howfar.store.record import ARRAYS
from howfar.tables import collect
from howfar.tables.curvatures import curvatures
from howfar.tables.landscapes import scenes

from ..test_cli import inside

CPU = torch.device("cpu")
LENET = ["--dataset", "digits", "--models", "lenet5", "--protectors", "lsp", "--defenses", "none", "--seeds", "0",
         "--epochs", "1", "--limit-train", "60", "--limit-test", "30"]  # fmt: skip
Finished = tuple[Store, list[Experiment]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return trained("resnet8[width=2]", tmp_path_factory.mktemp("runs"))


def trained(model: str, folder: Path) -> Finished:
    suite = make_suite(
        "digits",
        {
            "protectors": "lsp[eps=64/255]", "models": model, "defenses": "none", "seeds": "0",
            "limit_train": 200, "limit_test": 100, "train": {"epochs": 3},
        },
    )  # fmt: skip
    cells = [replace(cell, trajectory=TrajectoryOptions()) for cell in suite.experiments()]
    store = Store(folder)
    assert not [e for e in engine.run(cells, store, workers=1, device=CPU) if e.status == "failed"]
    return store, cells


def seen(finished: Finished, **view: object) -> list[str]:
    store, cells = finished
    work = landscape.run(cells, store, LandscapeSettings(points=5, images=60, **view), CPU)  # type: ignore[arg-type]
    keys: list[str] = arrays.finished(work)
    return keys


def test_clean_and_protected_paths_lie_on_the_same_plane_and_scale(finished: Finished) -> None:
    (scene,) = scenes(finished[0], seen(finished, norms="frozen"))
    assert [panel.title for panel in scene.panels] == [
        "clean test images", "clean training images", "lsp[eps=64/255] training images",
    ]  # fmt: skip
    first = scene.panels[0]
    assert set(first.paths) == {"clean", "lsp[eps=64/255]"}
    starts = [np.array(path[0]) for path in first.paths.values()]
    assert np.allclose(*starts, atol=1e-5)  # the same initial weights
    for axis, row in enumerate(first.coordinates):
        inside = [place[axis] for path in first.paths.values() for place in path]
        assert row[0] < min(inside) < max(inside) < row[-1]
    assert all(0 <= share < 1 for share in first.off_plane.values())
    assert sum(scene.explained) <= 1
    assert all(panel.coordinates == first.coordinates for panel in scene.panels)


def test_a_line_of_frozen_statistics_ends_at_the_networks_themselves(finished: Finished) -> None:
    store, cells = finished
    (scene,) = scenes(store, seen(finished, plane="line", norms="frozen"))
    assert len(scene.panels) == 3
    records = {cell.protector.name: store.find(*_of(cell)) for cell in cells}
    test = scene.panels[0]
    assert "clean test images" in test.title
    assert len(test.loss[0]) == 20
    clean, protected = records["clean"], records["lsp"]
    assert clean is not None
    assert protected is not None
    # All 100 test images would give exactly these; 60 of them come near.
    assert test.quality[0][0] == pytest.approx(clean.result["quality"], abs=0.12)
    assert test.quality[0][-1] == pytest.approx(protected.result["quality"], abs=0.12)


def _of(cell: Experiment) -> tuple[str, str]:
    step = cell.steps()[1]
    return step.name, step.key


@pytest.mark.parametrize(
    ("view", "panels"),
    [
        ({"plane": "random", "draws": 2}, 8),
        ({"plane": "curve"}, 3),
        ({"plane": "hessian", "layer": "head.weight", "extent": 0.1}, 4),
        ({"plane": "weights", "weights": "head.weight:0,head.weight:7"}, 3),
        ({"plane": "pca", "share": 0.5}, 3),
    ],
)
def test_every_plane_has_its_surfaces(finished: Finished, view: dict[str, object], panels: int) -> None:
    (scene,) = scenes(finished[0], seen(finished, **view))
    assert len(scene.panels) == panels
    assert all(np.isfinite(panel.loss).all() for panel in scene.panels)


def test_surfaces_are_computed_once_and_shown_on_the_page(finished: Finished) -> None:
    store, cells = finished
    keys = seen(finished, norms="frozen")
    work = landscape.run(cells, store, LandscapeSettings(points=5, images=60, norms="frozen"), CPU)
    with pytest.raises(StopIteration) as end:
        next(work)  # nothing left to do
    assert end.value.value == keys
    text = render(collect(store))
    assert "Loss landscapes" in text
    assert 'id="scene-0"' in text
    packed = text.partition('id="charts">')[2].partition("</script>")[0]
    assert "lsp[eps=64/255] training images" in gzip.decompress(base64.b64decode(packed)).decode()


def test_a_surface_whose_numbers_are_lost_is_computed_again(finished: Finished) -> None:
    store, _ = finished
    keys = seen(finished, norms="frozen")
    (store.root / "landscape" / keys[0] / ARRAYS).unlink()  # as in records that are published
    (scene,) = scenes(store, seen(finished, norms="frozen"))
    assert len(scene.panels) == len(keys)


def test_curvature_says_what_sal_has_to_do_with_it(tmp_path: Path) -> None:
    store, cells = trained("lenet5", tmp_path)
    work = curvature.run(cells, store, images=40, top=1, draws=2, device=CPU)
    found = curvatures(store, arrays.finished(work))
    assert [one.protector for one in found] == ["clean", "lsp[eps=64/255]"]
    for one in found:
        assert one.taylor.value > 0.8  # slope and bend together foretell SAL
        assert one.converged > 0.5
        assert len(one.layers) == 5
        assert one.top.value >= max(layer["eigenvalue"].value for layer in one.layers.values()) * 0.99
    assert len(overview(found)[1]) == 2


def test_senseless_views_are_refused() -> None:
    with pytest.raises(UsageError, match="--layer"):
        LandscapeSettings(plane="hessian")
    with pytest.raises(UsageError, match="--weights"):
        LandscapeSettings(plane="weights", weights="head.weight:0")
    with pytest.raises(UsageError, match="--share"):
        LandscapeSettings(share=0.0)
    with pytest.raises(UsageError, match="3 points"):
        LandscapeSettings(points=2)


@pytest.mark.parametrize("command", ["landscape", "curvature"])
def test_the_commands_write_what_they_say(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    runs = tmp_path / "runs"
    arguments = [
        command, "--suite", "digits", "--models", "linear[inputs=12]", "--defenses", "none", "--protectors", "lsp",
        "--seeds", "0", "--limit-train", "100", "--epochs", "3", "--images", "50", "--runs", str(runs), "--json",
    ]  # fmt: skip
    figure = tmp_path / "fig.svg"
    arguments += ["--save", str(figure), *(["--points", "5"] if command == "landscape" else ["--draws", "2"])]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out) == json.loads((runs / f"{command}.json").read_text())
    if command == "curvature":
        assert "head.weight" in (runs / "curvature.md").read_text()
        assert "head.weight" in figure.read_text()
        return
    assert "lsp training images" in figure.read_text()
    grids = np.load(runs / "landscape.npz", allow_pickle=False)
    assert grids["0_0_loss"].shape == (5, 5)
    assert (runs / "report.html").is_file()
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--save", str(tmp_path / "fig.docx")])
    assert end.value.code == 2


def test_estimates_count_the_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places × images × seconds of one of them, for every surface that the store lacks."""
    monkeypatch.setattr("howfar.steps.costs._place_seconds", lambda *_: 1.0)
    how = [*LENET, "--runs", str(tmp_path / "runs"), "--images", "20", "--dry-run", "--json"]

    def maps(*command: str) -> dict[str, float]:
        code, out, message = inside(*command, *how)
        assert code == 0, message
        plan = json.loads(out)
        assert plan["seconds"] >= plan["maps"]["seconds"]
        found: dict[str, float] = plan["maps"]
        return found

    assert maps("landscape", "--points", "5") == {"count": 3, "seconds": 3 * 25 * 20}
    assert maps("landscape", "--points", "6", "--share", "0.5") == {"count": 3, "seconds": 3 * 18 * 20}
    assert maps("landscape", "--points", "5", "--plane", "line") == {"count": 3, "seconds": 3 * 4 * 5 * 20}
    assert maps("landscape", "--points", "5", "--plane", "random", "--draws", "2") == {"count": 8, "seconds": 8 * 500}
    monkeypatch.setattr("howfar.steps.costs.step_seconds", lambda _: (2.0, 3))
    curved = maps("landscape", "--points", "5", "--plane", "curve")
    assert curved == {"count": 3, "seconds": 3 * 4 * 5 * 20 + 300 * 128 * 2}, "the curve is fitted once"
    monkeypatch.setattr("howfar.steps.costs._product_seconds", lambda _: {"a": (0.5, 30), "": (1.0, 90)})
    monkeypatch.setattr("howfar.steps.costs._orthogonal_seconds", lambda: 0.0)
    each = 20 * 2 * (1 + 3 * 1.4) + 3 * 21 * 4 * 20 + (1 + 6) * 20 * (30 * 0.5 + 60 * 1.0) + 3 * 20 * 1.5
    assert maps("curvature") == {"count": 2, "seconds": round(2 * each, 1)}


def test_an_estimate_times_every_layer_and_the_whole_network() -> None:
    """How long it takes is not tested, and a difference of two times may be 0 on a busy machine."""
    keys = {"dataset": "digits", "models": "resnet8[width=4]", "protectors": "lsp", "limit_train": 40}
    cell = make_suite("digits", keys).experiments()[0]
    assert costs._place_seconds(cell, "re-estimated") >= 0
    products = costs._product_seconds(cell)
    assert {size for _, size in products.values()} == {*(w.numel() for w in weights_of(build_victim(cell)[0]).values()),
                                                       products[""][1]}  # fmt: skip
    assert all(seconds >= 0 for seconds, _ in products.values())


def test_earlier_maps_of_the_same_kind_are_believed(tmp_path: Path) -> None:
    runs = ["--runs", str(tmp_path / "runs")]
    how = [*LENET, *runs, "--images", "20", "--points", "5", "--workers", "0"]
    assert inside("landscape", *how)[0] == 0
    assert json.loads(inside("landscape", *how, "--dry-run", "--json")[1])["maps"] == {"count": 0, "seconds": 0}
    store = Store(tmp_path / "runs")
    seconds = [record.made["wall_seconds"] for record in store.records("landscape")]
    plan = json.loads(inside("landscape", *how, "--seeds", "1", "--dry-run", "--json")[1])
    assert plan["maps"]["count"] == 3
    assert plan["maps"]["seconds"] == pytest.approx(sum(seconds), abs=0.06)

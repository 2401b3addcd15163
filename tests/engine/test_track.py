"""Experiment trackers get what the records hold, once."""

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from howfar import Store, bench, errors
from howfar.engine import Event
from howfar.engine.track import METRICS, PARAMETERS, Run, tracked, tracker
from howfar.errors import UsageError
from howfar.grid.overrides import make_suite
from howfar.store import Record
from howfar.tables.distances import Distances

from ..test_cli import inside

OPTIONS: dict[str, Any] = {
    "dataset": "digits", "protectors": ["lsp[eps=32/255]"], "models": "linear", "defenses": "none", "seeds": "0-1",
    "limit_train": 60, "limit_test": 30, "held_out": 0, "probe_images": 20, "alignment_images": 0,
    "train": {"epochs": 2, "batch_size": 16, "crop": 0, "flip": False},
}  # fmt: skip
RUN = Run(
    "0123456789", "linear on lsp", {"protector.eps": 0.125, "recipe.flip": False, "seed": 3},
    {"train/loss": [2.0, 1.0], "drop": [None, 0.25]}, {"quality": 0.5, "drop": 0.25},
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two clean victims and two of protected images."""
    folder = tmp_path_factory.mktemp("runs")
    bench(runs=folder, **OPTIONS)
    return folder


@pytest.fixture
def victims(runs: Path) -> dict[tuple[str, int], Record]:
    records = Store(runs, reading=True).records("victim")
    return {(record.spec["protector"]["name"], record.spec["seed"]): record for record in records}


@pytest.fixture
def logged(runs: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Run]:
    """Return what a tracker gets of the finished victims, by key."""
    found: list[Run] = []
    monkeypatch.setitem(sys.modules["howfar.engine.track"].TRACKERS, "wandb", lambda place: found.append)
    monkeypatch.setattr(errors, "find_spec", lambda name: True)
    bench(runs=runs, track="wandb", **OPTIONS)
    assert len({run.key for run in found}) == len(found)
    return {run.key: run for run in found}


def test_a_run_holds_what_the_record_of_its_victim_holds(
    logged: dict[str, Run], victims: dict[tuple[str, int], Record]
) -> None:
    assert logged.keys() == {record.key for record in victims.values()}
    for (name, seed), record in victims.items():
        run, clean = logged[record.key], victims["clean", seed]
        epochs = record.result["epochs"]
        assert run.name == f"linear on {'clean' if name == 'clean' else 'lsp[eps=32/255]'} / none seed {seed}"
        assert run.curves["train/loss"] == [epoch["loss"] for epoch in epochs]
        assert run.curves["test/accuracy"] == [epoch["test"]["accuracy"] for epoch in epochs]
        assert run.final["quality"] == record.result["quality"]
        assert run.final["chance"] == record.result["chance"]
        assert run.config["seed"] == seed
        assert run.config["protector.name"] == name
        assert run.config["recipe.epochs"] == 2
        assert run.config["device"] == "cpu"
        if name == "clean":
            assert "drop" not in run.final | run.curves
            continue
        assert run.final["drop"] == clean.result["quality"] - record.result["quality"]
        before = [epoch["test"]["accuracy"] for epoch in clean.result["epochs"]]
        assert run.curves["drop"] == [a - b for a, b in zip(before, run.curves["test/accuracy"], strict=True)]
        ud = Distances().of([clean], [record])
        assert run.final.get("UD") == (ud.values[0] if ud else None)


def test_a_protected_victim_is_logged_after_its_clean_one(runs: Path, victims: dict[tuple[str, int], Record]) -> None:
    experiments = make_suite(None, OPTIONS).experiments()
    protected, clean = (victims[name, 1].key for name in ("lsp", "clean"))
    found: list[Run] = []
    events = tracked(
        (Event("cached", "", key, 1.0) for key in (protected, clean)), experiments, Store(runs), found.append
    )
    assert next(events).key == protected
    assert next(events).key == clean
    assert found == []
    assert next(events, None) is None
    assert {run.key for run in found} == {protected, clean}
    found.clear()
    list(tracked([Event("cached", "", protected, 1.0)], experiments, Store(runs), found.append))
    assert [run.key for run in found] == [protected], "although the clean one never came"


def test_tensorboard_reads_the_runs_and_nothing_is_logged_twice(
    runs: Path, victims: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    place = tmp_path / "logs"
    bench(runs=runs, track=f"tensorboard:{place}", **OPTIONS)
    files = sorted(place.rglob("*"))
    folders = {folder.name.rpartition("_")[2]: folder for folder in place.iterdir()}
    assert folders.keys() == {record.key[:8] for record in victims.values()}
    record, clean = victims["lsp", 1], victims["clean", 1]
    folder = folders[record.key[:8]]
    assert folder.name.startswith("linear-on-lsp-eps=32-255-none-seed-1_")
    events = reader.EventAccumulator(str(folder)).Reload()
    for tag, expected in {
        "test/accuracy": [epoch["test"]["accuracy"] for epoch in record.result["epochs"]],
        "train/loss": [epoch["loss"] for epoch in record.result["epochs"]],
    }.items():
        assert [point.step for point in events.Scalars(tag)] == [1, 2]
        assert [point.value for point in events.Scalars(tag)] == pytest.approx(expected)
    (drop,) = events.Scalars("final/drop")
    assert drop.value == pytest.approx(clean.result["quality"] - record.result["quality"])
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    begin = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    settings = begin.session_start_info.hparams
    assert settings["protector.eps"].number_value == pytest.approx(32 / 255)
    assert settings["seed"].number_value == 1
    bench(runs=runs, track=f"tensorboard:{place}", **OPTIONS)
    assert sorted(place.rglob("*")) == files


def test_wandb_gets_one_step_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Logged:
        summary = types.SimpleNamespace(update=lambda values: calls.append(("summary", values)))

        def __enter__(self) -> "Logged":
            return self

        def __exit__(self, *_: object) -> None:
            calls.append("finish")

        def log(self, values: dict[str, float], step: int) -> None:
            calls.append((step, values))

    def init(**about: Any) -> Logged:
        calls.append({key: about[key] for key in ("project", "id", "name", "config")})
        return Logged()

    _fake(monkeypatch, "wandb", init=init, Settings=lambda **_: None)
    log = tracker("wandb:mine")
    assert log is not None
    log(RUN)
    assert calls == [
        {"project": "mine", "id": RUN.key, "name": RUN.name, "config": RUN.config},
        (1, {"train/loss": 2.0}), (2, {"train/loss": 1.0, "drop": 0.25}),
        ("summary", {"final/quality": 0.5, "final/drop": 0.25}), "finish",
    ]  # fmt: skip


class _Client:
    """A server that keeps what it is sent, within MLflow's limits."""

    calls: list[Any]

    def __init__(self, tracking_uri: str | None) -> None:
        self.calls.append(tracking_uri)

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return name

    def search_runs(self, experiments: list[str], query: str, max_results: int) -> list[str]:
        known = [call[2] for call in self.calls if call[0] == "tag"]
        return [value for value in known if query == f"tags.`howfar.key` = '{value}'"]

    def create_run(self, experiment: str, run_name: str) -> Any:
        self.calls.append(("run", experiment, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert len(metrics) <= METRICS
        assert len(params) <= PARAMETERS
        self.calls.extend(("metric", run, name, value, step) for name, value, _, step in metrics)
        self.calls.extend(("param", run, *param) for param in params)

    def set_tag(self, run: str, key: str, value: str) -> None:
        self.calls.append(("tag", run, value))

    def set_terminated(self, run: str) -> None:
        self.calls.append(("end", run))


def test_mlflow_gets_metrics_and_parameters_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Client, "calls", [], raising=False)
    _fake(monkeypatch, "mlflow", MlflowClient=_Client)
    _fake(monkeypatch, "mlflow.entities", Metric=lambda *each: each, Param=lambda *each: each)
    log = tracker("mlflow:http://server:5000")
    assert log is not None
    log(RUN)
    assert _Client.calls == [
        "http://server:5000", ("run", "howfar", RUN.name),
        ("metric", "r1", "train/loss", 2.0, 1), ("metric", "r1", "train/loss", 1.0, 2),
        ("metric", "r1", "drop", 0.25, 2), ("metric", "r1", "final/quality", 0.5, 2),
        ("metric", "r1", "final/drop", 0.25, 2),
        ("param", "r1", "protector.eps", "0.125"), ("param", "r1", "recipe.flip", "False"),
        ("param", "r1", "seed", "3"),
        ("tag", "r1", RUN.key), ("end", "r1"),
    ]  # fmt: skip
    before = len(_Client.calls)
    log(RUN)
    assert _Client.calls[before:] == ["http://server:5000"]
    log(Run("ab", "long", {f"k{n}": n for n in range(250)}, {"loss": [0.5] * 2100}, {}))  # in parts
    assert sum(call[0] == "metric" for call in _Client.calls[before:]) == 2100
    assert sum(call[0] == "param" for call in _Client.calls[before:]) == 250


def test_the_real_mlflow_reads_them_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    log = tracker(f"mlflow:{uri}")
    assert log is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # folders are deprecated in favor of databases
        log(RUN)
        log(RUN)
        client = mlflow.MlflowClient(tracking_uri=uri)
        (run,) = client.search_runs([client.get_experiment_by_name("howfar").experiment_id])
    assert run.info.run_name == RUN.name
    assert run.info.status == "FINISHED"
    assert run.data.params == {"protector.eps": "0.125", "recipe.flip": "False", "seed": "3"}
    assert run.data.metrics == {"train/loss": 1.0, "drop": 0.25, "final/quality": 0.5, "final/drop": 0.25}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0)]


def test_the_real_wandb_takes_them_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    log = tracker("wandb:mine")
    assert log is not None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="wandb failed")
        log(RUN)
    wandb.teardown()  # waits for the process that writes
    (written,) = tmp_path.rglob(f"*{RUN.key}.wandb")
    content = written.read_bytes()
    assert all(name.encode() in content for name in (RUN.name, "train/loss", "final/quality", "protector.eps"))


def test_a_tracker_that_fails_is_told_once_and_stops_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def init(**_: Any) -> None:
        tries.append(1)
        raise ConnectionError("no route\nto host")

    _fake(monkeypatch, "wandb", init=init, Settings=lambda **_: None)
    with pytest.warns(UserWarning, match=r"wandb failed \(no route to host\), so nothing more is logged") as told:
        results = bench(runs=runs, track="wandb", **OPTIONS)
    assert len(told) == len(tries) == 1
    assert results.failures == []


def test_the_command_tracks_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    tiny = ["bench", "--dataset", "digits", "--protectors", "ops", "--models", "linear", "--defenses", "none",
            "--epochs", "1", "--limit-train", "60", "--limit-test", "30", "--set", "probe_images=0", "--workers", "0",
            "--seeds", "0"]  # fmt: skip
    code, _, printed = inside(*tiny, "--track", "tensorboard:logs")
    assert code == 0, printed
    assert len(list(Path("logs").iterdir())) == 2
    for place, told in {
        "tensorbord:logs": "unknown tracker 'tensorbord'. Did you mean 'tensorboard'?",
        "tensorboard": "--track tensorboard names no folder. Write e.g. tensorboard:logs.",
    }.items():
        code, _, printed = inside(*tiny, "--track", place, "--dry-run")
        assert (code, told in printed.replace("\n", " ")) == (2, True)


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb", "mlflow"):
        with pytest.raises(UsageError, match=rf"needs {name}\. Install it: pip install 'howfar\[{name}\]'"):
            tracker(f"{name}:here")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep real servers out of the tests."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def _fake(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """Let a package be imported that holds these members alone."""
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(errors, "find_spec", lambda name: True)

"""Experiment trackers: every finished victim becomes one run of TensorBoard, Weights & Biases or MLflow.

A victim of protected images is logged after the clean one of the same seed, so that its run has a drop and a UD. A
victim that an earlier run has logged is not logged twice.
"""

import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from howfar.arrays import canonical
from howfar.engine.event import Event
from howfar.errors import UsageError, in_one_line, require, unknown
from howfar.grid.experiment import Experiment
from howfar.score.drop import drops
from howfar.spec.suffixes import flat
from howfar.store import Record, Store
from howfar.tables.distances import Distances
from howfar.tables.names import CLEAN, shared
from howfar.tables.sound import sound_record
from howfar.unfinished import atomic_write

TAG = "howfar.key"  # of an MLflow run, once it is complete
METRICS, PARAMETERS = 1000, 100  # that MLflow takes at a time
LONGEST = 100  # characters of a folder's name before the key


@dataclass(frozen=True)
class Run:
    """What a tracker shows of one victim.

    Attributes:
        key: of the victim in the store.
        name: its label.
        config: the settings of data, protector, defense, network, recipe and probe, and where it was trained.
        curves: values after every epoch, by name; None where undefined. ``drop`` is clean − poisoned at that epoch.
        final: ``quality`` on test images, ``chance``, ``drop`` and ``UD`` (of this seed) as far as they are known.
    """

    key: str
    name: str
    config: dict[str, bool | int | float | str]
    curves: dict[str, list[float | None]]
    final: dict[str, float]

    @property
    def points(self) -> list[tuple[str, int, float]]:
        """The values of all curves: name, epoch (from 1) and value."""
        return [
            (name, epoch, value)
            for name, values in self.curves.items()
            for epoch, value in enumerate(values, 1) if value is not None
        ]  # fmt: skip


Log = Callable[[Run], None]


def tracker(text: str | None) -> Log | None:
    """Return what logs a run to a tracker; None for None.

    A tracker that fails, e.g. without network, is reported once as a warning and not used again.

    Args:
        text: ``tensorboard:DIR``, ``wandb[:PROJECT]`` or ``mlflow[:URI]``.

    Raises:
        UsageError: for another tracker, or if its package is not installed.

    Example:
        >>> tracker("tensorbord:logs")
        Traceback (most recent call last):
        howfar.errors.UsageError: unknown tracker 'tensorbord'. Did you mean 'tensorboard'?
    """
    if text is None:
        return None
    name, _, place = text.partition(":")
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    require(name, name, f"--track {name}")
    log: Log | None = TRACKERS[name](place)

    def tolerant(run: Run) -> None:
        nonlocal log
        try:
            if log:
                log(run)
        except Exception as error:  # of another library, or of the network
            log = None
            warnings.warn(
                f"{name} failed ({in_one_line(str(error)) or type(error).__name__}), so nothing more is logged to it. "
                "The benchmark goes on. Run the same command again later to log what is missing.",
                stacklevel=2,
            )

    return tolerant


def tracked(
    events: Iterable[Event], experiments: Iterable[Experiment], store: Store, log: Log | None
) -> Iterator[Event]:
    """Yield the events of a run, and log every victim that is finished.

    Args:
        events: of ``howfar.engine.run``.
        experiments: the grid.
        store: where the records are.
        log: what ``tracker`` returned; None logs nothing.
    """
    if log is None:
        yield from events
        return
    victims = {step.key: step for experiment in experiments for step in experiment.steps()[1:]}
    clean = {_pair(step.spec): key for key, step in victims.items() if step.experiment.protector.name == CLEAN}
    partner = {key: clean.get(_pair(step.spec), key) for key, step in victims.items()}
    over, waiting, distances = set[str](), set[str](), Distances()

    def log_all(keys: Iterable[str]) -> None:
        for key in sorted(keys):
            if record := sound_record(store, "victim", key):
                log(_run(victims[key].label, record, sound_record(store, "victim", partner[key]), distances))

    for event in events:
        yield event
        if event.status in ("done", "cached", "failed") and event.key in victims:
            over.add(event.key)
            waiting.add(event.key)
            ready = {key for key in waiting if partner[key] in over}
            log_all(ready)
            waiting -= ready
    log_all(waiting)


def _pair(spec: Mapping[str, Any]) -> str:
    """Return what a victim shares with the clean one that it is compared with."""
    return canonical([shared(spec), spec["seed"]])


def _run(name: str, record: Record, clean: Record | None, distances: Distances) -> Run:
    result, epochs = record.result, record.result["epochs"]
    part, metric = "validation" if epochs[0].get("validation") else "test", result["metric"]
    final = {"quality": result["quality"], "chance": result["chance"]}
    curves: dict[str, list[float | None]] = {"train/loss": [epoch["loss"] for epoch in epochs]}
    curves |= {f"{part}/{measure}": [epoch[part].get(measure) for epoch in epochs] for measure in epochs[0][part]}
    if clean is not None and clean.key != record.key:
        before = [epoch[part][metric] for epoch in clean.result["epochs"]]
        after, better = [epoch[part][metric] for epoch in epochs], result["higher_is_better"]
        curves["drop"] = list(drops(before, after, higher_is_better=better))
        (final["drop"],) = drops([clean.result["quality"]], [result["quality"]], higher_is_better=better)
        if ud := distances.of([clean], [record]):
            final["UD"] = ud.values[0]
    made = {key: record.made[key] for key in ("device", "torch", "howfar") if key in record.made}
    return Run(record.key, name, {key: _plain(value) for key, value in flat({**record.spec, **made})}, curves, final)


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _tensorboard(place: str) -> Log:
    if not place:
        raise UsageError("--track tensorboard names no folder. Write e.g. tensorboard:logs.")

    def log(run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        readable = re.sub(r"[^\w.=,-]+", "-", run.name).strip("-.")[:LONGEST]
        folder = Path(place) / f"{readable}_{run.key[:8]}"
        if folder.exists():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder) as draft, SummaryWriter(draft) as writer:
            for name, epoch, value in run.points:
                writer.add_scalar(name, value, epoch)
            final = {f"final/{name}": value for name, value in run.final.items()}
            writer.add_hparams(run.config, final, run_name=".")  # in the same folder

    return log


def _wandb(place: str) -> Log:
    def log(run: Run) -> None:
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        with wandb.init(
            project=place or "howfar", id=run.key, name=run.name, config=run.config, settings=settings
        ) as logged:
            for epoch in sorted({epoch for _, epoch, _ in run.points}):
                logged.log({name: value for name, at, value in run.points if at == epoch}, step=epoch)
            logged.summary.update({f"final/{name}": value for name, value in run.final.items()})

    return log


def _mlflow(place: str) -> Log:
    def log(run: Run) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        client = MlflowClient(tracking_uri=place or None)
        known = client.get_experiment_by_name("howfar")
        experiment = known.experiment_id if known else client.create_experiment("howfar")
        if client.search_runs([experiment], f"tags.`{TAG}` = '{run.key}'", max_results=1):
            return
        number = client.create_run(experiment, run_name=run.name).info.run_id
        now, last = round(1000 * time.time()), max(len(values) for values in run.curves.values())
        points = [*run.points, *((f"final/{name}", last, value) for name, value in run.final.items())]
        metrics = [Metric(_allowed(name), value, now, epoch) for name, epoch, value in points]
        parameters = [Param(_allowed(name), str(value)) for name, value in run.config.items()]
        for start in range(0, len(metrics), METRICS):
            client.log_batch(number, metrics=metrics[start : start + METRICS])
        for start in range(0, len(parameters), PARAMETERS):
            client.log_batch(number, params=parameters[start : start + PARAMETERS])
        client.set_tag(number, TAG, run.key)
        client.set_terminated(number)

    return log


def _allowed(name: str) -> str:
    """Return a name with the characters that MLflow allows."""
    return re.sub(r"[^\w. /-]", "_", name)


TRACKERS: dict[str, Callable[[str], Log]] = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}

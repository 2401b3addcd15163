"""Calls of the command line, drawn at random: every command, flag and setting, with values right and wrong."""

import inspect
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff

from howfar.commands.parser import union
from howfar.data import DATASETS
from howfar.defend import DEFENSES
from howfar.grid.suite import Suite
from howfar.models import MODELS
from howfar.protectors import PROTECTORS
from howfar.tasks import TASKS
from howfar.training import Recipe

from .values import DRY, GRIDS, NEEDED, PLACES, POSITIONS, SMALL, TINY, VALUES, WEIGHTS, WRONG

TABLES: dict[str, Any] = {
    "protector": PROTECTORS, "model": MODELS, "defense": DEFENSES, "task": TASKS, "dataset": DATASETS
}  # fmt: skip


def flags() -> dict[str, dict[str, bool]]:
    """Return the flags of every command, as the parser itself has them, and whether each takes a value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = tyro.extras.get_parser(union(), prog="howfar", config=(FlagCreatePairsOff,))
    found: dict[str, dict[str, bool]] = {}

    def walk(inner: Any, name: tuple[str, ...]) -> None:
        for action in inner._actions:
            if hasattr(action, "_name_parser_map"):
                for key, each in action._name_parser_map.items():
                    walk(each, (*name, key))
            elif action.option_strings:
                found.setdefault(" ".join(name), {})[action.option_strings[-1]] = action.nargs != 0
            else:
                found.setdefault(" ".join(name), {})

    walk(parser, ())
    return {name: each for name, each in found.items() if name in WEIGHTS}


FLAGS = flags()
SETTINGS = {
    **{f"{kind} {name}": [*inspect.signature(entry).parameters] for kind, table in TABLES.items() for name,
        entry in table.items()},
    "suite": list(Suite.__dataclass_fields__),
    "train": list(Recipe.__dataclass_fields__),
}  # fmt: skip


class Draw:
    """Draws calls, and notes which flags and settings they have."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.seen: set[str] = set()

    def call(self) -> list[str]:
        """Return the arguments of one call."""
        dice = self.dice
        command = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        dry = dice.random() < DRY.get(command, 0.0)
        found: dict[str, list[str]] = {}
        if command in GRIDS:
            found = {flag: [value] for flag, value in TINY.items()}
            found["--set"] = list(SMALL[1::2])
            found |= {flag: [value] for flag, value in (("--images", "8"), ("--points", "3")) if flag in FLAGS[command]}
            found |= {"--steps": ["1"], "--radius": ["0.1"], "--modes": [""]} if command == "ablate-ud" else {}
        if command in ("verify", "ud"):
            found = {"--seeds": ["0-1"], "--epochs": ["1"], "--workers": ["0"]}
        if command == "verify":
            found |= {"--model": ["linear"], "--defenses": ["none"]}
        if command in ("ud", "ablate-ud"):  # a network of one layer has no UD
            found |= {"--models": ["lenet5"]} if command == "ablate-ud" else self._two_sets()
        if command == "protect":
            found = {"--workers": ["1"], "--side": ["8"]}
        for flag in FLAGS[command]:
            needed = flag in NEEDED.get(command, ())
            if flag not in ("--help", "--dry-run", "--ray") and dice.random() < (
                0.95 if needed else self._often(command, flag)
            ):
                self._set(command, flag, found, dry)
        if dry and "--dry-run" in FLAGS[command]:
            found["--dry-run"] = []
            if "--ray" in FLAGS[command] and dice.random() < 0.03:
                found["--ray"] = [self._value(command, "--ray", dry)]
        if dice.random() < 0.003:
            found["--help"] = []
        words = list(command.split()) + self._positions(command, learns="--clean" in found)
        for flag, values in found.items():
            self.seen.add(f"{command} {flag}")
            takes = FLAGS[command].get(flag, False)
            words += [part for value in values for part in (flag, value)] if takes else [flag]
        if dice.random() < 0.01:
            words.insert(dice.randrange(1, len(words) + 1), dice.choice(WRONG))
        return words

    def _often(self, command: str, flag: str) -> float:
        if flag == "--json":
            return 0.4
        if flag in TINY:
            return 0.2
        return 0.02 if flag in ("--debug", "--device", "--download", "--suite", "--quick") else 0.08

    def _set(self, command: str, flag: str, found: dict[str, list[str]], dry: bool) -> None:
        if not FLAGS[command][flag]:
            if flag in ("--quick",) and not dry:
                return
            found[flag] = []
        elif flag == "--set":
            found.setdefault(flag, []).append(self._setting(dry))
        elif flag == "--suite" and not dry:
            return
        else:
            found[flag] = [self._value(command, flag, dry)]

    def _value(self, command: str, flag: str, dry: bool) -> str:
        dice = self.dice
        if dice.random() < 0.03:
            return dice.choice(WRONG)
        kinds = {
            "--protectors": "protector", "--protector": "protector", "--models": "model", "--model": "model",
            "--defenses": "defense", "--defense": "defense", "--tasks": "task", "--source-tasks": "task",
            "--dataset": "dataset",
        }  # fmt: skip
        heavy = command in ("landscape", "curvature", "ablate-ud") and flag == "--models"  # its estimate computes some
        if dry and flag in kinds and not heavy and dice.random() < 0.7:
            some = [self.named(kinds[flag]) for _ in range(dice.choice((1, 1, 2)))]
            return some[0] if flag in ("--protector", "--model", "--defense", "--dataset") else ",".join(some)
        known = VALUES.get(flag)
        return dice.choice(known) if known else dice.choice(WRONG)

    def named(self, kind: str) -> str:
        """Return an entry of a table with settings of its own."""
        dice = self.dice
        name = dice.choice(list(TABLES[kind]))
        keys = SETTINGS[f"{kind} {name}"]
        self.seen.add(f"{kind} {name}")
        items = []
        for key in dice.sample(keys, min(len(keys), dice.choice((0, 1, 1, 2)))):
            self.seen.add(f"{kind} {name}.{key}")
            items.append(f"{key}={self._near(TABLES[kind][name], key)}")
        return f"{name}[{','.join(items)}]" if items else name

    def _near(self, entry: Callable[..., Any], key: str) -> str:
        dice = self.dice
        default = inspect.signature(entry).parameters[key].default
        if dice.random() < 0.15:
            return dice.choice(WRONG)
        if isinstance(default, bool):
            return dice.choice(("true", "false"))
        if isinstance(default, int):
            return str(dice.choice((default, default + 1, max(default // 2, 0), 1, 2)))
        if isinstance(default, float):
            return str(dice.choice((default, default / 2, default * 1.5, 0.1, 1.0)))
        return (
            str(default)
            if default not in (None, inspect.Parameter.empty)
            else dice.choice(("../in/t.npz", "1", "none"))
        )

    def _setting(self, dry: bool) -> str:
        dice = self.dice
        if dice.random() < 0.5:
            key = dice.choice(SETTINGS["train"])
            self.seen.add(f"train {key}")
            default = Recipe.__dataclass_fields__[key].default
            value = (
                dice.choice((str(default), dice.choice(WRONG)))
                if dice.random() < 0.7
                else dice.choice(("1", "0.1", "2"))
            )
            return f"train.{key}=1" if key == "epochs" and not dry else f"train.{key}={value}"
        key = dice.choice(SETTINGS["suite"])
        self.seen.add(f"suite {key}")
        heavy = ("dataset", "models", "dense_models", "protectors", "defenses", "tasks", "seeds", "source_tasks")
        value = dice.choice(("0", "1", "4", "8", "0.1", "none", dice.choice(WRONG)))
        if key in heavy and dice.random() < 0.8:
            value = dice.choice(VALUES.get(f"--{key.replace('_', '-')}", ("linear",)))
        return f"{key}={value}"

    def _two_sets(self) -> dict[str, list[str]]:
        """Return the flags with which ud learns two sets, half of the time."""
        two = {"--clean": ["npz:../in/t.npz"], "--poisoned": ["npz:../in/t.npz"], "--model": ["lenet5"]}
        return two if self.dice.random() < 0.5 else {}

    def _positions(self, command: str, *, learns: bool) -> list[str]:
        dice = self.dice
        if command == "list":
            return [dice.choice(("protectors", "defenses", "datasets", "models", "tasks", "x"))]
        if command == "show":
            return (
                [dice.choice(list(dice.choice(list(TABLES.values()))))] if dice.random() < 0.9 else [dice.choice(WRONG)]
            )
        if command == "ud" and learns:
            return []
        if command == "ud":
            return dice.choice(([], ["clean", "lsp"], ["clean", "x"], ["8", "1"], ["clean"]))
        places = [dice.choice(PLACES[kind]) for kind in POSITIONS.get(command, ())]
        rows = sorted(Path("../in/rows").glob("*.json"))
        places = [str(dice.choice(rows)) if place.endswith("/ROW") and rows else place for place in places]
        if command == "verify" and dice.random() < 0.7:
            places = ["../in/many", "../in/hidden"]
        return places if dice.random() > 0.02 else []


def known_parts() -> set[str]:
    """Return every flag of every command and every setting of every entry, as ``Draw.seen`` notes them."""
    flags_of = {f"{command} {flag}" for command, each in FLAGS.items() for flag in each}
    inside = {
        f"{owner}.{key}" if " " in owner else f"{owner} {key}" for owner, keys in SETTINGS.items() for key in keys
    }
    return flags_of | inside

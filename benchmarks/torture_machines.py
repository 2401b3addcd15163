"""Tortures of a machine: too little memory, a network that is cut, plug-ins that misbehave."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torture_tools import GRID, check, howfar, same

from howfar.store import Store

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
PLUGIN = '''
"""Protectors that misbehave."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from howfar.protectors import Progress
from howfar.protectors.random_noise import RandomNoise


@dataclass(frozen=True)
class Raises(RandomNoise):
    """Raises what nobody foresaw."""

    def craft(self, data, task, *, generator, device, draft):
        """Raise."""
        yield Progress(1, 2)
        raise ZeroDivisionError("a plug-in's fault")


@dataclass(frozen=True)
class Hangs(RandomNoise):
    """Never comes back."""

    def craft(self, data, task, *, generator, device, draft):
        """Sleep."""
        yield Progress(1, 2)
        time.sleep(1000)
'''
RAY = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


def plugins(root: Path, whole: Path) -> str:
    """Add protectors that raise and hang, and a training that diverges, to cells that are well."""
    site = root / "site"
    about = site / "howfar_faults-1.dist-info"
    about.mkdir(parents=True)
    (site / "howfar_faults.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: howfar-faults\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[howfar.protectors]\nraises = howfar_faults:Raises\nhangs = howfar_faults:Hangs\n"
    )
    grid = [word if word != GRID[4] else f"{word},raises,hangs" for word in GRID]
    runs = root / "plugins"
    run = howfar(*grid, "--time-limit", "30s", runs=runs, codes=(3,), variables={"PYTHONPATH": str(site)})
    for text in ("a plug-in's fault", "it took longer than 30 s", "the same command tries them again"):
        check(text in run.stderr, f"'{text}' was not said: {run.stderr}")
    failed = [r for step in ("protect", "victim") for r in Store(runs).records(step) if r.status == "failed"]
    check(len(failed) == 12, f"{len(failed)} failures instead of 4 protected sets and their 8 victims")
    howfar(*GRID, runs=runs)
    for record in failed:
        check(record.spec["protector"]["name"] in ("raises", "hangs"), f"{record.key} failed")
    board = howfar("leaderboard", "--json", runs=runs, codes=(0, 2))
    check("raises" not in board.stdout, "a failed cell stands on the leaderboard")
    wild = howfar(*GRID, "--set", "train.lr=1e9", runs=root / "wild", codes=(3,))
    check("training diverged" in wild.stderr and "Lower the learning rate" in wild.stderr, wild.stderr)
    return "all other cells done, exit code 3, each failure named with its cause; divergence names its fix"


def out_of_memory(root: Path, whole: Path) -> str:
    """Run with too little memory for all workers, so that the kernel kills some, and then with enough."""
    runs, kills = root / "memory", 0
    with group("howfar-torture") as (folder, limit, peak, events):
        enter = ("sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh")
        howfar(*GRID, runs=root / "roomy", before=enter)
        most = int(peak.read_text())
        for share in (0.8, 0.7, 0.6, 0.5):
            limit.write_text(str(int(share * most)))
            run = howfar(*GRID, runs=runs, before=enter, codes=(0, 3, -9, 137))
            check("Traceback" not in run.stderr, run.stderr)
            kills = int(
                next(line.split()[1] for line in events.read_text().splitlines() if line.startswith("oom_kill "))
            )
            if kills:
                break
    check(kills > 0, "the kernel killed nobody: try on a machine whose control groups limit memory")
    howfar(*GRID, runs=runs)
    same(runs, whole)
    return f"{kills} processes killed by the kernel at {share:.0%} of the memory; with enough the run ends as without"


def network_cut(root: Path, whole: Path) -> str:
    """Cut the line between two Ray nodes, each in a network of its own, while both work."""
    runs = root / "cut"
    with ExitStack() as stack:
        first, second = (stack.enter_context(network(name)) for name in ("howfar-a", "howfar-b"))
        line = ("type", "veth", "peer", "howfar-vb", "netns", "howfar-b")
        run("ip", "link", "add", "howfar-va", "netns", "howfar-a", *line)
        for inside, name, own, other in ((first, "howfar-va", 1, 2), (second, "howfar-vb", 2, 1)):
            # A node's own address is not on the line, so that it still reaches itself when the line is cut.
            run(*inside, "ip", "address", "add", f"10.203.{own}.1/32", "dev", "lo")
            run(*inside, "ip", "address", "add", f"10.203.0.{own}/24", "dev", name)
            run(*inside, "ip", "link", "set", name, "up")
            way = ("via", f"10.203.0.{other}", "src", f"10.203.{own}.1")
            run(*inside, "ip", "route", "add", f"10.203.{other}.1/32", *way)
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        common = ["--num-cpus", "1", "--disable-usage-stats"]
        stack.callback(subprocess.run, [*ray, "stop", "--force"], capture_output=True, check=False)
        head = ["start", "--head", "--node-ip-address", "10.203.1.1", "--port", "6379", "--include-dashboard", "false"]
        run(*first, *ray, *head, *common, variables=RAY)
        node = ["start", "--address", "10.203.1.1:6379", "--node-ip-address", "10.203.2.1"]
        run(*second, *ray, *node, *common, variables=RAY)
        cut: list[float] = []

        def cutting() -> None:
            while not list(runs.glob("protect/*/record.json")):
                time.sleep(0.2)
            run(*first, "ip", "link", "set", "howfar-va", "down")
            cut.append(time.monotonic())

        thread = threading.Thread(target=cutting)
        thread.start()
        howfar(*GRID, "--ray", "10.203.1.1:6379", runs=runs, before=first, variables=RAY)
        thread.join()
        took = time.monotonic() - cut[0]
    same(runs, whole)
    check(not Store(runs).claims(), "a lease is left")
    return f"the run ends on what is left of the cluster, {took:.0f} s after the cut, the store as from one machine"


@contextmanager
def network(name: str) -> Iterator[tuple[str, ...]]:
    """Give a network of its own; yields what runs a command in it."""
    run("ip", "netns", "add", name)
    try:
        run("ip", "netns", "exec", name, "ip", "link", "set", "lo", "up")
        yield ("ip", "netns", "exec", name)
    finally:
        run("ip", "netns", "delete", name)


@contextmanager
def group(name: str) -> Iterator[tuple[Path, Path, Path, Path]]:
    """Give a control group; yields its folder and the files of its limit, its peak and its kills."""
    old = (V1 / "memory.limit_in_bytes").is_file()
    folder = (V1 if old else V2) / name
    names = ("limit_in_bytes", "max_usage_in_bytes", "oom_control") if old else ("max", "peak", "events")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SystemExit(f"no control group can be made here ({error}): run as root, or leave this out") from None
    try:
        limit, peak, kills = (folder / f"memory.{file}" for file in names)
        yield folder, limit, peak, kills
    finally:
        time.sleep(1)
        folder.rmdir()


def run(*command: str, variables: dict[str, str] | None = None) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(variables or {})}, check=False)
    check(done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}")

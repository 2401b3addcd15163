"""How fast a folder of photographs is protected, compared with reading and writing the same photographs unchanged.

Both are done with as many threads, in turns, and each counts with its faster round. The photographs are crops of
scikit-image's, 1024×768, as JPEG; protected ones are written as PNG. Run: ``python benchmarks/protect_folder.py``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from PIL import Image

from howfar.photos import Encoding
from howfar.photos.encoding import encoded
from howfar.photos.picture import upright
from howfar.store.writing import write_bytes

SIZE = (1024, 768)
PROTECT = """
import json, resource, sys
from howfar.cli import main
try:
    main(["protect", *sys.argv[1:]])
except SystemExit as end:
    print(json.dumps({"code": end.code, "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--protector", default="carriers[cell=2,mirrored=true]")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    workers, alone, protecting, memory = os.cpu_count() or 1, [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photographed(root / "photos", options.photos)
        for number in range(options.rounds):
            alone.append(copied(root / "photos", root / f"copied-{number}", workers))
            seconds, kilobytes = protected(root / "photos", root / f"protected-{number}", options.protector, workers)
            protecting.append(seconds)
            memory = max(memory, kilobytes)
    print(f"{options.photos} photographs of {SIZE[0]}×{SIZE[1]}, {workers} threads, {options.protector}")
    print(f"read and written alone: {options.photos / min(alone):.1f} a second")
    print(f"protected, start of the program included: {options.photos / min(protecting):.1f} a second")
    print(f"peak memory {memory / 1024:.0f} MiB")
    print(f"{min(alone) / min(protecting):.0%} of what reading and writing alone reaches")


def photographed(folder: Path, count: int) -> None:
    """Write photographs of eight kinds: random crops, each at its size."""
    from skimage import data

    scenes = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    rng = np.random.default_rng(0)
    for number in range(count):
        scene = Image.fromarray(scenes[number % len(scenes)])
        width = int(rng.integers(200, min(scene.size)))
        left = int(rng.integers(0, scene.width - width + 1))
        top = int(rng.integers(0, scene.height - -(-width * 3 // 4) + 1))
        crop = scene.resize(SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + width * 0.75))
        path = folder / f"kind {number % 8}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path, quality=92)


def copied(source: Path, output: Path, workers: int) -> float:
    """Read and write all photographs as they are; returns seconds."""
    encoding = Encoding("png")

    def copy(path: Path) -> None:
        image = upright(path)
        target = output / path.relative_to(source).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, encoded(image, image, encoding))

    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(copy, sorted(source.rglob("*.jpg"))))
    return time.perf_counter() - start


def protected(source: Path, output: Path, protector: str, workers: int) -> tuple[float, int]:
    """Protect all photographs in a process of its own; returns seconds and its peak memory in kilobytes."""
    flags = [str(source), "-o", str(output), "-p", protector, "--workers", str(workers), "--format", "png"]
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", PROTECT, *flags], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout.splitlines()[-1])
    if found["code"]:
        raise SystemExit(run.stderr)
    return time.perf_counter() - start, found["kilobytes"]


if __name__ == "__main__":
    main()

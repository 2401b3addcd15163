"""How long ``howfar.protect_image`` takes per photograph on one core, compared with decoding and encoding it as JPEG.

Run: ``python benchmarks/protect_image.py``.
"""

import argparse
import io
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from skimage import data

from howfar import protect_image

SIZE = (1152, 896)  # 1.03 megapixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    image = Image.fromarray(data.coffee()).resize(SIZE, Image.Resampling.BICUBIC)
    pixels, file = np.asarray(image), io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    first = milliseconds(lambda: protect_image(pixels, key="secret"), 1)[1]
    rows = {
        "protect_image, high": lambda: protect_image(pixels, key="secret"),
        "protect_image, mid": lambda: protect_image(pixels, key="secret", strength="mid"),
        "decode JPEG": lambda: np.asarray(Image.open(io.BytesIO(file.getvalue()))),
        "encode JPEG 95": lambda: image.save(io.BytesIO(), "JPEG", quality=95, subsampling=0),
    }
    print(
        f"{SIZE[0]}×{SIZE[1]}, one thread, median of {options.rounds}; the first call with a key takes {first:.0f} ms"
    )
    for name, work in rows.items():
        cpu, wall = milliseconds(work, options.rounds)
        print(f"{name}: {cpu:.1f} ms of processor time, {wall:.1f} ms elapsed")


def milliseconds(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the median processor time and elapsed time of a call."""
    found = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return tuple(1000 * float(value) for value in np.median(found, 0))  # type: ignore[return-value]


if __name__ == "__main__":
    main()

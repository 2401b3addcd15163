"""One photograph at a time, as a server protects it."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from howfar import protect_image
from howfar.errors import HowfarError, UsageError
from howfar.photos.encoding import GPS, Encoding
from howfar.photos.one import protected_file

from .test_photos import scene


def change(image: np.ndarray, **how: str) -> np.ndarray:
    after = protect_image(image, **{"key": "secret", **how})
    assert after.shape == image.shape
    assert after.dtype == np.uint8
    return after.astype(int) - image


def test_the_noise_depends_on_key_and_label_alone_and_keeps_the_budget() -> None:
    photo = np.full((90, 120, 3), 128, np.uint8)
    first = change(photo, label="cats")
    assert 1 <= np.abs(first).max() <= 8
    assert np.array_equal(first, change(photo, label="cats"))
    for how in ({"label": "dogs"}, {"label": ""}, {"key": "other", "label": "cats"}):
        assert (change(photo, **how) != first).mean() > 0.2
    assert np.abs(change(photo, strength="low")).mean() < np.abs(change(photo)).mean()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_gray_color_and_alpha_are_taken(mode: str) -> None:
    image = np.asarray(scene(80, 60).convert(mode))
    found = change(image)
    assert found.any()
    assert mode != "RGBA" or not found[..., 3].any()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), "a.jpg"]
)
def test_what_is_no_image_of_bytes_is_refused(image: object) -> None:
    with pytest.raises(HowfarError, match="protect_image takes"):
        protect_image(image, key="secret")  # type: ignore[arg-type]


def test_a_key_is_needed_and_a_strength_must_exist() -> None:
    photo = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(UsageError, match="the key is empty"):
        protect_image(photo, key="")
    with pytest.raises(UsageError, match="unknown strength"):
        protect_image(photo, key="secret", strength="medium")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_stays_what_it_is_without_its_position(kind: str) -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(GPS)[1] = "N"
    scene(120, 90).save(file, kind, exif=exif)
    after = Image.open(io.BytesIO(protected_file(file.getvalue(), Encoding(), key="secret")))
    assert (after.format, after.size) == (kind, (120, 90))
    assert after.getexif()[0x010F] == "Maker"
    assert not after.getexif().get_ifd(GPS)


def test_the_command_line_reads_and_writes_a_stream() -> None:
    file = io.BytesIO()
    scene(120, 90).save(file, "JPEG", quality=95)
    command = [sys.executable, "-m", "howfar", "protect", "-"]
    done = subprocess.run([*command, "--key", "a"], input=file.getvalue(), capture_output=True, check=True)
    assert done.stdout == protected_file(file.getvalue(), Encoding(), key="a")
    refused = subprocess.run(command, input=file.getvalue(), capture_output=True, check=False)
    assert refused.returncode == 2
    assert b"needs --key" in refused.stderr
    broken = subprocess.run([*command, "--key", "a"], input=b"no photograph", capture_output=True, check=False)
    assert (broken.returncode, broken.stdout) == (1, b"")

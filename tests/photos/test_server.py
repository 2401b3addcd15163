"""The example server protects what is uploaded and refuses the rest."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .test_photos import scene

pytest.importorskip("flask", reason="flask is not installed")
APP = Path(__file__).parents[2] / "examples" / "upload_server.py"


@pytest.fixture
def client() -> object:
    spec = importlib.util.spec_from_file_location("upload_server", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.create_app("secret").test_client()


def photo(kind: str = "PNG", width: int = 120) -> bytes:
    file = io.BytesIO()
    scene(width, 90).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_upload_comes_back_protected_by_account(client: object, kind: str) -> None:
    found = []
    for account in ("ann", "ann", "bob"):
        data = {"photo": (io.BytesIO(photo(kind)), "a"), "account": account}
        answer = client.post("/photos", data=data)  # type: ignore[attr-defined]
        assert (answer.status_code, answer.mimetype) == (200, f"image/{kind.lower()}")
        found.append(answer.data)
    assert found[0] == found[1] != found[2]
    before, after = (np.asarray(Image.open(io.BytesIO(content))).astype(int) for content in (photo(kind), found[0]))
    assert (before != after).any(2).mean() > 0.5
    assert kind == "JPEG" or np.abs(before - after).max() <= 8


def test_large_photographs_are_resized_and_others_refused(client: object) -> None:
    post = client.post  # type: ignore[attr-defined]
    answer = post("/photos", data={"photo": (io.BytesIO(photo(width=3000)), "a")})
    assert Image.open(io.BytesIO(answer.data)).size == (1600, 48)
    assert post("/photos", data={"photo": (io.BytesIO(b"none"), "a")}).status_code == 415
    assert post("/photos", data={}).status_code == 400

"""A server that protects uploaded photographs: resize first, then ``protected_file``, then store or send.

Run: ``pip install howfar flask && HOWFAR_KEY=secret flask --app examples/upload_server run``, then
``curl -F photo=@in.jpg -F account=ann localhost:5000/photos -o out.jpg``.
"""

import io
import os

from flask import Flask, Response, request
from PIL import Image, ImageOps

from howfar import HowfarError
from howfar.photos import Encoding, protected_file

LARGEST = 1600  # pixels; every photograph is resized to fit
BYTES = 20_000_000  # of an upload
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


def create_app(key: str | None = None) -> Flask:
    """Return the application.

    Args:
        key: secret that the noise depends on; None reads the variable HOWFAR_KEY.
    """
    app, secret = Flask(__name__), key or os.environ["HOWFAR_KEY"]
    app.config["MAX_CONTENT_LENGTH"] = BYTES

    @app.post("/photos")
    def protect() -> Response | tuple[str, int]:
        """Return the protected copy of an uploaded photograph; all of one account get the same noise."""
        upload = request.files.get("photo")
        if upload is None:
            return "send a photograph as the form field 'photo'", 400
        try:
            content, kind = resized(upload.read())
            done = protected_file(content, Encoding(), key=secret, label=request.form.get("account", ""))
        except HowfarError as error:
            return str(error), 415
        return Response(done, mimetype=TYPES[kind])

    return app


def resized(content: bytes) -> tuple[bytes, str]:
    """Return a photograph upright and not larger than ``LARGEST``, and its format."""
    try:
        with Image.open(io.BytesIO(content), formats=tuple(TYPES)) as image:
            kind = str(image.format)
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((LARGEST, LARGEST), reducing_gap=2.0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HowfarError(f"the photograph cannot be read ({error})") from None
    file = io.BytesIO()
    upright.save(file, kind, quality=95, exif=upright.info.get("exif", b""))
    return file.getvalue(), kind

"""A web server on 127.0.0.1 for tests; it can break a connection and knows ranges."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serve(files: dict[str, bytes], cut_after: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve ``files`` by path; the first answer breaks off after ``cut_after`` bytes. Yields URL and seen ranges."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = files.get(self.path)
            if raw is None:
                self.send_error(404)
                return
            wanted = self.headers.get("Range", "")
            start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(raw) - start))
            self.end_headers()
            broken = cut_after is not None and not requests
            requests.append(wanted)
            self.wfile.write(raw[start : start + cut_after] if broken and cut_after else raw[start:])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()

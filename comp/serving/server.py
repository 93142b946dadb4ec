"""The local page: an image is a POST of its bytes, and the answer is JSON.

The browser sends no name of a file, and shows pictures that were encoded here, never those that it sent.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from comp.local_server import LocalHandler, LocalServer
from comp.serving.page import Page
from comp.serving.upload import MAX_BYTES, TOO_LARGE, RefusedUploadError

UPLOADS = 10  # files in memory at once; others wait in their connections
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
# No script, style or picture but of this server; no frame, form or address elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class PageServer(LocalServer):
    """A server of one page and its answers."""

    def __init__(self, make_page: Callable[[], Page], port: int = 0):
        """Take the port, and then make the page, which may take minutes; requests wait until then."""
        super().__init__(_Handler, port)
        self.origins = {f"http://{host}" for host in self.hosts}
        self.uploads = threading.BoundedSemaphore(UPLOADS)
        folder = files("comp.serving").joinpath("static")
        self.files = {path: (kind, folder.joinpath(name).read_bytes()) for path, (name, kind) in FILES.items()}
        self.page = make_page()
        self.columns = {str(column) for column in range(len(self.page.model.task.columns))}


class _Handler(LocalHandler):
    server: PageServer

    def do_GET(self) -> None:
        if not self.check_host():
            return
        if self.path == "/model":
            self._send_json(self.server.page.describe())
        elif self.path in self.server.files:
            kind, content = self.server.files[self.path]
            self.send_content(kind, content, Content_Security_Policy=POLICY, Referrer_Policy="no-referrer")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        if not self.check_host() or not self._check_origin():
            return
        address, page = urlsplit(self.path), self.server.page
        column = parse_qs(address.query).get("column", [""])[0]
        is_column = column in self.server.columns
        if address.path == "/answer":
            self._reply(page.answer)
        elif address.path == "/explanation" and is_column:
            self._reply(lambda content: page.explain(content, int(column)))
        else:
            self.send_error(404)

    def _check_origin(self) -> bool:
        """Return whether a request may come from the page: another site's names itself, or may not set this type."""
        origin = self.headers.get("Origin")
        is_bytes = self.headers.get("Content-Type") == "application/octet-stream"
        if is_bytes and (origin is None or origin in self.server.origins):
            return True
        self.send_error(403, "only this server's page may send images")
        return False

    def _reply(self, compute: Callable[[bytes], dict[str, Any]]) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.send_error(411)
            return
        if len(length) > 9 or int(length) > MAX_BYTES:
            self.close_connection = True  # the file is not read
            self._send_json({"error": TOO_LARGE}, 413, Connection="close")
            return
        with self.server.uploads:
            content = self.rfile.read(int(length))
            if len(content) < int(length):  # the browser went away
                self.close_connection = True
                return
            try:
                result, status = compute(content), 200
            except RefusedUploadError as error:
                result, status = {"error": str(error)}, 422
        self._send_json(result, status)

    def _send_json(self, content: dict[str, Any], status: int = 200, **headers: str) -> None:
        self.send_content("application/json", json.dumps(content).encode(), status, **headers)

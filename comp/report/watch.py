"""Serve a report to this machine alone, and render it again when a file that it is about changes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from comp.errors import UserError
from comp.report.page import build_sections, render
from comp.report.source import Source

ADDRESS = "127.0.0.1"
WATCHED = (
    "run.json",
    "metrics.json",
    "fold*/fold.json",
    "fold*/history.csv",
    "predictions/identity/oof.*",
    "journal.log",
)


class ReportServer(ThreadingHTTPServer):
    """A server of one page: `/`, and `/version`, which the page asks for to know that there is a newer one.

    Any web page may send a request to this machine, also under a name of its own that leads here; therefore a request
    with another Host than this server's address is refused.
    """

    daemon_threads = True

    def __init__(self, find: Callable[[], Source], port: int = 0):
        self._find, self._lock = find, threading.Lock()
        self._directories, self._version, self._page = find().directories, "", b""
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError):
            raise UserError(f"port {port} cannot be used; set another one with --port") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def version(self) -> bytes:
        """Return a hash of the sizes and times of the files that the report is about."""
        return fingerprint(self._directories).encode()

    def page(self) -> bytes:
        """Return the page, rendered again if a file has changed since the last time."""
        with self._lock:  # matplotlib draws one figure at a time
            version = fingerprint(self._directories)
            if version != self._version:
                source = self._find()
                self._directories = source.directories
                self._page = render(source, build_sections(source), live_version=version).encode()
                self._version = version
            return self._page


def fingerprint(directories: Sequence[Path]) -> str:
    """Return a hash of the sizes and times of the watched files in these directories."""
    lines = []
    for path in sorted(file for directory in directories for name in WATCHED for file in directory.glob(name)):
        try:
            status = path.stat()
        except OSError:  # replaced at this moment
            continue
        lines.append(f"{path} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        answers = {"/": ("text/html", self.server.page), "/version": ("text/plain", self.server.version)}
        if self.headers.get("Host") not in self.server.hosts:
            self.send_error(403, "another Host than this server's address")
        elif self.path not in answers:
            self.send_error(404)
        else:
            kind, make = answers[self.path]
            try:
                content = make()
            except UserError as error:
                self.send_error(500, "no report", str(error))
                return
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the page asks for its version every three seconds."""

"""Serve a report to this machine alone, and render it again when a file that it is about changes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from comp.errors import UserError
from comp.local_server import LocalHandler, LocalServer
from comp.report.page import build_sections, render
from comp.report.source import Source

WATCHED = (
    "run.json",
    "metrics.json",
    "fold*/fold.json",
    "fold*/history.csv",
    "predictions/identity/oof.*",
    "journal.log",
    "study.json",
)


class ReportServer(LocalServer):
    """A server of one page: `/`, and `/version`, which the page asks for to know that there is a newer one."""

    def __init__(self, find: Callable[[], Source], port: int = 0):
        self._find, self._lock = find, threading.Lock()
        self._directories, self._version, self._page = find().directories, "", b""
        super().__init__(_Handler, port)

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


class _Handler(LocalHandler):
    server: ReportServer

    def do_GET(self) -> None:
        if not self.check_host():
            return
        answers = {"/": ("text/html", self.server.page), "/version": ("text/plain", self.server.version)}
        if self.path not in answers:
            self.send_error(404)
            return
        kind, make = answers[self.path]
        try:
            content = make()
        except UserError as error:
            self.send_error(500, "no report", str(error))
            return
        self.send_content(kind, content)

"""An HTTP server for this machine alone, for pages that a person opens beside a command.

Any web page may send a request to this machine, also under a name of its own that leads here; therefore a request with
another Host than this server's address is refused.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from comp.errors import UserError

ADDRESS = "127.0.0.1"
TIMEOUT = 30.0  # seconds without a byte after which a connection is closed


class LocalServer(ThreadingHTTPServer):
    """A server with a thread per connection; port 0 is any free one."""

    daemon_threads = True
    request_queue_size = 64  # connections that wait for a thread; Python's 5 lose some of a burst

    def __init__(self, handler: type[LocalHandler], port: int = 0):
        try:
            super().__init__((ADDRESS, port), handler)
        except (OSError, OverflowError):
            raise UserError(f"port {port} cannot be used; set another one with --port") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request, client_address) -> None:
        """Print nothing for a browser that closed the connection."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class LocalHandler(BaseHTTPRequestHandler):
    """A request of this machine; subclasses call `check_host` first."""

    server: LocalServer
    timeout = TIMEOUT
    disable_nagle_algorithm = True  # the header and the content are sent apart: 40 ms between them otherwise
    protocol_version = "HTTP/1.1"  # a connection serves many requests
    server_version, sys_version = "comp", ""

    def check_host(self) -> bool:
        """Return whether the request names this server's address, after sending an error if it does not."""
        if self.headers.get("Host") in self.server.hosts:
            return True
        self.send_error(403, "another Host than this server's address")
        return False

    def send_content(self, kind: str, content: bytes, status: int = 200, **headers: str) -> None:
        """Send a complete answer; underscores in the names of headers become hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: pages ask often."""

"""A local stand-in for Kaggle, for the official client: it stores what it receives, and scores a file after some polls.

Only the client's own settings lead it here: KAGGLE_API_ENVIRONMENT=LOCALHOST makes it call http://localhost, and
http_proxy brings those calls to the port of this server, together with calls to any other address.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMPETITION = "blood-cells-2026"
USER, KEY, TOKEN = "ada", "a-legacy-key", "KGAT_a-token"
PAGE = 50  # whatever page size is requested


class Service:
    def __init__(self):
        self.submissions: list[dict] = []  # newest first, as they are listed
        self.blobs: dict[str, bytes] = {}  # token -> bytes received
        self.requests: list[str] = []  # names of the API calls, in order
        self.unexpected: list[str] = []  # requests to other addresses, and errors of this server
        self.polls = 2  # a file is scored when it is listed for this time after the first
        self.public, self.private = "0.98412", ""
        self.scoring_error = ""  # why a file cannot be scored
        self.limits: dict | None = None  # None: a service that does not report them
        self.overrides: dict[str, Callable[[Handler], None]] = {}  # API call -> another answer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": self}))
        self.server.daemon_threads = True
        self.server.handle_error = self._record_error
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def environment(self, home) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.server_port}"
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": address,
            "https_proxy": address,
            "HOME": str(home),
            "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
        }

    def add(self, message: str, date: datetime | None = None, status: str = "COMPLETE", **fields) -> dict:
        timestamp = (date or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.1234567Z")
        row = {
            "ref": 1000 + len(self.submissions),
            "fileName": "mine.csv",
            "date": timestamp,
            "description": message,
            "status": status,
            **fields,
        }
        self.submissions.insert(0, row)
        return row

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _record_error(self, *_) -> None:
        """Record an error of this server; a client that closed its connection is none."""
        if not isinstance(error := sys.exc_info()[1], ConnectionError):
            self.unexpected.append(f"error in the server: {error!r}")

    def count_requests(self, name: str) -> int:
        return self.requests.count(name)

    def answer(self, name: str, body: dict) -> dict:
        return getattr(self, f"_{name}")(body)

    def _StartSubmissionUpload(self, body):
        token = f"blob{len(self.blobs)}"
        self.blobs[token] = b""
        assert set(body) == {"competitionName", "fileName", "contentLength", "lastModifiedEpochSeconds"}
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def _CreateSubmission(self, body):
        row = self.add(body["submissionDescription"], status="PENDING", blob=body["blobFileTokens"])
        return {"message": "Successfully submitted to Blood cells", "ref": row["ref"]}

    def _ListSubmissions(self, body):
        for row in self.submissions:
            if row["status"] == "PENDING":
                row["polls"] = row.get("polls", 0) + 1
                if row["polls"] > self.polls and self.scoring_error:
                    row |= {"status": "ERROR", "errorDescription": self.scoring_error}
                elif row["polls"] > self.polls:
                    row |= {"status": "COMPLETE", "publicScore": self.public, "privateScore": self.private}
        start = PAGE * (body.get("page", 1) - 1)
        return {"submissions": self.submissions[start : start + PAGE], "nextPageToken": ""}

    def _GetSubmissionLimits(self, body):
        return self.limits

    def _IntrospectToken(self, body):
        return {"active": body["token"] == TOKEN, "username": USER}


class Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        name = self.path.rpartition("/")[2]
        if not self._is_ours("http://localhost/api/v1/"):
            return
        self.service.requests.append(name)
        if name in self.service.overrides:
            self.service.overrides[name](self)
        elif name == "GetSubmissionLimits" and self.service.limits is None:
            self.refuse(404, "NotFound")
        elif name != "IntrospectToken" and not self._signed_in():
            self.refuse(401, "Unauthenticated")
        elif body.get("competitionName", COMPETITION) != COMPETITION:
            self.refuse(404, "NotFound")
        else:
            self.send(200, json.dumps(self.service.answer(name, body)))

    def do_PUT(self):
        if self._is_ours("http://localhost/upload/"):
            self.service.requests.append("PUT")
            self.service.blobs[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
            self.service.overrides.get("PUT", lambda handler: handler.send(200, "{}"))(self)

    def do_GET(self):
        self._is_ours("")

    do_CONNECT = do_GET

    def send(self, status: int, text: str, kind: str = "application/json", **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        for header, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int, message: str, **headers: str) -> None:
        self.send(status, json.dumps({"code": status, "message": message}), **headers)

    def hang(self, seconds: float = 30) -> None:
        time.sleep(seconds)

    def drop(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        self.connection.close()

    def _is_ours(self, prefix: str) -> bool:
        if prefix and self.path.startswith(prefix):
            return True
        self.service.unexpected.append(f"{self.command} {self.path}")
        self.send(502, "no other server can be reached")
        return False

    def _signed_in(self) -> bool:
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers["Authorization"] in (basic, f"Bearer {TOKEN}")

    def log_message(self, *_):
        pass

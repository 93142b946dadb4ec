"""A small Kaggle on this machine, for the real client: it keeps what it is sent, and scores a file after some looks.

The client is led here by its own switches alone: KAGGLE_API_ENVIRONMENT=LOCALHOST makes it ask http://localhost, and
http_proxy brings that to the port of this service, with whatever else it might want to reach.
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
PAGE = 50  # whatever page size is asked for


class Service:
    def __init__(self):
        self.submissions: list[dict] = []  # newest first, as they are listed
        self.blobs: dict[str, bytes] = {}  # token -> bytes received
        self.asked: list[str] = []  # names of the questions, in order
        self.strayed: list[str] = []  # what the client wanted of anybody else
        self.looks = 2  # a file is scored when it is listed for this time after the first
        self.public, self.private = "0.98412", ""
        self.fault = ""  # why a file cannot be scored
        self.limits: dict | None = None  # None: a service that does not tell
        self.instead: dict[str, Callable[[Handler], None]] = {}  # question -> another answer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": self}))
        self.server.daemon_threads = True
        self.server.handle_error = self._failed
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def environment(self, home) -> dict[str, str]:
        here = f"http://127.0.0.1:{self.server.server_port}"
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": here,
            "https_proxy": here,
            "HOME": str(home),
            "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
        }

    def add(self, message: str, date: datetime | None = None, status: str = "COMPLETE", **more) -> dict:
        stamp = (date or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.1234567Z")
        row = {
            "ref": 1000 + len(self.submissions),
            "fileName": "mine.csv",
            "date": stamp,
            "description": message,
            "status": status,
            **more,
        }
        self.submissions.insert(0, row)
        return row

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _failed(self, *_) -> None:
        """A client that has gone is no fault of this service; all else is."""
        if not isinstance(problem := sys.exc_info()[1], ConnectionError):
            self.strayed.append(f"the service itself: {problem!r}")

    def names(self, question: str) -> int:
        return self.asked.count(question)

    def answer(self, question: str, sent: dict) -> dict:
        return getattr(self, f"_{question}")(sent)

    def _StartSubmissionUpload(self, sent):
        token = f"blob{len(self.blobs)}"
        self.blobs[token] = b""
        assert set(sent) == {"competitionName", "fileName", "contentLength", "lastModifiedEpochSeconds"}
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def _CreateSubmission(self, sent):
        row = self.add(sent["submissionDescription"], status="PENDING", blob=sent["blobFileTokens"])
        return {"message": "Successfully submitted to Blood cells", "ref": row["ref"]}

    def _ListSubmissions(self, sent):
        for row in self.submissions:
            if row["status"] == "PENDING":
                row["looks"] = row.get("looks", 0) + 1
                if row["looks"] > self.looks and self.fault:
                    row |= {"status": "ERROR", "errorDescription": self.fault}
                elif row["looks"] > self.looks:
                    row |= {"status": "COMPLETE", "publicScore": self.public, "privateScore": self.private}
        start = PAGE * (sent.get("page", 1) - 1)
        return {"submissions": self.submissions[start : start + PAGE], "nextPageToken": ""}

    def _GetSubmissionLimits(self, sent):
        return self.limits

    def _IntrospectToken(self, sent):
        return {"active": sent["token"] == TOKEN, "username": USER}


class Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        question = self.path.rpartition("/")[2]
        if not self._is_ours("http://localhost/api/v1/"):
            return
        self.service.asked.append(question)
        if question in self.service.instead:
            self.service.instead[question](self)
        elif question == "GetSubmissionLimits" and self.service.limits is None:
            self.refuse(404, "NotFound")
        elif question != "IntrospectToken" and not self._signed_in():
            self.refuse(401, "Unauthenticated")
        elif sent.get("competitionName", COMPETITION) != COMPETITION:
            self.refuse(404, "NotFound")
        else:
            self.say(200, json.dumps(self.service.answer(question, sent)))

    def do_PUT(self):
        if self._is_ours("http://localhost/upload/"):
            self.service.asked.append("PUT")
            self.service.blobs[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
            self.service.instead.get("PUT", lambda handler: handler.say(200, "{}"))(self)

    def do_GET(self):
        self._is_ours("")

    do_CONNECT = do_GET

    def say(self, status: int, text: str, kind: str = "application/json", **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int, words: str, **headers: str) -> None:
        self.say(status, json.dumps({"code": status, "message": words}), **headers)

    def hang(self, seconds: float = 30) -> None:
        time.sleep(seconds)

    def drop(self) -> None:
        """End the line without an answer."""
        self.close_connection = True
        self.connection.close()

    def _is_ours(self, beginning: str) -> bool:
        if beginning and self.path.startswith(beginning):
            return True
        self.service.strayed.append(f"{self.command} {self.path}")
        self.say(502, "nobody else is here")
        return False

    def _signed_in(self) -> bool:
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers["Authorization"] in (basic, f"Bearer {TOKEN}")

    def log_message(self, *words):
        pass

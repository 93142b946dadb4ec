"""A local stand-in for the service of W&B, for its real client: it stores what it receives, by run and artifact.

Only the answers that the client needs are given. WANDB_BASE_URL leads the client here.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

VIEWER = {
    "id": "u",
    "entity": "team",
    "username": "ada",
    "name": "Ada",
    "email": "",
    "admin": False,
    "flags": "{}",
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": [{"node": {"name": "team"}}]},
}


class WandbService:
    def __init__(self):
        self.runs: dict[str, dict[str, Any]] = {}  # id -> the last upsert, `history` by step, `summary`
        self.artifacts: dict[tuple[str, str], list[str]] = {}  # (type, name) -> digests, a version each
        self.used: list[tuple[str, str]] = []  # (run id, artifact id)
        self.files: dict[str, bytes] = {}  # path -> content
        self.queries: list[tuple[str, dict]] = []
        self.bodies: list[bytes] = []  # everything that was received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": self}))
        self.server.daemon_threads = True
        self.errors: list[str] = []  # of this server
        self.server.handle_error = lambda *_: self.errors.append(traceback.format_exc())
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        method = getattr(self, f"_{operation}", None)
        return method(variables) if method else {}

    def _Viewer(self, _: dict) -> dict:
        return {"viewer": VIEWER}

    _GetViewer = _Viewer

    def _RunResumeStatus(self, variables: dict) -> dict:
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "team"}}
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": {**project, "bucket": None}}
        steps = sorted(run["history"])
        bucket = {
            "id": f"bucket-{run['name']}",
            "name": run["name"],
            "summaryMetrics": json.dumps(run["summary"]),
            "displayName": run["displayName"],
            "logLineCount": 0,
            "historyLineCount": len(steps),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(run["history"][step]) for step in steps[-1:]]),
            "eventsTail": "[]",
            "config": run["config"],
            "tags": [],
            "wandbConfig": '{"t": {}}',
        }
        return {"model": {**project, "bucket": bucket}}

    def _UpsertBucket(self, variables: dict) -> dict:
        run = self.runs.setdefault(variables["name"], {"history": {}, "summary": {}, "config": "{}"})
        inserted = "displayName" not in run
        run.update({key: value for key, value in variables.items() if value is not None})
        project = {"name": variables["project"], "entity": {"name": "team"}}
        bucket = {
            "id": f"bucket-{run['name']}",
            "name": run["name"],
            "displayName": run.get("displayName"),
            "description": "",
            "config": run["config"],
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run["history"]),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, variables: dict) -> dict:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": self._upload_url(f"{run}/{name}")} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"bucket-{run}", "uploadHeaders": [], "files": files}}

    def _ArtifactType(self, _: dict) -> dict:
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, variables: dict) -> dict:
        content = variables["input"]
        key = (content["artifactTypeName"], content["artifactCollectionName"])
        versions = self.artifacts.setdefault(key, [])
        is_known = content["digest"] in versions
        if not is_known:
            versions.append(content["digest"])
        identity = f"{key[1]}:v{versions.index(content['digest'])}"
        artifact = {
            "id": identity,
            "state": "COMMITTED" if is_known else "PENDING",
            "artifactSequence": {"id": key[1], "latestArtifact": {"id": identity, "versionIndex": 0}},
        }
        return {"createArtifact": {"artifact": artifact}}

    def _CreateArtifactManifest(self, variables: dict) -> dict:
        name = f"manifest/{len(self.files)}-{len(self.queries)}"
        file = {"id": name, "name": name, "displayName": name, "uploadUrl": self._upload_url(name), "uploadHeaders": []}
        manifest = {"id": name, "file": file}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _CreateArtifactFiles(self, variables: dict) -> dict:
        edges = [{"node": self._artifact_file(spec)} for spec in variables["input"]["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _artifact_file(self, spec: dict) -> dict:
        name = f"artifact/{spec['artifactID']}/{spec['name']}"
        return {
            "id": name,
            "name": spec["name"],
            "displayName": spec["name"],
            "uploadUrl": self._upload_url(name),
            "uploadHeaders": [],
            "storagePath": name,
            "uploadMultipartUrls": None,
            "artifact": {"id": spec["artifactID"]},
        }

    def _CommitArtifact(self, variables: dict) -> dict:
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": ""}}}

    def _UseArtifact(self, variables: dict) -> dict:
        content = variables["input"]
        self.used.append((content["runName"], content["artifactID"]))
        return {"useArtifact": {"artifact": {"id": content["artifactID"]}}}

    def _upload_url(self, name: str) -> str:
        return f"{self.url}/storage/{quote(name)}"


class Handler(BaseHTTPRequestHandler):
    service: WandbService

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        body = self._read_body()
        if self.path.endswith("/graphql"):
            request = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
            variables = request.get("variables") or {}
            self.service.queries.append((operation, variables))
            self._send({"data": self.service.answer(operation, variables)})
        elif self.path.endswith("/file_stream"):
            self._store_stream(self.path.split("/")[-2], json.loads(body))
            self._send({})
        else:
            self._send({})

    def do_PUT(self) -> None:
        self.service.files[self.path] = self._read_body()
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    def _store_stream(self, run: str, content: dict[str, Any]) -> None:
        stored = self.service.runs[run]
        for name, chunk in (content.get("files") or {}).items():
            rows = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                for row in rows:
                    assert row["_step"] not in stored["history"], "a step was written twice"
                    stored["history"][row["_step"]] = row
            elif name == "wandb-summary.json":
                stored["summary"] = rows[-1]

    def _read_body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.service.bodies.append(body)
        return body

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
